//! What can go wrong with the store, by what a person or the engine does about it.

/// Why a store method failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL cannot be read.
    #[error("the store's URL is not a Postgres URL; expected postgresql://user@host/database")]
    Url {
        /// The cause, without the URL: it may hold a password.
        source: Box<sqlx::Error>,
    },
    /// The first connection could not be made.
    #[error("the store at {place} cannot be reached; is its server running, and is the URL right?")]
    NotConnected {
        /// Host, port and database; never the password.
        place: String,
        /// The cause.
        source: Box<sqlx::Error>,
    },
    /// The server cannot be reached, or the connection broke. The outcome of a write is
    /// unknown.
    #[error("the store cannot be reached")]
    Unreachable {
        /// The cause.
        source: Box<sqlx::Error>,
    },
    /// The server is too old.
    #[error("the store's server is Postgres {found}; Trunkline needs 14 or newer")]
    ServerTooOld {
        /// Its version.
        found: String,
    },
    /// The server is a standby.
    #[error("the store's server is a read-only standby; name the primary")]
    Standby,
    /// Committed work could be lost.
    #[error("the store's server has {settings} off: a crash could lose committed work; turn it on")]
    NotDurable {
        /// The settings.
        settings: String,
    },
    /// A connection is for pipelines of other folders.
    #[error(
        "`{pipeline}` lies in `{folder}`, and the connection `{connection}` is for {folders} only; nothing was deployed"
    )]
    ConnectionClosed {
        /// The pipeline.
        pipeline: String,
        /// Where its file lies.
        folder: String,
        /// The connection.
        connection: String,
        /// Whom it is for.
        folders: String,
    },
    /// Migrations are missing.
    #[error("the store's schema is version {found}, this binary needs {wanted}; run `trunkline db migrate`")]
    SchemaTooOld {
        /// The newest migration in the store.
        found: i64,
        /// The newest that this binary has.
        wanted: i64,
    },
    /// Another binary migrated it.
    #[error("the store's schema is version {found}, this binary knows {known}; use a newer trunkline")]
    SchemaTooNew {
        /// The newest migration in the store.
        found: i64,
        /// The newest that this binary knows.
        known: i64,
    },
    /// A migration failed.
    #[error("the store's schema could not be brought up to date")]
    Migration {
        /// The cause.
        source: Box<sqlx::migrate::MigrateError>,
    },
    /// Something that must exist does not.
    #[error("there is no {what}")]
    NotFound {
        /// What, with its name.
        what: String,
    },
    /// Pipelines of other folders have these names.
    #[error("pipelines of another folder have the same name: {names}; name yours otherwise")]
    NamesTaken {
        /// The names.
        names: String,
    },
    /// A constraint or a row count did not hold: a bug, or somebody wrote to the store by hand.
    #[error("the store refused a change: {message}")]
    Broken {
        /// In the database's words.
        message: String,
    },
    /// A statement failed otherwise.
    #[error("the store failed")]
    Failed {
        /// The cause.
        source: Box<sqlx::Error>,
    },
}

impl StoreError {
    /// Whether waiting and connecting again may help.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NotConnected { .. })
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Unreachable { source: Box::new(error) },
            sqlx::Error::Database(cause) => {
                let code = cause.code().unwrap_or_default().into_owned();
                match code.get(..2) {
                    // Connection exceptions, operator intervention (shutdown, crash), out of
                    // resources.
                    Some("08" | "57" | "53") => Self::Unreachable { source: Box::new(error) },
                    Some("23") => Self::Broken { message: cause.message().to_owned() },
                    _ => Self::Failed { source: Box::new(error) },
                }
            }
            _ => Self::Failed { source: Box::new(error) },
        }
    }
}

/// Deadlock and serialisation failures: rolled back whole, to be sent again.
pub(super) fn is_conflict(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(cause) if matches!(cause.code().as_deref(), Some("40001" | "40P01")))
}
