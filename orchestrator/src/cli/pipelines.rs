//! `pipelines`: what is deployed, how its last runs went, when it fires next.

use super::{
    context::Context,
    exit::Exit,
    output::{Field, bold, utc},
};
use crate::service::{
    pipelines,
    views::{PipelineDetail, PipelineView},
};

/// Pipelines that are read: as many as a project may have.
const ROWS_MAX: usize = 5_000;

/// What `pipelines` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PipelinesArgs {
    /// Show this one
    pipeline: Option<String>,
}

/// Lists pipelines by name, or shows one.
pub(crate) async fn pipelines(cx: &Context, args: &PipelinesArgs) -> anyhow::Result<Exit> {
    match &args.pipeline {
        Some(name) => show(cx, &one(cx, name).await?),
        None => list(cx, &all(cx).await?),
    }
    Ok(Exit::Done)
}

async fn all(cx: &Context) -> anyhow::Result<Vec<PipelineView>> {
    if let Some(server) = cx.server()? {
        return Ok(server.list(&["pipelines"], &[], ROWS_MAX).await?);
    }
    Ok(pipelines::list(&cx.open_to_look().await?.store, "", ROWS_MAX).await?)
}

async fn one(cx: &Context, name: &str) -> anyhow::Result<PipelineDetail> {
    if let Some(server) = cx.server()? {
        return Ok(server.get(&["pipelines", name], &[]).await?);
    }
    Ok(pipelines::one(&cx.open_to_look().await?.store, name).await?)
}

fn list(cx: &Context, all: &[PipelineView]) {
    if cx.output.json() {
        return cx.output.value(&all);
    }
    let rows = all.iter().filter(|one| !one.removed).map(|one| {
        let last = one.recent_runs.last();
        vec![
            Field::from(one.pipeline.clone()),
            Field::from(last.map(|run| run.run_key.clone()).unwrap_or_default()),
            Field::State(last.map(|run| run.state.clone()).unwrap_or_default()),
            Field::from(one.next_fire_at.map(utc).unwrap_or_default()),
            Field::from(format!("{}/{}", one.active_runs, one.max_active_runs)),
            Field::from(switched(one)),
        ]
    });
    let header = ["pipeline", "last run", "state", "next", "active", ""];
    cx.output.table(&header, rows.collect(), "nothing is deployed yet; `trunkline deploy` does it");
}

fn show(cx: &Context, of: &PipelineDetail) {
    if cx.output.json() {
        return cx.output.value(of);
    }
    let one = &of.pipeline;
    let mut lines = vec![format!("{}  version {}", bold(&one.pipeline), one.version)];
    let mut fact = |name: &str, text: String| {
        if !text.is_empty() {
            lines.push(format!("{name:<8} {text}"));
        }
    };
    fact("about", of.description.clone());
    fact("owner", of.owner.clone());
    fact("tags", of.tags.join(", "));
    fact("folder", one.folder.clone());
    fact("state", if one.removed { "removed by a deploy".to_owned() } else { switched(one) });
    fact("next", one.next_fire_at.map(utc).unwrap_or_default());
    fact("active", format!("{} of {} runs", one.active_runs, one.max_active_runs));
    fact("group", one.concurrency_group.clone().unwrap_or_default());
    fact("zone", of.timezone.clone());
    fact("params", of.params.keys().cloned().collect::<Vec<_>>().join(", "));
    fact("tasks", of.tasks.join(", "));
    cx.output.data(&lines.join("\n"));
}

/// That it is paused, by whom and why.
fn switched(of: &PipelineView) -> String {
    if !of.paused {
        return String::new();
    }
    let by = of.switched_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let reason = of.switch_reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("paused{by}{reason}")
}
