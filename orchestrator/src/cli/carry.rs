//! Watching a run until it ends, and carrying it on where nobody else does.
//!
//! A run that a live `serve` owns is only watched. One that nobody owns is advanced by the
//! engine of this very process, and given back if the person goes away.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use trunkline_state::{
    ids::RunId,
    machine::Command,
    store::{Role, StoreError},
    words::RunState,
};

use super::{
    context::{Context, Session},
    exit::Exit,
    output::bold,
    progress::Progress,
    summary::summary,
};
use crate::{
    engine::{Engine, EngineHandle},
    service::{Snapshot, views::RunDetail, why::Situation},
};

/// How often the store is asked for news of the run: one row, unless something changed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks between two questions whether anybody owns the run.
const LOOKS_PER_OWNER: u32 = 15;

/// Looks after which a queued run says what it waits for.
const LOOKS_UNTIL_WHY: u32 = 5;

/// History rows in `--json`.
const HISTORY_MAX: i64 = 10_000;

/// What a person wants after Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    GoOn,
    Detach,
    Cancel,
}

/// How the watching ended.
enum Ended {
    Run,
    Detached,
    Paused,
}

/// Watches a run until it ends, carrying it on where needed, and sums it up. Ends the engine.
pub(crate) async fn carry(
    cx: &Context,
    session: &Session,
    engine: Engine,
    run: RunId,
) -> anyhow::Result<Exit> {
    let handle = engine.handle();
    let watched = match hand_over(session, &handle, run).await {
        Ok(()) => Watch::new(cx, session, &handle, run).await,
        Err(error) => Err(error),
    };
    let result = match watched {
        Ok(mut watch) => watch.until_ended().await.map(|ended| (ended, watch.snapshot)),
        Err(error) => Err(error),
    };
    if matches!(result, Ok((Ended::Run, _))) {
        // The commit that ended the run wrote its notices; a serve may have sent them already.
        handle.send_notices().await;
    }
    let closed = engine.shutdown().await;
    let (ended, mut snapshot) = result?;
    closed?;
    snapshot.refresh(&session.store).await?;
    report(cx, session, &snapshot, &ended).await
}

/// A server, if there is one, goes on with the run; else this process does.
async fn hand_over(session: &Session, handle: &EngineHandle, run: RunId) -> anyhow::Result<()> {
    if session.is_served().await? {
        handle.release(run).await;
    } else {
        handle.adopt(run).await?;
    }
    Ok(())
}

async fn report(cx: &Context, session: &Session, snapshot: &Snapshot, ended: &Ended) -> anyhow::Result<Exit> {
    let label = snapshot.label();
    let history = if cx.output.json() {
        session.store.history(snapshot.run.id, 0, HISTORY_MAX).await?
    } else {
        Vec::new()
    };
    let detail = RunDetail::new(snapshot, &history, &session.registry);
    if cx.output.json() {
        cx.output.value(&detail);
    }
    match ended {
        Ended::Run => {
            summary(cx, &detail);
            let succeeded = snapshot.state() == Some(RunState::Succeeded);
            Ok(if succeeded { Exit::Done } else { Exit::RunFailed })
        }
        Ended::Paused => {
            cx.output.note(&format!("{label} is paused; go on with `trunkline resume {label}`"));
            Ok(Exit::Done)
        }
        Ended::Detached => {
            let who = if session.is_served().await? {
                "`trunkline serve` carries it on"
            } else {
                "external jobs go on by themselves; their run goes on with `trunkline serve`, or when you watch it again"
            };
            cx.output.note(&format!("detached from {label}: {who}\nwatch it:  trunkline show {label}"));
            Ok(Exit::Done)
        }
    }
}

struct Watch<'a> {
    cx: &'a Context,
    session: &'a Session,
    handle: &'a EngineHandle,
    snapshot: Snapshot,
    progress: Progress,
    looks: u32,
    reachable: bool,
    explained: bool,
}

impl<'a> Watch<'a> {
    async fn new(
        cx: &'a Context,
        session: &'a Session,
        handle: &'a EngineHandle,
        run: RunId,
    ) -> anyhow::Result<Watch<'a>> {
        let snapshot = Snapshot::read(&session.store, run).await?;
        let progress = Progress::new(cx.output, &snapshot);
        Ok(Watch { cx, session, handle, snapshot, progress, looks: 0, reachable: true, explained: false })
    }

    async fn until_ended(&mut self) -> anyhow::Result<Ended> {
        // Heard from here on until the end: a signal during a look must not get lost.
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wish = tokio::select! {
                _ = looks.tick() => match self.look().await? {
                    Some(ended) => {
                        self.progress.finish();
                        return Ok(ended);
                    }
                    None => Wish::GoOn,
                },
                _ = interrupted.recv() => self.ask().await,
                _ = terminated.recv() => Wish::Detach,
            };
            match wish {
                Wish::GoOn => {}
                Wish::Detach => {
                    self.progress.finish();
                    return Ok(Ended::Detached);
                }
                Wish::Cancel => self.cancel().await,
            }
        }
    }

    async fn look(&mut self) -> anyhow::Result<Option<Ended>> {
        match self.snapshot.refresh(&self.session.store).await {
            Ok(_) => self.reached(),
            Err(error) if error.is_unreachable() => {
                self.unreached(&error);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        let remote = self.handle.remote_states(self.snapshot.run.id).await;
        self.progress.show(&self.snapshot, &remote, self.cx.now());
        self.looks = self.looks.wrapping_add(1);
        match self.snapshot.state() {
            Some(state) if state.is_terminal() => return Ok(Some(Ended::Run)),
            Some(RunState::Paused) => return Ok(Some(Ended::Paused)),
            _ => {}
        }
        if self.looks.is_multiple_of(LOOKS_PER_OWNER) && self.is_abandoned().await {
            let _ = self.handle.adopt(self.snapshot.run.id).await;
        }
        let queued = self.snapshot.state() == Some(RunState::Queued);
        if queued && !self.explained && self.looks >= LOOKS_UNTIL_WHY {
            self.explained = true;
            let situation =
                Situation::read(&self.session.store, self.snapshot.clone(), self.cx.now()).await?;
            self.progress.say(&situation.run());
        }
        Ok(None)
    }

    /// Nobody alive owns it and no server will take it: this process may as well.
    async fn is_abandoned(&self) -> bool {
        let run = &self.snapshot.run;
        let owned = run.owner.is_some() && run.owner_lives;
        !owned && !self.session.is_served().await.unwrap_or(true)
    }

    fn reached(&mut self) {
        if !self.reachable {
            self.reachable = true;
            self.progress.say("the store answers again");
        }
    }

    fn unreached(&mut self, error: &StoreError) {
        if self.reachable {
            self.reachable = false;
            self.progress.say(&format!("{error}; waiting until it answers again (external jobs go on)"));
        }
    }

    async fn cancel(&mut self) {
        let command = Command::Cancel { task: None, reason: Some("Ctrl-C".to_owned()) };
        match self.handle.ask(self.snapshot.run.id, command, &self.cx.actor()).await {
            Ok(()) => self.progress.say("cancelling: waiting until external jobs have stopped"),
            Err(error) => self.progress.say(&format!("not cancelled: {error}")),
        }
    }

    /// What Ctrl-C means. Where nobody can be asked it detaches: nothing is lost by that.
    async fn ask(&mut self) -> Wish {
        if !self.cx.output.can_ask() {
            return Wish::Detach;
        }
        self.progress.suspend();
        let question = format!("{} is not done. What now?", self.snapshot.label());
        let asked = tokio::task::spawn_blocking(move || {
            let choices = vec!["go on watching", "detach: leave it running", "cancel the run"];
            inquire::Select::new(&question, choices)
                .without_filtering()
                .raw_prompt()
                .map(|chosen| chosen.index)
        });
        let wish = match asked.await {
            Ok(Ok(0)) => Wish::GoOn,
            Ok(Ok(2)) => Wish::Cancel,
            // A second Ctrl-C, or no terminal any more.
            _ => Wish::Detach,
        };
        self.progress.go_on();
        wish
    }
}

/// Says where a run stands, for a command that changed it but need not watch it; carries it
/// on if nobody else would.
pub(crate) async fn carry_if_needed(
    cx: &Context,
    session: &Session,
    engine: Engine,
    run: RunId,
) -> anyhow::Result<Exit> {
    let snapshot = Snapshot::read(&session.store, run).await?;
    let ours = snapshot.run.owner == Some(session.store.replica().0);
    let elsewhere = snapshot.run.owner.is_some() && snapshot.run.owner_lives && !ours;
    let at_rest = snapshot.ended() || snapshot.state() == Some(RunState::Paused);
    if at_rest || elsewhere || session.is_served().await? {
        if snapshot.ended() {
            engine.handle().send_notices().await;
        }
        engine.shutdown().await?;
        if cx.output.json() {
            cx.output.value(&RunDetail::new(&snapshot, &[], &session.registry));
        } else {
            cx.output.data(&format!("{} is {}", snapshot.label(), snapshot.run.state));
        }
        return Ok(Exit::Done);
    }
    cx.output.note(&format!("no server is running: this command carries {} on", bold(&snapshot.label())));
    carry(cx, session, engine, run).await
}

/// The engine of a short-lived command.
pub(crate) async fn command_engine(cx: &Context, session: &Session) -> anyhow::Result<Engine> {
    let engine = session.engine(cx, Role::Command, None).await?;
    if session.is_served().await? {
        // A server has the long breath: what this process began it would have to look for.
        engine.handle().leave_runs();
    }
    Ok(engine)
}
