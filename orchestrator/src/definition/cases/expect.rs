//! `expect`: what must come of a case.

use serde_json::Value;
use trunkline_state::{
    machine::NoticeOutcome,
    words::{RunState, TaskState},
};

use super::{
    Expectation, ExpectedNotice, ExpectedRows, ExpectedTask, Placed, answers::CLASSES, read::Reading,
};
use crate::definition::{
    reader::Keys,
    tree::{Entry, Kind, Node},
};

/// The keys of `expect`.
pub(super) const EXPECT_KEYS: [&str; 6] = ["run", "key", "covers", "tasks", "notices", "queries"];
/// The keys of a task in it.
pub(super) const TASK_KEYS: [&str; 9] = [
    "state",
    "attempts",
    "error",
    "class",
    "request",
    "request_exactly",
    "outputs",
    "outputs_exactly",
    "warnings",
];
/// The keys of a notice in it.
pub(super) const NOTICE_KEYS: [&str; 6] = ["on", "to", "subject", "contains", "lacks", "count"];
/// The keys of a query in it.
pub(super) const QUERY_KEYS: [&str; 3] = ["sql", "database", "rows"];
/// More notices, queries or rows of one are no example any more.
pub(super) const LIST_MAX: usize = 1_000;
/// Attempts that can be expected: over all tries of a task.
pub(super) const ATTEMPTS_MAX: u32 = 1_000;

/// Reads what must come of a case.
pub(super) fn expectation(reading: &mut Reading<'_>, entry: &Entry, sandbox: bool) -> Option<Expectation> {
    let mapping = reading.reader.mapping(&entry.value, "expect")?;
    reading.reader.check_keys(mapping, Keys { of: "`expect`", known: &EXPECT_KEYS, later: &[] });
    let run = mapping.get("run").map(|entry| placed_word(reading, entry, &run_states()));
    if run.is_none() {
        let help = "add run: succeeded";
        reading.wrong(&entry.value.span, "`expect` needs `run`", "how does the run end?", help);
    }
    let key = mapping.get("key").and_then(|entry| placed_text(reading, entry));
    let covers = mapping.get("covers").and_then(|entry| placed_text(reading, entry));
    let tasks = mapping.get("tasks").map(|entry| tasks(reading, entry)).unwrap_or_default();
    let notices = mapping.get("notices").map(|entry| {
        let nodes = list(reading, entry);
        let read = nodes.iter().filter_map(|node| notice(reading, node, sandbox)).collect();
        Placed::new(read, &entry.key_span)
    });
    let queries = mapping.get("queries").map(|entry| queries(reading, entry, sandbox)).unwrap_or_default();
    Some(Expectation { run: run.flatten()?, key, covers, tasks, notices, queries })
}

/// The states in which a run can rest at the end.
fn run_states() -> Vec<(&'static str, RunState)> {
    let terminal = RunState::ALL.iter().filter(|state| state.is_terminal());
    terminal.map(|state| (state.word(), *state)).collect()
}

fn task_states() -> Vec<(&'static str, TaskState)> {
    let terminal = TaskState::ALL.iter().filter(|state| state.is_terminal());
    terminal.map(|state| (state.word(), *state)).collect()
}

/// The words for how runs and tasks end, and for the lists of notices: for the schema.
pub(super) fn words() -> [Vec<&'static str>; 3] {
    [
        run_states().into_iter().map(|(word, _)| word).collect(),
        task_states().into_iter().map(|(word, _)| word).collect(),
        NoticeOutcome::ALL.into_iter().map(NoticeOutcome::word).collect(),
    ]
}

fn placed_word<T: Copy>(reading: &mut Reading<'_>, entry: &Entry, words: &[(&str, T)]) -> Option<Placed<T>> {
    reading.reader.word(entry, words).map(|value| Placed::new(value, &entry.value.span))
}

fn placed_text(reading: &mut Reading<'_>, entry: &Entry) -> Option<Placed<String>> {
    reading.reader.template(entry).map(|value| Placed::new(value, &entry.value.span))
}

fn tasks(reading: &mut Reading<'_>, entry: &Entry) -> Vec<ExpectedTask> {
    let Some(mapping) = reading.reader.mapping(&entry.value, "tasks") else { return Vec::new() };
    let mut read = Vec::with_capacity(mapping.entries.len());
    for entry in &mapping.entries {
        let task = reading.task(&entry.key, &entry.key_span);
        let expected = expected_task(reading, entry);
        if let (Some(task), Some(expected)) = (task, expected) {
            read.push(ExpectedTask { name: entry.key.clone(), task, ..expected });
        }
    }
    read
}

/// A state alone, or everything by its key.
fn expected_task(reading: &mut Reading<'_>, entry: &Entry) -> Option<ExpectedTask> {
    let Kind::Mapping(mapping) = &entry.value.kind else {
        let state = placed_word(reading, entry, &task_states())?;
        return Some(ExpectedTask { state: Some(state), ..ExpectedTask::default() });
    };
    let keys = Keys { of: "an expected task", known: &TASK_KEYS, later: &[] };
    reading.reader.check_keys(mapping, keys);
    let mut expected = ExpectedTask::default();
    for inner in &mapping.entries {
        match inner.key.as_str() {
            "state" => expected.state = placed_word(reading, inner, &task_states()),
            "attempts" => {
                let attempts = reading.reader.integer(inner, 0..=ATTEMPTS_MAX);
                expected.attempts = attempts.map(|value| Placed::new(value, &inner.value.span));
            }
            "error" => expected.error = placed_text(reading, inner),
            "class" => {
                let words: Vec<(&str, &str)> = CLASSES.iter().map(|word| (*word, *word)).collect();
                let class = placed_word(reading, inner, &words);
                expected.class = class.map(|class| Placed::new(class.value.to_owned(), &class.span));
            }
            "request" => expected.request = placed_object(reading, inner),
            "request_exactly" => expected.request_exactly = placed_object(reading, inner),
            "outputs" => expected.outputs = placed_object(reading, inner),
            "outputs_exactly" => expected.outputs_exactly = placed_object(reading, inner),
            "warnings" => {
                expected.warnings = Some(Placed::new(reading.texts(inner), &inner.value.span));
            }
            _ => {}
        }
    }
    Some(expected)
}

fn placed_object(reading: &mut Reading<'_>, entry: &Entry) -> Option<Placed<Value>> {
    reading.reader.mapping(&entry.value, &entry.key)?;
    Some(Placed::new(entry.value.to_json(), &entry.value.span))
}

fn list<'n>(reading: &mut Reading<'_>, entry: &'n Entry) -> &'n [Node] {
    let Kind::Sequence(items) = &entry.value.kind else {
        reading.reader.mismatch(&entry.value, &entry.key, "a list");
        return &[];
    };
    if let Some(extra) = items.get(LIST_MAX) {
        let message = format!("`{}` has more than {LIST_MAX} entries", entry.key);
        reading.wrong(&extra.span, &message, "one too many", "expect fewer");
    }
    &items[..items.len().min(LIST_MAX)]
}

fn notice(reading: &mut Reading<'_>, node: &Node, sandbox: bool) -> Option<ExpectedNotice> {
    let mapping = reading.reader.mapping(node, "notices")?;
    let keys = Keys { of: "an expected notice", known: &NOTICE_KEYS, later: &[] };
    reading.reader.check_keys(mapping, keys);
    if let (true, Some(entry)) = (sandbox, mapping.get("on")) {
        let help = "tell it by its `subject`";
        reading.wrong(
            &entry.key_span,
            "a mail does not say which list it is from",
            "not on the sandbox",
            help,
        );
    }
    let outcomes = NoticeOutcome::ALL.map(|outcome| (outcome.word(), outcome));
    let on = mapping.get("on").map(|entry| reading.reader.word(entry, &outcomes));
    let mut text = |key: &str| mapping.get(key).map(|entry| reading.reader.template(entry));
    let (to, subject) = (text("to"), text("subject"));
    let contains = mapping.get("contains").map(|entry| reading.texts(entry)).unwrap_or_default();
    let lacks = mapping.get("lacks").map(|entry| reading.texts(entry)).unwrap_or_default();
    let count = mapping.get("count").map(|entry| reading.reader.integer(entry, 1..=ATTEMPTS_MAX));
    let count = count.unwrap_or(Some(1))?;
    Some(ExpectedNotice {
        span: node.span.clone(),
        count,
        on: on.flatten(),
        to: to.flatten(),
        subject: subject.flatten(),
        contains,
        lacks,
    })
}

fn queries(reading: &mut Reading<'_>, entry: &Entry, sandbox: bool) -> Vec<ExpectedRows> {
    if !sandbox {
        let message = "there are no tables to ask where the answers are scripted";
        reading.wrong(&entry.key_span, message, "not here", "add sandbox: true");
    }
    list(reading, entry).iter().filter_map(|node| query(reading, node)).collect()
}

fn query(reading: &mut Reading<'_>, node: &Node) -> Option<ExpectedRows> {
    let mapping = reading.reader.mapping(node, "queries")?;
    reading.reader.check_keys(mapping, Keys { of: "a query", known: &QUERY_KEYS, later: &[] });
    let missing = ["sql", "rows"].into_iter().find(|key| mapping.get(key).is_none());
    if let Some(key) = missing {
        let message = format!("a query needs `{key}`");
        let label = format!("`{key}` is missing");
        reading.wrong(&node.span, &message, &label, "write { sql: SELECT 1, rows: [[1]] }");
        return None;
    }
    let sql = reading.reader.template(mapping.get("sql")?)?;
    let database = mapping.get("database").and_then(|entry| reading.reader.text(entry));
    let rows = list(reading, mapping.get("rows")?);
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        if row.as_scalar().is_some() {
            reading.reader.mismatch(row, "rows", "a list of values, or names with values");
            return None;
        }
        values.push(row.to_json());
    }
    Some(ExpectedRows { span: node.span.clone(), sql, database, rows: values })
}
