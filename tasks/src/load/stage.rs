//! The work of a load, within its transaction: files into staging tables, from there into their tables, statements,
//! warnings, the watermark.

use std::collections::BTreeSet;

use aws_sdk_s3::Client;
use indexmap::IndexMap;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    LoadTable, Mode, Partition, Work, addresses,
    files::files,
    modes::{Column, Counts, Merge, ORDER},
    wrong,
};
use crate::{
    operator::{ErrorClass, Failure, Outcome},
    postgres::{
        names::{Table, listed},
        transaction::{self, Stop},
        watermark,
    },
    scalar::Parameter,
    scratch::Scratch,
    sql::statements::{bound, statements},
};

/// Most warnings of `warnings`: who reads them reads some, and then looks into the database.
const WARNINGS_MAX: i64 = 100;
/// A load with what it reads from.
pub(super) struct Loading<'a> {
    pub(super) work: &'a Work,
    pub(super) s3: &'a Client,
    /// Room on this machine, if files are brought here.
    #[cfg_attr(not(feature = "transform"), expect(dead_code, reason = "only Parquet is brought here"))]
    pub(super) scratch: Option<Scratch>,
}

/// What one table got.
#[derive(Clone, Copy, Debug, Default)]
struct Loaded {
    files: usize,
    records: u64,
    deleted: u64,
    updated: u64,
    inserted: u64,
}

impl transaction::Work for Loading<'_> {
    async fn perform(&self, connection: &mut PgConnection) -> Result<Outcome, Stop> {
        let mut outcome = Outcome::default();
        let mut by_table = serde_json::Map::new();
        let mut records = 0;
        sqlx::raw_sql("set local client_min_messages = warning").execute(&mut *connection).await?;
        for (place, table) in self.work.tables.iter().enumerate() {
            let loaded = self.table(connection, place, table, &mut outcome.warnings).await;
            let loaded = loaded.map_err(|stop| match stop {
                Stop::Refused(failure) => {
                    let message = format!("{}: {}", table.table, failure.message);
                    Stop::Refused(Failure { message, ..failure })
                }
                other => other,
            })?;
            records += loaded.records;
            by_table.insert(table.table.clone(), loaded.shown());
        }
        outcome.outputs.insert("records".into(), records.into());
        outcome.outputs.insert("tables".into(), Value::Object(by_table));
        if !self.work.statements.is_empty() {
            let touched = statements(connection, &self.work.statements, None, &mut outcome).await?;
            outcome.outputs.insert("by_statement".into(), json!(touched));
        }
        self.warn(connection, &mut outcome).await?;
        if let Some(moved) = &self.work.watermark {
            let told = watermark::advance(connection, &moved.name, &moved.steps, &self.work.run).await?;
            outcome.warnings.extend(told);
        }
        Ok(outcome)
    }
}

impl Loading<'_> {
    async fn table(
        &self,
        connection: &mut PgConnection,
        place: usize,
        table: &LoadTable,
        warnings: &mut Vec<String>,
    ) -> Result<Loaded, Stop> {
        let target = Table::read(&table.table, "table")?;
        let columns = columns(connection, &target, &table.table).await?;
        for name in table.key.iter().chain(&table.newest).chain(table.partition.columns()) {
            if !columns.contains_key(name) {
                return Err(wrong(format!("table: {} has no column `{name}`", table.table)).into());
            }
        }
        if matches!(
            table.mode,
            Mode::InsertMissing | Mode::Upsert | Mode::Merge | Mode::Replace | Mode::ReplacePartition
        ) {
            // Two that look for a missing row at once would both add it. Readers are not held up.
            let lock = format!("lock table {} in share row exclusive mode", target.sql());
            sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *connection).await?;
        }
        let mut stage = Stage::create(connection, place, &target, columns).await?;
        let files = files(self.s3, addresses(&table.from)).await?;
        let mut loaded = Loaded { files: files.len(), ..Loaded::default() };
        for file in &files {
            loaded.records += stage.fill(connection, self, file, table.format).await?;
        }
        if !stage.unknown.is_empty() {
            let names = stage.unknown.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            warnings.push(format!("{} has no column for {names}: not loaded", table.table));
        }
        stage.merge(connection, &target, table, &mut loaded).await?;
        let drop = format!("drop table {}", stage.name);
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await?;
        Ok(loaded)
    }

    async fn warn(&self, connection: &mut PgConnection, outcome: &mut Outcome) -> Result<(), Stop> {
        let Some(statement) = &self.work.warnings else { return Ok(()) };
        let sql = format!(
            "select warning::text, count(*) over () from (\n{}\n) as warned (warning) limit {WARNINGS_MAX}",
            statement.sql
        );
        let rows = bound(sql, &statement.values).fetch_all(connection).await?;
        let mut all = 0;
        for row in &rows {
            let (text, count): (Option<String>, i64) = sqlx::FromRow::from_row(row)?;
            outcome.warnings.extend(text);
            all = count;
        }
        if all > WARNINGS_MAX {
            outcome.warnings.push(format!("and {} more warnings", all - WARNINGS_MAX));
        }
        Ok(())
    }
}

impl Loaded {
    fn shown(self) -> Value {
        let Self { files, records, deleted, updated, inserted } = self;
        json!({ "files": files, "records": records, "deleted": deleted, "updated": updated, "inserted": inserted })
    }
}

/// A table that lives as long as the transaction.
pub(super) struct Stage {
    /// As SQL takes it.
    pub(super) name: String,
    /// The target's columns and their types.
    pub(super) columns: IndexMap<String, String>,
    /// Which of them the data has.
    pub(super) seen: Vec<bool>,
    pub(super) unknown: BTreeSet<String>,
}

impl Stage {
    async fn create(
        connection: &mut PgConnection,
        place: usize,
        target: &Table,
        columns: IndexMap<String, String>,
    ) -> Result<Self, Stop> {
        let name = format!("pg_temp.trunkline_stage_{place}");
        let names = listed(columns.keys().map(String::as_str));
        let create = format!(
            "create temp table trunkline_stage_{place} on commit drop as select {names} from {} with no data;
             alter table {name} add column {ORDER} bigint generated always as identity",
            target.sql()
        );
        sqlx::raw_sql(AssertSqlSafe(create)).execute(connection).await?;
        let seen = vec![false; columns.len()];
        Ok(Self { name, columns, seen, unknown: BTreeSet::new() })
    }

    async fn merge(
        &self,
        connection: &mut PgConnection,
        target: &Table,
        table: &LoadTable,
        loaded: &mut Loaded,
    ) -> Result<(), Stop> {
        let column = |(name, kind): (&String, &String)| Column { name: name.clone(), kind: kind.clone() };
        let constants: Vec<(Column, Parameter)> = match &table.partition {
            Partition::Values(values) => {
                let constant = |(name, value): (&String, &Parameter)| {
                    let kind = self.columns.get(name).cloned().unwrap_or_default();
                    (Column { name: name.clone(), kind }, value.clone())
                };
                values.iter().map(constant).collect()
            }
            Partition::Columns(_) => Vec::new(),
        };
        let is_constant = |name: &String| constants.iter().any(|(column, _)| column.name == *name);
        let present =
            self.columns.iter().zip(&self.seen).filter(|((name, _), seen)| **seen && !is_constant(name));
        let present: Vec<Column> = present.map(|(entry, _)| column(entry)).collect();
        let has = |name: &String| present.iter().any(|column| column.name == *name);
        if loaded.records > 0
            && let Some(name) = table.key.iter().chain(&table.newest).find(|name| !has(name))
        {
            return Err(wrong(format!("key: no record has `{name}`")).into());
        }
        let merge = Merge {
            table: &target.sql(),
            stage: &self.name,
            columns: &present,
            partition: &constants,
            key: &table.key,
            newest: table.newest.as_deref(),
        };
        if loaded.records > 0 && !table.key.is_empty() {
            let lacking: i64 =
                sqlx::query_scalar(AssertSqlSafe(merge.without_key())).fetch_one(&mut *connection).await?;
            if lacking > 0 {
                return Err(bad(format!("key: {lacking} records have no value for it")).into());
            }
        }
        for part in merge.parts(table.mode, &table.partition) {
            if loaded.records == 0 && part.counts != Counts::Deleted {
                continue;
            }
            let done = sqlx::query(AssertSqlSafe(part.sql)).execute(&mut *connection).await?.rows_affected();
            match part.counts {
                Counts::Deleted => loaded.deleted += done,
                Counts::Updated => loaded.updated += done,
                Counts::Inserted => loaded.inserted += done,
            }
        }
        Ok(())
    }
}

/// The columns of a table that data can go into, with their types.
async fn columns(
    connection: &mut PgConnection,
    target: &Table,
    written: &str,
) -> Result<IndexMap<String, String>, Stop> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select attname::text, format_type(atttypid, atttypmod) from pg_attribute
          where attrelid = to_regclass($1) and attnum > 0 and not attisdropped and attgenerated = ''
          order by attnum",
    )
    .bind(target.sql())
    .fetch_all(connection)
    .await?;
    if rows.is_empty() {
        return Err(wrong(format!("table: there is no table {written} in the database")).into());
    }
    Ok(rows.into_iter().collect())
}

/// The data is wrong: trying again cannot help.
pub(super) fn bad(message: String) -> Failure {
    Failure::new(ErrorClass::Failed, message)
}
