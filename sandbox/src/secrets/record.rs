//! What is kept of one secret.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::wire::epoch_seconds;

/// The stage of the version that is read by those who name none.
pub(super) const CURRENT: &str = "AWSCURRENT";
/// The stage of the one before it.
pub(super) const PREVIOUS: &str = "AWSPREVIOUS";

/// One secret.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Secret {
    pub name: String,
    pub arn: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub key: Option<String>,
    pub created: Timestamp,
    pub changed: Timestamp,
    /// When it was marked for deletion, and when it goes.
    #[serde(default)]
    pub deletion: Option<(Timestamp, Timestamp)>,
    pub versions: BTreeMap<String, Version>,
}

/// One version. A version without a stage is deprecated, and kept.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Version {
    pub created: Timestamp,
    #[serde(default)]
    pub text: Option<String>,
    /// Base64, as it came.
    #[serde(default)]
    pub binary: Option<String>,
    pub stages: BTreeSet<String>,
}

/// Without the values.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Secret {
    /// Takes a version; its stages leave the versions that had them.
    pub(super) fn put(&mut self, id: &str, version: Version) {
        for stage in version.stages.clone() {
            self.take_stage(&stage);
        }
        self.versions.insert(id.to_owned(), version);
    }

    /// Gives a stage to a version, which must exist.
    pub(super) fn move_stage(&mut self, stage: &str, to: &str) {
        self.take_stage(stage);
        if let Some(version) = self.versions.get_mut(to) {
            version.stages.insert(stage.to_owned());
        }
    }

    /// Takes a stage from whoever has it. What was current becomes the previous one.
    pub(super) fn take_stage(&mut self, stage: &str) {
        let holder = self.versions.iter_mut().find(|(_, version)| version.stages.contains(stage));
        let Some((id, holder)) = holder else { return };
        holder.stages.remove(stage);
        let id = id.clone();
        if stage == CURRENT {
            for version in self.versions.values_mut() {
                version.stages.remove(PREVIOUS);
            }
            if let Some(version) = self.versions.get_mut(&id) {
                version.stages.insert(PREVIOUS.to_owned());
            }
        }
    }

    /// The version with a stage.
    pub(super) fn staged(&self, stage: &str) -> Option<(&String, &Version)> {
        self.versions.iter().find(|(_, version)| version.stages.contains(stage))
    }

    /// What `DescribeSecret` and `ListSecrets` both tell; the stages stand under another name in each.
    pub(super) fn shown(&self, stages: &str) -> Value {
        let mut shown = Map::new();
        shown.insert("ARN".into(), json!(self.arn));
        shown.insert("Name".into(), json!(self.name));
        shown.insert("CreatedDate".into(), epoch_seconds(self.created));
        shown.insert("LastChangedDate".into(), epoch_seconds(self.changed));
        if let Some(description) = &self.description {
            shown.insert("Description".into(), json!(description));
        }
        if let Some(key) = &self.key {
            shown.insert("KmsKeyId".into(), json!(key));
        }
        if let Some((marked, _)) = self.deletion {
            shown.insert("DeletedDate".into(), epoch_seconds(marked));
        }
        let staged = self.versions.iter().filter(|(_, version)| !version.stages.is_empty());
        let staged: BTreeMap<&String, &BTreeSet<String>> =
            staged.map(|(id, version)| (id, &version.stages)).collect();
        shown.insert(stages.into(), json!(staged));
        Value::Object(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(stages: &[&str]) -> Version {
        Version {
            created: Timestamp::UNIX_EPOCH,
            text: Some("canary".into()),
            binary: None,
            stages: stages.iter().map(|stage| (*stage).to_owned()).collect(),
        }
    }

    #[test]
    fn a_stage_is_at_one_version_and_current_leaves_previous_behind() {
        let at = Timestamp::UNIX_EPOCH;
        let mut secret = Secret {
            name: "n".into(),
            arn: "a".into(),
            description: None,
            key: None,
            created: at,
            changed: at,
            deletion: None,
            versions: BTreeMap::new(),
        };
        for id in ["1", "2", "3"] {
            secret.put(id, version(&[CURRENT]));
        }
        assert_eq!(secret.staged(CURRENT).unwrap().0, "3");
        assert_eq!(secret.staged(PREVIOUS).unwrap().0, "2");
        assert!(secret.versions["1"].stages.is_empty());
        secret.move_stage(CURRENT, "2");
        assert_eq!(secret.staged(CURRENT).unwrap().0, "2");
        assert_eq!(secret.staged(PREVIOUS).unwrap().0, "3");
        assert!(!format!("{secret:?}").contains("canary"));
    }
}
