//! Pipelines that run or wait for other pipelines: circles, places that can never become free,
//! names that nobody has. Checked over all files together, after each was read alone.

use std::{collections::HashMap, ops::Range};

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

/// A pipeline with its calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) source: SourceId,
    pub(super) group: Option<String>,
    pub(super) calls: Vec<Call>,
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
    let mut found = Vec::new();
    let mut reported: Vec<Vec<usize>> = Vec::new();
    for start in 0..callers.len() {
        if let Some(circle) = circle(callers, &by_name, start) {
            let mut members: Vec<usize> = circle.iter().map(|(caller, _)| *caller).collect();
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
    }
    found
}

/// The shortest circle through a pipeline: each step is a pipeline and the call that leads on.
fn circle(callers: &[Caller], by_name: &HashMap<&str, usize>, start: usize) -> Option<Vec<(usize, usize)>> {
    let mut came: HashMap<usize, (usize, usize)> = HashMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(current) = queue.pop_front() {
        for (position, call) in callers[current].calls.iter().enumerate().filter(|(_, call)| call.runs) {
            let Some(&next) = by_name.get(call.pipeline.as_str()) else { continue };
            if next == start {
                let mut steps = vec![(current, position)];
                while let Some(&(before, by)) = came.get(&steps[steps.len() - 1].0) {
                    steps.push((before, by));
                }
                steps.reverse();
                return Some(steps);
            }
            if next != start && !came.contains_key(&next) {
                came.insert(next, (current, position));
                queue.push_back(next);
            }
        }
    }
    None
}

fn say_circle(callers: &[Caller], circle: &[(usize, usize)]) -> Diagnostic {
    let name = |step: usize| callers[circle[step % circle.len()].0].name.as_str();
    let names: Vec<&str> = (0..=circle.len()).map(name).collect();
    let label = |step: usize| {
        let (caller, call) = circle[step];
        format!("`{}` runs `{}`", callers[caller].name, callers[caller].calls[call].pipeline)
    };
    let place = |step: usize| {
        let (caller, call) = circle[step];
        (callers[caller].source, callers[caller].calls[call].span.clone())
    };
    let (source, span) = place(0);
    let message = format!("pipelines run each other in a circle: {}", names.join(" → "));
    let mut diagnostic =
        Diagnostic::error(source, span, message).label(label(0)).help("take one of these tasks out");
    for step in 1..circle.len() {
        let (source, span) = place(step);
        diagnostic = diagnostic.related(source, span, label(step));
    }
    diagnostic
}
