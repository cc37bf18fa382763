//! `connections` of an environment: how each is written, and what is wrong with it.

use indexmap::IndexMap;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use trunkline_state::folders::{self, FOLDERS};
use trunkline_tasks::ConnectionConfig;

use super::Values;
use crate::definition::{
    reader::{Keys, shorten},
    suggest::did_you_mean,
    template::is_template,
    tree::{Entry, Mapping},
};

/// Connection types that are planned.
const LATER_TYPES: [&str; 2] = ["postgres", "http"];

/// The keys of a connection to the sandbox. They mean what they mean on AWS, so that two
/// accounts can be tried on one machine, and a warehouse that tasks say nothing about.
const SANDBOX_KEYS: [&str; 10] = [
    "sandbox",
    FOLDERS,
    "region",
    "role_arn",
    "external_id",
    "database",
    "workgroup",
    "cluster",
    "db_user",
    "secret_arn",
];

impl Values<'_, '_> {
    pub(super) fn connections(&mut self, entry: &Entry) -> IndexMap<String, Value> {
        let mut connections = IndexMap::new();
        if entry.value.is_null() {
            return connections;
        }
        let Some(mapping) = self.reader.mapping(&entry.value, "connections") else { return connections };
        let mut schema = SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<ConnectionConfig>()
            .to_value();
        for variant in schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
            // What is stored may come from a newer version; what is written is checked.
            variant["additionalProperties"] = Value::Bool(false);
            variant["properties"][FOLDERS] = json!({ "type": "array", "items": { "type": "string" } });
        }
        for inner in &mapping.entries {
            let config = self.connection(inner, &schema).unwrap_or(Value::Null);
            connections.insert(inner.key.clone(), config);
        }
        connections
    }

    fn connection(&mut self, entry: &Entry, schema: &Value) -> Option<Value> {
        let mapping = self.reader.mapping(&entry.value, &entry.key)?;
        if let Some(sandbox) = mapping.get("sandbox") {
            let keys = Keys { of: "a connection to the sandbox", known: &SANDBOX_KEYS, later: &[] };
            self.reader.check_keys(mapping, keys);
            let yes = self.reader.word(sandbox, &[("true", true), ("false", false)])?;
            if !yes {
                let diagnostic = self
                    .reader
                    .error(&sandbox.value.span, "`sandbox: false` says nothing")
                    .label("leave it out")
                    .help("name a type instead: { type: aws, region: … }");
                self.reader.report(diagnostic);
                return None;
            }
            for inner in mapping.entries.iter().filter(|inner| inner.key != "sandbox" && inner.key != FOLDERS)
            {
                self.reader.text(inner)?;
            }
            let config = self.value(&entry.value);
            self.check_role(mapping, config.as_ref());
            self.check_folders(mapping, config.as_ref());
            return config;
        }
        let Some(kind) = mapping.get("type") else {
            let diagnostic = self
                .reader
                .error(&entry.key_span, format!("connection `{}` needs `type`", shorten(&entry.key)))
                .label("`type` is missing")
                .help("write { type: aws, region: … } or { sandbox: true }");
            self.reader.report(diagnostic);
            return None;
        };
        let word = self.reader.text(kind)?;
        let variant = self.variant(kind, &word, schema)?;
        let mut settings =
            crate::definition::settings::Settings { reader: self.reader, schema, sites: Vec::new() };
        let owner = format!("connection `{}`", entry.key);
        settings.object(mapping, variant, (&owner, &entry.key_span), &|_| false);
        for inner in &mapping.entries {
            if inner.value.as_scalar().is_some_and(|scalar| is_template(&scalar.text)) {
                self.reader.mismatch(&inner.value, &inner.key, "plain text");
            }
        }
        let config = self.value(&entry.value);
        self.check_role(mapping, config.as_ref());
        self.check_folders(mapping, config.as_ref());
        config
    }

    /// Folders are named one by one; none at all would keep everybody out, and nobody means that.
    fn check_folders(&mut self, mapping: &Mapping, config: Option<&Value>) {
        let Some(entry) = mapping.get(FOLDERS) else { return };
        let named = config.and_then(|config| config.get(FOLDERS)?.as_array());
        let plain = |folder: &Value| {
            folder
                .as_str()
                .is_some_and(|name| !name.is_empty() && folders::parse(name).as_deref() == Ok(name))
        };
        if named.is_some_and(|named| !named.is_empty() && named.iter().all(plain)) {
            return;
        }
        let diagnostic = self
            .reader
            .error(&entry.value.span, "`folders` is a list of folders below the pipelines folder")
            .label("not such a list")
            .help("write folders: [finance, sales/eu], or leave it out: then every pipeline may use the connection");
        self.reader.report(diagnostic);
    }

    /// A role must be one, and an external id is part of assuming one.
    fn check_role(&mut self, mapping: &Mapping, config: Option<&Value>) {
        if let (Some(id), None) = (mapping.get("external_id"), mapping.get("role_arn")) {
            let diagnostic = self
                .reader
                .error(&id.key_span, "`external_id` means nothing without `role_arn`")
                .label("of which role?")
                .help("name the role that asks for it, or leave it out");
            self.reader.report(diagnostic);
        }
        let role = config.and_then(|config| config.get("role_arn")?.as_str());
        let (Some(role), Some(entry)) = (role, mapping.get("role_arn")) else { return };
        // With variables that are not looked up here it is known only where it is used.
        if !role.contains("${") && account_of_role(role).is_none() {
            let diagnostic = self
                .reader
                .error(&entry.value.span, format!("`{}` is no role's ARN", shorten(role)))
                .label("not a role")
                .help("a role is written arn:aws:iam::<12 digits>:role/<name>");
            self.reader.report(diagnostic);
        }
    }

    /// The part of the schema for this type.
    fn variant<'s>(&mut self, kind: &Entry, word: &str, schema: &'s Value) -> Option<&'s Value> {
        let variants = schema.get("oneOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let name = |variant: &'s Value| variant.pointer("/properties/type/const").and_then(Value::as_str);
        if let Some(found) = variants.iter().find(|variant| name(variant) == Some(word)) {
            return Some(found);
        }
        let span = &kind.value.span;
        let diagnostic = if LATER_TYPES.contains(&word) {
            self.reader
                .error(span, format!("connections of type `{word}` are not supported yet"))
                .label("not yet")
        } else {
            let help = did_you_mean(word, variants.iter().filter_map(name), "the types are");
            let message = format!("there is no connection type `{}`", shorten(word));
            self.reader.error(span, message).label("unknown type").help_maybe(help)
        };
        self.reader.report(diagnostic);
        None
    }
}

/// The account of a role by its ARN.
pub fn account_of_role(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let (prefix, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let is_role = prefix == "arn" && partition.starts_with("aws") && service == "iam" && region.is_empty();
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let named = resource.strip_prefix("role/").is_some_and(|name| !name.is_empty() && !name.ends_with('/'));
    (is_role && is_account && named).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_name_their_account() {
        assert_eq!(account_of_role("arn:aws:iam::123456789012:role/a/b"), Some("123456789012"));
        assert_eq!(account_of_role("arn:aws-cn:iam::123456789012:role/a"), Some("123456789012"));
        for wrong in [
            "role/a",
            "arn:aws:iam::12:role/a",
            "arn:aws:iam::123456789012:user/a",
            "arn:aws:iam::123456789012:role/",
        ] {
            assert_eq!(account_of_role(wrong), None, "{wrong}");
        }
    }
}
