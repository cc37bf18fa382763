//! What the store says after a trial, and at each death. Only reads.

use std::collections::HashMap;

use anyhow::Context as _;
use serde_json::Value;
use sqlx::{PgPool, Row as _, postgres::PgPoolOptions};

pub use crate::sandbox::Start;

/// Rows of history that are read; a trial writes some hundred.
const HISTORY_MAX: i64 = 20_000;

/// A run.
#[derive(Clone, Debug)]
pub struct RunFact {
    /// Its id.
    pub id: String,
    /// Its pipeline.
    pub pipeline: String,
    /// Its key.
    pub key: String,
    /// Its state.
    pub state: String,
    /// The crawler among its params.
    pub crawler: Option<String>,
    /// The number of history rows that it should have.
    pub event_seq: i32,
    /// `depends_on` of its tasks, by position.
    pub depends_on: Vec<Vec<i32>>,
    /// Its generation.
    pub generation: i32,
}

/// A task run.
#[derive(Clone, Debug)]
pub struct TaskFact {
    /// Its run.
    pub run: String,
    /// Its position.
    pub position: i32,
    /// Its state.
    pub state: String,
    /// The number of its newest attempt.
    pub attempts: i32,
    /// When it ended, in microseconds since the epoch.
    pub ended_at: Option<i64>,
}

/// An attempt.
#[derive(Clone, Debug)]
pub struct AttemptFact {
    /// Its identity, which markers and tokens are made of.
    pub id: String,
    /// Its run.
    pub run: String,
    /// Its task's position.
    pub position: i32,
    /// Its number.
    pub number: i32,
    /// Its generation.
    pub generation: i32,
    /// Its task's type.
    pub operator: String,
    /// Its state.
    pub state: String,
    /// The token or marker of its request.
    pub token: String,
    /// The job outside.
    pub external_id: Option<String>,
    /// Whether its job was found again.
    pub reattached: bool,
    /// Its intent, in microseconds since the epoch.
    pub intent_at: i64,
}

/// One row of history.
#[derive(Clone, Debug)]
pub struct HistoryFact {
    /// Its run.
    pub run: String,
    /// Its place in the run's history, from 1.
    pub seq: i32,
    /// The transitions.
    pub changes: Value,
}

/// A notice.
#[derive(Clone, Debug)]
pub struct NoticeFact {
    /// Its identity.
    pub key: String,
    /// Its run.
    pub run: String,
    /// What became of it.
    pub state: String,
    /// The id that the service gave.
    pub provider_id: Option<String>,
}

/// Everything that a verdict needs.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Runs.
    pub runs: Vec<RunFact>,
    /// Task runs.
    pub tasks: Vec<TaskFact>,
    /// Attempts.
    pub attempts: Vec<AttemptFact>,
    /// History, by run and sequence.
    pub history: Vec<HistoryFact>,
    /// Notices.
    pub notices: Vec<NoticeFact>,
    /// Places that are taken: pipeline or group, and how many.
    pub places: Vec<(String, i32)>,
    /// Accepted starts of this trial.
    pub ledger: Vec<Start>,
    /// Attempts whose command ran, one entry for each time.
    pub commands: Vec<String>,
    /// Ended attempts with a hash of their row as they were seen at some death.
    pub ended_then: HashMap<String, String>,
    /// The same in the end.
    pub ended_now: HashMap<String, String>,
}

/// The store of one trial, read by the rig.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pool: PgPool,
}

impl Reader {
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(2).connect(url).await.context("the trial's store")?;
        Ok(Self { pool })
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether so many runs exist, all have ended and nothing is left to do.
    pub(crate) async fn is_at_rest(&self, runs: i64) -> anyhow::Result<bool> {
        let row = sqlx::query(
            "select (select count(*) from run) >= $1
                and not exists (select from run where ended_at is null)
                and not exists (select from attempt where ended_at is null)
                and not exists (select from outbox where state in ('pending', 'sending'))
                and not exists (select from inbox where answered_at is null)",
        )
        .bind(runs)
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get(0)?)
    }

    /// What has not ended, for people.
    pub(crate) async fn unfinished(&self) -> anyhow::Result<String> {
        let row = sqlx::query(
            "select coalesce(string_agg(line, '; '), 'nothing') from (
               select pipeline || '@' || run_key || ' ' || state as line from run where ended_at is null
               union all
               select operator || ' ' || state || coalesce(' (' || note || ')', '') from attempt where ended_at is null
               union all
               select 'notice ' || state || coalesce(' (' || last_error || ')', '') from outbox
                where state in ('pending', 'sending')
               union all
               select 'letter ' || (command #>> '{}') from inbox where answered_at is null) as open",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get(0)?)
    }

    /// The live attempts, in a few words.
    pub(crate) async fn live_attempts(&self) -> anyhow::Result<String> {
        let row = sqlx::query(
            "select coalesce(string_agg(line, ', ' order by line), '') from (
               select operator || ' ' || state || ' ' || count(*) as line
                 from attempt where ended_at is null group by operator, state) as live",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get(0)?)
    }

    /// Unconfirmed starts of a process: those of runs that it owns.
    pub(crate) async fn starting(&self, pid: u32) -> anyhow::Result<i64> {
        let row = sqlx::query(
            "select count(*) from attempt a join run r using (run_id) join replica p on p.replica_id = r.owner
              where a.state = 'starting' and a.deferred_until is null and p.pid = $1",
        )
        .bind(i32::try_from(pid).unwrap_or(0))
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get(0)?)
    }

    /// The process that waits for the answer to a start of this type.
    pub(crate) async fn sender_of(&self, operator: &str) -> anyhow::Result<Option<u32>> {
        let row = sqlx::query(
            "select p.pid from attempt a join run r using (run_id) join replica p on p.replica_id = r.owner
              where a.operator = $1 and a.state = 'starting' and a.deferred_until is null
              order by a.intent_at desc limit 1",
        )
        .bind(operator)
        .fetch_optional(&self.pool)
        .await?;
        let pid: Option<i32> = row.map(|row| row.try_get(0)).transpose()?;
        Ok(pid.and_then(|pid| u32::try_from(pid).ok()))
    }

    /// Ended attempts with a hash of their rows.
    pub(crate) async fn ended(&self) -> anyhow::Result<HashMap<String, String>> {
        let rows =
            sqlx::query("select attempt_id::text, md5(a::text) from attempt a where ended_at is not null")
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Everything that the store knows.
    pub(crate) async fn gather(&self) -> anyhow::Result<Evidence> {
        Ok(Evidence {
            runs: self.runs().await?,
            tasks: self.tasks().await?,
            attempts: self.attempts().await?,
            history: self.history().await?,
            notices: self.notices().await?,
            places: self.places().await?,
            ended_now: self.ended().await?,
            ..Evidence::default()
        })
    }

    async fn runs(&self) -> anyhow::Result<Vec<RunFact>> {
        let rows = sqlx::query(
            "select run_id::text, r.pipeline, run_key, r.state, params ->> 'crawler', event_seq, spec::jsonb, generation
               from run r join pipeline_version v on v.pipeline = r.pipeline and v.version = r.version
              order by r.created_at",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let spec: Value = row.try_get(6)?;
                let tasks = spec["tasks"].as_array().cloned().unwrap_or_default();
                let depends_on = tasks.iter().map(|task| {
                    let list = task["depends_on"].as_array().cloned().unwrap_or_default();
                    list.iter().filter_map(Value::as_i64).filter_map(|at| i32::try_from(at).ok()).collect()
                });
                Ok(RunFact {
                    id: row.try_get(0)?,
                    pipeline: row.try_get(1)?,
                    key: row.try_get(2)?,
                    state: row.try_get(3)?,
                    crawler: row.try_get(4)?,
                    event_seq: row.try_get(5)?,
                    depends_on: depends_on.collect(),
                    generation: row.try_get(7)?,
                })
            })
            .collect()
    }

    async fn tasks(&self) -> anyhow::Result<Vec<TaskFact>> {
        let rows = sqlx::query(
            "select run_id::text, position, state, attempts, (extract(epoch from ended_at) * 1000000)::bigint
               from task_run",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(TaskFact {
                    run: row.try_get(0)?,
                    position: row.try_get(1)?,
                    state: row.try_get(2)?,
                    attempts: row.try_get(3)?,
                    ended_at: row.try_get(4)?,
                })
            })
            .collect()
    }

    async fn attempts(&self) -> anyhow::Result<Vec<AttemptFact>> {
        let rows = sqlx::query(
            "select attempt_id::text, run_id::text, position, number, generation, operator, state,
                    coalesce(request ->> 'token', ''), external_id, reattached,
                    (extract(epoch from intent_at) * 1000000)::bigint
               from attempt order by run_id, position, number",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(AttemptFact {
                    id: row.try_get(0)?,
                    run: row.try_get(1)?,
                    position: row.try_get(2)?,
                    number: row.try_get(3)?,
                    generation: row.try_get(4)?,
                    operator: row.try_get(5)?,
                    state: row.try_get(6)?,
                    token: row.try_get(7)?,
                    external_id: row.try_get(8)?,
                    reattached: row.try_get(9)?,
                    intent_at: row.try_get(10)?,
                })
            })
            .collect()
    }

    async fn history(&self) -> anyhow::Result<Vec<HistoryFact>> {
        let rows = sqlx::query("select run_id::text, seq, changes from event order by run_id, seq limit $1")
            .bind(HISTORY_MAX)
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(HistoryFact { run: row.try_get(0)?, seq: row.try_get(1)?, changes: row.try_get(2)? })
            })
            .collect()
    }

    async fn notices(&self) -> anyhow::Result<Vec<NoticeFact>> {
        let rows = sqlx::query("select dedupe_key, run_id::text, state, provider_id from outbox")
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(NoticeFact {
                    key: row.try_get(0)?,
                    run: row.try_get(1)?,
                    state: row.try_get(2)?,
                    provider_id: row.try_get(3)?,
                })
            })
            .collect()
    }

    async fn places(&self) -> anyhow::Result<Vec<(String, i32)>> {
        let rows = sqlx::query(
            "select 'pipeline ' || name, active_runs from pipeline
             union all select 'group ' || name, active_runs from concurrency_group",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}
