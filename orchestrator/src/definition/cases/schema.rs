//! JSON Schema of `tests.yaml`, for editors: `trunkline schema --tests`.
//!
//! Made from the same lists of keys that the reader takes, and committed as
//! `docs/tests-schema.json`. Names of tasks, vars and parameters only the reader knows.

use serde_json::{Map, Value, json};

use super::{
    answers::{ANSWERS_MAX, CLASSES, COST_KEYS, THROTTLED_MAX},
    expect::{ATTEMPTS_MAX, LIST_MAX, words},
    read::CASES_MAX,
};

/// The schema of a file of tests.
pub fn cases_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Trunkline tests of a pipeline",
        "type": "object",
        "required": ["cases"],
        "additionalProperties": false,
        "properties": {
            "$schema": { "type": "string" },
            "cases": { "type": "object", "maxProperties": CASES_MAX, "additionalProperties": { "$ref": "#/$defs/case" } }
        },
        "$defs": {
            "case": case(),
            "answer": answer(),
            "failure": failure(),
            "expect": expect(),
            "task": task(),
            "notice": notice(),
            "query": query(),
            "texts": { "anyOf": [{ "type": ["string", "number", "boolean"] }, { "type": "array", "items": { "type": ["string", "number", "boolean"] } }] }
        }
    })
}

/// The schema as the text of `docs/tests-schema.json`.
pub fn cases_schema_text() -> String {
    format!("{:#}\n", cases_schema())
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

fn case() -> Value {
    let properties = json!({
        "description": { "type": "string", "description": "One line for people." },
        "date": { "type": ["string", "number"], "description": "The date that the run covers, as for `trunkline run --date`." },
        "fire": { "type": "string", "description": "The moment at which the schedule fires for the run, in the pipeline's zone or with an offset." },
        "params": { "type": "object", "description": "Parameters of the run." },
        "vars": { "type": "object", "description": "Vars that take the place of the environment's." },
        "sandbox": { "type": "boolean", "default": false, "description": "Whether the case really executes, on a sandbox and a store of its own." },
        "files": {
            "type": "object",
            "description": "What lies in the sandbox's buckets, by s3://bucket/key, and in private databases, by private:name as SQL: a path beside tests.yaml or a text.",
            "propertyNames": { "pattern": "^(s3://[a-z0-9.-]{3,63}(/.*)?|private:[a-z][a-z0-9_]{0,62})$" },
            "additionalProperties": { "anyOf": [{ "type": "string" }, object(json!({ "text": { "type": "string" } }), &["text"])] }
        },
        "answers": {
            "type": "object",
            "description": "What the services make of each attempt, by task; without one it succeeds.",
            "additionalProperties": { "anyOf": [
                { "$ref": "#/$defs/answer" },
                { "type": "array", "maxItems": ANSWERS_MAX, "items": { "$ref": "#/$defs/answer" } }
            ] }
        },
        "expect": { "$ref": "#/$defs/expect" }
    });
    object(properties, &["expect"])
}

fn answer() -> Value {
    let failure = |text: &str| json!({ "$ref": "#/$defs/failure", "description": text });
    let costs: Map<String, Value> =
        COST_KEYS.iter().map(|key| ((*key).to_owned(), json!({ "type": "number" }))).collect();
    let properties = json!({
        "outputs": { "type": "object", "description": "What the job leaves for later tasks." },
        "warnings": { "$ref": "#/$defs/texts" },
        "cost": object(Value::Object(costs), &[]),
        "fails": failure("The job runs and fails."),
        "refused": failure("The service does not take the start."),
        "lost": failure("Nobody can ever tell how it ended."),
        "approved": { "const": true, "description": "A person says yes." },
        "rejected": { "const": true, "description": "A person says no." },
        "takes": { "type": "string", "default": "1m", "description": "How long the job takes." },
        "throttled": { "type": "integer", "minimum": 0, "maximum": THROTTLED_MAX, "description": "How often the service puts the start off first." },
        "id": { "type": "string", "description": "The job's id." }
    });
    object(properties, &[])
}

fn failure() -> Value {
    let properties = json!({
        "class": { "enum": CLASSES },
        "code": { "type": "string", "description": "The service's code." },
        "message": { "type": "string", "description": "The service's own words." }
    });
    json!({ "anyOf": [{ "type": "string" }, object(properties, &["message"])] })
}

fn expect() -> Value {
    let [runs, tasks, _] = words();
    let properties = json!({
        "run": { "enum": runs, "description": "How the run ends." },
        "key": { "type": ["string", "number"], "description": "The run's key." },
        "covers": { "type": "string", "description": "Words of the line that says what the run covers." },
        "tasks": { "type": "object", "additionalProperties": { "anyOf": [{ "enum": tasks }, { "$ref": "#/$defs/task" }] } },
        "notices": { "type": "array", "maxItems": LIST_MAX, "description": "Every notice that is sent, none besides.", "items": { "$ref": "#/$defs/notice" } },
        "queries": { "type": "array", "maxItems": LIST_MAX, "description": "What the sandbox's Athena gives afterwards.", "items": { "$ref": "#/$defs/query" } }
    });
    object(properties, &["run"])
}

fn task() -> Value {
    let [_, states, _] = words();
    let properties = json!({
        "state": { "enum": states },
        "attempts": { "type": "integer", "minimum": 0, "maximum": ATTEMPTS_MAX },
        "error": { "type": "string", "description": "Words of the failure's message." },
        "class": { "enum": CLASSES },
        "request": { "type": "object", "description": "At least this is in its last request." },
        "request_exactly": { "type": "object", "description": "Its last request, whole; its own token is written <token>." },
        "outputs": { "type": "object", "description": "At least this is in its outputs." },
        "outputs_exactly": { "type": "object", "description": "Its outputs, whole." },
        "warnings": { "$ref": "#/$defs/texts", "description": "Words of each warning, in order." }
    });
    object(properties, &[])
}

fn notice() -> Value {
    let [_, _, outcomes] = words();
    let properties = json!({
        "on": { "enum": outcomes, "description": "Its list; not on the sandbox." },
        "to": { "type": "string", "description": "Where it goes." },
        "subject": { "type": "string", "description": "Its subject, whole." },
        "contains": { "$ref": "#/$defs/texts", "description": "Words that are in its text." },
        "lacks": { "$ref": "#/$defs/texts", "description": "Words that are not in it." },
        "count": { "type": "integer", "minimum": 1, "maximum": ATTEMPTS_MAX, "default": 1 }
    });
    object(properties, &[])
}

fn query() -> Value {
    let properties = json!({
        "sql": { "type": "string" },
        "database": { "type": "string", "description": "What unqualified names mean." },
        "rows": {
            "type": "array",
            "maxItems": LIST_MAX,
            "description": "The rows: each a list of its values, or values by column.",
            "items": { "type": ["array", "object"] }
        }
    });
    object(properties, &["sql", "rows"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::cases::{answers, expect, read};

    #[test]
    fn the_schema_has_exactly_the_keys_of_the_reader() {
        let schema = cases_schema();
        let keys = |pointer: &str| -> Vec<String> {
            let properties = schema.pointer(pointer).and_then(Value::as_object).expect(pointer);
            let mut keys: Vec<String> = properties.keys().cloned().collect();
            keys.sort();
            keys
        };
        let known = |keys: &[&str]| -> Vec<String> {
            let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys("/properties"), known(&read::FILE_KEYS));
        assert_eq!(keys("/$defs/case/properties"), known(&read::CASE_KEYS));
        assert_eq!(keys("/$defs/answer/properties"), known(&answers::ANSWER_KEYS));
        assert_eq!(keys("/$defs/failure/anyOf/1/properties"), known(&answers::FAILURE_KEYS));
        assert_eq!(keys("/$defs/expect/properties"), known(&expect::EXPECT_KEYS));
        assert_eq!(keys("/$defs/task/properties"), known(&expect::TASK_KEYS));
        assert_eq!(keys("/$defs/notice/properties"), known(&expect::NOTICE_KEYS));
        assert_eq!(keys("/$defs/query/properties"), known(&expect::QUERY_KEYS));
    }
}
