//! Live replicas and their budgets as JSON.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::store::{BudgetRow, LiveReplica};
use uuid::Uuid;

/// How [`BudgetRow`] looks as JSON.
#[derive(JsonSchema)]
#[schemars(rename = "Budget")]
#[expect(dead_code, reason = "only its shape is used")]
struct BudgetShape {
    /// Connection and region.
    scope: String,
    /// The API.
    api: String,
    /// Calls per second that all replicas may make together while nobody throttles.
    nominal_per_second: f64,
    /// Calls per second that this replica may make now.
    allowed_per_second: f64,
    /// Calls that it made since it began.
    calls: u64,
    /// Those that the service refused as too many.
    throttles: u64,
    /// How much later than wanted the next call comes.
    stretch_seconds: f64,
}

/// A live replica.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaView {
    /// Its id.
    pub id: Uuid,
    /// Its machine.
    pub host: String,
    /// Its process.
    pub pid: i32,
    /// `serve` or `command`.
    pub role: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Runs that it owns.
    pub runs: i64,
    /// Its budgets of calls, as of one of its last heartbeats.
    #[schemars(with = "Vec<BudgetShape>")]
    pub budgets: Vec<BudgetRow>,
}

impl From<LiveReplica> for ReplicaView {
    fn from(replica: LiveReplica) -> Self {
        let LiveReplica { id, host, pid, role, started_at, runs, budgets } = replica;
        Self { id, host, pid, role, started_at, runs, budgets }
    }
}
