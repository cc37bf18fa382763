//! Pipelines and their versions as JSON: what the store says of them now.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_state::store::{PipelineRow, VersionRow};

use super::DiagnosticView;

/// A pipeline as it is now.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PipelineView {
    /// Its name.
    pub pipeline: String,
    /// Where its file lies below the pipelines folder: rights are given by folder.
    #[serde(default)]
    pub folder: String,
    /// Its current version.
    pub version: i32,
    /// Whether it starts nothing new.
    pub paused: bool,
    /// Who paused or resumed it last.
    pub switched_by: Option<String>,
    /// And why.
    pub switch_reason: Option<String>,
    /// Whether it was removed by a deploy.
    pub removed: bool,
    /// Runs that hold a place.
    pub active_runs: i32,
    /// Places.
    pub max_active_runs: i32,
    /// Whole runs of one group exclude each other.
    pub concurrency_group: Option<String>,
    /// When it fires next.
    pub next_fire_at: Option<Timestamp>,
    /// Its newest runs, the newest last; in lists only.
    #[serde(default)]
    pub recent_runs: Vec<RecentRunView>,
}

/// A run at a glance.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecentRunView {
    /// Its key.
    pub run_key: String,
    /// Its state.
    pub state: String,
}

/// One pipeline with what its current version says.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PipelineDetail {
    #[serde(flatten)]
    pub pipeline: PipelineView,
    /// One line for people.
    pub description: String,
    /// Who is asked when it fails.
    pub owner: String,
    /// Free labels.
    pub tags: Vec<String>,
    /// The zone of its dates.
    pub timezone: String,
    /// The parameters that a run may be given.
    pub params: Map<String, Value>,
    /// Its tasks by name, upstream before downstream.
    pub tasks: Vec<String>,
}

/// A version in a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VersionView {
    /// Its number.
    pub version: i32,
    /// The hash of its contents.
    pub sha256: String,
    /// When it was stored.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// A version with its YAML.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VersionDetail {
    /// The pipeline.
    #[serde(default)]
    pub pipeline: String,
    /// Its number.
    pub version: i32,
    /// When it was stored.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// The YAML as it was read.
    pub source: String,
    /// What deserves a look in it, as far as the YAML alone tells this program.
    pub warnings: Vec<DiagnosticView>,
}

impl From<PipelineRow> for PipelineView {
    fn from(row: PipelineRow) -> Self {
        Self {
            pipeline: row.name,
            folder: row.folder,
            version: row.version,
            paused: row.paused,
            switched_by: row.switched_by,
            switch_reason: row.switch_reason,
            removed: row.removed,
            active_runs: row.active_runs,
            max_active_runs: row.max_active_runs,
            concurrency_group: row.concurrency_group,
            next_fire_at: row.next_fire_at,
            recent_runs: Vec::new(),
        }
    }
}

impl From<VersionRow> for VersionView {
    fn from(row: VersionRow) -> Self {
        let VersionRow { version, sha256, created_at, created_by } = row;
        Self { version, sha256: hex::encode(sha256), created_at, created_by }
    }
}
