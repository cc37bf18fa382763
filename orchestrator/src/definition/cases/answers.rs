//! `answers`: what the services make of each attempt, by task.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};
use trunkline_state::run::Failure;

use super::{Answer, Ending, Script, TAKES, read::Reading};
use crate::definition::{
    reader::{Keys, shorten},
    tree::{Entry, Kind, Mapping, Node},
};

/// The keys of an answer.
pub(super) const ANSWER_KEYS: [&str; 11] = [
    "outputs",
    "warnings",
    "cost",
    "fails",
    "refused",
    "lost",
    "approved",
    "rejected",
    "takes",
    "throttled",
    "id",
];
/// Those of them that say how an attempt ends; each excludes the others.
const ENDINGS: [&str; 5] = ["fails", "refused", "lost", "approved", "rejected"];
/// Those that belong to a success.
const OF_SUCCESS: [&str; 2] = ["outputs", "warnings"];
/// The keys of a failure.
pub(super) const FAILURE_KEYS: [&str; 3] = ["class", "code", "message"];
/// The units of `cost`.
pub(super) const COST_KEYS: [&str; 4] = ["dpu_seconds", "bytes_scanned", "vcpu_hours", "memory_gb_hours"];
/// The classes of failures.
pub(super) const CLASSES: [&str; 8] =
    ["throttled", "capacity", "system", "failed", "timeout", "config", "cancelled", "lost"];
/// More attempts than a task can have.
pub(super) const ANSWERS_MAX: usize = 101;
/// Starts that are put off: enough to show what happens, and never a case that does not end.
pub(super) const THROTTLED_MAX: u32 = 1_000;

/// Reads the answers of every task.
pub(super) fn scripts(reading: &mut Reading<'_>, entry: &Entry) -> BTreeMap<usize, Script> {
    let Some(mapping) = reading.reader.mapping(&entry.value, "answers") else { return BTreeMap::new() };
    let mut scripts = BTreeMap::new();
    for entry in &mapping.entries {
        let task = reading.task(&entry.key, &entry.key_span);
        let script = match &entry.value.kind {
            Kind::Sequence(items) => {
                if let Some(extra) = items.get(ANSWERS_MAX) {
                    let message = format!("there are more than {ANSWERS_MAX} answers");
                    reading.wrong(&extra.span, &message, "one too many", "a task has no more attempts");
                }
                let taken = items.iter().take(ANSWERS_MAX);
                // Each is read, whatever is wrong with one before it.
                let answers: Vec<Option<Answer>> =
                    taken.map(|item| answer(reading, &entry.key, item)).collect();
                answers.into_iter().collect::<Option<Vec<_>>>().map(Script::InTurn)
            }
            _ => answer(reading, &entry.key, &entry.value).map(Script::Each),
        };
        if let (Some(task), Some(script)) = (task, script) {
            scripts.insert(task, script);
        }
    }
    scripts
}

fn answer(reading: &mut Reading<'_>, task: &str, node: &Node) -> Option<Answer> {
    let mapping = reading.reader.mapping(node, task)?;
    reading.reader.check_keys(mapping, Keys { of: "an answer", known: &ANSWER_KEYS, later: &[] });
    let mut endings = mapping.entries.iter().filter(|entry| ENDINGS.contains(&entry.key.as_str()));
    let (first, second) = (endings.next(), endings.next());
    if let (Some(first), Some(second)) = (first, second) {
        let message =
            format!("an attempt ends once: `{}` and `{}` exclude each other", first.key, second.key);
        reading.wrong(
            &second.key_span,
            &message,
            "second end",
            "write one answer for each attempt, as a list",
        );
    }
    let fails = first.is_some_and(|entry| entry.key != "approved");
    if let Some(entry) =
        mapping.entries.iter().find(|entry| fails && OF_SUCCESS.contains(&entry.key.as_str()))
    {
        let message = format!("an attempt that does not succeed leaves no `{}`", entry.key);
        reading.wrong(&entry.key_span, &message, "not here", "leave it out");
    }
    let ending = match first {
        Some(entry) => ending(reading, mapping, entry),
        None => succeeds(reading, mapping),
    };
    let takes = mapping.get("takes").map(|entry| reading.reader.duration(entry));
    let throttled = mapping.get("throttled").map(|entry| reading.reader.integer(entry, 0..=THROTTLED_MAX));
    let id = mapping.get("id").map(|entry| reading.reader.text(entry));
    Some(Answer {
        throttled: throttled.unwrap_or(Some(0))?,
        takes: takes.unwrap_or(Some(TAKES))?.max(Duration::from_millis(1)),
        id: id.flatten(),
        ending: ending?,
    })
}

fn ending(reading: &mut Reading<'_>, mapping: &Mapping, entry: &Entry) -> Option<Ending> {
    match entry.key.as_str() {
        "fails" => failure(reading, entry, "failed").map(Ending::Fails),
        "refused" => failure(reading, entry, "config").map(Ending::Refused),
        "lost" => failure(reading, entry, "lost").map(Ending::Lost),
        word => {
            if !reading.flag(entry)? {
                let message = format!("`{word}` can only be true");
                let help = "write approved: true, or rejected: true";
                reading.wrong(&entry.value.span, &message, "false", help);
                return None;
            }
            if word == "rejected" { Some(Ending::Rejected) } else { succeeds(reading, mapping) }
        }
    }
}

fn succeeds(reading: &mut Reading<'_>, mapping: &Mapping) -> Option<Ending> {
    let outputs = mapping.get("outputs").map(|entry| object(reading, entry));
    let cost = mapping.get("cost").map(|entry| cost(reading, entry));
    let warnings = mapping.get("warnings").map(|entry| reading.texts(entry)).unwrap_or_default();
    Some(Ending::Succeeds {
        outputs: outputs.unwrap_or_else(|| Some(Map::new()))?,
        warnings,
        cost: cost.unwrap_or_else(|| Some(Map::new()))?,
    })
}

fn object(reading: &mut Reading<'_>, entry: &Entry) -> Option<Map<String, Value>> {
    reading.reader.mapping(&entry.value, &entry.key)?;
    match entry.value.to_json() {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

fn cost(reading: &mut Reading<'_>, entry: &Entry) -> Option<Map<String, Value>> {
    let mapping = reading.reader.mapping(&entry.value, "cost")?;
    reading.reader.check_keys(mapping, Keys { of: "cost", known: &COST_KEYS, later: &[] });
    for entry in &mapping.entries {
        reading.reader.number(entry)?;
    }
    object(reading, entry)
}

/// A message alone, or with its class and the service's code.
fn failure(reading: &mut Reading<'_>, entry: &Entry, class: &str) -> Option<Failure> {
    let Kind::Mapping(mapping) = &entry.value.kind else {
        return Some(Failure::new(class, reading.reader.template(entry)?));
    };
    let keys = Keys { of: "a failure", known: &FAILURE_KEYS, later: &[] };
    reading.reader.check_keys(mapping, keys);
    let words: Vec<(&str, &str)> = CLASSES.iter().map(|word| (*word, *word)).collect();
    let class = match mapping.get("class") {
        Some(entry) => reading.reader.word(entry, &words),
        None => Some(class),
    };
    if mapping.get("message").is_none() {
        let message = format!("`{}` needs `message`", shorten(&entry.key));
        reading.wrong(&entry.value.span, &message, "`message` is missing", "the service's own words");
    }
    let message = mapping.get("message").and_then(|entry| reading.reader.template(entry));
    let code = mapping.get("code").and_then(|entry| reading.reader.text(entry));
    Some(Failure { code, ..Failure::new(class?, message?) })
}
