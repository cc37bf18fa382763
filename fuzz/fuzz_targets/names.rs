//! Short texts that name things: folders, pipelines, tasks and their elements, datasets, addresses in S3, ARNs,
//! tables, params, durations, marks of secrets, `:names` in SQL.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use trunkline::definition::params;
use trunkline_state::{
    elements::ElementName,
    folders,
    ids::{PipelineName, TaskName},
    triggers::dataset_name,
};
use trunkline_tasks::{
    duration::HumanDuration,
    fuzzing::{execution_of, marks, numbered, object_address, prefix_address, replace_marks, table},
    secrets::mark::{SENTINEL, has_marks, neutralise},
};

fuzz_target!(|text: &str| {
    folder(text);
    names(text);
    addresses(text);
    secrets(text);
    if let Ok(duration) = text.parse::<HumanDuration>() {
        assert_eq!(duration.to_string().parse::<HumanDuration>(), Ok(duration), "{duration}");
    }
    let _ = params::split(text);
    let (sql, names) = numbered(text);
    assert!(sql.len() <= text.len() + 20 * names.len());
    assert!(names.iter().all(|name| !name.is_empty() && text.contains(name.as_str())));
});

/// A folder is written in one way, holds itself, and names no place above it.
fn folder(text: &str) {
    let Ok(name) = folders::parse(text) else { return };
    assert_eq!(folders::parse(&name).as_ref(), Ok(&name));
    assert!(folders::contains(&name, &name) && folders::contains("", &name));
    assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."), "{name}");
    assert!(folders::contains(&name, &format!("{name}/inner")));
    assert!(name.is_empty() || !folders::contains(&name, &format!("{name}x")));
}

fn names(text: &str) {
    if let Ok(name) = PipelineName::new(text) {
        assert_eq!(name.as_str(), text);
        assert_eq!(name.to_string().parse::<TaskName>().map(|name| name.to_string()).as_deref(), Ok(text));
        assert!(
            text.len() <= 128
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        );
    }
    if let Some(element) = ElementName::parse(text) {
        let again = element.to_string();
        let read = ElementName::parse(&again).expect("it reads back");
        assert_eq!((read.task, read.index), (element.task, element.index));
    }
    if let Ok(name) = dataset_name(text) {
        assert_eq!(dataset_name(&name).as_ref(), Ok(&name), "one name in one way");
    }
    if let Some(sql) = table(text) {
        assert_eq!(sql.matches('"').count() % 2, 0, "{sql}");
    }
}

fn addresses(text: &str) {
    if let Some((bucket, key)) = object_address(text) {
        assert_eq!(format!("s3://{bucket}/{key}"), text);
        assert_eq!(prefix_address(text), Some((bucket, key)));
    }
    if let Some(execution) = execution_of(text, "e-1") {
        assert!(execution.contains(":execution:") && execution.ends_with(":e-1"), "{execution}");
    }
}

/// Marks are found wherever they stand, their secrets leave JSON what it was, and none is left of what a run brings.
fn secrets(text: &str) {
    let mut value =
        serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!({ "text": text, "list": [text] }));
    assert_eq!(has_marks(&value), !marks(&value).is_empty());
    let mut filled = value.clone();
    replace_marks(&mut filled, "quote\" \\ line\n");
    assert!(!has_marks(&filled), "{filled}");
    neutralise(&mut value);
    assert!(!value.to_string().contains(SENTINEL), "nor in a key");
}
