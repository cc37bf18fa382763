//! `pools`: how many slots there are, who has some, who waits.

use super::{
    context::Context,
    exit::Exit,
    output::{Field, utc},
};
use crate::{
    api::answers::Page,
    service::{find, views::PoolView},
};

/// What `pools` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PoolsArgs {
    /// Show who has slots of this one, and who waits
    pool: Option<String>,
}

/// Lists pools, or shows one.
pub(crate) async fn pools(cx: &Context, args: &PoolsArgs) -> anyhow::Result<Exit> {
    match &args.pool {
        Some(name) => show(cx, &one(cx, name).await?),
        None => list(cx, &all(cx).await?),
    }
    Ok(Exit::Done)
}

async fn all(cx: &Context) -> anyhow::Result<Vec<PoolView>> {
    if let Some(server) = cx.server()? {
        return Ok(server.get::<Page<PoolView>>(&["pools"], &[]).await?.items);
    }
    let session = cx.open_to_look().await?;
    Ok(session.store.pools().await?.into_iter().map(|row| PoolView::new(row, None)).collect())
}

async fn one(cx: &Context, name: &str) -> anyhow::Result<PoolView> {
    if let Some(server) = cx.server()? {
        return Ok(server.get(&["pools", name], &[]).await?);
    }
    let session = cx.open_to_look().await?;
    Ok(find::pool(&session.store, name).await?)
}

fn list(cx: &Context, pools: &[PoolView]) {
    if cx.output.json() {
        return cx.output.value(&pools);
    }
    let rows = pools.iter().map(|pool| {
        vec![
            Field::from(pool.pool.clone()),
            Field::from(pool.slots.to_string()),
            Field::from(pool.taken.to_string()),
            Field::from(pool.waiting.to_string()),
        ]
    });
    let none =
        "no pools; write `pools: { warehouse: 4 }` into trunkline.yaml and `pool: warehouse` at a task";
    cx.output.table(&["pool", "slots", "taken", "waiting"], rows.collect(), none);
}

fn show(cx: &Context, pool: &PoolView) {
    if cx.output.json() {
        return cx.output.value(pool);
    }
    cx.output.data(&format!(
        "{}: {} of {} taken, {} waiting",
        pool.pool,
        pool.taken,
        super::validate::counted(pool.slots as usize, "slot"),
        pool.waiting
    ));
    let rows = pool.turns.iter().flatten().map(|turn| {
        let (word, since) = match turn.granted_at {
            Some(granted_at) => ("has", granted_at),
            None => ("waits for", turn.wanted_at),
        };
        vec![
            Field::from(turn.run.clone()),
            Field::from(turn.task.clone()),
            Field::from(format!("{word} {}", turn.slots)),
            Field::from(utc(since)),
        ]
    });
    cx.output.table(&["run", "task", "slots", "since"], rows.collect(), "nobody has any, nobody waits");
}
