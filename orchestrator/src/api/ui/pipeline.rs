//! One pipeline: its grid, its graph, and when it fires.

use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, PreEscaped, html};
use serde::Deserialize;
use trunkline_state::{
    pipeline::Pipeline,
    schedule::{describe_interval, interval_of_fire},
};

use super::{
    super::{
        pipelines::{self, PipelinePath},
        problem::Problem,
        routes::Nothing,
    },
    Visit, assets,
    pipelines::switch,
    shell::{self, Nav},
    words,
};
use crate::{
    graph::{self, GraphFormat, Mark},
    service::{find::zone_of, views::PipelineDetail},
};

/// Fires that are foretold.
const FIRES: usize = 10;
/// Fires on either side of a change of the clock.
const AROUND: usize = 2;

/// The pages of a pipeline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Grid,
    Graph,
    Source,
    Schedule,
}

#[derive(Clone, Deserialize)]
pub(super) struct NamePath {
    pub(super) pipeline: String,
}

#[derive(Deserialize)]
pub(super) struct NoQuery {}

/// What the pipeline's operation answers.
pub(super) async fn detail<Q>(visit: &Visit<NamePath, Q>) -> Result<PipelineDetail, Problem> {
    let path = PipelinePath { pipeline: visit.path.pipeline.clone() };
    pipelines::show(visit.ask(path, Nothing {})).await
}

/// What is around each of its pages.
pub(super) fn page<Q>(
    visit: &Visit<NamePath, Q>,
    of: &PipelineDetail,
    tab: Tab,
    content: &Markup,
) -> Response {
    let name = &of.pipeline.pipeline;
    let tabs = [
        (Tab::Grid, String::new(), "Grid"),
        (Tab::Graph, "/graph".to_owned(), "Graph"),
        (Tab::Schedule, "/schedule".to_owned(), "Schedule"),
        (Tab::Source, "/source".to_owned(), "Source"),
    ];
    let body = html! {
        div.head {
            div {
                h1 { (name) @if of.pipeline.paused { " " span.tag { "paused" } } @if of.pipeline.removed { " " span.tag { "removed" } } }
                p.muted { (of.description) }
            }
            div.actions {
                @if visit.operates_in(&of.pipeline.folder) && !of.pipeline.removed {
                    (switch(&of.pipeline))
                    a.button href=(format!("/pipelines/{name}/backfill")) { "Backfill…" }
                    a.button.primary href=(format!("/pipelines/{name}/start")) { "Run…" }
                }
            }
        }
        nav.tabs aria-label="Pipeline" {
            @for (here, path, word) in tabs {
                a href=(format!("/pipelines/{name}{path}")) aria-current=[(here == tab).then_some("page")] { (word) }
            }
            a href=(format!("/runs?pipeline={name}")) { "Runs" }
        }
        (content)
    };
    let Visit { api, visitor, .. } = visit;
    shell::response(api, Some(visitor), name, Nav::Pipelines, Some("/api/v1/events"), &body)
}

/// Tasks by runs. The cells are drawn by the page's script, which asks for them.
pub(super) async fn grid(visit: Visit<NamePath, NoQuery>) -> Result<Response, Problem> {
    let of = detail(&visit).await?;
    let name = &of.pipeline.pipeline;
    let signs = [
        ("succeeded", 's'),
        ("failed", 'f'),
        ("running", 'r'),
        ("retrying", 't'),
        ("queued", 'q'),
        ("waiting", 'w'),
        ("awaiting_approval", 'a'),
        ("skipped", 'k'),
        ("upstream_failed", 'u'),
        ("cancelled", 'c'),
    ];
    let content = html! {
        div.tools {
            label.search { span.unseen { "Filter tasks" } input #grid-filter type="search" placeholder="Filter tasks   /"; }
            p.muted #grid-help {
                kbd { "←↑↓→" } " move · " kbd { "Shift" } " select a block · " kbd { "Enter" } " open · " kbd { "C" } " clear"
            }
        }
        div #grid data-source=(format!("/api/v1/pipelines/{name}/grid")) data-may-change=(visit.operates_in(&of.pipeline.folder))
            data-signs=(signs.map(|(word, letter)| format!("{letter}{}{}", words::sign(word), words::word(word))).join(",")) {
            p.muted { "Loading…" }
        }
        p.legend {
            @for (word, _) in signs { (words::state(word)) " " }
            span.muted { "corner: " b { "2" } " attempts · " b { "w" } " warning · " b { "?" } " start unconfirmed · under a date: " b { "b" } " backfill · " b { "m" } " by hand · " b { "v" } " new version" }
        }
        script type="module" src=(assets::address("grid.js")) {}
    };
    Ok(page(&visit, &of, Tab::Grid, &content))
}

/// The graph of the current version.
pub(super) async fn graph(visit: Visit<NamePath, NoQuery>) -> Result<Response, Problem> {
    let of = detail(&visit).await?;
    let definition = visit.store.definition(&of.pipeline.pipeline, of.pipeline.version).await?;
    let content = picture(&definition.pipeline, |_| Mark::default());
    Ok(page(&visit, &of, Tab::Graph, &content))
}

/// A graph that can be moved and enlarged; as text where it is too large for a picture.
pub(super) fn picture(pipeline: &Pipeline, mark: impl Fn(usize) -> Mark) -> Markup {
    match graph::part(pipeline, mark) {
        Ok(svg) => html! {
            div.board data-board="" tabindex="0" aria-label="Graph; arrow keys move, + and − enlarge" { (PreEscaped(svg)) }
            script type="module" src=(assets::address("graph.js")) {}
        },
        Err(error) => html! {
            p.muted { (error) }
            pre { (graph::render(pipeline, GraphFormat::Text).unwrap_or_default()) }
        },
    }
}

/// When it fires next, and how the next change of the clock bears on that.
pub(super) async fn schedule(visit: Visit<NamePath, NoQuery>) -> Result<Response, Problem> {
    let of = detail(&visit).await?;
    let definition = visit.store.definition(&of.pipeline.pipeline, of.pipeline.version).await?;
    let (pipeline, now) = (&definition.pipeline, visit.api.clock.now());
    let content = match &pipeline.calendar {
        None => html! { p.empty { "It has no schedule: people and events make its runs." } },
        Some(calendar) => {
            let around = changes(pipeline, now);
            html! {
                p { "Fires " @match calendar.in_words() {
                    Some(words) => { strong { (words) } ": " code { (calendar.describe()) } },
                    None => strong { (calendar.describe()) },
                } @if of.pipeline.paused { ", and is paused: nothing fires before it is resumed" } "." }
                (fires(pipeline, &following(pipeline, now, FIRES), now))
                @if !around.is_empty() {
                    h2 { "Around the next change of the clock" }
                    (fires(pipeline, &around, now))
                }
            }
        }
    };
    Ok(page(&visit, &of, Tab::Schedule, &content))
}

fn following(pipeline: &Pipeline, after: Timestamp, count: usize) -> Vec<Timestamp> {
    let Some(calendar) = &pipeline.calendar else { return Vec::new() };
    std::iter::successors(calendar.next_after(after), |at| calendar.next_after(*at)).take(count).collect()
}

/// The fires on both sides of the next change of the zone's clock.
fn changes(pipeline: &Pipeline, now: Timestamp) -> Vec<Timestamp> {
    let Some(calendar) = &pipeline.calendar else { return Vec::new() };
    let zone = calendar.zone();
    let Some(change) = zone.following(now).next().map(|change| change.timestamp()) else { return Vec::new() };
    let before = std::iter::successors(calendar.previous_before(change), |at| calendar.previous_before(*at));
    let mut fires: Vec<Timestamp> = before.take(AROUND).collect();
    fires.reverse();
    // What would fire in a gap fires at its end: at the change itself.
    let just_before = change.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(change);
    fires.extend(following(pipeline, just_before, AROUND + 1));
    fires
}

fn fires(pipeline: &Pipeline, fires: &[Timestamp], now: Timestamp) -> Markup {
    let zone = zone_of(pipeline);
    html! {
        div.wide tabindex="0" { table.fires {
            thead { tr { th scope="col" { "Fires" } th scope="col" { "UTC" } th scope="col" { "When" } th scope="col" { "Covers" } } }
            tbody { @for at in fires {
                @let interval = interval_of_fire(pipeline.data_interval, &zone, *at);
                tr {
                    td { (words::moment(*at, &zone)) }
                    td { (at.strftime("%H:%M")) }
                    td.muted { (words::distance(*at, now)) }
                    td { @if interval.is_some() { (describe_interval(&zone, interval, None).trim_start_matches("covers ")) } @else { span.none { "–" } } }
                }
            } }
        } }
    }
}
