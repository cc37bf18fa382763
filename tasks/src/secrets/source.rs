//! Where a secret lies, as `secrets` of an environment in `trunkline.yaml` says it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A reference to a secret; never the secret. Exactly one of the five places is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSource {
    /// A secret of Secrets Manager: its name or ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secretsmanager: Option<String>,
    /// A parameter of Systems Manager: its name or ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssm: Option<String>,
    /// An environment variable of the process that makes the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The absolute path of a file, such as one that a container gets mounted; one line break
    /// at its end is not part of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A database of this name in the project's private Postgres, made when it is first needed; the secret is its
    /// address. For tasks that have a real database in other environments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_database: Option<String>,
    /// The key to take, where the secret is a JSON object, as those of databases are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// This version and no other: an id of Secrets Manager, a number of Systems Manager.
    /// Without it, the current one when an attempt is prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The connection through which it is read; without one, `aws`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
}

/// The five places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Secrets Manager.
    SecretsManager(&'a str),
    /// Systems Manager.
    Parameter(&'a str),
    /// The process environment.
    Variable(&'a str),
    /// A file.
    File(&'a str),
    /// A database of the private Postgres.
    Database(&'a str),
}

impl SecretSource {
    /// The place, or what is wrong with the reference and how to repair it.
    pub fn kind(&self) -> Result<Kind<'_>, (String, String)> {
        let places = [
            self.secretsmanager.as_deref().map(Kind::SecretsManager),
            self.ssm.as_deref().map(Kind::Parameter),
            self.env.as_deref().map(Kind::Variable),
            self.file.as_deref().map(Kind::File),
            self.private_database.as_deref().map(Kind::Database),
        ];
        let mut named = places.into_iter().flatten();
        let (Some(kind), None) = (named.next(), named.next()) else {
            return Err((
                "names no place, or more than one".to_owned(),
                "give exactly one of `secretsmanager`, `ssm`, `env`, `file` and `private_database`"
                    .to_owned(),
            ));
        };
        let is_local = matches!(kind, Kind::Variable(_) | Kind::File(_) | Kind::Database(_));
        if is_local && (self.version.is_some() || self.connection.is_some()) {
            return Err((
                "has a `version` or a `connection`, which variables, files and private databases have not"
                    .to_owned(),
                "leave it out".to_owned(),
            ));
        }
        match kind {
            Kind::SecretsManager("") | Kind::Parameter("") | Kind::Variable("") | Kind::File("") => {
                Err(("names an empty place".to_owned(), "name the secret".to_owned()))
            }
            Kind::File(path) if !path.starts_with('/') => Err((
                format!("names the file `{path}`, which is no absolute path"),
                "replicas run in folders of their own: write the whole path".to_owned(),
            )),
            Kind::Database(name) => check_database(name).map(|()| kind),
            Kind::Parameter(_) if self.version.as_ref().is_some_and(|text| text.parse::<u64>().is_err()) => {
                Err((
                    "has a `version` that is no number".to_owned(),
                    "versions of Systems Manager's parameters are numbers: 1, 2, 3".to_owned(),
                ))
            }
            kind => Ok(kind),
        }
    }

    /// The place in people's words, for messages.
    pub(super) fn place(&self) -> String {
        match self.kind() {
            Ok(Kind::SecretsManager(id)) => format!("`{id}` in Secrets Manager"),
            Ok(Kind::Parameter(name)) => format!("parameter `{name}` of Systems Manager"),
            Ok(Kind::Variable(name)) => format!("the environment variable {name}"),
            Ok(Kind::File(path)) => format!("the file {path}"),
            Ok(Kind::Database(name)) => format!("the database {name} of the private Postgres"),
            Err((wrong, _)) => format!("nowhere: it {wrong}"),
        }
    }
}

/// The longest name of a database (`NAMEDATALEN` - 1).
const DATABASE_BYTES_MAX: usize = 63;

/// Databases that a private Postgres has anyway.
const OWN_DATABASES: [&str; 4] = ["trunkline", "postgres", "template0", "template1"];

/// Refuses what cannot be the name of a private database, and says how to repair it.
pub fn check_database(name: &str) -> Result<(), (String, String)> {
    let is_name = name.len() <= DATABASE_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !OWN_DATABASES.contains(&name);
    if is_name {
        return Ok(());
    }
    Err((
        format!("names the database `{}`", name.escape_default()),
        format!(
            "a name begins with a letter and has at most {DATABASE_BYTES_MAX} of a-z, 0-9 and _; not one of \
             Trunkline's or Postgres's own"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> SecretSource {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn exactly_one_place_is_named() {
        assert_eq!(read(r#"{"ssm":"/p/token"}"#).kind(), Ok(Kind::Parameter("/p/token")));
        assert_eq!(read(r#"{"file":"/run/x"}"#).kind(), Ok(Kind::File("/run/x")));
        for wrong in [
            "{}",
            r#"{"ssm":"a","env":"B"}"#,
            r#"{"env":""}"#,
            r#"{"file":"run/x"}"#,
            r#"{"env":"A","version":"1"}"#,
            r#"{"ssm":"a","version":"newest"}"#,
            r#"{"private_database":"trunkline"}"#,
            r#"{"private_database":"a b"}"#,
            r#"{"private_database":"a","connection":"aws"}"#,
        ] {
            assert!(read(wrong).kind().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<SecretSource>(r#"{"vault":"x"}"#).is_err());
    }
}
