//! What is struck from outside: kills, freezes, silent links, Postgres itself.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Stage;
use crate::{
    pace,
    plan::{Deed, Then, When},
    process::{is_stopped, signal},
    proxy::Mode,
};

/// The longest that a frozen process is kept where nobody is there to take its runs over.
const FREEZE_MAX: Duration = Duration::from_millis(2_500);

/// Some writes of a run fail with errors that ask for another try. A sequence counts them, because
/// it is not rolled back.
pub(super) const CONFLICTS: &str = "
    create sequence nemesis;
    create function nemesis() returns trigger language plpgsql as $$
    declare turn bigint := nextval('nemesis');
    begin
      if turn % 5 = 2 then raise exception 'trial' using errcode = 'deadlock_detected'; end if;
      if turn % 7 = 3 then raise exception 'trial' using errcode = 'serialization_failure'; end if;
      if turn % 11 = 4 then raise exception 'trial' using errcode = 'lock_not_available'; end if;
      return new;
    end $$;
    create trigger nemesis before update on run for each row execute function nemesis();";

/// The store without its fence: whoever writes last is right.
pub(super) const NO_FENCE: &str = "
    do $do$
    declare written text := pg_get_functiondef('save_runs'::regproc);
            unguarded text := replace(written, 'and k.fence = r.fence and k.owner = replica', '');
    begin
      if unguarded = written then raise exception 'the guard of save_runs is not where it was'; end if;
      execute unguarded;
    end $do$;";

/// A fire of the day before yesterday was the last one.
pub(super) const SCHEDULE_DUE: &str = "
    update pipeline set fired_until = now() - interval '2 days', next_fire_at = now() - interval '1 hour'
     where name = 'tick';";

/// A process that stands still.
pub(super) struct Frozen {
    since: Instant,
    /// Since others own all its runs.
    replaced: Option<Instant>,
}

impl Stage<'_> {
    pub(super) fn nobody_is_frozen(&self) -> bool {
        self.replicas.iter().flatten().all(|replica| replica.frozen.is_none())
    }

    /// Notes who froze, and continues who was replaced, or stood still for long enough.
    pub(super) async fn thaw(&mut self) -> anyhow::Result<()> {
        for place in 0..self.replicas.len() {
            let Some(replica) = self.replicas[place].as_mut() else { continue };
            let Some(pid) = replica.child.id() else { continue };
            match &mut replica.frozen {
                None if is_stopped(pid) => {
                    replica.frozen = Some(Frozen { since: pace::now(), replaced: None });
                    let (at, known) = replica.stops.take().unwrap_or_else(|| ("some time".to_owned(), false));
                    let inside = known || self.reader.starting(pid).await? > 0;
                    self.record(format!("serve {place}"), at, inside, "frozen").await?;
                    self.call_reserve()?;
                }
                None => {}
                Some(frozen) => {
                    if frozen.replaced.is_none() && self.reader.owned_by(pid).await? == 0 {
                        frozen.replaced = Some(pace::now());
                    }
                    let extra = Duration::from_millis(self.plan.freeze_ms);
                    let replaced = frozen.replaced.is_some_and(|since| since.elapsed() >= extra);
                    if replaced || frozen.since.elapsed() > FREEZE_MAX + extra {
                        replica.frozen = None;
                        signal(pid, Signal::CONT);
                    }
                }
            }
        }
        let links = &self.rig.store_links;
        self.silences.retain(|(place, until, then)| {
            let over = pace::now() >= *until;
            match then {
                Then::On if over => links[*place].set(Mode::Open),
                Then::Cut if over => links[*place].cut(),
                Then::Forgotten if over => links[*place].forget(),
                _ => {}
            }
            !over
        });
        Ok(())
    }

    fn call_reserve(&mut self) -> anyhow::Result<()> {
        let last = self.replicas.len() - 1;
        if self.plan.has_reserve && self.replicas[last].is_none() {
            self.replicas[last] = Some(self.replica(last, &self.plan.lives[last])?);
        }
        Ok(())
    }

    /// Strikes what is due.
    pub(super) async fn strike(&mut self) -> anyhow::Result<()> {
        for index in 0..self.plan.blows.len() {
            let blow = &self.plan.blows[index];
            if self.struck[index] {
                continue;
            }
            let due = match blow.when {
                When::After(ms) => self.began.elapsed() >= Duration::from_millis(ms),
                When::Accepted(operation) => {
                    let ledger = self.rig.sandbox.ledger(self.ledger_from).await?;
                    ledger.iter().any(|start| start.operation == operation)
                }
            };
            if due {
                self.struck[index] = true;
                self.deal(blow.deed).await?;
            }
        }
        Ok(())
    }

    async fn deal(&mut self, deed: Deed) -> anyhow::Result<()> {
        match deed {
            Deed::Kill(target) => {
                let all = target >= self.replicas.len();
                for (place, entry) in self.replicas.iter_mut().enumerate() {
                    let Some(one) = entry.as_mut().filter(|_| all || place == target) else { continue };
                    let Some(pid) = one.child.id() else { continue };
                    let inside = self.reader.starting(pid).await? > 0;
                    one.struck = Some(("some time".to_owned(), inside));
                    let _ = one.child.start_kill();
                }
            }
            Deed::KillSender(operator) => {
                let Some(pid) = self.reader.sender_of(operator).await? else { return Ok(()) };
                let sender = |one: &&mut super::Replica| one.child.id() == Some(pid);
                for one in self.replicas.iter_mut().flatten().filter(sender) {
                    one.struck = Some((format!("answer to the start of a {operator} held"), true));
                    let _ = one.child.start_kill();
                }
            }
            Deed::Freeze(place) => {
                if let Some(pid) = self.replicas[place].as_ref().and_then(|one| one.child.id()) {
                    signal(pid, Signal::STOP);
                }
            }
            Deed::Silence { place, ms, then } => {
                self.rig.store_links[place].set(Mode::Silent);
                self.silences.push((place, pace::now() + Duration::from_millis(ms), then));
                let end = match then {
                    Then::On => "on",
                    Then::Cut => "cut",
                    Then::Forgotten => "forgotten",
                };
                let at = format!("silent for {} ms, then {end}", ms / 500 * 500);
                let pid = self.replicas[place].as_ref().and_then(|one| one.child.id()).unwrap_or(0);
                let inside = self.reader.starting(pid).await? > 0;
                self.record(format!("serve {place}'s link to Postgres"), at, inside, "silent").await?;
            }
            Deed::KillPostgres { ms } => {
                let inside = self.reader.all_starting().await? > 0;
                self.record("Postgres".to_owned(), "some time".to_owned(), inside, "killed").await?;
                self.away.push(self.rig.kill_postgres(Duration::from_millis(ms)).await?);
            }
        }
        Ok(())
    }
}
