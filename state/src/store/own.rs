//! Who owns which run: replicas and their heartbeats, claiming, loading, releasing.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    Store, StoreError,
    rows::{AttemptRecord, TaskRecord, interval, read_option, run_ids, to_json, unknown_word, unsigned},
};
use crate::{
    document::Document,
    folders,
    ids::RunId,
    pipeline::Pipeline,
    run::{Definition, Run, Trigger},
    words::RunState,
};

/// What kind of process a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `trunkline serve`.
    Serve,
    /// A short-lived command.
    Command,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Command => "command",
        }
    }
}

/// Where a replica runs.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its machine, for people.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// Boot and process namespace; empty where the system does not tell.
    pub machine: String,
    /// The program's version.
    pub version: String,
}

/// A live replica, for `status`.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveReplica {
    /// Its id.
    pub id: Uuid,
    /// Its machine.
    pub host: String,
    /// Its process.
    pub pid: i32,
    /// `serve` or `command`.
    pub role: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Runs that it owns.
    pub runs: i64,
    /// Its budgets of calls, as of one of its last heartbeats.
    pub budgets: Vec<BudgetRow>,
}

/// What one replica may call of one API through one connection and region, and what it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetRow {
    /// Connection and region: `aws/eu-central-1`.
    pub scope: String,
    /// The API, e.g. `glue:GetJobRuns`.
    pub api: String,
    /// Calls per second that all replicas may make together while nobody throttles.
    pub nominal_per_second: f64,
    /// Calls per second that this replica may make now.
    pub allowed_per_second: f64,
    /// Calls that it made since it began.
    pub calls: u64,
    /// Those that the service refused as too many.
    pub throttles: u64,
    /// How much later than wanted the next call comes.
    pub stretch_seconds: f64,
}

/// What there is to do for a replica that looks around.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent answers of one statement")]
pub struct Work {
    /// Runs that nobody alive owns.
    pub unowned: bool,
    /// Commands for runs that this replica owns.
    pub letters: bool,
    /// Commands that somebody left for a run that nobody alive owns.
    pub orphans: bool,
    /// Notices to send.
    pub parcels: bool,
    /// Task runs that wait for their turn, or have it.
    pub turns: bool,
    /// Backfills to go on with.
    pub backfills: bool,
    /// Pipelines with a deadline that may have passed.
    pub lates: bool,
    /// Pipelines whose time has come.
    pub fires: bool,
    /// Events that wait and may make runs now.
    pub triggers: bool,
    /// Pipelines with triggers and their versions, in one text that changes with them.
    pub triggered: String,
    /// The earliest coming fire, or end of a batch's window.
    pub next_fire_at: Option<Timestamp>,
}

/// A run in the hands of this replica.
#[derive(Debug)]
pub struct Owned {
    /// The run.
    pub run: Run,
    /// The fence under which it is owned.
    pub fence: i64,
    /// Whether it holds its place although it is still queued: a crash came between.
    pub has_place: bool,
}

impl Store {
    /// Makes this replica known, alive from now on.
    pub async fn register(&self, role: Role, place: &Place) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into replica (replica_id, host, pid, machine, role, version) values ($1, $2, $3, $4, $5, $6)
             on conflict (replica_id) do update set heartbeat_at = clock_timestamp()",
            self.replica.0,
            place.host,
            i32::try_from(place.pid).unwrap_or(0),
            place.machine,
            role.word(),
            place.version
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// Shows that this replica lives. Once it returned a count, no other takes its runs for
    /// `DEAD_AFTER`; the count is of living replicas, this one included. `None`: this replica
    /// is not known any more and must register again.
    /// Budgets that changed are written in passing.
    pub async fn heartbeat(&self, budgets: Option<&Vec<BudgetRow>>) -> Result<Option<u32>, StoreError> {
        let beat = sqlx::query!(
            r#"with mine as (
                 update replica set heartbeat_at = clock_timestamp(), budgets = coalesce($3, budgets)
                  where replica_id = $1 returning replica_id
               )
               select (select count(*) from replica v
                        where v.heartbeat_at > clock_timestamp() - make_interval(secs => $2)
                          and v.replica_id <> $1) as "others!",
                      exists (select 1 from mine) as "known!""#,
            self.replica.0,
            self.dead_after.as_secs_f64(),
            budgets.map(to_json)
        );
        let row = self.rounds.run(&self.link, async |connection| beat.fetch_one(connection).await).await?;
        Ok(row.known.then(|| u32::try_from(row.others).unwrap_or(0) + 1))
    }

    /// Forgets replicas of this machine whose process is gone, so that their runs can be
    /// claimed at once. Fences make a mistake here harmless.
    pub async fn bury(&self, machine: &str, is_alive: impl Fn(u32) -> bool) -> Result<(), StoreError> {
        if machine.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query!(
            "select replica_id, pid from replica where machine = $1 and replica_id <> $2",
            machine,
            self.replica.0
        )
        .fetch_all(&self.link)
        .await?;
        let dead: Vec<Uuid> =
            rows.into_iter().filter(|row| !is_alive(unsigned(row.pid))).map(|row| row.replica_id).collect();
        if !dead.is_empty() {
            sqlx::query!("delete from replica where replica_id = any($1)", &dead).execute(&self.link).await?;
        }
        Ok(())
    }

    /// Leaves: every run of this replica can be claimed at once. For a graceful end.
    pub async fn leave(&self) -> Result<(), StoreError> {
        sqlx::query!(
            "with released as (
               update run set owner = null where owner = $1
                  and state in ('queued','running','paused','cancelling')
             ) delete from replica where replica_id = $1",
            self.replica.0
        )
        .execute(&self.link)
        .await?;
        self.hint().await
    }

    /// What there is to do. One statement, and nothing is changed.
    pub async fn look(&self) -> Result<Work, StoreError> {
        let look = sqlx::query_file!("queries/look.sql", self.replica.0, self.dead_after.as_secs_f64());
        let row = self.rounds.run(&self.link, async |connection| look.fetch_one(connection).await).await?;
        Ok(Work {
            unowned: row.unowned,
            letters: row.letters,
            orphans: row.orphans,
            parcels: row.parcels,
            turns: row.turns,
            backfills: row.backfills,
            lates: row.lates,
            fires: row.fires,
            triggers: row.triggers,
            triggered: row.triggered,
            next_fire_at: read_option(row.next_fire_at),
        })
    }

    /// Claims up to `limit` runs that nobody alive owns. Once it returned, no write of an
    /// earlier owner of these runs succeeds any more.
    pub async fn claim(&self, limit: i64) -> Result<Vec<Owned>, StoreError> {
        let rows = self
            .retrying(|| {
                sqlx::query_file!("queries/claim.sql", self.replica.0, self.dead_after.as_secs_f64(), limit)
                    .fetch_all(&self.link)
            })
            .await?;
        let fences: HashMap<Uuid, i64> = rows.into_iter().map(|row| (row.run_id, row.fence)).collect();
        let ids: Vec<RunId> = fences.keys().copied().map(RunId).collect();
        self.load(&ids, &fences).await
    }

    /// Claims one run, ended or not, if nobody else alive owns it; `None` if somebody does.
    pub async fn claim_one(&self, run: RunId) -> Result<Option<Owned>, StoreError> {
        let fence = self
            .retrying(|| {
                sqlx::query_file_scalar!(
                    "queries/claim_one.sql",
                    self.replica.0,
                    run.0,
                    self.dead_after.as_secs_f64()
                )
                .fetch_optional(&self.link)
            })
            .await?;
        let Some(fence) = fence else { return Ok(None) };
        let loaded = self.load(&[run], &HashMap::from([(run.0, fence)])).await?;
        Ok(loaded.into_iter().next())
    }

    /// Claims those of these runs, ended or not, that nobody else alive owns, in one statement.
    pub async fn claim_these(&self, runs: &[RunId]) -> Result<Vec<Owned>, StoreError> {
        let ids = run_ids(runs);
        let rows = self
            .retrying(|| {
                sqlx::query_file!(
                    "queries/claim_these.sql",
                    self.replica.0,
                    &ids,
                    self.dead_after.as_secs_f64()
                )
                .fetch_all(&self.link)
            })
            .await?;
        let fences: HashMap<Uuid, i64> = rows.into_iter().map(|row| (row.run_id, row.fence)).collect();
        let ids: Vec<RunId> = fences.keys().copied().map(RunId).collect();
        self.load(&ids, &fences).await
    }

    /// The live runs that this replica owns, whether or not it knows.
    pub async fn owned(&self) -> Result<Vec<RunId>, StoreError> {
        let rows = sqlx::query_scalar!(
            "select run_id from run where owner = $1 and state in ('queued','running','paused','cancelling')",
            self.replica.0
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows.into_iter().map(RunId).collect())
    }

    /// Gives runs back, so that anybody can claim them at once.
    pub async fn release(&self, runs: &[RunId]) -> Result<(), StoreError> {
        sqlx::query!(
            "update run set owner = null where owner = $1 and run_id = any($2)",
            self.replica.0,
            &run_ids(runs)
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// The replicas that live.
    pub async fn live_replicas(&self) -> Result<Vec<LiveReplica>, StoreError> {
        let rows = sqlx::query!(
            r#"select v.replica_id, v.host, v.pid, v.role, v.started_at as "started_at: jiff_sqlx::Timestamp",
                      v.budgets,
                      (select count(*) from run r where r.owner = v.replica_id
                          and r.state in ('queued','running','paused','cancelling')) as "runs!"
                 from replica v
                where v.heartbeat_at > clock_timestamp() - make_interval(secs => $1)
                order by v.started_at"#,
            self.dead_after.as_secs_f64()
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| LiveReplica {
                id: row.replica_id,
                host: row.host,
                pid: row.pid,
                role: row.role,
                started_at: row.started_at.to_jiff(),
                runs: row.runs,
                budgets: serde_json::from_value(row.budgets).unwrap_or_default(),
            })
            .collect())
    }

    /// Forgets replicas that died long ago and own nothing that moves.
    pub async fn forget_dead_replicas(&self) -> Result<(), StoreError> {
        sqlx::query!(
            "delete from replica v
              where v.heartbeat_at < clock_timestamp() - interval '1 day'
                and not exists (select 1 from run r where r.owner = v.replica_id
                                 and r.state in ('queued','running','paused','cancelling'))"
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// A run as it is stored, for looking at: nothing is claimed.
    pub async fn read_run(&self, run: RunId) -> Result<Run, StoreError> {
        let loaded = self.load(&[run], &HashMap::new()).await?;
        let found = loaded.into_iter().next().map(|owned| owned.run);
        found.ok_or_else(|| StoreError::NotFound { what: format!("run {run}") })
    }

    /// Runs as they are stored, for looking at: nothing is claimed. Those that do not exist are
    /// left out.
    pub async fn read_runs(&self, runs: &[RunId]) -> Result<Vec<Run>, StoreError> {
        Ok(self.load(runs, &HashMap::new()).await?.into_iter().map(|owned| owned.run).collect())
    }

    async fn load(&self, runs: &[RunId], fences: &HashMap<Uuid, i64>) -> Result<Vec<Owned>, StoreError> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let ids = run_ids(runs);
        let mut tasks: HashMap<Uuid, Vec<TaskRecord>> = HashMap::new();
        for record in self.task_records(&ids).await? {
            tasks.entry(record.run_id).or_default().push(record);
        }
        let mut attempts: HashMap<Uuid, Vec<AttemptRecord>> = HashMap::new();
        for record in self.attempt_records(&ids).await? {
            attempts.entry(record.run_id).or_default().push(record);
        }
        let heads = self.run_records(&ids).await?;
        let mut loaded = Vec::with_capacity(heads.len());
        for (mut run, has_place) in heads {
            let records = tasks.remove(&run.id.0).unwrap_or_default();
            let own = records.iter().filter(|record| record.element_of.is_none());
            let names: Vec<String> = own.map(|record| record.task.clone()).collect();
            run.definition = run.definition.laid_over(&names);
            run.tasks = records.into_iter().map(TaskRecord::into_model).collect::<Result<_, _>>()?;
            if names.len() != run.definition.pipeline.tasks.len() {
                return Err(StoreError::Broken {
                    message: format!(
                        "{} has {} task runs, its version has {} tasks",
                        run.label(),
                        run.tasks.len(),
                        run.definition.pipeline.tasks.len()
                    ),
                });
            }
            for record in attempts.remove(&run.id.0).unwrap_or_default() {
                let task = unsigned(record.position) as usize;
                let attempt = record.into_model()?;
                if let Some(entry) = run.tasks.get_mut(task) {
                    entry.attempt = Some(attempt);
                }
            }
            run.recount();
            let fence = fences.get(&run.id.0).copied().unwrap_or_default();
            loaded.push(Owned { run, fence, has_place });
        }
        Ok(loaded)
    }

    async fn run_records(&self, ids: &[Uuid]) -> Result<Vec<(Run, bool)>, StoreError> {
        let installation = self.installation().await?;
        let rows = sqlx::query!(
            r#"select r.run_id, r.run_key, r.state, r.generation, r.params, r.trigger, r.has_place, r.cancel_reason,
                      r.version, r.pipeline, (select g.told from run_trigger g where g.run_id = r.run_id) as told,
                      r.logical_date as "logical_date: jiff_sqlx::Timestamp",
                      r.interval_start as "interval_start: jiff_sqlx::Timestamp",
                      r.interval_end as "interval_end: jiff_sqlx::Timestamp",
                      r.fire_at as "fire_at: jiff_sqlx::Timestamp",
                      r.created_at as "created_at: jiff_sqlx::Timestamp",
                      r.started_at as "started_at: jiff_sqlx::Timestamp",
                      r.ended_at as "ended_at: jiff_sqlx::Timestamp"
                 from run r where r.run_id = any($1)"#,
            ids
        )
        .fetch_all(&self.link)
        .await?;
        let mut definitions: HashMap<(String, i32), Arc<Definition>> = HashMap::new();
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            let version = (row.pipeline.clone(), row.version);
            let definition = if let Some(known) = definitions.get(&version) {
                Arc::clone(known)
            } else {
                let loaded = self.definition(&row.pipeline, row.version).await?;
                definitions.insert(version, Arc::clone(&loaded));
                loaded
            };
            let trigger = Trigger::from_word(&row.trigger);
            let params = row.params.as_object().cloned().unwrap_or_default();
            let mut run = Run::new(
                RunId(row.run_id),
                definition,
                installation,
                row.run_key,
                row.logical_date.to_jiff(),
                interval(read_option(row.interval_start), read_option(row.interval_end)),
                read_option(row.fire_at),
                params,
                trigger,
                row.created_at.to_jiff(),
            );
            run.state =
                RunState::from_word(&row.state).ok_or_else(|| unknown_word("the run state", &row.state))?;
            run.generation = unsigned(row.generation);
            run.told = row.told.and_then(|told| told.as_object().cloned()).map(Arc::new).unwrap_or_default();
            run.started_at = read_option(row.started_at);
            run.ended_at = read_option(row.ended_at);
            run.cancel_reason = row.cancel_reason;
            runs.push((run, row.has_place));
        }
        Ok(runs)
    }

    /// A version of a pipeline, with what is derived from it.
    pub async fn definition(&self, pipeline: &str, version: i32) -> Result<Arc<Definition>, StoreError> {
        let row = sqlx::query!(
            r#"select v.spec as "spec: Json<Pipeline>", p.folder
                 from pipeline_version v join pipeline p on p.name = v.pipeline where v.pipeline = $1 and v.version = $2"#,
            pipeline,
            version
        )
        .fetch_optional(&self.link)
        .await?
        .ok_or_else(|| StoreError::NotFound { what: format!("version {version} of pipeline {pipeline}") })?;
        let mut pipeline = row.spec.0;
        // Looked at when it is deployed, and here again: the folder may be another one since.
        pipeline.connections.retain(|_, config| folders::closed_to(config, &row.folder).is_none());
        Ok(Arc::new(Definition::new(pipeline, version)))
    }

    async fn task_records(&self, ids: &[Uuid]) -> Result<Vec<TaskRecord>, StoreError> {
        Ok(sqlx::query_as!(
            TaskRecord,
            r#"select run_id, task, state, generation, attempts, tries,
                      retry_at as "retry_at: jiff_sqlx::Timestamp", outputs, warnings, failure,
                      started_at as "started_at: jiff_sqlx::Timestamp", ended_at as "ended_at: jiff_sqlx::Timestamp",
                      element_of, element_index, item, elements
                 from task_run where run_id = any($1) order by run_id, position"#,
            ids
        )
        .fetch_all(&self.link)
        .await?)
    }

    async fn attempt_records(&self, ids: &[Uuid]) -> Result<Vec<AttemptRecord>, StoreError> {
        Ok(sqlx::query_as!(
            AttemptRecord,
            r#"select run_id, position, number, generation, state,
                      request as "request: Document", baseline as "baseline: Document",
                      intent_at as "intent_at: jiff_sqlx::Timestamp",
                      deferred_until as "deferred_until: jiff_sqlx::Timestamp",
                      handle as "handle: Document", external_id, reattached,
                      deadline_at as "deadline_at: jiff_sqlx::Timestamp", stop_reason, note,
                      started_at as "started_at: jiff_sqlx::Timestamp"
                 from attempt where run_id = any($1) and ended_at is null"#,
            ids
        )
        .fetch_all(&self.link)
        .await?)
    }
}
