//! Statements: the operations of the Redshift Data API.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::dialect;
use super::dialect::parameters::{self, Parameter};
use super::record::{Done, Mode, Part, StatementRecord, StatementState};
use super::{Redshift, results, shape};
use crate::files::replace_json;
use crate::glue::request::{listed, page, parse};
use crate::ledger::Accepted;
use crate::wire::{ApiError, CallContext};

/// The exception for requests that make no sense.
pub(super) const INVALID: &str = "ValidationException";
/// Longest statement in bytes (the API's own limit).
const SQL_BYTES_MAX: usize = 100 * 1024;
/// Most statements of a batch (the API's own limit).
const BATCH_MAX: usize = 40;
/// Longest client token (the API's own limit).
const TOKEN_MAX: usize = 64;
/// Longest name of a statement (the API's own limit).
const NAME_MAX: usize = 2_048;
/// Page size of `ListStatements` (the API's own maximum).
const PAGE_MAX: usize = 100;
/// Calls that have not ended, per cluster or workgroup (the API's own limit).
const ACTIVE_MAX: usize = 500;
/// Longest wait for an end within a call (the API's own limit).
const WAIT_SECONDS_MAX: u64 = 30;
/// Between two looks of such a wait.
const WAIT_STEP: Duration = Duration::from_millis(50);

impl Redshift {
    pub(super) async fn answer(self: &Arc<Self>, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        match cx.operation.as_str() {
            "ExecuteStatement" => self.execute_statement(cx, body).await,
            "BatchExecuteStatement" => self.batch_execute_statement(cx, body).await,
            "DescribeStatement" => self.describe_statement(cx, body).await,
            "ListStatements" => self.list_statements(cx, body),
            "CancelStatement" => self.cancel_statement(body),
            "GetStatementResult" => self.get_statement_result(body).await,
            "ListDatabases" => self.list_databases(body),
            "ListSchemas" => self.list_schemas(body).await,
            "ListTables" => self.list_tables(body).await,
            "DescribeTable" => self.describe_table(body).await,
            _ => Err(ApiError::unknown_operation(cx)),
        }
    }

    async fn execute_statement(self: &Arc<Self>, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            sql: String,
            #[serde(flatten)]
            common: Common,
        }
        let fingerprint = fingerprint(&body);
        let request: Request = parse(body, INVALID)?;
        let wait = request.common.wait_time_seconds;
        let id = self.accept(cx, vec![request.sql], request.common, None, fingerprint)?;
        self.accepted(&id, wait).await
    }

    async fn batch_execute_statement(
        self: &Arc<Self>,
        cx: &CallContext,
        body: Value,
    ) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            sqls: Vec<String>,
            execution_mode: Option<Mode>,
            #[serde(flatten)]
            common: Common,
        }
        let fingerprint = fingerprint(&body);
        let request: Request = parse(body, INVALID)?;
        if request.sqls.is_empty() || request.sqls.len() > BATCH_MAX {
            return Err(invalid(format!("from 1 to {BATCH_MAX} statements can be run at once")));
        }
        let wait = request.common.wait_time_seconds;
        let mode = request.execution_mode.unwrap_or(Mode::Transaction);
        let id = self.accept(cx, request.sqls, request.common, Some(mode), fingerprint)?;
        self.accepted(&id, wait).await
    }

    /// Records a call and lets it run; a token that is known gives the id that it gave before.
    fn accept(
        self: &Arc<Self>,
        cx: &CallContext,
        sqls: Vec<String>,
        request: Common,
        batch: Option<Mode>,
        fingerprint: String,
    ) -> Result<String, ApiError> {
        request.check(&sqls)?;
        let target = self
            .warehouses
            .target(request.cluster_identifier.as_deref(), request.workgroup_name.as_deref())?;
        let id = self.world.new_uuid().to_string();
        {
            let mut state = self.lock();
            if let Some(token) = &request.client_token
                && let Some(known) = state.tokens.get(token).and_then(|id| state.records.get(id))
                && known.holds_token(token, cx.now)
            {
                if known.request != fingerprint {
                    return Err(invalid("the ClientToken was used for another request"));
                }
                return Ok(known.id.clone());
            }
            let active =
                |record: &&StatementRecord| !record.state.is_terminal() && record.target() == target.name();
            if state.records.values().filter(active).count() >= ACTIVE_MAX {
                return Err(ApiError::new(
                    400,
                    "ActiveStatementsExceededException",
                    format!("Active statements exceeded the allowed quota ({ACTIVE_MAX})."),
                ));
            }
            let database = request.database.unwrap_or_default();
            let record = StatementRecord {
                id: id.clone(),
                name: request.statement_name,
                token: request.client_token,
                request: fingerprint,
                place: target.place_of(&database),
                cluster: target.cluster,
                workgroup: target.workgroup,
                database,
                db_user: request.db_user,
                secret_arn: request.secret_arn,
                parameters: request.parameters,
                is_batch: batch.is_some(),
                mode: batch.unwrap_or(Mode::Transaction),
                state: StatementState::Submitted,
                submitted: cx.now,
                updated: cx.now,
                error: None,
                pid: 0,
                parts: sqls.into_iter().map(|sql| part(sql, cx.now)).collect(),
            };
            replace_json(&self.statement_file(&id), &record).map_err(ApiError::internal)?;
            let accepted = Accepted { marker: record.token.clone(), id: &id, subject: record.target() };
            self.world.ledger.accepted(cx, accepted).map_err(ApiError::internal)?;
            state.remember(record);
        }
        self.spawn(id.clone(), StatementState::Submitted);
        Ok(id)
    }

    async fn accepted(&self, id: &str, wait: Option<u64>) -> Result<Value, ApiError> {
        let record = self.waited(id, wait).await?;
        let mut answer = shape::accepted(&record);
        if wait.is_some() {
            answer["Status"] = record.state.name().into();
            answer["HasResultSet"] = record.parts.iter().any(|part| part.done.has_result).into();
        }
        Ok(answer)
    }

    async fn describe_statement(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: One = parse(body, INVALID)?;
        let (id, at) = request.parts()?;
        let record = self.waited(id, request.wait_time_seconds).await?;
        let mut shape = match at {
            None => shape::described(&record),
            Some(at) => {
                let part = record.parts.get(at).filter(|_| record.is_batch).ok_or_else(no_statement)?;
                shape::described_part(&record, at, part)
            }
        };
        if let Some(odd) = self.world.faults.unknown_state(&cx.service, &cx.operation, cx.now) {
            shape["Status"] = odd.into();
        }
        Ok(shape)
    }

    fn list_statements(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            next_token: Option<String>,
            max_results: Option<usize>,
            statement_name: Option<String>,
            status: Option<String>,
            database: Option<String>,
            cluster_identifier: Option<String>,
            workgroup_name: Option<String>,
        }
        let request: Request = parse(body, INVALID)?;
        let lag = self.world.faults.list_lag(&cx.service, &cx.operation, cx.now);
        // The service's own default shows what has finished.
        let status = request.status.as_deref().unwrap_or("FINISHED");
        let workgroup = request.workgroup_name.as_deref().map(|name| name.rsplit('/').next().unwrap_or(name));
        let fits = |wanted: Option<&str>, value: Option<&str>| wanted.is_none() || wanted == value;
        let state = self.lock();
        let found: Vec<Value> = state
            .order
            .iter()
            .rev()
            .filter_map(|id| state.records.get(id))
            .filter(|record| status == "ALL" || record.state.name() == status)
            .filter(|record| {
                let prefix = request.statement_name.as_deref().unwrap_or_default();
                record.name.as_deref().unwrap_or_default().starts_with(prefix)
            })
            .filter(|record| fits(request.database.as_deref(), Some(&record.database)))
            .filter(|record| fits(request.cluster_identifier.as_deref(), record.cluster.as_deref()))
            .filter(|record| fits(workgroup, record.workgroup.as_deref()))
            .filter(|record| {
                lag.is_none_or(|lag| cx.now.duration_since(record.submitted).unsigned_abs() >= lag)
            })
            .map(shape::listed)
            .collect();
        let size = request.max_results.filter(|size| *size > 0);
        let (items, next) = page(found, request.next_token.as_deref(), size, PAGE_MAX, INVALID)?;
        Ok(listed("Statements", items, next))
    }

    fn cancel_statement(&self, body: Value) -> Result<Value, ApiError> {
        let request: One = parse(body, INVALID)?;
        let (id, _) = request.parts()?;
        let state = self.lock();
        let record = state.records.get(id).ok_or_else(no_statement)?;
        let name = record.state.name();
        if record.state.is_terminal() {
            return Err(invalid(format!(
                "Could not cancel a query that is already in {name} state with ID: {id}"
            )));
        }
        if record.state == StatementState::Submitted {
            return Err(invalid(format!(
                "Could not cancel a query that is still in {name} state with ID: {id}"
            )));
        }
        if let Some(stop) = state.live.get(id) {
            stop.cancel();
        }
        Ok(json!({"Status": true}))
    }

    async fn get_statement_result(&self, body: Value) -> Result<Value, ApiError> {
        let request: One = parse(body, INVALID)?;
        let (id, at) = request.parts()?;
        let record = self.waited(id, request.wait_time_seconds).await?;
        // The result of a batch is asked for statement by statement.
        let at = if record.is_batch { at } else { Some(0) };
        let part = at.and_then(|at| Some((at, record.parts.get(at)?)));
        match part {
            Some((at, part)) if record.state == StatementState::Finished && part.done.has_result => {
                let path = results::file(&self.world.root, id, at);
                let token = request.next_token;
                let read =
                    tokio::task::spawn_blocking(move || results::answer(&path, token.as_deref())).await;
                read.map_err(ApiError::internal)?
            }
            _ => Err(absent("Query does not have result. Please check query status with DescribeStatement.")),
        }
    }

    /// A record; with a wait, as it is when it ended or the wait is over.
    async fn waited(&self, id: &str, seconds: Option<u64>) -> Result<StatementRecord, ApiError> {
        let seconds = seconds.unwrap_or(0);
        if seconds > WAIT_SECONDS_MAX {
            return Err(invalid(format!("WaitTimeSeconds must be at most {WAIT_SECONDS_MAX}")));
        }
        let mut left = Duration::from_secs(seconds);
        loop {
            let record = self.record(id).ok_or_else(no_statement)?;
            if record.state.is_terminal() || left.is_zero() {
                return Ok(record);
            }
            self.world.pause(WAIT_STEP.min(left)).await;
            left = left.saturating_sub(WAIT_STEP);
        }
    }
}

/// What both ways to start have in common.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Common {
    cluster_identifier: Option<String>,
    workgroup_name: Option<String>,
    database: Option<String>,
    db_user: Option<String>,
    secret_arn: Option<String>,
    statement_name: Option<String>,
    client_token: Option<String>,
    #[serde(default)]
    parameters: Vec<Parameter>,
    result_format: Option<String>,
    session_id: Option<String>,
    session_keep_alive_seconds: Option<i64>,
    wait_time_seconds: Option<u64>,
}

impl Common {
    fn check(&self, sqls: &[String]) -> Result<(), ApiError> {
        for sql in sqls {
            if sql.len() > SQL_BYTES_MAX {
                return Err(invalid("Cannot process query string larger than 100kB"));
            }
            match dialect::count(sql) {
                0 => return Err(invalid("The query string must hold a statement.")),
                1 => {}
                _ => return Err(invalid("Multiple sql statements are not allowed.")),
            }
        }
        parameters::check(sqls, &self.parameters).map_err(invalid)?;
        if self.database.as_deref().unwrap_or_default().is_empty() {
            return Err(invalid("Database name must be specified."));
        }
        if self.workgroup_name.is_some() && self.db_user.is_some() {
            return Err(invalid("DbUser cannot be specified with WorkgroupName."));
        }
        if self.db_user.is_some() && self.secret_arn.is_some() {
            return Err(invalid("Only one of DbUser and SecretArn can be specified."));
        }
        if self.client_token.as_ref().is_some_and(|token| token.is_empty() || token.len() > TOKEN_MAX) {
            return Err(invalid(format!("ClientToken must have 1 to {TOKEN_MAX} characters")));
        }
        if self.statement_name.as_ref().is_some_and(|name| name.len() > NAME_MAX) {
            return Err(invalid(format!("StatementName must have at most {NAME_MAX} characters")));
        }
        if self.session_id.is_some() || self.session_keep_alive_seconds.is_some_and(|seconds| seconds > 0) {
            return Err(invalid(
                "the sandbox keeps no sessions: leave out SessionId and SessionKeepAliveSeconds",
            ));
        }
        match self.result_format.as_deref() {
            None | Some("JSON") => Ok(()),
            Some(other) => Err(invalid(format!("the sandbox does not offer ResultFormat {other}; use JSON"))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    id: String,
    next_token: Option<String>,
    wait_time_seconds: Option<u64>,
}

impl One {
    /// The id of the call, and which of its statements is meant (from 0).
    fn parts(&self) -> Result<(&str, Option<usize>), ApiError> {
        let Some((id, number)) = self.id.split_once(':') else { return Ok((&self.id, None)) };
        let number = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        Ok((id, Some(number.ok_or_else(no_statement)?)))
    }
}

fn part(sql: String, now: Timestamp) -> Part {
    Part { sql, state: StatementState::Submitted, updated: now, error: None, done: Done::default() }
}

/// A hash of a request without its token, whatever the order of its members.
fn fingerprint(body: &Value) -> String {
    let mut members: Vec<_> = body.as_object().into_iter().flatten().collect();
    members.retain(|(name, _)| !["ClientToken", "WaitTimeSeconds"].contains(&name.as_str()));
    members.sort_by_key(|(name, _)| name.as_str());
    hex::encode(Sha256::digest(json!(members).to_string()))
}

pub(super) fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::new(400, INVALID, text)
}

fn absent(text: &str) -> ApiError {
    ApiError::new(400, "ResourceNotFoundException", text)
}

fn no_statement() -> ApiError {
    absent("Query does not exist.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_compared_without_token_and_order() {
        let one = json!({"Sql": "SELECT 1", "ClientToken": "a", "Database": "d"});
        let other = json!({"Database": "d", "Sql": "SELECT 1", "ClientToken": "b"});
        assert_eq!(fingerprint(&one), fingerprint(&other));
        assert_ne!(fingerprint(&one), fingerprint(&json!({"Sql": "SELECT 2", "Database": "d"})));
    }

    #[test]
    fn ids_name_a_call_or_one_of_its_statements() {
        let parts = |id: &str| {
            let one = One { id: id.to_owned(), next_token: None, wait_time_seconds: None };
            one.parts().map(|(id, at)| (id.to_owned(), at)).map_err(|error| error.code)
        };
        assert_eq!(parts("a"), Ok(("a".to_owned(), None)));
        assert_eq!(parts("a:2"), Ok(("a".to_owned(), Some(1))));
        assert!(parts("a:0").is_err() && parts("a:x").is_err());
    }
}
