//! The sandbox: the part of AWS that Trunkline's pipelines touch, on loopback, really executing.
//!
//! One HTTP server speaks the AWS wire protocols of S3, Glue, Athena, Redshift Data, Step Functions, Lambda, ECS, Batch,
//! EMR Serverless, CloudWatch Logs, SNS, SQS, EventBridge, Secrets Manager, Systems Manager's parameters, IAM's
//! simulation and STS. Whatever it accepts is
//! durable below one folder, so a killed sandbox goes on where it was when it is started again.
//!
//! What lives here: the server ([`start`]), the services, the catalogue of accepted starts (the ledger), the
//! fault script, and the provisioning from a pipeline's `CloudFormation` template.
//!
//! What never lives here: anything of Trunkline's own model. The sandbox and the operators share the wire and
//! nothing else, so that an operator that works here has said exactly what it would say to AWS.

mod admin;
mod athena;
mod background;
mod batch;
mod catalog;
mod containers;
mod crawler;
mod ecs;
mod emr;
mod engine;
mod events;
mod faults;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod glue;
mod iam;
mod lambda;
mod ledger;
mod logs;
mod mailbox;
mod parameters;
mod process;
mod provision;
mod records;
mod redshift;
mod s3;
mod secrets;
mod server;
mod sns;
mod sqs;
mod states;
mod sts;
mod wire;
mod world;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::world::World;

/// How old a signed request may be before the services other than S3 refuse it. AWS refuses after 5 to 15
/// minutes; callers that wait for the fence must wait for the longer of the two, so the longer is the default.
pub const SIGNATURE_AGE_MAX: Duration = Duration::from_mins(15);

/// How to run a sandbox.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that holds everything the sandbox knows; made if missing. One sandbox at a time may use it.
    pub root: PathBuf,
    /// The loopback port. `None` takes the port of the previous start if it is still free, else any free one.
    pub port: Option<u16>,
    /// Real duration of simulated waits per nominal duration (crawl start-up, job start-up): 1.0 is the
    /// sandbox's ordinary pace, 0.1 ten times as fast. Must be positive and finite.
    pub time_scale: f64,
    /// Age at which signed requests are refused ([`SIGNATURE_AGE_MAX`] unless a trial scales its clocks).
    pub signature_age_max: Duration,
}

impl Options {
    /// The ordinary settings for a sandbox in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), port: None, time_scale: 1.0, signature_age_max: SIGNATURE_AGE_MAX }
    }
}

/// Why a sandbox could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A file or folder below the root could not be read or written.
    #[error("cannot {action} {path}")]
    Files {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A durable record below the root is not what this version writes.
    #[error("cannot understand {path}: {reason}; delete the file, or the sandbox's folder to start empty")]
    Corrupt {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process runs a sandbox on the same folder.
    #[error("another sandbox is running on {root}; stop it first, or choose another folder")]
    Busy {
        /// The folder in use.
        root: PathBuf,
    },
    /// The port could not be bound.
    #[error("cannot listen on 127.0.0.1:{port}; choose another port or none")]
    Port {
        /// The port asked for; 0 for any.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// An option makes no sense.
    #[error("option {name}: {reason}")]
    Option {
        /// Name of the field of [`Options`].
        name: &'static str,
        /// What a legal value is.
        reason: &'static str,
    },
}

impl SandboxError {
    /// A file error with its place.
    pub(crate) fn files(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Files { action, path: path.to_owned(), source }
    }
}

/// A running sandbox. Dropping it leaves its connections open until the runtime ends; call
/// [`shutdown`](Self::shutdown) to end it in order.
#[derive(Debug)]
pub struct Sandbox {
    world: Arc<World>,
    server: server::Server,
}

impl Sandbox {
    /// The URL to use as `AWS_ENDPOINT_URL`, without a slash at its end.
    pub fn endpoint(&self) -> String {
        self.world.endpoint().to_owned()
    }

    /// The folder in which each delivered mail is an `.eml` file.
    pub fn mailbox(&self) -> PathBuf {
        self.world.mailbox.folder().to_owned()
    }

    /// Stops accepting, lets requests in progress finish within a few seconds, and ends jobs that run as
    /// subprocesses. What was running is continued at the next start.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

/// Starts a sandbox: takes the folder's lock, continues what was running, listens on loopback.
pub async fn start(options: Options) -> Result<Sandbox, SandboxError> {
    let listener = server::bind(&options).await?;
    let world = Arc::new(World::open(options, listener.endpoint())?);
    let server = listener.serve(Arc::clone(&world)).await?;
    Ok(Sandbox { world, server })
}
