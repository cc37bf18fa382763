//! The durable record of a query.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::execute::Done;
use crate::catalog::Column;

/// The state of a query, in Athena's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum QueryState {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl QueryState {
    /// Whether it can still change.
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Athena's word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// Why a query failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QueryError {
    /// 1 the system's, 2 the user's, 3 another's doing.
    pub category: u8,
    /// Athena's number for the kind of error.
    pub kind: u16,
    /// Whether the same query may succeed later.
    pub retryable: bool,
    /// Text for people.
    pub message: String,
}

/// A query execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct QueryRecord {
    /// A UUID.
    pub id: String,
    /// The statement as it was sent.
    pub sql: String,
    /// `DDL`, `DML` or `UTILITY`.
    pub statement_type: String,
    /// The database of unqualified names.
    pub database: Option<String>,
    /// The workgroup.
    pub workgroup: String,
    /// URI of the result object.
    pub output: String,
    /// Values for `?`.
    pub parameters: Vec<String>,
    /// The client's token.
    pub token: Option<String>,
    /// Hash of everything else in the request, to notice a changed request under the same token.
    pub request: String,
    /// State.
    pub state: QueryState,
    /// When it was accepted.
    pub submitted: Timestamp,
    /// When it ended.
    pub completed: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<QueryError>,
    /// Bytes of the objects that were read.
    pub scanned_bytes: u64,
    /// Milliseconds of execution.
    pub engine_milliseconds: i64,
    /// Columns of the result.
    pub columns: Vec<Column>,
    /// Rows that the statement wrote.
    #[serde(default)]
    pub rows: u64,
    /// Whether its workgroup alone says where results go.
    #[serde(default)]
    pub location_enforced: bool,
}

impl QueryRecord {
    /// Records what the execution came to, unless the query has ended.
    pub(super) fn finish(&mut self, done: Done, began: Timestamp, now: Timestamp) {
        if self.state.is_terminal() {
            return;
        }
        self.scanned_bytes = done.scanned_bytes;
        self.columns = done.columns;
        self.rows = done.rows;
        self.state = if done.error.is_some() { QueryState::Failed } else { QueryState::Succeeded };
        self.error = done.error;
        self.engine_milliseconds = now.as_millisecond() - began.as_millisecond();
        self.completed = Some(now);
    }

    /// Records that the query was stopped, unless it has ended.
    pub(super) fn cancel(&mut self, now: Timestamp) {
        if !self.state.is_terminal() {
            self.state = QueryState::Cancelled;
            self.completed = Some(now);
        }
    }
}
