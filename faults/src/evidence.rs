//! What the store says after a trial, and at each blow. Only reads.

mod ask;

use std::collections::HashMap;

use serde_json::Value;
use sqlx::Row as _;

pub(crate) use self::ask::{Reader, Unconfirmed};
pub use crate::{proxy::Call, sandbox::Start};

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
    /// What made it.
    pub trigger: String,
    /// How it may end.
    pub wanted: Vec<&'static str>,
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
    /// The call in the service's words, as it was stored with the intent.
    pub body: Value,
    /// Why it failed, in the service's words.
    pub failure: String,
    /// Whether its job was found again.
    pub reattached: bool,
    /// Its intent, in microseconds since the epoch.
    pub intent_at: i64,
    /// Its end, likewise.
    pub ended_at: Option<i64>,
}

/// One row of history.
#[derive(Clone, Debug)]
pub struct HistoryFact {
    /// Its run.
    pub run: String,
    /// Its place in the run's history, from 1.
    pub seq: i32,
    /// Who did it.
    pub actor: String,
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

/// A command of a person.
#[derive(Clone, Debug)]
pub struct Action {
    /// The name under which it was asked for.
    pub user: String,
    /// The command, as it is counted.
    pub operation: &'static str,
    /// Whether the command said that it was done.
    pub confirmed: bool,
    /// Whether it was killed meanwhile.
    pub interrupted: bool,
}

/// What history knows of a person.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audit {
    /// The most lines in that name that one run has.
    pub lines: usize,
    /// Lines of any run that mention it.
    pub mentions: usize,
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
    /// Calls that went to the sandbox.
    pub calls: Vec<Call>,
    /// The sandbox's jobs: id and state.
    pub jobs: Vec<(String, String)>,
    /// Runs whose creation was confirmed: pipeline and key.
    pub accepted: Vec<(&'static str, String)>,
    /// A pipeline whose schedule was due once.
    pub fires: Option<&'static str>,
    /// What people asked for, each under a name of its own.
    pub actions: Vec<Action>,
    /// What history knows of each of those names.
    pub audit: HashMap<String, Audit>,
    /// When Postgres was away.
    pub away: Vec<(jiff::Timestamp, jiff::Timestamp)>,
    /// Transactions that nobody ended.
    pub forgotten_transactions: i64,
    /// Tables and logs that hold the secret.
    pub canary: Vec<String>,
    /// Whether a clock was set wrong, so that times of different replicas say nothing.
    pub clocks_jump: bool,
    /// Runs whose packed states are not those of their tasks.
    pub miscounted: Vec<String>,
}

impl Reader {
    /// Everything that the store knows.
    pub(crate) async fn gather(&self) -> anyhow::Result<Evidence> {
        Ok(Evidence {
            audit: self.audit().await?,
            miscounted: self.miscounted().await?,
            forgotten_transactions: self.forgotten_transactions().await?,
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
            "select run_id::text, r.pipeline, run_key, r.state, params ->> 'crawler', event_seq, spec::jsonb, generation, trigger
               from run r join pipeline_version v on v.pipeline = r.pipeline and v.version = r.version
              order by r.created_at",
        )
        .fetch_all(self.pool())
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
                    trigger: row.try_get(8)?,
                    wanted: Vec::new(),
                })
            })
            .collect()
    }

    async fn tasks(&self) -> anyhow::Result<Vec<TaskFact>> {
        let rows = sqlx::query(
            "select run_id::text, position, state, attempts, (extract(epoch from ended_at) * 1000000)::bigint
               from task_run",
        )
        .fetch_all(self.pool())
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
                    (extract(epoch from intent_at) * 1000000)::bigint,
                    coalesce(request::jsonb -> 'body', 'null'), coalesce(failure::text, ''),
                    (extract(epoch from ended_at) * 1000000)::bigint
               from attempt order by run_id, position, number",
        )
        .fetch_all(self.pool())
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
                    body: row.try_get(11)?,
                    failure: row.try_get(12)?,
                    ended_at: row.try_get(13)?,
                })
            })
            .collect()
    }

    async fn history(&self) -> anyhow::Result<Vec<HistoryFact>> {
        let rows =
            sqlx::query("select run_id::text, seq, actor, changes from event order by run_id, seq limit $1")
                .bind(HISTORY_MAX)
                .fetch_all(self.pool())
                .await?;
        rows.iter()
            .map(|row| {
                Ok(HistoryFact {
                    run: row.try_get(0)?,
                    seq: row.try_get(1)?,
                    actor: row.try_get(2)?,
                    changes: row.try_get(3)?,
                })
            })
            .collect()
    }

    async fn notices(&self) -> anyhow::Result<Vec<NoticeFact>> {
        let rows =
            sqlx::query("select dedupe_key, coalesce(run_id::text, ''), state, provider_id from outbox")
                .fetch_all(self.pool())
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

    async fn audit(&self) -> anyhow::Result<HashMap<String, Audit>> {
        let rows = sqlx::query(
            "select name, max(lines), sum(mentions)::bigint
               from (select named[1] as name, run_id, count(*) filter (where actor = 'user:' || named[1]) as lines,
                            count(*) as mentions
                       from (select distinct run_id, seq, actor, named
                               from event, regexp_matches(actor || ' ' || changes::text, 'user:(rig-[0-9-]+)', 'g') named) as found
                      group by 1, 2) as runs
              group by 1",
        )
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                let (lines, mentions): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
                let count = |number: i64| usize::try_from(number).unwrap_or(0);
                Ok((row.try_get(0)?, Audit { lines: count(lines), mentions: count(mentions) }))
            })
            .collect()
    }

    async fn miscounted(&self) -> anyhow::Result<Vec<String>> {
        let rows = sqlx::query(
            "select r.run_id::text from run r
              where convert_from(r.task_states, 'UTF8') <> (
                select string_agg(case t.state when 'retrying' then 't' when 'skipped' then 'k'
                                    else left(t.state, 1) end, '' order by t.position)
                  from task_run t where t.run_id = r.run_id)",
        )
        .fetch_all(self.pool())
        .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Sessions of this store that hold a transaction open and do nothing.
    async fn forgotten_transactions(&self) -> anyhow::Result<i64> {
        let row = sqlx::query(
            "select count(*) from pg_stat_activity
              where datname = current_database() and state like 'idle in transaction%'",
        )
        .fetch_one(self.pool())
        .await?;
        Ok(row.try_get(0)?)
    }

    async fn places(&self) -> anyhow::Result<Vec<(String, i32)>> {
        let rows = sqlx::query(
            "select 'pipeline ' || name, active_runs from pipeline
             union all select 'group ' || name, active_runs from concurrency_group",
        )
        .fetch_all(self.pool())
        .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}
