//! The examples that `docs/operators.md` shows: each loads as it stands, and becomes a request.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use trunkline::definition::{Operators, load_text};
use trunkline_tasks::operator::PrepareContext;
use uuid::Uuid;

use crate::fixture;

#[test]
fn every_example_loads_and_is_a_request() {
    let registry = fixture::registry();
    let mut file = "name: examples\ntasks:\n".to_owned();
    for word in registry.types() {
        writeln!(file, "  {word}_example:").unwrap();
        for line in registry.get(word).unwrap().example().lines() {
            writeln!(file, "    {line}").unwrap();
        }
    }
    let mut loaded =
        load_text("examples.yaml", file.as_bytes(), &fixture::scope(), &Operators::new(&registry));
    assert_eq!(loaded.diagnostics.render(false), "");
    let pipeline = loaded.pipelines.remove(0).pipeline;

    let requests: Map<String, Value> = pipeline
        .tasks
        .iter()
        .map(|task| {
            let context = PrepareContext {
                attempt_id: Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0),
                pipeline: "examples",
                run: "examples@2026-11-19",
                task: task.name.as_str(),
                environment: "local",
                connection: &task.connection,
                timeout: task.timeout,
                previous: None,
                generation: 1,
            };
            let operator = registry.get(&task.operator).unwrap();
            let request = operator.prepare(&task.settings, &context).unwrap();
            (task.operator.clone(), serde_json::to_value(request).unwrap())
        })
        .collect();
    assert_eq!(requests.len(), registry.types().count());
    insta::assert_json_snapshot!("requests_of_the_examples", requests);
}
