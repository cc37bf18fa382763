//! What came of a case of `tests.yaml`, against what must come of it. Pure: values in, a verdict
//! with places out; who ran the case, and how, is not known here.

pub mod ask;
mod compare;
mod values;

use std::ops::Range;

use serde::Serialize;
use serde_json::Value;
use trunkline_state::{
    machine::NoticeOutcome,
    schedule::{Interval, describe_instant, describe_interval},
    store::{AttemptRow, RunRow, TaskRow},
};

pub use self::compare::compare;
use super::find::zone_of;
use crate::{
    definition::{Diagnostics, cases::Case},
    engine::rehearsal::{Rehearsed, shown_request},
};
use trunkline_state::pipeline::Pipeline;

/// What came of a case.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How the run ended, or where it stood when nobody waited any longer.
    pub run: String,
    /// Why it did not end, if it did not.
    pub stuck: Option<String>,
    /// Its key.
    pub key: String,
    /// What it covers, as people read it.
    pub covers: String,
    /// Its tasks, by position.
    pub tasks: Vec<SeenTask>,
    /// The notices that were sent.
    pub notices: Vec<SeenNotice>,
    /// What the case's queries gave, in its order.
    pub rows: Vec<Result<Vec<Value>, String>>,
}

/// What came of one task.
#[derive(Clone, Debug, Default)]
pub struct SeenTask {
    /// How it ended.
    pub state: String,
    /// How many attempts it had.
    pub attempts: u32,
    /// Its last request; none where it had none.
    pub request: Option<Value>,
    /// What it left.
    pub outputs: Value,
    /// What it warned of.
    pub warnings: Vec<String>,
    /// Its failure's class and message.
    pub failure: Option<(String, String)>,
}

/// A notice that was sent.
#[derive(Clone, Debug, Default)]
pub struct SeenNotice {
    /// Its list, where that is known.
    pub on: Option<NoticeOutcome>,
    /// Where it went.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub body: String,
}

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where it stands in `tests.yaml`.
    pub span: Range<usize>,
    /// What is not as expected.
    pub what: String,
    /// How the two differ; may be empty.
    pub lines: Vec<Line>,
}

/// One line of a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Only expected.
    Expected(String),
    /// Only seen.
    Seen(String),
    /// For people.
    Note(String),
}

/// A verdict with places, for people and programs.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The pipeline.
    pub pipeline: String,
    /// The case.
    pub case: String,
    /// The file of its case.
    pub file: String,
    /// The line of its case.
    pub line: usize,
    /// Whether it really executed.
    pub sandbox: bool,
    /// Whether everything came as expected.
    pub passed: bool,
    /// What did not.
    pub failures: Vec<Failed>,
}

/// One expectation that was not met, with its place.
#[derive(Clone, Debug, Serialize)]
pub struct Failed {
    /// The line in `tests.yaml`.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// What is not as expected.
    pub what: String,
    /// How the two differ.
    pub difference: Vec<Line>,
}

impl Verdict {
    /// The verdict on a case.
    pub fn of(pipeline: &Pipeline, case: &Case, mismatches: Vec<Mismatch>, files: &Diagnostics) -> Self {
        let (line, _) = files.sources.position(case.source, case.name.span.start);
        let failures = mismatches.into_iter().map(|mismatch| {
            let (line, column) = files.sources.position(case.source, mismatch.span.start);
            Failed { line, column, what: mismatch.what, difference: mismatch.lines }
        });
        let failures: Vec<Failed> = failures.collect();
        Self {
            pipeline: pipeline.name.to_string(),
            case: case.name.value.clone(),
            file: files.sources.get(case.source).name.clone(),
            line,
            sandbox: case.sandbox,
            passed: failures.is_empty(),
            failures,
        }
    }
}

impl Seen {
    /// What a store holds of a run.
    pub fn of_rows(pipeline: &Pipeline, run: &RunRow, tasks: &[TaskRow], attempts: &[AttemptRow]) -> Self {
        let zone = zone_of(pipeline);
        let interval = run.interval_start.zip(run.interval_end).map(|(start, end)| Interval { start, end });
        let covers = match interval {
            Some(interval) => describe_interval(&zone, Some(interval), run.fire_at),
            None => format!("logical date {}", describe_instant(&zone, run.logical_date)),
        };
        Self {
            run: run.state.clone(),
            key: run.key.clone(),
            covers,
            tasks: tasks.iter().map(|task| seen_task(task, attempts)).collect(),
            ..Self::default()
        }
    }

    /// What came of a rehearsal.
    pub fn of_rehearsal(pipeline: &Pipeline, rehearsed: Rehearsed) -> Self {
        let Rehearsed { run, tasks, attempts, notices, stuck } = rehearsed;
        let notices = notices.into_iter().map(|told| match told.letter {
            Ok((target, mail)) => SeenNotice {
                on: Some(told.outcome),
                to: target.shown(),
                subject: mail.subject,
                body: mail.body,
            },
            Err(error) => {
                let body = format!("it cannot be written: {error}");
                SeenNotice { on: Some(told.outcome), body, ..SeenNotice::default() }
            }
        });
        let notices = notices.collect();
        Self { stuck, notices, ..Self::of_rows(pipeline, &run, &tasks, &attempts) }
    }
}

fn seen_task(task: &TaskRow, attempts: &[AttemptRow]) -> SeenTask {
    let own = attempts.iter().filter(|attempt| attempt.position == task.position);
    let last = own.filter_map(|attempt| Some((attempt.number, shown_request(attempt)?)));
    SeenTask {
        state: task.state.clone(),
        attempts: task.attempts,
        request: last.max_by_key(|(number, _)| *number).map(|(_, request)| request),
        outputs: task.outputs.clone().unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        warnings: task.warnings.clone(),
        failure: task.failure.as_ref().map(|failure| (failure.class.clone(), failure.message.clone())),
    }
}
