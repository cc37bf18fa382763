//! `for_each` and the keys that go with it: over which list a task runs, and how.

use std::sync::LazyLock;

use serde_json::{Value, json};
use trunkline_state::{
    elements::ELEMENTS_MAX,
    pipeline::{ForEach, OnEmpty},
};

use super::{
    reader::Reader,
    settings::{Settings, Site},
    tree::{Entry, Mapping},
};

/// The keys that only a task with `for_each` has.
pub(super) const MAPPED_KEYS: [&str; 3] = ["max_parallel", "tolerated_failures", "on_empty"];

/// Elements under way at once where nothing is said: what a default account takes of most services
/// without refusing.
pub(crate) const MAX_PARALLEL: u32 = 16;

/// The words of `on_empty`.
pub(super) const ON_EMPTY: [(&str, OnEmpty); 3] =
    [("skip", OnEmpty::Skip), ("warn", OnEmpty::Warn), ("fail", OnEmpty::Fail)];

/// What a list must look like before its templates are rendered.
static LIST: LazyLock<Value> = LazyLock::new(|| json!({ "type": "array" }));

/// What a task says of its list, and the texts with templates in it.
pub(super) fn for_each(reader: &mut Reader, task: &Mapping) -> (Option<ForEach>, Vec<Site>) {
    let Some(entry) = task.get("for_each") else {
        let lonely = task.entries.iter().filter(|entry| MAPPED_KEYS.contains(&entry.key.as_str()));
        for entry in lonely {
            let message = format!("`{}` belongs to a task with `for_each`", entry.key);
            let diagnostic = reader.error(&entry.key_span, message).label("nothing to apply it to");
            reader.report(
                diagnostic.help("add for_each: \"{{ tasks.<task>.outputs.<list> }}\", or leave it out"),
            );
        }
        return (None, Vec::new());
    };
    let (items, sites) = list(reader, entry);
    let read = |key: &str| task.get(key);
    let most = u32::try_from(ELEMENTS_MAX).unwrap_or(u32::MAX);
    let max_parallel = read("max_parallel").and_then(|entry| reader.integer(entry, 1..=most));
    let tolerated = read("tolerated_failures").and_then(|entry| reader.integer(entry, 0..=most));
    let on_empty = read("on_empty").and_then(|entry| reader.word(entry, &ON_EMPTY));
    let for_each = ForEach {
        items,
        max_parallel: max_parallel.unwrap_or(MAX_PARALLEL),
        tolerated_failures: tolerated.unwrap_or(0),
        on_empty: on_empty.unwrap_or(OnEmpty::Skip),
    };
    (Some(for_each), sites)
}

fn list(reader: &mut Reader, entry: &Entry) -> (Value, Vec<Site>) {
    let mut settings = Settings { reader, schema: &LIST, sites: Vec::new() };
    let items = settings.value(&entry.value, &LIST, "for_each");
    let sites = settings.sites;
    if let Some(count) = items.as_array().map(Vec::len).filter(|count| *count > ELEMENTS_MAX) {
        let message = format!("`for_each` has {count} elements; at most {ELEMENTS_MAX} are taken");
        let diagnostic = reader.error(&entry.value.span, message).label("too long").help("split the task");
        reader.report(diagnostic);
    }
    (items, sites)
}
