//! What several targets share: the operators, an environment, a pipeline.

use std::sync::LazyLock;

use indexmap::IndexMap;
use serde_json::{Value, json};
use trunkline::definition::{EnvironmentNames, Operators, Scope, load_text};
use trunkline_state::pipeline::Pipeline;
use trunkline_tasks::{Options, Registry};

/// The operators as `validate` has them.
static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::standard(&Options::for_looking()));

/// What definitions are checked against: made once, since it takes far longer than reading a definition.
pub static OPERATORS: LazyLock<Operators<'static>> = LazyLock::new(|| Operators::new(&REGISTRY));

/// The environment of all definitions.
pub static SCOPE: LazyLock<Scope> = LazyLock::new(scope);

/// An environment with the names that the shipped pipelines use.
fn scope() -> Scope {
    let vars = ["raw_crawler", "processed_crawler", "etl_job", "topic", "raw_bucket", "processed_bucket"];
    let names = EnvironmentNames {
        name: "local".to_owned(),
        vars: vars.map(str::to_owned).to_vec(),
        connections: vec!["aws".to_owned()],
        secrets: vec!["token".to_owned()],
    };
    Scope {
        environment: "local".to_owned(),
        vars: vars.iter().map(|var| ((*var).to_owned(), json!("value"))).collect(),
        connections: IndexMap::from([("aws".to_owned(), json!({ "sandbox": true }))]),
        secrets: IndexMap::from([("token".to_owned(), json!({ "env": "TOKEN" }))]),
        environments: vec![names],
        ..Scope::default()
    }
}

/// A pipeline of two tasks.
pub static PIPELINE: LazyLock<Pipeline> = LazyLock::new(|| {
    let text = "name: a\nparams: { n: { type: integer, default: 1 } }\ntasks:\n  x: { type: noop }\n  y: { type: noop, depends_on: x }\n";
    load_text("pipeline.yaml", text.as_bytes(), &SCOPE, &OPERATORS).pipelines.remove(0).pipeline
});

/// Whether any key or text holds a NUL, which the store cannot keep.
pub fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(entries) => entries.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}
