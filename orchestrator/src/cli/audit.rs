//! `audit`: what people and programs asked for, newest first.

use super::{
    context::Context,
    exit::Exit,
    output::{Field, utc},
};
use crate::service::views::AuditView;

/// Rows where nobody says how many.
const LIMIT_DEFAULT: u16 = 20;
/// Rows at most.
const LIMIT_MAX: i64 = 10_000;

/// What `audit` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    /// What concerns this pipeline only
    pipeline: Option<String>,
    /// What this actor asked for only, such as account:ana or token:ci
    #[arg(long, value_name = "ACTOR")]
    by: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT, value_parser = clap::value_parser!(u16).range(1..=LIMIT_MAX))]
    limit: u16,
}

/// Lists what was asked for.
pub(crate) async fn audit(cx: &Context, args: &AuditArgs) -> anyhow::Result<Exit> {
    let rows = read(cx, args).await?;
    if cx.output.json() {
        cx.output.value(&rows);
        return Ok(Exit::Done);
    }
    let rows = rows.into_iter().map(|row| {
        let how = row.how();
        vec![
            Field::from(utc(row.at)),
            Field::from(row.actor),
            Field::from(row.action),
            Field::from(row.object),
            Field::from(how),
        ]
    });
    let none = "nothing was done, or nothing that you may see";
    cx.output.table(&["when", "by", "what", "to", "how"], rows.collect(), none);
    Ok(Exit::Done)
}

async fn read(cx: &Context, args: &AuditArgs) -> anyhow::Result<Vec<AuditView>> {
    let (pipeline, actor) = (args.pipeline.as_deref(), args.by.as_deref());
    if let Some(server) = cx.server()? {
        let wanted = [("pipeline", pipeline), ("actor", actor)];
        let query: Vec<_> =
            wanted.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
        return Ok(server.list(&["audit"], &query, args.limit.into()).await?);
    }
    let rows = cx.open_to_look().await?.store.audit(None, pipeline, actor, args.limit.into()).await?;
    Ok(rows.into_iter().map(AuditView::from).collect())
}
