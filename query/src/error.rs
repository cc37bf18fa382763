//! What can go wrong in a query, by whose doing.

use datafusion::error::DataFusionError;

/// Why a query failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The SQL cannot be parsed.
    #[error("{0}")]
    Syntax(String),
    /// The SQL names something that does not exist, or makes no sense.
    #[error("{0}")]
    Analysis(String),
    /// A table that the SQL names is not in the catalog.
    #[error("table {database}.{table} does not exist")]
    NoTable {
        /// Database as looked up.
        database: String,
        /// Table as looked up.
        table: String,
    },
    /// An object cannot be read as its table says.
    #[error("{0}")]
    BadData(String),
    /// The statement is fine and failed on these rows.
    #[error("{0}")]
    Execution(String),
    /// The engine refuses what AWS might accept.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The engine itself failed: files, memory.
    #[error("{0}")]
    Internal(String),
}

impl EngineError {
    /// Any failure of the file system or the object store.
    pub fn internal(reason: impl std::fmt::Display) -> Self {
        Self::Internal(reason.to_string())
    }
}

/// Marks an object that cannot be read as its table says, on its way through DataFusion's streams.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadDataError(pub String);

impl From<DataFusionError> for EngineError {
    fn from(error: DataFusionError) -> Self {
        classify(&error)
    }
}

fn classify(error: &DataFusionError) -> EngineError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => classify(inner),
        DataFusionError::Shared(inner) => classify(inner),
        DataFusionError::Collection(all) => {
            all.first().map_or_else(|| EngineError::Internal("no error was given".to_owned()), classify)
        }
        DataFusionError::External(inner) => {
            if let Some(bad) = inner.downcast_ref::<BadDataError>() {
                EngineError::BadData(bad.0.clone())
            } else if let Some(own) = inner.downcast_ref::<EngineError>() {
                own.clone()
            } else {
                EngineError::Execution(inner.to_string())
            }
        }
        DataFusionError::SQL(inner, _) => EngineError::Syntax(clean(&inner.to_string())),
        DataFusionError::Plan(text) => EngineError::Analysis(clean(text)),
        DataFusionError::SchemaError(inner, _) => EngineError::Analysis(clean(&inner.to_string())),
        DataFusionError::NotImplemented(text) => EngineError::Unsupported(clean(text)),
        DataFusionError::ArrowError(inner, _) => EngineError::Execution(inner.to_string()),
        DataFusionError::Execution(text) => EngineError::Execution(clean(text)),
        DataFusionError::ResourcesExhausted(text) => {
            EngineError::Execution(format!("the limit of memory for one query is reached: {}", clean(text)))
        }
        other => EngineError::Internal(clean(&other.to_string())),
    }
}

/// Only the first line: what follows are hints about DataFusion, not about the statement.
fn clean(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
