//! One run: its tasks as graph and list, its time line, its history.

use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;
use trunkline_state::words::RunState;

use super::{
    super::{
        pipelines::PageQuery,
        problem::Problem,
        routes::Nothing,
        runs::{self, RunPath, WhyQuery},
    },
    Visit, mails, pipeline,
    shell::{self, Nav},
    words,
};
use crate::{
    graph::Mark,
    service::{
        snapshot::{between, duration_text},
        views::{RunWithTasks, TaskView},
    },
};

/// Rows of a time line; more are not read at once.
const LINES_MAX: usize = 500;
/// The width of a time line, in its own units.
const LINE: f64 = 1_000.0;
/// The narrowest bar that can be seen.
const BAR_MIN: f64 = 3.0;
/// Elements of a mapped task that are listed.
const ELEMENTS_MAX: usize = 200;

/// The pages of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tab {
    Tasks,
    Timeline,
    History,
}

#[derive(Clone, Deserialize)]
pub(super) struct NamePath {
    run: String,
}

#[derive(Deserialize)]
pub(super) struct NoQuery {}

#[derive(Deserialize)]
pub(super) struct HistoryQuery {
    cursor: Option<String>,
}

async fn read<Q>(visit: &Visit<NamePath, Q>) -> Result<RunWithTasks, Problem> {
    runs::show(visit.ask(RunPath { run: visit.path.run.clone() }, Nothing {})).await
}

/// Its tasks.
pub(super) async fn tasks(visit: Visit<NamePath, NoQuery>) -> Result<Response, Problem> {
    let run = read(&visit).await?;
    let definition = visit.store.definition(&run.run.pipeline, run.run.version).await?;
    let now = visit.api.clock.now();
    let own: Vec<&TaskView> = run.own_tasks().collect();
    let mark = |position: usize| {
        let name = &definition.pipeline.tasks[position].name;
        let task = own.iter().find(|task| task.task == name.as_str());
        let link = words::task_page(run.label(), name.as_str());
        let Some(task) = task else { return Mark { link, ..Mark::default() } };
        let time = task.elapsed(now).map(duration_text);
        let note = time.unwrap_or_else(|| words::word(&task.state));
        Mark { state: task.state.clone(), sign: words::sign(&task.state), note, link }
    };
    let content = html! {
        div #graph data-live="" { (pipeline::picture(&definition.pipeline, mark)) }
        (list(&run, &own, now))
    };
    page(&visit, &run, Tab::Tasks, &content).await
}

fn list(run: &RunWithTasks, own: &[&TaskView], now: Timestamp) -> Markup {
    html! {
        div.wide { table #tasks data-live="" {
            thead { tr {
                th scope="col" { "Task" } th scope="col" { "State" } th.number scope="col" { "Attempts" }
                th scope="col" { "Took" } th scope="col" { "What was said" }
            } }
            tbody { @for task in own {
                (row(run, task, now))
                @if task.elements.is_some() {
                    @for element in run.elements(&task.task).take(ELEMENTS_MAX) { (row(run, element, now)) }
                }
            } }
        } }
    }
}

fn row(run: &RunWithTasks, task: &TaskView, now: Timestamp) -> Markup {
    html! {
        tr data-element[task.element_of.is_some()] {
            th scope="row" {
                a href=(words::task_page(run.label(), &task.task)) { (task.task) }
                " " span.none { (task.operator) }
            }
            td { (words::state(&task.state)) }
            td.number { (task.attempts) }
            td { (words::took(task.started_at, task.ended_at, now)) }
            td.said {
                @if let Some(failure) = &task.failure { span.bad { (failure.message) } }
                @else if let Some(standing) = &task.standing { (standing) }
                @for warning in &task.warnings { " " span.warned { (warning) } }
            }
        }
    }
}

/// When each task ran.
pub(super) async fn timeline(visit: Visit<NamePath, NoQuery>) -> Result<Response, Problem> {
    let run = read(&visit).await?;
    let now = visit.api.clock.now();
    let started: Vec<&TaskView> = run.tasks.iter().filter(|task| task.started_at.is_some()).collect();
    let first = started.iter().filter_map(|task| task.started_at).chain(run.run.started_at).min();
    let last = started.iter().map(|task| task.ended_at.unwrap_or(now)).chain(run.run.ended_at).max();
    let content = match (first, last) {
        (Some(first), Some(last)) if !started.is_empty() => html! {
            div.timeline #timeline data-live="" {
                p.scale {
                    (words::moment(first, &run.zone()))
                    span.space {}
                    span { (words::moment(last, &run.zone())) " · " (words::took(Some(first), Some(last), now)) }
                }
                @for task in started.iter().take(LINES_MAX) { (line(&run, task, (first, last), now)) }
                @if started.len() > LINES_MAX { p.muted { "and " (started.len() - LINES_MAX) " more" } }
            }
        },
        _ => html! { p.empty { "Nothing has started yet." } },
    };
    page(&visit, &run, Tab::Timeline, &content).await
}

fn line(
    run: &RunWithTasks,
    task: &TaskView,
    (first, last): (Timestamp, Timestamp),
    now: Timestamp,
) -> Markup {
    let whole = between(Some(first), last).unwrap_or_default().as_secs_f64().max(0.001);
    let offset = |at| between(Some(first), at).unwrap_or_default().as_secs_f64() / whole * LINE;
    let left = task.started_at.map_or(0.0, offset);
    let right = offset(task.ended_at.unwrap_or(now));
    let width = (right - left).max(BAR_MIN);
    html! {
        a.line href=(words::task_page(run.label(), &task.task)) data-state=(task.state) {
            span.name { (task.task) }
            svg viewBox="0 0 1000 16" preserveAspectRatio="none" aria-hidden="true" {
                rect x=(format!("{:.1}", left.min(LINE - BAR_MIN))) y="2" width=(format!("{width:.1}")) height="12" {}
            }
            span.time { i aria-hidden="true" { (words::sign(&task.state)) } " " (words::took(task.started_at, task.ended_at, now)) span.unseen { " " (words::word(&task.state)) } }
        }
    }
}

/// What happened to it, and who did what.
pub(super) async fn history(visit: Visit<NamePath, HistoryQuery>) -> Result<Response, Problem> {
    let run = read(&visit).await?;
    let path = RunPath { run: visit.path.run.clone() };
    let query = PageQuery { cursor: visit.query.cursor.clone(), limit: None };
    let page_of = runs::history(visit.ask(path, query)).await?;
    let notices = runs::notices(visit.ask(RunPath { run: visit.path.run.clone() }, Nothing {})).await?;
    let sent = mails::of_run(&visit, &run.run.id).await?;
    let zone = run.zone();
    let content = html! {
        div.wide { table #history data-live="" {
            thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Who" } } }
            tbody { @for entry in &page_of.items { @for (index, change) in entry.changes.iter().enumerate() {
                tr {
                    td { @if index == 0 { (words::moment(entry.at, &zone)) } }
                    td.said {
                        @if let Some(task) = &change.task { a href=(words::task_page(run.label(), task)) { (task) } } @else { "the run" }
                        @if let Some(attempt) = change.attempt { " attempt " (attempt) }
                        ": " (words::state(&change.to))
                        @if let Some(reason) = &change.reason { " " span.muted { (reason) } }
                    }
                    td { @if index == 0 { (entry.actor) } }
                }
            } } }
        } }
        @if let Some(next) = &page_of.next { p { a href=(format!("?cursor={next}")) { "Later" } } }
        @if !notices.items.is_empty() {
            h2 { "Notices" }
            div.wide tabindex="0" { table {
                thead { tr { th scope="col" { "Notice" } th scope="col" { "State" } th.number scope="col" { "Tries" } th scope="col" { "Error" } } }
                tbody { @for notice in &notices.items { tr {
                    td { (notice.notice) @for mail in sent.iter().filter(|mail| mail.notice.as_ref() == Some(&notice.id)) {
                        " " a href=(mails::mail_page(&mail.mail)) { "mail to " (mail.to) }
                    } }
                    td { (notice.state) } td.number { (notice.tries) } td.said { (notice.error.clone().unwrap_or_default()) }
                } } }
            } }
        }
    };
    page(&visit, &run, Tab::History, &content).await
}

async fn page<Q>(
    visit: &Visit<NamePath, Q>,
    run: &RunWithTasks,
    tab: Tab,
    content: &Markup,
) -> Result<Response, Problem> {
    let now = visit.api.clock.now();
    let here = words::run_page(run.label());
    let operates = visit.operates(&run.run.pipeline).await?;
    let ended = run.state().is_some_and(RunState::is_terminal);
    let why = if ended {
        None
    } else {
        let ask = visit.ask(RunPath { run: visit.path.run.clone() }, WhyQuery { task: None });
        Some(runs::why(ask).await?.why)
    };
    let of = &run.run;
    let tabs = [
        (Tab::Tasks, "", "Tasks"),
        (Tab::Timeline, "/timeline", "Timeline"),
        (Tab::History, "/history", "History"),
    ];
    let body = html! {
        div.head {
            div {
                p.trail { a href=(format!("/pipelines/{}", of.pipeline)) { (of.pipeline) } }
                h1 { (of.run_key) }
            }
            @if operates { (actions(run)) }
        }
        dl.facts #facts data-live="" {
            div { dt { "State" } dd { (words::state(&of.state)) } }
            div { dt { "Covers" } dd { (run.covers.trim_start_matches("covers ")) } }
            div { dt { "Took" } dd { (words::took(of.started_at, of.ended_at, now))
                @if let Some(usual) = run.usual_seconds { span.none { " · usually " (duration_text(std::time::Duration::from_secs_f64(usual.max(0.0)))) } } } }
            div { dt { "Made by" } dd { (words::maker(&of.trigger, &of.created_by)) } }
            div { dt { "Version" } dd { a href=(format!("/pipelines/{}/source?version={}", of.pipeline, of.version)) { "v" (of.version) }
                @if of.generation > 1 { span.none { " · generation " (of.generation) } } } }
            @if let Some(why) = &why { div.why { dt { "Now" } dd { (words::sentence(why)) } } }
        }
        @if of.params.as_object().is_some_and(|params| !params.is_empty()) {
            details { summary { "Params" } pre { (pretty(&of.params)) } }
        }
        nav.tabs aria-label="Run" {
            @for (one, path, word) in tabs {
                a href=(format!("{here}{path}")) aria-current=[(one == tab).then_some("page")] { (word) }
            }
        }
        (content)
    };
    let events = format!("/api/v1{here}/events");
    let Visit { api, visitor, .. } = visit;
    Ok(shell::response(api, Some(visitor), run.label(), Nav::Runs, Some(&events), &body))
}

/// What may be done with it as it is.
fn actions(run: &RunWithTasks) -> Markup {
    let here = words::run_page(run.label());
    let ended = run.state().is_some_and(RunState::is_terminal);
    let paused = run.state() == Some(RunState::Paused);
    let failed = run.run.task_counts.failed > 0 || run.state() == Some(RunState::Cancelled);
    let action = |name: &str, word: &str, title: &str, body: serde_json::Value| {
        html! { button type="button" data-do=(format!("{here}/{name}")) data-body=(body) data-title=(title) { (word) } }
    };
    html! {
        div.actions #actions data-live="" {
            @if failed { (action("clear", "Clear failed", "Run again what failed", json!({ "failed": true, "downstream": true }))) }
            @if ended { (action("clear", "Clear all", "Run everything again", json!({}))) }
            @if !ended {
                @if paused { (action("resume", "Resume", "Let the run go on", json!({}))) }
                @else { (action("pause", "Pause", "Start nothing more of this run", json!({}))) }
                (action("cancel", "Cancel", "Stop the run and its jobs", json!({})))
            }
        }
    }
}

/// JSON for people.
pub(super) fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
