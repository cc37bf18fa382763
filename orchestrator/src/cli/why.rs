//! `why`: one sentence.

use serde_json::json;

use super::{context::Context, exit::Exit};
use crate::service::{Snapshot, find, why::Situation};

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
    let session = cx.open_to_look().await?;
    let run = find::run(&session.store, &args.run).await?;
    let snapshot = Snapshot::read(&session.store, run).await?;
    let task = args.task.as_deref().map(|name| find::task(&snapshot.as_run(), name)).transpose()?;
    let label = snapshot.label();
    let situation = Situation::read(&session.store, snapshot, cx.now()).await?;
    let sentence = match task {
        Some(task) => situation.task(task),
        None => situation.run(),
    };
    if cx.output.json() {
        cx.output.value(&json!({ "run": label, "task": args.task, "why": sentence }));
    } else {
        cx.output.data(&sentence);
    }
    Ok(Exit::Done)
}
