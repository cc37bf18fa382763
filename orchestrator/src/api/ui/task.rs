//! One task run: why it is not further, what may be done with it, and its attempts.

use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::{
    super::{
        problem::Problem,
        routes::Nothing,
        runs::{self, AttemptsQuery, RunPath, TaskPath, WhyQuery},
    },
    Visit,
    attempts::{Tries, Wanted},
    run::pretty,
    shell::{self, Nav},
    source, words,
};
use crate::service::views::{RunWithTasks, TaskSourceView, TaskView};

/// Attempts on a page: the newest, or those up to the wanted one.
const SHOWN: u32 = 200;

#[derive(Clone, Deserialize)]
pub(super) struct NamePath {
    run: String,
    task: String,
}

#[derive(Deserialize)]
pub(super) struct TaskQuery {
    attempt: Option<u32>,
    generation: Option<u32>,
}

/// The page.
pub(super) async fn show(visit: Visit<NamePath, TaskQuery>) -> Result<Response, Problem> {
    let path = || RunPath { run: visit.path.run.clone() };
    let run = runs::show(visit.ask(path(), Nothing {})).await?;
    let name = visit.path.task.clone();
    let why = runs::why(visit.ask(path(), WhyQuery { task: Some(name.clone()) })).await?.why;
    let Some(task) = run.tasks.iter().find(|task| task.task == name) else {
        return Err(Problem::not_found(format!("{} has no task {name} in this generation", run.label())));
    };
    let TaskQuery { attempt, generation } = visit.query;
    // Their numbers go on over all generations, so that a number says where a page of them begins.
    let from = attempt.unwrap_or(task.attempts).min(task.attempts).saturating_sub(SHOWN);
    let query =
        AttemptsQuery { task: Some(name.clone()), cursor: Some(from.to_string()), limit: Some(SHOWN) };
    let attempts = runs::attempts(visit.ask(path(), query)).await?.items;
    let tries = Tries::new(&run, task, &attempts, Wanted { attempt, generation })?;
    let path = TaskPath { run: visit.path.run.clone(), task: name.clone() };
    let place = runs::task_source(visit.ask(path, Nothing {})).await?;
    let operates = visit.operates(&run.run.pipeline).await?;
    let body = html! {
        div.head {
            div {
                p.trail {
                    a href=(format!("/pipelines/{}", run.run.pipeline)) { (run.run.pipeline) } " / "
                    a href=(words::run_page(run.label())) { (run.run.run_key) }
                }
                h1 { (task.task) " " span.none { (task.operator) } }
            }
            @if operates { (actions(&run, task)) }
        }
        (facts(&visit, (&run, task), &why, &place))
        @if let Some(item) = &task.item { details { summary { "Item" } pre tabindex="0" { (pretty(item)) } } }
        @if let Some(outputs) = task.outputs.as_ref().filter(|outputs| !tries.shows(outputs)) {
            details { summary { "Outputs of the task" } pre tabindex="0" { (pretty(outputs)) } }
        }
        (tries.markup())
    };
    let events = format!("/api/v1{}/events", words::run_page(run.label()));
    let title = format!("{name} of {}", run.label());
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), &title, Nav::Runs, Some(&events), &body))
}

fn facts(
    visit: &Visit<NamePath, TaskQuery>,
    (run, task): (&RunWithTasks, &TaskView),
    why: &str,
    place: &TaskSourceView,
) -> Markup {
    let (zone, now) = (run.zone(), visit.api.clock.now());
    html! {
        dl.facts #facts data-live="" {
            div { dt { "State" } dd { (words::state(&task.state)) } }
            div { dt { "Began" } dd { (words::moment_or_none(task.started_at, &zone)) } }
            div { dt { "Took" } dd { (words::took(task.started_at, task.ended_at, now)) } }
            @if let Some(at) = task.retry_at { div { dt { "Next try" } dd { (words::moment(at, &zone)) } } }
            div { dt { "Source" } dd { a href=(source::address(place)) { "v" (place.version) @if let Some(line) = place.line() { ", line " (line) } }
                @if let Some(field) = &place.field { " " code { (field) } } } }
            // Of what went well, state and duration say it already.
            @if task.state != "succeeded" { div.why { dt { "Now" } dd { (words::sentence(why)) } } }
            @for warning in &task.warnings { div.why { dt { "Warning" } dd.warned { (warning) } } }
        }
    }
}

/// What may be done with it as it is.
fn actions(run: &RunWithTasks, task: &TaskView) -> Markup {
    let (here, of_run) = (words::task_page(run.label(), &task.task), words::run_page(run.label()));
    let name = &task.task;
    let action = |path: String, word: &str, title: String, body: serde_json::Value| {
        html! { button type="button" data-do=(path) data-body=(body) data-title=(title) { (word) } }
    };
    let ended =
        matches!(task.state.as_str(), "succeeded" | "failed" | "skipped" | "upstream_failed" | "cancelled");
    html! {
        div.actions #actions data-live="" {
            @if task.state == "awaiting_approval" {
                (action(format!("{here}/approve"), "Approve", format!("Approve {name}"), json!({})))
                (action(format!("{here}/reject"), "Reject", format!("Reject {name}"), json!({})))
            }
            @if task.state == "retrying" { (action(format!("{here}/retry-now"), "Retry now", format!("Retry {name} now"), json!({}))) }
            @if ended {
                (action(format!("{of_run}/clear"), "Clear", format!("Run {name} and what follows it again"), json!({ "tasks": [name], "downstream": true })))
                @if task.state != "succeeded" {
                    (action(format!("{of_run}/mark"), "Mark succeeded", format!("Count {name} as succeeded"), json!({ "mark": "succeeded", "tasks": [name] })))
                }
            } @else {
                (action(format!("{of_run}/cancel"), "Cancel", format!("Stop {name}"), json!({ "task": name })))
            }
        }
    }
}
