//! What people clear at once: a run of ten thousand tasks, ten thousand runs, and thousands of runs
//! that a server is just working on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::{Connection, PgConnection};
use trunkline::{
    engine::{Engine, EngineHandle},
    service::{
        choose::{self, Chosen, RunsWanted},
        clear::{ClearChoice, preview},
    },
};
use trunkline_state::{
    ids::RunId,
    machine::Command,
    run::Definition,
    store::{Role, Store},
    words::RunState,
};

use crate::{
    flows::finish,
    stage::{Stage, now, operators, request, tick},
    table::Table,
    waiting::Waiting,
};

/// Task runs that are cleared: of one run, and of as many runs.
const TASK_RUNS: usize = 10_000;
/// Runs that a server works on while they are cleared.
const LIVE: usize = 5_000;
/// Runs at once while the stage is set.
const FLOWS_AT_ONCE: usize = 256;
/// Runs that are read at a time, as the command reads them.
const RUNS_READ_MAX: usize = 1_000;
/// Runs of others that are timed before anybody clears anything.
const PROBES_BEFORE: usize = 100;
/// The longest that setting the stage may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// What counts as a stall of runs that have nothing to do with what is cleared.
const STALL: Duration = Duration::from_millis(500);

/// One run of ten thousand tasks.
pub async fn one_run(stage: &Stage, table: &mut Table) -> Result<()> {
    let definition = stage.deploy("clear_one", TASK_RUNS, "noop", |_| vec![]).await?;
    let engine = stage.engine(operators()).await?;
    let run = finish(engine.handle(), definition, "one".to_owned()).await?;
    engine.shutdown().await?;
    let (store, person) = person(stage).await?;
    let begin = now();
    let stored = store.read_run(run).await?;
    let choice = preview(&stored, &ClearChoice::default())?;
    let command =
        Command::Clear { tasks: choice.selected, generation: Some(stored.generation), reason: None };
    person.handle().ask(run, command, "user:bench").await?;
    let seconds = now().duration_since(begin).as_secs_f64();
    person.shutdown().await?;
    let again = task_runs(stage, "clear_one").await?;
    ensure!(again == TASK_RUNS, "{again} of {TASK_RUNS} task runs were cleared");
    table.add("clear a run of 10,000 tasks", format!("{seconds:.2} s"), "≤ 1 s", Some(seconds <= 1.0));
    forget(stage, "clear_one").await
}

/// Ten thousand runs of one task, chosen by their state.
pub async fn many_runs(stage: &Stage, table: &mut Table) -> Result<()> {
    let definition = stage.deploy("clear_many", 1, "noop", |_| vec![]).await?;
    let engine = stage.engine(operators()).await?;
    stream::iter(0..TASK_RUNS)
        .map(|number| finish(engine.handle(), Arc::clone(&definition), format!("many-{number}")))
        .buffer_unordered(FLOWS_AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    engine.shutdown().await?;
    let (store, person) = person(stage).await?;
    let begin = now();
    let wishes = wishes(&store, "clear_many", RunState::Succeeded, ClearChoice::default()).await?;
    let read = now().duration_since(begin).as_secs_f64();
    let cleared = asked(&person.handle(), &wishes).await?;
    let seconds = now().duration_since(begin).as_secs_f64();
    person.shutdown().await?;
    let again = task_runs(stage, "clear_many").await?;
    ensure!(
        (cleared, again) == (TASK_RUNS, TASK_RUNS),
        "{cleared} of {TASK_RUNS} runs were cleared, {again} tasks wait"
    );
    table.add(
        "clear 10,000 runs of one task, by state",
        format!("{seconds:.2} s, of it {read:.2} s to read them"),
        "≤ 1 s",
        Some(seconds <= 1.0),
    );
    forget(stage, "clear_many").await
}

/// Thousands of live runs, while their server goes on with others.
pub async fn live_runs(stage: &Stage, table: &mut Table) -> Result<()> {
    let mut registry = operators();
    registry.insert(Waiting::default());
    let live = stage.deploy_of("live", &["noop", "waiting"]).await?;
    let probe = stage.deploy("probe", 1, "noop", |_| vec![]).await?;
    let engine = stage.engine(registry).await?;
    let handle = engine.handle();
    stream::iter(0..LIVE)
        .map(|number| handle.create(request(&live, format!("live-{number}"))))
        .buffer_unordered(FLOWS_AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    until_live(stage).await?;
    let never = AtomicBool::new(false);
    let before = probes(&handle, &probe, "before", &never, Some(PROBES_BEFORE)).await?;

    let over = AtomicBool::new(false);
    let clearing = async {
        let (store, person) = person(stage).await?;
        let choice = ClearChoice { tasks: vec!["t0".to_owned()], ..ClearChoice::default() };
        let begin = now();
        let cleared = match wishes(&store, "live", RunState::Running, choice).await {
            Ok(wishes) => asked(&person.handle(), &wishes).await,
            Err(error) => Err(error),
        };
        let seconds = now().duration_since(begin).as_secs_f64();
        // Whatever became of it, the others are timed no longer.
        over.store(true, Ordering::Relaxed);
        person.shutdown().await?;
        Ok::<_, anyhow::Error>((cleared?, seconds))
    };
    let (cleared, meanwhile) = tokio::join!(clearing, probes(&handle, &probe, "meanwhile", &over, None));
    let ((cleared, seconds), meanwhile) = (cleared?, meanwhile?);
    ensure!(cleared == LIVE, "{cleared} of {LIVE} live runs were cleared");
    let (longest, longest_before) =
        (meanwhile.last().copied().unwrap_or_default(), before.last().copied().unwrap_or_default());
    table.add(
        "clear 5,000 live runs by state, while their server runs others",
        format!(
            "{seconds:.2} s; {} runs of others took {:.0} ms, the longest {:.0} ms ({:.0} and {:.0} ms before)",
            meanwhile.len(),
            middle(&meanwhile).as_secs_f64() * 1e3,
            longest.as_secs_f64() * 1e3,
            middle(&before).as_secs_f64() * 1e3,
            longest_before.as_secs_f64() * 1e3,
        ),
        "no other run takes 0.5 s",
        Some(longest <= STALL),
    );
    engine.shutdown().await?;
    forget(stage, "live").await
}

/// A command's own engine, which leaves the runs to whoever serves.
async fn person(stage: &Stage) -> Result<(Store, Engine)> {
    let engine = stage.engine_as(Role::Command, operators()).await?;
    engine.handle().leave_runs();
    Ok((stage.store().await?, engine))
}

/// What `trunkline clear PIPELINE --state STATE` reads before it asks.
async fn wishes(
    store: &Store,
    pipeline: &str,
    state: RunState,
    choice: ClearChoice,
) -> Result<Vec<(RunId, Command)>> {
    let wanted = RunsWanted { name: pipeline.to_owned(), state: Some(state), ..RunsWanted::default() };
    let Chosen::Many { runs, .. } = choose::runs(store, &wanted).await? else {
        anyhow::bail!("{pipeline} is not many runs");
    };
    let mut wishes = Vec::with_capacity(runs.len());
    for portion in runs.chunks(RUNS_READ_MAX) {
        let ids: Vec<RunId> = portion.iter().map(|entry| entry.id).collect();
        for run in store.read_runs(&ids).await? {
            let tasks = preview(&run, &choice)?.selected;
            let command = Command::Clear { tasks, generation: Some(run.generation), reason: None };
            wishes.push((run.id, command));
        }
    }
    Ok(wishes)
}

/// What it does after the yes: how many runs were cleared.
async fn asked(handle: &EngineHandle, wishes: &[(RunId, Command)]) -> Result<usize> {
    let answers = handle.ask_many(wishes, "user:bench").await?;
    Ok(answers.iter().filter(|answer| answer.is_ok()).count())
}

/// Runs of one task, one after the other, until it is over or there were so many: how long each took,
/// shortest first.
async fn probes(
    handle: &EngineHandle,
    definition: &Arc<Definition>,
    word: &str,
    over: &AtomicBool,
    most: Option<usize>,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) && most.is_none_or(|most| times.len() < most) {
        let begin = now();
        finish(handle.clone(), Arc::clone(definition), format!("{word}-{}", times.len())).await?;
        times.push(Duration::try_from(now().duration_since(begin))?);
    }
    times.sort_unstable();
    Ok(times)
}

fn middle(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Waits until each of the live runs did its first task and waits for its second.
async fn until_live(stage: &Stage) -> Result<()> {
    let mut connection = PgConnection::connect(&stage.url).await?;
    let begin = now();
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from task_run join run r using (run_id)
              where r.pipeline = 'live' and task_run.task = 't1' and task_run.state = 'running'",
        )
        .fetch_one(&mut connection)
        .await?;
        if usize::try_from(waiting)? >= LIVE {
            return Ok(());
        }
        ensure!(Duration::try_from(now().duration_since(begin))? < PATIENCE, "the live runs did not start");
        tick(Duration::from_millis(200)).await;
    }
}

/// Task runs of a pipeline that wait to run again.
async fn task_runs(stage: &Stage, pipeline: &str) -> Result<usize> {
    let mut connection = PgConnection::connect(&stage.url).await?;
    let count: i64 = sqlx::query_scalar(
        "select count(*) from task_run t join run r using (run_id)
          where r.pipeline = $1 and t.generation = 2 and t.state = 'waiting'",
    )
    .bind(pipeline)
    .fetch_one(&mut connection)
    .await
    .context("the cleared tasks cannot be counted")?;
    Ok(usize::try_from(count)?)
}

/// Ends what is left of a pipeline's runs, so that no later server takes them up: what is measured next
/// has the machine for itself.
async fn forget(stage: &Stage, pipeline: &str) -> Result<()> {
    let mut connection = PgConnection::connect(&stage.url).await?;
    sqlx::query(
        "update run set state = 'cancelled', ended_at = clock_timestamp(), owner = null
          where pipeline = $1 and ended_at is null",
    )
    .bind(pipeline)
    .execute(&mut connection)
    .await?;
    Ok(())
}
