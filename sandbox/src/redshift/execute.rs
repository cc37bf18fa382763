//! The work of one call: its statements in one transaction or each for itself, stopped when somebody says so.
//!
//! A transaction ends with a note of what it came to, in the database itself: after a crash of the sandbox the note
//! tells a call that was committed from one that was not.

use tokio_util::sync::CancellationToken;

use super::copy;
use super::database::{Answer, DatabaseError, Session};
use super::dialect::{How, Translated, translate};
use super::record::{Done, Ended, Mode, StatementRecord};
use super::results;
use crate::world::World;

/// A call at work.
pub(super) struct Work<'a> {
    pub world: &'a World,
    pub record: &'a StatementRecord,
    pub session: &'a mut Session,
    pub stop: &'a CancellationToken,
}

/// Why the work cannot say how it ended: the connection broke.
#[derive(Debug)]
pub(super) struct Broken;

/// Why a statement did not run.
enum Trouble {
    Failed(String),
    Stopped,
    Broken,
}

/// The key of the note of a call, or of one of its statements.
pub(super) fn note_of(record: &StatementRecord, at: usize) -> String {
    match record.mode {
        Mode::Transaction => record.id.clone(),
        Mode::AutoCommit => format!("{}:{}", record.id, at + 1),
    }
}

impl Work<'_> {
    /// Runs everything.
    pub(super) async fn run(mut self) -> Result<Ended, Broken> {
        match self.record.mode {
            Mode::Transaction => self.together().await,
            Mode::AutoCommit => self.each().await,
        }
    }

    async fn together(&mut self) -> Result<Ended, Broken> {
        let mut done = Vec::new();
        match self.transaction(&mut done).await {
            Ok(()) => Ok(Ended::Finished(done)),
            Err(Trouble::Broken) => Err(Broken),
            Err(trouble) => {
                // What fails here ends with the session anyway.
                drop(self.session.rollback().await);
                Ok(match trouble {
                    Trouble::Failed(error) => Ended::Failed { done, error },
                    _ => Ended::Aborted(done),
                })
            }
        }
    }

    async fn transaction(&mut self, done: &mut Vec<Done>) -> Result<(), Trouble> {
        let record = self.record;
        self.begin().await?;
        for at in 0..record.parts.len() {
            let statement = self.translated(at)?;
            if statement.how == How::Alone {
                if record.is_batch {
                    let word = super::dialect::first_word(&statement.sql);
                    return Err(Trouble::Failed(format!(
                        "ERROR: {word} cannot run inside a transaction block"
                    )));
                }
                self.rollback().await?;
                done.push(self.statement(at, &statement).await?);
                // Ended already; there is nothing to note it with.
                return Ok(());
            }
            done.push(self.statement(at, &statement).await?);
            if statement.how == How::Commits && at + 1 < record.parts.len() {
                self.commit().await?;
                self.begin().await?;
            }
        }
        self.note(0, done).await?;
        self.commit().await
    }

    async fn each(&mut self) -> Result<Ended, Broken> {
        let mut each = Vec::new();
        for at in 0..self.record.parts.len() {
            match self.alone(at).await {
                Ok(done) => each.push(Ok(done)),
                Err(Trouble::Failed(error)) => {
                    drop(self.session.rollback().await);
                    each.push(Err(error));
                }
                Err(Trouble::Stopped) => {
                    drop(self.session.rollback().await);
                    return Ok(Ended::Aborted(each.into_iter().flatten().collect()));
                }
                Err(Trouble::Broken) => return Err(Broken),
            }
        }
        Ok(Ended::Each(each))
    }

    /// One statement for itself.
    async fn alone(&mut self, at: usize) -> Result<Done, Trouble> {
        let statement = self.translated(at)?;
        if statement.how == How::Alone {
            return self.statement(at, &statement).await;
        }
        self.begin().await?;
        let done = self.statement(at, &statement).await?;
        self.note(at, &[done]).await?;
        self.commit().await?;
        Ok(done)
    }

    fn translated(&self, at: usize) -> Result<Translated, Trouble> {
        let record = self.record;
        translate(&record.parts[at].sql, &record.parameters, &record.database).map_err(Trouble::Failed)
    }

    /// Runs a statement and keeps its result.
    async fn statement(&mut self, at: usize, statement: &Translated) -> Result<Done, Trouble> {
        if self.stop.is_cancelled() {
            return Err(Trouble::Stopped);
        }
        let began = self.world.clock.now();
        let answer = match &statement.copy {
            Some(plan) => {
                let copied = copy::copy(self.session, &self.world.s3, plan).await;
                copied.map(|affected| Answer { affected, ..Answer::default() })
            }
            None => self.session.run(&statement.sql).await,
        };
        let answer = answer.map_err(|error| self.trouble(error))?;
        let nanoseconds = self.world.clock.now().as_nanosecond() - began.as_nanosecond();
        let done = Done {
            nanoseconds: i64::try_from(nanoseconds).unwrap_or(i64::MAX).max(1),
            rows: answer.affected,
            bytes: i64::try_from(answer.bytes).unwrap_or(i64::MAX),
            has_result: answer.columns.is_some(),
        };
        if let Some(columns) = answer.columns {
            let path = results::file(&self.world.root, &self.record.id, at);
            let kept = results::Kept { columns, rows: answer.rows };
            let written = tokio::task::spawn_blocking(move || crate::files::replace_json(&path, &kept)).await;
            let failed =
                |error: String| Trouble::Failed(format!("ERROR: the result cannot be kept: {error}"));
            written.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        }
        Ok(done)
    }

    async fn note(&mut self, at: usize, done: &[Done]) -> Result<(), Trouble> {
        let outcome = serde_json::to_string(done).map_err(|error| Trouble::Failed(error.to_string()))?;
        let noted = self.session.note(&note_of(self.record, at), &outcome).await;
        noted.map_err(|error| self.trouble(error))
    }

    async fn begin(&mut self) -> Result<(), Trouble> {
        let begun = self.session.begin().await;
        begun.map_err(|error| self.trouble(error))
    }

    async fn rollback(&mut self) -> Result<(), Trouble> {
        let ended = self.session.rollback().await;
        ended.map_err(|error| self.trouble(error))
    }

    /// The last moment at which a stop counts.
    async fn commit(&mut self) -> Result<(), Trouble> {
        if self.stop.is_cancelled() {
            return Err(Trouble::Stopped);
        }
        let committed = self.session.commit().await;
        committed.map_err(|error| self.trouble(error))
    }

    fn trouble(&self, error: DatabaseError) -> Trouble {
        if error.code.is_none() {
            Trouble::Broken
        } else if error.is_cancelled() && self.stop.is_cancelled() {
            Trouble::Stopped
        } else {
            Trouble::Failed(error.message)
        }
    }
}
