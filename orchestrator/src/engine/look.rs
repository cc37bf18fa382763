//! What a replica does by itself: shows that it lives, hears hints, looks for work.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use trunkline_state::store::{Answer, Letter, StoreError};

use super::{
    EngineHandle, Shared, alive, backfill, cron, late, message::Asked, notices, pace, perform, triggers,
};

/// Runs claimed at a time: one load of some thousand rows.
const CLAIM_MAX: i64 = 200;
/// Commands of other processes that are carried out in one look; somebody may clear thousands of runs.
const LETTERS_MAX: i64 = 1_000;
/// Looks and hints after ended runs come at most this often; each hint takes a lock of the whole server.
const HINT_EVERY: Duration = Duration::from_millis(100);

/// One heartbeat. Whether it committed.
pub(super) async fn beat(shared: &Shared) -> bool {
    let sent_at = alive::boot_time();
    let budgets = shared.changed_budgets();
    match shared.store.heartbeat(budgets.as_ref()).await {
        Ok(Some(replicas)) => {
            shared.replicas.store(replicas, Ordering::Relaxed);
            shared.pulse.committed(sent_at);
            shared.told_budgets(budgets);
            // Others of this machine may have been killed: no need to wait for their time.
            if replicas > 1
                && let Err(error) = shared.store.bury(&shared.place.machine, alive::is_process_alive).await
            {
                return no_heartbeat(&error);
            }
            true
        }
        Ok(None) => match shared.store.register(shared.role, &shared.place).await {
            Ok(()) => {
                shared.pulse.committed(sent_at);
                true
            }
            Err(error) => no_heartbeat(&error),
        },
        Err(error) => no_heartbeat(&error),
    }
}

fn no_heartbeat(error: &StoreError) -> bool {
    tracing::warn!("no heartbeat: {}", super::chain(error));
    false
}

/// Shows every few seconds that this replica lives.
pub(super) async fn heartbeats(shared: Arc<Shared>) {
    loop {
        let pause =
            if beat(&shared).await { shared.timing.heartbeat_every } else { shared.timing.store_retry };
        pace::pause(pause).await;
    }
}

/// Hears hints and passes them on. Everything works without: hints only shorten waits.
pub(super) async fn hints(shared: Arc<Shared>) {
    loop {
        match shared.store.listen().await {
            Ok(mut listener) => {
                while listener.recv().await.is_ok() {
                    shared.look_now.notify_one();
                }
            }
            Err(error) => tracing::debug!("cannot listen for hints: {}", super::chain(&error)),
        }
        pace::pause(shared.timing.look_every).await;
    }
}

/// Looks around: every few seconds, when a hint comes, and when a schedule is due.
pub(super) async fn around(shared: Arc<Shared>) {
    let mut failing = false;
    while !shared.stopping.is_cancelled() {
        let pause = match look(&shared).await {
            Ok(pause) => {
                failing = false;
                pause
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(
                        "the store does not answer, going on when it returns: {}",
                        super::chain(&error)
                    );
                }
                failing = true;
                shared.timing.store_retry
            }
        };
        tokio::select! {
            () = shared.look_now.notified(), if !failing => {}
            () = pace::pause(pause) => {}
        }
    }
}

/// One look. The time until the next one is due by itself.
async fn look(shared: &Arc<Shared>) -> Result<Duration, StoreError> {
    claim_dropped(shared).await?;
    if claim_unheld(shared).await? {
        claim_dropped(shared).await?;
    }
    if shared.hint_due.swap(false, Ordering::Relaxed) {
        if shared.replicas.load(Ordering::Relaxed) > 1 {
            shared.store.hint().await?;
        }
        pace::pause(HINT_EVERY).await;
    }
    let work = shared.store.look().await?;
    if work.letters || work.orphans {
        shared.store.refuse_old_letters().await?;
    }
    if work.orphans && shared.is_server {
        take_orphans(shared).await?;
    } else if work.letters {
        deliver_all(shared, shared.store.letters(LETTERS_MAX).await?).await?;
    }
    if work.parcels {
        notices::send_due(shared).await;
    }
    if work.turns {
        perform::tell_granted(shared, shared.store.share_out_turns().await?);
    }
    if !shared.is_server {
        return Ok(shared.timing.look_every);
    }
    if work.fires {
        cron::fire_due(shared).await?;
    }
    if work.lates {
        late::tell_late(shared).await?;
    }
    if work.backfills {
        backfill::advance(shared, None).await?;
    }
    shared.triggered.send_if_modified(|known| {
        let changed = *known != work.triggered;
        known.clone_from(&work.triggered);
        changed
    });
    if work.triggers {
        triggers::make_due(shared).await?;
    }
    if work.unowned {
        let claimed = shared.store.claim(CLAIM_MAX).await.inspect_err(|_| shared.claim_was_lost())?;
        let many = claimed.len() == usize::try_from(CLAIM_MAX).unwrap_or(usize::MAX);
        for owned in &claimed {
            shared.load_usual(&owned.run.definition).await;
        }
        shared.send(super::message::Message::Adopt(claimed));
        if many {
            return Ok(Duration::ZERO);
        }
    }
    let until_fire = work.next_fire_at.map_or(Duration::MAX, |at| {
        Duration::try_from(at.duration_since(shared.now())).unwrap_or(Duration::ZERO)
    });
    // A fire that stays due (its runs could not be made) must not make this a busy loop.
    Ok(until_fire.max(Duration::from_millis(50)).min(shared.timing.look_every))
}

/// Finds the runs that a claim without an answer gave to this replica. Whether there was one.
async fn claim_unheld(shared: &Arc<Shared>) -> Result<bool, StoreError> {
    if !shared.claims_unknown.load(Ordering::SeqCst) {
        return Ok(false);
    }
    let owned = shared.store.owned().await?;
    shared.claims_unknown.store(false, Ordering::SeqCst);
    for run in owned {
        if !shared.owns(run).await {
            tracing::info!(run.id = %run, "run {run} was claimed without an answer");
            shared.claim_again(vec![run], true);
        }
    }
    Ok(true)
}

/// Claims runs again whose memory was dropped after a commit that failed.
async fn claim_dropped(shared: &Arc<Shared>) -> Result<(), StoreError> {
    loop {
        let next = shared.reclaim.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(run) = next else { return Ok(()) };
        match shared.claim_and_adopt(run).await {
            // Somebody else has it by now, or it never came to be.
            Ok(_) => {}
            Err(error) => {
                shared.reclaim.lock().unwrap_or_else(PoisonError::into_inner).push_front(run);
                return Err(error);
            }
        }
    }
}

/// Takes up runs that nobody owns and somebody left a command for: it came when the run had just ended, or
/// while it waited for a place, and whoever left it is gone.
async fn take_orphans(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let runs = shared.store.unheard(LETTERS_MAX).await?;
    let claimed = shared.store.claim_these(&runs).await.inspect_err(|_| shared.claim_was_lost())?;
    // Read once they are ours, when nobody else carries them out; put right behind the runs, before a run
    // that gets no place is given back.
    let letters = shared.store.letters(LETTERS_MAX).await.inspect_err(|_| shared.claim_again(runs, true))?;
    for owned in &claimed {
        shared.load_usual(&owned.run.definition).await;
    }
    shared.send(super::message::Message::Adopt(claimed));
    deliver_all(shared, letters).await
}

/// Carries out commands that others left for runs of ours. The commit that carries one out also
/// answers it, so that no crash in between makes anybody carry it out again. All are put before the
/// first is waited for: their commits go together, and what else this look found waits for one commit,
/// not for thousands. Of two for one run the second waits for the next look, so that each is a line of
/// history of its own.
async fn deliver_all(shared: &Arc<Shared>, letters: Vec<Letter>) -> Result<(), StoreError> {
    let handle = EngineHandle { shared: Arc::clone(shared) };
    let mut more = letters.len() == usize::try_from(LETTERS_MAX).unwrap_or(usize::MAX);
    let (mut runs, mut put) = (HashSet::new(), Vec::new());
    for letter in letters {
        if runs.insert(letter.run) {
            let answer = handle.put(letter.run, &letter.command, &letter.actor, Some(letter.id));
            put.push((letter, answer));
        } else {
            more = true;
        }
    }
    for (letter, answer) in put {
        match answer.await.unwrap_or(Asked::Unknown) {
            Asked::Refused(reason) => shared.store.answer(letter.id, &Answer::Refused(reason)).await?,
            // Ours in the store and not in hand: it has just ended, or its claim had no answer.
            Asked::NotOwned => shared.claim_again(vec![letter.run], false),
            Asked::Done | Asked::Unknown => {}
        }
    }
    if more {
        shared.look_now.notify_one();
    }
    Ok(())
}
