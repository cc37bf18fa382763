//! The Redshift Data API: where statements run and as whom, one start with a token, the look for a lost one, states and
//! stops. For the operators that send statements through it.
//!
//! A call is stored as it is sent, under the name of its operation: `{"BatchExecuteStatement": {…}}`. It carries a client
//! token that the service remembers for 8 hours, and every statement is named `trunkline:<attempt>`. What the statements
//! say, and what their results mean, is each operator's own business and never stands here.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    aws::{SignedAt, console_host, error::Trouble, exact_body, url_part},
    clients::{Clients, Purpose},
    operator::{Call, ErrorClass, Failure, Handle, Rate, Request, Sent},
    scalar::Scalar,
};

pub(crate) mod access;
pub(crate) mod find;
pub(crate) mod poll;
mod rows;

/// How long a token is relied upon; the service promises 8 hours.
const TOKEN_WINDOW: Duration = Duration::from_secs(7 * 60 * 60);

/// How long the service keeps a statement after its end.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest that a statement may run; the service's own limit.
pub(crate) const STATEMENT_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest statement that the service takes.
pub(crate) const SQL_BYTES_MAX: usize = 100 * 1024;

/// Most statements of one batch; the service's own limit.
pub(crate) const STATEMENTS_MAX: usize = 40;

/// Most rows that may be fetched: outputs feed later tasks, they are no way to move data.
const FETCH_ROWS_MAX: u32 = 1_000;

/// What a task may leave to a connection of the type `redshift`.
pub(crate) const FROM_CONNECTION: &[&[&str]] =
    &[&["database"], &["workgroup", "cluster"], &["db_user", "secret_arn"]];

/// The operation that takes several statements.
pub(crate) const BATCH: &str = "BatchExecuteStatement";

/// The operation that takes one.
pub(crate) const SINGLE: &str = "ExecuteStatement";

/// Where statements run and as whom, as the settings say it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warehouse<'a> {
    pub(crate) database: Option<&'a str>,
    pub(crate) workgroup: Option<&'a str>,
    pub(crate) cluster: Option<&'a str>,
    pub(crate) db_user: Option<&'a str>,
    pub(crate) secret_arn: Option<&'a str>,
}

impl Warehouse<'_> {
    /// Puts it into a call.
    pub(crate) fn put(self, call: &mut Value) -> Result<(), Failure> {
        match (self.workgroup, self.cluster) {
            (Some(workgroup), None) => {
                if self.db_user.is_some() {
                    return Err(wrong("db_user: a workgroup derives the user from the AWS identity or from `secret_arn`; leave `db_user` out".into()));
                }
                call["WorkgroupName"] = json!(workgroup);
            }
            (None, Some(cluster)) => call["ClusterIdentifier"] = json!(cluster),
            _ => {
                return Err(wrong(
                    "workgroup: give either `workgroup` (serverless) or `cluster` (provisioned)".into(),
                ));
            }
        }
        match (self.db_user, self.secret_arn) {
            (Some(_), Some(_)) => {
                return Err(wrong("db_user: give either `db_user` or `secret_arn`, not both".into()));
            }
            (Some(user), None) => call["DbUser"] = json!(user),
            (None, Some(secret)) => call["SecretArn"] = json!(secret),
            (None, None) => {}
        }
        let Some(database) = self.database.filter(|name| !name.trim().is_empty()) else {
            return Err(wrong("database: name it here, or in a connection of the type `redshift`".into()));
        };
        call["Database"] = json!(database);
        Ok(())
    }
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}

/// Refuses what the service would not take as a statement. `place` is named in the complaint.
pub(crate) fn check_statement(sql: &str, place: &str) -> Result<(), Failure> {
    let bytes = sql.len();
    if sql.trim().is_empty() {
        Err(wrong(format!("{place}: there is no statement")))
    } else if bytes > SQL_BYTES_MAX {
        Err(wrong(format!("{place}: {bytes} bytes, Redshift takes {SQL_BYTES_MAX}")))
    } else {
        Ok(())
    }
}

/// Refuses a number of rows that nobody may fetch.
pub(crate) fn check_fetch_rows(rows: Option<u32>) -> Result<(), Failure> {
    match rows {
        Some(rows) if rows == 0 || rows > FETCH_ROWS_MAX => {
            Err(wrong(format!("fetch_rows: {rows} is not between 1 and {FETCH_ROWS_MAX}")))
        }
        _ => Ok(()),
    }
}

/// Values for `:name` as the service takes them.
pub(crate) fn parameters(values: &BTreeMap<String, Scalar>) -> Result<Value, Failure> {
    let mut list = Vec::with_capacity(values.len());
    for (name, Scalar(value)) in values {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(wrong(format!(
                "parameters: `{name}` is no name: use letters, digits and underscores"
            )));
        }
        if value.is_empty() {
            return Err(wrong(format!(
                "parameters: `{name}` is empty, which Redshift does not take: write '' into the SQL, or \
                 NULLIF(:{name}, 'none') with the value none"
            )));
        }
        list.push(json!({ "name": name, "value": value }));
    }
    Ok(Value::Array(list))
}

/// Puts the attempt's token and name into a call; answers the token.
pub(crate) fn sign(call: &mut Value, attempt_id: Uuid) -> String {
    let token = hex::encode(Sha256::digest(attempt_id.to_string().as_bytes()));
    call["ClientToken"] = json!(token);
    call["StatementName"] = json!(format!("trunkline:{attempt_id}"));
    token
}

/// Sends the stored call. It is signed with the intent's time: a frozen replica that wakes up after the token was
/// forgotten is refused.
pub(crate) async fn send(clients: &Clients, request: &Request, signed: SignedAt) -> Sent {
    let redshift = match clients.redshift_data(&request.connection, Purpose::Start).await {
        Ok(redshift) => redshift,
        Err(failure) => return Sent::Refused(failure),
    };
    let config = aws_sdk_redshiftdata::config::Builder::new().time_source(signed);
    let answer = if let Some(call) = request.body.get(BATCH) {
        let batch = redshift.batch_execute_statement().sqls("-").client_token(&request.token).customize();
        let sent = batch.config_override(config).mutate_request(exact_body(call)).send().await;
        sent.map(|answer| answer.id).map_err(Trouble::from)
    } else {
        let one = redshift.execute_statement().sql("-").client_token(&request.token).customize();
        let call = &request.body[SINGLE];
        let sent = one.config_override(config).mutate_request(exact_body(call)).send().await;
        sent.map(|answer| answer.id).map_err(Trouble::from)
    };
    match answer {
        Ok(Some(id)) => Sent::Accepted(handle(request, id)),
        Ok(None) => {
            Sent::Unknown(Failure::new(ErrorClass::System, "redshift accepted the statement but gave no id"))
        }
        Err(trouble) => trouble.into_sent(),
    }
}

/// The stored call, whichever it is.
pub(crate) fn call_of(request: &Request) -> &Value {
    request.body.get(BATCH).unwrap_or(&request.body[SINGLE])
}

/// What is remembered of a statement: where it runs, and what of its end is asked for.
pub(crate) fn handle(request: &Request, id: String) -> Handle {
    let call = call_of(request);
    let mut detail = Map::new();
    for (name, value) in [
        ("cluster", &call["ClusterIdentifier"]),
        ("workgroup", &call["WorkgroupName"]),
        ("execution_mode", &call["ExecutionMode"]),
        ("fetch_rows", &request.body["fetch_rows"]),
    ] {
        if !value.is_null() {
            detail.insert(name.to_owned(), value.clone());
        }
    }
    Handle { connection: request.connection.clone(), id, detail: Value::Object(detail) }
}

/// Asks the service to stop a statement.
pub(crate) async fn cancel(clients: &Clients, handle: &Handle) -> Result<(), Failure> {
    let redshift = clients.redshift_data(&handle.connection, Purpose::Read).await?;
    let answer = redshift.cancel_statement().id(&handle.id).send().await.map_err(Trouble::from);
    let refusal = match answer {
        Ok(answer) if answer.status != Some(false) => return Ok(()),
        Ok(_) => Failure::new(ErrorClass::System, "redshift did not stop the statement yet"),
        Err(trouble) if trouble.is_not_there() => return Ok(()),
        // Its word for a statement that has ended, and for one that has not begun.
        Err(trouble) if trouble.code() == "ValidationException" => {
            Failure { class: ErrorClass::System, ..trouble.into_failure() }
        }
        Err(trouble) => return Err(trouble.into_failure()),
    };
    // What has ended needs no stop; what has not begun is stopped by a later try.
    match poll::state_of(clients, handle).await {
        Ok(state) if poll::is_terminal(&state) => Ok(()),
        _ => Err(refusal),
    }
}

/// The budgets of the Data API.
pub(crate) fn rate(call: Call) -> Rate {
    match call {
        Call::Start => Rate { api: "redshift-data:ExecuteStatement".into(), per_second: 20.0, burst: 20.0 },
        Call::Read => Rate { api: "redshift-data:DescribeStatement".into(), per_second: 80.0, burst: 80.0 },
    }
}

/// The Data API has no page for one statement; these show what runs where it ran.
pub(crate) fn console_url(region: &str, handle: &Handle) -> Option<String> {
    let host = console_host(region);
    let page = match (handle.detail["cluster"].as_str(), handle.detail["workgroup"].as_str()) {
        (Some(cluster), _) => {
            format!("cluster-details?cluster={}&tab=query-monitoring", url_part(cluster))
        }
        (None, Some(_)) => "serverless-query-monitoring".to_owned(),
        (None, None) => return None,
    };
    Some(format!("https://{host}/redshiftv2/home?region={region}#{page}"))
}
