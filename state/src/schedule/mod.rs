//! Schedules and dates: when a pipeline fires, what a run covers, and how both are written
//! down.
//!
//! Everything here is a pure function of its arguments and the zone database: `now` is passed
//! in, nothing waits, nothing is stored. Who acts on a fire is the engine's business.
//!
//! - [`Calendar`]: a schedule with its zone; the fires after and before an instant.
//! - [`DataInterval`], [`interval_of_fire`], [`interval_at`]: what a run covers.
//! - [`select`]: which interval a person means with `--date`.
//! - [`run_key`], [`parse_run_key`]: the text that names a run within its pipeline.
//! - [`due_fires`]: what to start now, after whatever downtime.
//! - [`Deadline`], [`passed_deadlines`]: until when a run should be done, and what is late.
//! - [`describe_interval`], [`describe_range`]: the same line wherever a run is shown.

mod calendar;
mod date_text;
mod deadline;
mod display;
mod due;
mod expression;
mod field;
mod fires;
mod interval;
mod key;
mod local;
mod select;
#[cfg(test)]
mod transitions;

pub use calendar::{Calendar, CalendarError, DstRule, zone};
pub use deadline::{Deadline, LOOKED_AT_MAX, Passed, passed_deadlines};
pub use display::{describe_instant, describe_interval, describe_range};
pub use due::{Due, Fire, ON_TIME_GRACE, due_fires};
pub use field::FieldError;
pub use interval::{
    DataInterval, DataIntervalError, Interval, SPAN_MAX, SPAN_MIN, interval_at, interval_of_fire, parse_span,
    span_text,
};
pub use key::{RunKeyParts, parse_run_key, run_key};
pub use select::{SelectError, Selected, runs_between, select, stretch};
