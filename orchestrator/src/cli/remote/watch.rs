//! A run until it ends, seen through a server, and what a task printed.

use std::{collections::HashMap, time::Duration};

use trunkline_state::words::RunState;

use crate::{
    cli::{
        context::Context,
        exit::{Exit, refuse},
        logs::{self, LogsArgs},
        output::{bold, state},
        server::Server,
        summary::summary,
    },
    service::views::{AttemptView, LogView, RunWithTasks},
};

/// How often the server is asked how a run is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Attempts of one task that are read.
const ATTEMPTS_MAX: usize = 1_000;

/// Says what becomes of a run's tasks until it ends, then sums it up. The server carries it on, whether or
/// not anybody watches.
pub(super) async fn watch(cx: &Context, server: &Server, run: &str) -> anyhow::Result<Exit> {
    let mut run: RunWithTasks = server.get(&["runs", run], &[]).await?;
    // By its id: `@latest` may be another one by now.
    let (id, label) = (run.run.id.clone(), run.label().to_owned());
    let mut said = HashMap::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let ended = loop {
        tell(cx, &run, &mut said);
        match run.state() {
            Some(state) if state.is_terminal() || state == RunState::Paused => break state,
            _ => {}
        }
        tokio::select! {
            _ = looks.tick() => {}
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                cx.output.note(&format!(
                    "detached from {label}: the server carries it on\nwatch it:  trunkline show {label}"
                ));
                return Ok(Exit::Done);
            }
        }
        run = server.get(&["runs", &id], &[]).await?;
    };
    let detail = server.run(&id).await?;
    if cx.output.json() {
        cx.output.value(&detail);
    }
    if ended == RunState::Paused {
        cx.output.note(&format!("{label} is paused; go on with `trunkline resume {label}`"));
        return Ok(Exit::Done);
    }
    summary(cx, &detail);
    Ok(if ended == RunState::Succeeded { Exit::Done } else { Exit::RunFailed })
}

/// One line for each task that is in another state than when it was told of last.
fn tell(cx: &Context, run: &RunWithTasks, said: &mut HashMap<String, String>) {
    for task in run.own_tasks() {
        let quiet = task.state == "waiting" && !said.contains_key(&task.task);
        let before = said.insert(task.task.clone(), task.state.clone());
        if quiet || before.as_ref() == Some(&task.state) || cx.output.json() {
            continue;
        }
        let job = task.external_id.as_deref().map(|id| format!("  {id}")).unwrap_or_default();
        cx.output.note(&format!("{}  {}{job}", bold(&task.task), state(&task.state)));
    }
}

/// Prints the output of an attempt.
pub(super) async fn logs(cx: &Context, server: &Server, args: &LogsArgs) -> anyhow::Result<Exit> {
    let run: RunWithTasks = server.get(&["runs", &args.run], &[]).await?;
    let (id, label) = (run.run.id.as_str(), run.label());
    let query = [("task", args.task.as_str())];
    let attempts: Vec<AttemptView> = server.list(&["runs", id, "attempts"], &query, ATTEMPTS_MAX).await?;
    let wanted = |attempt: &&AttemptView| args.attempt.is_none_or(|number| number == attempt.number);
    let Some(attempt) = attempts.iter().filter(wanted).max_by_key(|attempt| attempt.number) else {
        return refuse(logs::nothing(&args.task, label, args.attempt));
    };
    logs::head(cx, attempt.number, &attempt.state, attempt.external_id.as_deref());
    let chosen = attempt.number;
    let number = chosen.to_string();
    let path = ["runs", id, "tasks", &args.task, "attempts", &number, "log"];
    let mut printed = logs::Printed::new(cx);
    let mut from = 0;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        let piece: LogView = server.get(&path, &[("from", &from.to_string())]).await?;
        printed.more(&piece.text);
        let more = piece.next > from;
        from = piece.next;
        if piece.complete || !(more || args.follow) {
            printed.end(piece);
            break;
        }
        if !more {
            looks.tick().await;
        }
    }
    // It may have failed meanwhile.
    let attempts: Vec<AttemptView> = server.list(&["runs", id, "attempts"], &query, ATTEMPTS_MAX).await?;
    let failure = attempts.iter().find(|row| row.number == chosen).and_then(|row| row.failure.as_ref());
    logs::tail(cx, failure, from == 0);
    Ok(Exit::Done)
}
