//! One entry of `tasks`: its name, its type, the shared keys and the operator's settings.

use std::{ops::Range, path::Path, time::Duration};

use indexmap::IndexMap;
use serde_json::{Map, Value};
use trunkline_state::{
    ids::TaskName,
    pipeline::{ForEach, PoolUse, RetryPolicy, Task, TriggerRule},
};

use super::{
    calls::{self, Call},
    common::{CONNECTION, Common, POLL_INTERVAL},
    datasets::{OUTLETS, ReadDatasets, outlets},
    diagnostic::Sources,
    files,
    locate::blamed,
    mapped::{MAPPED_KEYS, for_each},
    operators::{OperatorInfo, Operators},
    pooled::{POOLED_KEYS, pool},
    reader::{Reader, shorten},
    scalar::Core,
    sent::SentFiles,
    settings::{Settings, Site},
    suggest::did_you_mean,
    template::{holds_template, is_template},
    tree::{Entry, Kind, Mapping, Node},
};

/// A task whose edges are still names.
#[derive(Debug)]
pub(super) struct ReadTask {
    /// Its name.
    pub(super) name: TaskName,
    /// Where the name stands.
    pub(super) name_span: Range<usize>,
    /// The operator's word.
    operator: String,
    settings: Value,
    /// What it depends on, with places.
    pub(super) depends_on: Vec<(String, Range<usize>)>,
    /// Whether it runs at all.
    when: Option<String>,
    /// The list that it runs over.
    pub(super) for_each: Option<ForEach>,
    /// Texts with templates.
    pub(super) sites: Vec<Site>,
    /// The datasets that it updates.
    pub(super) outlets: ReadDatasets,
    /// The other pipeline that it runs or waits for.
    pub(super) call: Option<Call>,
    /// The connection, where it is named, and whether the operator needs one.
    pub(super) connection: (String, Range<usize>, bool),
    retry: RetryPolicy,
    timeout: Duration,
    poll_interval: Duration,
    trigger_rule: TriggerRule,
    pool: Option<PoolUse>,
    depends_on_past: bool,
}

/// What all tasks of a file share.
pub(super) struct TaskScope<'a> {
    /// The operators.
    pub(super) operators: &'a Operators<'a>,
    /// The pipeline's defaults over the project's.
    pub(super) defaults: &'a Common,
    /// The connections of the environment.
    pub(super) connections: &'a IndexMap<String, Value>,
    /// The environment's vars.
    pub(super) vars: &'a IndexMap<String, Value>,
    /// The pools, with their slots in the environment.
    pub(super) pools: &'a IndexMap<String, u32>,
    /// The pipeline's folder, for `file:`; `None` for text without a folder.
    pub(super) folder: Option<&'a Path>,
    /// How the folder is called in messages.
    pub(super) folder_name: &'a str,
    /// The files that a client sent, where the folder is one of theirs.
    pub(super) sent: Option<&'a SentFiles>,
    /// Where files that are read on the way are kept.
    pub(super) sources: &'a mut Sources,
}

impl ReadTask {
    /// The task, with its edges as positions.
    pub(super) fn into_task(self, depends_on: Vec<usize>) -> Task {
        Task {
            name: self.name,
            operator: self.operator,
            settings: self.settings,
            depends_on,
            trigger_rule: self.trigger_rule,
            when: self.when,
            for_each: self.for_each,
            connection: self.connection.0,
            retry: self.retry,
            timeout: self.timeout,
            poll_interval: self.poll_interval,
            pool: self.pool,
            depends_on_past: self.depends_on_past,
            outlets: self.outlets.texts(),
        }
    }
}

/// Reads one task. `None` where nothing could be made of it.
pub(super) fn task(reader: &mut Reader, entry: &Entry, scope: &mut TaskScope<'_>) -> Option<ReadTask> {
    let name = match TaskName::new(entry.key.as_str()) {
        Ok(name) => Some(name),
        Err(error) => {
            let message = format!("`{}` cannot be the name of a task", shorten(&entry.key));
            let diagnostic = reader.error(&entry.key_span, message).label("name").help(error.to_string());
            reader.report(diagnostic);
            None
        }
    };
    let mapping = reader.mapping(&entry.value, &entry.key)?;
    let mut common = Common::default();
    let mut depends_on = Vec::new();
    let mut when = None;
    let mut depends_on_past = false;
    for inner in &mapping.entries {
        match inner.key.as_str() {
            "depends_on" => depends_on = reader.texts(inner),
            "when" => when = condition(reader, inner),
            "depends_on_past" => depends_on_past = reader.flag(inner).unwrap_or_default(),
            "description" => {
                reader.text(inner);
            }
            // Read together, below.
            "for_each" => {}
            key if MAPPED_KEYS.contains(&key) => {}
            "pool" | OUTLETS => {}
            key if POOLED_KEYS.contains(&key) => {}
            _ => {
                common.read(reader, inner);
            }
        }
    }
    let (word, operator) = operator(reader, entry, mapping, scope.operators)?;
    let named = common.connection.clone();
    let common = common.or(scope.defaults);
    let timeout = common.timeout.unwrap_or(operator.default_timeout);
    let call = calls::call(reader, &entry.key, &word, mapping);
    let connection = match (&named, &common.connection) {
        (Some((name, span)), _) => (name.clone(), span.clone(), true),
        // Checked where the default stands.
        (None, Some((name, _))) => (name.clone(), entry.key_span.clone(), false),
        (None, None) => (CONNECTION.to_owned(), entry.key_span.clone(), operator.remote),
    };
    let said = said_by_connection(scope.connections.get(&connection.0), operator, mapping);
    let (settings, mut sites) = settings(reader, entry, mapping, (&word, operator, timeout, said), scope);
    let (for_each, list) = for_each(reader, mapping);
    for site in &mut sites {
        site.element = for_each.is_some();
    }
    let pool = pool(reader, mapping, scope.pools);
    let (when, site) = when.unzip();
    sites.extend(site.flatten());
    sites.extend(list);
    Some(ReadTask {
        name: name?,
        name_span: entry.key_span.clone(),
        operator: word,
        settings,
        depends_on,
        when,
        for_each,
        sites,
        outlets: outlets(reader, mapping, scope.vars),
        call,
        connection,
        retry: common.retry_policy(),
        timeout,
        poll_interval: common.poll_interval.unwrap_or(POLL_INTERVAL),
        trigger_rule: common.trigger_rule.unwrap_or(TriggerRule::AllSuccess),
        pool,
        depends_on_past,
    })
}

/// `when`: a template of true or false, or one of these words.
fn condition(reader: &mut Reader, entry: &Entry) -> Option<(String, Option<Site>)> {
    let text = reader.template(entry)?;
    let scalar = entry.value.as_scalar()?;
    if let Some(site) = Site::of(reader.source, &entry.value) {
        return Some((text, Some(site)));
    }
    if matches!(scalar.core, Core::Bool(_)) {
        return Some((text, None));
    }
    let message = format!("`when` must be true or false, not `{}`", shorten(&text));
    let diagnostic = reader
        .error(&entry.value.span, message)
        .label("expected a condition")
        .help("write a template, e.g. when: \"{{ params.full }}\"");
    reader.report(diagnostic);
    None
}

fn operator<'o>(
    reader: &mut Reader,
    entry: &Entry,
    mapping: &Mapping,
    operators: &'o Operators<'_>,
) -> Option<(String, &'o OperatorInfo)> {
    let Some(kind) = mapping.get("type") else {
        let message = format!("task `{}` needs `type`", shorten(&entry.key));
        let types: Vec<&str> = operators.types().collect();
        let help = format!("the types are: {}", types.join(", "));
        let diagnostic = reader.error(&entry.key_span, message).label("`type` is missing").help(help);
        reader.report(diagnostic);
        return None;
    };
    let word = reader.text(kind)?;
    let Some(operator) = operators.get(&word) else {
        let help = did_you_mean(&word, operators.types(), "the types are");
        let message = format!("there is no task type `{}`", shorten(&word));
        let diagnostic = reader.error(&kind.value.span, message).label("unknown type").help_maybe(help);
        reader.report(diagnostic);
        return None;
    };
    Some((word, operator))
}

fn settings(
    reader: &mut Reader,
    entry: &Entry,
    mapping: &Mapping,
    (word, operator, timeout, said): (&str, &OperatorInfo, Duration, Map<String, Value>),
    scope: &mut TaskScope<'_>,
) -> (Value, Vec<Site>) {
    let before = reader.found.len();
    let owner = format!("`{word}` task `{}`", entry.key);
    let mut settings = Settings { reader, schema: &operator.schema, sites: Vec::new() };
    let common = |key: &str| trunkline_tasks::COMMON_KEYS.contains(&key);
    let mut value = settings.object(mapping, &operator.schema, (&owner, &entry.key_span), &common);
    let mut sites = settings.sites;
    for inner in mapping.entries.iter().filter(|inner| operator.secrets.contains(&inner.key.as_str())) {
        let place = &inner.value.span;
        let inside = |site: &&mut Site| place.start <= site.span.start && site.span.end <= place.end;
        sites.iter_mut().filter(inside).for_each(|site| site.secrets = true);
    }
    if let Value::Object(object) = &mut value {
        for inner in &mapping.entries {
            let mut texts = Vec::new();
            if let Some(value) = object.get_mut(&inner.key) {
                file_texts(&inner.value, value, true, &mut texts);
            }
            for (span, text) in texts {
                let before = sites.len();
                inline(reader, span, text, &mut sites, scope);
                let may = operator.secrets.contains(&inner.key.as_str());
                sites[before..].iter_mut().for_each(|site| site.secrets = may);
            }
        }
    }
    if let Value::Object(object) = &mut value {
        object.extend(said);
    }
    let sound = reader.found.len() == before;
    if sound
        && !holds_template(&value)
        && let Some(objection) = scope.operators.objection(word, &value, timeout)
    {
        let blamed = blamed(mapping, &objection).map(|blamed| blamed.value.span.clone());
        let span = blamed.unwrap_or(entry.key_span.clone());
        let diagnostic = reader.error(&span, objection).label("refused by the operator");
        reader.report(diagnostic);
    }
    (value, sites)
}

/// What the connection says of the settings that this task leaves to it.
fn said_by_connection(
    connection: Option<&Value>,
    operator: &OperatorInfo,
    task: &Mapping,
) -> Map<String, Value> {
    let left = operator.from_connection.iter().filter(|keys| keys.iter().all(|key| task.get(key).is_none()));
    let said = |key: &&str| Some(((*key).to_owned(), connection?.get(key)?.clone()));
    left.copied().flatten().filter_map(said).collect()
}

/// Keys within a setting whose text may be in a file; on top of a task every text may.
const KEYS_OF_FILES: [&str; 2] = ["query", "sql"];

/// The texts of a setting that may name a file, each with its place: its own, those of its list, and deeper down
/// queries.
fn file_texts<'t>(
    node: &Node,
    value: &'t mut Value,
    may: bool,
    found: &mut Vec<(Range<usize>, &'t mut String)>,
) {
    match (&node.kind, value) {
        (Kind::Scalar(_), Value::String(text)) => {
            found.extend(may.then(|| (node.span.clone(), text)));
        }
        (Kind::Sequence(nodes), Value::Array(items)) => {
            for (node, item) in nodes.iter().zip(items) {
                file_texts(node, item, may, found);
            }
        }
        (Kind::Mapping(mapping), Value::Object(members)) => {
            for (key, member) in members {
                if let Some(entry) = mapping.entries.iter().find(|entry| entry.key == *key) {
                    file_texts(&entry.value, member, KEYS_OF_FILES.contains(&key.as_str()), found);
                }
            }
        }
        _ => {}
    }
}

/// Replaces `file:…` by the file's text.
fn inline(
    reader: &mut Reader,
    span: Range<usize>,
    text: &mut String,
    sites: &mut Vec<Site>,
    scope: &mut TaskScope<'_>,
) {
    let Some(name) = files::reference(text).map(ToOwned::to_owned) else { return };
    let Some(folder) = scope.folder else { return };
    if is_template(&name) {
        let diagnostic = reader
            .error(&span, "the name of a file cannot be a template")
            .label("known only when it runs")
            .help("name the file itself; templates inside the file are rendered");
        return reader.report(diagnostic);
    }
    match files::read(folder, scope.sent, &name) {
        Ok((path, content)) => {
            let shown = format!("{}/{name}", scope.folder_name);
            if is_template(&content) {
                let source = scope.sources.add(shown, path, content.as_str());
                let (span, text) = (0..content.len(), content.clone());
                sites.push(Site { source, span, scalar: None, text, secrets: false, element: false });
            }
            *text = content;
        }
        Err(error) => {
            let help = match &error {
                files::FileError::Missing(_) => {
                    let there = files::neighbours(folder, scope.sent, &name);
                    did_you_mean(&name, there.iter().map(String::as_str), "there are")
                }
                _ => Some("name a file inside the folder of the pipeline".to_owned()),
            };
            let diagnostic = reader.error(&span, error.to_string()).label("cannot be read").help_maybe(help);
            reader.report(diagnostic);
        }
    }
}
