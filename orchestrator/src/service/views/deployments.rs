//! Deployments as JSON, and what one of them changed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::store::{Deployed, Deployment};

/// A deployment.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentView {
    /// Its number.
    pub deployment: i64,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: String,
    /// Pipelines, and the version of each that was current after it.
    pub versions: BTreeMap<String, i32>,
}

impl From<Deployment> for DeploymentView {
    fn from(row: Deployment) -> Self {
        let Deployment { id, at, actor, versions } = row;
        Self { deployment: id, at, actor, versions }
    }
}

impl DeploymentView {
    /// The pipelines whose version is another one than after the deployment before it, by name.
    pub fn changes_since(&self, before: Option<&Self>) -> Vec<VersionChange> {
        let none = BTreeMap::new();
        let before = before.map_or(&none, |before| &before.versions);
        let names: BTreeSet<&String> = before.keys().chain(self.versions.keys()).collect();
        let change = |name: &String| VersionChange {
            pipeline: name.clone(),
            before: before.get(name).copied(),
            after: self.versions.get(name).copied(),
        };
        names.into_iter().map(change).filter(|change| change.before != change.after).collect()
    }
}

/// The version of a pipeline before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionChange {
    /// The pipeline.
    pub pipeline: String,
    /// The version that was current before; none if it was removed.
    pub before: Option<i32>,
    /// The version that is current after; none if it is removed.
    pub after: Option<i32>,
}

impl From<Deployed> for VersionChange {
    fn from(change: Deployed) -> Self {
        Self { pipeline: change.name, before: change.before, after: change.after }
    }
}

impl From<VersionChange> for Deployed {
    fn from(change: VersionChange) -> Self {
        Self { name: change.pipeline, before: change.before, after: change.after }
    }
}
