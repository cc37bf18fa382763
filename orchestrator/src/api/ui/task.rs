//! One task run: why it is not further, its attempts with request and answer, what they printed.

use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::{
    super::{
        problem::Problem,
        routes::Nothing,
        runs::{self, AttemptsQuery, RunPath, WhyQuery},
    },
    Visit, assets,
    run::pretty,
    shell::{self, Nav},
    words,
};
use crate::service::{
    cost::{cost, cost_text},
    views::{AttemptView, RunWithTasks, TaskView},
};

#[derive(Clone, Deserialize)]
pub(super) struct NamePath {
    run: String,
    task: String,
}

#[derive(Deserialize)]
pub(super) struct TaskQuery {
    attempt: Option<u32>,
}

/// The page.
pub(super) async fn show(visit: Visit<NamePath, TaskQuery>) -> Result<Response, Problem> {
    let path = || RunPath { run: visit.path.run.clone() };
    let run = runs::show(visit.ask(path(), Nothing {})).await?;
    let name = visit.path.task.clone();
    let query = AttemptsQuery { task: Some(name.clone()), cursor: None, limit: Some(200) };
    let attempts = runs::attempts(visit.ask(path(), query)).await?.items;
    let why = runs::why(visit.ask(path(), WhyQuery { task: Some(name.clone()) })).await?.why;
    let Some(task) = run.tasks.iter().find(|task| task.task == name) else {
        return Err(Problem::not_found(format!("{} has no task {name} in this generation", run.label())));
    };
    let wanted = visit.query.attempt.or_else(|| attempts.last().map(|attempt| attempt.number));
    let shown = attempts.iter().find(|attempt| Some(attempt.number) == wanted);
    let here = words::task_page(run.label(), &name);
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
        (facts(&visit, &run, task, &why))
        @if !attempts.is_empty() {
            nav.tabs aria-label="Attempts" {
                @for attempt in &attempts {
                    a href=(format!("{here}?attempt={}", attempt.number)) aria-current=[(Some(attempt.number) == wanted).then_some("page")] {
                        "Attempt " (attempt.number)
                        @if attempt.generation > 1 { span.none { " · generation " (attempt.generation) } }
                        " " (words::square(&attempt.state, "state"))
                    }
                }
            }
        }
        @match shown {
            Some(attempt) => { (of_attempt(&run, attempt, &here)) }
            None => { p.empty { "No attempt was begun." } }
        }
    };
    let events = format!("/api/v1{}/events", words::run_page(run.label()));
    let title = format!("{name} of {}", run.label());
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), &title, Nav::Runs, Some(&events), &body))
}

fn facts(visit: &Visit<NamePath, TaskQuery>, run: &RunWithTasks, task: &TaskView, why: &str) -> Markup {
    let (zone, now) = (run.zone(), visit.api.clock.now());
    html! {
        dl.facts #facts data-live="" {
            div { dt { "State" } dd { (words::state(&task.state)) } }
            div { dt { "Began" } dd { (words::moment_or_none(task.started_at, &zone)) } }
            div { dt { "Took" } dd { (words::took(task.started_at, task.ended_at, now)) } }
            @if let Some(at) = task.retry_at { div { dt { "Next try" } dd { (words::moment(at, &zone)) } } }
            // Of what went well, state and duration say it already.
            @if task.state != "succeeded" { div.why { dt { "Now" } dd { (words::sentence(why)) } } }
            @for warning in &task.warnings { div.why { dt { "Warning" } dd.warned { (warning) } } }
        }
        @if let Some(item) = &task.item { details { summary { "Item" } pre tabindex="0" { (pretty(item)) } } }
        @if let Some(outputs) = &task.outputs { details { summary { "Outputs" } pre tabindex="0" { (pretty(outputs)) } } }
    }
}

fn of_attempt(run: &RunWithTasks, attempt: &AttemptView, here: &str) -> Markup {
    let zone = run.zone();
    html! {
        section.attempt {
            @if let Some(failure) = &attempt.failure {
                div.failure {
                    p { strong { (failure.code.clone().unwrap_or_else(|| failure.class.clone())) }
                        @if let Some(id) = &failure.request_id { span.none { " · request " (id) } } }
                    pre tabindex="0" { (failure.message) }
                }
            }
            dl.facts #attempt data-live="" {
                div { dt { "State" } dd { (words::state(&attempt.state)) } }
                div { dt { "Asked for" } dd { (words::moment(attempt.intent_at, &zone)) } }
                div { dt { "Ran" } dd { (words::moment_or_none(attempt.started_at, &zone)) " → " (words::moment_or_none(attempt.ended_at, &zone)) } }
                div { dt { "Job" } dd { @match &attempt.external_id { Some(id) => { code { (id) } } None => { span.none { "–" } } }
                    @if let Some(url) = attempt.console_url.as_deref().filter(|url| url.starts_with("https://")) {
                        " " a href=(url) rel="noopener noreferrer" target="_blank" { "AWS console" }
                    }
                    @if attempt.reattached { " " span.tag title="Found again after its start could not be confirmed" { "found again" } } } }
                @if let Some(cost) = cost_text(cost(std::slice::from_ref(attempt))) { div { dt { "Cost" } dd { (cost) } } }
                @if let Some(note) = &attempt.note { div.why { dt { "Known" } dd { (note) } } }
            }
            details { summary { "Request" } pre tabindex="0" { (pretty(&attempt.request)) } }
            @if let Some(result) = &attempt.result { details { summary { "Result" } pre tabindex="0" { (pretty(result)) } } }
            h2 { "Output" }
            div.log data-log=(format!("/api/v1{}/attempts/{}/log", here, attempt.number)) {
                div.tools { label.search { span.unseen { "Search the output" } input type="search" placeholder="Search the output"; } p.muted data-found="" {} }
                pre tabindex="0" role="region" aria-label="Output" {}
            }
            script type="module" src=(assets::address("log.js")) {}
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
