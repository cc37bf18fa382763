//! Reading one secret from each of the five places.
//!
//! The two services are called without their clients of the SDK: each has one call that is
//! needed here, and the client of Systems Manager alone is 350,000 lines. Region, endpoint,
//! credentials, signature and connection are the SDK's ([`crate::clients::Clients::json_call`]).

use std::{fs, io};

use serde_json::{Value, json};

use super::{
    Read, Variables,
    mark::Mark,
    source::{Kind, SecretSource},
};
use crate::{
    aws::error::Trouble,
    clients::Clients,
    operator::{ErrorClass, Failure},
    postgres,
};

/// The connection of secrets that name none.
const CONNECTION: &str = "aws";

/// The longest secret that is read from a file: what Secrets Manager takes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Reads a secret in the version of its mark, or of its source, or the current one.
pub(super) async fn fetch(
    clients: &Clients,
    variables: Variables,
    source: &SecretSource,
    mark: &Mark,
) -> Result<Read, Failure> {
    let kind = source.kind().map_err(|(wrong, fix)| config(mark, &format!("it {wrong}: {fix}")))?;
    let version = mark.version.as_deref().or(source.version.as_deref());
    let connection = source.connection.as_deref().unwrap_or(CONNECTION);
    let read = match kind {
        Kind::SecretsManager(id) => secret_value(clients, connection, id, version).await,
        Kind::Parameter(name) => parameter(clients, connection, name, version).await,
        Kind::Variable(name) => {
            let value = variables(name).ok_or_else(|| {
                let text = format!(
                    "the environment variable {name} is not set: set it where `trunkline` is started"
                );
                config(mark, &text)
            })?;
            Ok(Read { value, version: None })
        }
        Kind::File(path) => return keyed(file(path, mark)?, source, mark),
        Kind::Database(name) => return private_database(clients, name, mark).await,
    };
    let read = read.map_err(|trouble| explained(trouble, source, mark, connection))?;
    keyed(read, source, mark)
}

async fn secret_value(
    clients: &Clients,
    connection: &str,
    id: &str,
    version: Option<&str>,
) -> Result<Read, Problem> {
    let mut body = json!({ "SecretId": id });
    if let Some(version) = version {
        body["VersionId"] = json!(version);
    }
    let target = "secretsmanager.GetSecretValue";
    let answer = clients.json_call(connection, "secretsmanager", target, &body).await?;
    let text = |member: &str| answer[member].as_str().map(str::to_owned);
    match text("SecretString") {
        Some(value) => Ok(Read { value, version: text("VersionId") }),
        None if answer["SecretBinary"].is_string() => Err(Problem::Words(
            "it is binary, and only texts can stand in a setting: store it as a text".to_owned(),
        )),
        None => Err(Trouble::empty("Secrets Manager answered without a value").into()),
    }
}

async fn parameter(
    clients: &Clients,
    connection: &str,
    name: &str,
    version: Option<&str>,
) -> Result<Read, Problem> {
    let selected = version.map_or_else(|| name.to_owned(), |version| format!("{name}:{version}"));
    let body = json!({ "Name": selected, "WithDecryption": true });
    let answer = clients.json_call(connection, "ssm", "AmazonSSM.GetParameter", &body).await?;
    let parameter = &answer["Parameter"];
    match (parameter["Value"].as_str(), parameter["Version"].as_u64()) {
        (Some(value), Some(version)) => {
            Ok(Read { value: value.to_owned(), version: Some(version.to_string()) })
        }
        _ => Err(Trouble::empty("Systems Manager answered without a value").into()),
    }
}

/// The address of a database in the private Postgres, which is made where it is missing.
async fn private_database(clients: &Clients, name: &str, mark: &Mark) -> Result<Read, Failure> {
    let Some(own) = clients.private_postgres() else {
        let text = "there is no private Postgres here, as the store is a server of its own: name the database's \
                    address, as { env: NAME } or in another place";
        return Err(config(mark, text));
    };
    let value = postgres::private::database(own, name).await?;
    Ok(Read { value, version: None })
}

fn file(path: &str, mark: &Mark) -> Result<Read, Failure> {
    let about = |error: &io::Error| config(mark, &format!("the file {path} cannot be read: {error}"));
    let size = fs::metadata(path).map_err(|error| about(&error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(config(
            mark,
            &format!("the file {path} has {size} bytes; at most {FILE_BYTES_MAX} are read"),
        ));
    }
    let mut value = fs::read_to_string(path).map_err(|error| about(&error))?;
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    Ok(Read { value, version: None })
}

/// The part that `key` names.
fn keyed(read: Read, source: &SecretSource, mark: &Mark) -> Result<Read, Failure> {
    let Some(key) = &source.key else { return Ok(read) };
    let place = source.place();
    // The parser's own words would quote the secret.
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&read.value) else {
        let text = format!(
            "{place} is no JSON object, so it has no key `{key}`: leave `key` out, or store an object"
        );
        return Err(config(mark, &text));
    };
    let value = match object.get(key) {
        Some(Value::String(value)) => value.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        Some(_) => {
            return Err(config(mark, &format!("`{key}` of {place} is neither text nor number")));
        }
        None => {
            let keys: Vec<String> = object.keys().map(|key| format!("`{key}`")).collect();
            return Err(config(mark, &format!("{place} has no key `{key}`; it has {}", keys.join(", "))));
        }
    };
    Ok(Read { value, version: read.version })
}

/// What kept a secret from being read.
enum Problem {
    /// The call did not give it.
    Trouble(Trouble),
    /// It is not what it should be.
    Words(String),
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// The service's words, with what is to be done.
fn explained(problem: Problem, source: &SecretSource, mark: &Mark, connection: &str) -> Failure {
    let trouble = match problem {
        Problem::Trouble(trouble) => trouble,
        Problem::Words(words) => return config(mark, &words),
    };
    let place = source.place();
    let code = trouble.code().to_owned();
    let fix = match (code.as_str(), &mark.version, &source.version) {
        ("ResourceNotFoundException" | "ParameterVersionNotFound", Some(version), None) => format!(
            "the attempt is pinned to version {version}, which is gone; clear the task for a new attempt with the current version"
        ),
        ("ResourceNotFoundException", _, Some(version)) => {
            format!("is there a version {version} of it? without `version` the current one is taken")
        }
        ("ParameterVersionNotFound", _, Some(version)) => {
            format!("there is no version {version} of it; without `version` the current one is taken")
        }
        ("ResourceNotFoundException" | "ParameterNotFound", ..) => {
            format!(
                "create it in the account and region of connection `{connection}`, or correct the name under `secrets` in trunkline.yaml"
            )
        }
        ("AccessDeniedException" | "AccessDenied", ..) => {
            let action =
                if source.ssm.is_some() { "ssm:GetParameter" } else { "secretsmanager:GetSecretValue" };
            format!(
                "allow {action} on it (and kms:Decrypt on its key) to the identity of connection `{connection}`"
            )
        }
        ("InvalidRequestException", ..) => {
            "is it marked for deletion? restore it, or name another".to_owned()
        }
        ("DecryptionFailure" | "InvalidKeyId", ..) => {
            format!("allow kms:Decrypt on its key to the identity of connection `{connection}`")
        }
        _ => String::new(),
    };
    let mut failure = trouble.into_failure();
    let fix = if fix.is_empty() { fix } else { format!("\n{fix}") };
    let code = if code.is_empty() { code } else { format!("{code}: ") };
    failure.message =
        format!("secret `{}` ({place}) cannot be read: {code}{}{fix}", mark.name, failure.message);
    failure
}

fn config(mark: &Mark, text: &str) -> Failure {
    Failure::new(ErrorClass::Config, format!("secret `{}` cannot be read: {text}", mark.name))
}
