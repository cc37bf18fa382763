//! Pipelines that run or wait for other pipelines, or are run when one of those ends or updates a dataset: circles,
//! places that can never become free, names that nobody has. Checked over all files together, after each was read alone.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    ops::Range,
};

use trunkline_tasks::{operator::Operator as _, pipeline_wait::PipelineWait, run_pipeline::RunPipeline};

use super::{
    diagnostic::{Diagnostic, SourceId},
    reader::{Reader, shorten},
    suggest::did_you_mean,
    template::is_template,
    tree::Mapping,
};

/// The setting that names the other pipeline.
const PIPELINE: &str = "pipeline";

/// The setting of `run_pipeline` that says whether it waits.
const WAIT: &str = "wait";

/// A task that names another pipeline.
#[derive(Clone, Debug)]
pub(super) struct Call {
    task: String,
    pipeline: String,
    span: Range<usize>,
    /// Whether it makes a run there; else it only waits for one.
    runs: bool,
    /// Whether it lasts until that run has ended.
    waits: bool,
}

/// A pipeline whose runs make runs of the one that names it.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    pub(super) pipeline: String,
    pub(super) span: Range<usize>,
}

/// A dataset that a task updates.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    pub(super) task: String,
    pub(super) dataset: String,
    pub(super) span: Range<usize>,
}

/// What ties a pipeline to others.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    /// Its tasks that run or wait for other pipelines.
    pub(super) calls: Vec<Call>,
    /// The pipelines whose runs make runs of it.
    pub(super) upstreams: Vec<Upstream>,
    /// The datasets that its tasks update.
    pub(super) outlets: Vec<Outlet>,
    /// The datasets whose updates make runs of it.
    pub(super) datasets: Vec<(String, Range<usize>)>,
}

/// That runs of one pipeline lead to runs of another.
struct Step {
    from: usize,
    to: usize,
    source: SourceId,
    span: Range<usize>,
    label: String,
    /// Because of a trigger, not of a task.
    by_trigger: bool,
}

/// A pipeline with what ties it to others.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) source: SourceId,
    pub(super) group: Option<String>,
    pub(super) links: Links,
}

impl Caller {
    /// The pipelines that it runs.
    pub(super) fn runs(&self) -> impl Iterator<Item = &str> {
        self.links.calls.iter().filter(|call| call.runs).map(|call| call.pipeline.as_str())
    }
}

/// The call that a task's settings make, if they make one.
pub(super) fn call(reader: &mut Reader, task: &str, word: &str, mapping: &Mapping) -> Option<Call> {
    let runs = word == RunPipeline::TYPE;
    if !runs && word != PipelineWait::TYPE {
        return None;
    }
    let entry = mapping.get(PIPELINE)?;
    let name = entry.value.as_scalar()?.text.clone();
    if is_template(&name) {
        if runs {
            let diagnostic = reader
                .error(&entry.value.span, "the pipeline to run cannot be a template")
                .label("known only when it runs")
                .help("name the pipeline itself, so that circles of pipelines are seen before they run");
            reader.report(diagnostic);
        }
        return None;
    }
    let waits =
        mapping.get(WAIT).and_then(|entry| entry.value.as_scalar()).is_none_or(|it| it.text != "false");
    Some(Call { task: task.to_owned(), pipeline: name, span: entry.value.span.clone(), runs, waits })
}

/// Circles of pipelines that run each other, and runs that wait for a place that they hold.
pub(super) fn check(callers: &[Caller]) -> Vec<Diagnostic> {
    let by_name: HashMap<&str, usize> =
        callers.iter().enumerate().map(|(position, caller)| (caller.name.as_str(), position)).collect();
    let steps = steps(callers, &by_name);
    let mut found = Vec::new();
    let mut reported: Vec<Vec<usize>> = Vec::new();
    for start in 0..callers.len() {
        if let Some(circle) = circle(&steps, start) {
            let mut members: Vec<usize> = circle.iter().map(|step| step.from).collect();
            members.sort_unstable();
            if !reported.contains(&members) {
                found.push(say_circle(callers, &circle));
                reported.push(members);
            }
        }
    }
    for caller in callers {
        for call in caller.links.calls.iter().filter(|call| call.runs && call.waits) {
            let other = by_name.get(call.pipeline.as_str()).map(|position| &callers[*position]);
            let Some(other) = other.filter(|other| other.name != caller.name) else { continue };
            if let (Some(group), Some(theirs)) = (&caller.group, &other.group)
                && group == theirs
            {
                let message = format!(
                    "`{}` waits for a run of `{}`, which cannot start while `{}` runs: both are of concurrency_group \
                     `{group}`",
                    call.task, other.name, caller.name
                );
                let diagnostic = Diagnostic::error(caller.source, call.span.clone(), message)
                    .label("would wait for ever")
                    .help("take one of them out of the group, or say `wait: false`");
                found.push(diagnostic);
            }
        }
    }
    found
}

/// Names of pipelines that are not among these. Only for a whole project without mistakes: a
/// pipeline may stand in a file that could not be read.
pub(super) fn check_names(callers: &[Caller], others: &BTreeSet<String>) -> Vec<Diagnostic> {
    let names = || callers.iter().map(|caller| caller.name.as_str()).chain(others.iter().map(String::as_str));
    let mut found = Vec::new();
    for caller in callers {
        for call in caller.links.calls.iter().filter(|call| names().all(|name| name != call.pipeline)) {
            let message = format!("task `{}` names unknown pipeline `{}`", call.task, call.pipeline);
            let help = did_you_mean(&call.pipeline, names(), "the pipelines are");
            let diagnostic = Diagnostic::error(caller.source, call.span.clone(), message)
                .label("no pipeline with this name")
                .help_maybe(help);
            found.push(diagnostic);
        }
        for upstream in
            caller.links.upstreams.iter().filter(|other| names().all(|name| name != other.pipeline))
        {
            let message = format!("a trigger names unknown pipeline `{}`", upstream.pipeline);
            let help = did_you_mean(&upstream.pipeline, names(), "the pipelines are");
            let diagnostic = Diagnostic::error(caller.source, upstream.span.clone(), message)
                .label("no pipeline with this name")
                .help_maybe(help);
            found.push(diagnostic);
        }
    }
    found.extend(check_datasets(callers));
    found
}

/// Datasets that no task updates, and those that are written in two ways.
fn check_datasets(callers: &[Caller]) -> Vec<Diagnostic> {
    let outlets =
        || callers.iter().flat_map(|caller| caller.links.outlets.iter().map(move |one| (caller, one)));
    let mut found = Vec::new();
    let mut written: HashMap<&str, (&Caller, &Outlet)> = HashMap::new();
    for (caller, outlet) in outlets() {
        let (first_caller, first) =
            *written.entry(outlet.dataset.trim_end_matches('/')).or_insert((caller, outlet));
        if first.dataset != outlet.dataset {
            let (one, other) = (shorten(&outlet.dataset), shorten(&first.dataset));
            let message = format!("`{one}` and `{other}` would be two datasets");
            let diagnostic = Diagnostic::error(caller.source, outlet.span.clone(), message)
                .label("written otherwise")
                .help("write both with `/` at the end, or both without")
                .related(first_caller.source, first.span.clone(), "as here");
            found.push(diagnostic);
        }
    }
    let known: BTreeSet<&str> = outlets().map(|(_, outlet)| outlet.dataset.as_str()).collect();
    for caller in callers {
        for (dataset, span) in &caller.links.datasets {
            if known.contains(dataset.as_str()) {
                continue;
            }
            let message = format!("no task updates dataset `{}`", shorten(dataset));
            let help = did_you_mean(dataset, known.iter().copied(), "tasks update")
                .unwrap_or_else(|| "write it under `outlets` of the task that makes it".to_owned());
            let diagnostic = Diagnostic::error(caller.source, span.clone(), message)
                .label("would wait for ever")
                .help(help);
            found.push(diagnostic);
        }
    }
    found
}

/// Which runs lead to which, by tasks and by triggers.
fn steps(callers: &[Caller], by_name: &HashMap<&str, usize>) -> Vec<Vec<Step>> {
    let mut steps: Vec<Vec<Step>> = callers.iter().map(|_| Vec::new()).collect();
    let mut writers: HashMap<&str, Vec<(usize, &Outlet)>> = HashMap::new();
    for (position, caller) in callers.iter().enumerate() {
        for outlet in &caller.links.outlets {
            writers.entry(&outlet.dataset).or_default().push((position, outlet));
        }
    }
    for (position, caller) in callers.iter().enumerate() {
        for call in caller.links.calls.iter().filter(|call| call.runs) {
            let Some(&to) = by_name.get(call.pipeline.as_str()) else { continue };
            let label = format!("`{}` runs `{}`", caller.name, call.pipeline);
            let (source, span) = (caller.source, call.span.clone());
            steps[position].push(Step { from: position, to, source, span, label, by_trigger: false });
        }
        let mut triggered = |from: usize, span: &Range<usize>, label: String| {
            let (source, span) = (caller.source, span.clone());
            steps[from].push(Step { from, to: position, source, span, label, by_trigger: true });
        };
        for upstream in &caller.links.upstreams {
            let Some(&from) = by_name.get(upstream.pipeline.as_str()) else { continue };
            let label = format!("`{}` runs when `{}` ends", caller.name, upstream.pipeline);
            triggered(from, &upstream.span, label);
        }
        for (dataset, span) in &caller.links.datasets {
            for (from, outlet) in writers.get(dataset.as_str()).into_iter().flatten() {
                let (task, dataset) = (&outlet.task, shorten(dataset));
                let other = &callers[*from].name;
                let label = format!("`{}` runs when `{task}` of `{other}` updates `{dataset}`", caller.name);
                triggered(*from, span, label);
            }
        }
    }
    steps
}

/// The shortest circle through a pipeline.
fn circle(steps: &[Vec<Step>], start: usize) -> Option<Vec<&Step>> {
    let mut came: HashMap<usize, &Step> = HashMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(current) = queue.pop_front() {
        for step in &steps[current] {
            if step.to == start {
                let mut circle = vec![step];
                while let Some(before) = came.get(&circle[circle.len() - 1].from) {
                    circle.push(before);
                }
                circle.reverse();
                return Some(circle);
            }
            if let Entry::Vacant(unseen) = came.entry(step.to) {
                unseen.insert(step);
                queue.push_back(step.to);
            }
        }
    }
    None
}

fn say_circle(callers: &[Caller], circle: &[&Step]) -> Diagnostic {
    let names = circle.iter().map(|step| step.from).chain(circle.first().map(|step| step.from));
    let names: Vec<&str> = names.map(|caller| callers[caller].name.as_str()).collect();
    let message = format!("pipelines run each other in a circle: {}", names.join(" → "));
    let help = if circle.iter().any(|step| step.by_trigger) {
        "take one of these tasks or triggers out"
    } else {
        "take one of these tasks out"
    };
    let first = circle[0];
    let mut diagnostic =
        Diagnostic::error(first.source, first.span.clone(), message).label(first.label.clone()).help(help);
    for step in &circle[1..] {
        diagnostic = diagnostic.related(step.source, step.span.clone(), step.label.clone());
    }
    diagnostic
}
