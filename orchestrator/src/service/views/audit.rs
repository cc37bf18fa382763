//! What people and programs asked for, as JSON and in a line.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_state::store::AuditRow;

/// One thing that was done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditView {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: String,
    /// What: `run.clear`, `deploy`, `account.change` and so on.
    pub action: String,
    /// To what.
    pub object: String,
    /// The pipeline that it concerns, if it is one.
    pub pipeline: Option<String>,
    /// How exactly.
    pub detail: Value,
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        let AuditRow { id, at, actor, action, object, pipeline, detail } = row;
        Self { id, at, actor, action, object, pipeline, detail }
    }
}

impl AuditView {
    /// How exactly it was done, in one line.
    pub fn how(&self) -> String {
        told(&self.detail)
    }
}

/// What is known beside, in one line: only what says something.
fn told(detail: &Value) -> String {
    let Value::Object(fields) = detail else { return String::new() };
    if fields.contains_key("after") {
        let version = |name: &str| fields.get(name).filter(|value| !value.is_null());
        return match (version("before"), version("after")) {
            (Some(before), Some(after)) => format!("version {before} → {after}"),
            (None, Some(after)) => format!("version {after}"),
            (_, None) => "removed".to_owned(),
        };
    }
    // The action says the command, and nobody knows a token by its id.
    let shown = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "command" | "id"));
    let lines = shown.filter_map(|(name, value)| {
        let text = plain(value);
        (!text.is_empty()).then(|| format!("{}: {text}", name.replace('_', " ")))
    });
    lines.collect::<Vec<_>>().join(" · ")
}

/// A value as people write it: `viewer finance=operator`, `a, b`.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            items.iter().map(plain).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
        }
        Value::Object(fields) => {
            let one = |(name, value): (&String, &Value)| {
                if name.is_empty() { plain(value) } else { format!("{name}={}", plain(value)) }
            };
            fields.iter().map(one).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_done_is_told_in_one_line() {
        for (of, words) in [
            (json!({"before": 1, "after": 2}), "version 1 → 2"),
            (json!({"before": null, "after": 1}), "version 1"),
            (json!({"before": 3, "after": null}), "removed"),
            (json!({"roles": {"": "viewer", "finance": "operator"}}), "roles: viewer finance=operator"),
            (json!({"id": "49e3", "scopes": ["operate"], "folders": [""]}), "scopes: operate"),
            (json!({"command": "clear", "tasks": [], "reason": "late file"}), "reason: late file"),
            (json!({}), ""),
        ] {
            assert_eq!(told(&of), words);
        }
    }
}
