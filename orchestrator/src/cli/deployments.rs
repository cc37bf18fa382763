//! `deployments`: when, by whom, and which versions they changed.

use super::{
    context::Context,
    exit::Exit,
    output::{Field, utc},
};
use crate::service::views::{DeploymentView, VersionChange};

/// Rows where nobody says how many.
const LIMIT_DEFAULT: u16 = 20;
/// Rows at most.
const LIMIT_MAX: i64 = 1_000;

/// What `deployments` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DeploymentsArgs {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT, value_parser = clap::value_parser!(u16).range(1..=LIMIT_MAX))]
    limit: u16,
}

/// Lists deployments, newest first.
pub(crate) async fn deployments(cx: &Context, args: &DeploymentsArgs) -> anyhow::Result<Exit> {
    let limit = usize::from(args.limit);
    // One more than is shown: what a deployment changed is told by the one before.
    let read = read(cx, limit + 1).await?;
    let shown = || read.iter().take(limit);
    if cx.output.json() {
        cx.output.value(&shown().collect::<Vec<_>>());
        return Ok(Exit::Done);
    }
    let rows = shown().enumerate().map(|(position, one)| {
        let changes: Vec<String> = one.changes_since(read.get(position + 1)).iter().map(told).collect();
        let changes =
            if changes.is_empty() { "nothing that you may see".to_owned() } else { changes.join(", ") };
        vec![Field::from(utc(one.at)), Field::from(one.actor.clone()), Field::from(changes)]
    });
    cx.output.table(&["when", "by", "what changed"], rows.collect(), "nothing has been deployed yet");
    Ok(Exit::Done)
}

async fn read(cx: &Context, most: usize) -> anyhow::Result<Vec<DeploymentView>> {
    if let Some(server) = cx.server()? {
        return Ok(server.list(&["deployments"], &[], most).await?);
    }
    let most = i64::try_from(most).unwrap_or(LIMIT_MAX);
    let rows = cx.open_to_look().await?.store.deployments(None, most).await?;
    Ok(rows.into_iter().map(DeploymentView::from).collect())
}

fn told(change: &VersionChange) -> String {
    let name = &change.pipeline;
    match (change.before, change.after) {
        (Some(before), Some(after)) => format!("{name} {before} → {after}"),
        (None, Some(after)) => format!("{name} {after}"),
        (_, None) => format!("{name} removed"),
    }
}
