//! What must hold for every operator, and the generated page about them.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::duration::HumanDuration;

fn context() -> PrepareContext<'static> {
    PrepareContext {
        attempt_id: Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0),
        pipeline: "daily_cdr_etl",
        run: "daily_cdr_etl@2026-11-19",
        task: "convert",
        environment: "local",
        connection: "aws",
        timeout: Duration::from_secs(3600),
        previous: None,
        generation: 1,
    }
}

#[test]
fn no_operator_takes_a_common_key() {
    let registry = Registry::standard(&Options::for_looking());
    for word in registry.types() {
        let schema = registry.get(word).unwrap().schema();
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        for key in COMMON_KEYS {
            assert!(!properties.contains_key(key), "{word} has a setting named like the common key {key}");
        }
        assert_eq!(schema.get("additionalProperties"), Some(&json!(false)), "{word} takes unknown settings");
    }
}

#[test]
fn a_wrong_setting_is_named() {
    let registry = Registry::standard(&Options::for_looking());
    let sleep = registry.get("sleep").unwrap();
    let wrong = |settings: Value| sleep.prepare(&settings, &context()).unwrap_err().message;
    assert_eq!(
        wrong(json!({ "for": 5 })),
        "setting `for` of type sleep: `5` has no unit: write 5s, 5m, 5h or 5d"
    );
    assert_eq!(wrong(json!({})), "settings of type sleep: missing field `for`");
    assert_eq!(
        wrong(json!({ "for": "5s", "fro": 1 })),
        "setting `fro` of type sleep: unknown field `fro`, expected `for`"
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests have no other way to be told")]
fn the_page_about_operators_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operators.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, page).unwrap();
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/operators.md is stale: run the tests of this crate with UPDATE_DOCS=1");
}

/// `docs/operators.md`, from the operators themselves.
fn page() -> String {
    let registry = Registry::standard(&Options::for_looking());
    let mut page = String::from(
        "# Operators\n\nOne section for each task type. This page is written by a test of `tasks/` \
         (`UPDATE_DOCS=1 cargo test -p trunkline-tasks`); edit the operators instead.\n\n\
         | type | how a start is made safe |\n|---|---|\n",
    );
    for word in registry.types() {
        let operator = registry.get(word).unwrap();
        writeln!(page, "| [`{word}`](#{word}) | {} |", operator.guarantee()).unwrap();
    }
    let common = COMMON_KEYS.map(|key| format!("`{key}`")).join(", ");
    writeln!(page, "\nEvery task also has the common keys {common}.").unwrap();
    for word in registry.types() {
        write_section(&mut page, registry.get(word).unwrap());
    }
    page
}

fn write_section(page: &mut String, operator: &dyn ErasedOperator) {
    writeln!(page, "\n## {}\n\n```yaml\n{}```\n", operator.type_name(), operator.example()).unwrap();
    writeln!(page, "{}\n", operator.guarantee()).unwrap();
    writeln!(
        page,
        "One attempt takes at most {} unless the task says otherwise.\n",
        HumanDuration(operator.default_timeout())
    )
    .unwrap();
    writeln!(page, "| setting | type | meaning |\n|---|---|---|").unwrap();
    write_settings(page, "", &operator.schema().to_value());
}

/// A row for each setting, with those within it behind: `tables[].mode`, `inputs.*.from`.
fn write_settings(page: &mut String, prefix: &str, schema: &Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let text =
            property["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        let must = if required.contains(&json!(name)) { ", required" } else { "" };
        let setting = format!("{prefix}{name}");
        writeln!(page, "| `{setting}` | {}{must} | {text} |", type_of(property)).unwrap();
        if let Some((step, inner)) = within(property) {
            write_settings(page, &format!("{setting}{step}"), inner);
        }
    }
}

/// The settings within a setting, and how one gets there.
fn within(property: &Value) -> Option<(&'static str, &Value)> {
    if !property.is_object() {
        return None;
    }
    if property["properties"].as_object().is_some_and(|inner| !inner.is_empty()) {
        return Some((".", property));
    }
    for (key, step) in [("items", "[]."), ("additionalProperties", ".*.")] {
        if let Some((_, inner)) = within(&property[key]) {
            return Some((step, inner));
        }
    }
    ["anyOf", "oneOf"].into_iter().find_map(|key| property[key].as_array()?.iter().find_map(within))
}

/// The type of a setting in one or two words.
fn type_of(property: &Value) -> String {
    if let Some(title) = property["title"].as_str() {
        return title.to_lowercase();
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(choices) = property[key].as_array() {
            let words: Vec<String> = choices.iter().map(type_of).filter(|word| word != "null").collect();
            return words.join(" or ");
        }
    }
    if let Some(word) = property["const"].as_str() {
        return format!("`{word}`");
    }
    if let Some(words) = property["enum"].as_array() {
        return words
            .iter()
            .filter_map(Value::as_str)
            .map(|w| format!("`{w}`"))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    match &property["type"] {
        Value::String(word) => word.clone(),
        Value::Array(words) => words
            .iter()
            .filter_map(Value::as_str)
            .filter(|word| *word != "null")
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "any".to_owned(),
    }
}

#[test]
fn the_page_about_secrets_lists_every_setting_that_takes_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/secrets.md");
    let page = std::fs::read_to_string(path).unwrap();
    let registry = Registry::standard(&Options::for_looking());
    for word in registry.types() {
        let operator = registry.get(word).unwrap();
        let settings = operator.secret_settings();
        let schema = operator.schema().to_value();
        for setting in settings {
            assert!(schema["properties"].get(setting).is_some(), "{word} has no setting `{setting}`");
        }
        let named: Vec<String> = settings.iter().map(|setting| format!("`{setting}`")).collect();
        let row = format!("| `{word}` | {} |", named.join(", "));
        assert_eq!(page.contains(&row), !settings.is_empty(), "docs/secrets.md: {row}");
    }
}
