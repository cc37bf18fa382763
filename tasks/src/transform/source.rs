//! Objects of S3 as files for the engine.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use aws_sdk_s3::Client;
use futures::future::BoxFuture;
use tokio::runtime::Handle as Runtime;
use trunkline_query::transform::{Content, Source};

use crate::{load::files::File as Object, operator::Failure, scratch::bring};

/// The objects of all inputs.
pub(super) struct Objects {
    s3: Client,
    /// Where connections live: the engine runs on threads of its own, which end with it.
    runtime: Runtime,
    inputs: Vec<Vec<Object>>,
    scratch: PathBuf,
    number: AtomicU64,
}

/// A failure on its way through the engine.
#[derive(Debug)]
pub(super) struct Fetch(pub(super) Failure);

impl fmt::Display for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Fetch {}

impl Objects {
    pub(super) fn new(s3: Client, inputs: Vec<Vec<Object>>, scratch: &Path) -> Self {
        let (scratch, number) = (scratch.to_owned(), AtomicU64::new(0));
        Self { s3, runtime: Runtime::current(), inputs, scratch, number }
    }
}

impl Source for Objects {
    fn open(
        &self,
        input: usize,
        file: usize,
    ) -> BoxFuture<'static, Result<Content, Box<dyn std::error::Error + Send + Sync>>> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let path = self.scratch.join(format!("object-{number}"));
        let (s3, object) = (self.s3.clone(), self.inputs[input][file].clone());
        let fetched = self.runtime.spawn(async move { bring(&s3, &object, &path).await.map_err(Fetch) });
        Box::pin(async move { Ok(fetched.await??) })
    }
}
