//! JSON Schema (draft 2020-12) of the pipeline file, for editors: `trunkline schema`.
//!
//! It is made from the same lists of keys and the same operator schemas that the loader reads,
//! and committed as `docs/pipeline-schema.json`. An editor sees types and words; what needs the
//! whole project (names in templates, cycles, files) only the loader sees.

use serde_json::{Map, Value, json};

use trunkline_state::{elements::ELEMENTS_MAX, triggers::BATCH_MAX};

use super::{common, datasets, mapped, operators::Operators, params, pooled, triggers};

/// The pattern of a value that is known only in a run.
const TEMPLATE_PATTERN: &str = r"\{\{|\{%|\{#";
/// The pattern of names of pipelines and tasks.
const NAME_PATTERN: &str = "^[a-z][a-z0-9_]*$";
/// The pattern of durations: units, or ISO 8601.
const DURATION_PATTERN: &str = r"^(P.*|([0-9]+(ms|s|m|h|d)\s*)+)$";

/// The schema, with every registered task type.
pub fn pipeline_schema(operators: &Operators<'_>) -> Value {
    let mut definitions = Map::new();
    definitions.insert(
        "template".to_owned(),
        json!({ "type": "string", "pattern": TEMPLATE_PATTERN, "description": "Rendered when the task starts." }),
    );
    definitions.insert(
        "duration".to_owned(),
        json!({ "type": "string", "pattern": DURATION_PATTERN, "description": "90s, 5m, 2h, 1d or ISO 8601." }),
    );
    definitions.insert("names".to_owned(), json!({
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "uniqueItems": true }]
    }));
    definitions.insert("notice".to_owned(), notice());
    definitions.insert("param".to_owned(), param());
    definitions.insert("trigger".to_owned(), trigger());
    definitions.insert("datasets".to_owned(), datasets::schema());
    definitions.insert("defaults".to_owned(), defaults());
    definitions.insert("task".to_owned(), task(operators));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Trunkline pipeline",
        "type": "object",
        "required": ["name", "tasks"],
        "additionalProperties": false,
        "properties": pipeline_properties(),
        "$defs": definitions,
    })
}

/// The schema as the text of `docs/pipeline-schema.json`.
pub fn pipeline_schema_text(operators: &Operators<'_>) -> String {
    format!("{:#}\n", pipeline_schema(operators))
}

fn pipeline_properties() -> Value {
    let notices = |description: &str| {
        json!({
            "description": description,
            "anyOf": [{ "$ref": "#/$defs/notice" }, { "type": "array", "items": { "$ref": "#/$defs/notice" }, "maxItems": 10 }]
        })
    };
    json!({
        "$schema": { "type": "string" },
        "name": { "type": "string", "pattern": NAME_PATTERN, "maxLength": 128, "description": "Unique in the store." },
        "description": { "type": "string", "description": "One line for people." },
        "owner": { "type": "string", "description": "Who is asked when it fails." },
        "tags": { "$ref": "#/$defs/names" },
        "schedule": { "type": "string", "description": "Five cron fields, cron(…) or rate(…) as in EventBridge, or @daily. Without one the pipeline runs by hand." },
        "timezone": { "type": "string", "default": "UTC", "description": "IANA name; dates are read and printed in it." },
        "dst": { "enum": ["run_at_gap_end", "skip"], "default": "run_at_gap_end", "description": "What happens to a fire whose local time is skipped." },
        "start_date": { "type": "string", "format": "date", "description": "No interval before this local date." },
        "triggers": {
            "description": "Events that make runs, beside the schedule.",
            "anyOf": [
                { "$ref": "#/$defs/trigger" },
                { "type": "array", "items": { "$ref": "#/$defs/trigger" }, "maxItems": triggers::TRIGGERS_MAX }
            ]
        },
        "data_interval": {
            "default": "none",
            "description": "What a run covers: the last complete hour, day, week or month before the fire, a span before it, or nothing.",
            "anyOf": [{ "enum": ["hour", "day", "week", "month", "none"] }, { "$ref": "#/$defs/duration" }]
        },
        "catchup": { "enum": ["none", "last", "all"], "default": "last", "description": "What happens to fires that were missed." },
        "overlap": { "enum": ["queue", "skip", "cancel_running"], "default": "queue", "description": "What happens to a fire while another run is live." },
        "max_active_runs": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 1 },
        "concurrency_group": { "type": "string", "description": "Whole runs of one group exclude each other." },
        "run_timeout": { "$ref": "#/$defs/duration" },
        "retention": { "$ref": "#/$defs/duration", "description": "How long ended runs are kept, at least 100d; without one, for ever." },
        "params": { "type": ["object", "null"], "additionalProperties": { "$ref": "#/$defs/param" }, "maxProperties": params::PARAMS_MAX },
        "defaults": { "$ref": "#/$defs/defaults" },
        "tasks": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": super::lower::TASKS_MAX,
            "propertyNames": { "pattern": NAME_PATTERN, "maxLength": 128 },
            "additionalProperties": { "$ref": "#/$defs/task" }
        },
        "deadline": {
            "description": "Until when a run that the schedule fired should be done: by a time of the local day, or so long after the fire.",
            "type": "object",
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {
                "by": { "type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$" },
                "after": { "$ref": "#/$defs/duration" }
            }
        },
        "on_success": notices("Sent when a run succeeded."),
        "on_failure": notices("Sent when a run failed."),
        "on_late": notices("Sent when a run is not done by its deadline, or was never made; to those of on_failure unless said."),
        "on_recovery": notices("Sent when a run succeeded after people had been told of trouble; to those of on_late unless said."),
        "on_warning": notices("Sent when a run succeeded with warnings, at least min_count of them."),
        "on_retry": notices("Sent when a task failed and is tried again."),
    })
}

fn notice() -> Value {
    json!({
        "type": "object",
        "oneOf": [{ "required": ["sns"] }, { "required": ["webhook"] }, { "required": ["slack"] }],
        "additionalProperties": false,
        "properties": {
            "sns": { "type": "string", "description": "The topic's ARN." },
            "webhook": { "type": "string", "description": "The URL of a server that takes a POST of JSON." },
            "slack": { "type": "string", "description": "The URL of an incoming webhook as Slack has them; a secret." },
            "links": {
                "type": "array",
                "maxItems": 5,
                "description": "Objects that it links to, signed when it is sent.",
                "items": {
                    "type": "object",
                    "required": ["label", "s3"],
                    "additionalProperties": false,
                    "properties": {
                        "label": { "type": "string", "maxLength": 40, "description": "In templates: lower case, links.daily_report." },
                        "s3": { "type": "string", "description": "s3://bucket/key" },
                        "expires": { "$ref": "#/$defs/duration", "description": "At most 7d, which is also the default; a session's credentials end it earlier." }
                    }
                }
            },
            "headers": { "type": "object", "maxProperties": 20, "description": "Of a webhook: further headers.", "additionalProperties": { "type": ["string", "number", "boolean"] } },
            "signed_with": { "type": "string", "description": "Of a webhook: the secret that its body is signed with." },
            "subject": { "type": "string" },
            "message": { "type": "string" },
            "connection": { "type": "string" },
            "min_count": { "type": "integer", "minimum": 1, "description": "Of on_warning: only where there are so many warnings." }
        }
    })
}

fn trigger() -> Value {
    json!({
        "type": "object",
        "oneOf": [{ "required": ["s3"] }, { "required": ["pipeline"] }, { "required": ["dataset"] }],
        "additionalProperties": false,
        "properties": {
            "pipeline": {
                "description": "Runs of another pipeline, when they end: of the same data interval, where both have one.",
                "anyOf": [
                    { "type": "string", "pattern": NAME_PATTERN },
                    {
                        "type": "object",
                        "required": ["name"],
                        "additionalProperties": false,
                        "properties": {
                            "name": { "type": "string", "pattern": NAME_PATTERN },
                            "on": { "enum": ["success", "failure", "done"], "default": "success", "description": "How the run must have ended." }
                        }
                    }
                ]
            },
            "dataset": {
                "description": "Datasets that tasks name as `outlets`: a run once all of them were updated, for the same data interval where there is one.",
                "anyOf": [
                    { "$ref": "#/$defs/datasets", "description": "One, or a list: all of them." },
                    {
                        "type": "object",
                        "required": triggers::DATASET_KEYS,
                        "additionalProperties": false,
                        "properties": { "any": { "$ref": "#/$defs/datasets", "description": "A run for any of them." } }
                    }
                ]
            },
            "s3": {
                "type": "object",
                "required": ["queue"],
                "additionalProperties": false,
                "description": "Objects that are made in S3, as a queue tells of them.",
                "properties": {
                    "queue": { "type": "string", "description": "The SQS queue that the bucket's notifications go to: its name or its URL." },
                    "connection": { "type": "string", "description": "The connection that leads to the queue." },
                    "bucket": { "type": "string", "description": "Objects of this bucket only." },
                    "prefix": { "type": "string", "description": "Whose keys begin so." },
                    "suffix": { "type": "string", "description": "And end so." },
                    "exclude": {
                        "description": "And begin with none of these.",
                        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "maxItems": triggers::EXCLUDE_MAX }]
                    }
                }
            },
            "batch": {
                "type": "object",
                "required": triggers::BATCH_KEYS,
                "additionalProperties": false,
                "description": "Many events in one run; without it, each makes one.",
                "properties": {
                    "max": { "type": "integer", "minimum": 1, "maximum": BATCH_MAX, "description": "So many make a run at once." },
                    "window": { "$ref": "#/$defs/duration", "description": "The oldest waits no longer for others; at most 1d." }
                }
            },
            "params": { "type": "object", "description": "Params of its runs, as templates over `trigger`." }
        }
    })
}

fn param() -> Value {
    let types: Vec<&str> = params::TYPES.iter().map(|(word, _)| *word).collect();
    json!({
        "type": "object",
        "required": ["type"],
        "additionalProperties": false,
        "properties": {
            "type": { "enum": types },
            "description": { "type": "string" },
            "default": { "type": ["string", "number", "boolean", "array"], "description": "Without one a run must give the value." },
            "minimum": { "type": "number" },
            "maximum": { "type": "number" },
            "enum": { "type": "array", "minItems": 1 },
            "max_length": { "type": "integer", "minimum": 1 }
        }
    })
}

/// The keys that tasks and `defaults` share.
fn shared_properties() -> Map<String, Value> {
    let rules: Vec<&str> = common::trigger_rules().into_iter().map(|(word, _)| word).collect();
    let duration = |text: &str| json!({ "$ref": "#/$defs/duration", "description": text });
    let properties = [
        (
            "connection",
            json!({ "type": "string", "description": "A connection of the environment.", "default": common::CONNECTION }),
        ),
        (
            "retries",
            json!({ "type": "integer", "minimum": 0, "maximum": common::RETRIES_MAX, "default": common::RETRIES, "description": "Attempts after the first." }),
        ),
        ("retry_delay", duration("The pause before the first repetition; 1m unless said.")),
        (
            "retry_backoff",
            json!({ "type": "number", "minimum": 1, "maximum": common::RETRY_BACKOFF_MAX, "default": common::RETRY_BACKOFF, "description": "The factor between pauses." }),
        ),
        ("max_retry_delay", duration("No pause is longer; 1h unless said.")),
        (
            "retry_on",
            json!({
                "description": "Only these classes of errors are repeated.",
                "anyOf": [{ "enum": common::RETRY_CLASSES }, { "type": "array", "items": { "enum": common::RETRY_CLASSES } }]
            }),
        ),
        ("timeout", duration("The limit of one attempt; the service's own limit unless said.")),
        (
            "poll_interval",
            duration("The longest pause between two questions to the service; 30s unless said."),
        ),
        (
            "trigger_rule",
            json!({ "enum": rules, "default": "all_success", "description": "When the task may start, given its upstreams." }),
        ),
    ];
    properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn defaults() -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": shared_properties() })
}

fn task(operators: &Operators<'_>) -> Value {
    let types: Vec<&str> = operators.types().collect();
    let branches: Vec<Value> = operators
        .types()
        .filter_map(|word| {
            let settings = settings(&operators.get(word)?.schema);
            Some(json!({
                "if": { "properties": { "type": { "const": word } }, "required": ["type"] },
                "then": with_common(settings, word)
            }))
        })
        .collect();
    json!({
        "type": "object",
        "required": ["type"],
        "properties": { "type": { "enum": types, "description": "Which operator runs the task." } },
        "allOf": branches
    })
}

/// The keys of a task that runs over a list.
fn mapped_properties() -> Map<String, Value> {
    let words: Vec<&str> = mapped::ON_EMPTY.iter().map(|(word, _)| *word).collect();
    let properties = [
        (
            "for_each",
            json!({
                "description": "Runs once for each element of this list, as `item` and `index` in its settings; its outputs are the list of theirs.",
                "anyOf": [{ "type": "array", "maxItems": ELEMENTS_MAX }, { "$ref": "#/$defs/template" }]
            }),
        ),
        (
            "max_parallel",
            json!({ "type": "integer", "minimum": 1, "maximum": ELEMENTS_MAX, "default": mapped::MAX_PARALLEL, "description": "Elements under way at once." }),
        ),
        (
            "tolerated_failures",
            json!({ "type": "integer", "minimum": 0, "maximum": ELEMENTS_MAX, "default": 0, "description": "Elements that may fail without failing the task." }),
        ),
        (
            "on_empty",
            json!({ "enum": words, "default": "skip", "description": "What a list without elements means." }),
        ),
    ];
    properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// An operator's schema beside the common keys.
fn with_common(mut settings: Value, word: &str) -> Value {
    let mut properties = Map::new();
    properties.insert("type".to_owned(), json!({ "const": word }));
    properties
        .insert("description".to_owned(), json!({ "type": "string", "description": "One line for people." }));
    properties.insert(
        "depends_on".to_owned(),
        json!({
            "$ref": "#/$defs/names", "description": "The tasks that come before: one name or a list."
        }),
    );
    properties.insert(
        "depends_on_past".to_owned(),
        json!({
            "type": "boolean", "default": false,
            "description": "Waits until the same task succeeded, or was skipped, in the run of the date before."
        }),
    );
    properties.insert(
        datasets::OUTLETS.to_owned(),
        json!({
            "$ref": "#/$defs/datasets",
            "description": "What it writes: datasets that it updates when it succeeds, for `triggers` of other pipelines."
        }),
    );
    properties.insert(
        "when".to_owned(),
        json!({
            "description": "Whether the task runs at all, once its trigger rule lets it: true, false, or a template of them.",
            "anyOf": [{ "type": "boolean" }, { "$ref": "#/$defs/template" }]
        }),
    );
    properties.extend(mapped_properties());
    properties.extend(pooled::pooled_properties());
    properties.extend(shared_properties());
    if let Some(object) = settings.as_object_mut() {
        if let Some(Value::Object(own)) = object.remove("properties") {
            properties.extend(own);
        }
        object.insert("properties".to_owned(), Value::Object(properties));
        object.remove("$schema");
        object.remove("title");
        object.remove("description");
    }
    settings
}

/// The same schema with a template allowed wherever a value may stand.
fn settings(schema: &Value) -> Value {
    let Value::Object(object) = schema else { return schema.clone() };
    let mut copy = Map::new();
    for (key, value) in object {
        let changed = match key.as_str() {
            "properties" | "patternProperties" => {
                let inner = value.as_object().into_iter().flatten();
                Value::Object(inner.map(|(name, one)| (name.clone(), or_template(one))).collect())
            }
            "items" | "additionalProperties" if value.is_object() => or_template(value),
            _ => value.clone(),
        };
        copy.insert(key.clone(), changed);
    }
    Value::Object(copy)
}

fn or_template(schema: &Value) -> Value {
    let inner = settings(schema);
    // Text may be a template anyway, and numbers and flags may be written without quotes.
    let only_text = inner.get("type").is_some_and(|kind| kind == "string")
        && ["enum", "const", "pattern", "format", "minLength", "maxLength"]
            .iter()
            .all(|key| inner.get(key).is_none());
    if only_text {
        let mut relaxed = inner;
        if let Some(object) = relaxed.as_object_mut() {
            object.insert("type".to_owned(), json!(["string", "number", "boolean"]));
        }
        return relaxed;
    }
    if inner.as_object().is_none_or(Map::is_empty) {
        return inner;
    }
    let mut outer = Map::new();
    for key in ["description", "default"] {
        if let Some(value) = inner.get(key) {
            outer.insert(key.to_owned(), value.clone());
        }
    }
    outer.insert("anyOf".to_owned(), json!([inner, { "$ref": "#/$defs/template" }]));
    Value::Object(outer)
}
