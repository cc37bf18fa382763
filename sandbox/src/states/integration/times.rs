//! Times in the answers of services, as state machines see them: the services' own protocols write seconds since
//! the epoch, `aws-sdk:` integrations give texts of ISO 8601, optimised integrations give milliseconds.

use jiff::Timestamp;
use serde_json::{Number, Value};

/// Members of answers of Glue and Athena that are times.
const TIMES: [&str; 15] = [
    "CompletedOn",
    "CompletionDateTime",
    "CreateTime",
    "CreatedOn",
    "CreationTime",
    "EndTime",
    "LastAccessTime",
    "LastAnalyzedTime",
    "LastModifiedOn",
    "LastModifiedTime",
    "LastUpdated",
    "StartTime",
    "StartedOn",
    "SubmissionDateTime",
    "UpdateTime",
];

/// The answer with its times written as the kind of integration writes them.
pub(super) fn reworded(answer: Value, is_sdk: bool) -> Value {
    match answer {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| {
                    let value = match value {
                        Value::Number(seconds) if TIMES.contains(&name.as_str()) => time(&seconds, is_sdk),
                        other => reworded(other, is_sdk),
                    };
                    (name, value)
                })
                .collect(),
        ),
        Value::Array(items) => items.into_iter().map(|item| reworded(item, is_sdk)).collect(),
        other => other,
    }
}

fn time(seconds: &Number, is_sdk: bool) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of any time that a record holds fit")]
    let milliseconds = seconds.as_f64().map(|seconds| (seconds * 1000.0).round() as i64);
    let at = milliseconds.and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok());
    match (at, is_sdk) {
        (Some(at), true) => Value::from(at.to_string()),
        (Some(at), false) => Value::from(at.as_millisecond()),
        (None, _) => Value::Number(seconds.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_written_by_the_kind_of_integration() {
        let answer = json!({
            "JobRuns": [{ "StartedOn": 1_763_510_400.25, "ExecutionTime": 57 }], "StartTime": "kept",
        });
        let sdk = json!({
            "JobRuns": [{ "StartedOn": "2025-11-19T00:00:00.25Z", "ExecutionTime": 57 }], "StartTime": "kept",
        });
        assert_eq!(reworded(answer.clone(), true), sdk);
        let optimised = json!({
            "JobRuns": [{ "StartedOn": 1_763_510_400_250_i64, "ExecutionTime": 57 }], "StartTime": "kept",
        });
        assert_eq!(reworded(answer, false), optimised);
    }
}
