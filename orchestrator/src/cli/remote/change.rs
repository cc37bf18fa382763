//! What people say to runs, through a server: each with the server's own preview first.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{body, watch::watch};
use crate::{
    api::answers::{ChangeDone, ManyDone, SwitchView},
    cli::{
        choice::{Consent, RunsArgs, TasksArgs},
        clear::{ClearArgs, show_newest},
        context::Context,
        control::{ApproveArgs, CancelArgs, PauseArgs, ResolveArgs, RetryNowArgs, WordArgs},
        exit::{Exit, refuse},
        many,
        mark::MarkArgs,
        output::bold,
        server::{Server, ServerError},
        validate::counted,
    },
    service::{choose::RunsWanted, clear::ClearChoice},
};

/// Has tasks of one run, or of many, run again.
pub(super) async fn clear(cx: &Context, server: &Server, args: &ClearArgs) -> anyhow::Result<Exit> {
    let consent = args.consent.consent(args.detach)?;
    let mut fields = choice(&args.tasks);
    fields.extend([("newest", json!(args.newest)), ("reason", json!(args.consent.reason))]);
    if let Some(run) = one(&args.runs) {
        return clear_run(cx, server, &run, &fields, consent).await;
    }
    fields.extend(range(&args.runs));
    of_many(cx, server, "clear", "Run again:", &fields, consent).await
}

/// What `run --task` means.
pub(super) async fn clear_tasks(
    cx: &Context,
    server: &Server,
    run: &str,
    tasks: &[String],
    detach: bool,
) -> anyhow::Result<Exit> {
    let consent = if detach { Consent::GivenDetached } else { Consent::Given };
    clear_run(cx, server, run, &[("tasks", json!(tasks))], consent).await
}

async fn clear_run(
    cx: &Context,
    server: &Server,
    run: &str,
    fields: &[(&'static str, Value)],
    consent: Consent,
) -> anyhow::Result<Exit> {
    let path = ["runs", run, "clear"];
    let Some(done) = with_consent(cx, server, &path, fields, consent).await? else { return Ok(Exit::Done) };
    if consent == Consent::GivenDetached {
        return Ok(told(cx, &done));
    }
    watch(cx, server, &done.run).await
}

/// Has tasks counted as ended, in one run or in many.
pub(super) async fn mark(cx: &Context, server: &Server, args: &MarkArgs) -> anyhow::Result<Exit> {
    let consent = args.consent.consent(false)?;
    let word = args.mark.word();
    let mut fields = vec![("mark", json!(word)), ("reason", json!(args.consent.reason))];
    if let Some(run) = one(&args.runs) {
        fields.extend(choice(&args.tasks));
        let path = ["runs", run.as_str(), "mark"];
        let done = with_consent(cx, server, &path, &fields, consent).await?;
        return Ok(done.map_or(Exit::Done, |done| told(cx, &done)));
    }
    let ClearChoice { tasks, failed, downstream, upstream } = args.tasks.choice();
    if failed || downstream || upstream {
        return refuse("of many runs through a server, tasks are marked by --task only");
    }
    fields.push(("tasks", json!(tasks)));
    fields.extend(range(&args.runs));
    of_many(cx, server, "mark", &format!("Mark as {word}:"), &fields, consent).await
}

/// Has a run or a task stopped.
pub(super) async fn cancel(cx: &Context, server: &Server, args: &CancelArgs) -> anyhow::Result<Exit> {
    let fields = [("task", json!(args.task)), ("reason", json!(args.reason))];
    let consent = if args.dry_run { Consent::DryRun } else { Consent::Given };
    said(cx, server, &["runs", &args.run, "cancel"], &fields, consent).await
}

/// Ends the waiting for a task's next try.
pub(super) async fn retry_now(cx: &Context, server: &Server, args: &RetryNowArgs) -> anyhow::Result<Exit> {
    let path = ["runs", &args.run, "tasks", &args.task, "retry-now"];
    said(cx, server, &path, &[reason(&args.word)], consent(&args.word)).await
}

/// Tells what a person knows about an unconfirmed start.
pub(super) async fn resolve(cx: &Context, server: &Server, args: &ResolveArgs) -> anyhow::Result<Exit> {
    let fact = match (&args.handle, args.not_started) {
        (Some(_), _) => "handle",
        (None, true) => "not_started",
        (None, false) => "lost",
    };
    let fields = [
        ("fact", json!(fact)),
        ("handle", json!(args.handle)),
        ("attempt", json!(args.attempt)),
        ("sent_at", json!(args.sent)),
        reason(&args.word),
    ];
    let path = ["runs", &args.run, "tasks", &args.task, "resolve"];
    said(cx, server, &path, &fields, consent(&args.word)).await
}

/// Gives the word that a task waits for.
pub(super) async fn approve(cx: &Context, server: &Server, args: &ApproveArgs) -> anyhow::Result<Exit> {
    let word = if args.reject { "reject" } else { "approve" };
    let consent = if args.dry_run { Consent::DryRun } else { Consent::Given };
    let path = ["runs", &args.run, "tasks", &args.task, word];
    said(cx, server, &path, &[("reason", json!(args.comment))], consent).await
}

/// Pauses or resumes a pipeline or a run.
pub(super) async fn pause(
    cx: &Context,
    server: &Server,
    args: &PauseArgs,
    word: &str,
) -> anyhow::Result<Exit> {
    if args.is_run() {
        let path = ["runs", &args.name, word];
        return said(cx, server, &path, &[reason(&args.word)], consent(&args.word)).await;
    }
    let fields = [reason(&args.word), ("dry_run", json!(args.word.dry_run))];
    let done: SwitchView = server.post(&["pipelines", &args.name, word], &body(&fields)).await?;
    args.told(cx, &done.pipeline, done.paused, done.changed);
    Ok(Exit::Done)
}

fn reason(word: &WordArgs) -> (&'static str, Value) {
    ("reason", json!(word.reason))
}

fn consent(word: &WordArgs) -> Consent {
    if word.dry_run { Consent::DryRun } else { Consent::Given }
}

/// One word to one run, without a question.
async fn said(
    cx: &Context,
    server: &Server,
    path: &[&str],
    fields: &[(&'static str, Value)],
    consent: Consent,
) -> anyhow::Result<Exit> {
    if consent == Consent::DryRun {
        with_consent(cx, server, path, fields, consent).await?;
        return Ok(Exit::Done);
    }
    let done: ChangeDone = server.post(path, &body(fields)).await?;
    Ok(told(cx, &done))
}

/// Shows what would change, asks, and has it done; none where nothing was to be done.
async fn with_consent(
    cx: &Context,
    server: &Server,
    path: &[&str],
    fields: &[(&'static str, Value)],
    consent: Consent,
) -> anyhow::Result<Option<ChangeDone>> {
    let preview: ChangeDone = foreseen(server, path, fields).await?;
    match (cx.output.json(), consent) {
        (true, Consent::DryRun) => cx.output.value(&preview),
        (true, _) => {}
        (false, _) => {
            if let Some(newest) = &preview.newest {
                show_newest(cx, preview.version, newest.version, &newest.differences);
            }
            cx.output.data(&format!("{}\n  {}", bold(&preview.run), preview.changes.join("\n  ")));
        }
    }
    let question = format!("Change {} of {}?", counted(preview.changes.len(), "state"), preview.run);
    if consent == Consent::DryRun {
        return Ok(None);
    }
    if consent == Consent::Ask && !cx.agreed(&question).await? {
        cx.output.note("nothing was changed");
        return Ok(None);
    }
    Ok(Some(server.post(path, &body(fields)).await?))
}

/// What the server says would come of it.
async fn foreseen<A: DeserializeOwned>(
    server: &Server,
    path: &[&str],
    fields: &[(&'static str, Value)],
) -> Result<A, ServerError> {
    let mut dry = fields.to_vec();
    dry.push(("dry_run", json!(true)));
    server.post(path, &body(&dry)).await
}

fn told(cx: &Context, done: &ChangeDone) -> Exit {
    if cx.output.json() {
        cx.output.value(done);
    } else {
        cx.output.data(&format!("{} is {}", done.run, done.state));
    }
    Exit::Done
}

/// One command for many runs.
async fn of_many(
    cx: &Context,
    server: &Server,
    word: &str,
    verb: &str,
    fields: &[(&'static str, Value)],
    consent: Consent,
) -> anyhow::Result<Exit> {
    let path = ["runs", word];
    let preview: ManyDone = foreseen(server, &path, fields).await?;
    if cx.output.json() {
        if consent == Consent::DryRun {
            cx.output.value(&preview.runs);
        }
    } else {
        let rows = preview.runs.iter().map(|run| (run.run.clone(), run.state.as_str(), run.effect.as_str()));
        many::show_effects(cx, rows);
    }
    if consent == Consent::DryRun {
        return Ok(Exit::Done);
    }
    let question = format!("{verb} {}?", counted(preview.runs.len(), "run"));
    if consent == Consent::Ask && !cx.agreed(&question).await? {
        cx.output.note("nothing was changed");
        return Ok(Exit::Done);
    }
    let done: ManyDone = server.post(&path, &body(fields)).await?;
    many::report(cx, &done.runs);
    Ok(if done.runs.iter().any(|run| run.done) { Exit::Done } else { Exit::Invalid })
}

/// The run, where one is meant.
fn one(runs: &RunsArgs) -> Option<String> {
    let wanted = runs.wanted();
    wanted.is_one().then_some(wanted.name)
}

fn choice(tasks: &TasksArgs) -> Vec<(&'static str, Value)> {
    let ClearChoice { tasks, failed, downstream, upstream } = tasks.choice();
    vec![
        ("tasks", json!(tasks)),
        ("failed", json!(failed)),
        ("downstream", json!(downstream)),
        ("upstream", json!(upstream)),
    ]
}

fn range(runs: &RunsArgs) -> Vec<(&'static str, Value)> {
    let RunsWanted { name, from, to, past, future, state } = runs.wanted();
    vec![
        ("runs", json!(name)),
        ("from", json!(from)),
        ("to", json!(to)),
        ("past", json!(past)),
        ("future", json!(future)),
        ("state", json!(state.map(trunkline_state::words::RunState::word))),
    ]
}
