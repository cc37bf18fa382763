//! `plan`: what a run would do.

use super::{
    context::Context,
    exit::Exit,
    output::{bold, dim},
};
use crate::service::{plan as service, request::wanted};

/// What `plan` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// The pipeline
    pipeline: String,
    /// The date that the run covers, e.g. 2026-11-19; without one, the last complete interval
    #[arg(long, value_name = "DATE")]
    date: Option<String>,
    /// A parameter, name=value
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
}

/// Shows interval, tasks in order and the exact rendered requests; nothing is started.
pub(crate) fn plan(cx: &Context, args: &PlanArgs) -> anyhow::Result<Exit> {
    let (_, loaded, registry) = cx.pipelines()?;
    let pipeline = &cx.pipeline(&loaded, &args.pipeline)?.pipeline;
    let now = cx.now();
    let wanted = wanted(pipeline, args.date.as_deref(), &args.params, now)?;
    let plan = service::plan(pipeline, &wanted, &registry, now);
    if cx.output.json() {
        cx.output.value(&plan);
        return Ok(Exit::Done);
    }
    let mut text = format!("{}  {}\n", bold(&plan.run), plan.covers);
    for (name, value) in &plan.params {
        text.push_str(&format!("  param {name} = {value}\n"));
    }
    for (number, task) in plan.tasks.iter().enumerate() {
        text.push_str(&format!("\n{}. {}  {}", number + 1, bold(&task.task), task.operator));
        if !task.depends_on.is_empty() {
            let rule = task.trigger_rule.as_str().unwrap_or_default();
            let rule = if rule == "all_success" { String::new() } else { format!(" ({rule})") };
            text.push_str(&format!(", after {}{rule}", task.depends_on.join(", ")));
        }
        if let Some(when) = &task.when {
            text.push_str(&format!(", when {when}"));
        }
        if task.depends_on_past {
            text.push_str(", once it did well in the run before");
        }
        if let Some(list) = task.for_each.as_ref() {
            let items = list["items"].as_str().map_or_else(|| list["items"].to_string(), str::to_owned);
            text.push_str(&format!("\n   for each of {items}, at most {} at once", list["max_parallel"]));
        }
        if !task.outlets.is_empty() {
            text.push_str(&format!("\n   updates {}", task.outlets.join(", ")));
        }
        if let Some(pool) = task.pool.as_ref() {
            let (slots, name) = (&pool["slots"], pool["name"].as_str().unwrap_or_default());
            text.push_str(&format!("\n   {slots} of pool {name}, priority {}", pool["priority"]));
        }
        text.push_str(&format!("\n   at most {} of {} each\n", attempts(task.attempts), task.timeout));
        if let Some(note) = &task.note {
            text.push_str(&format!("   {note}\n"));
        }
        if let Some(shown) = task.request.as_ref().or(task.settings.as_ref()) {
            let shown = serde_json::to_string_pretty(shown)?;
            text.extend(shown.lines().map(|line| format!("   {line}\n")));
        }
        if !task.guarantee.is_empty() {
            text.push_str(&format!("   {}\n", dim(&task.guarantee)));
        }
    }
    cx.output.data(&text);
    if let Some(warning) = &plan.warning {
        cx.output.warn(warning);
    }
    Ok(Exit::Done)
}

fn attempts(number: u32) -> String {
    if number == 1 { "1 attempt".to_owned() } else { format!("{number} attempts") }
}
