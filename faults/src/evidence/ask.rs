//! Questions to the store of one trial while it goes on. The server may be away: then it is asked
//! again.

use std::{collections::HashMap, time::Duration};

use anyhow::Context as _;
use sqlx::{
    Decode, PgPool, Postgres, Row as _, Type,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
};

use crate::{pace, project};

/// How long a server may be away that is killed and started again.
const SERVER_WAIT: Duration = Duration::from_secs(90);

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// A start that nobody has confirmed, as the store shows it to a person.
#[derive(Clone, Debug)]
pub(crate) struct Unconfirmed {
    /// Its run, as people name it.
    pub run: String,
    /// Its task.
    pub task: String,
    /// Its attempt's number.
    pub number: i32,
    /// Its task's type.
    pub operator: String,
    /// `starting` or `unknown`.
    pub state: String,
    /// The token or marker of its request.
    pub token: String,
    /// When its intent was committed, as commands take it.
    pub sent: String,
    /// How long ago that was, in milliseconds.
    pub age_ms: f64,
    /// Who was to send it, where history tells.
    pub sender: Option<Sender>,
}

/// The replica that was to send a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    /// Its process; forgotten where it was given up long ago.
    pub pid: Option<u32>,
    /// Whether it still owns the run.
    pub is_owner: bool,
}

/// The store of one trial, read by the rig.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pool: PgPool,
}

impl Reader {
    pub(crate) async fn connect(place: PgConnectOptions) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(2).connect_with(place).await;
        let pool = pool.context("the trial's store cannot be reached")?;
        Ok(Self { pool })
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// For reading everything, once all is at rest.
    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Rows, however often the server went away meanwhile.
    async fn rows<'q>(&self, make: impl Fn() -> Query<'q>) -> anyhow::Result<Vec<PgRow>> {
        let began = pace::now();
        loop {
            match make().fetch_all(&self.pool).await {
                Ok(rows) => return Ok(rows),
                Err(error) if began.elapsed() > SERVER_WAIT => return Err(error.into()),
                Err(_) => pace::step().await,
            }
        }
    }

    /// The one value of the one row.
    async fn value<'q, T>(&self, make: impl Fn() -> Query<'q>) -> anyhow::Result<T>
    where
        T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        let rows = self.rows(make).await?;
        Ok(rows.first().context("a question to the store had no answer")?.try_get(0)?)
    }

    /// Whether so many runs exist, all have ended and nothing is left to do.
    pub(crate) async fn is_at_rest(&self, runs: i64) -> anyhow::Result<bool> {
        let text = "select (select count(*) from run) >= $1
                and not exists (select from run where ended_at is null)
                and not exists (select from attempt where ended_at is null)
                and not exists (select from outbox where state in ('pending', 'sending'))
                and not exists (select from inbox where answered_at is null)
                and not exists (select from backfill where state = 'running')";
        self.value(|| sqlx::query(text).bind(runs)).await
    }

    /// What has not ended, for people.
    pub(crate) async fn unfinished(&self) -> anyhow::Result<String> {
        let text = "select coalesce(string_agg(line, '; '), 'nothing') from (
               select pipeline || '@' || run_key || ' ' || state as line from run where ended_at is null
               union all
               select operator || ' ' || state || coalesce(' (' || note || ')', '') from attempt where ended_at is null
               union all
               select 'notice ' || state || coalesce(' (' || last_error || ')', '') from outbox
                where state in ('pending', 'sending')
               union all
               select 'backfill of ' || pipeline from backfill where state = 'running'
               union all
               select 'letter ' || (command #>> '{}') from inbox where answered_at is null) as open";
        self.value(|| sqlx::query(text)).await
    }

    /// The live attempts, in a few words.
    pub(crate) async fn live_attempts(&self) -> anyhow::Result<String> {
        let text = "select coalesce(string_agg(line, ', ' order by line), '') from (
               select operator || ' ' || state || ' ' || count(*) as line
                 from attempt where ended_at is null group by operator, state) as live";
        self.value(|| sqlx::query(text)).await
    }

    /// Whether a run waits to be resumed.
    pub(crate) async fn is_paused(&self, pipeline: &str, key: &str) -> anyhow::Result<bool> {
        let text =
            "select exists (select from run where pipeline = $1 and run_key = $2 and state = 'paused')";
        self.value(|| sqlx::query(text).bind(pipeline).bind(key)).await
    }

    /// Whether a task waits for its next try.
    pub(crate) async fn is_retrying(&self, pipeline: &str, key: &str, task: &str) -> anyhow::Result<bool> {
        let text = "select exists (select from run join task_run t using (run_id)
              where pipeline = $1 and run_key = $2 and task = $3 and t.state = 'retrying')";
        self.value(|| sqlx::query(text).bind(pipeline).bind(key).bind(task)).await
    }

    /// Every start that nobody has confirmed. Who was to send it is told by the line of history that
    /// its intent was committed with.
    pub(crate) async fn unconfirmed(&self) -> anyhow::Result<Vec<Unconfirmed>> {
        let text = "select r.pipeline || '@' || r.run_key, t.task, a.number, a.operator, a.state,
                    coalesce(a.request ->> 'token', ''),
                    (extract(epoch from clock_timestamp() - a.intent_at) * 1000)::float8,
                    s.actor, p.pid, coalesce(s.actor = 'replica:' || left(r.owner::text, 8), false),
                    to_char(a.intent_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
               from attempt a
               join run r using (run_id)
               join task_run t on t.run_id = a.run_id and t.position = a.position
               left join lateral (
                 select e.actor from event e, jsonb_array_elements(e.changes) c
                  where e.run_id = a.run_id and c ->> 'to' = 'starting'
                    and (c ->> 'task')::int = a.position and (c ->> 'attempt')::int = a.number
                    and abs(extract(epoch from (c ->> 'at')::timestamptz - a.intent_at)) < 0.001
                  order by e.seq desc limit 1) s on s.actor like 'replica:%'
               left join replica p on 'replica:' || left(p.replica_id::text, 8) = s.actor
              where a.state in ('starting', 'unknown') and a.deferred_until is null and a.operator = any ($1)";
        let rows = self.rows(|| sqlx::query(text).bind(project::EXTERNAL)).await?;
        rows.iter()
            .map(|row| {
                let (actor, pid): (Option<String>, Option<i32>) = (row.try_get(7)?, row.try_get(8)?);
                let is_owner = row.try_get(9)?;
                let pid = pid.and_then(|pid| u32::try_from(pid).ok());
                Ok(Unconfirmed {
                    run: row.try_get(0)?,
                    task: row.try_get(1)?,
                    number: row.try_get(2)?,
                    operator: row.try_get(3)?,
                    state: row.try_get(4)?,
                    token: row.try_get(5)?,
                    sent: row.try_get(10)?,
                    age_ms: row.try_get(6)?,
                    sender: actor.map(|_| Sender { pid, is_owner }),
                })
            })
            .collect()
    }

    /// Unconfirmed starts of a process: those of runs that it owns.
    pub(crate) async fn starting(&self, pid: u32) -> anyhow::Result<i64> {
        let text = "select count(*) from attempt a join run r using (run_id) join replica p on p.replica_id = r.owner
              where a.state = 'starting' and a.deferred_until is null and p.pid = $1";
        self.value(|| sqlx::query(text).bind(i32::try_from(pid).unwrap_or(0))).await
    }

    /// Unconfirmed starts of anybody.
    pub(crate) async fn all_starting(&self) -> anyhow::Result<i64> {
        let text = "select count(*) from attempt where state = 'starting' and deferred_until is null";
        self.value(|| sqlx::query(text)).await
    }

    /// Live runs that a process owns.
    pub(crate) async fn owned_by(&self, pid: u32) -> anyhow::Result<i64> {
        let text = "select count(*) from run r join replica p on p.replica_id = r.owner
              where r.ended_at is null and p.pid = $1";
        self.value(|| sqlx::query(text).bind(i32::try_from(pid).unwrap_or(0))).await
    }

    /// The process that waits for the answer to a start of this type.
    pub(crate) async fn sender_of(&self, operator: &str) -> anyhow::Result<Option<u32>> {
        let text = "select max(p.pid) from attempt a join run r using (run_id) join replica p on p.replica_id = r.owner
              where a.operator = $1 and a.state = 'starting' and a.deferred_until is null";
        let pid: Option<i32> = self.value(|| sqlx::query(text).bind(operator)).await?;
        Ok(pid.and_then(|pid| u32::try_from(pid).ok()))
    }

    /// Whether a run exists.
    pub(crate) async fn has_run(&self, pipeline: &str, key: &str) -> anyhow::Result<bool> {
        let text = "select exists (select from run where pipeline = $1 and run_key = $2)";
        self.value(|| sqlx::query(text).bind(pipeline).bind(key)).await
    }

    /// Whether a run goes on as if nobody had cancelled it.
    pub(crate) async fn is_untouched(&self, pipeline: &str, key: &str) -> anyhow::Result<bool> {
        let text = "select exists (select from run where pipeline = $1 and run_key = $2
                                      and state in ('queued', 'running', 'paused'))";
        self.value(|| sqlx::query(text).bind(pipeline).bind(key)).await
    }

    /// I10 at this moment: no pipeline has more runs in its places than it may, and what it counts
    /// is what is there; and no more attempts are live than their pool has slots. One statement, so
    /// one snapshot.
    pub(crate) async fn overbooked(&self) -> anyhow::Result<Option<String>> {
        let text = "select string_agg(words, '; ') from (
             select format('I10: %s counts %s runs in places, has %s and may have %s',
                       name, active_runs, there, max_active_runs) as words
               from (select p.name, p.active_runs, p.max_active_runs,
                            (select count(*) from run r where r.pipeline = p.name and r.has_place) as there
                       from pipeline p) as places
              where active_runs <> there or active_runs > max_active_runs
             union all
             select format('I10: %s attempts are live in a pool of %s', count(*), $1::bigint)
               from attempt a join run r using (run_id) join task_run t using (run_id, position)
              where a.ended_at is null and r.pipeline = 'fan' and t.task = 'job_b'
             having count(*) > $1) as broken";
        self.value(|| sqlx::query(text).bind(project::NARROW_SLOTS)).await
    }

    /// How many writes the trial's trigger refused: it refuses by the number of the write.
    pub(crate) async fn conflicts(&self) -> anyhow::Result<i64> {
        let text = "select count(*) from nemesis, generate_series(1, last_value) turn
              where turn % 5 = 2 or turn % 7 = 3 or turn % 11 = 4";
        self.value(|| sqlx::query(text)).await
    }

    /// Ended attempts with a hash of their rows.
    pub(crate) async fn ended(&self) -> anyhow::Result<HashMap<String, String>> {
        let text = "select attempt_id::text, md5(a::text) from attempt a where ended_at is not null";
        let rows = self.rows(|| sqlx::query(text)).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// The tables that hold a text in any row.
    pub(crate) async fn tables_with(&self, text: &str) -> anyhow::Result<Vec<String>> {
        let tables = "select table_name::text from information_schema.tables
              where table_schema = 'public' and table_type = 'BASE TABLE'";
        let mut found = Vec::new();
        for row in self.rows(|| sqlx::query(tables)).await? {
            let name: String = row.try_get(0)?;
            // The name comes from the catalogue; the text is bound.
            let question = format!("select exists (select from \"{name}\" t where strpos(t::text, $1) > 0)");
            let asked = || sqlx::query(sqlx::AssertSqlSafe(question.clone())).bind(text.to_owned());
            if self.value::<bool>(asked).await? {
                found.push(format!("table {name}"));
            }
        }
        Ok(found)
    }
}
