//! All SQL that the sandbox itself says to its `PostgreSQL`, and how answers are read. What a user's statement means
//! stands in `dialect`; who runs what and when, in `execute`.

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::{PgColumn, PgConnectOptions, PgDatabaseError, PgRow};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Connection, Either, Executor, PgConnection, Row, SqlSafeStr,
    Statement, TypeInfo, ValueRef,
};

use super::copy::Target;

/// Functions and the bookkeeping table of each database.
const LIBRARY: &str = include_str!("database/library.sql");

/// What each session is told first: Redshift's reading of texts, its clock, and its limit of 24 hours.
const SETTINGS: &str = "set standard_conforming_strings = off; set escape_string_warning = off; \
                        set backslash_quote = on; set timezone = 'UTC'; set datestyle = 'ISO'; \
                        set intervalstyle = 'postgres'; set statement_timeout = 86400000";

/// Largest result (the service's own limit).
const RESULT_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Rows are handed over in pieces of this size.
const COPY_PIECE_BYTES: usize = 256 * 1024;

/// `PostgreSQL`'s code for a statement that was stopped.
const CANCELLED: &str = "57014";

/// `PostgreSQL`'s code for a database that is there already.
const DUPLICATE: &str = "42P04";

/// Why `PostgreSQL` did not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DatabaseError {
    /// Its code; `None` if the connection broke.
    pub code: Option<String>,
    /// Its text as the Data API shows it.
    pub message: String,
}

impl DatabaseError {
    /// Whether somebody stopped the statement.
    pub(super) fn is_cancelled(&self) -> bool {
        self.code.as_deref() == Some(CANCELLED)
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(error) = error else {
            return Self {
                code: None,
                message: format!("FATAL: the connection to the database broke: {error}"),
            };
        };
        let code = error.code().map(|code| code.into_owned());
        let mut message = format!("ERROR: {}", error.message());
        if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
            for (word, text) in [("Detail", error.detail()), ("Hint", error.hint())] {
                if let Some(text) = text {
                    message.push_str(&format!("\n  {word}: {text}"));
                }
            }
        }
        Self { code, message }
    }
}

/// A name, its parts in double quotes.
fn quoted(parts: &[String]) -> String {
    let part = |part: &String| format!("\"{}\"", part.replace('"', "\"\""));
    parts.iter().map(part).collect::<Vec<_>>().join(".")
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    /// Its name.
    pub name: String,
    /// Redshift's name of its type.
    pub kind: String,
}

/// What a statement gave.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The columns; none if the statement has no result.
    pub columns: Option<Vec<Column>>,
    /// The rows, each field as the API shows it.
    pub rows: Vec<Vec<Value>>,
    /// Rows that were returned or changed.
    pub affected: i64,
    /// Bytes of the values.
    pub bytes: usize,
}

/// A connection that runs statements.
#[derive(Debug)]
pub(super) struct Session {
    connection: PgConnection,
    /// The process that serves it.
    pub pid: i32,
}

impl Session {
    /// Connects. `application` is by what the session is found again.
    pub(super) async fn open(url: &str, application: &str) -> Result<Self, DatabaseError> {
        let options: PgConnectOptions = url.parse().map_err(DatabaseError::from)?;
        let options =
            options.application_name(application).statement_cache_capacity(0).disable_statement_logging();
        let mut connection = PgConnection::connect_with(&options).await?;
        sqlx::raw_sql(SETTINGS).execute(&mut connection).await?;
        let pid = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
        Ok(Self { connection, pid })
    }

    /// Runs one statement.
    pub(super) async fn run(&mut self, sql: &str) -> Result<Answer, DatabaseError> {
        // Asked first, because an empty result does not say its columns.
        let prepared = self.connection.prepare(AssertSqlSafe(sql).into_sql_str()).await?;
        let columns: Vec<Column> = prepared.columns().iter().map(column).collect();
        let mut answer = Answer { columns: (!columns.is_empty()).then_some(columns), ..Answer::default() };
        let mut results = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(&mut self.connection);
        while let Some(part) = results.try_next().await? {
            match part {
                Either::Left(done) => {
                    answer.affected = i64::try_from(done.rows_affected()).unwrap_or(i64::MAX);
                }
                Either::Right(row) => {
                    let fields = fields(&row, &mut answer.bytes)?;
                    answer.rows.push(fields);
                }
            }
            if answer.bytes > RESULT_BYTES_MAX {
                let message = format!("ERROR: the result is larger than {RESULT_BYTES_MAX} bytes");
                return Err(DatabaseError { code: Some("54000".to_owned()), message });
            }
        }
        Ok(answer)
    }

    /// The columns of a table that a `COPY` fills: the named ones, or all.
    pub(super) async fn targets(
        &mut self,
        table: &[String],
        named: &[String],
    ) -> Result<Vec<Target>, DatabaseError> {
        let missing = |message: String| DatabaseError { code: Some("42P01".to_owned()), message };
        let select = "select attname::text, format_type(atttypid, atttypmod), \
                      case when atttypid in (1042, 1043) and atttypmod > 4 then atttypmod - 4 \
                      when atttypid in (25, 1042, 1043) then 65535 end \
                      from pg_attribute where attrelid = to_regclass($1) and attnum > 0 and not attisdropped \
                      and attidentity = '' order by attnum";
        let found: Vec<(String, String, Option<i32>)> =
            sqlx::query_as(select).bind(quoted(table)).fetch_all(&mut self.connection).await?;
        if found.is_empty() {
            return Err(missing(format!("ERROR: relation \"{}\" does not exist", table.join("."))));
        }
        let target = |(name, kind, bytes): (String, String, Option<i32>)| Target {
            name,
            kind,
            bytes: bytes.and_then(|bytes| usize::try_from(bytes).ok()),
        };
        let all: Vec<Target> = found.into_iter().map(target).collect();
        if named.is_empty() {
            return Ok(all);
        }
        let find = |name: &String| {
            let target = all.iter().find(|target| target.name == *name).cloned();
            target.ok_or_else(|| {
                missing(format!(
                    "ERROR: column \"{name}\" of relation \"{}\" does not exist",
                    table.join(".")
                ))
            })
        };
        named.iter().map(find).collect()
    }

    /// Copies rows in `PostgreSQL`'s text format into a table; how many they were.
    pub(super) async fn copy_in(
        &mut self,
        table: &[String],
        columns: &[Target],
        rows: &[u8],
    ) -> Result<u64, DatabaseError> {
        let names: Vec<String> =
            columns.iter().map(|column| quoted(std::slice::from_ref(&column.name))).collect();
        let copy = format!("copy {} ({}) from stdin", quoted(table), names.join(", "));
        let mut copy = self.connection.copy_in_raw(&copy).await?;
        for piece in rows.chunks(COPY_PIECE_BYTES) {
            copy.send(piece).await?;
        }
        Ok(copy.finish().await?)
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self) -> Result<(), DatabaseError> {
        self.say("begin").await
    }

    /// Commits it.
    pub(super) async fn commit(&mut self) -> Result<(), DatabaseError> {
        self.say("commit").await
    }

    /// Takes it back.
    pub(super) async fn rollback(&mut self) -> Result<(), DatabaseError> {
        self.say("rollback").await
    }

    /// Notes within the transaction what it came to: who finds the note knows that it was committed.
    pub(super) async fn note(&mut self, id: &str, outcome: &str) -> Result<(), DatabaseError> {
        let insert = "insert into trunkline_sandbox.committed (id, outcome) values ($1, $2)";
        sqlx::query(insert).bind(id).bind(outcome).execute(&mut self.connection).await?;
        Ok(())
    }

    /// The note of a transaction, if it was committed.
    pub(super) async fn noted(&mut self, id: &str) -> Result<Option<String>, DatabaseError> {
        let select = "select outcome from trunkline_sandbox.committed where id = $1";
        Ok(sqlx::query_scalar(select).bind(id).fetch_optional(&mut self.connection).await?)
    }

    /// Forgets notes.
    pub(super) async fn forget(&mut self, ids: &[String]) -> Result<(), DatabaseError> {
        let delete = "delete from trunkline_sandbox.committed where id = any($1)";
        sqlx::query(delete).bind(ids).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Stops what another session does now.
    pub(super) async fn cancel(&mut self, pid: i32) -> Result<(), DatabaseError> {
        sqlx::query("select pg_cancel_backend($1)").bind(pid).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Ends all sessions of an application; answers how many there were.
    pub(super) async fn end_others(&mut self, application: &str) -> Result<i64, DatabaseError> {
        let select = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                      where application_name = $1 and pid <> pg_backend_pid()";
        Ok(sqlx::query_scalar(select).bind(application).fetch_one(&mut self.connection).await?)
    }

    /// Makes a database, if it is not there. The name consists of letters, digits and underscores.
    pub(super) async fn create_database(&mut self, name: &str) -> Result<(), DatabaseError> {
        let select = "select exists (select from pg_database where datname = $1)";
        let there: bool = sqlx::query_scalar(select).bind(name).fetch_one(&mut self.connection).await?;
        if there {
            return Ok(());
        }
        match self.say(&format!("create database \"{name}\"")).await {
            Err(error) if error.code.as_deref() == Some(DUPLICATE) => Ok(()),
            made => made,
        }
    }

    /// Makes the functions and the table of notes.
    pub(super) async fn install(&mut self) -> Result<(), DatabaseError> {
        self.say(LIBRARY).await
    }

    /// The schemas whose names fit a pattern of `LIKE`.
    pub(super) async fn schemas(&mut self, pattern: &str) -> Result<Vec<String>, DatabaseError> {
        let select = "select nspname::text from pg_namespace where nspname like $1 \
                      and nspname !~ '^(pg_toast|pg_temp)' and nspname <> 'trunkline_sandbox' order by 1";
        Ok(sqlx::query_scalar(select).bind(pattern).fetch_all(&mut self.connection).await?)
    }

    /// The tables and views whose names fit patterns of `LIKE`: schema, name, type.
    pub(super) async fn tables(
        &mut self,
        schema: &str,
        table: &str,
    ) -> Result<Vec<(String, String, String)>, DatabaseError> {
        let select = "select table_schema::text, table_name::text, \
                      case table_type when 'BASE TABLE' then 'TABLE' else table_type::text end \
                      from information_schema.tables where table_schema like $1 and table_name like $2 \
                      and table_schema not in ('trunkline_sandbox', 'pg_catalog', 'information_schema') order by 1, 2";
        Ok(sqlx::query_as(select).bind(schema).bind(table).fetch_all(&mut self.connection).await?)
    }

    /// The columns of a table, in the shape of the API.
    pub(super) async fn columns(&mut self, schema: &str, table: &str) -> Result<Vec<Value>, DatabaseError> {
        type Found = (String, String, bool, i32, i32, i32, Option<String>);
        let select = "select column_name::text, udt_name::text, is_nullable = 'YES', \
                      coalesce(numeric_precision, datetime_precision, 0)::int, coalesce(numeric_scale, 0)::int, \
                      coalesce(character_maximum_length, 0)::int, column_default::text \
                      from information_schema.columns where table_schema = $1 and table_name = $2 \
                      order by ordinal_position";
        let found: Vec<Found> =
            sqlx::query_as(select).bind(schema).bind(table).fetch_all(&mut self.connection).await?;
        let shape = |(name, kind, nullable, precision, scale, length, default): Found| {
            let kind = redshift_type(&kind);
            let mut shape = column_shape(&Column { name, kind });
            shape["nullable"] = i32::from(nullable).into();
            shape["precision"] = if length > 0 { length } else { precision }.into();
            shape["scale"] = scale.into();
            shape["length"] = length.into();
            shape["schemaName"] = schema.into();
            shape["tableName"] = table.into();
            if let Some(default) = default {
                shape["columnDefault"] = default.into();
            }
            shape
        };
        Ok(found.into_iter().map(shape).collect())
    }

    async fn say(&mut self, sql: &str) -> Result<(), DatabaseError> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await?;
        Ok(())
    }
}

/// A column as the API shows it.
pub(super) fn column_shape(column: &Column) -> Value {
    let signed = ["int2", "int4", "int8", "float4", "float8", "numeric"].contains(&column.kind.as_str());
    let precision = match column.kind.as_str() {
        "int2" => 5,
        "int4" => 10,
        "int8" => 19,
        "float4" => 8,
        "float8" => 17,
        "date" => 13,
        "timestamp" => 29,
        "timestamptz" => 35,
        "bool" => 1,
        _ => 0,
    };
    json!({
        "isCaseSensitive": column.kind == "varchar" || column.kind == "bpchar",
        "isCurrency": false,
        "isSigned": signed,
        "label": column.name,
        "length": 0,
        "name": column.name,
        "nullable": 1,
        "precision": precision,
        "scale": 0,
        "schemaName": "",
        "tableName": "",
        "typeName": column.kind,
    })
}

fn column(column: &PgColumn) -> Column {
    Column { name: column.name().to_owned(), kind: redshift_type(column.type_info().name()) }
}

fn redshift_type(postgres: &str) -> String {
    match postgres.to_lowercase().as_str() {
        "text" | "unknown" | "name" | "json" | "jsonb" => "varchar".to_owned(),
        "char" => "bpchar".to_owned(),
        other => other.to_owned(),
    }
}

/// The fields of a row as the API shows them; counts their bytes.
fn fields(row: &PgRow, bytes: &mut usize) -> Result<Vec<Value>, DatabaseError> {
    let mut fields = Vec::with_capacity(row.len());
    for at in 0..row.len() {
        let value = row.try_get_raw(at)?;
        if value.is_null() {
            fields.push(json!({ "isNull": true }));
            continue;
        }
        let kind = value.type_info().name().to_owned();
        let text = value.as_str().map_err(sqlx::Error::Decode)?;
        *bytes += text.len();
        fields.push(field(&kind, text));
    }
    Ok(fields)
}

fn field(kind: &str, text: &str) -> Value {
    let whole = || text.parse::<i64>().ok().map(|number| json!({ "longValue": number }));
    let number = || {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.map(|number| json!({ "doubleValue": number }))
    };
    let special = match kind {
        "BOOL" => Some(json!({ "booleanValue": text == "t" })),
        "INT2" | "INT4" | "INT8" | "OID" => whole(),
        "FLOAT4" | "FLOAT8" => number(),
        _ => None,
    };
    special.unwrap_or_else(|| json!({ "stringValue": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_type_of_their_column() {
        for (kind, text, shape) in [
            ("BOOL", "t", json!({"booleanValue": true})),
            ("BOOL", "f", json!({"booleanValue": false})),
            ("INT8", "-5", json!({"longValue": -5})),
            ("FLOAT8", "1.5", json!({"doubleValue": 1.5})),
            ("FLOAT8", "NaN", json!({"stringValue": "NaN"})),
            ("NUMERIC", "1.50", json!({"stringValue": "1.50"})),
            ("TIMESTAMP", "2026-11-19 00:00:00", json!({"stringValue": "2026-11-19 00:00:00"})),
            ("VARCHAR", "", json!({"stringValue": ""})),
        ] {
            assert_eq!(field(kind, text), shape);
        }
    }
}
