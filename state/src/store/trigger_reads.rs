//! What people see of triggers: events that wait, queues that are read, messages that cannot be.

use jiff::Timestamp;
use serde_json::Value;

use super::{Store, StoreError, rows::read_option, triggers::PoisonMessage};
use crate::ids::RunId;

/// How events of one pipeline stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerRow {
    /// The pipeline.
    pub pipeline: String,
    /// Its current version.
    pub version: i32,
    /// Whether it is paused: everything waits.
    pub paused: bool,
    /// Events that wait for a run.
    pub waiting: i64,
    /// Since when the oldest of them waits.
    pub waiting_since: Option<Timestamp>,
    /// Those among them of which the current version can make no run.
    pub refused: i64,
    /// Why, of one of them.
    pub refusal: Option<String>,
    /// When the newest came.
    pub last_received_at: Option<Timestamp>,
}

/// An event of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Where it came from.
    pub source: String,
    /// By what it is known again.
    pub dedupe_key: String,
    /// When it came.
    pub received_at: Timestamp,
    /// What it tells.
    pub body: Value,
    /// Its run, if it has one.
    pub run: Option<RunId>,
    /// Why no run could be made of it.
    pub refusal: Option<String>,
}

/// A queue as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRow {
    /// The queue.
    pub queue: String,
    /// Messages that were read, repetitions among them.
    pub received: i64,
    /// Events that no pipeline wanted.
    pub unmatched: i64,
    /// When the last message came.
    pub last_received_at: Option<Timestamp>,
    /// Messages that cannot be read, each counted once.
    pub poison: i64,
    /// The newest of those.
    pub last_poison: Option<PoisonMessage>,
    /// What the queue itself said last, and when.
    pub asked: QueueAsked,
    /// When that was.
    pub asked_at: Option<Timestamp>,
}

/// What a queue says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueAsked {
    /// Messages in it, roughly.
    pub messages: Option<i64>,
    /// The queue that messages are moved to which cannot be read.
    pub dead_letter_queue: Option<String>,
    /// Messages in that one, roughly.
    pub dead_letters: Option<i64>,
    /// Why it cannot be read, or should be set up otherwise.
    pub trouble: Option<String>,
}

impl Store {
    /// How the events of each pipeline with triggers stand, by name; of one only, if it is named.
    pub async fn trigger_rows(&self, pipeline: Option<&str>) -> Result<Vec<TriggerRow>, StoreError> {
        let rows = sqlx::query_file!("queries/trigger_rows.sql", pipeline, self.seen())
            .fetch_all(&self.link)
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| TriggerRow {
                pipeline: row.name,
                version: row.current_version,
                paused: row.paused,
                waiting: row.waiting,
                waiting_since: read_option(row.waiting_since),
                refused: row.refused,
                refusal: row.refusal,
                last_received_at: read_option(row.last_received_at),
            })
            .collect())
    }

    /// How many events wait for each pipeline for which some do.
    pub async fn waiting_counts(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = sqlx::query!(
            r#"select pipeline, count(*) as "events!" from trigger_event where run_id is null group by pipeline"#
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows.into_iter().map(|row| (row.pipeline, row.events)).collect())
    }

    /// Events of a pipeline that wait for a run, oldest first.
    pub async fn waiting_events(&self, pipeline: &str, limit: i64) -> Result<Vec<EventRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select e.source, e.dedupe_key, e.received_at as "received_at: jiff_sqlx::Timestamp", e.body, e.run_id,
                      case when e.refused_version = p.current_version then e.refusal end as refusal
                 from trigger_event e join pipeline p on p.name = e.pipeline
                where e.pipeline = $1 and e.run_id is null
                order by e.received_at, e.dedupe_key limit $2"#,
            pipeline,
            limit
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| EventRow {
                source: row.source,
                dedupe_key: row.dedupe_key,
                received_at: row.received_at.to_jiff(),
                body: row.body,
                run: row.run_id.map(RunId),
                refusal: row.refusal,
            })
            .collect())
    }

    /// The queues that were read lately, by name. A queue is of no folder: whoever sees some folders only sees none.
    pub async fn queue_rows(&self) -> Result<Vec<QueueRow>, StoreError> {
        if self.seen().is_some() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_file!("queries/queue_rows.sql").fetch_all(&self.link).await?;
        Ok(rows
            .into_iter()
            .map(|row| QueueRow {
                queue: row.queue,
                received: row.received,
                unmatched: row.unmatched,
                last_received_at: read_option(row.last_received_at),
                poison: row.poison,
                last_poison: row
                    .last_poison_id
                    .zip(row.last_poison_reason)
                    .map(|(id, reason)| PoisonMessage { id, reason }),
                asked: QueueAsked {
                    messages: row.messages,
                    dead_letter_queue: row.dead_letter_queue,
                    dead_letters: row.dead_letters,
                    trouble: row.trouble,
                },
                asked_at: read_option(row.asked_at),
            })
            .collect())
    }

    /// Notes what a queue says of itself.
    pub async fn note_queue(&self, queue: &str, asked: &QueueAsked) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into trigger_queue (queue, messages, dead_letter_queue, dead_letters, trouble, asked_at)
             values ($1, $2, $3, $4, $5, clock_timestamp())
             on conflict (queue) do update
                set messages = $2, dead_letter_queue = $3, dead_letters = $4, trouble = $5, asked_at = clock_timestamp()",
            queue,
            asked.messages,
            asked.dead_letter_queue,
            asked.dead_letters,
            asked.trouble
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// What a run's trigger told, for templates and for people; nothing for most runs.
    pub async fn told(&self, run: RunId) -> Result<Option<Value>, StoreError> {
        Ok(sqlx::query_scalar!("select told from run_trigger where run_id = $1", run.0)
            .fetch_optional(&self.link)
            .await?)
    }
}
