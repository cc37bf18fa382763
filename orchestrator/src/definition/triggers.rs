//! `triggers`: events that make runs of a pipeline, beside its schedule.
//!
//! What a trigger listens to may name vars, which are known with the version, and is rendered here: so the
//! store holds the queue itself, and nobody who reads it needs templates. Parameters stay templates.

use std::{collections::HashMap, ops::Range, time::Duration};

use indexmap::IndexMap;
use serde_json::Value;
use trunkline_state::{
    pipeline::Param,
    schedule::DataInterval,
    triggers::{
        BATCH_MAX, BATCH_WINDOW_MAX, BatchLimits, DatasetSource, EventTrigger, ObjectSource, RunEnd,
        RunSource, TriggerSource,
    },
};

use super::{
    common::CONNECTION,
    datasets::{ReadDatasets, datasets},
    params,
    reader::{Keys, Reader, shorten},
    settings::Site,
    suggest::did_you_mean,
    template::{holds_template, is_template, render_vars, vocabulary::Place},
    tree::{Entry, Kind, Mapping, Node},
};

/// The keys of a trigger.
pub(super) const TRIGGER_KEYS: [&str; 5] = ["s3", "pipeline", "dataset", "batch", "params"];
/// The keys of `s3`.
pub(super) const S3_KEYS: [&str; 6] = ["queue", "connection", "bucket", "prefix", "suffix", "exclude"];
/// The keys of `pipeline`.
pub(super) const PIPELINE_KEYS: [&str; 2] = ["name", "on"];
/// The key of `dataset`, where it is no name and no list.
pub(super) const DATASET_KEYS: [&str; 1] = ["any"];
/// The keys of `batch`.
pub(super) const BATCH_KEYS: [&str; 2] = ["max", "window"];
/// More triggers of one pipeline are many pipelines.
pub(super) const TRIGGERS_MAX: usize = 20;
/// Exclusions of one trigger: a few folders of configuration, never a list of objects.
pub(super) const EXCLUDE_MAX: usize = 20;
/// S3 takes no longer key.
const KEY_BYTES_MAX: usize = 1024;

/// A trigger with the places that later checks need.
#[derive(Clone, Debug)]
pub(super) struct ReadTrigger {
    /// The trigger.
    pub(super) trigger: EventTrigger,
    /// Where its connection is to blame; `None` where a default, checked elsewhere, names it.
    pub(super) connection_place: Option<Range<usize>>,
    /// Its templates, and what each may read.
    pub(super) sites: Vec<(Site, Place)>,
    /// Where it names another pipeline.
    pub(super) upstream_place: Option<Range<usize>>,
    /// The datasets that it waits for, with their places.
    pub(super) datasets: Vec<(String, Range<usize>)>,
}

/// What a pipeline's triggers are held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct TriggerScope<'a> {
    /// The connection of the defaults.
    pub(super) connection: Option<&'a str>,
    /// The environment's vars.
    pub(super) vars: &'a IndexMap<String, Value>,
    /// The declared parameters.
    pub(super) params: &'a IndexMap<String, Param>,
    /// What a run covers.
    pub(super) data_interval: DataInterval,
}

/// The fields of `trigger` that templates of a pipeline may read beside `type`.
pub(super) fn told_fields(triggers: &[ReadTrigger]) -> Vec<&'static str> {
    let any = |has: fn(&EventTrigger) -> bool| triggers.iter().any(|read| has(&read.trigger));
    let mut fields = Vec::new();
    if any(|trigger| trigger.queue().is_some()) {
        fields.push("objects");
    }
    if any(|trigger| trigger.upstream().is_some()) {
        fields.extend(["pipeline", "run"]);
    }
    if any(|trigger| trigger.datasets().is_some()) {
        fields.push("datasets");
    }
    fields
}

/// Reads the list of triggers, or one.
pub(super) fn triggers(reader: &mut Reader, top: &Mapping, scope: TriggerScope<'_>) -> Vec<ReadTrigger> {
    let Some(entry) = top.get("triggers") else { return Vec::new() };
    let nodes = match &entry.value.kind {
        Kind::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(&entry.value),
    };
    if let Some(extra) = nodes.get(TRIGGERS_MAX) {
        let message = format!("there are more than {TRIGGERS_MAX} triggers");
        let diagnostic = reader.error(&extra.span, message).label("one too many");
        reader.report(diagnostic);
    }
    let declared = match top.get("params").map(|entry| &entry.value.kind) {
        Some(Kind::Mapping(declared)) => Some(declared),
        _ => None,
    };
    let mut reading = Reading { reader, scope, declared };
    let read: Vec<ReadTrigger> =
        nodes.iter().take(TRIGGERS_MAX).filter_map(|node| reading.trigger(node)).collect();
    check_twice(reader, &read);
    read
}

/// An update makes one run of a pipeline at most: of two triggers that wait for it, the second would wait for ever.
fn check_twice(reader: &mut Reader, triggers: &[ReadTrigger]) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (position, trigger) in triggers.iter().enumerate() {
        for (name, place) in &trigger.datasets {
            if *seen.entry(name).or_insert(position) == position {
                continue;
            }
            let message = format!("dataset `{}` is named by two triggers of the pipeline", shorten(name));
            let help = "name it once: an update goes into one run";
            let diagnostic = reader.error(place, message).label("second one").help(help);
            reader.report(diagnostic);
        }
    }
}

struct Reading<'a, 'r> {
    reader: &'r mut Reader,
    scope: TriggerScope<'a>,
    /// The pipeline's `params` as they are written.
    declared: Option<&'a Mapping>,
}

impl Reading<'_, '_> {
    fn trigger(&mut self, node: &Node) -> Option<ReadTrigger> {
        let mapping = self.reader.mapping(node, "triggers")?;
        let keys = Keys { of: "a trigger", known: &TRIGGER_KEYS, later: &[] };
        self.reader.check_keys(mapping, keys);
        if let Some(entry) = mapping.get("pipeline") {
            return self.after(entry, mapping);
        }
        if let Some(entry) = mapping.get("dataset") {
            return self.updated(entry, mapping);
        }
        let Some(entry) = mapping.get("s3") else {
            // A key that is planned, or misspelt, was told already.
            if mapping.entries.iter().all(|entry| TRIGGER_KEYS.contains(&entry.key.as_str())) {
                let diagnostic = self
                    .reader
                    .error(&node.span, "a trigger needs `s3`, `pipeline` or `dataset`")
                    .label("what does it listen to?")
                    .help("write - s3: { queue: my-queue, prefix: incoming/ }");
                self.reader.report(diagnostic);
            }
            return None;
        };
        let mut sites = Vec::new();
        let (source, connection_place) = self.object_source(entry, &mut sites)?;
        self.check_interval(&entry.key_span);
        let batch = mapping.get("batch").and_then(|entry| self.batch(entry));
        let params = self.params(mapping.get("params"), &entry.key_span, &mut sites);
        let trigger = EventTrigger { on: TriggerSource::S3(source), batch, params };
        Some(ReadTrigger { trigger, connection_place, sites, upstream_place: None, datasets: Vec::new() })
    }

    /// A trigger by the end of a run.
    fn after(&mut self, entry: &Entry, whole: &Mapping) -> Option<ReadTrigger> {
        self.check_alone("pipeline", whole);
        let (source, place) = self.run_source(entry)?;
        let mut sites = Vec::new();
        let params = self.params(whole.get("params"), &entry.key_span, &mut sites);
        let trigger = EventTrigger { on: TriggerSource::Pipeline(source), batch: None, params };
        let (upstream_place, datasets) = (Some(place), Vec::new());
        Some(ReadTrigger { trigger, connection_place: None, sites, upstream_place, datasets })
    }

    /// A trigger by updates of datasets.
    fn updated(&mut self, entry: &Entry, whole: &Mapping) -> Option<ReadTrigger> {
        self.check_alone("dataset", whole);
        let (node, any) = match &entry.value.kind {
            Kind::Mapping(mapping) => {
                self.reader.check_keys(mapping, Keys { of: "`dataset`", known: &DATASET_KEYS, later: &[] });
                let Some(any) = mapping.get("any") else {
                    // A key that is misspelt was told already.
                    if mapping.entries.is_empty() {
                        self.no_dataset(&entry.value.span);
                    }
                    return None;
                };
                (&any.value, true)
            }
            _ => (&entry.value, false),
        };
        let ReadDatasets { names, sites } = datasets(self.reader, node, "dataset", self.scope.vars);
        if matches!(&node.kind, Kind::Sequence(items) if items.is_empty()) {
            self.no_dataset(&node.span);
        }
        let mut sites: Vec<_> = sites.into_iter().map(|site| (site, Place::Version)).collect();
        let params = self.params(whole.get("params"), &entry.key_span, &mut sites);
        let texts = names.iter().map(|(name, _)| name.clone()).collect();
        let source = if any { DatasetSource::Any(texts) } else { DatasetSource::All(texts) };
        let trigger = EventTrigger { on: TriggerSource::Dataset(source), batch: None, params };
        Some(ReadTrigger { trigger, connection_place: None, sites, upstream_place: None, datasets: names })
    }

    fn no_dataset(&mut self, place: &Range<usize>) {
        let diagnostic = self
            .reader
            .error(place, "a `dataset` trigger needs a dataset")
            .label("updates of which dataset?")
            .help("write dataset: s3://bucket/folder/, or a list: all of them, or { any: [ … ] }");
        self.reader.report(diagnostic);
    }

    /// Blames what does not go with this kind of trigger.
    fn check_alone(&mut self, kind: &str, whole: &Mapping) {
        for key in ["s3", "pipeline", "dataset", "batch"].into_iter().filter(|key| *key != kind) {
            if let Some(other) = whole.get(key) {
                let message = format!("`{key}` does not go with `{kind}`");
                let help = if key == "batch" { "leave it out" } else { "write a second trigger: - { … }" };
                let diagnostic = self.reader.error(&other.key_span, message).label("not here").help(help);
                self.reader.report(diagnostic);
            }
        }
    }

    /// A name, or a name and how the run must have ended.
    fn run_source(&mut self, entry: &Entry) -> Option<(RunSource, Range<usize>)> {
        let Kind::Mapping(mapping) = &entry.value.kind else {
            let name = self.reader.text(entry)?;
            return Some((RunSource { name, on: RunEnd::default() }, entry.value.span.clone()));
        };
        self.reader.check_keys(mapping, Keys { of: "`pipeline`", known: &PIPELINE_KEYS, later: &[] });
        let Some(name) = mapping.get("name") else {
            let diagnostic = self
                .reader
                .error(&entry.key_span, "a `pipeline` trigger needs `name`")
                .label("runs of which pipeline?")
                .help("write pipeline: { name: facility_crawl, on: success }");
            self.reader.report(diagnostic);
            return None;
        };
        let words = RunEnd::ALL.map(|end| (end.word(), end));
        let on = match mapping.get("on") {
            Some(entry) => self.reader.word(entry, &words)?,
            None => RunEnd::default(),
        };
        Some((RunSource { name: self.reader.text(name)?, on }, name.value.span.clone()))
    }

    fn object_source(
        &mut self,
        entry: &Entry,
        sites: &mut Vec<(Site, Place)>,
    ) -> Option<(ObjectSource, Option<Range<usize>>)> {
        let mapping = self.reader.mapping(&entry.value, "s3")?;
        self.reader.check_keys(mapping, Keys { of: "`s3`", known: &S3_KEYS, later: &[] });
        let Some(queue) = mapping.get("queue") else {
            let diagnostic = self
                .reader
                .error(&entry.key_span, "an `s3` trigger needs `queue`")
                .label("which queue tells of objects?")
                .help("name the SQS queue that the bucket's notifications go to: its name or its URL");
            self.reader.report(diagnostic);
            return None;
        };
        let place = queue.value.span.clone();
        let queue = self.text(&queue.value, "queue", sites)?;
        if queue.trim().is_empty() {
            let message = "`queue` is empty once its vars are put in";
            let help = "give the var the queue's name or URL in every environment";
            let diagnostic = self.reader.error(&place, message).label("no queue").help(help);
            self.reader.report(diagnostic);
        }
        let mut text = |key: &str| mapping.get(key).and_then(|entry| self.text(&entry.value, key, sites));
        let (bucket, prefix, suffix) = (text("bucket"), text("prefix"), text("suffix"));
        let exclude = mapping.get("exclude").map(|entry| self.exclude(entry, sites)).unwrap_or_default();
        let named = mapping.get("connection");
        let connection = named.and_then(|entry| self.reader.text(entry));
        let place = match (named, self.scope.connection) {
            (Some(named), _) => Some(named.value.span.clone()),
            (None, None) => Some(entry.value.span.clone()),
            (None, Some(_)) => None,
        };
        let connection = connection
            .or_else(|| self.scope.connection.map(ToOwned::to_owned))
            .unwrap_or_else(|| CONNECTION.to_owned());
        let (prefix, suffix) = (prefix.unwrap_or_default(), suffix.unwrap_or_default());
        Some((ObjectSource { queue, connection, bucket, prefix, suffix, exclude }, place))
    }

    fn exclude(&mut self, entry: &Entry, sites: &mut Vec<(Site, Place)>) -> Vec<String> {
        let nodes = match &entry.value.kind {
            Kind::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(&entry.value),
        };
        if let Some(extra) = nodes.get(EXCLUDE_MAX) {
            let message = format!("`exclude` has more than {EXCLUDE_MAX} prefixes");
            let diagnostic = self.reader.error(&extra.span, message).label("one too many");
            self.reader.report(diagnostic);
        }
        nodes.iter().take(EXCLUDE_MAX).filter_map(|node| self.text(node, "exclude", sites)).collect()
    }

    /// A text with its vars put in.
    fn text(&mut self, node: &Node, key: &str, sites: &mut Vec<(Site, Place)>) -> Option<String> {
        let Some(scalar) = node.as_scalar().filter(|scalar| !scalar.text.is_empty() && !node.is_null())
        else {
            self.reader.mismatch(node, key, "text");
            return None;
        };
        let text = if is_template(&scalar.text) {
            sites.extend(Site::of(self.reader.source, node).map(|site| (site, Place::Version)));
            // What it names wrongly is told by the check of names, for every environment.
            render_vars(&scalar.text, self.scope.vars).unwrap_or_else(|_| scalar.text.clone())
        } else {
            scalar.text.clone()
        };
        if text.len() > KEY_BYTES_MAX {
            let message = format!("`{key}` is longer than {KEY_BYTES_MAX} bytes, which no key of S3 is");
            let diagnostic = self.reader.error(&node.span, message).label("too long");
            self.reader.report(diagnostic);
            return None;
        }
        Some(text)
    }

    fn check_interval(&mut self, place: &Range<usize>) {
        if self.scope.data_interval == DataInterval::None {
            return;
        }
        let diagnostic = self
            .reader
            .error(place, "a run that objects make covers no data interval, and the pipeline has one")
            .label("no interval")
            .help(
                "set `data_interval: none`, or let a pipeline of its own take the objects and run this one \
                 with `run_pipeline`",
            );
        self.reader.report(diagnostic);
    }

    fn batch(&mut self, entry: &Entry) -> Option<BatchLimits> {
        let mapping = self.reader.mapping(&entry.value, "batch")?;
        self.reader.check_keys(mapping, Keys { of: "`batch`", known: &BATCH_KEYS, later: &[] });
        for key in BATCH_KEYS.into_iter().filter(|key| mapping.get(key).is_none()) {
            let diagnostic = self
                .reader
                .error(&entry.key_span, format!("`batch` needs `{key}`"))
                .label(format!("`{key}` is missing"))
                .help("write batch: { max: 100, window: 60s }");
            self.reader.report(diagnostic);
        }
        let max = self.reader.integer(mapping.get("max")?, 1..=BATCH_MAX);
        let window = mapping.get("window")?;
        let window = self.reader.positive_duration(window).filter(|given| self.is_short(window, *given))?;
        Some(BatchLimits { max: max?, window })
    }

    fn is_short(&mut self, entry: &Entry, window: Duration) -> bool {
        if window <= BATCH_WINDOW_MAX {
            return true;
        }
        let message = "`window` is longer than 1d";
        let help = "give the pipeline a schedule instead, and let it read what came";
        let diagnostic = self.reader.error(&entry.value.span, message).label("too long").help(help);
        self.reader.report(diagnostic);
        false
    }

    /// The parameters of its runs; what is declared without a default must be among them.
    fn params(
        &mut self,
        entry: Option<&Entry>,
        trigger: &Range<usize>,
        sites: &mut Vec<(Site, Place)>,
    ) -> IndexMap<String, Value> {
        let mut given = IndexMap::new();
        let mapping = entry.and_then(|entry| self.reader.mapping(&entry.value, "params"));
        for entry in mapping.into_iter().flat_map(|mapping| &mapping.entries) {
            if !self.scope.params.contains_key(&entry.key) {
                let names = self.scope.params.keys().map(String::as_str);
                let message = format!("there is no param `{}`", shorten(&entry.key));
                let help = did_you_mean(&entry.key, names, "the params are")
                    .unwrap_or_else(|| "declare it under `params` of the pipeline".to_owned());
                let diagnostic =
                    self.reader.error(&entry.key_span, message).label("unknown param").help(help);
                self.reader.report(diagnostic);
            }
            collect(self.reader, &entry.value, sites);
            let value = entry.value.to_json();
            self.check_value(entry, &value);
            given.insert(entry.key.clone(), value);
        }
        // What is no declaration of a param has been told at its own place.
        let is_declared = |name: &str| {
            let entry = self.declared.and_then(|declared| declared.get(name));
            entry.is_some_and(|entry| matches!(entry.value.kind, Kind::Mapping(_)))
        };
        let missing = self.scope.params.iter().filter(|(name, param)| {
            param.default.is_none() && !given.contains_key(name.as_str()) && is_declared(name)
        });
        for (name, _) in missing {
            let message = format!("param `{name}` has no default, and the trigger gives it no value");
            let help = format!(
                "write params: {{ {name}: \"{{{{ trigger.… }}}}\" }} at the trigger, or give `{name}` a default"
            );
            let diagnostic = self.reader.error(trigger, message).label("no run could be made").help(help);
            self.reader.report(diagnostic);
        }
        given
    }
}

impl Reading<'_, '_> {
    /// A value that is no template is known now.
    fn check_value(&mut self, entry: &Entry, value: &Value) {
        let Some(param) = self.scope.params.get(&entry.key).filter(|_| !holds_template(value)) else {
            return;
        };
        if let Err(reason) = params::check(param, value.clone()) {
            let message = format!("param `{}` {reason}", entry.key);
            let diagnostic = self.reader.error(&entry.value.span, message).label("does not fit");
            self.reader.report(diagnostic);
        }
    }
}

/// Every template inside a value.
fn collect(reader: &Reader, node: &Node, sites: &mut Vec<(Site, Place)>) {
    match &node.kind {
        Kind::Scalar(_) => {
            sites.extend(Site::of(reader.source, node).map(|site| (site, Place::TriggerParams)));
        }
        Kind::Sequence(items) => items.iter().for_each(|item| collect(reader, item, sites)),
        Kind::Mapping(mapping) => {
            mapping.entries.iter().for_each(|entry| collect(reader, &entry.value, sites));
        }
    }
}
