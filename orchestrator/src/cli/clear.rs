//! `clear`: run tasks of a run again. Shows exactly what will run, asks, then is like `run`.

use trunkline_state::{ids::RunId, machine::Command, run::Run};

use super::{
    carry::{carry, command_engine},
    choice::{Consent, ConsentArgs, RunsArgs, TasksArgs},
    context::{Context, Session},
    exit::{Exit, refuse},
    many,
    output::{bold, dim},
    validate::counted,
};
use crate::service::{
    Snapshot,
    choose::{self, Chosen},
    clear::{ClearChoice, ClearPreview, preview, wish},
    elements::{Named, named},
    many::wishes,
    newest,
};

/// What `clear` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ClearArgs {
    #[command(flatten)]
    pub(crate) runs: RunsArgs,
    #[command(flatten)]
    pub(crate) tasks: TasksArgs,
    /// On the version that is current now, instead of the one that the run began with
    #[arg(long)]
    pub(crate) newest: bool,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
    /// Do not wait for the run
    #[arg(long)]
    pub(crate) detach: bool,
}

/// Clears, then watches the run.
pub(crate) async fn clear(cx: &Context, args: &ClearArgs) -> anyhow::Result<Exit> {
    let project = cx.project()?;
    let session = cx.open(&project).await?;
    let choice = args.tasks.choice();
    let consent = args.consent.consent(args.detach)?;
    let reason = &args.consent.reason;
    match choose::runs(&session.store, &args.runs.wanted()).await? {
        Chosen::One(run) => {
            provision_for(cx, &session, run).await?;
            clear_run(cx, &session, run, &choice, args.newest, consent, reason.clone()).await
        }
        Chosen::Many { pipeline, runs } => {
            if let Some(first) = runs.first() {
                provision_for(cx, &session, first.id).await?;
            }
            let newest =
                if args.newest { Some(newest::newest(&session.store, &pipeline).await?) } else { None };
            let wish = |run| wish(run, newest.as_ref(), &choice, reason.clone());
            let wishes = wishes(&session.store, &runs, wish).await?;
            many::carry_out(cx, &session, &pipeline, "Run again:", wishes, consent).await
        }
    }
}

/// A sandbox that was emptied, or a changed template: as before a new run. A project whose
/// files are broken at the moment can still clear.
async fn provision_for(cx: &Context, session: &Session, run: RunId) -> anyhow::Result<()> {
    let row = session.store.run(run).await?;
    let Ok((project, loaded, _)) = cx.pipelines() else { return Ok(()) };
    match loaded.get(&row.pipeline) {
        Some(entry) => session.provision(cx, &project, entry).await,
        None => Ok(()),
    }
}

/// Shows what a clear would do, asks, does it, carries the run on.
pub(crate) async fn clear_run(
    cx: &Context,
    session: &Session,
    run: RunId,
    choice: &ClearChoice,
    newest: bool,
    consent: Consent,
    reason: Option<String>,
) -> anyhow::Result<Exit> {
    let snapshot = Snapshot::read(&session.store, run).await?;
    let label = snapshot.label();
    let moved = if newest {
        newest::on_newest(&session.store, session.store.read_run(run).await?).await?
    } else {
        None
    };
    let (model, choice) = match &moved {
        Some(moved) => (moved.run.clone(), newest::with_added(choice, moved)),
        None => (snapshot.as_run(), choice.clone()),
    };
    let preview = preview(&model, &choice)?;
    if preview.cleared.is_empty() {
        return refuse(format!("nothing of {label} matches: no task would run again"));
    }
    let differences = match &moved {
        Some(moved) => newest::what_differs(&session.store, moved).await?,
        None => Vec::new(),
    };
    show(cx, &snapshot, &model, &preview, &differences, consent);
    if consent == Consent::DryRun {
        return Ok(Exit::Done);
    }
    let question =
        format!("Run {} of {label} again?", counted(named(&model, &preview.cleared).count, "task"));
    if consent == Consent::Ask && !cx.agreed(&question).await? {
        cx.output.note("nothing was changed");
        return Ok(Exit::Done);
    }
    let engine = command_engine(cx, session).await?;
    if consent == Consent::GivenDetached {
        engine.handle().leave_runs();
    }
    if let Some(moved) = &moved
        && let Err(error) = newest::go(&session.store, moved, reason.as_deref(), &cx.actor(), cx.now()).await
    {
        engine.shutdown().await?;
        return Err(error.into());
    }
    let generation = Some(snapshot.run.generation);
    let command = Command::Clear { tasks: preview.selected, generation, reason };
    if let Err(error) = engine.handle().ask(run, command, &cx.actor()).await {
        engine.shutdown().await?;
        return Err(error.into());
    }
    if consent == Consent::GivenDetached {
        engine.shutdown().await?;
        if !session.is_served().await? {
            cx.output.warn(&format!("no `trunkline serve` is running: {label} waits until one is started"));
        }
        return Ok(Exit::Done);
    }
    carry(cx, session, engine, run).await
}

fn show(
    cx: &Context,
    snapshot: &Snapshot,
    run: &Run,
    preview: &ClearPreview,
    differences: &[String],
    consent: Consent,
) {
    let (from, to) = (snapshot.run.version, run.definition.version);
    let Named { count, words } = named(run, &preview.cleared);
    let label = snapshot.label();
    if cx.output.json() {
        // What becomes of the run is the answer where anything does.
        if consent == Consent::DryRun {
            let names: Vec<_> = preview.cleared.iter().map(|task| run.task_name(*task)).collect();
            let mut answer = serde_json::json!({ "run": label, "tasks": names });
            if from != to {
                answer["newest"] = serde_json::json!({ "version": to, "differences": differences });
            }
            cx.output.value(&answer);
        }
        return;
    }
    cx.output.note(&format!("{}  {}", bold(&label), snapshot.covers()));
    show_newest(cx, from, to, differences);
    let verb = if count == 1 { "runs" } else { "run" };
    cx.output.data(&format!("{} {verb} again: {words}", counted(count, "task")));
    let kept: Vec<String> = snapshot
        .own_tasks()
        .filter(|row| !preview.cleared.contains(&row.position))
        .map(|row| format!("{} ({})", row.task, row.state))
        .collect();
    if !kept.is_empty() {
        cx.output.note(&dim(&format!("kept as they are: {}", kept.join(", "))));
    }
}

/// That another version is run, and what differs.
pub(crate) fn show_newest(cx: &Context, from: i32, to: i32, differences: &[String]) {
    if from == to {
        return;
    }
    cx.output.data(&format!("goes on with version {to} instead of {from}:"));
    for line in differences {
        cx.output.data(&format!("  {line}"));
    }
    if differences.is_empty() {
        cx.output.data("  nothing differs");
    }
}
