//! `run`: one pipeline for one date, watched.

use std::sync::Arc;

use trunkline_state::{
    ids::RunId,
    run::{Definition, Trigger},
    store::{Created, NewVersion},
};

use super::{
    carry::{carry, command_engine},
    choice::Consent,
    clear,
    context::{Context, Session},
    exit::{Exit, refuse},
    output::bold,
};
use crate::{
    definition::{Loaded, LoadedPipeline},
    engine::RunRequest,
    project::Project,
    service::{
        Snapshot,
        clear::ClearChoice,
        request::{Wanted, wanted},
        views::RunView,
    },
};

/// What `run` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The pipeline
    pub(crate) pipeline: String,
    /// The date that the run covers, e.g. 2026-11-19, 2026-10 or 2026-11-19T05; without one,
    /// the last complete interval
    #[arg(long, value_name = "DATE")]
    pub(crate) date: Option<String>,
    /// A parameter, name=value
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,
    /// Only this task, again, of a run that exists
    #[arg(long = "task", value_name = "TASK")]
    pub(crate) tasks: Vec<String>,
    /// Leave it to a server and do not wait
    #[arg(long)]
    pub(crate) detach: bool,
}

/// Makes a run of the project's current definition and watches it.
pub(crate) async fn run(cx: &Context, args: &RunArgs) -> anyhow::Result<Exit> {
    let (project, loaded, _) = cx.pipelines()?;
    let pipeline = cx.pipeline(&loaded, &args.pipeline)?;
    let wanted = wanted(&pipeline.pipeline, args.date.as_deref(), &args.params, cx.now())?;
    cx.output.note(&format!("{}  {}", bold(&wanted.label), wanted.covers));
    if let Some(warning) = &wanted.warning {
        cx.output.warn(warning);
    }
    let session = cx.open(&project).await?;
    let existing = session.store.run_with_key(&args.pipeline, &wanted.selected.key).await?;
    match existing {
        Some(run) => again(cx, &session, run, args, &wanted).await,
        None if !args.tasks.is_empty() => refuse(format!(
            "there is no run {0} yet, and --task runs tasks of an existing run again; run it whole first: \
             `trunkline run {1} --date {2}`",
            wanted.label, args.pipeline, wanted.selected.key
        )),
        None => begin(cx, &session, &project, &loaded, pipeline, wanted, args).await,
    }
}

/// The key is taken: a live run that nobody works on is carried on, one that ended is not
/// touched without being asked.
async fn again(
    cx: &Context,
    session: &Session,
    run: RunId,
    args: &RunArgs,
    wanted: &Wanted,
) -> anyhow::Result<Exit> {
    let label = &wanted.label;
    if !args.tasks.is_empty() {
        let choice = ClearChoice { tasks: args.tasks.clone(), ..ClearChoice::default() };
        return clear::clear_run(cx, session, run, &choice, false, Consent::Given, None).await;
    }
    let snapshot = Snapshot::read(&session.store, run).await?;
    if snapshot.ended() {
        let failed = if snapshot.run.state == "succeeded" { "" } else { " --failed" };
        return refuse(format!(
            "{label} exists already: it {} (created by {}). To run it again:\n  trunkline clear {label}{failed}",
            snapshot.run.state, snapshot.run.created_by
        ));
    }
    if snapshot.run.owner.is_some() && snapshot.run.owner_lives {
        return refuse(format!(
            "{label} exists already and is {}. Watch it:\n  trunkline show {label}",
            snapshot.run.state
        ));
    }
    let engine = command_engine(cx, session).await?;
    if !session.is_served().await? {
        cx.output.note(&format!("{label} exists and nobody works on it: carrying it on"));
    }
    carry(cx, session, engine, run).await
}

async fn begin(
    cx: &Context,
    session: &Session,
    project: &Project,
    loaded: &Loaded,
    pipeline: &LoadedPipeline,
    wanted: Wanted,
    args: &RunArgs,
) -> anyhow::Result<Exit> {
    let definition = deploy_with_others(cx, session, project, loaded, pipeline).await?;
    let engine = command_engine(cx, session).await?;
    let handle = engine.handle();
    if args.detach {
        handle.leave_runs();
    }
    let label = wanted.label.clone();
    let (run, created) = handle.create(request(cx, definition, wanted)).await?;
    if created == Created::Refused {
        engine.shutdown().await?;
        return refuse(format!(
            "{label} was created by somebody else just now. Watch it:\n  trunkline show {label}"
        ));
    }
    if args.detach {
        session.store.hint().await?;
        engine.shutdown().await?;
        return detached(cx, session, run).await;
    }
    carry(cx, session, engine, run).await
}

async fn detached(cx: &Context, session: &Session, run: RunId) -> anyhow::Result<Exit> {
    let row = session.store.run(run).await?;
    let view = RunView::from(&row);
    if cx.output.json() {
        cx.output.value(&view);
    } else {
        cx.output.data(&view.run);
    }
    if !session.is_served().await? {
        cx.output.warn(&format!("no `trunkline serve` is running: {} waits until one is started", view.run));
    }
    Ok(Exit::Done)
}

/// Makes the project's definition of a pipeline current, and of those that it runs, and sees to it that
/// the sandbox has what they need.
pub(crate) async fn deploy_with_others(
    cx: &Context,
    session: &Session,
    project: &Project,
    loaded: &Loaded,
    entry: &LoadedPipeline,
) -> anyhow::Result<Arc<Definition>> {
    let definition = deploy_one(cx, session, loaded, entry).await?;
    session.provision(cx, project, entry).await?;
    for other in loaded.run_by(entry.pipeline.name.as_str()) {
        deploy_one(cx, session, loaded, other).await?;
        session.provision(cx, project, other).await?;
    }
    Ok(definition)
}

/// Makes the project's definition of one pipeline current, if it is not.
pub(crate) async fn deploy_one(
    cx: &Context,
    session: &Session,
    loaded: &Loaded,
    entry: &LoadedPipeline,
) -> anyhow::Result<Arc<Definition>> {
    let name = entry.pipeline.name.to_string();
    let source = loaded.diagnostics.sources.get(entry.source).text.to_string();
    let (pipeline, folder) = (entry.pipeline.clone(), entry.below.clone());
    let new = vec![NewVersion { pipeline, source, folder }];
    let deployed = session.store.deploy(new, false, &cx.actor(), cx.now()).await?;
    let change = deployed.into_iter().find(|change| change.name == name);
    if let Some(change) = &change
        && change.before != change.after
        && let (Some(before), Some(after)) = (change.before, change.after)
    {
        cx.output.note(&format!("deployed {name}: version {before} → {after}"));
    }
    let version = change.and_then(|change| change.after);
    Ok(match version {
        Some(version) => session.store.definition(&name, version).await?,
        None => return refuse(format!("{name} could not be deployed: the store gave no version")),
    })
}

fn request(cx: &Context, definition: Arc<Definition>, wanted: Wanted) -> RunRequest {
    RunRequest {
        definition,
        key: wanted.selected.key,
        logical_date: wanted.selected.logical_date,
        interval: wanted.selected.interval,
        fire_at: wanted.selected.fire,
        params: wanted.params,
        trigger: Trigger::Manual,
        actor: cx.actor(),
    }
}
