//! Reading: which tables have something new, and their rows as they are at one moment.

use aws_sdk_s3::Client;
use futures::TryStreamExt as _;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{ExtractConfig, ExtractTable, Rows, Work, lines::Lines, upload::Upload, wrong};
use crate::{
    aws::address::Address,
    operator::{Failure, Outcome},
    postgres::{
        self, failure,
        ledger::session_name,
        names::{Table, listed, literal, quoted},
        watermark::{self, Mark, Step},
    },
};

/// What is to be read of one table.
pub(super) struct Look<'c> {
    name: String,
    pub(super) table: Table,
    pub(super) config: &'c ExtractTable,
    /// The condition, with `where`; empty for all rows.
    pub(super) condition: String,
    step: Option<Step>,
    is_new: bool,
}

/// Reads what there is to read. Nothing is written where nothing changed.
pub(super) async fn extract(s3: &Client, work: &Work, token: &str) -> Result<Outcome, Failure> {
    let config = &work.config;
    let marks = marks(config).await?;
    let failed = |error: sqlx::Error| failure::of(&error);
    let mut connection = postgres::snapshot(&config.url, &session_name(token), work.timeout_seconds).await?;
    let session: String = sqlx::query_scalar(
        "select pid || '-' || floor(extract(epoch from backend_start))::bigint from pg_stat_activity
          where pid = pg_backend_pid()",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(failed)?;
    let mut looks = Vec::with_capacity(config.tables.len());
    for table in &config.tables {
        let look = look(&mut connection, config, table, &marks).await;
        looks.push(look.map_err(|failure| named(&table.table, failure))?);
    }
    let without_since = config.tables.iter().all(|table| table.since.is_none());
    let changed = without_since || looks.iter().any(|look| look.is_new);
    let mut read = Reading { s3, config, files: format!("{token}-{session}"), outcome: Left::default() };
    for look in &looks {
        read.table(&mut connection, look, changed)
            .await
            .map_err(|failure| named(&look.config.table, failure))?;
    }
    drop(connection.close().await);
    Ok(read.outcome.outcome(changed))
}

/// How far the tables were read, as the target database knows it.
async fn marks(config: &ExtractConfig) -> Result<IndexMap<String, Mark>, Failure> {
    let Some(kept) = &config.watermark else { return Ok(IndexMap::new()) };
    let failed = |error: sqlx::Error| named("watermark", failure::of(&error));
    let mut connection = postgres::connect(&kept.url, "trunkline").await.map_err(failed)?;
    let marks = watermark::read(&mut connection, &kept.name).await.map_err(failed)?;
    drop(connection.close().await);
    Ok(marks)
}

fn named(what: &str, failure: Failure) -> Failure {
    Failure { message: format!("{what}: {}", failure.message), ..failure }
}

/// Looks how far a table goes, and whether that is further than before.
async fn look<'c>(
    connection: &mut PgConnection,
    config: &ExtractConfig,
    table: &'c ExtractTable,
    marks: &IndexMap<String, Mark>,
) -> Result<Look<'c>, Failure> {
    let failed = |error: sqlx::Error| failure::of(&error);
    let read = Table::read(&table.table, "table")?;
    let name = read.name().to_owned();
    let Some(since) = &table.since else {
        let condition = String::new();
        return Ok(Look { name, table: read, config: table, condition, step: None, is_new: false });
    };
    let kind: Option<String> = sqlx::query_scalar(
        "select format_type(atttypid, atttypmod) from pg_attribute
          where attrelid = to_regclass($1) and attname = $2 and attnum > 0 and not attisdropped",
    )
    .bind(read.sql())
    .bind(since)
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    let kind = kind.ok_or_else(|| wrong(format!("there is no such table, or it has no column `{since}`")))?;
    let overlap = overlap(config, since, &kind)?;
    let column = quoted(since);
    let mark = marks.get(&name);
    let from = mark.map(|mark| format!("{}::{kind}", literal(&mark.value)));
    let (newer, condition) = match &from {
        Some(from) => (format!("{column} > {from}"), format!(" where {column} > {from}{overlap}")),
        None => ("true".to_owned(), String::new()),
    };
    // `recent` are the rows that the next look reads again; the same number then means that nothing changed.
    let sql = format!(
        "select (select max({column})::text from {0}),
                (select count(*) from {0} where {newer}),
                (select count(*) from {0}{condition}),
                (select count(*) from {0} where {column} > (select max({column}) from {0}){overlap})",
        read.sql()
    );
    let row = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(connection).await.map_err(failed)?;
    let (newest, newer, window, recent): (Option<String>, i64, i64, i64) = row;
    let is_new = newer > 0 || mark.is_some_and(|mark| mark.recent != window);
    let value = newest.or_else(|| mark.map(|mark| mark.value.clone()));
    let step =
        value.map(|value| Step { from: mark.map(|mark| mark.value.clone()), to: Mark { value, recent } });
    Ok(Look { name, table: read, config: table, condition, step, is_new })
}

fn overlap(config: &ExtractConfig, since: &str, kind: &str) -> Result<String, Failure> {
    let Some(overlap) = config.overlap else { return Ok(String::new()) };
    if !kind.starts_with("timestamp") && kind != "date" {
        return Err(wrong(format!("overlap: `{since}` is of type {kind}; only times and dates can overlap")));
    }
    Ok(format!(" - interval '{} seconds'", overlap.0.as_secs()))
}

/// The files that are written, and what is known of them.
struct Reading<'a> {
    s3: &'a Client,
    config: &'a ExtractConfig,
    /// What the names of this try's files end with: never another's.
    files: String,
    outcome: Left,
}

/// What an extract leaves for later tasks.
#[derive(Default)]
struct Left {
    rows: u64,
    bytes: u64,
    files: Map<String, Value>,
    by_table: Map<String, Value>,
    watermark: Map<String, Value>,
}

impl Reading<'_> {
    async fn table(
        &mut self,
        connection: &mut PgConnection,
        look: &Look<'_>,
        changed: bool,
    ) -> Result<(), Failure> {
        let mut files = Vec::new();
        let mut rows = 0;
        let wanted = changed && (look.is_new || look.config.since.is_none());
        if wanted {
            let Address { bucket, key } = Address::prefix(&self.config.to, "to")?;
            let key = format!("{key}{}/{}.{}", look.name, self.files, self.config.format.extension());
            let mut upload = Upload::new(self.s3, bucket, key);
            files.push(upload.address());
            let copied = match self.config.format {
                Rows::Json => copy(connection, look, &mut upload).await,
                #[cfg(feature = "transform")]
                Rows::Parquet => super::parquet::copy(connection, look, &mut upload).await,
                #[cfg(not(feature = "transform"))]
                Rows::Parquet => crate::parquet::is_known("format").map(|()| 0),
            };
            rows = match copied {
                Ok(rows) => rows,
                Err(failure) => {
                    upload.abort().await;
                    return Err(failure);
                }
            };
            self.outcome.bytes += upload.finish().await?;
        }
        self.outcome.rows += rows;
        self.outcome.by_table.insert(look.name.clone(), rows.into());
        self.outcome.files.insert(look.name.clone(), files.into());
        if let Some(step) = look.step.as_ref().filter(|_| wanted) {
            self.outcome.watermark.insert(look.name.clone(), json!(step));
        }
        Ok(())
    }
}

impl Left {
    fn outcome(self, changed: bool) -> Outcome {
        let Self { rows, bytes, files, by_table, watermark } = self;
        let outputs = json!({
            "changed": changed, "rows": rows, "bytes": bytes, "by_table": by_table, "files": files, "watermark": watermark,
        });
        let Value::Object(outputs) = outputs else { return Outcome::default() };
        Outcome { outputs, ..Outcome::default() }
    }
}

/// Copies a table's rows into an object; how many they are.
async fn copy(
    connection: &mut PgConnection,
    look: &Look<'_>,
    upload: &mut Upload<'_>,
) -> Result<u64, Failure> {
    let failed = |error: sqlx::Error| failure::of(&error);
    let columns = match look.config.columns.as_slice() {
        [] => "*".to_owned(),
        columns => listed(columns.iter().map(String::as_str)),
    };
    let sql = format!(
        "copy (select row_to_json(r) from (select {columns} from {}{}) r) to stdout",
        look.table.sql(),
        look.condition
    );
    let mut lines = Lines::default();
    let mut rows = connection.copy_out_raw(&sql).await.map_err(failed)?;
    while let Some(bytes) = rows.try_next().await.map_err(failed)? {
        lines.push(&bytes, &mut upload.buffer);
        upload.flush().await?;
    }
    Ok(lines.count)
}
