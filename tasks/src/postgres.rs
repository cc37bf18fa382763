//! What the operators on Postgres databases share: connections, errors as classes, and attempts that a database
//! commits once and knows about ([`transaction`], [`ledger`]).
//!
//! The databases are people's own, never Trunkline's store. What other crates may do with them: fill one with sample
//! data and look into it ([`script`], [`rows`]), and make one in a private Postgres ([`private_database`]).

pub(crate) mod failure;
pub(crate) mod ledger;
pub(crate) mod names;
pub(crate) mod private;
pub(crate) mod transaction;
pub(crate) mod watermark;

pub use private::database as private_database;

use std::{io, str::FromStr as _, time::Duration};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Error, PgConnection, postgres::PgConnectOptions};
use url::Url;

use crate::{
    clients::START_TIMEOUT,
    operator::{ErrorClass, Failure, Handle, Request, Status},
    secrets::mark::has_marks,
};

/// The longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a send takes whose call is the whole job: the time limit stands in its request.
pub(crate) fn send_limit(request: &Request) -> Duration {
    let seconds = request.body.get("timeout_seconds").and_then(Value::as_u64).unwrap_or_default();
    START_TIMEOUT + Duration::from_secs(seconds)
}

/// The states of jobs that there never are: the call was the whole job.
pub(crate) fn nothing_to_ask(handles: &[Handle]) -> Vec<Status> {
    let gone =
        || Failure::new(ErrorClass::Lost, "the call was the whole job: it leaves nothing to ask about");
    handles.iter().map(|_| Status::Gone(gone())).collect()
}

/// A connection whose statements all see one snapshot and change nothing, with times in UTC as ISO 8601 has them.
pub(crate) async fn snapshot(url: &str, name: &str, timeout_seconds: u64) -> Result<PgConnection, Failure> {
    let failed = |error: Error| failure::of(&error);
    let mut connection = connect(url, name).await.map_err(failed)?;
    let begin = format!(
        "begin isolation level repeatable read read only; set local statement_timeout = '{timeout_seconds}s';
         set local datestyle = 'ISO'; set local timezone = 'UTC'"
    );
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut connection).await.map_err(failed)?;
    Ok(connection)
}

/// Whether there is a table of this name. Asked before one is made: making it needs a right even where it is there.
pub(crate) async fn has_table(connection: &mut PgConnection, name: &str) -> Result<bool, Error> {
    sqlx::query_scalar("select to_regclass($1) is not null").bind(name).fetch_one(connection).await
}

/// A connection under a name that others see, which the server ends soon when this process is gone.
pub(crate) async fn connect(url: &str, name: &str) -> Result<PgConnection, Error> {
    let options = PgConnectOptions::from_str(url)?.application_name(name);
    let connecting = PgConnection::connect_with(&options);
    let Ok(connected) = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await else {
        let text = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
        return Err(Error::Io(io::Error::new(io::ErrorKind::TimedOut, text)));
    };
    let mut connection = connected?;
    for setting in [
        "set tcp_keepalives_idle = 10",
        "set tcp_keepalives_interval = 5",
        "set tcp_keepalives_count = 3",
        // From Postgres 14 on: a statement whose client is gone is ended, not finished.
        "set client_connection_check_interval = '5s'",
    ] {
        match sqlx::raw_sql(setting).execute(&mut connection).await {
            Err(Error::Database(_)) | Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(connection)
}

/// Runs a script of SQL, its pieces in their order, as one transaction.
pub async fn script(url: &str, pieces: impl Iterator<Item = String> + Send) -> Result<(), Failure> {
    let failed = |error: Error| failure::of(&error);
    let mut connection = connect(url, "trunkline").await.map_err(failed)?;
    let mut tx = connection.begin().await.map_err(failed)?;
    // Of what is there already a script that can be repeated says nothing.
    for piece in std::iter::once("set local client_min_messages = warning".to_owned()).chain(pieces) {
        sqlx::raw_sql(AssertSqlSafe(piece)).execute(&mut *tx).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)?;
    drop(connection.close().await);
    Ok(())
}

/// The rows of a query, at most so many, each an object with its columns in their order.
pub async fn rows(url: &str, sql: &str, most: usize) -> Result<Vec<Value>, Failure> {
    let failed = |error: Error| failure::of(&error);
    let mut connection = connect(url, "trunkline").await.map_err(failed)?;
    let sql = format!("select row_to_json(r) from (\n{}\n) r limit {most}", sql.trim().trim_end_matches(';'));
    let rows = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.map_err(failed)?;
    drop(connection.close().await);
    Ok(rows)
}

/// Refuses an address with a password as text. A request is stored: what stands in the file as text would be readable
/// there for ever.
pub(crate) fn check_address(setting: &str, url: &str) -> Result<(), Failure> {
    let is_secret = has_marks(&Value::from(url));
    if !is_secret && Url::parse(url).is_ok_and(|url| url.password().is_some()) {
        let text = format!("{setting}: it holds a password as text; keep the address as a secret");
        return Err(Failure::new(ErrorClass::Config, text));
    }
    Ok(())
}
