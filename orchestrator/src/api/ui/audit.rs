//! What people and programs asked for.

use axum::response::Response;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    super::{
        audit::{self, AuditQuery},
        problem::Problem,
        routes::Nothing,
    },
    Visit,
    shell::{self, Nav},
    words,
};
use crate::service::views::AuditView;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    pipeline: Option<String>,
    actor: Option<String>,
    cursor: Option<String>,
}

/// The list.
pub(super) async fn show(visit: Visit<(), ListQuery>) -> Result<Response, Problem> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (pipeline, actor) = (given(&visit.query.pipeline), given(&visit.query.actor));
    let query = AuditQuery {
        pipeline: pipeline.clone(),
        actor: actor.clone(),
        cursor: visit.query.cursor.clone(),
        limit: Some(100),
    };
    let page = audit::list(visit.ask(Nothing {}, query)).await?;
    let body = html! {
        div.head { h1 { "Audit" } }
        form.choices method="get" action="/audit" {
            label { "Pipeline " input name="pipeline" value=(pipeline.clone().unwrap_or_default()) autocomplete="off" spellcheck="false"; }
            label { "By " input name="actor" value=(actor.clone().unwrap_or_default()) placeholder="account:ana" autocomplete="off" spellcheck="false"; }
            button type="submit" { "Show" }
        }
        @if page.items.is_empty() { p.empty { "Nothing was done, or nothing that you may see." } } @else { (table(&page.items)) }
        @if let Some(next) = &page.next { p { a href=(older(pipeline.as_deref(), actor.as_deref(), next)) { "Older" } } }
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), "Audit", Nav::Audit, None, &body))
}

fn older(pipeline: Option<&str>, actor: Option<&str>, cursor: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("pipeline", pipeline), ("actor", actor), ("cursor", Some(cursor))] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    format!("/audit?{}", query.finish())
}

fn table(rows: &[AuditView]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Audit" { table #audit {
            thead { tr {
                th scope="col" { "When" } th scope="col" { "By" } th scope="col" { "What" }
                th scope="col" { "To" } th scope="col" { "How" }
            } }
            tbody { @for row in rows { tr {
                td { (words::moment_or_none(Some(row.at), &TimeZone::UTC)) }
                td { (row.actor) }
                td { (row.action) }
                td { (object(row)) }
                td.said { (row.how()) }
            } } }
        } }
    }
}

fn object(row: &AuditView) -> Markup {
    match &row.pipeline {
        Some(_) if row.action.starts_with("run.") => {
            html! { a href=(words::run_page(&row.object)) { (row.object) } }
        }
        Some(pipeline) if row.action.starts_with("backfill.") => {
            html! { a href=(format!("/backfills/{}", row.object)) { "a backfill of " (pipeline) } }
        }
        Some(pipeline) => html! { a href=(format!("/pipelines/{pipeline}")) { (pipeline) } },
        None => html! { (row.object) },
    }
}
