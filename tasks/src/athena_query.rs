//! `athena_query`: runs one SQL statement in Amazon Athena.
//!
//! **Safe start**: `StartQueryExecution` takes a client token; the same token with the same
//! request gives the same query, never a second one. The token is the SHA-256 of the attempt's
//! id. How long Athena remembers tokens is not documented, so a lost start is settled by
//! resending only within an hour ([`TOKEN_WINDOW`]); after that, by looking through the
//! workgroup's history for the comment `-- trunkline:<attempt>` that ends every query.
//!
//! With `ResultReuseConfiguration` in `request:` the comment is left out, because it would
//! defeat the reuse; the history is then compared by the text of the query.
//!
//! A statement that writes is safe within its attempt, but not over attempts: Athena takes nothing back that a
//! failed `INSERT` wrote. `replace` (`replace.rs`, `repoint.rs`) is: each attempt builds its data in a folder of
//! its own, and the table is pointed to them when they are complete.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    access::{Finding, Needs, Place},
    aws::{SignedAt, console_host, error::Trouble, exact_body, url_part},
    clients::{Clients, Purpose},
    clock::Clock,
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Rate, Request, Sent,
        Status,
    },
    registry::Options,
    scalar::Parameter,
};

mod access;
mod find;
mod leftovers;
mod partitions;
mod poll;
mod replace;
mod repoint;
mod request;
mod rows;
mod tables;

#[cfg(test)]
mod replace_tests;
#[cfg(test)]
mod tests;

use replace::Plan;
pub use replace::{How, OldData, Replace};
use rows::FETCH_ROWS_MAX;

/// How long a token is relied upon.
pub(crate) const TOKEN_WINDOW: Duration = Duration::from_secs(60 * 60);

/// The longest statement that Athena takes.
const QUERY_BYTES_MAX: usize = 262_144;

/// The longest that Athena lets a statement run: DML may be raised to four hours, DDL ends
/// earlier or is quick.
const QUERY_TIME_MAX: Duration = Duration::from_secs(4 * 60 * 60);

/// Most ids that `BatchGetQueryExecution` takes.
const BATCH_MAX: usize = 50;

/// The operator.
#[derive(Clone, Debug)]
pub struct AthenaQuery {
    clock: Clock,
    quarantine: Duration,
}

/// Settings of an `athena_query` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AthenaQueryConfig {
    /// One SQL statement, or `file:sql/name.sql` beside the pipeline. An `INSERT` or a `CREATE TABLE … AS` runs once
    /// in each attempt, but what a failed attempt wrote stays; `replace` leaves nothing of it in the table.
    pub query: String,
    /// The database that unqualified names mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The data catalog; without one, `AwsDataCatalog`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// The workgroup; without one, `primary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workgroup: Option<String>,
    /// An S3 prefix for results, where the workgroup names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_location: Option<String>,
    /// Values for the question marks in the query, in order. Texts are quoted, so a value can
    /// never become SQL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// So many rows of the result become the output `rows`, at most 1,000 rows and 64 KiB. More rows than this stay
    /// behind with a warning; all of them are in the CSV at `output_location`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub fetch_rows: Option<u32>,
    /// With `fetch_rows`: whether more rows than that deserve a warning. `ignore` where only the first are wanted,
    /// say for a mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_rows: Option<MoreRows>,
    /// The query is a SELECT, and its result takes the place of a table or of some of its partitions. A retry, a
    /// crash, a run that is cleared: the table shows the rows of exactly one complete query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<Replace>,
    /// More of `StartQueryExecution`, in the words of the API; laid over everything above.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub request: Map<String, Value>,
}

/// What more rows mean than `fetch_rows` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MoreRows {
    /// The task succeeds with a warning.
    Warn,
    /// Nothing.
    Ignore,
}

impl AthenaQuery {
    /// Takes the clock and the quarantine of the options.
    pub fn new(options: &Options) -> Self {
        Self { clock: options.clock.clone(), quarantine: options.quarantine }
    }
}

impl Operator for AthenaQuery {
    const TYPE: &'static str = "athena_query";
    const EXAMPLE: &'static str = "\
type: athena_query
query: SELECT caller, count(*) AS calls, day FROM cdrs WHERE day = ? GROUP BY caller, day
database: cdr
workgroup: reports
parameters: [\"2026-11-19\"]
replace:
  table: calls_by_day
  how: partition
  location: s3://lake/calls_by_day/
  partitioned_by: [day]
  partition: { day: \"2026-11-19\" }
";
    const GUARANTEE: &'static str = "Each attempt has its own client token: resending never makes a second \
         query. After an hour the workgroup's history is searched instead. What `replace` does after the query can be \
         repeated at every step.";
    type Config = AthenaQueryConfig;

    fn default_timeout(&self) -> Duration {
        QUERY_TIME_MAX
    }

    fn prepare(&self, config: &AthenaQueryConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let token = token_of(cx.attempt_id);
        let plan = Plan::of(config, cx)?;
        let call = request::start_query_execution(config, plan.as_ref(), cx, &token)?;
        let mut body = json!({ "StartQueryExecution": call });
        if let Some(rows) = config.fetch_rows {
            if rows == 0 || rows > FETCH_ROWS_MAX {
                let message = format!("fetch_rows: {rows} is not between 1 and {FETCH_ROWS_MAX}");
                return Err(Failure::new(ErrorClass::Config, message));
            }
            body["fetch_rows"] = json!(rows);
        }
        if let Some(more) = config.more_rows {
            if config.fetch_rows.is_none() {
                let message = "more_rows: it says what becomes of rows beyond `fetch_rows`, which is missing";
                return Err(Failure::new(ErrorClass::Config, message));
            }
            body["more_rows"] = json!(more);
        }
        if let Some(plan) = plan {
            body["replace"] = json!(plan);
        }
        Ok(Request { token, connection: cx.connection.to_owned(), body })
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        // Signed with the intent's time like a start without a token: a frozen replica that
        // wakes up after the token was forgotten is refused.
        start(clients, intent.request, Some(SignedAt(intent.intent_at))).await
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        find::find(clients, intent, self.quarantine).await
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        poll::poll(clients, handles, self.clock.now()).await
    }

    async fn cancel(&self, clients: &Clients, handle: &Handle) -> Result<(), Failure> {
        let athena = clients.athena(&handle.connection, Purpose::Read).await?;
        let answer = athena.stop_query_execution().query_execution_id(&handle.id).send().await;
        match answer.map_err(Trouble::from) {
            Ok(_) => Ok(()),
            // Athena's word for a query that has ended or was forgotten.
            Err(trouble) if trouble.code() == "InvalidRequestException" => Ok(()),
            Err(trouble) => Err(trouble.into_failure()),
        }
    }

    fn batch_size(&self) -> usize {
        BATCH_MAX
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        Some(match call {
            Call::Start => Rate { api: "athena:StartQueryExecution".into(), per_second: 20.0, burst: 80.0 },
            Call::Read => Rate { api: "athena:BatchGetQueryExecution".into(), per_second: 20.0, burst: 40.0 },
        })
    }

    fn label(&self, request: &Request) -> String {
        match Plan::deserialize(&request.body["replace"]) {
            Ok(plan) => format!("Athena query for {}", plan.name()),
            Err(_) => "Athena query".to_owned(),
        }
    }

    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle> {
        Some(handle(intent.request, id.to_owned()))
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        let host = console_host(region);
        let id = url_part(&handle.id);
        Some(format!("https://{host}/athena/home?region={region}#/query-editor/history/{id}"))
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        access::check(clients, request).await
    }
}

/// The client token of an attempt.
fn token_of(attempt_id: Uuid) -> String {
    hex::encode(Sha256::digest(attempt_id.to_string().as_bytes()))
}

/// Sends the stored request, as a start or as a question about one: with a token both are the
/// same call.
async fn start(clients: &Clients, request: &Request, signed: Option<SignedAt>) -> Sent {
    let athena = match clients.athena(&request.connection, Purpose::Start).await {
        Ok(athena) => athena,
        Err(failure) => return Sent::Refused(failure),
    };
    let mut config = aws_sdk_athena::config::Builder::new();
    if let Some(signed) = signed {
        config = config.time_source(signed);
    }
    let answer = athena
        .start_query_execution()
        .query_string("-")
        .client_request_token(&request.token)
        .customize()
        .config_override(config)
        .mutate_request(exact_body(&request.body["StartQueryExecution"]))
        .send()
        .await;
    match answer.map_err(Trouble::from) {
        Ok(answer) => match answer.query_execution_id {
            Some(id) => Sent::Accepted(handle(request, id)),
            None => {
                Sent::Unknown(Failure::new(ErrorClass::System, "athena accepted the query but gave no id"))
            }
        },
        Err(trouble) => trouble.into_sent(),
    }
}

fn handle(request: &Request, id: String) -> Handle {
    let workgroup = request.body["StartQueryExecution"]["WorkGroup"].clone();
    let mut detail = json!({ "workgroup": workgroup });
    for name in ["fetch_rows", "more_rows", "replace"] {
        if let Some(value) = request.body.get(name) {
            detail[name] = value.clone();
        }
    }
    Handle { connection: request.connection.clone(), id, detail }
}
