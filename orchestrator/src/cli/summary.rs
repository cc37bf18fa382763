//! What a run came to: outputs, warnings, cost, and the next command.

use serde_json::Value;
use trunkline_state::words::{RunState, TaskState};

use super::{
    context::Context,
    output::{bold, dim, state},
};
use crate::{
    config::NamedServer,
    service::{
        cost::{cost, cost_text},
        snapshot::duration_text,
        views::{RunDetail, TaskView},
    },
};

/// Values longer than this are for `show --json`, in characters.
const VALUE_SHOWN_MAX: usize = 80;

/// Lines of one failure.
const FAILURE_LINES_MAX: usize = 6;

/// Says how a run ended: one line of data, the rest beside it.
pub(crate) fn summary(cx: &Context, detail: &RunDetail) {
    if cx.output.json() {
        return;
    }
    let (run, label) = (&detail.run, detail.run.label());
    for task in run.own_tasks() {
        task_lines(cx, detail, task);
    }
    if let Some(cost) = cost_text(cost(&detail.attempt_list)) {
        cx.output.note(&format!("cost  {cost}"));
    }
    let took =
        run.run.elapsed(cx.now()).map(|took| format!(" in {}", duration_text(took))).unwrap_or_default();
    cx.output.data(&format!("{} {}{took}", bold(label), state(&run.run.state)));
    let env = match (&cx.config.server, cx.config.environment.as_str()) {
        (Some(NamedServer::Flag(url)), _) => format!(" --server {url}"),
        // The shell says it already.
        (Some(NamedServer::Variable(_)), _) => String::new(),
        (None, crate::project::LOCAL) => String::new(),
        (None, other) => format!(" --env {other}"),
    };
    let next = match run.state() {
        Some(RunState::Failed) => format!("fix, then:  trunkline clear {label} --failed{env}"),
        Some(RunState::Cancelled) => format!("again:  trunkline clear {label} --failed{env}"),
        _ => format!("details:  trunkline show {label}{env}"),
    };
    cx.output.note(&next);
}

fn task_lines(cx: &Context, detail: &RunDetail, row: &TaskView) {
    if row.state == TaskState::Succeeded.word()
        && let Some(Value::Object(outputs)) = &row.outputs
    {
        let shown: Vec<String> = outputs.iter().filter_map(|(name, value)| shown(name, value)).collect();
        if !shown.is_empty() {
            cx.output.note(&format!("{}  {}", row.task, shown.join("  ")));
        }
    }
    for warning in &row.warnings {
        cx.output.warn(&format!("{}: {warning}", row.task));
    }
    if row.state == TaskState::Failed.word() {
        let attempts = match row.tries {
            // Its elements had them.
            0 => String::new(),
            1 => " after 1 attempt".to_owned(),
            more => format!(" after {more} attempts"),
        };
        cx.output.note(&format!("{} {}{attempts}", bold(&row.task), state("failed")));
        let message = row.failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
        for line in message.lines().take(FAILURE_LINES_MAX) {
            cx.output.note(&format!("  {line}"));
        }
        let label = detail.run.label();
        let first = detail.run.elements(&row.task).find(|element| element.state == row.state);
        let name = first.map_or_else(|| row.task.clone(), |element| format!("'{}'", element.task));
        cx.output.note(&dim(&format!("  trunkline logs {label} {name}")));
    }
}

/// `rows=1234`; what is long or nested is left to `show --json`, and ids to `show`.
fn shown(name: &str, value: &Value) -> Option<String> {
    if name.ends_with("_id") {
        return None;
    }
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        _ => return None,
    };
    (text.chars().count() <= VALUE_SHOWN_MAX).then(|| format!("{name}={text}"))
}
