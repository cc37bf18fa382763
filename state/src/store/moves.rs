//! Runs that go on with another version than they began with.

use jiff::Timestamp;
use sqlx::PgConnection;

use super::{
    Store, StoreError,
    rows::{at, position, signed, to_json},
    uncancelled,
};
use crate::versions::Moved;

impl Store {
    /// Stores that a run that has ended is moved to a version; `words` say who wanted it and why. Once
    /// it returned `true`, the run is stored as in `moved`, still ended, and no write of whoever had
    /// taken it up before succeeds any more. `false`: it changed since it was read, and nothing
    /// was written.
    pub async fn move_run(
        &self,
        moved: &Moved,
        words: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let pool = self.link.pool.clone();
        let (moved, actor) = (moved.clone(), actor.to_owned());
        let changes = to_json(&moved.transitions(words, now));
        uncancelled(async move {
            let mut tx = pool.begin().await?;
            let run = &moved.run;
            let seq = sqlx::query_scalar!(
                "update run set version = $4, params = $5, task_states = $6, event_seq = event_seq + 1,
                        fence = fence + 1, owner = null
                  where run_id = $1 and version = $2 and generation = $3
                    and state in ('succeeded','failed','cancelled')
                 returning event_seq",
                run.id.0,
                moved.before.definition.version,
                signed(run.generation),
                run.definition.version,
                to_json(&run.params),
                run.packed_states()
            )
            .fetch_optional(&mut *tx)
            .await?;
            let Some(seq) = seq else { return Ok(false) };
            move_tasks(&mut tx, &moved).await?;
            sqlx::query!(
                "insert into event (run_id, seq, at, actor, changes) values ($1, $2, $3, $4, $5)",
                run.id.0,
                seq,
                at(now) as _,
                actor,
                changes
            )
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }
}

async fn move_tasks(tx: &mut PgConnection, moved: &Moved) -> Result<(), StoreError> {
    let run = &moved.run;
    for &task in moved.added.iter().chain(&moved.gone) {
        let name = run.task_name(task);
        sqlx::query!(
            "insert into task_run (run_id, position, task, state, generation, attempts, tries)
             values ($1, $2, $3, $4, $5, 0, 0) on conflict (run_id, position) do update set state = excluded.state",
            run.id.0,
            position(task),
            name.as_ref(),
            run.tasks[task].state.word(),
            signed(run.tasks[task].generation)
        )
        .execute(&mut *tx)
        .await?;
    }
    let unmapped: Vec<i32> = moved.unmapped.iter().copied().map(position).collect();
    sqlx::query!(
        "update task_run set elements = null where run_id = $1 and position = any($2)",
        run.id.0,
        &unmapped
    )
    .execute(&mut *tx)
    .await?;
    Ok(())
}
