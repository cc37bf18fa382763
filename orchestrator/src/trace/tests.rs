//! What a trace looks like, as people would see it: spans as a tree, with seconds since the run was made.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use trunkline_state::{
    document::Document,
    elements::Element,
    ids::RunId,
    machine::Transition,
    pipeline::Pipeline,
    run::Failure,
    store::{AttemptRow, RunRow, TaskRow},
};
use uuid::Uuid;

use super::*;

const MADE: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn at(second: i64) -> Timestamp {
    MADE + SignedDuration::from_secs(second)
}

/// A run as the store has it, written line by line.
struct Story {
    run: RunRow,
    pipeline: Pipeline,
    tasks: Vec<TaskRow>,
    attempts: Vec<AttemptRow>,
    history: Vec<Transition>,
}

impl Story {
    fn of(tasks: &[&str]) -> Self {
        let second = json!({ "secs": 1, "nanos": 0 });
        let entry = |name: &&str| {
            json!({
                "name": name, "type": "glue_job", "settings": {}, "depends_on": [], "trigger_rule": "all_success",
                "connection": "aws", "timeout": second, "poll_interval": second,
                "retry": { "retries": 1, "delay": second, "backoff": 1.0, "delay_max": second },
            })
        };
        let pipeline = json!({
            "name": "daily", "owner": "data", "environment": "prod", "timezone": "UTC", "data_interval": "day",
            "catchup": "none", "max_active_runs": 1, "tasks": tasks.iter().map(entry).collect::<Vec<_>>(),
        });
        let run = RunRow {
            id: RunId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0007)),
            pipeline: "daily".to_owned(),
            version: 3,
            key: "2026-11-19".to_owned(),
            state: String::new(),
            generation: 1,
            logical_date: at(-86_400),
            interval_start: Some(at(-86_400)),
            interval_end: Some(MADE),
            fire_at: None,
            params: json!({ "password": "nobody may see it" }),
            trigger: "manual".to_owned(),
            created_at: MADE,
            created_by: "user:ann".to_owned(),
            started_at: None,
            ended_at: None,
            cancel_reason: None,
            task_states: Vec::new(),
            has_place: false,
            owner: None,
            owner_lives: false,
            event_seq: 0,
        };
        let mut story = Self {
            run,
            pipeline: serde_json::from_value(pipeline).unwrap(),
            tasks: Vec::new(),
            attempts: Vec::new(),
            history: Vec::new(),
        };
        for name in tasks {
            story.task(name, None);
        }
        story
    }

    fn task(&mut self, name: &str, element: Option<Element>) {
        self.tasks.push(TaskRow {
            position: self.tasks.len(),
            task: name.to_owned(),
            state: String::new(),
            generation: 1,
            attempts: 0,
            tries: 0,
            retry_at: None,
            outputs: Some(json!({ "secret": "nobody may see it" })),
            warnings: Vec::new(),
            failure: None,
            started_at: None,
            ended_at: None,
            element,
            elements: None,
        });
    }

    fn line(&mut self, second: i64, of: (Option<usize>, Option<u32>), states: (&str, &str), reason: &str) {
        self.history.push(Transition {
            at: at(second),
            task: of.0,
            attempt: of.1,
            from: (!states.0.is_empty()).then(|| states.0.to_owned()),
            to: states.1.to_owned(),
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
        });
    }

    fn runs(&mut self, second: i64, from: &str, to: &str, reason: &str) {
        self.line(second, (None, None), (from, to), reason);
    }

    fn goes(&mut self, second: i64, task: usize, from: &str, to: &str, reason: &str) {
        self.line(second, (Some(task), None), (from, to), reason);
    }

    /// One attempt from its intent to its end.
    fn tries(
        &mut self,
        seconds: (i64, i64),
        task: usize,
        number: u32,
        state: &str,
        failure: Option<Failure>,
    ) {
        self.line(seconds.0, (Some(task), Some(number)), ("", "starting"), "");
        self.line(seconds.1, (Some(task), Some(number)), ("running", state), "");
        self.attempts.push(AttemptRow {
            position: task,
            number,
            attempt_id: Uuid::nil(),
            generation: self.run.generation,
            state: state.to_owned(),
            operator: "glue_job".to_owned(),
            request: Document::of(&json!({ "key": "nobody may see it" })),
            baseline: Document::null(),
            intent_at: at(seconds.0),
            deferred_until: None,
            handle: None,
            external_id: Some(format!("jr_{task}_{number}")),
            reattached: number == 2,
            deadline_at: at(seconds.0 + 100),
            note: None,
            started_at: Some(at(seconds.0 + 1)),
            ended_at: Some(at(seconds.1)),
            failure,
            result: (state == "succeeded")
                .then(|| json!({ "cost": { "dpu_seconds": 12.5, "kind": "flex" } })),
        });
        self.attempts.sort_by_key(|attempt| (attempt.position, attempt.number));
    }

    fn trace(&self, generation: u32, second: i64, most: usize) -> Vec<Span> {
        let ended = Ended { run: self.run.id, generation, at: at(second) };
        let mut course = Course::until(ended.at);
        self.history.iter().for_each(|line| course.take(line));
        let facts = Facts {
            ended,
            run: &self.run,
            pipeline: &self.pipeline,
            tasks: &self.tasks,
            attempts: &self.attempts,
            course: &course,
        };
        trace(&facts, most)
    }
}

/// Spans below their parents; of the attributes that all have, only the run's.
fn shown(spans: &[Span]) -> String {
    fn below(spans: &[Span], parent: Option<u64>, depth: usize, text: &mut String) {
        for span in spans.iter().filter(|span| span.parent == parent) {
            let seconds = |at: Timestamp| at.duration_since(MADE).as_secs();
            let indent = "  ".repeat(depth);
            let (start, end) = (seconds(span.start), seconds(span.end));
            text.push_str(&format!("{indent}{} {start}..{end}", span.name));
            if let Some(error) = &span.error {
                text.push_str(&format!(" ERROR {error}"));
            }
            text.push('\n');
            let shared = ["trunkline.pipeline", "trunkline.run", "trunkline.environment"];
            for (name, value) in &span.attributes {
                if depth == 0 || !shared.contains(&name.as_str()) {
                    text.push_str(&format!("{indent}    {name}={value}\n"));
                }
            }
            below(spans, Some(span.id), depth + 1, text);
        }
    }
    let mut text = String::new();
    below(spans, None, 0, &mut text);
    assert!(!text.contains("nobody may see it"), "{text}");
    text
}

fn failure() -> Failure {
    Failure {
        code: Some("OutOfMemory".to_owned()),
        request_id: Some("r-1".to_owned()),
        ..Failure::new("failed", "Command failed with exit code 1")
    }
}

/// It fails at its second task, after a try that failed as well; the third cannot run, the fourth need not.
fn failed() -> Story {
    let mut story = Story::of(&["crawl", "convert", "repair", "report"]);
    story.runs(5, "queued", "running", "");
    story.goes(5, 0, "waiting", "queued", "");
    story.goes(5, 0, "queued", "running", "");
    story.tries((5, 20), 0, 1, "succeeded", None);
    story.goes(20, 0, "running", "succeeded", "");
    story.goes(20, 1, "waiting", "queued", "");
    story.tries((21, 40), 1, 1, "failed", Some(failure()));
    story.goes(40, 1, "running", "retrying", "");
    story.goes(50, 1, "retrying", "queued", "");
    story.tries((50, 60), 1, 2, "failed", Some(failure()));
    story.goes(60, 1, "running", "failed", "");
    story.goes(60, 3, "waiting", "upstream_failed", "convert failed");
    story.goes(60, 2, "waiting", "skipped", "nothing to repair");
    story.runs(60, "running", "failed", "");
    story
}

/// The same, cleared and done.
fn cleared() -> Story {
    let mut story = failed();
    story.run.generation = 2;
    story.goes(100, 1, "failed", "waiting", "cleared by user:ann");
    story.goes(100, 3, "upstream_failed", "waiting", "cleared by user:ann");
    story.runs(100, "failed", "queued", "cleared by user:ann");
    story.runs(110, "queued", "running", "");
    story.goes(110, 1, "waiting", "queued", "");
    story.tries((110, 130), 1, 3, "succeeded", None);
    story.goes(130, 1, "running", "succeeded", "");
    story.goes(130, 3, "waiting", "queued", "");
    story.tries((130, 140), 3, 1, "succeeded", None);
    story.goes(140, 3, "running", "succeeded", "");
    story.runs(140, "running", "succeeded", "");
    story
}

#[test]
fn a_run_that_failed_with_a_retry() {
    insta::assert_snapshot!(shown(&failed().trace(1, 60, SPANS_MAX)));
}

#[test]
fn a_second_generation_is_a_tree_of_its_own_in_the_same_trace() {
    let story = cleared();
    let (first, second) = (story.trace(1, 60, SPANS_MAX), story.trace(2, 140, SPANS_MAX));
    insta::assert_snapshot!(shown(&second));
    // Read after the clear, the first generation is what it was.
    assert_eq!(first, failed().trace(1, 60, SPANS_MAX));
    let mut ids: Vec<u64> = first.iter().chain(&second).map(|span| span.id).collect();
    assert!(first.iter().chain(&second).all(|span| span.trace == story.run.id.0.as_u128()));
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "every span has an id of its own");
}

#[test]
fn a_clear_of_a_live_run_goes_on_in_the_same_tree() {
    let mut story = Story::of(&["crawl"]);
    story.runs(0, "queued", "running", "");
    story.goes(0, 0, "waiting", "queued", "");
    story.tries((0, 10), 0, 1, "failed", Some(failure()));
    story.goes(10, 0, "running", "failed", "");
    story.run.generation = 2;
    story.goes(15, 0, "failed", "waiting", "cleared by user:ann");
    story.runs(15, "running", "running", "cleared by user:ann");
    story.goes(15, 0, "waiting", "queued", "");
    story.tries((15, 30), 0, 2, "succeeded", None);
    story.goes(30, 0, "running", "succeeded", "");
    story.runs(30, "running", "succeeded", "");
    insta::assert_snapshot!(shown(&story.trace(2, 30, SPANS_MAX)));
}

#[test]
fn a_run_that_was_cancelled_while_it_waited_has_no_length() {
    let mut story = Story::of(&["crawl"]);
    story.goes(30, 0, "waiting", "cancelled", "cancelled by user:ann");
    story.runs(30, "queued", "cancelled", "cancelled by user:ann");
    insta::assert_snapshot!(shown(&story.trace(1, 30, SPANS_MAX)));
    assert!(story.trace(1, 31, SPANS_MAX).is_empty(), "there is no such end");
}

#[test]
fn a_failure_of_before_still_counts() {
    let mut story = failed();
    story.goes(100, 0, "succeeded", "waiting", "cleared by user:ann");
    story.runs(100, "failed", "queued", "cleared by user:ann");
    story.runs(101, "queued", "running", "");
    story.goes(101, 0, "waiting", "queued", "");
    story.goes(110, 0, "running", "succeeded", "");
    story.runs(110, "running", "failed", "");
    let spans = story.trace(2, 110, SPANS_MAX);
    assert_eq!(spans.len(), 2);
    let error = spans[0].error.as_deref().unwrap_or_default();
    assert!(error.contains("had failed before"), "{error}");
}

/// A mapped task of some elements, the last of which failed.
fn mapped(elements: usize) -> Story {
    let mut story = Story::of(&["report"]);
    story.runs(0, "queued", "running", "");
    story.goes(0, 0, "waiting", "running", "");
    for index in 0..elements {
        let element = Element { of: 0, index: u32::try_from(index).unwrap(), item: Value::from("x") };
        story.task(&format!("report[{index}]"), Some(element));
        let (task, last) = (index + 1, index + 1 == elements);
        let state = if last { "failed" } else { "succeeded" };
        story.goes(1, task, "waiting", "queued", "");
        story.tries((1, 9), task, 1, state, last.then(failure));
        story.goes(9, task, "running", state, "");
    }
    story.goes(10, 0, "running", "failed", "1 of its elements failed");
    story.runs(10, "running", "failed", "");
    story
}

#[test]
fn elements_lie_below_their_task() {
    insta::assert_snapshot!(shown(&mapped(2).trace(1, 10, SPANS_MAX)));
}

#[test]
fn what_does_not_fit_is_counted_and_failures_come_first() {
    let spans = mapped(50).trace(1, 10, 6);
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let wanted = ["daily@2026-11-19", "report", "report[49]", "report[49] #1", "report[0]", "report[0] #1"];
    assert_eq!(names, wanted);
    let left_out = spans[0].attributes.iter().find(|(name, _)| name == "trunkline.spans_left_out");
    assert_eq!(left_out.map(|(_, value)| value.clone()), Some(Value::from(102 - 6)));
}
