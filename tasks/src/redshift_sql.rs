//! `redshift_sql`: runs SQL in Amazon Redshift through its Data API: one statement, or up to 40 as one transaction.
//!
//! **Safe start**: `ExecuteStatement` and `BatchExecuteStatement` take a client token that the service remembers for
//! 8 hours; the same token gives the same statement, never a second one. The token is the SHA-256 of the attempt's id,
//! and every statement is named `trunkline:<attempt>`. A start without an answer is looked for by that name in
//! `ListStatements`; a look that finds nothing lets the stored request be sent again, which the token makes harmless,
//! or, when the token may be forgotten ([`TOKEN_WINDOW`]), proves that there is none.
//!
//! The service shows a statement only to the identity that ran it and keeps it for 24 hours after its end
//! ([`KEPT`]): what was not seen by then is lost. Amazon bills the cluster or workgroup, not the statement, so there is
//! no cost to report.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    access::{Finding, Needs, Place},
    aws::{SignedAt, console_host, error::Trouble, exact_body, merge, url_part},
    clients::{Clients, Purpose},
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Rate, Request, Sent,
        Status,
    },
    registry::Options,
    scalar::Scalar,
};

mod access;
mod find;
mod poll;
mod rows;

#[cfg(test)]
mod tests;

/// How long a token is relied upon; the service promises 8 hours.
const TOKEN_WINDOW: Duration = Duration::from_secs(7 * 60 * 60);

/// How long the service keeps a statement after its end.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest that a statement may run; the service's own limit.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest statement that the service takes.
const SQL_BYTES_MAX: usize = 100 * 1024;

/// Most statements of one batch; the service's own limit.
const STATEMENTS_MAX: usize = 40;

/// Most rows that may be fetched: outputs feed later tasks, they are no way to move data.
const FETCH_ROWS_MAX: u32 = 1_000;

/// The operator.
#[derive(Clone, Debug)]
pub struct RedshiftSql {
    quarantine: Duration,
}

/// Settings of a `redshift_sql` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedshiftSqlConfig {
    /// One SQL statement, or `file:sql/name.sql` beside the pipeline. Either this or `statements`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Up to 40 statements that run in this order as one transaction: all of them or none. Each may be a
    /// `file:sql/name.sql`. Redshift's TRUNCATE commits what came before it all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<String>,
    /// Values for `:name` in the statements. Values are bound by the service, so none can become SQL. It takes no
    /// empty text and no null: write those as `NULLIF(:name, 'none')` or into the SQL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Scalar>,
    /// The database to connect to. A connection of the type `redshift` may say this and what follows for all tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The name of a serverless workgroup. Either this or `cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workgroup: Option<String>,
    /// The identifier of a provisioned cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The database user of a cluster, with temporary credentials. Without it and without `secret_arn` the user
    /// is derived from the AWS identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_user: Option<String>,
    /// A secret in Secrets Manager that holds user and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_arn: Option<String>,
    /// Whether `statements` are one transaction or each commits for itself. A failure of one does not stop those
    /// behind it then, and a failed attempt of which a part was committed is not repeated.
    #[serde(default)]
    pub execution_mode: ExecutionMode,
    /// So many rows of the result become the output `rows`, at most 1,000 rows and 64 KiB; of several statements
    /// the last one with a result is meant. More rows than this stay behind with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub fetch_rows: Option<u32>,
    /// More of `ExecuteStatement` or `BatchExecuteStatement`, in the words of the API; laid over everything above.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub request: Map<String, Value>,
}

/// How several statements hang together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionMode {
    /// All of them or none.
    #[default]
    Transaction,
    /// Each commits for itself.
    AutoCommit,
}

impl RedshiftSql {
    /// Takes the quarantine of the options.
    pub fn new(options: &Options) -> Self {
        Self { quarantine: options.quarantine }
    }
}

impl Operator for RedshiftSql {
    const TYPE: &'static str = "redshift_sql";
    const EXAMPLE: &'static str = "\
type: redshift_sql
workgroup: reports
database: dev
statements:
  - DELETE FROM daily_totals WHERE day = :day
  - INSERT INTO daily_totals SELECT day, sum(amount) FROM sales WHERE day = :day GROUP BY day
  - SELECT total FROM daily_totals WHERE day = :day
parameters: { day: \"{{ ds }}\" }
fetch_rows: 1
";
    const GUARANTEE: &'static str = "Each attempt has its own client token and statement name: a lost start is \
         found by its name, and sending again within 8 hours never makes a second statement.";
    const FROM_CONNECTION: &'static [&'static [&'static str]] =
        &[&["database"], &["workgroup", "cluster"], &["db_user", "secret_arn"]];
    type Config = RedshiftSqlConfig;

    fn default_timeout(&self) -> Duration {
        STATEMENT_TIME_MAX
    }

    fn prepare(&self, config: &RedshiftSqlConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let token = hex::encode(Sha256::digest(cx.attempt_id.to_string().as_bytes()));
        let (operation, mut call) = statements_of(config)?;
        place(config, &mut call)?;
        if !config.parameters.is_empty() {
            call["Parameters"] = parameters(&config.parameters)?;
        }
        merge(&mut call, &Value::Object(config.request.clone()));
        call["ClientToken"] = json!(token);
        call["StatementName"] = json!(format!("trunkline:{}", cx.attempt_id));
        let mut body = json!({ operation: call });
        if let Some(rows) = config.fetch_rows {
            if rows == 0 || rows > FETCH_ROWS_MAX {
                return Err(wrong(format!("fetch_rows: {rows} is not between 1 and {FETCH_ROWS_MAX}")));
            }
            body["fetch_rows"] = json!(rows);
        }
        Ok(Request { token, connection: cx.connection.to_owned(), body })
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        // Signed with the intent's time: a frozen replica that wakes up after the token was
        // forgotten is refused.
        send(clients, intent.request, SignedAt(intent.intent_at)).await
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        find::find(clients, intent, self.quarantine).await
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        let mut statuses = Vec::with_capacity(handles.len());
        for handle in handles {
            statuses.push(poll::poll(clients, handle).await);
        }
        statuses
    }

    async fn cancel(&self, clients: &Clients, handle: &Handle) -> Result<(), Failure> {
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

    fn rate(&self, call: Call) -> Option<Rate> {
        Some(match call {
            Call::Start => {
                Rate { api: "redshift-data:ExecuteStatement".into(), per_second: 20.0, burst: 20.0 }
            }
            Call::Read => {
                Rate { api: "redshift-data:DescribeStatement".into(), per_second: 80.0, burst: 80.0 }
            }
        })
    }

    fn label(&self, request: &Request) -> String {
        match request.body["BatchExecuteStatement"]["Sqls"].as_array() {
            Some(sqls) => format!("Redshift batch of {} statements", sqls.len()),
            None => "Redshift statement".to_owned(),
        }
    }

    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle> {
        Some(handle(intent.request, id.to_owned()))
    }

    /// The Data API has no page for one statement; these show what runs where it ran.
    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
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

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        access::check(clients, request).await
    }
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}

/// The operation and the statements of its call.
fn statements_of(config: &RedshiftSqlConfig) -> Result<(&'static str, Value), Failure> {
    let too_long = |sql: &str, place: &str| {
        let bytes = sql.len();
        if sql.trim().is_empty() {
            Err(wrong(format!("{place}: there is no statement")))
        } else if bytes > SQL_BYTES_MAX {
            Err(wrong(format!("{place}: {bytes} bytes, Redshift takes {SQL_BYTES_MAX}")))
        } else {
            Ok(())
        }
    };
    match (&config.sql, config.statements.as_slice()) {
        (Some(sql), []) => {
            too_long(sql, "sql")?;
            if config.execution_mode == ExecutionMode::AutoCommit {
                return Err(wrong(
                    "execution_mode: one statement in `sql` always commits for itself; leave it out".into(),
                ));
            }
            Ok(("ExecuteStatement", json!({ "Sql": sql })))
        }
        (None, statements @ [_, ..]) => {
            if statements.len() > STATEMENTS_MAX {
                let count = statements.len();
                return Err(wrong(format!(
                    "statements: {count} of them, Redshift takes {STATEMENTS_MAX} at once"
                )));
            }
            for (at, sql) in statements.iter().enumerate() {
                too_long(sql, &format!("statements: number {}", at + 1))?;
            }
            let mut call = json!({ "Sqls": statements });
            if config.execution_mode == ExecutionMode::AutoCommit {
                call["ExecutionMode"] = json!("AUTO_COMMIT");
            }
            Ok(("BatchExecuteStatement", call))
        }
        (Some(_), _) => Err(wrong("sql: give either `sql` or `statements`, not both".into())),
        (None, _) => Err(wrong("sql: give the statement as `sql`, or several as `statements`".into())),
    }
}

/// Where the statements run and as whom.
fn place(config: &RedshiftSqlConfig, call: &mut Value) -> Result<(), Failure> {
    match (&config.workgroup, &config.cluster) {
        (Some(workgroup), None) => {
            if config.db_user.is_some() {
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
    match (&config.db_user, &config.secret_arn) {
        (Some(_), Some(_)) => {
            return Err(wrong("db_user: give either `db_user` or `secret_arn`, not both".into()));
        }
        (Some(user), None) => call["DbUser"] = json!(user),
        (None, Some(secret)) => call["SecretArn"] = json!(secret),
        (None, None) => {}
    }
    let Some(database) = config.database.as_deref().filter(|name| !name.trim().is_empty()) else {
        return Err(wrong("database: name it here, or in a connection of the type `redshift`".into()));
    };
    call["Database"] = json!(database);
    Ok(())
}

fn parameters(values: &BTreeMap<String, Scalar>) -> Result<Value, Failure> {
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

/// Sends the stored request.
async fn send(clients: &Clients, request: &Request, signed: SignedAt) -> Sent {
    let redshift = match clients.redshift_data(&request.connection, Purpose::Start).await {
        Ok(redshift) => redshift,
        Err(failure) => return Sent::Refused(failure),
    };
    let config = aws_sdk_redshiftdata::config::Builder::new().time_source(signed);
    let answer = if let Some(call) = request.body.get("BatchExecuteStatement") {
        let batch = redshift.batch_execute_statement().sqls("-").client_token(&request.token).customize();
        let sent = batch.config_override(config).mutate_request(exact_body(call)).send().await;
        sent.map(|answer| answer.id).map_err(Trouble::from)
    } else {
        let one = redshift.execute_statement().sql("-").client_token(&request.token).customize();
        let call = &request.body["ExecuteStatement"];
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
fn call_of(request: &Request) -> &Value {
    request.body.get("BatchExecuteStatement").unwrap_or(&request.body["ExecuteStatement"])
}

fn handle(request: &Request, id: String) -> Handle {
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
