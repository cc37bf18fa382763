//! Definitions: from YAML to a validated [`trunkline_state::pipeline::Pipeline`].
//!
//! | file | what lives there |
//! |---|---|
//! | `tree.rs`, `scalar.rs` | YAML text to a tree that knows places; the only use of the parser |
//! | `lower.rs`, `timing.rs`, `task.rs`, `notices.rs` | what the keys mean |
//! | `common.rs` | keys that all tasks share, and `defaults` |
//! | `triggers.rs`, `datasets.rs` | events that make runs; names of datasets |
//! | `calls.rs` | what ties pipelines to each other |
//! | `mapped.rs`, `pooled.rs` | keys of tasks that run over a list, that take slots of a pool |
//! | `settings.rs`, `operators.rs` | a task's own settings against its operator's schema |
//! | `graph.rs` | edges, cycles, topological order |
//! | `template/` | templates: checked at load, rendered in a run |
//! | `params.rs` | parameters: declared, and the values of a run |
//! | `files.rs`, `load.rs` | what is read from disk |
//! | `cases/` | `tests.yaml`: cases of a pipeline |
//! | `schema.rs` | JSON Schema of the pipeline file |
//! | `diagnostic.rs`, `reader.rs`, `place.rs`, `suggest.rs` | saying what is wrong, and where |
//! | `locate.rs` | from a task of a run back to its lines |
//!
//! Every mistake of every file is reported at once. Environments and connections come from
//! [`crate::project`]; runs, stores and AWS are never known here.

mod calls;
pub mod cases;
pub(crate) mod check_names;
pub mod common;
mod datasets;
pub mod diagnostic;
mod files;
pub mod gather;
mod graph;
pub mod load;
pub mod locate;
pub mod lower;
mod mapped;
pub(crate) mod notices;
pub mod operators;
pub mod params;
mod place;
pub(crate) mod pooled;
pub(crate) mod reader;
pub mod scalar;
pub mod schema;
pub mod sent;
pub(crate) mod settings;
pub(crate) mod suggest;
mod task;
pub mod template;
pub(crate) mod timing;
pub mod tree;
mod triggers;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use load::{Loaded, LoadedPipeline, load_files, load_text};
pub use lower::{EnvironmentNames, Scope};
pub use operators::Operators;
pub use template::{RenderContext, RenderError, Templates};
