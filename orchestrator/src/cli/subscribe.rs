//! `subscribe`: an address hears of what pipelines tell their topics.

use serde_json::json;
use trunkline_tasks::notice::{self, Subscribed};

use super::{
    access::clients,
    context::Context,
    exit::{Exit, refuse},
    output::Field,
};
use crate::{
    definition::LoadedPipeline,
    service::{access::topics, request::wanted},
};

/// What `subscribe` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct SubscribeArgs {
    /// The address of a mail
    email: String,
    /// Pipelines; without any, all of the project
    pipelines: Vec<String>,
    /// Only show the topics
    #[arg(long)]
    dry_run: bool,
}

/// Subscribes an address to every topic that notices of the pipelines go to.
pub(crate) async fn subscribe(cx: &Context, args: &SubscribeArgs) -> anyhow::Result<Exit> {
    if let Err(failure) = notice::check_address(&args.email) {
        return refuse(format!("`{}`: {}", args.email.escape_debug(), failure.message));
    }
    let (project, loaded, _) = cx.pipelines()?;
    let chosen: Vec<&LoadedPipeline> = if args.pipelines.is_empty() {
        cx.report(&loaded.diagnostics)?;
        loaded.pipelines.iter().collect()
    } else {
        args.pipelines.iter().map(|name| cx.pipeline(&loaded, name)).collect::<anyhow::Result<_>>()?
    };
    // Several pipelines share a topic more often than not.
    let mut known = Vec::new();
    let mut rows = Vec::new();
    for entry in chosen {
        let now = cx.now();
        let wanted = wanted(&entry.pipeline, None, &[], now)?;
        let found = topics(&entry.pipeline, &wanted, now).map_err(anyhow::Error::msg)?;
        let new: Vec<_> = found.into_iter().filter(|topic| !known.contains(topic)).collect();
        if new.is_empty() {
            continue;
        }
        let clients = clients(cx, &project, entry).await?;
        for (connection, topic) in new {
            let state = if args.dry_run {
                None
            } else {
                let asked = notice::subscribe(&clients, &connection, &topic, &args.email).await;
                Some(asked.map_err(|failure| anyhow::anyhow!("{topic}: {}", failure.message))?)
            };
            rows.push((topic.clone(), state));
            known.push((connection, topic));
        }
    }
    show(cx, args, &rows)
}

fn show(cx: &Context, args: &SubscribeArgs, rows: &[(String, Option<Subscribed>)]) -> anyhow::Result<Exit> {
    let word = |state: Option<Subscribed>| match state {
        None => "would be asked for",
        Some(Subscribed::Pending) => "waits for confirmation",
        Some(Subscribed::Active) => "subscribed",
    };
    if cx.output.json() {
        let rows: Vec<_> =
            rows.iter().map(|(topic, state)| json!({ "topic": topic, "state": word(*state) })).collect();
        cx.output.value(&json!({ "email": args.email, "topics": rows }));
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        return refuse("no notice of these pipelines goes to a topic; add on_failure: [{ sns: … }] to one");
    }
    let table = rows.iter().map(|(topic, state)| vec![Field::from(topic.clone()), Field::from(word(*state))]);
    cx.output.table(&["topic", "state"], table.collect(), "no topics");
    if rows.iter().any(|(_, state)| *state == Some(Subscribed::Pending)) {
        let email = &args.email;
        cx.output.note(&format!(
            "AWS has sent {email} a mail for each topic that waits. Nothing else comes before somebody follows the link \
             in it, within two days."
        ));
    }
    Ok(Exit::Done)
}
