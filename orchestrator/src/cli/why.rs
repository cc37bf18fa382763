//! `why`: one sentence.

use super::{context::Context, exit::Exit};
use crate::service::{Snapshot, find, views::WhyView, why::Situation};

/// What `why` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct WhyArgs {
    /// The run: an id, pipeline@date or pipeline@latest
    run: String,
    /// One of its tasks
    task: Option<String>,
}

/// Says why a run or a task is not further.
pub(crate) async fn why(cx: &Context, args: &WhyArgs) -> anyhow::Result<Exit> {
    let why = match cx.server()? {
        Some(server) => server.why(&args.run, args.task.as_deref()).await?,
        None => here(cx, args).await?,
    };
    if cx.output.json() {
        cx.output.value(&why);
    } else {
        cx.output.data(&why.why);
    }
    Ok(Exit::Done)
}

async fn here(cx: &Context, args: &WhyArgs) -> anyhow::Result<WhyView> {
    let session = cx.open_to_look().await?;
    let run = find::run(&session.store, &args.run).await?;
    let snapshot = Snapshot::read(&session.store, run).await?;
    let task = args.task.as_deref().map(|name| find::task(&snapshot.as_run(), name)).transpose()?;
    let run = snapshot.label();
    let situation = Situation::read(&session.store, snapshot, cx.now()).await?;
    let why = task.map_or_else(|| situation.run(), |task| situation.task(task));
    Ok(WhyView { run, task: args.task.clone(), why })
}
