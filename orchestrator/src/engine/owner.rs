//! The owner loop: the runs of this replica in memory, one message at a time.
//!
//! ```text
//! message ─► step/ask ─► delta ─┐  many runs at once
//!                               ├─► one group commit ─► effects begin ─► messages …
//! message ─► step/ask ─► delta ─┘
//! ```
//!
//! Nothing here waits: at most one commit of each kind is under way beside the messages, and
//! calls run in tasks of their own and come back as messages. Commits are in `commits`.

mod commits;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::future::{BoxFuture, pending};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use trunkline_state::{
    ids::RunId,
    machine::{self, AttemptKey, Delta, Effect, Event, Refusal},
    run::{Installation, Run},
    store::{Created, Owned, StoreError, TurnWants},
    words::RunState,
};

use super::{
    Shared,
    message::{Asked, EngineError, Message},
    pace, perform, prepare,
};
use crate::trace::Ended;

/// Messages taken before a commit is considered: keeps decisions and commits interleaved.
const TURN_MESSAGES_MAX: usize = 4_096;
/// The longest sleep of the loop; timers beyond are looked at again.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A run in memory.
struct Held {
    run: Run,
    fence: i64,
    /// Decided and not yet handed to a commit.
    delta: Delta,
    actor: String,
    waiting: Vec<oneshot::Sender<Asked>>,
    /// Letters that the next commit answers.
    letters: Vec<i64>,
    /// What it carries out besides, and for whom.
    asked: Vec<(String, machine::Command)>,
    /// Dropped, and so answered, when the run is not in hand any more.
    gone: Vec<oneshot::Sender<()>>,
    /// Dropped when an attempt is not watched any more: polls of it end.
    watches: HashMap<AttemptKey, Arc<()>>,
    wake_at: Option<Timestamp>,
}

/// A commit under way.
struct Flight {
    run: RunId,
    fence: i64,
    effects: Vec<Effect>,
    waiting: Vec<oneshot::Sender<Asked>>,
    /// That it ends the run, if it does.
    ended: Option<Ended>,
}

type BornReply = oneshot::Sender<Result<(RunId, Created), EngineError>>;

pub(super) struct Owner {
    shared: Arc<Shared>,
    installation: Installation,
    inbox: mpsc::UnboundedReceiver<Message>,
    held: HashMap<RunId, Held>,
    dirty: VecDeque<RunId>,
    dirty_set: HashSet<RunId>,
    timers: BTreeSet<(Timestamp, RunId)>,
    /// Runs of a commit that the store refused. Each is committed alone until one of its commits
    /// goes through, so that a run that can never be written holds up no other.
    suspects: HashSet<RunId>,
    flights: Vec<Flight>,
    saving: Option<BoxFuture<'static, Result<Vec<RunId>, StoreError>>>,
    wanted: VecDeque<(Run, Delta, String, BornReply)>,
    births: Vec<(Run, Delta, String, BornReply)>,
    creating: Option<BoxFuture<'static, Result<Vec<Created>, StoreError>>>,
    remote: HashMap<RunId, HashMap<usize, String>>,
    draining: Option<oneshot::Sender<()>>,
    starts: usize,
}

impl Owner {
    pub(super) fn new(
        shared: Arc<Shared>,
        installation: Installation,
        inbox: mpsc::UnboundedReceiver<Message>,
    ) -> Self {
        Self {
            shared,
            installation,
            inbox,
            held: HashMap::new(),
            dirty: VecDeque::new(),
            dirty_set: HashSet::new(),
            timers: BTreeSet::new(),
            suspects: HashSet::new(),
            flights: Vec::new(),
            saving: None,
            wanted: VecDeque::new(),
            births: Vec::new(),
            creating: None,
            remote: HashMap::new(),
            draining: None,
            starts: 0,
        }
    }

    /// Runs until a drain is answered or every sender is gone.
    pub(super) async fn run(mut self) {
        loop {
            let idle = self.until_next_timer();
            tokio::select! {
                message = self.inbox.recv() => {
                    let Some(message) = message else { return };
                    self.take(message);
                }
                result = under_way(&mut self.saving) => {
                    self.saving = None;
                    self.saved(result);
                }
                result = under_way(&mut self.creating) => {
                    self.creating = None;
                    self.born(result);
                }
                () = pace::pause(idle) => {}
            }
            for _ in 0..TURN_MESSAGES_MAX {
                let Ok(message) = self.inbox.try_recv() else { break };
                self.take(message);
            }
            self.fire_timers();
            self.begin_save();
            self.begin_births();
            if self.is_drained() {
                if let Some(reply) = self.draining.take() {
                    let _ = reply.send(());
                }
                return;
            }
        }
    }

    fn is_drained(&self) -> bool {
        self.draining.is_some()
            && self.saving.is_none()
            && self.creating.is_none()
            && self.starts == 0
            && self.dirty.is_empty()
            && self.wanted.is_empty()
    }

    fn until_next_timer(&self) -> Duration {
        let now = self.shared.now();
        match self.timers.first() {
            Some((at, _)) => {
                Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO).min(IDLE_MAX)
            }
            None => IDLE_MAX,
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Adopt(runs) => runs.into_iter().for_each(|owned| self.adopt(owned)),
            Message::Create(request, reply) => self.want(*request, reply),
            Message::Report { run, fence, event } => self.report(run, fence, event),
            Message::Place { run, fence, taken } => self.place(run, fence, taken),
            Message::Ask { run, actor, command, letter, reply } => {
                self.ask(run, &actor, &command, letter, reply);
            }
            Message::RemoteState { run, task, state } => {
                if self.held.contains_key(&run) {
                    self.remote.entry(run).or_default().insert(task, state);
                }
            }
            Message::RemoteStates(run, reply) => {
                let _ = reply.send(self.remote.get(&run).cloned().unwrap_or_default());
            }
            Message::IsOwned(run, reply) => {
                let _ = reply.send(self.held.contains_key(&run));
            }
            Message::WhenGone(run, reply) => {
                if let Some(held) = self.held.get_mut(&run) {
                    held.gone.push(reply);
                }
                // Otherwise the reply is dropped, which tells the same.
            }
            Message::Release(run, reply) => self.release(run, reply),
            Message::Drain(reply) => self.draining = Some(reply),
            Message::StartEnded => self.starts = self.starts.saturating_sub(1),
        }
    }

    fn adopt(&mut self, owned: Owned) {
        let Owned { run, fence, has_place } = owned;
        let id = run.id;
        if self.held.get(&id).is_some_and(|held| held.fence >= fence) {
            return;
        }
        self.evict(id);
        let effects = machine::due(&run);
        let queued_with_place = run.state == RunState::Queued && has_place;
        self.hold(run, fence);
        tracing::info!(run.id = %id, fence, "took over run {id}");
        if queued_with_place {
            self.decide(id, Event::Admitted);
        } else {
            self.begin_effects(id, fence, effects);
        }
        // Whatever fell due while nobody looked.
        self.decide(id, Event::Tick);
    }

    /// Whether the copy in hand is the one that was claimed under this fence.
    fn holds(&self, run: RunId, fence: i64) -> bool {
        self.held.get(&run).is_some_and(|held| held.fence == fence)
    }

    fn hold(&mut self, run: Run, fence: i64) {
        let id = run.id;
        let held = Held {
            run,
            fence,
            delta: Delta::default(),
            actor: self.shared.actor.clone(),
            waiting: Vec::new(),
            letters: Vec::new(),
            asked: Vec::new(),
            gone: Vec::new(),
            watches: HashMap::new(),
            wake_at: None,
        };
        self.held.insert(id, held);
        self.shared.owned.store(self.held.len(), Ordering::Relaxed);
        self.reset_timer(id);
    }

    fn evict(&mut self, id: RunId) {
        if let Some(held) = self.held.remove(&id) {
            if let Some(at) = held.wake_at {
                self.timers.remove(&(at, id));
            }
            // What waits here was decided and never sent: whoever asked asks whoever owns the run now.
            for reply in held.waiting {
                let _ = reply.send(Asked::NotOwned);
            }
        }
        self.shared.owned.store(self.held.len(), Ordering::Relaxed);
        self.remote.remove(&id);
        if self.dirty_set.remove(&id) {
            self.dirty.retain(|other| *other != id);
        }
    }

    fn report(&mut self, run: RunId, fence: i64, event: Event) {
        if self.holds(run, fence) {
            self.decide(run, event);
        }
    }

    /// Feeds one event to the core, and prepares what it makes ready.
    fn decide(&mut self, id: RunId, event: Event) {
        let now = self.shared.now();
        let Some(held) = self.held.get_mut(&id) else { return };
        let mut delta = machine::step(&mut held.run, &[event], now);
        if self.draining.is_none() && !self.shared.leaves_runs() {
            delta = prepare::follow(&self.shared, &mut held.run, delta, now);
        }
        Self::forget_ended_watches(held, &delta);
        held.delta.merge(delta);
        self.after_decision(id);
    }

    fn ask(
        &mut self,
        id: RunId,
        actor: &str,
        command: &machine::Command,
        letter: Option<i64>,
        reply: oneshot::Sender<Asked>,
    ) {
        let now = self.shared.now();
        let Some(held) = self.held.get_mut(&id) else {
            let _ = reply.send(Asked::NotOwned);
            return;
        };
        match machine::ask(&mut held.run, actor, command, now) {
            Err(Refusal(reason)) => {
                let _ = reply.send(Asked::Refused(reason));
                self.let_go_if_over(id);
            }
            Ok(mut delta) => {
                if !self.shared.leaves_runs() {
                    delta = prepare::follow(&self.shared, &mut held.run, delta, now);
                }
                Self::forget_ended_watches(held, &delta);
                held.delta.merge(delta);
                actor.clone_into(&mut held.actor);
                held.waiting.push(reply);
                match letter {
                    Some(letter) => held.letters.push(letter),
                    None => held.asked.push((actor.to_owned(), command.clone())),
                }
                self.mark_dirty(id);
                self.reset_timer(id);
            }
        }
    }

    fn forget_ended_watches(held: &mut Held, delta: &Delta) {
        for change in delta.attempts.values() {
            if change.attempt.state.is_terminal() {
                held.watches.remove(&AttemptKey { task: change.task, number: change.attempt.number });
            }
        }
    }

    /// What a decision asks for: a commit, or, if it changed nothing, its effects at once.
    fn after_decision(&mut self, id: RunId) {
        let Some(held) = self.held.get_mut(&id) else { return };
        if held.delta.is_clean() {
            let effects = std::mem::take(&mut held.delta).effects;
            let fence = held.fence;
            self.begin_effects(id, fence, effects);
        } else {
            self.mark_dirty(id);
        }
        self.reset_timer(id);
    }

    fn mark_dirty(&mut self, id: RunId) {
        if self.dirty_set.insert(id) {
            self.dirty.push_back(id);
        }
    }

    fn reset_timer(&mut self, id: RunId) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let wake_at = held.run.wake_at();
        if wake_at == held.wake_at {
            return;
        }
        if let Some(at) = held.wake_at {
            self.timers.remove(&(at, id));
        }
        if let Some(at) = wake_at {
            self.timers.insert((at, id));
        }
        held.wake_at = wake_at;
    }

    fn fire_timers(&mut self) {
        let now = self.shared.now();
        let due: Vec<(Timestamp, RunId)> =
            self.timers.iter().take_while(|(at, _)| *at <= now).copied().collect();
        for (at, id) in due {
            self.timers.remove(&(at, id));
            if let Some(held) = self.held.get_mut(&id) {
                held.wake_at = None;
            }
            self.decide(id, Event::Tick);
        }
    }

    fn place(&mut self, run: RunId, fence: i64, taken: bool) {
        if !self.holds(run, fence) {
            return;
        }
        if taken {
            self.decide(run, Event::Admitted);
        } else if self.shared.is_server {
            // Whoever looks next claims it once there is a place.
            self.give_back(run);
        } else {
            perform::admit_later(&self.shared, run, fence);
        }
    }

    /// Gives back a run that had ended before it was taken up, to be asked, and goes on being over.
    fn let_go_if_over(&mut self, id: RunId) {
        let under_way = self.dirty_set.contains(&id) || self.flights.iter().any(|flight| flight.run == id);
        if !under_way && self.held.get(&id).is_some_and(|held| held.run.state.is_terminal()) {
            self.give_back(id);
        }
    }

    fn give_back(&mut self, run: RunId) {
        self.evict(run);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            if let Err(error) = shared.store.release(&[run]).await {
                tracing::warn!(run.id = %run, "could not give a run back: {}", super::chain(&error));
                shared.claim_was_lost();
            }
        });
    }

    fn release(&mut self, run: RunId, reply: oneshot::Sender<()>) {
        self.evict(run);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let _ = shared.store.release(&[run]).await;
            let _ = shared.store.hint().await;
            let _ = reply.send(());
        });
    }

    fn begin_effects(&mut self, id: RunId, fence: i64, effects: Vec<Effect>) {
        if self.shared.leaves_runs() {
            return;
        }
        let draining = self.draining.is_some();
        let Some(held) = self.held.get_mut(&id) else { return };
        let mut wanted = Vec::new();
        for effect in effects {
            match effect {
                // A committed intent is still sent; everything else the next owner derives.
                Effect::Send { attempt } => {
                    let begun = perform::begin_send(&self.shared, &held.run, fence, attempt);
                    // Counted here, not by the start itself: a drain that comes next waits for it.
                    self.starts += usize::from(begun);
                }
                _ if draining => {}
                Effect::WantTurn { next, .. } => wanted.push(next),
                Effect::Watch { attempt } => {
                    let token = Arc::new(());
                    if perform::watch(&self.shared, &held.run, fence, attempt, &token) {
                        held.watches.insert(attempt, token);
                    }
                }
                other => perform::begin(&self.shared, &held.run, fence, &other),
            }
        }
        if !wanted.is_empty() {
            perform::want_turns(&self.shared, TurnWants::new(&held.run, fence, &wanted));
        }
    }
}

/// Waits for what is under way; for ever, if nothing is.
async fn under_way<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(commit) => commit.await,
        None => pending().await,
    }
}
