//! Pools as JSON: their slots, who has some, who waits.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::store::{PoolRow, TurnRow};

/// A pool.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PoolView {
    /// Its name.
    pub pool: String,
    /// How many slots it has.
    pub slots: u32,
    /// How many of them are taken.
    pub taken: u32,
    /// How many tasks wait for some.
    pub waiting: u32,
    /// Who has some, then who waits, in the order in which they get some; where one pool is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<Vec<TurnView>>,
}

/// A task that has slots of a pool, or waits for some.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TurnView {
    /// Its run: `pipeline@key`.
    pub run: String,
    /// Its name.
    pub task: String,
    /// How many slots.
    pub slots: u32,
    /// Since when it wants them.
    pub wanted_at: Timestamp,
    /// Since when it has them; none while it waits.
    pub granted_at: Option<Timestamp>,
}

impl PoolView {
    /// A pool, with its turns if there are some to show.
    pub fn new(row: PoolRow, turns: Option<Vec<TurnRow>>) -> Self {
        let PoolRow { name, slots, taken, waiting } = row;
        let turns = turns.map(|rows| rows.into_iter().map(TurnView::from).collect());
        Self { pool: name, slots, taken, waiting, turns }
    }
}

impl From<TurnRow> for TurnView {
    fn from(row: TurnRow) -> Self {
        let TurnRow { run, task, slots, wanted_at, granted_at } = row;
        Self { run, task, slots, wanted_at, granted_at }
    }
}
