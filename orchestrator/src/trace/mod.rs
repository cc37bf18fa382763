//! A run that ended, as one trace: spans for the run, its tasks and their attempts.
//!
//! | file | what |
//! |---|---|
//! | `course` | history, folded into what happened between a run's beginning and its end |
//! | `spans` | that and the rows of the store into spans; pure |
//! | `attributes` | what spans say of themselves |
//! | `settings` | where traces go, as the standard variables say |
//! | `otlp` | spans out of this process, as OpenTelemetry's protocol; only with the feature `otel` |
//!
//! Nothing is measured in memory: a run outlives processes, and the store knows all of it. When a trace is made,
//! and how often its export is tried, is decided in `engine/traces.rs`.

mod attributes;
mod course;
#[cfg(feature = "otel")]
mod otlp;
mod settings;
mod spans;
#[cfg(test)]
mod tests;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use trunkline_state::ids::RunId;

pub use self::{
    course::Course,
    settings::Settings,
    spans::{Facts, SPANS_MAX, trace},
};

/// A run whose end was committed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The run.
    pub run: RunId,
    /// The generation in which it ended.
    pub generation: u32,
    /// When, which tells this end from others in its history.
    pub at: Timestamp,
}

/// One span, before it is anything of OpenTelemetry's.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace: the run's id.
    pub trace: u128,
    /// Its own id.
    pub id: u64,
    /// The span above it; none for the run's.
    pub parent: Option<u64>,
    /// What people read.
    pub name: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended; never before its start.
    pub end: Timestamp,
    /// Why it counts as an error, if it does.
    pub error: Option<String>,
    /// Names and values: texts, numbers, booleans.
    pub attributes: Vec<(String, Value)>,
}

/// A way out of this process.
pub trait Export: std::fmt::Debug + Send + Sync {
    /// Sends spans once.
    fn export(&self, spans: Vec<Span>) -> BoxFuture<'_, Result<(), Unexported>>;
}

/// Why spans were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unexported {
    /// In words.
    pub reason: String,
    /// Whether the same may be taken later.
    pub may_pass: bool,
}
