//! What waits: events for runs of pipelines, tasks for slots of pools.

use axum::response::Response;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    super::{pools, problem::Problem, routes::Nothing, triggers},
    Visit,
    shell::{self, Nav},
    words,
};
use crate::service::views::{QueueView, TriggeredView};

#[derive(Deserialize)]
pub(super) struct NoQuery {}

/// Pipelines that events make runs of, and the queues that tell of them.
pub(super) async fn triggers(visit: Visit<(), NoQuery>) -> Result<Response, Problem> {
    let of = triggers::list(visit.ask(Nothing {}, Nothing {})).await?;
    let body = html! {
        div.head { h1 { "Triggers" } }
        @if of.pipelines.is_empty() {
            p.empty { "No pipeline has triggers: schedules and people make all runs." }
        } @else {
            div.wide { table #triggered data-live="" {
                thead { tr {
                    th scope="col" { "Pipeline" } th scope="col" { "Listens to" } th.number scope="col" { "Waiting" }
                    th scope="col" { "Since" } th scope="col" { "Last event" } th scope="col" { "In the way" }
                } }
                tbody { @for one in &of.pipelines { (triggered(one)) } }
            } }
        }
        @if !of.queues.is_empty() {
            h2 { "Queues" }
            div.wide tabindex="0" { table #queues data-live="" {
                thead { tr {
                    th scope="col" { "Queue" } th.number scope="col" { "In it" } th.number scope="col" { "Read" }
                    th.number scope="col" { "Unwanted" } th.number scope="col" { "Unreadable" }
                    th.number scope="col" { "Dead letters" } th scope="col" { "In the way" }
                } }
                tbody { @for one in &of.queues { (queue(one)) } }
            } }
        }
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), "Triggers", Nav::Triggers, Some("/api/v1/events"), &body))
}

fn triggered(of: &TriggeredView) -> Markup {
    html! { tr {
        th scope="row" { a href=(format!("/pipelines/{}", of.pipeline)) { (of.pipeline) } @if of.paused { " " span.tag { "paused" } } }
        td { @for label in &of.on { div { (label) } } }
        td.number { (of.waiting) }
        td { (words::moment_or_none(of.waiting_since, &TimeZone::UTC)) }
        td { (words::moment_or_none(of.last_received_at, &TimeZone::UTC)) }
        td.said { @if let Some(refusal) = &of.refusal { span.bad { (of.refused) ": " (refusal) } } @if let Some(waits_for) = &of.waits_for { (waits_for) } }
    } }
}

fn queue(of: &QueueView) -> Markup {
    let count =
        |count: Option<i64>| html! { @match count { Some(count) => (count), None => span.none { "–" } } };
    html! { tr {
        th scope="row" { (of.queue) }
        td.number { (count(of.messages)) }
        td.number { (of.received) }
        td.number { (of.unmatched) }
        td.number { (of.poison) }
        td.number { (count(of.dead_letters)) }
        td.said {
            @if let Some(trouble) = &of.trouble { span.bad { (trouble) } " " }
            @if let Some(poison) = &of.last_poison { span.warned { (poison.message_id) ": " (poison.reason) } }
        }
    } }
}

/// Pools, and how many of their slots are taken.
pub(super) async fn pools(visit: Visit<(), NoQuery>) -> Result<Response, Problem> {
    let of = pools::list(visit.ask(Nothing {}, Nothing {})).await?;
    let body = html! {
        div.head { h1 { "Pools" } }
        @if of.items.is_empty() {
            p.empty { "No pipeline names a pool." }
        } @else {
            div.wide tabindex="0" { table #pools data-live="" {
                thead { tr { th scope="col" { "Pool" } th.number scope="col" { "Taken" } th.number scope="col" { "Slots" } th.number scope="col" { "Waiting" } } }
                tbody { @for pool in &of.items { tr {
                    th scope="row" { (pool.pool) }
                    td.number { (pool.taken) } td.number { (pool.slots) } td.number { (pool.waiting) }
                } } }
            } }
        }
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), "Pools", Nav::Pools, Some("/api/v1/events"), &body))
}
