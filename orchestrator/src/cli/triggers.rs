//! `triggers`: which pipelines events make runs of, what waits, which queues tell of it.

use jiff::Timestamp;
use trunkline_state::triggers::EventSource;

use super::{
    context::Context,
    exit::Exit,
    output::{Field, utc},
};
use crate::service::{
    triggers,
    views::{QueueView, TriggeredView, TriggersView, WaitingEventView},
};

/// What `triggers` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct TriggersArgs {
    /// Show the events that wait for this one
    pipeline: Option<String>,
}

/// Lists pipelines with triggers and the queues that they read, or shows one of them.
pub(crate) async fn triggers(cx: &Context, args: &TriggersArgs) -> anyhow::Result<Exit> {
    match &args.pipeline {
        Some(name) => show(cx, &one(cx, name).await?),
        None => list(cx, &all(cx).await?),
    }
    Ok(Exit::Done)
}

async fn all(cx: &Context) -> anyhow::Result<TriggersView> {
    if let Some(server) = cx.server()? {
        return Ok(server.get(&["triggers"], &[]).await?);
    }
    let session = cx.open_to_look().await?;
    Ok(triggers::list(&session.store).await?)
}

async fn one(cx: &Context, name: &str) -> anyhow::Result<TriggeredView> {
    if let Some(server) = cx.server()? {
        return Ok(server.get(&["triggers", name], &[]).await?);
    }
    let session = cx.open_to_look().await?;
    Ok(triggers::one(&session.store, name).await?)
}

fn list(cx: &Context, all: &TriggersView) {
    if cx.output.json() {
        return cx.output.value(all);
    }
    let rows = all.pipelines.iter().map(|one| {
        vec![
            Field::from(one.pipeline.clone()),
            Field::from(one.on.join(", ")),
            Field::from(one.waiting.to_string()),
            Field::from(moment(one.waiting_since)),
            Field::from(moment(one.last_received_at)),
            Field::from(remark(one)),
        ]
    });
    let none = "no pipeline has triggers; write `triggers: [{ s3: { queue: … } }]`, `[{ pipeline: … }]` or `[{ dataset: … }]` into its file";
    let header = ["pipeline", "on", "waiting", "since", "last event", ""];
    cx.output.table(&header, rows.collect(), none);
    if all.queues.is_empty() {
        return;
    }
    let rows = all.queues.iter().map(|queue| {
        vec![
            Field::from(queue.queue.clone()),
            Field::from(queue.received.to_string()),
            Field::from(queue.unmatched.to_string()),
            Field::from(queue.poison.to_string()),
            Field::from(queue.dead_letters.map_or_else(|| "unknown".to_owned(), |depth| depth.to_string())),
            Field::from(moment(queue.last_received_at)),
            Field::from(trouble(queue)),
        ]
    });
    cx.output.data("");
    let header = ["queue", "messages read", "unwanted", "unreadable", "dead letters", "last message", ""];
    cx.output.table(&header, rows.collect(), "no queue was read yet");
}

fn remark(one: &TriggeredView) -> String {
    match (one.paused, &one.refusal) {
        (_, Some(refusal)) => format!("{} refused: {refusal}", one.refused),
        (true, None) => "paused".to_owned(),
        (false, None) => one.waits_for.clone().unwrap_or_default(),
    }
}

fn trouble(queue: &QueueView) -> String {
    let poison = queue.last_poison.as_ref().map(|poison| format!("{}: {}", poison.message_id, poison.reason));
    queue.trouble.clone().or(poison).unwrap_or_default()
}

fn show(cx: &Context, one: &TriggeredView) {
    if cx.output.json() {
        return cx.output.value(one);
    }
    let since = one.waiting_since.map(|since| format!(", the oldest since {}", moment(Some(since))));
    cx.output.data(&format!(
        "{}: {}; {} waiting{}{}",
        one.pipeline,
        one.on.join(", "),
        super::validate::counted(usize::try_from(one.waiting).unwrap_or(0), "event"),
        since.unwrap_or_default(),
        if one.paused { ", paused" } else { "" },
    ));
    let rows = one.events.iter().flatten().map(|event| {
        vec![
            Field::from(moment(Some(event.received_at))),
            Field::from(subject(event)),
            Field::from(event.dedupe_key.clone()),
            Field::from(event.refusal.clone().or(event.waits_for.clone()).unwrap_or_default()),
        ]
    });
    cx.output.table(&["received", "event", "key", ""], rows.collect(), "nothing waits");
}

/// What an event is about, in a few words.
fn subject(event: &WaitingEventView) -> String {
    let text = |name: &str| event.body.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    if event.source == EventSource::Pipeline.word() {
        return format!("{}@{} {}", text("pipeline"), text("key"), text("state"));
    }
    if event.source == EventSource::Dataset.word() {
        return format!("{} by {}@{} {}", text("dataset"), text("pipeline"), text("key"), text("task"));
    }
    format!("s3://{}/{}", text("bucket"), text("key"))
}

fn moment(at: Option<Timestamp>) -> String {
    at.map(utc).unwrap_or_default()
}
