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
    operator::{ErrorClass, Failure},
    secrets::mark::has_marks,
};

/// The longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
