//! `purge`: removes ended runs that are older than anybody wants to look back. A server does the same
//! every hour by each pipeline's `retention`.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    context::Context,
    exit::{Exit, refuse},
    output::{Field, utc},
};
use crate::{
    definition::timing::RETENTION_MIN,
    engine::RUNS_PURGED_AT_ONCE,
    service::{find, snapshot::duration_text},
};

/// What `purge` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PurgeArgs {
    /// Of this pipeline only
    pipeline: Option<String>,
    /// Runs that ended longer ago, e.g. 400d [default: each pipeline's retention]
    #[arg(long, value_name = "DURATION", value_parser = age)]
    older_than: Option<std::time::Duration>,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

fn age(text: &str) -> Result<std::time::Duration, String> {
    let age = text.parse::<trunkline_tasks::duration::HumanDuration>().map_err(|error| error.to_string())?.0;
    if age < RETENTION_MIN {
        return Err(format!(
            "at least {}: until then AWS still knows the runs' jobs by their names",
            duration_text(RETENTION_MIN)
        ));
    }
    Ok(age)
}

/// What is removed of one pipeline.
#[derive(Serialize)]
struct Purged {
    pipeline: String,
    ended_before: Timestamp,
    runs: i64,
}

/// Removes old runs.
pub(crate) async fn purge(cx: &Context, args: &PurgeArgs) -> anyhow::Result<Exit> {
    let session = cx.open_to_look().await?;
    let rows = match &args.pipeline {
        Some(name) => vec![find::pipeline(&session.store, name).await?],
        None => session.store.pipelines().await?,
    };
    let now = session.store.now().await?;
    let mut plan = Vec::new();
    for row in rows {
        let definition = session.store.definition(&row.name, row.version).await?;
        let Some(age) = args.older_than.or(definition.pipeline.retention) else { continue };
        let ended_before = now.checked_sub(age).unwrap_or(Timestamp::MIN);
        let runs = session.store.purgeable(&row.name, ended_before).await?;
        plan.push(Purged { pipeline: row.name, ended_before, runs });
    }
    if plan.is_empty() {
        return refuse("no pipeline has a `retention`; say --older-than, e.g. --older-than 400d");
    }
    if cx.output.json() {
        cx.output.value(&plan);
    } else {
        let rows = plan.iter().map(|one| {
            vec![
                Field::from(one.pipeline.clone()),
                Field::from(one.runs.to_string()),
                Field::from(utc(one.ended_before)),
            ]
        });
        cx.output.table(&["pipeline", "runs", "that ended before"], rows.collect(), "");
    }
    let total: i64 = plan.iter().map(|one| one.runs).sum();
    if args.dry_run || total == 0 {
        return Ok(Exit::Done);
    }
    if !args.yes && !cx.agreed(&format!("Remove {total} runs with all their history?")).await? {
        cx.output.note("nothing was removed");
        return Ok(Exit::Done);
    }
    let mut removed = 0;
    for one in &plan {
        loop {
            let some = session.store.purge(&one.pipeline, one.ended_before, RUNS_PURGED_AT_ONCE).await?;
            removed += some;
            if some < RUNS_PURGED_AT_ONCE {
                break;
            }
        }
    }
    cx.output.note(&format!("removed {removed} runs"));
    Ok(Exit::Done)
}
