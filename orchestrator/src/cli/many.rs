//! One command for many runs of a pipeline: a table of what would happen, one question, then
//! each run is asked; what is refused is named, and the rest goes on.

use std::collections::BTreeMap;

use serde::Serialize;
use trunkline_state::{ids::RunId, words::RunState};

use super::{
    carry::command_engine,
    choice::Consent,
    context::{Context, Session},
    exit::{Exit, refuse},
    output::Field,
    validate::counted,
};
use crate::{
    engine::Engine,
    service::many::{Outcome, RUNS_READ_MAX, Wish, ask_all},
};

/// Rows of the preview; the rest is counted.
const ROWS_SHOWN_MAX: usize = 30;
/// Refusals that are named; the rest is counted.
const REFUSALS_SHOWN_MAX: usize = 10;

/// What would happen to one run, for `--json`.
#[derive(Serialize)]
struct Planned<'a> {
    run: String,
    state: RunState,
    effect: &'a str,
}

/// Shows the wishes, asks, and carries them out.
pub(crate) async fn carry_out(
    cx: &Context,
    session: &Session,
    pipeline: &str,
    verb: &str,
    wishes: Vec<Wish>,
    consent: Consent,
) -> anyhow::Result<Exit> {
    if wishes.is_empty() {
        return refuse(format!("nothing matches: no run of {pipeline} would change"));
    }
    if cx.output.json() && consent == Consent::DryRun {
        let planned = wishes.iter().map(|wish| Planned {
            run: format!("{pipeline}@{}", wish.entry.key),
            state: wish.entry.state,
            effect: &wish.asked.effect,
        });
        cx.output.value(&planned.collect::<Vec<_>>());
    }
    show(cx, pipeline, &wishes);
    if consent == Consent::DryRun {
        return Ok(Exit::Done);
    }
    let runs = counted(wishes.len(), "run");
    if consent == Consent::Ask && !cx.agreed(&format!("{verb} {runs} of {pipeline}?")).await? {
        cx.output.note("nothing was changed");
        return Ok(Exit::Done);
    }
    let engine = command_engine(cx, session).await?;
    let detached = consent == Consent::GivenDetached;
    if detached {
        engine.handle().leave_runs();
    }
    let by = cx.actor();
    let asked = ask_all(&session.store, &engine.handle(), (&by, cx.now()), pipeline, &wishes).await;
    let outcomes = match asked {
        Ok(outcomes) => outcomes,
        Err(error) => {
            engine.shutdown().await?;
            return Err(error.into());
        }
    };
    let changed: Vec<RunId> = wishes
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.done)
        .map(|(wish, _)| wish.entry.id)
        .collect();
    report(cx, &outcomes);
    if changed.is_empty() {
        engine.shutdown().await?;
        // Each refusal was said; a script must not take this for done.
        return Ok(Exit::Invalid);
    }
    finish(cx, session, engine, pipeline, &changed, detached).await
}

fn show(cx: &Context, pipeline: &str, wishes: &[Wish]) {
    if cx.output.json() {
        return;
    }
    let rows = wishes.iter().map(|wish| {
        let run = format!("{pipeline}@{}", wish.entry.key);
        (run, wish.entry.state.word(), wish.asked.effect.as_str())
    });
    show_effects(cx, rows);
}

/// What would happen to each of these runs: its name, its state and the effect.
pub(crate) fn show_effects<'a>(
    cx: &Context,
    runs: impl ExactSizeIterator<Item = (String, &'a str, &'a str)>,
) {
    let more = runs.len().saturating_sub(ROWS_SHOWN_MAX);
    let rows = runs.take(ROWS_SHOWN_MAX).map(|(run, state, effect)| {
        vec![Field::from(run), Field::State(state.to_owned()), Field::from(effect)]
    });
    cx.output.table(&["run", "state", "what happens"], rows.collect(), "");
    if more > 0 {
        cx.output.note(&format!("and {}", counted(more, "more run")));
    }
}

/// What became of each run, and which refused.
pub(crate) fn report(cx: &Context, outcomes: &[Outcome]) {
    if cx.output.json() {
        cx.output.value(&outcomes);
        return;
    }
    let done = outcomes.iter().filter(|outcome| outcome.done).count();
    cx.output.data(&format!("{} of {} changed", done, counted(outcomes.len(), "run")));
    let refused: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.refused.as_ref()).collect();
    for reason in refused.iter().take(REFUSALS_SHOWN_MAX) {
        cx.output.warn(reason);
    }
    if let Some(rest) = refused.len().checked_sub(REFUSALS_SHOWN_MAX).filter(|rest| *rest > 0) {
        cx.output.warn(&format!("and {}", counted(rest, "more refusal")));
    }
}

/// A server goes on with the runs; without one this process does, until all have ended.
async fn finish(
    cx: &Context,
    session: &Session,
    engine: Engine,
    pipeline: &str,
    changed: &[RunId],
    detached: bool,
) -> anyhow::Result<Exit> {
    let served = session.is_served().await?;
    if detached || served {
        engine.shutdown().await?;
        session.store.hint().await?;
        if !served {
            cx.output.warn("no `trunkline serve` is running: the runs wait until one is started");
        }
        return Ok(Exit::Done);
    }
    cx.output
        .note(&format!("no server is running: this command carries {} on", counted(changed.len(), "run")));
    let handle = engine.handle();
    tokio::select! {
        () = async { for run in changed { handle.ended(*run).await } } => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    handle.send_notices().await;
    engine.shutdown().await?;
    let mut states: BTreeMap<&'static str, usize> = BTreeMap::new();
    for portion in changed.chunks(RUNS_READ_MAX) {
        for run in session.store.read_runs(portion).await? {
            *states.entry(run.state.word()).or_default() += 1;
        }
    }
    let counts: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    cx.output.note(&format!("{pipeline}: {}", counts.join(", ")));
    let all_well = states.keys().all(|state| *state == RunState::Succeeded.word());
    Ok(if all_well { Exit::Done } else { Exit::RunFailed })
}
