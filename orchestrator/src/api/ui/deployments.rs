//! Deployments: when, by whom, and which versions they changed.

use axum::response::Response;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    super::{deployments, pipelines::PageQuery, problem::Problem, routes::Nothing},
    Visit,
    shell::{self, Nav},
    words,
};
use crate::service::views::VersionChange;

/// Deployments on a page.
const SHOWN: u32 = 50;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    cursor: Option<String>,
}

/// The list.
pub(super) async fn show(visit: Visit<(), ListQuery>) -> Result<Response, Problem> {
    // One more than is shown: what a deployment changed is told by the one before.
    let query = PageQuery { cursor: visit.query.cursor.clone(), limit: Some(SHOWN + 1) };
    let items = deployments::list(visit.ask(Nothing {}, query)).await?.items;
    let shown = SHOWN as usize;
    let older = items.get(shown).and_then(|_| items.get(shown - 1)).map(|last| last.deployment);
    let body = html! {
        p.trail { a href="/pipelines" { "Pipelines" } }
        div.head { h1 { "Deployments" } }
        @if items.is_empty() { p.empty { "Nothing has been deployed yet." } } @else {
            div.wide tabindex="0" role="region" aria-label="Deployments" { table #deployments {
                thead { tr { th scope="col" { "When" } th scope="col" { "By" } th scope="col" { "What changed" } } }
                tbody { @for (position, one) in items.iter().take(shown).enumerate() {
                    tr {
                        th scope="row" { (words::moment(one.at, &TimeZone::UTC)) }
                        td { (one.actor) }
                        td.said { (changes(&one.changes_since(items.get(position + 1)))) }
                    }
                } }
            } }
        }
        @if let Some(older) = older { p { a href=(format!("/deployments?cursor={older}")) { "Older" } } }
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), "Deployments", Nav::Pipelines, None, &body))
}

/// The pipelines whose version is another one than before.
fn changes(changed: &[VersionChange]) -> Markup {
    html! {
        @if changed.is_empty() { span.none { "nothing that you may see" } }
        @for (position, VersionChange { pipeline, before, after }) in changed.iter().enumerate() {
            @if position > 0 { ", " }
            @match (before, after) {
                (Some(old), Some(new)) => { (link(pipeline, *new)) " " (old) " → " (new) },
                (None, Some(new)) => { (link(pipeline, *new)) " " (new) },
                (_, None) => { (pipeline) " removed" },
            }
        }
    }
}

fn link(name: &str, version: i32) -> Markup {
    html! { a href=(format!("/pipelines/{name}/source?version={version}")) { (name) } }
}
