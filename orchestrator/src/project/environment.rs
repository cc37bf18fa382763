//! `environments`: store, connections, vars, secrets and template parameters of each.

mod connections;
mod secrets;
mod sign_in;

use std::{fmt, ops::Range};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{LOCAL, Lookup, PROJECT_FILE, interpolate::interpolate};
use crate::definition::{
    Diagnostics, EnvironmentNames, Scope,
    common::CONNECTION,
    pooled::pools,
    reader::{Keys, Reader, shorten},
    suggest::did_you_mean,
    template::is_template,
    tree::{Entry, Kind, Mapping, Node},
};

pub use connections::account_of_role;
pub use sign_in::SignIn;

/// The keys of an environment.
pub const ENVIRONMENT_KEYS: [&str; 7] =
    ["store", "connections", "vars", "secrets", "parameters", "pools", "sign_in"];
/// Keys that are planned.
const LATER_KEYS: [&str; 2] = ["retention", "url"];

/// A set of store, connections and vars for the same pipelines.
#[derive(Clone, Default, PartialEq)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// The store's URL, if it names one; may hold a password.
    pub store: Option<String>,
    /// Connections by name, as `tasks` reads them, or `{"sandbox": true}`.
    pub connections: IndexMap<String, Value>,
    /// Values for `vars.…`.
    pub vars: IndexMap<String, Value>,
    /// Where the secrets of `secrets.…` lie, as `tasks` reads it.
    pub secrets: IndexMap<String, Value>,
    /// Parameters of the pipelines' `aws.yaml`.
    pub parameters: IndexMap<String, Value>,
    /// The project's pools, with their slots here.
    pub pools: IndexMap<String, u32>,
    /// Who says that somebody is who they say, beside passwords.
    pub sign_in: Option<SignIn>,
}

/// Without the store's URL.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("name", &self.name)
            .field("store", &self.store.as_ref().map(|_| "…"))
            .field("connections", &self.connections.keys().collect::<Vec<_>>())
            .field("vars", &self.vars)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// The environment that exists without a project file.
    pub(super) fn built_in(name: &str) -> Self {
        let connections = IndexMap::from([(CONNECTION.to_owned(), json!({ "sandbox": true }))]);
        Self { name: name.to_owned(), connections, ..Self::default() }
    }

    /// The names that it knows.
    pub(super) fn names(&self) -> EnvironmentNames {
        EnvironmentNames {
            name: self.name.clone(),
            vars: self.vars.keys().cloned().collect(),
            connections: self.connections.keys().cloned().collect(),
            secrets: self.secrets.keys().cloned().collect(),
        }
    }

    /// What it says to pipelines.
    pub(super) fn scope(&self) -> Scope {
        Scope {
            environment: self.name.clone(),
            vars: self.vars.clone(),
            connections: self.connections.clone(),
            secrets: self.secrets.clone(),
            pools: self.pools.clone(),
            ..Scope::default()
        }
    }

    /// Whether any connection goes to the sandbox.
    pub fn uses_sandbox(&self) -> bool {
        self.connections.values().any(is_sandbox)
    }
}

/// Whether a connection goes to the sandbox.
pub fn is_sandbox(connection: &Value) -> bool {
    connection.get("sandbox").and_then(Value::as_bool) == Some(true)
}

/// All environments of a project file.
pub(super) struct Environments {
    pub(super) chosen: Environment,
    pub(super) names: Vec<EnvironmentNames>,
}

/// Reads `environments`. Only the chosen one's `${…}` are looked up: the others' variables
/// need not exist on this machine.
pub(super) fn environments(
    reader: &mut Reader,
    top: &Mapping,
    chosen: &str,
    lookup: Lookup<'_>,
    _out: &mut Diagnostics,
) -> Environments {
    let pools = pools(reader, top.get("pools"), None);
    let built_in = Environment { pools: pools.clone(), ..Environment::built_in(chosen) };
    let mut result = Environments { chosen: built_in.clone(), names: Vec::new() };
    let entry = top.get("environments");
    let mapping = entry.and_then(|entry| reader.mapping(&entry.value, "environments"));
    let mut found = false;
    for inner in mapping.iter().flat_map(|mapping| &mapping.entries) {
        let is_chosen = inner.key == chosen;
        let environment = environment(reader, inner, &pools, is_chosen.then_some(lookup));
        result.names.push(environment.names());
        if is_chosen {
            found = true;
            result.chosen = environment;
        }
    }
    if !found && chosen == LOCAL {
        result.names.push(built_in.names());
    } else if let (false, Some(entry)) = (found, entry) {
        let names: Vec<&str> = result.names.iter().map(|one| one.name.as_str()).collect();
        let help = did_you_mean(chosen, names, "there are");
        let message = format!("there is no environment `{}` under `environments`", shorten(chosen));
        let diagnostic = reader.error(&entry.key_span, message).label("not among these").help_maybe(help);
        reader.report(diagnostic);
    } else if !found {
        let message =
            format!("there is no environment `{}`: {PROJECT_FILE} has no `environments`", shorten(chosen));
        let diagnostic = reader.error(&(0..0), message).label("nowhere").help("add `environments`");
        reader.report(diagnostic);
    }
    result
}

fn environment(
    reader: &mut Reader,
    entry: &Entry,
    project_pools: &IndexMap<String, u32>,
    lookup: Option<Lookup<'_>>,
) -> Environment {
    let pools_here = project_pools.clone();
    let mut environment =
        Environment { name: entry.key.clone(), pools: pools_here, ..Environment::default() };
    let sound = entry.key.starts_with(|c: char| c.is_ascii_lowercase())
        && entry.key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'));
    if !sound {
        let message = format!("`{}` cannot be the name of an environment", shorten(&entry.key));
        let help = "a name begins with a letter and has only a-z, 0-9, _ and -";
        let diagnostic = reader.error(&entry.key_span, message).label("name").help(help);
        reader.report(diagnostic);
    }
    let empty = Mapping::default();
    let mapping = if entry.value.is_null() {
        &empty
    } else {
        match reader.mapping(&entry.value, &entry.key) {
            Some(mapping) => mapping,
            None => return environment,
        }
    };
    reader.check_keys(mapping, Keys { of: "an environment", known: &ENVIRONMENT_KEYS, later: &LATER_KEYS });
    environment.pools = pools(reader, mapping.get("pools"), Some(project_pools));
    let mut values = Values { reader, lookup };
    if let Some(store) = mapping.get("store") {
        environment.store =
            values.reader.text(store).and_then(|text| values.complete(&text, &store.value.span));
    }
    if let Some(vars) = mapping.get("vars") {
        environment.vars = values.named(vars);
    }
    if let Some(parameters) = mapping.get("parameters") {
        environment.parameters = values.named(parameters);
    }
    if let Some(connections) = mapping.get("connections") {
        environment.connections = values.connections(connections);
    }
    if let Some(secrets) = mapping.get("secrets") {
        environment.secrets = values.secrets(secrets);
    }
    if let Some(sign_in) = mapping.get("sign_in") {
        let secrets: Vec<&str> = environment.secrets.keys().map(String::as_str).collect();
        environment.sign_in = values.sign_in(sign_in, &secrets);
    }
    if environment.name == LOCAL && !environment.connections.contains_key(CONNECTION) {
        environment.connections.insert(CONNECTION.to_owned(), json!({ "sandbox": true }));
    }
    environment
}

/// Reads values with `${…}` inside.
struct Values<'a, 'l> {
    reader: &'a mut Reader,
    /// `None`: the names only; nothing is looked up.
    lookup: Option<Lookup<'l>>,
}

impl Values<'_, '_> {
    fn named(&mut self, entry: &Entry) -> IndexMap<String, Value> {
        if entry.value.is_null() {
            return IndexMap::new();
        }
        let Some(mapping) = self.reader.mapping(&entry.value, &entry.key) else { return IndexMap::new() };
        mapping
            .entries
            .iter()
            .map(|inner| (inner.key.clone(), self.value(&inner.value).unwrap_or(Value::Null)))
            .collect()
    }

    fn value(&mut self, node: &Node) -> Option<Value> {
        match &node.kind {
            Kind::Scalar(scalar) if is_template(&scalar.text) => {
                self.reader.mismatch(node, "a value of the project file", "plain text or a number");
                None
            }
            Kind::Scalar(scalar) => {
                let completed = self.complete(&scalar.text, &node.span)?;
                if completed == scalar.text {
                    Some(scalar.core.to_json(&completed))
                } else {
                    Some(Value::from(completed))
                }
            }
            Kind::Sequence(items) => {
                items.iter().map(|item| self.value(item)).collect::<Option<Vec<_>>>().map(Value::Array)
            }
            Kind::Mapping(mapping) => {
                let mut object = Map::new();
                for entry in &mapping.entries {
                    object.insert(entry.key.clone(), self.value(&entry.value)?);
                }
                Some(Value::Object(object))
            }
        }
    }

    fn complete(&mut self, text: &str, span: &Range<usize>) -> Option<String> {
        let Some(lookup) = self.lookup else { return Some(text.to_owned()) };
        match interpolate(text, lookup) {
            Ok(text) => Some(text),
            Err(error) => {
                let help = "set it, or give a default: ${NAME:-default}; $$ is one $";
                let diagnostic =
                    self.reader.error(span, error.to_string()).label("looked up here").help(help);
                self.reader.report(diagnostic);
                None
            }
        }
    }
}
