//! The query engine: DataFusion behind a small interface, reading tables of the catalog where they lie.
//!
//! [`Engine`] makes a [`Session`] per query or script; a session plans SQL over the catalog's tables, prunes
//! their partitions, reads JSON, CSV and Parquet objects itself, and writes partitioned Parquet. No other
//! module of this crate names DataFusion. What never lives here: which statements a service accepts, and
//! where results go (`athena`, `glue`).

mod csv;
mod error;
pub(crate) mod folders;
mod functions;
mod json;
pub(crate) mod parquet;
mod prune;
mod read;
mod session;
pub(crate) mod sql_cursor;
pub(crate) mod sql_text;
mod table;
pub(crate) mod text;
mod trino;
pub(crate) mod types;
mod write;

pub(crate) use error::EngineError;
pub(crate) use prune::partitions_matching;
pub(crate) use session::{Dialect, Engine, Planned, QueryRows, Session};
pub(crate) use table::DeclaredTable;
pub(crate) use write::WrittenFile;
