//! The Glue Data Catalog: databases, tables and partitions, durable as small JSON files.
//!
//! [`Catalog`] is the plain interface that crawlers, jobs and Athena use; [`api`] gives it the shapes of the
//! Glue API. Records keep the members of the API's `…Input` shapes as they came, so that what was put in
//! comes out again. What never lives here: what is in the files that a table points to (`engine`), and how
//! tables are found (`crawler`).

pub(crate) mod api;
mod files;
mod record;
mod store;

pub(crate) use files::{entries, file_name};
pub(crate) use record::{Column, DatabaseRecord, PartitionRecord, TableRecord};
pub(crate) use store::Catalog;
