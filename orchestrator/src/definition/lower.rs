//! From the tree to a [`Pipeline`]: what the keys of a pipeline file mean.
//!
//! Every check runs, whatever an earlier one found; the pipeline comes out only where none
//! found an error. Files are opened here only through [`super::files`].

use std::{collections::HashSet, ops::Range, path::Path, time::Duration};

use indexmap::IndexMap;
use jiff::civil;
use serde_json::Value;
use trunkline_state::{
    ids::PipelineName,
    machine::NoticeOutcome,
    pipeline::{Catchup, Notice, Overlap, Param, Pipeline},
    schedule::{Calendar, DataInterval, Deadline},
    triggers::EventTrigger,
};

use super::{
    calls::{Links, Outlet, Upstream},
    check_names::{NameScope, check_sites},
    common::Common,
    diagnostic::{Diagnostics, Severity, SourceId, Sources},
    graph::{GraphTask, graph},
    notices::{Lists, ReadNotices, all_notices},
    operators::Operators,
    params,
    pooled::used_pools,
    reader::{Keys, Reader, shorten},
    sent::SentFiles,
    suggest::did_you_mean,
    task::{ReadTask, TaskScope, task},
    timing::{read_timing, retention},
    tree::{Entry, Kind, Mapping, Node},
    triggers::{ReadTrigger, TriggerScope, triggers},
};

/// More tasks belong into several pipelines.
pub const TASKS_MAX: usize = 5_000;
/// The most tags.
const TAGS_MAX: usize = 50;
/// Runs of one pipeline that may be active at once.
const ACTIVE_RUNS_MAX: u32 = 1_000;

/// The keys of a pipeline file.
pub const PIPELINE_KEYS: [&str; 27] = [
    "name",
    "description",
    "owner",
    "tags",
    "schedule",
    "timezone",
    "dst",
    "start_date",
    "triggers",
    "data_interval",
    "catchup",
    "overlap",
    "max_active_runs",
    "concurrency_group",
    "run_timeout",
    "retention",
    "params",
    "defaults",
    "tasks",
    "deadline",
    "on_success",
    "on_failure",
    "on_late",
    "on_recovery",
    "on_warning",
    "on_retry",
    "$schema",
];
/// Keys that are planned.
pub const LATER_PIPELINE_KEYS: [&str; 2] = ["secrets", "end_date"];

/// What the project says to every pipeline.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The environment's name.
    pub environment: String,
    /// Its vars.
    pub vars: IndexMap<String, Value>,
    /// Its connections.
    pub connections: IndexMap<String, Value>,
    /// Where its secrets lie.
    pub secrets: IndexMap<String, Value>,
    /// The project's pools, with their slots in this environment.
    pub pools: IndexMap<String, u32>,
    /// The names that each environment knows, this one included.
    pub environments: Vec<EnvironmentNames>,
    /// The project's `defaults`.
    pub defaults: Common,
    /// How long ended runs are kept, for pipelines that do not say it.
    pub retention: Option<Duration>,
    /// The project's notices, for pipelines without their own.
    pub notices: Lists<Vec<Notice>>,
}

/// What one environment knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentNames {
    /// Its name.
    pub name: String,
    /// Its vars.
    pub vars: Vec<String>,
    /// Its connections.
    pub connections: Vec<String>,
    /// Its secrets.
    pub secrets: Vec<String>,
}

/// Where a pipeline file lies.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file.
    pub source: SourceId,
    /// Its folder, for `file:`; `None` for text that was never a file.
    pub folder: Option<&'a Path>,
    /// The folder as people know it.
    pub folder_name: &'a str,
    /// The files that a client sent, where the folder is one of theirs and not of this disk.
    pub sent: Option<&'a SentFiles>,
}

/// A pipeline that was read, and where its name stands.
#[derive(Debug)]
pub struct Lowered {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// The place of its name.
    pub name_span: Range<usize>,
    /// What ties it to other pipelines.
    pub(super) links: Links,
}

/// Reads a pipeline. Everything wrong goes to `out`; the pipeline comes out if nothing is.
pub fn lower(
    root: &Node,
    place: Place<'_>,
    scope: &Scope,
    operators: &Operators<'_>,
    out: &mut Diagnostics,
) -> Option<Lowered> {
    let mut lowering = Lowering {
        reader: Reader::new(place.source),
        scope,
        operators,
        sources: &mut out.sources,
        lost: HashSet::new(),
    };
    let lowered = lowering.pipeline(root, place);
    let found = lowering.reader.found;
    let sound = !found.iter().any(|item| item.severity == Severity::Error);
    out.items.extend(found);
    lowered.filter(|_| sound)
}

/// When a pipeline runs and what a run covers.
#[derive(Debug)]
pub(super) struct Timing {
    pub(super) calendar: Option<Calendar>,
    pub(super) timezone: String,
    pub(super) start_date: Option<civil::Date>,
    pub(super) data_interval: DataInterval,
    pub(super) catchup: Catchup,
    pub(super) overlap: Overlap,
    pub(super) deadline: Option<Deadline>,
}

struct Lowering<'a> {
    reader: Reader,
    scope: &'a Scope,
    operators: &'a Operators<'a>,
    sources: &'a mut Sources,
    /// Tasks that exist but could not be read.
    lost: HashSet<String>,
}

impl Lowering<'_> {
    fn pipeline(&mut self, root: &Node, place: Place<'_>) -> Option<Lowered> {
        let Kind::Mapping(top) = &root.kind else { return self.no_mapping(root) };
        let keys = Keys { of: "a pipeline", known: &PIPELINE_KEYS, later: &LATER_PIPELINE_KEYS };
        self.reader.check_keys(top, keys);
        let name = self.name(top, &root.span);
        let timing = read_timing(&mut self.reader, top);
        let params = self.params(top);
        let defaults = self.defaults(top);
        let tasks = self.tasks(top, &root.span, &defaults, place);
        let connection = defaults.connection.as_ref().map(|(name, _)| name.as_str());
        let notices = all_notices(&mut self.reader, top, connection);
        let vars = &self.scope.vars;
        let given = TriggerScope { connection, vars, params: &params, data_interval: timing.data_interval };
        let triggers = triggers(&mut self.reader, top, given);
        let described = self.described(top);
        let (run_timeout, concurrency_group, max_active_runs) = self.limits(top);
        let retention = top.get("retention").and_then(|entry| retention(&mut self.reader, entry));
        let graph = self.graph(&tasks);
        let names = NameScope {
            data_interval: timing.data_interval != DataInterval::None,
            params: &params.keys().map(String::as_str).collect::<Vec<_>>(),
            environments: &self.scope.environments,
            triggers: &triggers,
            lost: &self.lost,
        };
        check_sites(&mut self.reader, self.sources, &names, &tasks, &graph, &notices);
        self.check_connections(&tasks, &notices, &triggers);
        let (name, name_span) = name?;
        let notices = notices.or(&self.scope.notices, timing.deadline.is_some());
        let links = links(&tasks, &triggers);
        let tasks = arranged(tasks, &graph);
        let (description, owner, tags) = described;
        let all = || notices.iter().flat_map(|(_, list)| list);
        let secrets = self.used_secrets(&tasks, all());
        let triggers: Vec<EventTrigger> = triggers.into_iter().map(|read| read.trigger).collect();
        let connections = self.used_connections(&tasks, all(), &secrets, &triggers);
        let of = |outcome| notices.get(outcome).clone();
        let pipeline = Pipeline {
            name,
            description,
            owner,
            tags,
            environment: self.scope.environment.clone(),
            calendar: timing.calendar,
            timezone: timing.timezone,
            start_date: timing.start_date,
            triggers,
            data_interval: timing.data_interval,
            catchup: timing.catchup,
            overlap: timing.overlap,
            max_active_runs,
            concurrency_group,
            run_timeout,
            retention: retention.or(self.scope.retention),
            params,
            vars: self.scope.vars.clone(),
            connections,
            secrets,
            pools: used_pools(&tasks, &self.scope.pools),
            tasks,
            on_success: of(NoticeOutcome::Success),
            on_failure: of(NoticeOutcome::Failure),
            deadline: timing.deadline,
            on_late: of(NoticeOutcome::Late),
            on_recovery: of(NoticeOutcome::Recovery),
            on_warning: of(NoticeOutcome::Warning),
            on_retry: of(NoticeOutcome::Retry),
        };
        Some(Lowered { pipeline, name_span, links })
    }

    fn no_mapping(&mut self, root: &Node) -> Option<Lowered> {
        let message = format!("a pipeline file holds names with values, not {}", root.describe());
        let diagnostic = self
            .reader
            .error(&root.span, message)
            .label("expected `name:`, `tasks:` …")
            .help("begin with name: my_pipeline");
        self.reader.report(diagnostic);
        None
    }

    fn name(&mut self, top: &Mapping, whole: &Range<usize>) -> Option<(PipelineName, Range<usize>)> {
        let Some(entry) = top.get("name") else {
            let start = whole.start..whole.start;
            let diagnostic = self
                .reader
                .error(&start, "the pipeline needs `name`")
                .label("`name` is missing")
                .help("begin with name: my_pipeline");
            self.reader.report(diagnostic);
            return None;
        };
        let text = self.reader.text(entry)?;
        match PipelineName::new(text.as_str()) {
            Ok(name) => Some((name, entry.value.span.clone())),
            Err(error) => {
                let message = format!("`{}` cannot be the name of a pipeline", shorten(&text));
                let diagnostic =
                    self.reader.error(&entry.value.span, message).label("name").help(error.to_string());
                self.reader.report(diagnostic);
                None
            }
        }
    }

    fn described(&mut self, top: &Mapping) -> (String, String, Vec<String>) {
        let mut text = |key: &str| top.get(key).and_then(|entry| self.reader.text(entry)).unwrap_or_default();
        let description = text("description");
        let owner = text("owner");
        let Some(entry) = top.get("tags") else { return (description, owner, Vec::new()) };
        let tags = self.reader.texts(entry);
        if let Some((_, span)) = tags.get(TAGS_MAX) {
            let diagnostic =
                self.reader.error(span, format!("there are more than {TAGS_MAX} tags")).label("one too many");
            self.reader.report(diagnostic);
        }
        (description, owner, tags.into_iter().map(|(tag, _)| tag).collect())
    }

    fn limits(&mut self, top: &Mapping) -> (Option<Duration>, Option<String>, u32) {
        let run_timeout = top.get("run_timeout").and_then(|entry| self.reader.positive_duration(entry));
        let group = top.get("concurrency_group").and_then(|entry| self.reader.text(entry));
        let active =
            top.get("max_active_runs").and_then(|entry| self.reader.integer(entry, 1..=ACTIVE_RUNS_MAX));
        (run_timeout, group, active.unwrap_or(1))
    }

    fn params(&mut self, top: &Mapping) -> IndexMap<String, Param> {
        let mut params = IndexMap::new();
        let Some(entry) = top.get("params") else { return params };
        if entry.value.is_null() {
            return params;
        }
        let Some(mapping) = self.reader.mapping(&entry.value, "params") else { return params };
        if let Some(extra) = mapping.entries.get(params::PARAMS_MAX) {
            let message = format!("there are more than {} params", params::PARAMS_MAX);
            let diagnostic = self.reader.error(&extra.key_span, message).label("one too many");
            self.reader.report(diagnostic);
        }
        for entry in mapping.entries.iter().take(params::PARAMS_MAX) {
            // A declaration with a mistake still declares: its uses are no further mistakes.
            let param = params::declaration(&mut self.reader, entry).unwrap_or_else(placeholder);
            params.insert(entry.key.clone(), param);
        }
        params
    }

    fn tasks(
        &mut self,
        top: &Mapping,
        whole: &Range<usize>,
        defaults: &Common,
        place: Place<'_>,
    ) -> Vec<ReadTask> {
        let Some(entry) = top.get("tasks") else {
            let start = whole.start..whole.start;
            let diagnostic = self
                .reader
                .error(&start, "the pipeline needs `tasks`")
                .label("`tasks` is missing")
                .help("add tasks: { first: { type: noop } }");
            self.reader.report(diagnostic);
            return Vec::new();
        };
        if let Kind::Sequence(_) = &entry.value.kind {
            let diagnostic = self
                .reader
                .error(&entry.value.span, "`tasks` must be names with values, not a list")
                .label("expected a name for each task")
                .help("write the task's name as the key: extract: { type: … }");
            self.reader.report(diagnostic);
            return Vec::new();
        }
        let Some(mapping) = self.reader.mapping(&entry.value, "tasks") else { return Vec::new() };
        if mapping.entries.is_empty() {
            let diagnostic = self
                .reader
                .error(&entry.value.span, "the pipeline has no task")
                .label("at least one is needed");
            self.reader.report(diagnostic);
        }
        if let Some(extra) = mapping.entries.get(TASKS_MAX) {
            let message = format!("the pipeline has more than {TASKS_MAX} tasks");
            let diagnostic =
                self.reader.error(&extra.key_span, message).label("one too many").help("split it");
            self.reader.report(diagnostic);
        }
        let mut scope = TaskScope {
            operators: self.operators,
            defaults,
            connections: &self.scope.connections,
            vars: &self.scope.vars,
            pools: &self.scope.pools,
            folder: place.folder,
            folder_name: place.folder_name,
            sent: place.sent,
            sources: self.sources,
        };
        let entries = mapping.entries.iter().take(TASKS_MAX);
        let known: Vec<&Entry> = entries.collect();
        let read: Vec<Option<ReadTask>> =
            known.iter().map(|entry| task(&mut self.reader, entry, &mut scope)).collect();
        self.keep_sound(&known, read)
    }

    /// Tasks that could not be read still exist: who refers to them is told nothing more.
    fn keep_sound(&mut self, entries: &[&Entry], read: Vec<Option<ReadTask>>) -> Vec<ReadTask> {
        let lost = entries.iter().zip(&read).filter(|(_, task)| task.is_none());
        self.lost = lost.map(|(entry, _)| entry.key.clone()).collect();
        let mut tasks: Vec<ReadTask> = read.into_iter().flatten().collect();
        if !self.lost.is_empty() {
            for task in &mut tasks {
                task.depends_on.retain(|(name, _)| !self.lost.contains(name));
            }
        }
        tasks
    }

    fn graph(&mut self, tasks: &[ReadTask]) -> super::graph::Graph {
        let nodes: Vec<GraphTask<'_>> = tasks
            .iter()
            .map(|task| GraphTask {
                name: task.name.as_str(),
                span: &task.name_span,
                depends_on: &task.depends_on,
            })
            .collect();
        graph(&mut self.reader, &nodes)
    }

    fn defaults(&mut self, top: &Mapping) -> Common {
        let own = top.get("defaults").map(|entry| Common::defaults(&mut self.reader, &entry.value));
        let own = own.unwrap_or_default();
        self.check_default_connection(&own);
        own.or(&self.scope.defaults)
    }

    fn check_default_connection(&mut self, defaults: &Common) {
        if let Some((name, span)) = &defaults.connection {
            check_connection(&mut self.reader, name, span, &self.scope.environments, "");
        }
    }

    fn check_connections(&mut self, tasks: &[ReadTask], notices: &ReadNotices, triggers: &[ReadTrigger]) {
        let environments = &self.scope.environments;
        for task in tasks {
            let (name, span, needed) = &task.connection;
            if *needed {
                let user = format!("task `{}`: ", task.name);
                check_connection(&mut self.reader, name, span, environments, &user);
            }
        }
        for read in triggers {
            if let (Some(place), Some((connection, _))) = (&read.connection_place, read.trigger.queue()) {
                check_connection(&mut self.reader, connection, place, environments, "trigger: ");
            }
        }
        for read in notices.iter().flat_map(|(_, list)| list).flatten() {
            if let Some(place) = &read.place {
                check_connection(&mut self.reader, &read.notice.connection, place, environments, "notice: ");
            }
        }
    }

    /// The secrets that tasks and notices name, for the same reason. A secret more than is named
    /// does no harm, so a text is not taken apart for it.
    fn used_secrets<'n>(
        &self,
        tasks: &[trunkline_state::pipeline::Task],
        notices: impl Iterator<Item = &'n Notice>,
    ) -> IndexMap<String, Value> {
        fn in_text(text: &str, secret: &str) -> bool {
            text.contains("secrets") && text.contains(secret)
        }
        fn names(value: &Value, secret: &str) -> bool {
            match value {
                Value::String(text) => in_text(text, secret),
                Value::Array(items) => items.iter().any(|item| names(item, secret)),
                Value::Object(entries) => entries.values().any(|entry| names(entry, secret)),
                _ => false,
            }
        }
        let texts: Vec<&String> = notices.flat_map(Notice::texts).collect();
        let known = self.scope.secrets.iter();
        known
            .filter(|(name, _)| {
                tasks.iter().any(|task| names(&task.settings, name))
                    || texts.iter().any(|text| in_text(text, name))
            })
            .map(|(name, source)| (name.clone(), source.clone()))
            .collect()
    }

    /// The connections that the pipeline uses: a change of another one is no new version.
    fn used_connections<'n>(
        &self,
        tasks: &[trunkline_state::pipeline::Task],
        notices: impl Iterator<Item = &'n Notice>,
        secrets: &IndexMap<String, Value>,
        triggers: &[EventTrigger],
    ) -> IndexMap<String, Value> {
        let mut used: Vec<&str> = tasks.iter().map(|task| task.connection.as_str()).collect();
        used.extend(notices.map(|notice| notice.connection.as_str()));
        used.extend(triggers.iter().filter_map(|trigger| Some(trigger.queue()?.0)));
        used.extend(secrets.values().filter_map(|source| source.get("connection")?.as_str()));
        used.sort_unstable();
        used.dedup();
        self.scope
            .connections
            .iter()
            .filter(|(name, _)| used.binary_search(&name.as_str()).is_ok())
            .map(|(name, config)| (name.clone(), config.clone()))
            .collect()
    }
}

/// What ties a pipeline to others.
fn links(tasks: &[ReadTask], triggers: &[ReadTrigger]) -> Links {
    let outlets = tasks.iter().flat_map(|task| {
        let of_task = |(dataset, span): &(String, Range<usize>)| Outlet {
            task: task.name.to_string(),
            dataset: dataset.clone(),
            span: span.clone(),
        };
        task.outlets.names.iter().map(of_task)
    });
    Links {
        calls: tasks.iter().filter_map(|task| task.call.clone()).collect(),
        upstreams: triggers.iter().filter_map(upstream).collect(),
        outlets: outlets.collect(),
        datasets: triggers.iter().flat_map(|trigger| trigger.datasets.clone()).collect(),
    }
}

/// The pipeline that a trigger names, with its place.
fn upstream(read: &ReadTrigger) -> Option<Upstream> {
    let (source, place) = (read.trigger.upstream()?, read.upstream_place.as_ref()?);
    Some(Upstream { pipeline: source.name.clone(), span: place.clone() })
}

/// Says which environments lack a connection.
pub(crate) fn check_connection(
    reader: &mut Reader,
    name: &str,
    span: &Range<usize>,
    environments: &[EnvironmentNames],
    user: &str,
) {
    let lacking = || environments.iter().filter(|one| !one.connections.iter().any(|known| known == name));
    let everywhere = environments.len() > 1 && lacking().count() == environments.len();
    for environment in lacking().take(if everywhere { 1 } else { usize::MAX }) {
        let message = if everywhere {
            format!("{user}no environment has a connection `{}`", shorten(name))
        } else {
            format!("{user}environment `{}` has no connection `{}`", environment.name, shorten(name))
        };
        let help =
            did_you_mean(name, environment.connections.iter().map(String::as_str), "its connections are");
        let help = help.unwrap_or_else(|| {
            format!("add it under `environments.{}.connections` in trunkline.yaml", environment.name)
        });
        let diagnostic = reader.error(span, message).label("unknown").help(help);
        reader.report(diagnostic);
    }
}

/// The tasks in topological order, their edges as positions in that order.
fn arranged(tasks: Vec<ReadTask>, graph: &super::graph::Graph) -> Vec<trunkline_state::pipeline::Task> {
    let mut position = vec![0; tasks.len()];
    for (new, &old) in graph.order.iter().enumerate() {
        position[old] = new;
    }
    let mut slots: Vec<Option<ReadTask>> = tasks.into_iter().map(Some).collect();
    graph
        .order
        .iter()
        .filter_map(|&old| {
            let mut upstreams: Vec<usize> =
                graph.upstreams[old].iter().map(|&upstream| position[upstream]).collect();
            upstreams.sort_unstable();
            Some(slots[old].take()?.into_task(upstreams))
        })
        .collect()
}

fn placeholder() -> Param {
    Param {
        kind: trunkline_state::pipeline::ParamType::String,
        description: String::new(),
        default: None,
        minimum: None,
        maximum: None,
        choices: Vec::new(),
        max_length: None,
    }
}
