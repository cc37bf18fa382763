//! All pipelines at a glance: how their last runs went, when they fire next, what is paused.

use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    super::{
        pipelines::{self, PageQuery},
        problem::Problem,
        routes::Nothing,
    },
    Visit,
    shell::{self, Nav},
    words,
};
use crate::service::views::PipelineView;

#[derive(Deserialize)]
pub(super) struct PipelinesQuery {
    cursor: Option<String>,
}

/// The list.
pub(super) async fn show(visit: Visit<(), PipelinesQuery>) -> Result<Response, Problem> {
    let query = PageQuery { cursor: visit.query.cursor.clone(), limit: None };
    let page = pipelines::list(visit.ask(Nothing {}, query)).await?;
    let body = html! {
        div.head {
            h1 { "Pipelines" }
            div.actions {
                a href="/deployments" { "Deployments" }
                label.search { span.unseen { "Filter" } input type="search" placeholder="Filter   /" data-filter="#pipelines"; }
            }
        }
        @if page.items.is_empty() {
            p.empty { "The store has no pipelines yet. " code { "trunkline deploy" } " brings those of your folder." }
        } @else {
            div.wide {
                table #pipelines data-live="" {
                    thead { tr {
                        th scope="col" { "Pipeline" }
                        th scope="col" { "Last runs" }
                        th scope="col" { "Next" }
                        th.number scope="col" { "Active" }
                        th scope="col" { span.unseen { "Actions" } }
                    } }
                    tbody { @for pipeline in page.items.iter().filter(|one| !one.removed) { (row(&visit, pipeline)) } }
                }
            }
        }
        @if let Some(next) = &page.next {
            p { a href=(format!("/pipelines?cursor={next}")) { "More" } }
        }
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), "Pipelines", Nav::Pipelines, Some("/api/v1/events"), &body))
}

fn row(visit: &Visit<(), PipelinesQuery>, of: &PipelineView) -> Markup {
    let (name, now) = (&of.pipeline, visit.api.clock.now());
    let runs = of.recent_runs.iter().map(|run| (format!("{name}@{}", run.run_key), run));
    html! {
        tr data-name=(name) {
            th scope="row" {
                a href=(format!("/pipelines/{name}")) { (name) }
                @if of.paused { " " span.tag { "paused" } }
            }
            td {
                @if of.recent_runs.is_empty() {
                    span.none { "no runs yet" }
                } @else {
                    div.squares {
                        @for (label, run) in runs {
                            a href=(words::run_page(&label)) { (words::square(&run.state, &run.run_key)) }
                        }
                    }
                }
            }
            td {
                @match of.next_fire_at {
                    Some(at) if !of.paused => time datetime=(at) title=(at) { (words::distance(at, now)) },
                    _ => span.none { @if of.paused { "paused" } @else { "by hand or events" } },
                }
            }
            td.number { (of.active_runs) span.none { " / " (of.max_active_runs) } }
            td {
                @if visit.operates_in(&of.folder) {
                    div.actions {
                        a.button href=(format!("/pipelines/{name}/start")) { "Run…" }
                        (switch(of))
                    }
                }
            }
        }
    }
}

/// The button that pauses a pipeline, or lets it go on.
pub(super) fn switch(of: &PipelineView) -> Markup {
    let (word, action) = if of.paused { ("Resume", "resume") } else { ("Pause", "pause") };
    html! {
        button type="button" data-do=(format!("/pipelines/{}/{action}", of.pipeline))
            data-title=(format!("{word} {}", of.pipeline)) { (word) }
    }
}
