//! The query engine over the catalog: its tables, read where they lie.
//!
//! [`Engine`] makes a [`Session`] per query or script; a session plans SQL over the catalog's tables, prunes
//! their partitions and reads their objects. SQL, formats and writing are `trunkline-query`'s; no other module of
//! this crate names DataFusion. What never lives here: which statements a service accepts, and where results go
//! (`athena`, `glue`).

mod prune;
mod read;
mod session;
mod table;

pub(crate) use prune::partitions_matching;
pub(crate) use session::{Engine, QueryRows, Session};
pub(crate) use table::DeclaredTable;
