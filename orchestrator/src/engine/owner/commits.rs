//! Group commits: what many runs decided goes to the store in one write, new runs in another;
//! effects begin only after it. A run whose commit failed is dropped from memory and claimed
//! again: the store is the truth, memory only a copy.
//!
//! The answer to a commit speaks of the copy that was committed. A replica that was slow may
//! have lost that copy meanwhile and hold a newer one, under a higher fence: that one is not
//! touched.

use std::{collections::HashSet, sync::Arc};

use trunkline_state::{
    ids::RunId,
    machine::{self, Delta, Event},
    run::Run,
    store::{Batch, Births, Commit, Created, NewRun, StoreError},
    words::RunState,
};

use super::{BornReply, Flight, Owner};
use crate::{
    engine::{
        chain,
        counts::add,
        crash,
        message::{Asked, EngineError, RunRequest},
        mutant, prepare,
    },
    trace::Ended,
};

/// Rows in one group commit: enough that a fan-out of thousands needs a few, few enough that
/// one commit stays under some 100 ms.
const COMMIT_ROWS_MAX: usize = 6_000;

impl Owner {
    pub(super) fn begin_save(&mut self) {
        if self.saving.is_some() || self.dirty.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        while let Some(id) = self.dirty.pop_front() {
            let alone = self.suspects.contains(&id);
            if alone && !batch.is_empty() {
                self.dirty.push_front(id);
                break;
            }
            self.dirty_set.remove(&id);
            let Some(held) = self.held.get_mut(&id) else { continue };
            let delta = std::mem::take(&mut held.delta);
            let actor = std::mem::replace(&mut held.actor, self.shared.actor.clone());
            let (letters, asked) = (std::mem::take(&mut held.letters), std::mem::take(&mut held.asked));
            let commit = Commit {
                run: &held.run,
                fence: held.fence,
                delta: &delta,
                actor: &actor,
                letters: &letters,
                asked: &asked,
            };
            if let Err(illegal) = batch.push(&commit) {
                tracing::error!(run.id = %id, "{illegal}");
                // Asked again, it would be refused again.
                for reply in std::mem::take(&mut held.waiting) {
                    let _ = reply.send(Asked::Unknown);
                }
                self.evict(id);
                continue;
            }
            self.flights.push(Flight {
                run: id,
                fence: held.fence,
                effects: delta.effects,
                waiting: std::mem::take(&mut held.waiting),
                ended: end_of(&held.run),
            });
            if alone || batch.rows() >= COMMIT_ROWS_MAX {
                break;
            }
        }
        if batch.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.saving = Some(Box::pin(async move {
            crash::point("before_commit", "");
            let result = shared.store.save(&batch).await;
            crash::point("after_commit", "");
            result
        }));
    }

    pub(super) fn saved(&mut self, result: Result<Vec<RunId>, StoreError>) {
        let flights = std::mem::take(&mut self.flights);
        let written: HashSet<RunId> = match result {
            Ok(written) => {
                add(&self.shared.counts.commits, 1);
                written.into_iter().collect()
            }
            Err(error) => {
                add(&self.shared.counts.commit_failures, 1);
                self.save_failed(flights, &error);
                return;
            }
        };
        let mut freed = false;
        for flight in flights {
            self.suspects.remove(&flight.run);
            if !written.contains(&flight.run) && !mutant::is_planted("rows_unchecked") {
                tracing::warn!(run.id = %flight.run, "lost run {} to another replica", flight.run);
                // Unless it was claimed again since: then only what was written under the old fence is lost.
                if self.holds(flight.run, flight.fence) {
                    self.evict(flight.run);
                }
                for reply in flight.waiting {
                    let _ = reply.send(Asked::NotOwned);
                }
                continue;
            }
            for reply in flight.waiting {
                let _ = reply.send(Asked::Done);
            }
            if let Some(ended) = flight.ended {
                self.shared.trace(ended);
            }
            if !self.holds(flight.run, flight.fence) {
                // Loaded anew: its effects were derived from what is stored.
                continue;
            }
            self.begin_effects(flight.run, flight.fence, flight.effects);
            let clean = !self.dirty_set.contains(&flight.run);
            let over = self.held.get(&flight.run).is_some_and(|held| held.run.state.is_terminal());
            if flight.ended.is_some() && over && clean {
                self.evict(flight.run);
                freed = true;
            }
        }
        if freed {
            self.shared.run_ended();
        }
    }

    /// A commit whose outcome is unknown, or that was rolled back: memory is not the truth any
    /// more, so these runs are dropped and claimed again.
    fn save_failed(&mut self, flights: Vec<Flight>, error: &StoreError) {
        let reach = error.is_unreachable();
        tracing::warn!(runs = flights.len(), unreachable = reach, "a commit failed: {}", chain(error));
        if !reach && flights.len() > 1 {
            self.suspects.extend(flights.iter().map(|flight| flight.run));
        }
        let mut dropped = Vec::with_capacity(flights.len());
        for flight in flights {
            if self.holds(flight.run, flight.fence) {
                self.evict(flight.run);
                dropped.push(flight.run);
            }
            for reply in flight.waiting {
                let _ = reply.send(Asked::Unknown);
            }
        }
        // Not at once: whatever refused the commit would refuse the next one as well.
        self.shared.claim_again(dropped, true);
    }

    pub(super) fn want(&mut self, request: RunRequest, reply: BornReply) {
        if self.draining.is_some() {
            let _ = reply.send(Err(EngineError::Closed));
            return;
        }
        let now = self.shared.now();
        let actor = request.actor.clone();
        let mut run = Run::new(
            self.shared.ids.run_id(now),
            request.definition,
            self.installation,
            request.key,
            request.logical_date,
            request.interval,
            request.fire_at,
            request.params,
            request.trigger,
            now,
        );
        let mut delta = Delta::default();
        if !self.shared.leaves_runs() {
            delta = machine::step(&mut run, &[Event::Admitted], now);
            delta = prepare::follow_births(&self.shared, &mut run, delta, now);
        }
        self.wanted.push_back((run, delta, actor, reply));
    }

    pub(super) fn begin_births(&mut self) {
        if self.creating.is_some() || self.wanted.is_empty() {
            return;
        }
        let mut births = Births::default();
        let mut rows = 0;
        while let Some((run, delta, actor, reply)) = self.wanted.pop_front() {
            births.push(&NewRun { run: &run, delta: &delta, actor: &actor });
            rows += 1 + run.tasks.len() + delta.attempts.len();
            self.births.push((run, delta, actor, reply));
            if rows >= COMMIT_ROWS_MAX {
                break;
            }
        }
        let shared = Arc::clone(&self.shared);
        self.creating = Some(Box::pin(async move { shared.store.create_runs(&births).await }));
    }

    pub(super) fn born(&mut self, result: Result<Vec<Created>, StoreError>) {
        let births = std::mem::take(&mut self.births);
        let created = match result {
            Ok(created) => {
                add(&self.shared.counts.commits, 1);
                created
            }
            Err(error) => {
                add(&self.shared.counts.commit_failures, 1);
                // Runs that were created all the same are owned by this replica and not held:
                // claim them again under a new fence.
                let shared = Arc::clone(&self.shared);
                shared.claim_again(births.iter().map(|(run, ..)| run.id).collect(), true);
                let message = chain(&error);
                for (.., reply) in births {
                    let _ =
                        reply.send(Err(EngineError::Store(StoreError::Broken { message: message.clone() })));
                }
                return;
            }
        };
        for ((run, delta, _, reply), created) in births.into_iter().zip(created) {
            let id = run.id;
            if created == Created::Placed
                && let Some(ended) = end_of(&run)
            {
                self.shared.trace(ended);
            }
            match created {
                // Claimed again meanwhile, under a later fence: others took this replica for dead.
                Created::Placed if self.held.contains_key(&id) => {
                    let _ = reply.send(Ok((id, created)));
                }
                Created::Placed => {
                    self.hold(run, 1);
                    let _ = reply.send(Ok((id, created)));
                    self.begin_effects(id, 1, delta.effects);
                    self.decide(id, Event::Tick);
                }
                // It waits for its place here, unless it was made for others.
                Created::Queued if run.state != RunState::Queued => {
                    let _ = reply.send(Ok((id, created)));
                    self.shared.claim_again(vec![id], false);
                }
                Created::Queued | Created::Refused => {
                    let _ = reply.send(Ok((id, created)));
                }
            }
        }
    }
}

/// That a run is over, for whoever wants its trace.
pub(super) fn end_of(run: &Run) -> Option<Ended> {
    let at = run.ended_at.filter(|_| run.state.is_terminal())?;
    Some(Ended { run: run.id, generation: run.generation, at })
}
