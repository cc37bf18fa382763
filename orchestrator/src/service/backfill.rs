//! Which dates a backfill runs, before anybody says yes. Pure, but for reading what there is.

use std::collections::HashMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::{
    pipeline::Pipeline,
    schedule::{self, DataInterval, Interval, SelectError, Selected},
    store::{Reprocess, RunEntry, RunRange, Store, StoreError},
    words::RunState,
};

use super::{choose::after, find::zone_of};

/// More dates are several backfills: a year of hours fits.
pub const DATES_MAX: usize = 10_000;

/// What happens to one date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It has no run: one is made.
    Create,
    /// What did not succeed of its run runs again.
    ClearFailed,
    /// Its run runs again, whole.
    ClearAll,
    /// Nothing, for this reason.
    Leave(&'static str),
}

/// What happens to a date whose run stands like this.
pub fn action(reprocess: Reprocess, run: Option<RunState>) -> Action {
    match (run, reprocess) {
        (None, _) => Action::Create,
        (Some(state), _) if !state.is_terminal() => Action::Leave("has a live run"),
        (Some(_), Reprocess::Missing) => Action::Leave("has a run"),
        (Some(RunState::Succeeded), Reprocess::Failed) => Action::Leave("succeeded already"),
        (Some(_), Reprocess::Failed) => Action::ClearFailed,
        (Some(_), Reprocess::All) => Action::ClearAll,
    }
}

/// The places of a pipeline that its backfills may take: where there are several, one stays free for
/// the schedule.
pub fn places(max_active_runs: u32, has_schedule: bool) -> u32 {
    max_active_runs.saturating_sub(u32::from(max_active_runs > 1 && has_schedule))
}

impl Action {
    /// In words, for the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "runs",
            Self::ClearFailed => "what did not succeed runs again",
            Self::ClearAll => "runs again",
            Self::Leave(why) => why,
        }
    }

    /// Whether a run comes of it.
    pub fn runs(self) -> bool {
        !matches!(self, Self::Leave(_))
    }
}

/// One date of the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedDate {
    /// Its interval, fire and key.
    pub selected: Selected,
    /// Its run as it stands, if there is one.
    pub run: Option<RunState>,
    /// What happens.
    pub action: Action,
}

/// One date of a preview, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DateView {
    /// `pipeline@key`.
    pub run: String,
    /// The start of what it covers.
    pub data_interval_start: Option<Timestamp>,
    /// The end of what it covers.
    pub data_interval_end: Option<Timestamp>,
    /// The state of its run, if it has one.
    pub state: Option<String>,
    /// Whether a run comes of it.
    pub runs: bool,
    /// What happens.
    pub what: String,
}

impl PlannedDate {
    /// The date as people see it.
    pub fn view(&self, pipeline: &str) -> DateView {
        DateView {
            run: format!("{pipeline}@{}", self.selected.key),
            data_interval_start: self.selected.interval.map(|interval| interval.start),
            data_interval_end: self.selected.interval.map(|interval| interval.end),
            state: self.run.map(|state| state.word().to_owned()),
            runs: self.action.runs(),
            what: self.action.word().to_owned(),
        }
    }
}

/// A backfill as it would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillPlan {
    /// The dates, in the order in which they run.
    pub dates: Vec<PlannedDate>,
    /// What a person should know first.
    pub warnings: Vec<String>,
}

/// What a person wants.
#[derive(Clone, Copy, Debug)]
pub struct BackfillWanted<'a> {
    /// The first date.
    pub from: &'a str,
    /// The last date.
    pub to: &'a str,
    /// Which dates run.
    pub reprocess: Reprocess,
    /// The newest first.
    pub backwards: bool,
}

/// Why there can be no such backfill.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// A date.
    #[error("--{flag}: {source}")]
    Date {
        /// The flag.
        flag: &'static str,
        /// What is wrong with it.
        source: SelectError,
    },
    /// The range ends before it begins.
    #[error("--from {0} lies after --to {1}; the first date comes first")]
    Backwards(String, String),
    /// Runs without intervals have no dates.
    #[error(
        "{0} has `data_interval: none`: its runs cover no dates that could be missing; run it with `trunkline run {0}`"
    )]
    NoInterval(String),
    /// Nothing lies in the range.
    #[error("no date of {pipeline} lies between {from} and {to}{why}")]
    Empty {
        /// The pipeline.
        pipeline: String,
        /// The first date.
        from: String,
        /// The last date.
        to: String,
        /// What was left out.
        why: String,
    },
    /// Too many.
    #[error("more than {DATES_MAX} dates lie in the range; make it several backfills")]
    TooMany,
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The plan of a backfill.
pub async fn plan(
    store: &Store,
    pipeline: &Pipeline,
    wanted: BackfillWanted<'_>,
    now: Timestamp,
) -> Result<BackfillPlan, BackfillError> {
    let name = pipeline.name.to_string();
    let (dates, warnings) = dates(pipeline, wanted, now)?;
    let (Some(first), Some(last)) = (dates.first(), dates.last()) else {
        let why = warnings.first().map(|text| format!("; {text}")).unwrap_or_default();
        let (from, to) = (wanted.from.to_owned(), wanted.to.to_owned());
        return Err(BackfillError::Empty { pipeline: name, from, to, why });
    };
    let until = Some(after(last.logical_date));
    let range = RunRange { from: Some(first.logical_date), until, state: None };
    let limit = i64::try_from(DATES_MAX).unwrap_or(i64::MAX).saturating_mul(2);
    let runs: HashMap<String, RunState> = store
        .runs_between(&name, &range, limit)
        .await?
        .into_iter()
        .map(|RunEntry { key, state, .. }| (key, state))
        .collect();
    let mut dates: Vec<PlannedDate> = dates
        .into_iter()
        .map(|selected| {
            let run = runs.get(&selected.key).copied();
            PlannedDate { selected, run, action: action(wanted.reprocess, run) }
        })
        .collect();
    if wanted.backwards {
        dates.reverse();
    }
    Ok(BackfillPlan { dates, warnings })
}

/// The dates of the range that may run, oldest first, and what was left out.
fn dates(
    pipeline: &Pipeline,
    wanted: BackfillWanted<'_>,
    now: Timestamp,
) -> Result<(Vec<Selected>, Vec<String>), BackfillError> {
    if pipeline.data_interval == DataInterval::None {
        return Err(BackfillError::NoInterval(pipeline.name.to_string()));
    }
    let zone = zone_of(pipeline);
    let read =
        |flag, text| schedule::stretch(text, &zone).map_err(|source| BackfillError::Date { flag, source });
    let (from, to) = (read("from", wanted.from)?, read("to", wanted.to)?);
    if from.start >= to.end {
        return Err(BackfillError::Backwards(wanted.from.to_owned(), wanted.to.to_owned()));
    }
    let stretch = Interval { start: from.start, end: to.end };
    let (mut dates, more) = schedule::runs_between(
        pipeline.data_interval,
        &zone,
        pipeline.calendar.as_ref(),
        stretch,
        now,
        DATES_MAX,
    );
    if more {
        return Err(BackfillError::TooMany);
    }
    let mut warnings = Vec::new();
    let early = dates.iter().filter(|date| pipeline.starts_after(date.logical_date)).count();
    if let (Some(start), 1..) = (pipeline.start_date, early) {
        dates.retain(|date| !pipeline.starts_after(date.logical_date));
        warnings.push(format!("left out, before start_date {start}: {early}"));
    }
    let unfinished = dates.iter().filter(|date| !date.finished).count();
    if unfinished > 0 {
        dates.retain(|date| date.finished);
        warnings.push(format!("left out, not over yet: {unfinished}"));
    }
    Ok((dates, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_to_a_date() {
        let mut table = String::new();
        for reprocess in Reprocess::ALL {
            for run in std::iter::once(None).chain(RunState::ALL.iter().copied().map(Some)) {
                let word = run.map_or("no run", RunState::word);
                let happens = action(reprocess, run).word();
                table += &format!("{:8} {word:11} {happens}\n", reprocess.word());
            }
        }
        insta::assert_snapshot!(table);
    }
}
