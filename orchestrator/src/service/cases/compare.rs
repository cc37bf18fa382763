//! Every expectation of a case against what was seen.

use std::ops::Range;

use serde_json::Value;

use super::{
    Line, Mismatch, Seen, SeenNotice, SeenTask,
    values::{Extent, difference, shortened},
};
use crate::definition::cases::{Case, ExpectedNotice, ExpectedRows, ExpectedTask};

/// Lines of a text that are shown where words are missing in it.
const TEXT_LINES_MAX: usize = 25;

/// What is not as the case expects; nothing if it passes.
pub fn compare(case: &Case, seen: &Seen) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let expect = &case.expect;
    if let Some(stuck) = &seen.stuck {
        let what = format!("the run does not end: {stuck}");
        found.push(Mismatch { span: case.name.span.clone(), what, lines: Vec::new() });
    }
    if expect.run.value.word() != seen.run {
        let mut lines = pair(expect.run.value.word(), &seen.run);
        // Why, in the words of the tasks to which nothing is expected.
        lines.extend(reasons(case, seen));
        found.push(mismatch(&expect.run.span, "the run", lines));
    }
    if let Some(key) = expect.key.as_ref().filter(|key| key.value != seen.key) {
        found.push(mismatch(&key.span, "the run's key", pair(&key.value, &seen.key)));
    }
    if let Some(covers) = expect.covers.as_ref().filter(|covers| !seen.covers.contains(&covers.value)) {
        found.push(mismatch(&covers.span, "what the run covers", pair(&covers.value, &seen.covers)));
    }
    for expected in &expect.tasks {
        if let Some(task) = seen.tasks.get(expected.task) {
            compare_task(expected, task, &mut found);
        }
    }
    if let Some(notices) = &expect.notices {
        compare_notices(&notices.value, &notices.span, &seen.notices, &mut found);
    }
    for (expected, rows) in expect.queries.iter().zip(&seen.rows) {
        compare_rows(expected, rows, &mut found);
    }
    found
}

fn mismatch(span: &Range<usize>, what: impl Into<String>, lines: Vec<Line>) -> Mismatch {
    Mismatch { span: span.clone(), what: what.into(), lines }
}

fn pair(expected: &str, seen: &str) -> Vec<Line> {
    vec![Line::Expected(expected.to_owned()), Line::Seen(seen.to_owned())]
}

/// The failures of tasks, for a run that ended in another way than expected.
fn reasons(case: &Case, seen: &Seen) -> Vec<Line> {
    let expected =
        |position: usize| case.expect.tasks.iter().any(|task| task.task == position && task.error.is_some());
    let failed = seen
        .tasks
        .iter()
        .enumerate()
        .filter(|(position, task)| task.state == "failed" && !expected(*position));
    failed
        .filter_map(|(_, task)| task.failure.as_ref())
        .map(|(class, message)| Line::Note(format!("{class}: {}", first_line(message))))
        .collect()
}

fn first_line(text: &str) -> String {
    shortened(text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default())
}

fn compare_task(expected: &ExpectedTask, seen: &SeenTask, found: &mut Vec<Mismatch>) {
    let name = &expected.name;
    let failure = || {
        seen.failure.iter().map(|(class, message)| Line::Note(format!("{class}: {}", first_line(message))))
    };
    if let Some(state) = expected.state.as_ref().filter(|state| state.value.word() != seen.state) {
        let lines = pair(state.value.word(), &seen.state).into_iter().chain(failure()).collect();
        found.push(mismatch(&state.span, format!("task {name}"), lines));
    }
    if let Some(attempts) = expected.attempts.as_ref().filter(|attempts| attempts.value != seen.attempts) {
        let lines = pair(&attempts.value.to_string(), &seen.attempts.to_string());
        found.push(mismatch(&attempts.span, format!("the attempts of {name}"), lines));
    }
    let (class, message) = seen.failure.clone().unwrap_or_default();
    if let Some(wanted) = expected.class.as_ref().filter(|wanted| wanted.value != class) {
        found.push(mismatch(
            &wanted.span,
            format!("the failure's class of {name}"),
            pair(&wanted.value, or_none(&class)),
        ));
    }
    if let Some(wanted) = expected.error.as_ref().filter(|wanted| !message.contains(&wanted.value)) {
        let lines = missing(&wanted.value, or_none(&message));
        found.push(mismatch(&wanted.span, format!("the failure's message of {name}"), lines));
    }
    let none = Value::Null;
    let request = seen.request.as_ref().unwrap_or(&none);
    let values = [
        (&expected.request, request, Extent::AtLeast, "the request of"),
        (&expected.request_exactly, request, Extent::Whole, "the whole request of"),
        (&expected.outputs, &seen.outputs, Extent::AtLeast, "the outputs of"),
        (&expected.outputs_exactly, &seen.outputs, Extent::Whole, "all outputs of"),
    ];
    for (wanted, value, extent, what) in values {
        let Some(wanted) = wanted else { continue };
        let lines = difference(&wanted.value, value, extent);
        if !lines.is_empty() {
            found.push(mismatch(&wanted.span, format!("{what} {name}"), lines));
        }
    }
    if let Some(warnings) = &expected.warnings {
        let fits = warnings.value.len() == seen.warnings.len()
            && warnings.value.iter().zip(&seen.warnings).all(|(words, warning)| warning.contains(words));
        if !fits {
            let wanted = warnings.value.iter().cloned().map(Line::Expected);
            let lines = wanted.chain(seen.warnings.iter().cloned().map(Line::Seen)).collect();
            found.push(mismatch(&warnings.span, format!("the warnings of {name}"), lines));
        }
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// The words that a text lacks, and the text.
fn missing(words: &str, text: &str) -> Vec<Line> {
    let shown = text.lines().take(TEXT_LINES_MAX).map(|line| Line::Seen(shortened(line)));
    let rest = text.lines().count().saturating_sub(TEXT_LINES_MAX);
    let more = (rest > 0).then(|| Line::Note(format!("and {rest} more lines")));
    std::iter::once(Line::Expected(shortened(words))).chain(shown).chain(more).collect()
}

/// Every notice must be one of those that are expected, and each of those must have come as often
/// as is said.
fn compare_notices(
    expected: &[ExpectedNotice],
    whole: &Range<usize>,
    seen: &[SeenNotice],
    found: &mut Vec<Mismatch>,
) {
    let mut free: Vec<&SeenNotice> = seen.iter().collect();
    let mut unmet = Vec::new();
    for one in expected {
        for _ in 0..one.count {
            match free.iter().position(|notice| faults(one, notice).is_empty()) {
                Some(position) => {
                    free.remove(position);
                }
                None => unmet.push(one),
            }
        }
    }
    for one in unmet {
        // The one that comes nearest explains best what is wrong.
        let nearest = free.iter().enumerate().min_by_key(|(_, notice)| faults(one, notice).len());
        let Some((position, notice)) = nearest.map(|(position, notice)| (position, *notice)) else {
            let lines = vec![Line::Note(counted(seen.len()))];
            found.push(mismatch(&one.span, "a notice was not sent", lines));
            continue;
        };
        let lines = faults(one, notice);
        free.remove(position);
        found.push(mismatch(&one.span, "a notice differs", lines));
    }
    for notice in free {
        let on = notice.on.map(|on| format!("on_{}: ", on.word())).unwrap_or_default();
        let lines = vec![Line::Seen(format!("{on}{}", notice.subject))];
        found.push(mismatch(whole, "a notice that is not expected", lines));
    }
}

fn counted(number: usize) -> String {
    match number {
        0 => "none was sent".to_owned(),
        1 => "1 was sent, and is expected already".to_owned(),
        several => format!("{several} were sent, and are expected already"),
    }
}

/// What keeps a notice from being the expected one.
fn faults(expected: &ExpectedNotice, seen: &SeenNotice) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(on) = expected.on.filter(|on| Some(*on) != seen.on) {
        let seen = seen.on.map_or("unknown", |on| on.word());
        lines.extend(pair(&format!("on: {}", on.word()), &format!("on: {seen}")));
    }
    if let Some(to) = expected.to.as_ref().filter(|to| **to != seen.to) {
        lines.extend(pair(&format!("to: {to}"), &format!("to: {}", seen.to)));
    }
    if let Some(subject) = expected.subject.as_ref().filter(|subject| **subject != seen.subject) {
        lines.extend(pair(&format!("subject: {subject}"), &format!("subject: {}", seen.subject)));
    }
    for words in expected.contains.iter().filter(|words| !seen.body.contains(words.as_str())) {
        lines.extend(missing(words, &seen.body));
    }
    for words in expected.lacks.iter().filter(|words| seen.body.contains(words.as_str())) {
        let line = seen.body.lines().find(|line| line.contains(words.as_str())).unwrap_or(words);
        lines.push(Line::Note(format!("not to be in its text: {words}")));
        lines.push(Line::Seen(shortened(line)));
    }
    lines
}

fn compare_rows(expected: &ExpectedRows, seen: &Result<Vec<Value>, String>, found: &mut Vec<Mismatch>) {
    let rows = match seen {
        Ok(rows) => rows,
        Err(error) => {
            let lines = error.lines().map(|line| Line::Note(line.to_owned())).collect();
            found.push(mismatch(&expected.span, "the query cannot be answered", lines));
            return;
        }
    };
    // A row that is expected as a list is compared by position, else by the columns' names.
    let as_expected = |(row, wanted): (&Value, Option<&Value>)| match (row, wanted) {
        (Value::Object(columns), Some(Value::Array(_)) | None) => {
            Value::Array(columns.values().cloned().collect())
        }
        _ => row.clone(),
    };
    let wanted = (0..rows.len()).map(|position| expected.rows.get(position));
    let seen: Vec<Value> = rows.iter().zip(wanted).map(as_expected).collect();
    let lines = difference(&Value::Array(expected.rows.clone()), &Value::Array(seen), Extent::AtLeast);
    if !lines.is_empty() {
        found.push(mismatch(&expected.span, "the rows of the query", lines));
    }
}
