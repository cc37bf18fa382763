//! Turns: who waits for slots of a pool, or for the run before, and whose turn it is. What counts stands
//! in `migrations/0010_turns.sql`; when a task asks is decided by [`crate::machine`].

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Store, StoreError,
    arguments::TurnWantRow,
    rows::{position, read_option, signed, unsigned},
};
use crate::{ids::RunId, machine::Upcoming, run::Run};

/// Turns that are listed for one pool.
const TURNS_MAX: i64 = 200;

/// Turns that are asked for, of attempts of one run that are to come.
#[derive(Debug)]
pub struct TurnWants {
    run: RunId,
    fence: i64,
    rows: Vec<TurnWantRow>,
}

impl TurnWants {
    /// For these attempts of a run that is owned under this fence.
    pub fn new(run: &Run, fence: i64, attempts: &[Upcoming]) -> Self {
        let row = |next: &Upcoming| {
            let pool = run.pool_of(next.task);
            TurnWantRow {
                run_id: run.id.0,
                task_position: position(next.task),
                generation: signed(next.generation),
                number: signed(next.number),
                round: signed(run.round),
                pool: pool.map(|pool| pool.name.clone()),
                slots: pool.map_or(0, |pool| signed(pool.slots)),
                priority: pool.map_or(0, |pool| pool.priority),
                after_past: run.waits_for_past(next.task),
            }
        };
        Self { run: run.id, fence, rows: attempts.iter().map(row).collect() }
    }
}

/// A turn that a run of this replica was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The run.
    pub run: RunId,
    /// The fence under which it is owned.
    pub fence: i64,
    /// Whose turn it is.
    pub next: Upcoming,
    /// The run's round when it asked.
    pub round: u32,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRow {
    /// Its name.
    pub name: String,
    /// How many slots it has.
    pub slots: u32,
    /// How many of them are taken.
    pub taken: u32,
    /// How many task runs wait.
    pub waiting: u32,
}

/// A task run that has slots of a pool, or waits for some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TurnRow {
    /// Its run: `pipeline@key`.
    pub run: String,
    /// Its task.
    pub task: String,
    /// How many slots.
    pub slots: u32,
    /// Since when it wants them.
    pub wanted_at: Timestamp,
    /// Since when it has them.
    pub granted_at: Option<Timestamp>,
}

/// The task run that one waits for which depends on its past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRow {
    /// Its run: `pipeline@key`.
    pub run: String,
    /// Its state.
    pub state: String,
}

impl Store {
    /// Asks for turns, and answers what this replica's runs have been granted by now and not begun; not
    /// only of this run.
    pub async fn want_turns(&self, wants: &TurnWants) -> Result<Vec<Granted>, StoreError> {
        self.retrying(|| {
            sqlx::query!(
                "select want_turns($1, $2, $3, $4)",
                self.replica.0,
                wants.run.0,
                wants.fence,
                wants.rows.as_slice() as _
            )
            .fetch_one(&self.link)
        })
        .await?;
        self.granted_turns().await
    }

    /// Grants what is free anywhere, and answers what this replica's runs have been granted by now and
    /// not begun.
    pub async fn share_out_turns(&self) -> Result<Vec<Granted>, StoreError> {
        self.retrying(|| sqlx::query!("select share_out_turns($1)", self.replica.0).fetch_one(&self.link))
            .await?;
        self.granted_turns().await
    }

    async fn granted_turns(&self) -> Result<Vec<Granted>, StoreError> {
        let rows = sqlx::query!(
            r#"select run_id as "run_id!", fence as "fence!", task_position as "task_position!",
                      generation as "generation!", number as "number!", round as "round!" from granted_turns($1)"#,
            self.replica.0
        )
        .fetch_all(&self.link)
        .await?;
        let granted = rows.into_iter().map(|row| Granted {
            run: RunId(row.run_id),
            fence: row.fence,
            next: Upcoming {
                task: unsigned(row.task_position) as usize,
                generation: unsigned(row.generation),
                number: unsigned(row.number),
            },
            round: unsigned(row.round),
        });
        Ok(granted.collect())
    }

    /// All pools by name.
    pub async fn pools(&self) -> Result<Vec<PoolRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select p.name, p.slots,
                      (select coalesce(sum(u.slots), 0) from turn u
                        where u.pool = p.name and u.granted_at is not null and is_turn_live(u)) as "taken!",
                      (select count(*) from turn u
                        where u.pool = p.name and u.granted_at is null and is_turn_live(u)) as "waiting!"
                 from pool p order by p.name"#
        )
        .fetch_all(&self.link)
        .await?;
        let count = |number: i64| u32::try_from(number).unwrap_or(0);
        let pool = rows.into_iter().map(|row| PoolRow {
            name: row.name,
            slots: unsigned(row.slots),
            taken: count(row.taken),
            waiting: count(row.waiting),
        });
        Ok(pool.collect())
    }

    /// Who has slots of a pool, and who waits, in the order in which they get some; the first
    /// `TURNS_MAX`.
    pub async fn pool_turns(&self, pool: &str) -> Result<Vec<TurnRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select r.pipeline || '@' || r.run_key as "run!", t.task, u.slots,
                      u.wanted_at as "wanted_at: jiff_sqlx::Timestamp", u.granted_at as "granted_at: jiff_sqlx::Timestamp"
                 from turn u join run r using (run_id) join task_run t using (run_id, position)
                where u.pool = $1 and is_turn_live(u) and ($3::text[] is null or is_seen(r.pipeline, $3))
                order by u.granted_at is null, u.rank, u.run_id, u.position limit $2"#,
            pool,
            TURNS_MAX,
            self.seen()
        )
        .fetch_all(&self.link)
        .await?;
        let turn = rows.into_iter().map(|row| TurnRow {
            run: row.run,
            task: row.task,
            slots: unsigned(row.slots),
            wanted_at: row.wanted_at.to_jiff(),
            granted_at: read_option(row.granted_at),
        });
        Ok(turn.collect())
    }

    /// The same task in the run before, unless it did well there: what a task with `depends_on_past`
    /// waits for.
    pub async fn troubled_past(&self, run: RunId, task: usize) -> Result<Option<PastRow>, StoreError> {
        let row = sqlx::query!(
            r#"select past.pipeline || '@' || past.run_key as "run!", t.state as "state!"
                 from run r
                cross join lateral (
                  select p.run_id, p.pipeline, p.run_key from run p
                   where p.pipeline = r.pipeline and p.logical_date < r.logical_date
                   order by p.logical_date desc, p.run_id desc limit 1) past
                 join task_run mine on mine.run_id = r.run_id and mine.position = $2
                 join task_run t on t.run_id = past.run_id and t.task = mine.task
                where r.run_id = $1 and not did_past_well($1, $2)"#,
            run.0,
            position(task)
        )
        .fetch_optional(&self.link)
        .await?;
        Ok(row.map(|row| PastRow { run: row.run, state: row.state }))
    }
}
