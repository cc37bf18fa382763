//! The durable record of a statement, or of a batch of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::dialect::parameters::Parameter;

/// How long a statement and its result are kept after its end (the service's own limit).
const KEPT_HOURS: i64 = 24;

/// How long a client token is remembered (the service's own limit).
const TOKEN_HOURS: i64 = 8;

/// The state of a statement, in the service's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum StatementState {
    Submitted,
    Picked,
    Started,
    Finished,
    Failed,
    Aborted,
}

impl StatementState {
    /// Whether it can still change.
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Aborted)
    }

    /// The service's word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Picked => "PICKED",
            Self::Started => "STARTED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Aborted => "ABORTED",
        }
    }
}

/// How the statements of a batch hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Mode {
    /// All or nothing.
    Transaction,
    /// Each for itself.
    AutoCommit,
}

/// What one statement came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    /// How long it ran, in nanoseconds.
    pub nanoseconds: i64,
    /// Rows that were returned or changed.
    pub rows: i64,
    /// Bytes of the result.
    pub bytes: i64,
    /// Whether there is a result, possibly without rows.
    pub has_result: bool,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Its text as it was sent.
    pub sql: String,
    /// Its state.
    pub state: StatementState,
    /// When it last changed.
    pub updated: Timestamp,
    /// Why it failed.
    pub error: Option<String>,
    /// What it came to.
    pub done: Done,
}

/// A call of `ExecuteStatement` or `BatchExecuteStatement`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StatementRecord {
    /// A UUID.
    pub id: String,
    /// The caller's name for it.
    pub name: Option<String>,
    /// The caller's token.
    pub token: Option<String>,
    /// Hash of everything else in the request.
    pub request: String,
    /// The cluster.
    pub cluster: Option<String>,
    /// The workgroup.
    pub workgroup: Option<String>,
    /// The database, in Redshift's words.
    pub database: String,
    /// Where it lies in `PostgreSQL`; the error if it does not exist.
    pub place: Result<String, String>,
    /// The user.
    pub db_user: Option<String>,
    /// The secret.
    pub secret_arn: Option<String>,
    /// Values.
    pub parameters: Vec<Parameter>,
    /// Whether it is a batch, which it is also with one statement.
    pub is_batch: bool,
    /// How the statements hang together.
    pub mode: Mode,
    /// State of the whole.
    pub state: StatementState,
    /// When it was accepted.
    pub submitted: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Why it failed.
    pub error: Option<String>,
    /// The process that served it.
    pub pid: i64,
    /// The statements.
    pub parts: Vec<Part>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// All statements ran. One entry each.
    Finished(Vec<Done>),
    /// A statement failed; those before it ran, those behind it did not.
    Failed {
        /// What those before it came to.
        done: Vec<Done>,
        /// Its text.
        error: String,
    },
    /// Somebody stopped it, after these had run.
    Aborted(Vec<Done>),
    /// With each statement for itself: what each came to.
    Each(Vec<Result<Done, String>>),
}

impl StatementRecord {
    /// Whether the service would not know it any more.
    pub(super) fn is_forgotten(&self, now: Timestamp) -> bool {
        self.state.is_terminal() && hours_between(self.updated, now) >= KEPT_HOURS
    }

    /// Whether the token still means this record.
    pub(super) fn holds_token(&self, token: &str, now: Timestamp) -> bool {
        self.token.as_deref() == Some(token) && hours_between(self.submitted, now) < TOKEN_HOURS
    }

    /// The name of the cluster or workgroup.
    pub(super) fn target(&self) -> &str {
        self.cluster.as_deref().or(self.workgroup.as_deref()).unwrap_or_default()
    }

    /// Records a state on the way.
    pub(super) fn advance(&mut self, state: StatementState, now: Timestamp) {
        self.state = state;
        self.updated = now;
    }

    /// Records how it ended.
    pub(super) fn end(&mut self, ended: Ended, now: Timestamp) {
        if self.state.is_terminal() {
            return;
        }
        let outcomes: Vec<(StatementState, Done, Option<String>)> = match ended {
            Ended::Finished(done) => {
                self.advance(StatementState::Finished, now);
                done.into_iter().map(finished).collect()
            }
            Ended::Aborted(done) => {
                self.advance(StatementState::Aborted, now);
                done.into_iter().map(finished).collect()
            }
            Ended::Failed { done, error } => {
                self.fail(done.len(), &error, now);
                let failed = (StatementState::Failed, Done::default(), Some(error));
                done.into_iter().map(finished).chain([failed]).collect()
            }
            Ended::Each(each) => {
                self.advance(StatementState::Finished, now);
                let first = each.iter().enumerate().find_map(|(at, one)| Some((at, one.as_ref().err()?)));
                if let Some((at, error)) = first {
                    self.fail(at, error, now);
                }
                let outcome = |one: Result<Done, String>| match one {
                    Ok(done) => finished(done),
                    Err(error) => (StatementState::Failed, Done::default(), Some(error)),
                };
                each.into_iter().map(outcome).collect()
            }
        };
        for (at, part) in self.parts.iter_mut().enumerate() {
            let never = (StatementState::Aborted, Done::default(), None);
            (part.state, part.done, part.error) = outcomes.get(at).cloned().unwrap_or(never);
            part.updated = now;
        }
    }

    fn fail(&mut self, at: usize, error: &str, now: Timestamp) {
        self.advance(StatementState::Failed, now);
        let number = at + 1;
        self.error = Some(if self.is_batch {
            format!("Query #{number} failed with {error}")
        } else {
            error.to_owned()
        });
    }
}

fn finished(done: Done) -> (StatementState, Done, Option<String>) {
    (StatementState::Finished, done, None)
}

fn hours_between(from: Timestamp, to: Timestamp) -> i64 {
    (to.as_second() - from.as_second()) / 3600
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn record(parts: usize) -> StatementRecord {
        let part = Part {
            sql: "SELECT 1".to_owned(),
            state: StatementState::Submitted,
            updated: Timestamp::UNIX_EPOCH,
            error: None,
            done: Done::default(),
        };
        StatementRecord {
            id: "00000000-0000-4000-8000-000000000001".to_owned(),
            name: Some("n".to_owned()),
            token: Some("t".to_owned()),
            request: "r".to_owned(),
            cluster: None,
            workgroup: Some("w".to_owned()),
            database: "dev".to_owned(),
            place: Ok("p".to_owned()),
            db_user: None,
            secret_arn: None,
            parameters: Vec::new(),
            is_batch: parts > 1,
            mode: Mode::Transaction,
            state: StatementState::Submitted,
            submitted: Timestamp::UNIX_EPOCH,
            updated: Timestamp::UNIX_EPOCH,
            error: None,
            pid: 0,
            parts: vec![part; parts],
        }
    }

    fn hours(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    fn states(record: &StatementRecord) -> Vec<&'static str> {
        record.parts.iter().map(|part| part.state.name()).collect()
    }

    #[test]
    fn a_failure_names_its_statement_and_stops_the_rest() {
        let mut batch = record(3);
        batch.end(Ended::Failed { done: vec![Done::default()], error: "ERROR: no".to_owned() }, hours(0));
        assert_eq!(states(&batch), ["FINISHED", "FAILED", "ABORTED"]);
        assert_eq!(batch.error.as_deref(), Some("Query #2 failed with ERROR: no"));
        let mut single = record(1);
        single.end(Ended::Failed { done: Vec::new(), error: "ERROR: no".to_owned() }, hours(0));
        assert_eq!(single.error.as_deref(), Some("ERROR: no"));
        let mut each = record(3);
        each.end(
            Ended::Each(vec![Ok(Done::default()), Err("ERROR: no".to_owned()), Ok(Done::default())]),
            hours(0),
        );
        assert_eq!((states(&each), each.state.name()), (vec!["FINISHED", "FAILED", "FINISHED"], "FAILED"));
    }

    #[test]
    fn an_end_is_final() {
        let mut one = record(1);
        one.end(Ended::Aborted(Vec::new()), hours(0));
        one.end(Ended::Finished(vec![Done::default()]), hours(0));
        assert_eq!(one.state, StatementState::Aborted);
    }

    #[test]
    fn tokens_and_records_have_their_time() {
        let mut one = record(1);
        assert!(
            one.holds_token("t", hours(7))
                && !one.holds_token("t", hours(8))
                && !one.holds_token("u", hours(0))
        );
        assert!(!one.is_forgotten(hours(48)), "what runs is known");
        one.end(Ended::Finished(vec![Done::default()]), hours(0));
        assert!(!one.is_forgotten(hours(23)) && one.is_forgotten(hours(24)));
    }
}
