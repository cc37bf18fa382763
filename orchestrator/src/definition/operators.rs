//! What definitions need to know of the operators: which types exist and what each takes.

use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;
use trunkline_tasks::{
    Registry,
    operator::{Call, PrepareContext},
};
use uuid::Uuid;

/// Every operator, as far as a file can be checked against it.
#[derive(Debug, Default)]
pub struct Operators<'a> {
    registry: Option<&'a Registry>,
    by_type: IndexMap<String, OperatorInfo>,
}

/// One operator.
#[derive(Clone, Debug)]
pub struct OperatorInfo {
    /// JSON Schema of its own settings.
    pub schema: Value,
    /// The limit of an attempt where the task names none.
    pub default_timeout: Duration,
    /// Whether it talks to a service, and so needs a connection.
    pub remote: bool,
    /// The settings in which secrets may stand.
    pub secrets: &'static [&'static str],
    /// The settings that its connection may say, those together that belong together.
    pub from_connection: &'static [&'static [&'static str]],
}

impl<'a> Operators<'a> {
    /// Those of the registry.
    pub fn new(registry: &'a Registry) -> Self {
        let mut by_type = IndexMap::new();
        for word in registry.types() {
            let Some(operator) = registry.get(word) else { continue };
            let info = OperatorInfo {
                schema: operator.schema().to_value(),
                default_timeout: operator.default_timeout(),
                remote: operator.rate(Call::Start).is_some(),
                secrets: operator.secret_settings(),
                from_connection: operator.settings_from_connection(),
            };
            by_type.insert(word.to_owned(), info);
        }
        Self { registry: Some(registry), by_type }
    }

    /// The operator of this type.
    pub fn get(&self, word: &str) -> Option<&OperatorInfo> {
        self.by_type.get(word)
    }

    /// The types in the order of the documentation.
    pub fn types(&self) -> impl Iterator<Item = &str> + Clone {
        self.by_type.keys().map(String::as_str)
    }

    /// What the operator itself says about settings that hold no template: rules that a
    /// schema cannot express. The request that comes out is thrown away.
    pub(super) fn objection(&self, word: &str, settings: &Value, timeout: Duration) -> Option<String> {
        let operator = self.registry?.get(word)?;
        let cx = PrepareContext {
            attempt_id: Uuid::nil(),
            pipeline: "pipeline",
            run: "pipeline@2026-01-01",
            task: "task",
            environment: "local",
            connection: super::common::CONNECTION,
            timeout,
            previous: None,
            generation: 1,
        };
        operator.prepare(settings, &cx).err().map(|failure| failure.message)
    }
}
