//! What a client can do at best that writes the rows of a fan-out: one statement for each kind of
//! row and phase, with its values in one array per column. The rows are those that the engine wrote.

use std::time::Duration;

use anyhow::Result;
use sqlx::types::Uuid;
use trunkline_state::{ids::RunId, store::Store};

use crate::stage::now;

/// The run that the copies belong to; it has ended from the first, so that no replica claims it.
const COPY: Uuid = Uuid::from_u128(1);

/// The values, by column.
pub struct SetBased {
    run: Uuid,
    tasks: (Vec<i32>, Vec<String>),
    attempts: (Vec<i32>, Vec<Uuid>, Vec<String>, Vec<String>),
    events: (Vec<i32>, Vec<String>),
    ends: (Vec<i32>, Vec<String>, Vec<Option<String>>),
}

impl SetBased {
    /// Takes the rows of a run that has ended.
    pub async fn read(store: &Store, run: RunId) -> Result<Self> {
        let tasks: Vec<(i32, String)> =
            sqlx::query_as("select position, task from task_run where run_id = $1 order by position")
                .bind(run.0)
                .fetch_all(store.pool())
                .await?;
        let attempts: Vec<(i32, Uuid, String, String, String, Option<String>)> = sqlx::query_as(
            "select a.position, a.attempt_id, a.operator, a.request::text, a.result::text, t.outputs::text
               from attempt a join task_run t using (run_id, position) where a.run_id = $1 order by a.position",
        )
        .bind(run.0)
        .fetch_all(store.pool())
        .await?;
        let events: Vec<(i32, String)> =
            sqlx::query_as("select seq, changes::text from event where run_id = $1 order by seq")
                .bind(run.0)
                .fetch_all(store.pool())
                .await?;
        let mut read = Self {
            run: run.0,
            tasks: tasks.into_iter().unzip(),
            attempts: Default::default(),
            events: events.into_iter().unzip(),
            ends: Default::default(),
        };
        for (position, id, operator, request, result, outputs) in attempts {
            read.attempts.0.push(position);
            read.attempts.1.push(id);
            read.attempts.2.push(operator);
            read.attempts.3.push(request);
            read.ends.0.push(position);
            read.ends.1.push(result);
            read.ends.2.push(outputs);
        }
        Ok(read)
    }

    /// Writes them again, as rows of another run: run and task runs, intents, ends, history.
    pub async fn write(&self, store: &Store) -> Result<Duration> {
        let pool = store.pool();
        let begin = now();
        sqlx::query(
            "insert into run select $2, pipeline, version, 'copy', 'succeeded', generation, logical_date,
                    interval_start, interval_end, fire_at, params, trigger, created_at, created_by, started_at,
                    created_at, null, false, null, task_states, 1, null, 0 from run where run_id = $1",
        )
        .bind(self.run)
        .bind(COPY)
        .execute(pool)
        .await?;
        sqlx::query(
            "insert into task_run (run_id, position, task, state, generation, attempts, tries, started_at)
             select $1, position, task, 'running', 1, 1, 1, now() from unnest($2::int[], $3::text[]) t (position, task)",
        )
        .bind(COPY)
        .bind(&self.tasks.0)
        .bind(&self.tasks.1)
        .execute(pool)
        .await?;
        sqlx::query(
            "insert into attempt (run_id, position, number, attempt_id, generation, state, operator, request, baseline,
                                  intent_at, deadline_at, replica_id)
             select $1, position, 1, id, 1, 'starting', operator, request::json, 'null', now(), now(), $1
               from unnest($2::int[], $3::uuid[], $4::text[], $5::text[]) a (position, id, operator, request)",
        )
        .bind(COPY)
        .bind(&self.attempts.0)
        .bind(&self.attempts.1)
        .bind(&self.attempts.2)
        .bind(&self.attempts.3)
        .execute(pool)
        .await?;
        sqlx::query(
            "insert into event (run_id, seq, at, actor, changes)
             select $1, seq, now(), 'replica:bench', changes::jsonb from unnest($2::int[], $3::text[]) e (seq, changes)",
        )
        .bind(COPY)
        .bind(&self.events.0)
        .bind(&self.events.1)
        .execute(pool)
        .await?;
        sqlx::query(
            "update attempt c set state = 'succeeded', ended_at = now(), result = e.result::jsonb
               from unnest($2::int[], $3::text[]) e (position, result)
              where c.run_id = $1 and c.position = e.position",
        )
        .bind(COPY)
        .bind(&self.ends.0)
        .bind(&self.ends.1)
        .execute(pool)
        .await?;
        sqlx::query(
            "update task_run c set state = 'succeeded', ended_at = now(), outputs = e.outputs::jsonb
               from unnest($2::int[], $3::text[]) e (position, outputs)
              where c.run_id = $1 and c.position = e.position",
        )
        .bind(COPY)
        .bind(&self.ends.0)
        .bind(&self.ends.2)
        .execute(pool)
        .await?;
        Ok(Duration::try_from(now().duration_since(begin))?)
    }
}
