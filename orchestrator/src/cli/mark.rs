//! `mark`: a person's word for how tasks ended. Shows what changes and what follows, asks, and
//! goes on from there.

use trunkline_state::machine::{Command, Mark};

use super::{
    carry::{carry_if_needed, command_engine},
    choice::{Consent, ConsentArgs, RunsArgs, TasksArgs},
    context::{Context, Session},
    exit::{Exit, refuse},
    many,
    output::bold,
    validate::counted,
};
use crate::service::{
    choose::{self, Chosen},
    clear::ClearChoice,
    many::Asked,
    many::wishes,
    mark::{MarkPreview, described, preview, wish},
};

/// What `mark` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct MarkArgs {
    #[command(flatten)]
    pub(crate) runs: RunsArgs,
    /// As what
    #[arg(value_parser = mark_word, value_name = "succeeded|failed")]
    pub(crate) mark: Mark,
    #[command(flatten)]
    pub(crate) tasks: TasksArgs,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

fn mark_word(word: &str) -> Result<Mark, String> {
    let found = [Mark::Succeeded, Mark::Failed].into_iter().find(|mark| mark.word() == word);
    found.ok_or_else(|| "it is succeeded or failed".to_owned())
}

/// Marks tasks of one run, or of many.
pub(crate) async fn mark(cx: &Context, args: &MarkArgs) -> anyhow::Result<Exit> {
    let session = cx.open(&cx.project()?).await?;
    let choice = args.tasks.choice();
    let consent = args.consent.consent(false)?;
    match choose::runs(&session.store, &args.runs.wanted()).await? {
        Chosen::One(run) => {
            let stored = session.store.read_run(run).await?;
            mark_one(cx, &session, &stored, &choice, consent, args).await
        }
        Chosen::Many { pipeline, runs } => {
            let reason = &args.consent.reason;
            let wishes = wishes(&session.store, &runs, |run| {
                Ok(wish(&run, &choice, args.mark, reason.clone())?.map(Asked::from))
            });
            let verb = format!("Mark as {}:", args.mark.word());
            many::carry_out(cx, &session, &pipeline, &verb, wishes.await?, consent).await
        }
    }
}

fn command(preview: &MarkPreview, args: &MarkArgs) -> Command {
    Command::Mark { tasks: preview.changed.clone(), mark: args.mark, reason: args.consent.reason.clone() }
}

async fn mark_one(
    cx: &Context,
    session: &Session,
    run: &trunkline_state::run::Run,
    choice: &ClearChoice,
    consent: Consent,
    args: &MarkArgs,
) -> anyhow::Result<Exit> {
    let label = run.label();
    let preview = preview(run, choice, args.mark)?;
    if preview.changed.is_empty() {
        return refuse(format!("nothing of {label} matches: no task would change to {}", args.mark.word()));
    }
    let effect = described(run, &preview, args.mark);
    match (cx.output.json(), consent) {
        (true, Consent::DryRun) => cx.output.value(&serde_json::json!({ "run": label, "effect": effect })),
        (true, _) => {}
        (false, _) => cx.output.data(&format!("{}  {effect}", bold(&label))),
    }
    if consent == Consent::DryRun {
        return Ok(Exit::Done);
    }
    let question =
        format!("Mark {} of {label} as {}?", counted(preview.changed.len(), "task"), args.mark.word());
    if consent == Consent::Ask && !cx.agreed(&question).await? {
        cx.output.note("nothing was changed");
        return Ok(Exit::Done);
    }
    let engine = command_engine(cx, session).await?;
    if let Err(error) = engine.handle().ask(run.id, command(&preview, args), &cx.actor()).await {
        engine.shutdown().await?;
        return Err(error.into());
    }
    carry_if_needed(cx, session, engine, run.id).await
}
