//! `redshift_sql`: runs SQL in Amazon Redshift through its Data API: one statement, or up to 40 as one transaction.
//!
//! **Safe start**: `ExecuteStatement` and `BatchExecuteStatement` take a client token that the service remembers for
//! 8 hours; the same token gives the same statement, never a second one. The token is the SHA-256 of the attempt's id,
//! and every statement is named `trunkline:<attempt>`. A start without an answer is looked for by that name in
//! `ListStatements`; a look that finds nothing lets the stored request be sent again, which the token makes harmless,
//! or, when the token may be forgotten after 7 hours, proves that there is none.
//!
//! The service shows a statement only to the identity that ran it and keeps it for 24 hours after its end: what was not
//! seen by then is lost. Amazon bills the cluster or workgroup, not the statement, so there is no cost to report.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{SignedAt, merge},
    clients::Clients,
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Rate, Request, Sent,
        Status,
    },
    redshift::{self, BATCH, SINGLE, STATEMENT_TIME_MAX, STATEMENTS_MAX, Warehouse, check_statement},
    registry::Options,
    scalar::Scalar,
};

mod end;

#[cfg(test)]
mod tests;

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
    const FROM_CONNECTION: &'static [&'static [&'static str]] = redshift::FROM_CONNECTION;
    type Config = RedshiftSqlConfig;

    fn default_timeout(&self) -> Duration {
        STATEMENT_TIME_MAX
    }

    fn prepare(&self, config: &RedshiftSqlConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let (operation, mut call) = statements_of(config)?;
        warehouse(config).put(&mut call)?;
        if !config.parameters.is_empty() {
            call["Parameters"] = redshift::parameters(&config.parameters)?;
        }
        merge(&mut call, &Value::Object(config.request.clone()));
        let token = redshift::sign(&mut call, cx.attempt_id);
        let mut body = json!({ operation: call });
        redshift::check_fetch_rows(config.fetch_rows)?;
        if let Some(rows) = config.fetch_rows {
            body["fetch_rows"] = json!(rows);
        }
        Ok(Request { token, connection: cx.connection.to_owned(), body })
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        redshift::send(clients, intent.request, SignedAt(intent.intent_at)).await
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        redshift::find::find(clients, intent, self.quarantine).await
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        let mut statuses = Vec::with_capacity(handles.len());
        for handle in handles {
            statuses.push(end::poll(clients, handle).await);
        }
        statuses
    }

    async fn cancel(&self, clients: &Clients, handle: &Handle) -> Result<(), Failure> {
        redshift::cancel(clients, handle).await
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        Some(redshift::rate(call))
    }

    fn label(&self, request: &Request) -> String {
        match request.body[BATCH]["Sqls"].as_array() {
            Some(sqls) => format!("Redshift batch of {} statements", sqls.len()),
            None => "Redshift statement".to_owned(),
        }
    }

    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle> {
        Some(redshift::handle(intent.request, id.to_owned()))
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        redshift::console_url(region, handle)
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(redshift::access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        redshift::access::check(clients, request).await
    }
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}

/// The operation and the statements of its call.
fn statements_of(config: &RedshiftSqlConfig) -> Result<(&'static str, Value), Failure> {
    match (&config.sql, config.statements.as_slice()) {
        (Some(sql), []) => {
            check_statement(sql, "sql")?;
            if config.execution_mode == ExecutionMode::AutoCommit {
                return Err(wrong(
                    "execution_mode: one statement in `sql` always commits for itself; leave it out".into(),
                ));
            }
            Ok((SINGLE, json!({ "Sql": sql })))
        }
        (None, statements @ [_, ..]) => {
            if statements.len() > STATEMENTS_MAX {
                let count = statements.len();
                return Err(wrong(format!(
                    "statements: {count} of them, Redshift takes {STATEMENTS_MAX} at once"
                )));
            }
            for (at, sql) in statements.iter().enumerate() {
                check_statement(sql, &format!("statements: number {}", at + 1))?;
            }
            let mut call = json!({ "Sqls": statements });
            if config.execution_mode == ExecutionMode::AutoCommit {
                call["ExecutionMode"] = json!("AUTO_COMMIT");
            }
            Ok((BATCH, call))
        }
        (Some(_), _) => Err(wrong("sql: give either `sql` or `statements`, not both".into())),
        (None, _) => Err(wrong("sql: give the statement as `sql`, or several as `statements`".into())),
    }
}

fn warehouse(config: &RedshiftSqlConfig) -> Warehouse<'_> {
    Warehouse {
        database: config.database.as_deref(),
        workgroup: config.workgroup.as_deref(),
        cluster: config.cluster.as_deref(),
        db_user: config.db_user.as_deref(),
        secret_arn: config.secret_arn.as_deref(),
    }
}
