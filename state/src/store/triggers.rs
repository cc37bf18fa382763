//! Events that make runs: recorded once, however often they come, and turned into runs by the same
//! transaction, or by a later one while they wait.
//!
//! Locks are taken in one order by everybody: pipelines by name, then their waiting lists, then the queue.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    CONFLICT_RETRIES, Store, StoreError,
    create::{Births, NewRun},
    error::is_conflict,
    rows::to_json,
    uncancelled,
    waiting::{Chosen, Looked, Refusals, looks, note_looks, origin},
};
use crate::{
    ids::RunId,
    machine::Delta,
    pipeline::Pipeline,
    run::{Definition, Installation, Run},
    triggers::{
        DatasetEvent, EventSource, EventTrigger, ObjectEvent, QUEUED_RUNS_MAX, RunEvent, TriggerEvent,
        WaitingEvent, batch_key, decide,
    },
};

/// Updates whose interval lacks others are looked at so often although nothing came: a run that a person or a backfill
/// made of that interval meanwhile settles them.
const SETTLED_WITHIN: Duration = Duration::from_hours(1);

/// An event that somebody waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Whose trigger takes it.
    pub pipeline: String,
    /// Where it came from.
    pub source: EventSource,
    /// By what it is known again.
    pub dedupe_key: String,
    /// What it tells.
    pub body: Value,
}

/// A message that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoisonMessage {
    /// The queue's id of it.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// What came of one look into a queue.
#[derive(Clone, Debug, Default)]
pub struct QueueReport {
    /// The queue.
    pub queue: String,
    /// Messages that were read.
    pub received: usize,
    /// Events among them that no pipeline wants.
    pub unmatched: usize,
    /// Those that cannot be read.
    pub poison: Vec<PoisonMessage>,
}

/// What arrived, and whose waiting events to look at.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// The events.
    pub events: Vec<NewEvent>,
    /// Further pipelines whose waiting events may have become due.
    pub pipelines: Vec<String>,
    /// The queue that they came from.
    pub queue: Option<QueueReport>,
    /// Versions in hand: those that are still current need not be read.
    pub known: Vec<Arc<Definition>>,
}

/// A run that is to be made of events.
#[derive(Debug)]
pub struct Occasion<'a> {
    /// The pipeline's current version.
    pub definition: &'a Arc<Definition>,
    /// The store.
    pub installation: Installation,
    /// The trigger, by its position.
    pub trigger: usize,
    /// The key that its events give it.
    pub key: String,
    /// The objects, in order.
    pub objects: Vec<ObjectEvent>,
    /// The run that ended, where one makes the other.
    pub upstream: Option<RunEvent>,
    /// The updates of datasets, in order: all of one interval, where the pipeline has one.
    pub updates: Vec<DatasetEvent>,
    /// The database's clock.
    pub now: Timestamp,
}

/// Makes a run of an occasion, or says why it cannot be made. Pure: it is called while a transaction is open.
pub type MakeRun = dyn Fn(&Occasion<'_>) -> Result<Run, String> + Send + Sync;

/// What became of arrivals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Events that had not come before.
    pub recorded: u64,
    /// The runs that were made.
    pub runs: Vec<RunId>,
    /// Events of which no run can be made as things stand: whose, and why.
    pub refused: Vec<(String, String)>,
}

impl Store {
    /// Records events, and makes the runs that are due of them and of what waited before. Once it returned,
    /// each event is recorded exactly once, however often it comes and whoever else takes it at the same
    /// time, and is in at most one run. The runs are queued and owned by nobody.
    pub async fn take_events(&self, arrivals: Arrivals, make: Arc<MakeRun>) -> Result<Taken, StoreError> {
        let installation = self.installation().await?;
        let arrivals = Arc::new(arrivals);
        let mut tries = 0;
        loop {
            let (pool, replica) = (self.link.pool.clone(), self.replica.0);
            let (arrivals, make) = (Arc::clone(&arrivals), Arc::clone(&make));
            let taken = uncancelled(async move {
                let mut tx = pool.begin().await?;
                let mut taking = Taking { tx: &mut tx, replica, installation, taken: Taken::default() };
                taking.take(&arrivals, &*make).await?;
                let taken = taking.taken;
                tx.commit().await?;
                Ok(taken)
            })
            .await;
            match taken {
                Err(StoreError::Failed { source }) if is_conflict(&source) && tries < CONFLICT_RETRIES => {
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// Pipelines whose waiting events may have become due, those that wait longest first.
    pub async fn due_triggers(&self, limit: i64) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar!(
            "select w.pipeline from trigger_wait w join pipeline p on p.name = w.pipeline
              where w.look_at <= clock_timestamp() and not p.paused and not p.removed
                and p.active_runs < p.max_active_runs
              order by w.look_at limit $1",
            limit
        )
        .fetch_all(&self.link)
        .await?)
    }

    /// The pipelines that have triggers, with their current versions.
    pub async fn triggered_pipelines(&self) -> Result<Vec<(String, i32)>, StoreError> {
        let rows = sqlx::query!(
            "select name, current_version from pipeline where triggered and not removed order by name"
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows.into_iter().map(|row| (row.name, row.current_version)).collect())
    }
}

/// A pipeline under its lock.
struct Home {
    name: String,
    version: i32,
    is_open: bool,
    active: usize,
    places: usize,
    now: Timestamp,
}

/// A run on its way, with the events that go into it.
struct Made {
    run: Run,
    actor: String,
    source: EventSource,
    keys: Vec<String>,
}

/// One transaction.
struct Taking<'a> {
    tx: &'a mut PgConnection,
    replica: Uuid,
    installation: Installation,
    taken: Taken,
}

impl Taking<'_> {
    async fn take(&mut self, arrivals: &Arrivals, make: &MakeRun) -> Result<(), StoreError> {
        let names: BTreeSet<&String> =
            arrivals.events.iter().map(|event| &event.pipeline).chain(&arrivals.pipelines).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let homes = self.lock(&names).await?;
        let seen = looks(self.tx, &names).await?;
        self.record(&arrivals.events).await?;
        let (mut made, mut waits) = (Vec::new(), BTreeMap::new());
        for home in &homes {
            let look_at = self.advance(home, &arrivals.known, make, &mut made).await?;
            waits.insert(home.name.clone(), look_at);
        }
        self.create(&made).await?;
        note_looks(self.tx, waits, &seen).await?;
        if let Some(queue) = &arrivals.queue {
            self.note_queue(queue).await?;
        }
        Ok(())
    }

    async fn lock(&mut self, names: &[String]) -> Result<Vec<Home>, StoreError> {
        let rows = sqlx::query!(
            r#"select name, current_version, paused or removed as "closed!", active_runs, max_active_runs
                 from pipeline where name = any($1) order by name for update"#,
            names
        )
        .fetch_all(&mut *self.tx)
        .await?;
        let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!: jiff_sqlx::Timestamp""#)
            .fetch_one(&mut *self.tx)
            .await?;
        let count = |number: i32| usize::try_from(number).unwrap_or(0);
        Ok(rows
            .into_iter()
            .map(|row| Home {
                name: row.name,
                version: row.current_version,
                is_open: !row.closed,
                active: count(row.active_runs),
                places: count(row.max_active_runs),
                now: now.to_jiff(),
            })
            .collect())
    }

    async fn record(&mut self, events: &[NewEvent]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let pipelines: Vec<String> = events.iter().map(|event| event.pipeline.clone()).collect();
        let sources: Vec<String> = events.iter().map(|event| event.source.word().to_owned()).collect();
        let keys: Vec<String> = events.iter().map(|event| event.dedupe_key.clone()).collect();
        let bodies: Vec<Value> = events.iter().map(|event| event.body.clone()).collect();
        let done = sqlx::query!(
            "insert into trigger_event (pipeline, source, dedupe_key, body)
             select e.pipeline, e.source, e.dedupe_key, e.body
               from unnest($1::text[], $2::text[], $3::text[], $4::jsonb[]) as e (pipeline, source, dedupe_key, body)
             on conflict do nothing",
            &pipelines,
            &sources,
            &keys,
            &bodies
        )
        .execute(&mut *self.tx)
        .await?;
        self.taken.recorded = done.rows_affected();
        Ok(())
    }

    /// Decides about what waits of one pipeline. When to look again, if anything does.
    async fn advance(
        &mut self,
        home: &Home,
        known: &[Arc<Definition>],
        make: &MakeRun,
        made: &mut Vec<Made>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let queued = self.queued(&home.name).await?;
        let room =
            home.places.saturating_sub(home.active + queued).min(QUEUED_RUNS_MAX.saturating_sub(queued));
        if !home.is_open || room == 0 {
            return Ok(self.any_waits(home).await?.then_some(home.now));
        }
        let definition = self.definition(home, known).await?;
        let triggers = &definition.pipeline.triggers;
        let Looked { rows, more, full } = Looked::at(self.tx, &definition.pipeline, home.version).await?;
        let mut refusals = Refusals::new();
        let mut chosen = Vec::with_capacity(rows.len());
        for row in &rows {
            match Chosen::of(row, &definition.pipeline) {
                Ok(one) => chosen.push(one),
                Err(why) => refusals.entry((row.source, why)).or_default().push(row.dedupe_key.clone()),
            }
        }
        let waiting: Vec<WaitingEvent<'_>> = chosen.iter().map(Chosen::waiting).collect();
        let gatherings: Vec<_> = triggers.iter().map(EventTrigger::gathering).collect();
        let decided = decide(&waiting, &gatherings, room, home.now);
        let more = more || decided.runs.iter().any(|(trigger, _)| full.contains(trigger));
        let taken: usize = decided.runs.iter().map(|(_, events)| events.len()).sum();
        let incomplete = taken < chosen.len() && chosen.iter().any(|one| one.covers.is_some());
        let settled_by = incomplete.then(|| home.now.checked_add(SETTLED_WITHIN).ok()).flatten();
        let look_at = decided.look_at.into_iter().chain(settled_by).min();
        for (trigger, events) in decided.runs {
            let events: Vec<&Chosen<'_>> = events.iter().map(|event| &chosen[*event]).collect();
            let keys: Vec<String> = events.iter().map(|one| one.row.dedupe_key.clone()).collect();
            let (source, actor) = origin(&triggers[trigger], &events);
            let occasion = self.occasion(&definition, trigger, &keys, &events, home.now);
            match make(&occasion) {
                Ok(run) => made.push(Made { run, actor, source, keys }),
                Err(why) => refusals.entry((source, why)).or_default().extend(keys),
            }
        }
        for ((source, why), keys) in refusals {
            self.refuse(home, source, &keys, &why).await?;
        }
        Ok(if more { Some(home.now) } else { look_at })
    }

    fn occasion<'d>(
        &self,
        definition: &'d Arc<Definition>,
        trigger: usize,
        keys: &[String],
        events: &[&Chosen<'_>],
        now: Timestamp,
    ) -> Occasion<'d> {
        let key = batch_key(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        let (mut objects, mut upstream, mut updates) = (Vec::new(), None, Vec::new());
        for one in events {
            match &one.event {
                TriggerEvent::Object(object) => objects.push(object.clone()),
                TriggerEvent::Run(run) => upstream = Some(run.clone()),
                TriggerEvent::Update(update) => updates.push(update.clone()),
            }
        }
        objects.sort_by(ObjectEvent::order);
        if let Some(source) = definition.pipeline.triggers[trigger].datasets() {
            source.sort(&mut updates);
        }
        let installation = self.installation;
        Occasion { definition, installation, trigger, key, objects, upstream, updates, now }
    }

    async fn queued(&mut self, pipeline: &str) -> Result<usize, StoreError> {
        let queued = sqlx::query_scalar!(
            r#"select count(*) as "queued!" from run where pipeline = $1 and state = 'queued' and not has_place"#,
            pipeline
        )
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(usize::try_from(queued).unwrap_or(0))
    }

    async fn any_waits(&mut self, home: &Home) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar!(
            r#"select exists (select from trigger_event where pipeline = $1 and run_id is null
                  and refused_version is distinct from $2) as "any!""#,
            home.name,
            home.version
        )
        .fetch_one(&mut *self.tx)
        .await?)
    }

    async fn definition(
        &mut self,
        home: &Home,
        known: &[Arc<Definition>],
    ) -> Result<Arc<Definition>, StoreError> {
        let fits =
            |one: &&Arc<Definition>| one.pipeline.name.as_str() == home.name && one.version == home.version;
        if let Some(found) = known.iter().find(fits) {
            return Ok(Arc::clone(found));
        }
        let spec = sqlx::query_scalar!(
            r#"select spec as "spec: Json<Pipeline>" from pipeline_version where pipeline = $1 and version = $2"#,
            home.name,
            home.version
        )
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(Arc::new(Definition::new(spec.0, home.version)))
    }

    async fn refuse(
        &mut self,
        home: &Home,
        source: EventSource,
        keys: &[String],
        why: &str,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update trigger_event set refused_version = $4, refusal = $5
              where pipeline = $1 and source = $2 and dedupe_key = any($3)",
            home.name,
            source.word(),
            keys,
            home.version,
            why
        )
        .execute(&mut *self.tx)
        .await?;
        self.taken.refused.push((home.name.clone(), why.to_owned()));
        Ok(())
    }

    /// Makes the runs, and writes down which events went where. A key that is taken already was taken by the
    /// same events, before their rows were forgotten: they belong to that run.
    async fn create(&mut self, made: &[Made]) -> Result<(), StoreError> {
        if made.is_empty() {
            return Ok(());
        }
        let mut births = Births::default();
        let nothing = Delta::default();
        for one in made {
            births.push(&NewRun { run: &one.run, delta: &nothing, actor: &one.actor });
        }
        let created = births.create(self.tx, self.replica).await?;
        let created: HashMap<Uuid, bool> = created.into_iter().collect();
        let (mut told_runs, mut told) = (Vec::new(), Vec::new());
        for one in made.iter().filter(|one| created.contains_key(&one.run.id.0)) {
            told_runs.push(one.run.id.0);
            told.push(to_json(&*one.run.told));
            self.taken.runs.push(one.run.id);
        }
        sqlx::query!(
            "insert into run_trigger (run_id, told) select * from unnest($1::uuid[], $2::jsonb[])",
            &told_runs,
            &told
        )
        .execute(&mut *self.tx)
        .await?;
        let (mut pipelines, mut sources, mut keys, mut runs) = (vec![], vec![], vec![], vec![]);
        for one in made {
            for key in &one.keys {
                pipelines.push(one.run.definition.pipeline.name.to_string());
                sources.push(one.source.word().to_owned());
                keys.push(key.clone());
                runs.push(one.run.key.clone());
            }
        }
        sqlx::query!(
            "update trigger_event e set run_id = r.run_id, refused_version = null, refusal = null
               from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as d (pipeline, source, dedupe_key, run_key)
               join run r on r.pipeline = d.pipeline and r.run_key = d.run_key
              where e.pipeline = d.pipeline and e.source = d.source and e.dedupe_key = d.dedupe_key",
            &pipelines,
            &sources,
            &keys,
            &runs
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    async fn note_queue(&mut self, report: &QueueReport) -> Result<(), StoreError> {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        sqlx::query!(
            "insert into trigger_queue as q (queue, received, unmatched, last_received_at)
             values ($1, $2, $3, clock_timestamp())
             on conflict (queue) do update
                set received = q.received + $2, unmatched = q.unmatched + $3, last_received_at = clock_timestamp()",
            report.queue,
            count(report.received),
            count(report.unmatched)
        )
        .execute(&mut *self.tx)
        .await?;
        // The same message twice in one look would be one row twice in one statement.
        let poison: BTreeMap<&String, &String> =
            report.poison.iter().map(|message| (&message.id, &message.reason)).collect();
        let ids: Vec<String> = poison.keys().map(|id| (*id).clone()).collect();
        let reasons: Vec<String> = poison.values().map(|reason| (*reason).clone()).collect();
        sqlx::query!(
            "insert into trigger_poison as p (queue, message_id, reason)
             select $1, m.id, m.reason from unnest($2::text[], $3::text[]) as m (id, reason)
             on conflict (queue, message_id) do update
                set times = p.times + 1, last_at = clock_timestamp(), reason = excluded.reason",
            report.queue,
            &ids,
            &reasons
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}
