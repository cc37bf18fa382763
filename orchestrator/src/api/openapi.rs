//! The OpenAPI 3.1 document, made of the table of operations and the shapes of its types.

use schemars::Schema;
use serde_json::{Map, Value, json};

use super::{
    problem::{Kind, ProblemView},
    routes::{Operation, PREFIX, Routes},
};

/// The document of what is served.
pub(super) fn document(routes: &mut Routes) -> Value {
    let problem = routes.outgoing.subschema_for::<ProblemView<'_>>();
    let mut paths = Map::new();
    for operation in &routes.operations {
        let entry = paths.entry(format!("{PREFIX}{}", operation.path)).or_insert_with(|| json!({}));
        let method = operation.method.as_str().to_ascii_lowercase();
        entry[method] = described(operation, &problem);
    }
    let mut schemas = routes.incoming.take_definitions(true);
    schemas.extend(routes.outgoing.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Trunkline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs data pipelines on AWS. Every operation needs a token with its scope.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made by `trunkline token create`; scopes read, operate and deploy.",
                },
            },
        },
    })
}

fn described(operation: &Operation, problem: &Schema) -> Value {
    let mut answers = Map::new();
    let (media, shape) = &operation.answer;
    let done = json!({ "description": "Done", "content": { *media: { "schema": shape } } });
    answers.insert("200".to_owned(), done);
    for kind in Kind::ALL {
        let (status, word, title) = kind.parts();
        if !may_answer(kind, operation) {
            continue;
        }
        let content = json!({ "application/problem+json": { "schema": problem } });
        let answer = json!({ "description": format!("{title} (`{word}`)"), "content": content });
        answers.insert(status.as_u16().to_string(), answer);
    }
    let mut parameters = parameters("path", &operation.path_shape);
    parameters.extend(self::parameters("query", &operation.query_shape));
    if operation.answer.0 == "text/event-stream" {
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "required": false, "schema": { "type": "string" },
            "description": "The id of the last event that was seen: the stream goes on after it.",
        }));
    }
    let mut entry = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": format!("Needs a token with the scope `{}`.", operation.scope),
        "parameters": parameters,
        "responses": answers,
    });
    if let Some(body) = &operation.body_shape {
        entry["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": body } },
        });
    }
    entry
}

fn may_answer(kind: Kind, operation: &Operation) -> bool {
    let changes = operation.body_shape.is_some();
    match kind {
        Kind::Refused | Kind::TooLarge | Kind::MediaType => changes,
        Kind::TooMany => operation.answer.0 == "text/event-stream",
        _ => true,
    }
}

/// The fields of a shape as parameters of a request.
fn parameters(place: &str, shape: &Schema) -> Vec<Value> {
    let Some(fields) = shape.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let required: Vec<&str> = shape
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        without_null(&mut schema);
        let description = schema.as_object_mut().and_then(|fields| fields.remove("description"));
        json!({
            "name": name,
            "in": place,
            "required": place == "path" || required.contains(&name.as_str()),
            "description": description.unwrap_or_default(),
            "schema": schema,
        })
    };
    fields.iter().map(parameter).collect()
}

/// What is not sent is absent: nothing in a URL is null.
fn without_null(schema: &mut Value) {
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
    }
    if let Some(fields) = schema.as_object_mut() {
        fields.retain(|name, value| name != "default" || !value.is_null());
    }
}
