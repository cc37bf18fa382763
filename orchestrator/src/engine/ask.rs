//! One command for each of many runs: claimed together, committed together, and what others own
//! asked for in one statement.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use trunkline_state::{
    ids::RunId,
    machine::Command,
    store::{Answer, StoreError},
};

use super::{
    ANSWER_EVERY, ANSWER_WAIT, EngineHandle, alive,
    message::{AskError, Asked},
    pace,
};

/// Runs that are claimed and asked at a time: a load of some thousand rows, a commit or two.
const PORTION: usize = 1_000;
/// One is claimed and loaded while the one before is committed.
const PORTIONS_AT_ONCE: usize = 2;

impl EngineHandle {
    /// Carries out one command on each of these runs, as [`EngineHandle::ask`] does on one; no run
    /// stands there twice. The answers, in the order of the wishes.
    pub async fn ask_many(
        &self,
        wishes: &[(RunId, Command)],
        actor: &str,
    ) -> Result<Vec<Result<(), AskError>>, StoreError> {
        // Each with what it needs of its own: a future over borrowed wishes could not be spawned.
        let portions: Vec<Vec<_>> = wishes.chunks(PORTION).map(<[_]>::to_vec).collect();
        let portions = stream::iter(portions).map(|portion| {
            let (handle, actor) = (self.clone(), actor.to_owned());
            async move { handle.ask_portion(&portion, &actor).await }
        });
        let answers: Vec<Vec<_>> = portions.buffered(PORTIONS_AT_ONCE).try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn ask_portion(
        &self,
        wishes: &[(RunId, Command)],
        actor: &str,
    ) -> Result<Vec<Result<(), AskError>>, StoreError> {
        let mut answers: HashMap<RunId, Asked> = HashMap::new();
        let mut open: Vec<&(RunId, Command)> = wishes.iter().collect();
        self.ask_these_here(&mut open, actor, &mut answers).await;
        if !open.is_empty() {
            let runs: Vec<RunId> = open.iter().map(|(run, _)| *run).collect();
            self.shared.claim_and_adopt_these(&runs).await?;
            self.ask_these_here(&mut open, actor, &mut answers).await;
        }
        if !open.is_empty() {
            self.ask_by_letter(&open, actor, &mut answers).await?;
        }
        let answer = |(run, _): &(RunId, Command)| match answers.remove(run) {
            Some(Asked::Done) => Ok(()),
            Some(Asked::Refused(reason)) => Err(AskError::Refused(reason)),
            Some(Asked::Unknown | Asked::NotOwned) | None => Err(AskError::Unanswered),
        };
        Ok(wishes.iter().map(answer).collect())
    }

    /// Asks those that are in hand; the others stay open.
    async fn ask_these_here(
        &self,
        open: &mut Vec<&(RunId, Command)>,
        actor: &str,
        answers: &mut HashMap<RunId, Asked>,
    ) {
        // All are put before the first is waited for: their commits go together.
        let put: Vec<_> = open.iter().map(|(run, command)| self.put(*run, command, actor, None)).collect();
        let mut others = Vec::new();
        for (wish, asked) in open.drain(..).zip(join_all(put).await) {
            match asked.unwrap_or(Asked::Unknown) {
                Asked::NotOwned => others.push(wish),
                asked => drop(answers.insert(wish.0, asked)),
            }
        }
        *open = others;
    }

    /// Leaves letters for the owners and waits as long as any of them answers.
    async fn ask_by_letter(
        &self,
        wishes: &[&(RunId, Command)],
        actor: &str,
        answers: &mut HashMap<RunId, Asked>,
    ) -> Result<(), StoreError> {
        let commands: Vec<(RunId, &Command)> = wishes.iter().map(|(run, command)| (*run, command)).collect();
        let mut letters = self.shared.store.post_all(&commands, actor).await?;
        let mut heard = alive::boot_time();
        loop {
            let ids: Vec<i64> = letters.values().copied().collect();
            let told = self.shared.store.answers_to(&ids).await?;
            if !told.is_empty() {
                heard = alive::boot_time();
            }
            for (run, letter) in &letters {
                let answer = match told.get(letter) {
                    Some(Answer::Done) => Asked::Done,
                    Some(Answer::Refused(reason)) => Asked::Refused(reason.clone()),
                    None => continue,
                };
                answers.insert(*run, answer);
            }
            letters.retain(|_, letter| !told.contains_key(letter));
            if letters.is_empty() || alive::boot_time().saturating_sub(heard) > ANSWER_WAIT {
                return Ok(());
            }
            pace::pause(ANSWER_EVERY).await;
            // Owners may have ended; their letters then wait for the next one, which may as well be
            // this replica.
            let mut foreign = Vec::new();
            for run in letters.keys() {
                if !self.shared.owns(*run).await {
                    foreign.push(*run);
                }
            }
            if !foreign.is_empty() && self.shared.claim_and_adopt_these(&foreign).await? > 0 {
                self.shared.look_now.notify_one();
            }
        }
    }
}
