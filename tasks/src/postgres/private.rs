//! Databases in a project's private Postgres, beside the one that is its store.

use sqlx::{AssertSqlSafe, Connection as _, Error};
use url::Url;

use super::{connect, failure, names::quoted};
use crate::operator::{ErrorClass, Failure};

/// No such database (Postgres's documentation, appendix A).
const MISSING: &str = "3D000";
/// There is one of this name.
const TAKEN: &str = "42P04";

/// The address of a database beside the one that `own` leads to; made where it is missing.
pub async fn database(own: &str, name: &str) -> Result<String, Failure> {
    let mut address = Url::parse(own).map_err(|_| {
        Failure::new(ErrorClass::Config, "the private Postgres has no address that can be read")
    })?;
    address.set_path(&format!("/{name}"));
    let address = String::from(address);
    let failed = |error: Error| failure::of(&error);
    match connect(&address, "trunkline").await {
        Ok(connection) => {
            drop(connection.close().await);
            return Ok(address);
        }
        Err(error) if has_code(&error, MISSING) => {}
        Err(error) => return Err(failed(error)),
    }
    let mut connection = connect(own, "trunkline").await.map_err(failed)?;
    let create = format!("create database {}", quoted(name));
    match sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await {
        // Two that need it at once: one makes it.
        Err(error) if !has_code(&error, TAKEN) && !has_code(&error, "23505") => return Err(failed(error)),
        _ => {}
    }
    drop(connection.close().await);
    Ok(address)
}

fn has_code(error: &Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|found| found == code)
}
