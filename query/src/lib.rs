//! The query engine: DataFusion behind a small interface, with the words of Athena and Spark.
//!
//! This crate is the only home of `DataFusion` besides the sandbox's tables. It knows SQL, records, columns and local
//! files; it never knows AWS, a catalog, runs or tasks. Its readers: the sandbox, whose Athena, Glue jobs and COPY run on
//! it, and the operators `transform`, `extract` and `load`, the last two for Parquet alone.
//!
//! | file | what lives there |
//! |---|---|
//! | `context.rs` | a session's settings and how a query in Athena's SQL is planned |
//! | `trino.rs`, `trino/` | what Athena refuses, spells otherwise, and how it names columns |
//! | `functions.rs`, `functions/` | functions that `DataFusion` lacks or understands otherwise |
//! | `sql_text.rs`, `sql_cursor.rs` | SQL as tokens, where no parser is wanted |
//! | `types.rs` | Hive's types and Arrow's |
//! | `json.rs`, `csv.rs`, `text.rs`, `parquet.rs` | bytes to columns |
//! | `copy.rs`, `copy/` | what Postgres's COPY writes, as Parquet |
//! | `cells.rs` | columns of Parquet as texts that Postgres reads |
//! | `write.rs`, `folders.rs` | rows to files, one per partition; the names of partitions' folders |
//! | `transform.rs`, `transform/` | records of many files, judged one by one, through queries into files |

pub mod cells;
pub mod context;
pub mod copy;
pub mod csv;
mod error;
pub mod folders;
mod functions;
pub mod json;
pub mod parquet;
pub mod sql_cursor;
pub mod sql_text;
pub mod text;
pub mod transform;
mod trino;
pub mod types;
pub mod write;

pub use context::Dialect;
pub use error::{BadDataError, EngineError};
