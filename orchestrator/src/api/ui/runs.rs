//! Lists of runs.

use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    super::{
        problem::Problem,
        routes::Nothing,
        runs::{self, RunsQuery, StateWord},
    },
    Visit,
    shell::{self, Nav},
    words,
};
use crate::service::views::RunView;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    pipeline: Option<String>,
    state: Option<StateWord>,
    cursor: Option<String>,
}

/// The words that a list can be narrowed to.
const STATES: [&str; 7] = ["queued", "running", "paused", "cancelling", "succeeded", "failed", "cancelled"];

/// The list.
pub(super) async fn show(visit: Visit<(), ListQuery>) -> Result<Response, Problem> {
    let ListQuery { pipeline, state, cursor } = &visit.query;
    let pipeline = pipeline.clone().filter(|name| !name.is_empty());
    let query = RunsQuery { pipeline: pipeline.clone(), state: *state, cursor: cursor.clone(), limit: None };
    let page = runs::list(visit.ask(Nothing {}, query)).await?;
    let word = state.map(|state| trunkline_state::words::RunState::from(state).word());
    let address = |state: Option<&str>, cursor: Option<&str>| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let fields = [("pipeline", pipeline.as_deref()), ("state", state), ("cursor", cursor)];
        for (name, value) in fields {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        format!("/runs?{}", query.finish())
    };
    let body = html! {
        div.head { h1 { @if let Some(pipeline) = &pipeline { "Runs of " a href=(format!("/pipelines/{pipeline}")) { (pipeline) } } @else { "Runs" } } }
        nav.choices aria-label="State" {
            a href=(address(None, None)) aria-current=[word.is_none().then_some("true")] { "all" }
            @for state in STATES {
                a href=(address(Some(state), None)) aria-current=[(word == Some(state)).then_some("true")] {
                    (words::state(state))
                }
            }
        }
        @if page.items.is_empty() { p.empty { "No such runs." } } @else { (table(&visit, &page.items)) }
        @if let Some(next) = &page.next { p { a href=(address(word, Some(next))) { "Older" } } }
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), "Runs", Nav::Runs, Some("/api/v1/events"), &body))
}

fn table(visit: &Visit<(), ListQuery>, runs: &[RunView]) -> Markup {
    let now = visit.api.clock.now();
    html! {
        div.wide { table data-live="" #runs {
            thead { tr {
                th scope="col" { "Run" } th scope="col" { "State" } th.number scope="col" { "Tasks" }
                th scope="col" { "Started" } th scope="col" { "Took" } th scope="col" { "By" }
            } }
            tbody { @for run in runs {
                tr {
                    th scope="row" {
                        a href=(words::run_page(&run.run)) { (run.run) }
                        @if run.generation > 1 { " " span.tag title="Cleared and run again" { "generation " (run.generation) } }
                    }
                    td { (words::state(&run.state)) }
                    td.number {
                        (run.task_counts.succeeded) span.none { " / " (run.task_counts.total) }
                        @if run.task_counts.failed > 0 { span.none { " · " } span.bad { (run.task_counts.failed) " failed" } }
                    }
                    td { (words::moment_or_none(run.started_at, &run.zone())) }
                    td { (words::took(run.started_at, run.ended_at, now)) }
                    td { (words::maker(&run.trigger, &run.created_by)) }
                }
            } }
        } }
    }
}
