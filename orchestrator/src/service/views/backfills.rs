//! Backfills as JSON.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::store::{BackfillDate, BackfillRow};
use uuid::Uuid;

/// A backfill.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BackfillView {
    /// Its id.
    pub id: Uuid,
    /// Its pipeline.
    pub pipeline: String,
    /// The version that its new runs are of.
    pub version: i32,
    /// Which dates run: `missing`, `failed` or `all`.
    pub reprocess: String,
    /// How many at once.
    pub max_active: u32,
    /// `running`, `cancelled` or `done`.
    pub state: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Why.
    pub reason: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Dates in all.
    pub total: i64,
    /// Dates whose run is under way.
    pub running: i64,
    /// Dates that are over.
    pub over: i64,
    /// Its dates, where one backfill is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dates: Option<Vec<BackfillDateView>>,
}

/// One date of a backfill.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BackfillDateView {
    /// `pipeline@key`.
    pub run: String,
    /// The start of its interval.
    pub logical_date: Timestamp,
    /// `waiting`, `begun`, `ended` or `left`.
    pub state: String,
    /// The state of its run, if it has one.
    #[serde(default)]
    pub run_state: Option<String>,
    /// How its run ended, or why it was left alone.
    pub outcome: Option<String>,
}

impl BackfillView {
    /// A backfill, with its dates if there are some to show.
    pub fn new(row: &BackfillRow, dates: Option<&[BackfillDate]>) -> Self {
        let date = |date: &BackfillDate| BackfillDateView {
            run: format!("{}@{}", row.pipeline, date.key),
            logical_date: date.logical_date,
            state: date.state.clone(),
            run_state: date.run.map(|(state, _)| state.word().to_owned()),
            outcome: date.outcome.clone(),
        };
        Self {
            id: row.id,
            pipeline: row.pipeline.clone(),
            version: row.version,
            reprocess: row.reprocess.word().to_owned(),
            max_active: row.max_active,
            state: row.state.clone(),
            created_at: row.created_at,
            created_by: row.created_by.clone(),
            reason: row.reason.clone(),
            ended_at: row.ended_at,
            total: row.total,
            running: row.begun,
            over: row.over,
            dates: dates.map(|dates| dates.iter().map(date).collect()),
        }
    }
}
