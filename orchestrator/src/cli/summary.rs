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
        snapshot::duration_text,
        views::{AttemptView, RunDetail, TaskView},
    },
};

/// Values longer than this are for `show --json`, in characters.
const VALUE_SHOWN_MAX: usize = 80;

/// Lines of one failure.
const FAILURE_LINES_MAX: usize = 6;

/// Cost of a run in the units in which the services bill, over every attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RunCost {
    /// Glue.
    pub(crate) dpu_seconds: f64,
    /// Athena.
    pub(crate) bytes_scanned: u64,
    /// EMR Serverless.
    pub(crate) vcpu_hours: f64,
}

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

/// What all attempts of a run cost.
pub(crate) fn cost(attempts: &[AttemptView]) -> RunCost {
    let mut total = RunCost::default();
    for attempt in attempts {
        let Some(cost) = attempt.result.as_ref().and_then(|result| result.get("cost")) else { continue };
        total.dpu_seconds += cost.get("dpu_seconds").and_then(Value::as_f64).unwrap_or(0.0);
        total.vcpu_hours += cost.get("vcpu_hours").and_then(Value::as_f64).unwrap_or(0.0);
        total.bytes_scanned += cost.get("bytes_scanned").and_then(Value::as_u64).unwrap_or(0);
    }
    total
}

/// `4.1 DPU-hours, 1.2 GB scanned`; none if nothing is known.
pub(crate) fn cost_text(cost: RunCost) -> Option<String> {
    let mut parts = Vec::new();
    if cost.dpu_seconds > 0.0 {
        parts.push(if cost.dpu_seconds < 360.0 {
            format!("{:.0} DPU-seconds", cost.dpu_seconds)
        } else {
            format!("{:.1} DPU-hours", cost.dpu_seconds / 3_600.0)
        });
    }
    if cost.vcpu_hours > 0.0 {
        parts.push(format!("{:.2} vCPU-hours", cost.vcpu_hours));
    }
    if cost.bytes_scanned > 0 {
        parts.push(format!("{} scanned", bytes_text(cost.bytes_scanned)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `1.2 GB`; decimal, as the services bill.
pub(crate) fn bytes_text(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"];
    let mut value = bytes;
    let mut rest = 0;
    let mut unit = 0;
    while value >= 1_000 && unit + 1 < units.len() {
        (rest, value, unit) = (value % 1_000, value / 1_000, unit + 1);
    }
    if unit == 0 { format!("{value} bytes") } else { format!("{value}.{} {}", rest / 100, units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_reads_like_a_bill() {
        assert_eq!(cost_text(RunCost::default()), None);
        let cost = RunCost { dpu_seconds: 14_760.0, bytes_scanned: 1_234_567_890, vcpu_hours: 0.0 };
        assert_eq!(cost_text(cost).as_deref(), Some("4.1 DPU-hours, 1.2 GB scanned"));
        let small = RunCost { dpu_seconds: 12.4, bytes_scanned: 999, vcpu_hours: 0.25 };
        assert_eq!(cost_text(small).as_deref(), Some("12 DPU-seconds, 0.25 vCPU-hours, 999 bytes scanned"));
    }
}
