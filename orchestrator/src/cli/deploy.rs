//! `deploy`: the project's pipelines become current in the store, all or none.

use serde_json::json;
use trunkline_state::store::Deployed;

use super::{
    context::Context,
    exit::Exit,
    output::{bold, dim},
};
use crate::service::deploy::{Action, PipelineChange, compare, foresee_rollback, put};

/// What `deploy` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DeployArgs {
    /// Make the versions of the deployment before the last one current again
    #[arg(long)]
    pub(crate) rollback: bool,
    /// Only show what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keep pipelines that the project no longer has
    #[arg(long, conflicts_with = "rollback")]
    pub(crate) keep: bool,
}

/// Validates, shows the difference and what it means for live runs, deploys.
pub(crate) async fn deploy(cx: &Context, args: &DeployArgs) -> anyhow::Result<Exit> {
    if args.rollback {
        return roll_back(cx, args.dry_run).await;
    }
    let (project, loaded, _) = cx.pipelines()?;
    cx.report(&loaded.diagnostics)?;
    let session = cx.open(&project).await?;
    let pipelines: Vec<_> = loaded.pipelines.iter().map(|entry| &entry.pipeline).collect();
    let changes = compare(&session.store, &pipelines, !args.keep).await?;
    show(cx, &changes, args.dry_run);
    if args.dry_run {
        return Ok(Exit::Done);
    }
    let deployed = put(&session.store, &loaded, !args.keep, &cx.actor(), cx.now()).await?;
    for entry in &loaded.pipelines {
        session.provision(cx, &project, entry).await?;
    }
    say(cx, &deployed);
    Ok(Exit::Done)
}

async fn roll_back(cx: &Context, dry_run: bool) -> anyhow::Result<Exit> {
    let session = cx.open(&cx.project()?).await?;
    if dry_run {
        would_roll_back(cx, &foresee_rollback(&session.store).await?);
        return Ok(Exit::Done);
    }
    let deployed = session.store.roll_back(&cx.actor(), cx.now()).await?;
    session.store.hint().await?;
    say(cx, &deployed);
    Ok(Exit::Done)
}

/// The preview of a rollback.
pub(crate) fn would_roll_back(cx: &Context, changes: &[Deployed]) {
    cx.output.note("would make the versions of the deployment before the last one current again");
    say(cx, changes);
}

/// What a deploy does to each pipeline.
pub(crate) fn show(cx: &Context, changes: &[PipelineChange], dry_run: bool) {
    if cx.output.json() {
        return cx.output.value(&json!({ "dry_run": dry_run, "changes": changes }));
    }
    for change in changes {
        let word = match change.action {
            Action::Add => "new",
            Action::Change => "changed",
            Action::Remove => "removed: it fires no more and keeps its history",
            Action::Keep => continue,
        };
        cx.output.note(&format!("{}  {word}", bold(&change.pipeline)));
        for line in &change.changes {
            cx.output.note(&format!("  {line}"));
        }
        if !change.live_runs.is_empty() {
            cx.output.note(&dim(&format!("  goes on as it started: {}", change.live_runs.join(", "))));
        }
    }
}

/// One line for each pipeline whose version changed.
pub(crate) fn say(cx: &Context, deployed: &[Deployed]) {
    let mut lines = Vec::new();
    for change in deployed.iter().filter(|change| change.before != change.after) {
        lines.push(match (change.before, change.after) {
            (Some(before), Some(after)) => format!("{}: version {before} → {after}", change.name),
            (None, Some(after)) => format!("{}: version {after}", change.name),
            (Some(_), None) => format!("{}: removed", change.name),
            (None, None) => format!("{}: unchanged", change.name),
        });
    }
    if cx.output.json() {
        return;
    }
    cx.output.data(&if lines.is_empty() {
        "nothing to deploy: the store is up to date".to_owned()
    } else {
        lines.join("\n")
    });
}
