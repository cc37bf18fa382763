//! What the other tests share: the operators, an environment, the shipped files.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::json;
use trunkline::definition::{EnvironmentNames, Scope};
use trunkline_tasks::{Options, Registry};

/// The registry that `validate` uses.
pub(crate) fn registry() -> Registry {
    Registry::standard(&Options::for_looking())
}

/// The repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).expect("the repository").to_owned()
}

/// Two environments; `prod` lacks the var `debug`.
pub(crate) fn scope() -> Scope {
    let names = |name: &str, vars: &[&str]| EnvironmentNames {
        name: name.to_owned(),
        vars: vars.iter().map(|var| (*var).to_owned()).collect(),
        connections: vec!["aws".to_owned(), "events".to_owned()],
        secrets: Vec::new(),
    };
    let shared = ["raw_crawler", "processed_crawler", "etl_job", "topic", "raw_bucket", "processed_bucket"];
    let mut local = shared.to_vec();
    local.push("debug");
    Scope {
        environment: "local".to_owned(),
        vars: local.iter().map(|var| ((*var).to_owned(), json!("value"))).collect(),
        connections: IndexMap::from([
            ("aws".to_owned(), json!({ "sandbox": true })),
            ("events".to_owned(), json!({ "sandbox": true })),
        ]),
        environments: vec![names("local", &local), names("prod", &shared)],
        ..Scope::default()
    }
}
