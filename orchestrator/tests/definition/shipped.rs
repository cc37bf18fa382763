//! What the repository ships: its pipelines load, and fit the committed schema.

use std::{fs, path::Path};

use trunkline::{
    definition::{Operators, load::find_files, schema::pipeline_schema_text, tree},
    project::{LOCAL, load},
};

use crate::fixture;

/// Set it to write the schema instead of comparing.
const UPDATE: &str = "UPDATE_DOCS";

#[test]
fn the_committed_schema_is_current() {
    let registry = fixture::registry();
    let text = pipeline_schema_text(&Operators::new(&registry));
    let file = fixture::repository().join("docs/pipeline-schema.json");
    if update() {
        fs::write(&file, &text).expect("written");
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == text, "docs/pipeline-schema.json is stale: run the test with {UPDATE}=1");
}

#[expect(clippy::disallowed_methods, reason = "the edge of a test program")]
pub(crate) fn update() -> bool {
    std::env::var(UPDATE).is_ok()
}

#[test]
fn every_shipped_pipeline_loads_in_every_environment() {
    let registry = fixture::registry();
    let root = fixture::repository();
    let lookup = |name: &str| Some(format!("value of {name}"));
    for environment in [LOCAL, "prod"] {
        let (_, loaded) = load(&root, environment, &lookup, &registry);
        assert_eq!(loaded.diagnostics.render(false), "", "{environment}");
        assert!(!loaded.pipelines.is_empty());
    }
}

#[test]
fn every_shipped_pipeline_fits_the_schema() {
    let registry = fixture::registry();
    let schema = serde_json::from_str(&pipeline_schema_text(&Operators::new(&registry))).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    for file in find_files(&fixture::repository().join("pipelines")).expect("the folder") {
        let errors = errors(&validator, &file);
        assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
    }
}

#[test]
fn the_schema_refuses_what_the_loader_refuses() {
    let registry = fixture::registry();
    let schema = serde_json::from_str(&pipeline_schema_text(&Operators::new(&registry))).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    let folder = fixture::repository().join("orchestrator/tests/definition/broken");
    for name in [
        "unknown_key",
        "unknown_task_type",
        "unknown_setting",
        "missing_setting",
        "retries_negative",
        "task_name_upper",
    ] {
        let errors = errors(&validator, &folder.join(format!("{name}.yaml")));
        assert!(!errors.is_empty(), "{name}");
    }
}

fn errors(validator: &jsonschema::Validator, file: &Path) -> Vec<String> {
    let bytes = fs::read(file).expect("the file");
    let root = tree::parse(&bytes).root.expect("a tree");
    let value = root.to_json();
    validator.iter_errors(&value).map(|error| format!("{} at {}", error, error.instance_path())).collect()
}
