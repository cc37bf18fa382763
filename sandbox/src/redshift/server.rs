//! The sandbox's own `PostgreSQL`: started when the first statement needs it, in the sandbox's folder, on a socket;
//! adopted if an earlier sandbox left it running.

use std::collections::HashSet;
use std::path::PathBuf;

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use trunkline_postgres::{Options, PostgresError, server};

use super::database::{DatabaseError, Session};

/// The application of sessions that only look.
const LOOKING: &str = "trunkline sandbox";

/// The server, if it runs.
#[derive(Debug)]
pub(super) struct Server {
    folder: PathBuf,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    server: Option<trunkline_postgres::Server>,
    /// Databases that have everything.
    ready: HashSet<String>,
}

impl Server {
    /// A server in a folder of its own; nothing is started.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, running: Mutex::default() }
    }

    /// A session in a database, which is made if it is missing.
    pub(super) fn session<'a>(
        &'a self,
        database: &'a str,
        application: &'a str,
    ) -> BoxFuture<'a, Result<Session, DatabaseError>> {
        Box::pin(async move {
            let url = self.ready(database, false).await?;
            match Session::open(&url, application).await {
                Ok(session) => Ok(session),
                // The server ended without having been told to.
                Err(_) => Session::open(&self.ready(database, true).await?, application).await,
            }
        })
    }

    /// A session that belongs to no statement.
    pub(super) async fn looking(&self, database: &str) -> Result<Session, DatabaseError> {
        self.session(database, LOOKING).await
    }

    /// Stops the server, also one that an earlier sandbox left running.
    pub(super) async fn shutdown(&self) {
        let server = self.running.lock().await.server.take();
        let stopped = match server {
            Some(server) => aside(async move || server.stop().await).await,
            None if self.folder.exists() => {
                let options = self.options();
                aside(async move || server::stop_left_behind(&options).await.map(drop)).await
            }
            None => Ok(()),
        };
        if let Err(error) = stopped {
            tracing::warn!(%error, "the PostgreSQL of the sandbox did not stop");
        }
    }

    /// The URL of a database that is there.
    async fn ready(&self, database: &str, anew: bool) -> Result<String, DatabaseError> {
        let mut running = self.running.lock().await;
        if anew {
            *running = Running::default();
        }
        if running.server.is_none() {
            let options = self.options();
            let started = aside(async move || trunkline_postgres::start(&options).await).await;
            let server = started.map_err(|error| DatabaseError {
                code: None,
                message: format!("FATAL: the sandbox could not start its PostgreSQL: {error}"),
            })?;
            tracing::info!(pid = server.pid, adopted = server.adopted, "PostgreSQL runs for Redshift");
            running.server = Some(server);
        }
        let Running { server: Some(server), ready } = &mut *running else {
            return Err(DatabaseError { code: None, message: "FATAL: there is no server".to_owned() });
        };
        let url = server.database_url(database);
        if !ready.contains(database) {
            Session::open(&server.url, LOOKING).await?.create_database(database).await?;
            Session::open(&url, LOOKING).await?.install().await?;
            ready.insert(database.to_owned());
        }
        Ok(url)
    }

    fn options(&self) -> Options {
        Options::for_folder(&self.folder)
    }
}

/// Runs work on a thread of its own: what waits for a server to start may not move between threads.
async fn aside<T: Send + 'static>(
    work: impl AsyncFnOnce() -> Result<T, PostgresError> + Send + 'static,
) -> Result<T, PostgresError> {
    let handle = Handle::current();
    match tokio::task::spawn_blocking(move || handle.block_on(work())).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
