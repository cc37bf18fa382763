//! Why a command cannot have its keeper.

use std::path::{Path, PathBuf};

use trunkline_postgres::PostgresError;

/// What can go wrong between a command and its keeper.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A file of the protocol cannot be used.
    #[error("{action} {} failed: {source}", path.display())]
    File {
        /// What was tried, as a gerund.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The keeper's own program could not be started.
    #[error("the background process could not be started: {cause}; its log is {}", log.display())]
    Launch {
        /// Why.
        cause: String,
        /// Where it wrote.
        log: PathBuf,
    },
    /// The keeper runs but has not got ready.
    #[error("the background process (pid {pid}) was not ready within {seconds} s; its log is {}", log.display())]
    NotReady {
        /// Its process id, or `unknown`.
        pid: String,
        /// How long was waited.
        seconds: u64,
        /// Where it writes.
        log: PathBuf,
    },
    /// What was asked for could not be started by the keeper.
    #[error("the {what} could not be started: {cause}")]
    Service {
        /// `private PostgreSQL` or `sandbox`.
        what: &'static str,
        /// Why, in the service's own words.
        cause: String,
    },
    /// Commands still use the keeper.
    #[error(
        "other commands still use the private PostgreSQL or the sandbox; end them first, or stop with force"
    )]
    InUse,
    /// The keeper did not end.
    #[error("the background process (pid {pid}) did not end within {seconds} s; its log is {}", log.display())]
    NotStopped {
        /// Its process id.
        pid: i32,
        /// How long was waited.
        seconds: u64,
        /// Where it writes.
        log: PathBuf,
    },
    /// Postgres has no binaries, no place or no account; found out before a keeper was started.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

impl KeeperError {
    /// For `map_err`: keeps the system's answer together with what was tried and on what.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
