//! `secrets` of an environment: names for places, never values.

use std::ops::Range;

use indexmap::IndexMap;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use trunkline_tasks::secrets::{mark::is_name, source::SecretSource};

use super::Values;
use crate::definition::{common::CONNECTION, reader::shorten, template::is_template, tree::Entry};

impl Values<'_, '_> {
    pub(super) fn secrets(&mut self, entry: &Entry) -> IndexMap<String, Value> {
        let mut secrets = IndexMap::new();
        if entry.value.is_null() {
            return secrets;
        }
        let Some(mapping) = self.reader.mapping(&entry.value, "secrets") else { return secrets };
        let schema = SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<SecretSource>()
            .to_value();
        for inner in &mapping.entries {
            if !is_name(&inner.key) {
                let message = format!("`{}` cannot be the name of a secret", shorten(&inner.key));
                let help = "a name begins with a letter and has only a-z, 0-9 and _";
                let diagnostic = self.reader.error(&inner.key_span, message).label("name").help(help);
                self.reader.report(diagnostic);
            }
            let source = self.secret(inner, &schema).unwrap_or(Value::Null);
            secrets.insert(inner.key.clone(), source);
        }
        secrets
    }

    fn secret(&mut self, entry: &Entry, schema: &Value) -> Option<Value> {
        if let Some(scalar) = entry.value.as_scalar() {
            // Without the text: it may well be the secret itself.
            let help = if scalar.text.contains("${") {
                "a variable is named, not written out: { env: NAME }"
            } else {
                "say where it lies: { secretsmanager: … }, { ssm: … }, { env: NAME }, { file: … } or { private_database: … }"
            };
            let diagnostic = self
                .reader
                .error(&entry.key_span, format!("secret `{}` must say where it lies", shorten(&entry.key)))
                .label("a place, not a value")
                .help(help);
            self.reader.report(diagnostic);
            return None;
        }
        let mapping = self.reader.mapping(&entry.value, &entry.key)?;
        let before = self.reader.found.len();
        let mut settings =
            crate::definition::settings::Settings { reader: self.reader, schema, sites: Vec::new() };
        let owner = format!("secret `{}`", entry.key);
        let read = settings.object(mapping, schema, (&owner, &entry.key_span), &|_| false);
        for inner in &mapping.entries {
            if inner.value.as_scalar().is_some_and(|scalar| is_template(&scalar.text)) {
                self.reader.mismatch(&inner.value, &inner.key, "plain text");
            }
        }
        let mut source = self.completed(read, &entry.value.span)?;
        if self.reader.found.len() > before {
            return None;
        }
        let checked = serde_json::from_value::<SecretSource>(source.clone()).ok()?;
        if let Err((wrong, fix)) = checked.kind() {
            let message = format!("secret `{}` {wrong}", shorten(&entry.key));
            let diagnostic =
                self.reader.error(&entry.key_span, message).label("where does it lie?").help(fix);
            self.reader.report(diagnostic);
            return None;
        }
        let remote = checked.secretsmanager.is_some() || checked.ssm.is_some();
        if remote && checked.connection.is_none() {
            source["connection"] = json!(CONNECTION);
        }
        Some(source)
    }

    /// The texts of a source with their variables filled in; a version stays text.
    fn completed(&mut self, read: Value, span: &Range<usize>) -> Option<Value> {
        let Value::Object(object) = read else { return None };
        let mut completed = Map::new();
        for (key, value) in object {
            let value = match value {
                Value::String(text) => Value::from(self.complete(&text, span)?),
                other => other,
            };
            completed.insert(key, value);
        }
        Some(Value::Object(completed))
    }
}
