//! Pipelines that run or wait for other pipelines, or are run when one of those ends: circles, places that can
//! never become free, names that nobody has. Checked over all files together, after each was read alone.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
};

use trunkline_tasks::{operator::Operator as _, pipeline_wait::PipelineWait, run_pipeline::RunPipeline};

use super::{
    diagnostic::{Diagnostic, SourceId},
    reader::Reader,
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

/// A pipeline with its calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) source: SourceId,
    pub(super) group: Option<String>,
    pub(super) calls: Vec<Call>,
    pub(super) upstreams: Vec<Upstream>,
}

impl Caller {
    /// The pipelines that it runs.
    pub(super) fn runs(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().filter(|call| call.runs).map(|call| call.pipeline.as_str())
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
        for call in caller.calls.iter().filter(|call| call.runs && call.waits) {
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
pub(super) fn check_names(callers: &[Caller]) -> Vec<Diagnostic> {
    let names = || callers.iter().map(|caller| caller.name.as_str());
    let mut found = Vec::new();
    for caller in callers {
        for call in caller.calls.iter().filter(|call| names().all(|name| name != call.pipeline)) {
            let message = format!("task `{}` names unknown pipeline `{}`", call.task, call.pipeline);
            let help = did_you_mean(&call.pipeline, names(), "the pipelines are");
            let diagnostic = Diagnostic::error(caller.source, call.span.clone(), message)
                .label("no pipeline with this name")
                .help_maybe(help);
            found.push(diagnostic);
        }
        for upstream in caller.upstreams.iter().filter(|other| names().all(|name| name != other.pipeline)) {
            let message = format!("a trigger names unknown pipeline `{}`", upstream.pipeline);
            let help = did_you_mean(&upstream.pipeline, names(), "the pipelines are");
            let diagnostic = Diagnostic::error(caller.source, upstream.span.clone(), message)
                .label("no pipeline with this name")
                .help_maybe(help);
            found.push(diagnostic);
        }
    }
    found
}

/// Which runs lead to which, by tasks and by triggers.
fn steps(callers: &[Caller], by_name: &HashMap<&str, usize>) -> Vec<Vec<Step>> {
    let mut steps: Vec<Vec<Step>> = callers.iter().map(|_| Vec::new()).collect();
    for (position, caller) in callers.iter().enumerate() {
        for call in caller.calls.iter().filter(|call| call.runs) {
            let Some(&to) = by_name.get(call.pipeline.as_str()) else { continue };
            let label = format!("`{}` runs `{}`", caller.name, call.pipeline);
            let (source, span) = (caller.source, call.span.clone());
            steps[position].push(Step { from: position, to, source, span, label, by_trigger: false });
        }
        for upstream in &caller.upstreams {
            let Some(&from) = by_name.get(upstream.pipeline.as_str()) else { continue };
            let label = format!("`{}` runs when `{}` ends", caller.name, upstream.pipeline);
            let (source, span) = (caller.source, upstream.span.clone());
            steps[from].push(Step { from, to: position, source, span, label, by_trigger: true });
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
