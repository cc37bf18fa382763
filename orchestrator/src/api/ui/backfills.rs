//! Backfills: which there are, one with its dates, and the form that shows what each date would do before
//! anything begins.

use axum::response::Response;
use jiff::tz::TimeZone;
use maud::html;
use serde::Deserialize;
use uuid::Uuid;

use super::{
    super::{
        backfills::{self, BackfillPath},
        pipelines::PageQuery,
        problem::{Kind, Problem},
        routes::Nothing,
    },
    Visit, assets,
    shell::{self, Nav},
    start, words,
};
use crate::service::find;

#[derive(Clone, Deserialize)]
pub(super) struct NamePath {
    pipeline: String,
}

#[derive(Clone, Deserialize)]
pub(super) struct IdPath {
    backfill: Uuid,
}

#[derive(Deserialize)]
pub(super) struct NoQuery {}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    cursor: Option<String>,
}

/// The list.
pub(super) async fn list(visit: Visit<(), ListQuery>) -> Result<Response, Problem> {
    let query = PageQuery { cursor: visit.query.cursor.clone(), limit: None };
    let page = backfills::list(visit.ask(Nothing {}, query)).await?;
    let body = html! {
        div.head { h1 { "Backfills" } }
        @if page.items.is_empty() {
            p.empty { "No backfills. A pipeline’s page begins one." }
        } @else {
            div.wide { table #backfills data-live="" {
                thead { tr {
                    th scope="col" { "Pipeline" } th scope="col" { "State" } th.number scope="col" { "Dates over" }
                    th.number scope="col" { "Under way" } th scope="col" { "Asked for" } th scope="col" { "By" }
                } }
                tbody { @for of in &page.items { tr {
                    th scope="row" { a href=(format!("/backfills/{}", of.id)) { (of.pipeline) } }
                    td { (of.state) }
                    td.number { (of.over) span.none { " / " (of.total) } }
                    td.number { (of.running) span.none { " / " (of.max_active) } }
                    td { (words::moment(of.created_at, &TimeZone::UTC)) }
                    td.said { (of.created_by) @if let Some(reason) = &of.reason { span.none { " · " (reason) } } }
                } } }
            } }
        }
        @if let Some(next) = &page.next { p { a href=(format!("/backfills?cursor={next}")) { "Older" } } }
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), "Backfills", Nav::Backfills, Some("/api/v1/events"), &body))
}

/// One with its dates.
pub(super) async fn show(visit: Visit<IdPath, NoQuery>) -> Result<Response, Problem> {
    let path = BackfillPath { backfill: visit.path.backfill };
    let of = backfills::show(visit.ask(path, Nothing {})).await?;
    let dates = of.dates.as_deref().unwrap_or_default();
    let operates = visit.operates(&of.pipeline).await?;
    let body = html! {
        div.head {
            div {
                p.trail { a href=(format!("/pipelines/{}", of.pipeline)) { (of.pipeline) } }
                h1 { "Backfill" }
            }
            div.actions #actions data-live="" {
                @if operates && of.state == "running" {
                    button type="button" data-do=(format!("/backfills/{}/cancel", of.id)) data-no-reason=""
                        data-title="Begin nothing more of this backfill; what runs goes on" { "Cancel" }
                }
            }
        }
        dl.facts #facts data-live="" {
            div { dt { "State" } dd { (of.state) } }
            div { dt { "Dates over" } dd { (of.over) " of " (of.total) } }
            div { dt { "Under way" } dd { (of.running) ", at most " (of.max_active) } }
            div { dt { "Runs" } dd { (of.reprocess) " dates" } }
            div { dt { "Asked for" } dd { (words::moment(of.created_at, &TimeZone::UTC)) " by " (of.created_by) } }
            @if let Some(reason) = &of.reason { div { dt { "Why" } dd { (reason) } } }
        }
        div.wide { table #dates data-live="" {
            thead { tr { th scope="col" { "Run" } th scope="col" { "In the backfill" } th scope="col" { "State" } th scope="col" { "What came of it" } } }
            tbody { @for date in dates { tr {
                th scope="row" { a href=(words::run_page(&date.run)) { (date.run) } }
                td { (date.state) }
                td { @if let Some(state) = &date.run_state { (words::state(state)) } @else { span.none { "–" } } }
                td.said { (date.outcome.clone().unwrap_or_default()) }
            } } }
        } }
    };
    let title = format!("Backfill of {}", of.pipeline);
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), &title, Nav::Backfills, Some("/api/v1/events"), &body))
}

/// The form.
pub(super) async fn form(visit: Visit<NamePath, NoQuery>) -> Result<Response, Problem> {
    let row = find::pipeline(&visit.store, &visit.path.pipeline).await?;
    if !visit.operates_in(&row.folder) {
        return Err(Problem::new(
            Kind::Forbidden,
            "you may look at this pipeline, and begin no backfills of it",
        ));
    }
    let definition = visit.store.definition(&row.name, row.version).await?;
    let here = format!("/pipelines/{}", row.name);
    let body = html! {
        p.trail { a href=(here) { (row.name) } }
        h1 { "Backfill " (row.name) }
        form.start #backfill data-pipeline=(format!("/api/v1{here}")) {
            div.field {
                label for="from" { "From" }
                input #from name="from" placeholder="2026-10-01 or 2026-10" autocomplete="off" spellcheck="false";
            }
            div.field {
                label for="to" { "To" }
                input #to name="to" placeholder="2026-10-31; it runs too" autocomplete="off" spellcheck="false";
            }
            div.field {
                label for="reprocess" { "Which dates" }
                select #reprocess name="reprocess" {
                    option value="missing" { "those without a run" }
                    option value="failed" { "those too that did not succeed" }
                    option value="all" { "all" }
                }
            }
            div.field {
                label for="max_active" { "At once" }
                input #max_active name="max_active" inputmode="numeric" placeholder="the pipeline’s places but one" autocomplete="off";
            }
            @for (name, param) in &definition.pipeline.params { (start::field(name, param)) }
            div.field {
                label for="reason" { "Reason" }
                input #reason name="reason" placeholder="for the history" maxlength="2000" autocomplete="off";
            }
            div.preview #preview aria-live="polite" { p.muted { "Name the first and the last date." } }
            div.actions {
                button.primary type="submit" { "Begin" }
                a.button href=(here) { "Back" }
            }
        }
        script type="module" src=(assets::address("backfill.js")) {}
    };
    let title = format!("Backfill {}", row.name);
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), &title, Nav::Pipelines, None, &body))
}
