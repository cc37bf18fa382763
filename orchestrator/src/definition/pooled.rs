//! `pool`, `pool_slots` and `priority` of a task, and the `pools` of a project file: which slots an
//! attempt takes, and how many there are.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use trunkline_state::pipeline::{PoolUse, Task};

use super::{
    reader::{Reader, shorten},
    suggest::did_you_mean,
    tree::{Entry, Mapping},
};

/// The keys that only a task of a pool has.
pub(super) const POOLED_KEYS: [&str; 2] = ["pool_slots", "priority"];

/// Slots of one pool: each is a row while it is taken, and all of them are counted at each grant.
pub(crate) const POOL_SLOTS_MAX: u32 = 10_000;

/// A point is a minute of waiting: further than a week apart, the order is no order of a working day.
pub(crate) const PRIORITY_MAX: i32 = 10_000;

/// Names of pools are names like those of pipelines.
const NAME_MAX: usize = 128;

/// What a task takes of which pool. Where it names one that is not known, that is told.
pub(super) fn pool(reader: &mut Reader, task: &Mapping, pools: &IndexMap<String, u32>) -> Option<PoolUse> {
    let Some(entry) = task.get("pool") else {
        for entry in task.entries.iter().filter(|entry| POOLED_KEYS.contains(&entry.key.as_str())) {
            let message = format!("`{}` belongs to a task with `pool`", entry.key);
            let diagnostic = reader.error(&entry.key_span, message).label("nothing to apply it to");
            reader.report(diagnostic.help("name a pool of trunkline.yaml with pool: NAME, or leave it out"));
        }
        return None;
    };
    let name = reader.text(entry)?;
    let slots = task.get("pool_slots").and_then(|entry| reader.integer(entry, 1..=POOL_SLOTS_MAX));
    let priority = task.get("priority").and_then(|entry| reader.integer(entry, -PRIORITY_MAX..=PRIORITY_MAX));
    let Some(&size) = pools.get(&name) else {
        let message = format!("there is no pool `{}`", shorten(&name));
        let help = did_you_mean(&name, pools.keys().map(String::as_str), "there are")
            .unwrap_or_else(|| format!("add it to trunkline.yaml, with its slots: pools: {{ {name}: 4 }}"));
        let diagnostic = reader.error(&entry.value.span, message).label("unknown pool").help(help);
        reader.report(diagnostic);
        return None;
    };
    if let Some((entry, wanted)) =
        task.get("pool_slots").zip(slots).filter(|(_, wanted)| *wanted > size.max(1))
    {
        let message = format!("`pool_slots` is {wanted}, and pool `{name}` has {size}");
        let diagnostic = reader.error(&entry.value.span, message).label("more than there are");
        reader.report(diagnostic.help("take fewer, or give the pool more in trunkline.yaml"));
    }
    Some(PoolUse { name, slots: slots.unwrap_or(1), priority: priority.unwrap_or(0) })
}

/// `pools` of the project file; and of an environment, which may only change the sizes of those.
pub(crate) fn pools(
    reader: &mut Reader,
    entry: Option<&Entry>,
    known: Option<&IndexMap<String, u32>>,
) -> IndexMap<String, u32> {
    let mut pools = known.cloned().unwrap_or_default();
    let Some(entry) = entry.filter(|entry| !entry.value.is_null()) else { return pools };
    let Some(mapping) = reader.mapping(&entry.value, "pools") else { return pools };
    for inner in &mapping.entries {
        let name = inner.key.as_str();
        let sound = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && name.len() <= NAME_MAX;
        if !sound {
            let message = format!("`{}` cannot be the name of a pool", shorten(name));
            let help = "a name begins with a letter and has only a-z, 0-9 and _";
            let diagnostic = reader.error(&inner.key_span, message).label("name").help(help);
            reader.report(diagnostic);
            continue;
        }
        if let Some(known) = known.filter(|known| !known.contains_key(name)) {
            let message = format!("there is no pool `{}`", shorten(name));
            let help = did_you_mean(name, known.keys().map(String::as_str), "there are")
                .unwrap_or_else(|| "name it in `pools` of the project first".to_owned());
            let diagnostic = reader.error(&inner.key_span, message).label("unknown pool").help(help);
            reader.report(diagnostic);
            continue;
        }
        if let Some(slots) = reader.integer(inner, 0..=POOL_SLOTS_MAX) {
            pools.insert(name.to_owned(), slots);
        }
    }
    pools
}

/// The pools that a pipeline uses: a change of another one is no new version.
pub(super) fn used_pools(tasks: &[Task], pools: &IndexMap<String, u32>) -> IndexMap<String, u32> {
    let uses =
        |name: &String| tasks.iter().any(|task| task.pool.as_ref().is_some_and(|pool| pool.name == *name));
    pools.iter().filter(|(name, _)| uses(name)).map(|(name, slots)| (name.clone(), *slots)).collect()
}

/// The keys of a task of a pool, for editors.
pub(super) fn pooled_properties() -> Map<String, Value> {
    let properties = [
        (
            "pool",
            json!({ "type": "string", "description": "A pool of trunkline.yaml: an attempt starts when it has slots of it, and keeps them until it ended." }),
        ),
        (
            "pool_slots",
            json!({ "type": "integer", "minimum": 1, "maximum": POOL_SLOTS_MAX, "default": 1, "description": "Slots that one attempt takes." }),
        ),
        (
            "priority",
            json!({ "type": "integer", "minimum": -PRIORITY_MAX, "maximum": PRIORITY_MAX, "default": 0, "description": "Among those that wait for the pool: each point is worth a minute of waiting." }),
        ),
    ];
    properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
