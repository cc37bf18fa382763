//! Versions of pipelines, deploys and their rollback, schedules, pausing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Store, StoreError, datasets,
    rows::{at, at_option, read_option, signed, to_json},
    uncancelled,
};
use crate::{folders, pipeline::Pipeline, triggers::EventTrigger};

/// A version as it was stored.
#[derive(Clone, Debug)]
pub struct StoredVersion {
    /// Its number, from 1.
    pub version: i32,
    /// The YAML as it was read.
    pub source: String,
    /// The pipeline.
    pub pipeline: Pipeline,
    /// When it was stored.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// A version as it is listed.
#[derive(Clone, Debug)]
pub struct VersionRow {
    /// Its number, from 1.
    pub version: i32,
    /// The hash of its contents.
    pub sha256: Vec<u8>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// A deployment: which versions were current after it.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: String,
    /// Pipelines and their versions.
    pub versions: BTreeMap<String, i32>,
}

/// A pipeline as it is deployed.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// The YAML as it was read.
    pub source: String,
    /// Where its file lies below the pipelines folder, with `/` between its parts.
    pub folder: String,
}

/// What a deploy did to one pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// Its name.
    pub name: String,
    /// The version that was current before, if it was known.
    pub before: Option<i32>,
    /// The version that is current now; none if it was removed.
    pub after: Option<i32>,
}

/// A pipeline as people list it.
#[derive(Clone, Debug)]
pub struct PipelineRow {
    /// Its name.
    pub name: String,
    /// Where its file lies below the pipelines folder.
    pub folder: String,
    /// Its current version.
    pub version: i32,
    /// Whether it fires.
    pub paused: bool,
    /// Whether it was removed.
    pub removed: bool,
    /// Runs that hold a place.
    pub active_runs: i32,
    /// Places.
    pub max_active_runs: i32,
    /// Its group.
    pub concurrency_group: Option<String>,
    /// When it fires next.
    pub next_fire_at: Option<Timestamp>,
    /// Fires up to here are dealt with.
    pub fired_until: Option<Timestamp>,
    /// Who paused or resumed it last.
    pub switched_by: Option<String>,
    /// And why, in the person's words.
    pub switch_reason: Option<String>,
}

/// A pipeline whose time has come.
#[derive(Clone, Debug)]
pub struct Due {
    /// Its name.
    pub name: String,
    /// Its current version.
    pub version: i32,
    /// Fires up to here are dealt with.
    pub fired_until: Option<Timestamp>,
    /// Guards [`Store::fired`].
    pub schedule_version: i64,
}

impl Store {
    /// Stores pipelines and makes them current, all or none. Pipelines that are not named and
    /// `prune` asks for stop firing and keep their history. Unchanged content keeps its
    /// version. A pipeline of a folder that is not seen is neither changed nor removed: its name is taken.
    pub async fn deploy(
        &self,
        pipelines: Vec<NewVersion>,
        prune: bool,
        actor: &str,
        now: Timestamp,
    ) -> Result<Vec<Deployed>, StoreError> {
        let (pool, actor, seen) = (self.link.pool.clone(), actor.to_owned(), self.seen.clone());
        uncancelled(async move {
            let mut tx = pool.begin().await?;
            // One deploy at a time; held until the transaction ends.
            sqlx::query!("select pg_advisory_xact_lock(hashtext('trunkline deploy'))")
                .fetch_one(&mut *tx)
                .await?;
            let names: Vec<String> = pipelines.iter().map(|new| new.pipeline.name.to_string()).collect();
            refuse_taken(&mut tx, &names, seen.as_deref()).await?;
            refuse_closed(&pipelines)?;
            put_pools(&mut tx, &pipelines).await?;
            let mut changes = Vec::new();
            for new in &pipelines {
                changes.push(put_version(&mut tx, new, &actor, now).await?);
            }
            if prune {
                let removed = sqlx::query!(
                    "update pipeline set removed = true, next_fire_at = null
                      where not removed and not (name = any($1)) and ($2::text[] is null or lies_in(folder, $2))
                     returning name, current_version",
                    &names,
                    seen.as_deref()
                )
                .fetch_all(&mut *tx)
                .await?;
                changes.extend(removed.into_iter().map(|row| Deployed {
                    name: row.name,
                    before: Some(row.current_version),
                    after: None,
                }));
            }
            if changes.iter().any(|change| change.before != change.after) {
                record_deployment(&mut tx, &actor).await?;
            }
            tx.commit().await?;
            Ok(changes)
        })
        .await
    }

    /// Makes the versions of the deployment before the last one current again, and records
    /// that as a deployment of its own. Live runs keep their versions.
    pub async fn roll_back(&self, actor: &str, now: Timestamp) -> Result<Vec<Deployed>, StoreError> {
        let pipelines = self.stored(&self.earlier_versions().await?).await?;
        self.deploy(pipelines, true, &format!("{actor} (rollback)"), now).await
    }

    /// The versions that [`Store::roll_back`] would make current. Refused where that would be: there is nothing to
    /// go back to, or a connection that one of them names is no longer open to its pipeline's folder.
    pub async fn foresee_rollback(&self) -> Result<BTreeMap<String, i32>, StoreError> {
        let versions = self.earlier_versions().await?;
        refuse_closed(&self.stored(&versions).await?)?;
        Ok(versions)
    }

    /// The versions that the deployment before the last one made current.
    async fn earlier_versions(&self) -> Result<BTreeMap<String, i32>, StoreError> {
        let deployments =
            sqlx::query_scalar!("select versions from deployment order by deployment_id desc limit 2")
                .fetch_all(&self.link)
                .await?;
        let [_, earlier] = deployments.as_slice() else {
            return Err(StoreError::NotFound { what: "earlier deployment to roll back to".to_owned() });
        };
        Ok(serde_json::from_value(earlier.clone()).unwrap_or_default())
    }

    /// These versions as they were deployed, in the folders where their pipelines lie now.
    async fn stored(&self, versions: &BTreeMap<String, i32>) -> Result<Vec<NewVersion>, StoreError> {
        let rows = self.pipelines().await?;
        let mut pipelines = Vec::new();
        for (name, version) in versions {
            let stored = self.version(name, Some(*version)).await?;
            let (pipeline, source) = (stored.pipeline, stored.source);
            let folder =
                rows.iter().find(|row| row.name == *name).map(|row| row.folder.clone()).unwrap_or_default();
            pipelines.push(NewVersion { pipeline, source, folder });
        }
        Ok(pipelines)
    }

    /// A version of a pipeline; without a number, the current one.
    pub async fn version(&self, pipeline: &str, version: Option<i32>) -> Result<StoredVersion, StoreError> {
        let row = sqlx::query!(
            r#"select v.version, v.spec, v.source, v.created_by, v.created_at as "created_at: jiff_sqlx::Timestamp"
                 from pipeline p join pipeline_version v on v.pipeline = p.name
                where p.name = $1 and v.version = coalesce($2, p.current_version)
                  and ($2 is not null or not p.removed)"#,
            pipeline,
            version
        )
        .fetch_optional(&self.link)
        .await?
        .ok_or_else(|| StoreError::NotFound { what: format!("pipeline {pipeline} in the store") })?;
        Ok(StoredVersion {
            version: row.version,
            source: row.source,
            pipeline: serde_json::from_value(row.spec).map_err(|error| StoreError::Broken {
                message: format!("version {} of {pipeline}: {error}", row.version),
            })?,
            created_at: row.created_at.to_jiff(),
            created_by: row.created_by,
        })
    }

    /// The versions of a pipeline below a number, newest first.
    pub async fn versions(
        &self,
        pipeline: &str,
        below: Option<i32>,
        limit: i64,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select version, sha256, created_by, created_at as "created_at: jiff_sqlx::Timestamp"
                 from pipeline_version where pipeline = $1 and version < $2 order by version desc limit $3"#,
            pipeline,
            below.unwrap_or(i32::MAX),
            limit
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| VersionRow {
                version: row.version,
                sha256: row.sha256,
                created_at: row.created_at.to_jiff(),
                created_by: row.created_by,
            })
            .collect())
    }

    /// Deployments below a number, newest first.
    pub async fn deployments(&self, below: Option<i64>, limit: i64) -> Result<Vec<Deployment>, StoreError> {
        let rows = sqlx::query!(
            r#"select d.deployment_id, d.actor, d.at as "at: jiff_sqlx::Timestamp",
                      coalesce((select jsonb_object_agg(v.key, v.value) from jsonb_each(d.versions) v
                                 where $3::text[] is null or is_seen(v.key, $3)), '{}') as "versions!"
                 from deployment d where d.deployment_id < $1 order by d.deployment_id desc limit $2"#,
            below.unwrap_or(i64::MAX),
            limit,
            self.seen()
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Deployment {
                id: row.deployment_id,
                at: row.at.to_jiff(),
                actor: row.actor,
                versions: serde_json::from_value(row.versions).unwrap_or_default(),
            })
            .collect())
    }

    /// All pipelines by name, removed ones too.
    pub async fn pipelines(&self) -> Result<Vec<PipelineRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select name, folder, current_version, paused, removed, active_runs, max_active_runs, concurrency_group,
                      next_fire_at as "next_fire_at: jiff_sqlx::Timestamp", fired_until as "fired_until: jiff_sqlx::Timestamp",
                      switched_by, switch_reason
                 from pipeline where $1::text[] is null or lies_in(folder, $1) order by name"#,
            self.seen()
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| PipelineRow {
                name: row.name,
                folder: row.folder,
                version: row.current_version,
                paused: row.paused,
                removed: row.removed,
                active_runs: row.active_runs,
                max_active_runs: row.max_active_runs,
                concurrency_group: row.concurrency_group,
                next_fire_at: read_option(row.next_fire_at),
                fired_until: read_option(row.fired_until),
                switched_by: row.switched_by,
                switch_reason: row.switch_reason,
            })
            .collect())
    }

    /// Pauses or resumes a pipeline. Once it returned, no new run of a paused one gets a place.
    /// Whether anything changed.
    pub async fn set_paused(
        &self,
        pipeline: &str,
        paused: bool,
        actor: &str,
        reason: Option<&str>,
    ) -> Result<bool, StoreError> {
        let before = sqlx::query_scalar!(
            r#"with before as (select name, paused from pipeline where name = $1 for update)
               update pipeline p set paused = $2, switched_at = clock_timestamp(), switched_by = $3, switch_reason = $4
                 from before b where p.name = b.name returning b.paused as "paused!""#,
            pipeline,
            paused,
            actor,
            reason
        )
        .fetch_optional(&self.link)
        .await?
        .ok_or_else(|| StoreError::NotFound { what: format!("pipeline {pipeline} in the store") })?;
        Ok(before != paused)
    }

    /// Pipelines whose time has come, paused ones not.
    pub async fn due_pipelines(&self, limit: i64) -> Result<Vec<Due>, StoreError> {
        let rows = sqlx::query!(
            r#"select name, current_version, schedule_version, fired_until as "fired_until: jiff_sqlx::Timestamp"
                 from pipeline
                where next_fire_at <= clock_timestamp() and not paused and not removed
                order by next_fire_at limit $1"#,
            limit
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Due {
                name: row.name,
                version: row.current_version,
                fired_until: read_option(row.fired_until),
                schedule_version: row.schedule_version,
            })
            .collect())
    }

    /// Moves a schedule on, after the runs of its fires exist (their keys make a repetition
    /// harmless). `false`: another replica was faster.
    pub async fn fired(
        &self,
        due: &Due,
        until: Timestamp,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update pipeline set fired_until = greatest(fired_until, $3), next_fire_at = $4, schedule_version = schedule_version + 1
              where name = $1 and schedule_version = $2",
            due.name,
            due.schedule_version,
            at(until) as _,
            at_option(next) as _
        )
        .execute(&self.link)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

type Transaction = sqlx::Transaction<'static, sqlx::Postgres>;

/// Refuses names that pipelines of other folders have.
async fn refuse_taken(
    tx: &mut Transaction,
    names: &[String],
    seen: Option<&[String]>,
) -> Result<(), StoreError> {
    let taken = sqlx::query_scalar!(
        "select name from pipeline where name = any($1) and not ($2::text[] is null or lies_in(folder, $2)) order by name",
        names,
        seen
    )
    .fetch_all(&mut **tx)
    .await?;
    if taken.is_empty() { Ok(()) } else { Err(StoreError::NamesTaken { names: taken.join(", ") }) }
}

/// A version that was deployed where its connections may be used may come back where they may not.
fn refuse_closed(pipelines: &[NewVersion]) -> Result<(), StoreError> {
    for NewVersion { pipeline, folder, .. } in pipelines {
        for (connection, config) in &pipeline.connections {
            if let Some(folders) = folders::closed_to(config, folder) {
                let (pipeline, connection) = (pipeline.name.to_string(), connection.clone());
                let (folder, folders) = (folder.clone(), folders.join(", "));
                return Err(StoreError::ConnectionClosed { pipeline, folder, connection, folders });
            }
        }
    }
    Ok(())
}

/// Gives the pools their slots, by name: whoever grants slots locks pools in that order too.
async fn put_pools(tx: &mut Transaction, pipelines: &[NewVersion]) -> Result<(), StoreError> {
    let pools: BTreeMap<&String, u32> = pipelines
        .iter()
        .flat_map(|new| new.pipeline.pools.iter().map(|(name, slots)| (name, *slots)))
        .collect();
    for (pool, slots) in pools {
        sqlx::query!(
            "insert into pool (name, slots) values ($1, $2)
             on conflict (name) do update set slots = excluded.slots where pool.slots <> excluded.slots",
            pool,
            signed(slots)
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn put_version(
    tx: &mut Transaction,
    new: &NewVersion,
    actor: &str,
    now: Timestamp,
) -> Result<Deployed, StoreError> {
    let NewVersion { pipeline, source, folder } = new;
    let name = pipeline.name.to_string();
    let sha256 = pipeline.content_hash();
    let before = sqlx::query!(
        "select current_version, removed, folder from pipeline where name = $1 for update",
        name
    )
    .fetch_optional(&mut **tx)
    .await?;
    let known = sqlx::query_scalar!(
        "select version from pipeline_version where pipeline = $1 and sha256 = $2",
        name,
        &sha256[..]
    )
    .fetch_optional(&mut **tx)
    .await?;
    let version = match known {
        Some(version) => version,
        None => {
            sqlx::query_scalar!(
                r#"insert into pipeline_version (pipeline, version, sha256, spec, source, created_by)
                   select $1, coalesce(max(version), 0) + 1, $2, $3, $4, $5 from pipeline_version where pipeline = $1
                   returning version"#,
                name,
                &sha256[..],
                to_json(pipeline),
                source,
                actor
            )
            .fetch_one(&mut **tx)
            .await?
        }
    };
    if known.is_none() {
        datasets::put_outlets(tx, pipeline, version).await?;
    }
    let moved = before.as_ref().is_none_or(|row| row.folder != *folder);
    let before = before.map(|row| (row.current_version, row.removed));
    if before != Some((version, false)) {
        make_current(tx, pipeline, version, now).await?;
    }
    if moved {
        sqlx::query!("update pipeline set folder = $2 where name = $1", name, folder)
            .execute(&mut **tx)
            .await?;
    }
    Ok(Deployed {
        name,
        before: before.filter(|(_, removed)| !removed).map(|(number, _)| number),
        after: Some(version),
    })
}

async fn make_current(
    tx: &mut Transaction,
    pipeline: &Pipeline,
    version: i32,
    now: Timestamp,
) -> Result<(), StoreError> {
    let name = pipeline.name.to_string();
    if let Some(group) = &pipeline.concurrency_group {
        sqlx::query!("insert into concurrency_group (name) values ($1) on conflict do nothing", group)
            .execute(&mut **tx)
            .await?;
    }
    let next = pipeline.calendar.as_ref().and_then(|calendar| calendar.next_after(now));
    let late = pipeline.deadline.zip(pipeline.calendar.as_ref()).zip(next);
    let late = late.map(|((deadline, calendar), next)| deadline.of(calendar, next));
    sqlx::query!(
        "insert into pipeline (name, current_version, max_active_runs, concurrency_group, fired_until, next_fire_at,
                               late_until, next_late_at, triggered)
         values ($1, $2, $3, $4, $5, $6, $5, $7, $8)
         on conflict (name) do update
            set current_version = $2, triggered = $8, late_until = case when pipeline.next_late_at is null then $5 else pipeline.late_until end,
                next_late_at = case when $7::timestamptz is null then null else least(pipeline.next_late_at, $7) end, max_active_runs = $3, concurrency_group = $4, removed = false,
                next_fire_at = case when $6::timestamptz is null then null
                                    when pipeline.removed or pipeline.next_fire_at is null then $6
                                    else least(pipeline.next_fire_at, $6) end,
                fired_until = case when pipeline.removed or pipeline.next_fire_at is null then $5 else pipeline.fired_until end,
                schedule_version = pipeline.schedule_version + 1",
        name,
        version,
        i32::try_from(pipeline.max_active_runs).unwrap_or(i32::MAX),
        pipeline.concurrency_group,
        at(now) as _,
        at_option(next) as _,
        at_option(late) as _,
        !pipeline.triggers.is_empty()
    )
    .execute(&mut **tx)
    .await?;
    listen(tx, pipeline).await?;
    datasets::listen(tx, pipeline).await?;
    // What another version could make no run of, this one may.
    sqlx::query!(
        "insert into trigger_wait (pipeline, look_at)
         select $1, clock_timestamp() where exists (select from trigger_event where pipeline = $1 and run_id is null)
         on conflict (pipeline) do update set look_at = excluded.look_at",
        name
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Notes which runs the pipeline waits for.
async fn listen(tx: &mut Transaction, pipeline: &Pipeline) -> Result<(), StoreError> {
    let name = pipeline.name.to_string();
    let mut wanted: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for upstream in pipeline.triggers.iter().filter_map(EventTrigger::upstream) {
        wanted.entry(upstream.name.clone()).or_default().extend(upstream.on.states());
    }
    sqlx::query!("delete from run_listener where pipeline = $1", name).execute(&mut **tx).await?;
    for (upstream, states) in wanted {
        let states: Vec<String> = states.into_iter().map(str::to_owned).collect();
        sqlx::query!(
            "insert into run_listener (upstream, pipeline, states) values ($1, $2, $3)",
            upstream,
            name,
            &states
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn record_deployment(tx: &mut Transaction, actor: &str) -> Result<(), StoreError> {
    let rows = sqlx::query!("select name, current_version from pipeline where not removed order by name")
        .fetch_all(&mut **tx)
        .await?;
    let versions: serde_json::Map<String, Value> =
        rows.into_iter().map(|row| (row.name, json!(row.current_version))).collect();
    sqlx::query!("insert into deployment (actor, versions) values ($1, $2)", actor, Value::Object(versions))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
