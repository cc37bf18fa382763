//! From what a person types (`--date`, `-p`) to the run that is wanted. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value};
use trunkline_state::{
    pipeline::Pipeline,
    schedule::{SelectError, Selected, describe_instant, describe_interval, select},
};

use super::find::zone_of;
use crate::definition::params::{self, Given, ParamsError};

/// A run as it would be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What it covers, when it fires, its key.
    pub selected: Selected,
    /// Its parameters, complete and checked.
    pub params: Map<String, Value>,
    /// `daily_cdr_etl@2026-11-19`.
    pub label: String,
    /// `covers … → …, fires …`.
    pub covers: String,
    /// What a person should know before it starts.
    pub warning: Option<String>,
}

/// Why no run can be made of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    /// The date.
    #[error("--date {0}")]
    Date(#[from] SelectError),
    /// The parameters.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// Before `start_date`.
    #[error("{label} lies before the pipeline's start_date {start}; move start_date, or name a later --date")]
    TooEarly {
        /// The run.
        label: String,
        /// The setting.
        start: String,
    },
}

/// The run that is meant; every parameter checked.
pub fn wanted(
    pipeline: &Pipeline,
    date: Option<&str>,
    given: &[String],
    now: Timestamp,
) -> Result<Wanted, WantedError> {
    let given = given.iter().map(|text| params::split(text)).collect::<Result<Vec<_>, _>>()?;
    wanted_with(pipeline, date, given, now)
}

/// The same with parameters that a program gave.
pub fn wanted_with(
    pipeline: &Pipeline,
    date: Option<&str>,
    given: Vec<(String, Given)>,
    now: Timestamp,
) -> Result<Wanted, WantedError> {
    let zone = zone_of(pipeline);
    // A run without interval is named by the present: nobody types nanoseconds.
    let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    let selected = select(pipeline.data_interval, &zone, pipeline.calendar.as_ref(), date, now)?;
    let params = params::resolve(pipeline, given)?;
    let label = format!("{}@{}", pipeline.name, selected.key);
    if pipeline.starts_after(selected.logical_date) {
        let start = pipeline.start_date.map(|date| date.to_string()).unwrap_or_default();
        return Err(WantedError::TooEarly { label, start });
    }
    let covers = match selected.interval {
        Some(interval) => describe_interval(&zone, Some(interval), selected.fire),
        None => format!("logical date {}", describe_instant(&zone, selected.logical_date)),
    };
    let warning = selected.interval.filter(|_| !selected.finished).map(|interval| {
        format!(
            "the interval ends only at {}: its data may still be incomplete",
            describe_instant(&zone, interval.end)
        )
    });
    Ok(Wanted { selected, params, label, covers, warning })
}
