//! Events that wait, as they are read to decide about them: their rows, which trigger takes each, when to look again.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;

use super::{datasets, rows::at_option};
use crate::{
    pipeline::Pipeline,
    schedule::Interval,
    triggers::{EventSource, EventTrigger, TriggerEvent, WaitingEvent, WaitingUpdate, same_interval, taker},
};

/// Waiting events of one pipeline that are looked at in one transaction: two of the longest batches.
const LOOKED_AT_MAX: usize = 2_000;

/// A row of an event that waits.
pub(super) struct Row {
    pub(super) source: EventSource,
    pub(super) dedupe_key: String,
    pub(super) received_at: Timestamp,
    pub(super) body: Value,
    /// Of an update: whether its interval has its run already.
    pub(super) settled: bool,
}

/// An event that a trigger takes.
pub(super) struct Chosen<'r> {
    pub(super) row: &'r Row,
    pub(super) event: TriggerEvent,
    trigger: usize,
    /// Of an update: what the run would cover.
    pub(super) covers: Option<Interval>,
}

/// Events of which no run can be made, by where they came from and why.
pub(super) type Refusals = BTreeMap<(EventSource, String), Vec<String>>;

impl<'r> Chosen<'r> {
    /// The event of a row, or why the version makes no run of it.
    pub(super) fn of(row: &'r Row, pipeline: &Pipeline) -> Result<Self, String> {
        let event = row.source.read(&row.body);
        let taken = event.and_then(|event| Some((taker(&pipeline.triggers, &event)?, event)));
        let Some((trigger, event)) = taken else {
            return Err("no trigger of this version takes it".to_owned());
        };
        let covers = match &event {
            TriggerEvent::Update(update) => {
                same_interval(pipeline, &update.pipeline, &update.key, update.interval())?
            }
            TriggerEvent::Object(_) | TriggerEvent::Run(_) => None,
        };
        Ok(Self { row, event, trigger, covers: covers.map(|(interval, _)| interval) })
    }

    /// As it is decided about.
    pub(super) fn waiting(&self) -> WaitingEvent<'_> {
        let update = match &self.event {
            TriggerEvent::Update(update) => Some(WaitingUpdate {
                dataset: &update.dataset,
                covers: self.covers,
                settled: self.row.settled,
            }),
            TriggerEvent::Object(_) | TriggerEvent::Run(_) => None,
        };
        WaitingEvent { trigger: self.trigger, received_at: self.row.received_at, update }
    }
}

/// Where the events of a run came from, and who is said to have made it.
pub(super) fn origin(trigger: &EventTrigger, events: &[&Chosen<'_>]) -> (EventSource, String) {
    let source = events.first().map_or(EventSource::S3, |one| one.row.source);
    match events.first().map(|one| &one.event) {
        Some(TriggerEvent::Run(run)) => (source, format!("pipeline:{}@{}", run.pipeline, run.key)),
        _ => (source, format!("trigger:{}", trigger.label())),
    }
}

/// What was found of one pipeline.
pub(super) struct Looked {
    /// The rows, in the order in which they came.
    pub(super) rows: Vec<Row>,
    /// Whether there may be more of those that do not wait for each other.
    pub(super) more: bool,
    /// The triggers of datasets of which there may be more, by their positions.
    pub(super) full: Vec<usize>,
}

impl Looked {
    /// Reads what waits.
    pub(super) async fn at(
        tx: &mut PgConnection,
        pipeline: &Pipeline,
        version: i32,
    ) -> Result<Self, sqlx::Error> {
        let mut rows = others(tx, pipeline, version).await?;
        let more = rows.len() == LOOKED_AT_MAX;
        let mut full = Vec::new();
        for (position, trigger) in pipeline.triggers.iter().enumerate() {
            let Some(source) = trigger.datasets() else { continue };
            let updates = datasets::waiting(tx, pipeline, version, source).await?;
            if updates.len() == datasets::UPDATES_MAX {
                full.push(position);
            }
            rows.extend(updates);
        }
        rows.sort_by(|one, other| {
            one.received_at.cmp(&other.received_at).then_with(|| one.dedupe_key.cmp(&other.dedupe_key))
        });
        Ok(Self { rows, more, full })
    }
}

/// What waits, without updates of datasets that some trigger names.
async fn others(tx: &mut PgConnection, pipeline: &Pipeline, version: i32) -> Result<Vec<Row>, sqlx::Error> {
    let datasets: Vec<String> = datasets::names(pipeline).into_iter().map(str::to_owned).collect();
    let rows = sqlx::query!(
        r#"select source, dedupe_key, received_at as "received_at: jiff_sqlx::Timestamp", body
             from trigger_event
            where pipeline = $1 and run_id is null and refused_version is distinct from $2
              and (source in ('s3', 'pipeline')
                   or source = 'dataset' and not coalesce(body ->> 'dataset' = any($4), false))
            order by received_at, dedupe_key limit $3"#,
        pipeline.name.as_str(),
        version,
        i64::try_from(LOOKED_AT_MAX).unwrap_or(i64::MAX),
        &datasets
    )
    .fetch_all(tx)
    .await?;
    let read = rows.into_iter().filter_map(|row| {
        Some(Row {
            source: EventSource::from_word(&row.source)?,
            dedupe_key: row.dedupe_key,
            received_at: row.received_at.to_jiff(),
            body: row.body,
            settled: false,
        })
    });
    Ok(read.collect())
}

/// When these pipelines were to be looked at, before anything that waits is read.
pub(super) async fn looks(
    tx: &mut PgConnection,
    names: &[String],
) -> Result<HashMap<String, Timestamp>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select pipeline, look_at as "look_at: jiff_sqlx::Timestamp" from trigger_wait where pipeline = any($1)"#,
        names
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.pipeline, row.look_at.to_jiff())).collect())
}

/// Notes when to look again. The commit that ends a run takes no pipeline's lock: what it told since we looked
/// has set another moment, which stays.
pub(super) async fn note_looks(
    tx: &mut PgConnection,
    looks: BTreeMap<String, Option<Timestamp>>,
    seen: &HashMap<String, Timestamp>,
) -> Result<(), sqlx::Error> {
    let names: Vec<String> = looks.keys().cloned().collect();
    let given: Vec<_> = looks.values().map(|look_at| at_option(*look_at)).collect();
    let seen: Vec<_> = names.iter().map(|name| at_option(seen.get(name).copied())).collect();
    sqlx::query!(
        "with given as (
           select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) as g (pipeline, look_at, seen)
         ), done as (
           delete from trigger_wait w using given g
            where w.pipeline = g.pipeline and w.look_at = g.seen and g.look_at is null
         ), later as (
           update trigger_wait w set look_at = g.look_at from given g
            where w.pipeline = g.pipeline and w.look_at = g.seen and g.look_at is not null
         )
         insert into trigger_wait (pipeline, look_at)
         select g.pipeline, g.look_at from given g
          where g.look_at is not null and g.seen is null order by g.pipeline
         on conflict (pipeline) do nothing",
        &names,
        &given as _,
        &seen as _
    )
    .execute(tx)
    .await?;
    Ok(())
}
