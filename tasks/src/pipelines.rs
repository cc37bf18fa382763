//! Trunkline itself as a service: what tasks may ask about the runs of other pipelines.
//!
//! This crate knows no runs and no SQL; the engine implements [`Pipelines`] over its store and
//! hands it in through [`crate::Clients`]. Here stand the questions and their answers as plain
//! values, and what `run_pipeline` and `pipeline_wait` share. Everything is asked in batches: one
//! call is one query, however many wait.

use std::{fmt, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    aws::scaled,
    operator::{ErrorClass, Failure, Outputs},
};

/// Runs or waits that one query asks about.
pub(crate) const BATCH_MAX: usize = 1_000;

/// Waiters ask at the same moments, so that one query serves all of them: every second at first,
/// every five seconds later. Multiples of five are multiples of one.
const ASK_EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// How long a waiter counts as young.
const YOUNG: Duration = Duration::from_secs(60);

/// Which run is meant.
#[derive(Clone, Debug)]
pub struct WantedRun<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The date that the run covers, as `--date` takes it.
    pub date: Option<&'a str>,
    /// Parameters.
    pub params: &'a Map<String, Value>,
    /// The key of a run that has no interval; unique to the attempt.
    pub own_key: &'a str,
}

/// A run as it would be made, and the one that holds its key already.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PlannedRun {
    /// The pipeline.
    pub pipeline: String,
    /// Its version.
    pub version: i32,
    /// The key: unique within the pipeline, so that there is never a second run of it.
    pub key: String,
    /// The start of what it covers, or the present.
    pub logical_date: Timestamp,
    /// What it covers.
    pub interval: Option<(Timestamp, Timestamp)>,
    /// When its schedule fires for it.
    pub fire_at: Option<Timestamp>,
    /// Complete and checked parameters.
    pub params: Map<String, Value>,
    /// The run that holds the key.
    pub existing: Option<RunStatus>,
}

/// How a run is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RunStatus {
    /// Its id.
    pub id: Uuid,
    /// `pipeline@key`.
    pub label: String,
    /// The word of its state.
    pub state: String,
    /// 1, and one more for each clear.
    pub generation: u32,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct RunEnd {
    /// The outputs of its tasks, by task.
    pub outputs: Outputs,
    /// The first failed task and why, in the service's words.
    pub failure: Option<String>,
}

/// What of a run is to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// What failed, and what follows it.
    Failed,
    /// Everything.
    All,
}

/// A run that somebody waits for.
#[derive(Clone, Debug)]
pub struct AwaitedRun {
    /// The pipeline.
    pub pipeline: String,
    /// Its key; without one, any run that ended well at `since` or later.
    pub key: Option<String>,
    /// See `key`.
    pub since: Option<Timestamp>,
}

/// Trunkline itself. Every failure of class `config` will not go away by waiting.
pub trait Pipelines: Send + Sync + fmt::Debug {
    /// What starting the wanted run means at this moment. Changes nothing.
    fn plan<'a>(&'a self, wanted: WantedRun<'a>) -> BoxFuture<'a, Result<PlannedRun, Failure>>;

    /// The key of the run that covers a date.
    fn key_of<'a>(&'a self, pipeline: &'a str, date: &'a str) -> BoxFuture<'a, Result<String, Failure>>;

    /// Makes the planned run, if no run holds its key. The run that holds it afterwards.
    fn start<'a>(&'a self, planned: &'a PlannedRun, by: &'a str)
    -> BoxFuture<'a, Result<RunStatus, Failure>>;

    /// The run that holds the key.
    fn holder<'a>(
        &'a self,
        pipeline: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<RunStatus>, Failure>>;

    /// Starts a new generation of an ended run.
    fn again<'a>(&'a self, run: Uuid, what: Again, by: &'a str) -> BoxFuture<'a, Result<(), Failure>>;

    /// How runs are, in the order asked. One query.
    fn states<'a>(&'a self, runs: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<Option<RunStatus>>, Failure>>;

    /// How runs are that are named by what they cover, in the order asked. One query.
    fn awaited<'a>(
        &'a self,
        wanted: &'a [AwaitedRun],
    ) -> BoxFuture<'a, Result<Vec<Option<RunStatus>>, Failure>>;

    /// What an ended run left.
    fn end_of(&self, run: Uuid) -> BoxFuture<'_, Result<RunEnd, Failure>>;

    /// Stops a run.
    fn cancel<'a>(&'a self, run: Uuid, by: &'a str) -> BoxFuture<'a, Result<(), Failure>>;
}

impl RunStatus {
    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "failed" | "cancelled")
    }
}

/// When somebody who began to wait at `since` asks next: at the same moments as all others.
pub(crate) fn next_look(since: Timestamp, now: Timestamp, quarantine: Duration) -> Timestamp {
    let young = now.duration_since(since)
        < jiff::SignedDuration::try_from(scaled(YOUNG, quarantine)).unwrap_or(jiff::SignedDuration::MAX);
    let every = scaled(if young { ASK_EVERY[0] } else { ASK_EVERY[1] }, quarantine);
    let step = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
    let at = now.as_millisecond().div_euclid(step).saturating_add(1).saturating_mul(step);
    Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX)
}

/// A failure of the setting `pipeline` that names none.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.is_empty() && name.chars().all(legal) {
        return Ok(());
    }
    Err(Failure::new(ErrorClass::Config, format!("pipeline: `{name}` is no name of a pipeline")))
}

#[cfg(test)]
pub(crate) mod double;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::QUARANTINE;

    #[test]
    fn everybody_asks_at_the_same_moments() {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        let ask = |since, now| next_look(at(since), at(now), QUARANTINE).as_millisecond();
        assert_eq!(ask(0, 59_000), 60_000);
        assert_eq!(ask(0, 59_999), 60_000);
        assert_eq!(ask(58_500, 59_400), ask(0, 59_400));
        assert_eq!(ask(0, 61_001), 65_000);
        assert_eq!(ask(61_000, 61_001), 62_000);
        assert_eq!(next_look(at(0), at(1), QUARANTINE / 100).as_millisecond(), 10);
    }

    #[test]
    fn names_are_names() {
        assert!(check_name("daily_cdr_etl").is_ok());
        for wrong in ["", "Daily", "a b", "a@2026-11-19"] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
