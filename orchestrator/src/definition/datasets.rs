//! Names of datasets as they are written: `outlets` of a task, `dataset` of a trigger. One or a list, with their vars
//! put in and as they are compared; what is done with them is the triggers' matter.

use std::ops::Range;

use indexmap::IndexMap;
use serde_json::{Value, json};
use trunkline_state::triggers::{DATASET_BYTES_MAX, DATASETS_MAX, dataset_name};

use super::{
    reader::{Reader, shorten},
    settings::Site,
    template::render_vars,
    tree::{Kind, Mapping, Node},
};

/// The key of a task.
pub(super) const OUTLETS: &str = "outlets";

/// Names of datasets with their places, and those of them that hold templates.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadDatasets {
    /// Each once, as it is compared.
    pub(super) names: Vec<(String, Range<usize>)>,
    /// Where vars are named.
    pub(super) sites: Vec<Site>,
}

impl ReadDatasets {
    /// The names alone.
    pub(super) fn texts(&self) -> Vec<String> {
        self.names.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// What a task writes.
pub(super) fn outlets(reader: &mut Reader, task: &Mapping, vars: &IndexMap<String, Value>) -> ReadDatasets {
    task.get(OUTLETS).map(|entry| datasets(reader, &entry.value, OUTLETS, vars)).unwrap_or_default()
}

/// A name or a list of them.
pub(super) fn datasets(
    reader: &mut Reader,
    node: &Node,
    key: &str,
    vars: &IndexMap<String, Value>,
) -> ReadDatasets {
    let nodes = match &node.kind {
        Kind::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if let Some(extra) = nodes.get(DATASETS_MAX) {
        let message = format!("`{key}` has more than {DATASETS_MAX} datasets");
        let diagnostic = reader.error(&extra.span, message).label("one too many");
        reader.report(diagnostic);
    }
    let mut read = ReadDatasets::default();
    for node in nodes.iter().take(DATASETS_MAX) {
        let name = dataset(reader, node, key, vars, &mut read.sites);
        // Two vars may stand for the same place in one environment and for two in another.
        if let Some(name) = name.filter(|name| read.names.iter().all(|(known, _)| known != name)) {
            read.names.push((name, node.span.clone()));
        }
    }
    read
}

fn dataset(
    reader: &mut Reader,
    node: &Node,
    key: &str,
    vars: &IndexMap<String, Value>,
    sites: &mut Vec<Site>,
) -> Option<String> {
    let Some(scalar) = node.as_scalar().filter(|_| !node.is_null()) else {
        reader.mismatch(node, key, "the name of a dataset or a list of names");
        return None;
    };
    let site = Site::of(reader.source, node);
    let text = match &site {
        // What it names wrongly is told by the check of names, for every environment.
        Some(site) => render_vars(&site.text, vars).ok(),
        None => Some(scalar.text.clone()),
    };
    sites.extend(site);
    let text = text?;
    match dataset_name(&text) {
        Ok(name) => Some(name),
        Err(error) => {
            let message = format!("`{}` cannot be the name of a dataset: {error}", shorten(&text));
            let help = "write a URI such as s3://bucket/folder/, or a name such as warehouse/calls";
            let diagnostic = reader.error(&node.span, message).label("no dataset").help(help);
            reader.report(diagnostic);
            None
        }
    }
}

/// A name or a list of them, for editors.
pub(super) fn schema() -> Value {
    let name = json!({ "type": "string", "minLength": 1, "maxLength": DATASET_BYTES_MAX });
    json!({ "anyOf": [name, { "type": "array", "items": name, "maxItems": DATASETS_MAX }] })
}
