//! The spans of one run: pure, and the same whenever and wherever they are made.
//!
//! The trace's id is the run's, so that all generations of a run lie in one trace; the ids of spans are hashes of
//! what they stand for, so that an export that is repeated writes the same spans.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use trunkline_state::{
    pipeline::Pipeline,
    run::Failure,
    store::{AttemptRow, RunRow, TaskRow},
    words::{AttemptState, RunState, TaskState},
};

use super::{
    Course, Ended, Span,
    attributes::{common, cut, label, put, put_failure},
    course::TaskCourse,
};

/// Spans of one trace: some 1 MB, of which receivers take several, and more than anybody reads. A mapped task
/// may have 10,000 elements with some attempts each.
pub const SPANS_MAX: usize = 2_000;

/// Failed tasks that the run's own error names.
const NAMED_MAX: usize = 5;

/// What a trace is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Which end of the run is meant.
    pub ended: Ended,
    /// The run.
    pub run: &'a RunRow,
    /// What its version says, laid over its tasks.
    pub pipeline: &'a Pipeline,
    /// Its task runs, by position.
    pub tasks: &'a [TaskRow],
    /// Its attempts, by position and number.
    pub attempts: &'a [AttemptRow],
    /// What history says up to this end.
    pub course: &'a Course,
}

/// The spans of a run, the run's own first; at most so many. Nothing, if history has no such end.
pub fn trace(facts: &Facts<'_>, spans_max: usize) -> Vec<Span> {
    let Some(mut root) = run_span(facts) else { return Vec::new() };
    let mut spans = Vec::new();
    let mut left_out = 0_usize;
    for row in by_interest(facts) {
        let Some(course) = facts.course.tasks.get(&row.position) else { continue };
        let Some(task) = task_span(facts, &root, row, course) else { continue };
        let parent = task.id;
        let attempts = course.attempts.iter().filter_map(|(number, times)| {
            let attempt = attempt_of(facts.attempts, row.position, *number)?;
            Some(attempt_span(facts, &root, parent, row, attempt, *times))
        });
        for span in std::iter::once(task).chain(attempts) {
            if spans.len() + 1 < spans_max {
                spans.push(span);
            } else {
                left_out += 1;
            }
        }
    }
    if left_out > 0 {
        put(&mut root.attributes, "spans_left_out", left_out);
    }
    spans.insert(0, root);
    spans
}

/// The task runs in the order in which they may take the room that there is: the pipeline's own, the elements
/// that did not succeed, the others.
fn by_interest<'a>(facts: &Facts<'a>) -> Vec<&'a TaskRow> {
    let failed = |row: &TaskRow| {
        let end = facts.course.tasks.get(&row.position).and_then(|course| course.end.as_ref());
        end.is_some_and(|(_, state, _)| is_error_of_task(*state))
    };
    let mut rows: Vec<&TaskRow> = facts.tasks.iter().collect();
    rows.sort_by_key(|row| match &row.element {
        None => 0,
        Some(_) if failed(row) => 1,
        Some(_) => 2,
    });
    rows
}

fn run_span(facts: &Facts<'_>) -> Option<Span> {
    let (run, course, ended) = (facts.run, facts.course, facts.ended);
    let end = course.end.as_ref()?;
    let mut attributes = common(facts);
    put(&mut attributes, "run_id", run.id.to_string());
    put(&mut attributes, "run_key", run.key.as_str());
    put(&mut attributes, "version", run.version);
    put(&mut attributes, "state", end.state.word());
    put(&mut attributes, "trigger", run.trigger.as_str());
    put(&mut attributes, "created_by", run.created_by.as_str());
    put(&mut attributes, "logical_date", run.logical_date.to_string());
    for (name, at) in [
        ("data_interval.start", run.interval_start),
        ("data_interval.end", run.interval_end),
        ("fire_at", run.fire_at),
        ("queued_at", Some(course.queued_at.unwrap_or(run.created_at))),
    ] {
        if let Some(at) = at {
            put(&mut attributes, name, at.to_string());
        }
    }
    if !facts.pipeline.owner.is_empty() {
        put(&mut attributes, "owner", facts.pipeline.owner.as_str());
    }
    Some(Span {
        trace: run.id.0.as_u128(),
        id: span_id(ended, None),
        parent: None,
        name: label(run),
        // A run that ended before it got a place has no length.
        start: course.started_at.unwrap_or(end.at).min(end.at),
        end: end.at,
        error: matches!(end.state, RunState::Failed | RunState::Cancelled)
            .then(|| cut(end.reason.clone().unwrap_or_else(|| what_failed(facts)))),
        attributes,
    })
}

fn task_span(facts: &Facts<'_>, root: &Span, row: &TaskRow, course: &TaskCourse) -> Option<Span> {
    let (ended_at, state, reason) = course.end.as_ref()?;
    let mut attributes = common(facts);
    put(&mut attributes, "task", row.task.as_str());
    let home = row.element.as_ref().map(|element| element.of);
    if let Some(task) = facts.pipeline.tasks.get(home.unwrap_or(row.position)) {
        put(&mut attributes, "operator", task.operator.as_str());
    }
    put(&mut attributes, "state", state.word());
    put(&mut attributes, "attempts", course.attempts.len());
    let mut error = None;
    if is_error_of_task(*state) {
        let failure = failure_of(facts, row, course);
        error = failure.map(|failure| failure.message.clone()).or_else(|| reason.clone());
        error = Some(error.map_or_else(|| state.word().to_owned(), cut));
        put_failure(&mut attributes, failure);
    } else if let Some(reason) = reason {
        put(&mut attributes, "reason", cut(reason.clone()));
    }
    // An element belongs below its mapped task, if that one is part of this stretch.
    let home = home.filter(|home| facts.course.tasks.get(home).is_some_and(|course| course.end.is_some()));
    let start = course.began.unwrap_or(*ended_at).max(root.start);
    Some(Span {
        trace: root.trace,
        id: span_id(facts.ended, Some((row.position, None))),
        parent: Some(home.map_or(root.id, |home| span_id(facts.ended, Some((home, None))))),
        name: row.task.clone(),
        start,
        end: (*ended_at).max(start),
        error,
        attributes,
    })
}

fn attempt_span(
    facts: &Facts<'_>,
    root: &Span,
    parent: u64,
    row: &TaskRow,
    attempt: &AttemptRow,
    (began, over): (Timestamp, Option<Timestamp>),
) -> Span {
    let mut attributes = common(facts);
    put(&mut attributes, "generation", attempt.generation);
    put(&mut attributes, "task", row.task.as_str());
    put(&mut attributes, "operator", attempt.operator.as_str());
    put(&mut attributes, "attempt", attempt.number);
    put(&mut attributes, "state", attempt.state.as_str());
    put(&mut attributes, "reattached", attempt.reattached);
    if let Some(id) = &attempt.external_id {
        put(&mut attributes, "external_id", id.as_str());
    }
    if let Some(at) = attempt.started_at {
        put(&mut attributes, "job_started_at", at.to_string());
    }
    let cost = attempt.result.as_ref().and_then(|result| result.get("cost")).and_then(Value::as_object);
    for (name, value) in cost.into_iter().flatten().filter(|(_, value)| value.is_number()) {
        put(&mut attributes, &format!("cost.{name}"), value.clone());
    }
    let state = AttemptState::from_word(&attempt.state);
    let wrong = state.is_some_and(|state| state.is_terminal() && state != AttemptState::Succeeded);
    if wrong {
        put_failure(&mut attributes, attempt.failure.as_ref());
    }
    let failure = attempt.failure.as_ref().map(|failure| cut(failure.message.clone()));
    let start = began.max(root.start);
    Span {
        trace: root.trace,
        id: span_id(facts.ended, Some((row.position, Some(attempt.number)))),
        parent: Some(parent),
        name: format!("{} #{}", row.task, attempt.number),
        start,
        end: attempt.ended_at.or(over).unwrap_or(root.end).max(start),
        error: wrong.then(|| failure.unwrap_or_else(|| attempt.state.clone())),
        attributes,
    }
}

/// Why a task failed: what its row says, unless that speaks of a later generation by now.
fn failure_of<'a>(facts: &Facts<'a>, row: &'a TaskRow, course: &TaskCourse) -> Option<&'a Failure> {
    let of_row = row.failure.as_ref().filter(|_| facts.run.generation == facts.ended.generation);
    of_row.or_else(|| {
        let (number, _) = course.attempts.last_key_value()?;
        attempt_of(facts.attempts, row.position, *number)?.failure.as_ref()
    })
}

/// The tasks because of which a run failed.
fn what_failed(facts: &Facts<'_>) -> String {
    let names: HashMap<usize, &str> = facts
        .tasks
        .iter()
        .filter(|row| row.element.is_none())
        .map(|row| (row.position, row.task.as_str()))
        .collect();
    let failed = facts.course.tasks.iter().filter_map(|(position, course)| {
        let failed = matches!(course.end, Some((_, TaskState::Failed, _)));
        failed.then(|| names.get(position).copied()).flatten()
    });
    let failed: Vec<&str> = failed.collect();
    if failed.is_empty() {
        // What had failed before was not cleared, and still counts.
        return "nothing failed in this generation, but tasks that had failed before".to_owned();
    }
    let mut text = format!("failed: {}", failed[..failed.len().min(NAMED_MAX)].join(", "));
    if failed.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", failed.len() - NAMED_MAX));
    }
    text
}

/// What did not run because of others is told by them.
fn is_error_of_task(state: TaskState) -> bool {
    matches!(state, TaskState::Failed | TaskState::Cancelled)
}

fn attempt_of(attempts: &[AttemptRow], position: usize, number: u32) -> Option<&AttemptRow> {
    let found =
        attempts.binary_search_by_key(&(position, number), |attempt| (attempt.position, attempt.number));
    found.ok().map(|index| &attempts[index])
}

/// The id of a span: the run's without a task, a task's without an attempt.
fn span_id(ended: Ended, of: Option<(usize, Option<u32>)>) -> u64 {
    let part = match of {
        None => "run".to_owned(),
        Some((task, None)) => format!("task {task}"),
        Some((task, Some(number))) => format!("task {task} attempt {number}"),
    };
    let hash = Sha256::digest(format!("{} {} {part}", ended.run, ended.generation));
    let id = hash.iter().take(8).fold(0, |id, byte| (id << 8) | u64::from(*byte));
    // OpenTelemetry has no span 0.
    id.max(1)
}
