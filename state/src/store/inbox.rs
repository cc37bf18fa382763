//! Commands for runs that another replica owns: durable letters with an answer.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Store, StoreError, rows::to_json};
use crate::{ids::RunId, machine::Command};

/// The longest that a command waits to be taken. Whoever left it has given up by then, and what was meant
/// for a run as it stood must not change what becomes of it much later.
const LETTER_LIFE: Duration = Duration::from_secs(10 * 60);

/// A command that waits for the owner of its run.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its id.
    pub id: i64,
    /// The run.
    pub run: RunId,
    /// What is asked.
    pub command: Command,
    /// By whom.
    pub actor: String,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was carried out and committed.
    Done,
    /// It was not, and nothing changed.
    Refused(String),
}

impl Store {
    /// Leaves a command for the owner of a run. Once it returned, whoever owns the run next
    /// will read it.
    pub async fn post(&self, run: RunId, command: &Command, actor: &str) -> Result<i64, StoreError> {
        let id = sqlx::query_scalar!(
            "insert into inbox (run_id, command, actor) values ($1, $2, $3) returning inbox_id",
            run.0,
            to_json(command),
            actor
        )
        .fetch_one(&self.link)
        .await?;
        self.hint().await?;
        Ok(id)
    }

    /// Leaves a command for the owner of each of these runs, in one statement. The ids of the letters,
    /// by run.
    pub async fn post_all(
        &self,
        commands: &[(RunId, &Command)],
        actor: &str,
    ) -> Result<HashMap<RunId, i64>, StoreError> {
        let runs: Vec<Uuid> = commands.iter().map(|(run, _)| run.0).collect();
        let texts: Vec<String> = commands.iter().map(|(_, command)| to_json(command).to_string()).collect();
        let rows = sqlx::query!(
            "insert into inbox (run_id, command, actor)
             select l.run_id, l.command::jsonb, $3
               from unnest($1::uuid[], $2::text[]) with ordinality as l (run_id, command, place) order by l.place
             returning run_id, inbox_id",
            &runs,
            &texts,
            actor
        )
        .fetch_all(&self.link)
        .await?;
        self.hint().await?;
        Ok(rows.into_iter().map(|row| (RunId(row.run_id), row.inbox_id)).collect())
    }

    /// The oldest unanswered commands for runs that this replica owns, oldest first.
    pub async fn letters(&self, limit: i64) -> Result<Vec<Letter>, StoreError> {
        let rows = sqlx::query!(
            r#"select i.inbox_id, i.run_id, i.command as "command: Json<Command>", i.actor
                 from inbox i join run r using (run_id)
                where i.answered_at is null and r.owner = $1 order by i.inbox_id limit $2"#,
            self.replica.0,
            limit
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Letter {
                id: row.inbox_id,
                run: RunId(row.run_id),
                command: row.command.0,
                actor: row.actor,
            })
            .collect())
    }

    /// The runs that nobody alive owns and somebody left a command for, the longest first: whoever asked is
    /// gone, or would have claimed the run.
    pub async fn unheard(&self, limit: i64) -> Result<Vec<RunId>, StoreError> {
        let rows = sqlx::query_scalar!(
            r#"select i.run_id from inbox i join run r using (run_id)
                where i.answered_at is null
                  and (r.owner is null
                       or not exists (select 1 from replica v
                                       where v.replica_id = r.owner
                                         and v.heartbeat_at > clock_timestamp() - make_interval(secs => $1)))
                group by i.run_id order by min(i.inbox_id) limit $2"#,
            self.dead_after.as_secs_f64(),
            limit
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows.into_iter().map(RunId).collect())
    }

    /// Refuses every command that has waited for longer than [`LETTER_LIFE`].
    pub async fn refuse_old_letters(&self) -> Result<(), StoreError> {
        let answer = Answer::Refused(format!(
            "nobody could be asked for {} minutes, so that it was given up: ask again",
            LETTER_LIFE.as_secs() / 60
        ));
        sqlx::query!(
            "update inbox set answered_at = clock_timestamp(), answer = $2
              where answered_at is null and created_at < clock_timestamp() - make_interval(secs => $1)",
            LETTER_LIFE.as_secs_f64(),
            to_json(&answer)
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// Answers a command, once its effect is committed or it was refused. A second answer
    /// changes nothing.
    pub async fn answer(&self, letter: i64, answer: &Answer) -> Result<(), StoreError> {
        sqlx::query!(
            "update inbox set answered_at = clock_timestamp(), answer = $2 where inbox_id = $1 and answered_at is null",
            letter,
            to_json(answer)
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// The answer to a command, once there is one.
    pub async fn answer_to(&self, letter: i64) -> Result<Option<Answer>, StoreError> {
        let answer = sqlx::query_scalar!(
            r#"select answer as "answer: Json<Answer>" from inbox where inbox_id = $1 and answered_at is not null"#,
            letter
        )
        .fetch_optional(&self.link)
        .await?;
        Ok(answer.flatten().map(|answer| answer.0))
    }

    /// The answers to those of these commands that have one.
    pub async fn answers_to(&self, letters: &[i64]) -> Result<HashMap<i64, Answer>, StoreError> {
        let rows = sqlx::query!(
            r#"select inbox_id, answer as "answer!: Json<Answer>" from inbox
                where inbox_id = any($1) and answered_at is not null and answer is not null"#,
            letters
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows.into_iter().map(|row| (row.inbox_id, row.answer.0)).collect())
    }
}
