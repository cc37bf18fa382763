//! SQL scripts of jobs: a small part of Spark's SQL, run by the engine.
//!
//! A script is statements separated by `;`, with `--` and `/* */` comments:
//!
//! ```sql
//! SET report = 's3://bucket/_reports/${date}.json';     -- settings: report, quarantine, on_missing_table
//! CREATE TEMPORARY VIEW raw (id BIGINT, note STRING) PARTITIONED BY (day)
//!   USING glue OPTIONS (database 'lake', table 'raw');  -- a catalog table with declared columns
//! CREATE TEMPORARY VIEW day AS SELECT * FROM raw WHERE day = :date;
//! INSERT OVERWRITE DIRECTORY 's3://bucket/out/' USING PARQUET PARTITIONED BY (day)
//!   REPLACE WHERE day = :date SELECT id, note, day FROM day;
//! WARN SELECT 'odd note in ' || id FROM day WHERE note = '';
//! ```
//!
//! - `:name` is the run's argument `--name` as a text value. `${name}` stands inside a text or as a name, for
//!   places that take no value; as a name it must be an identifier. Case does not matter, `-` is `_`.
//! - Tables are those of the catalog; partition columns are text and choose the folders that are read;
//!   objects are listed when they are read.
//! - An object that is not JSON is copied to `quarantine`, counted and named; without that setting it fails
//!   the run. A value that does not fit its column is null.
//! - `REPLACE WHERE` names the partitions of the target that the statement owns: all of them are replaced,
//!   also those for which the result has no rows; a row outside them fails the run before anything changes.
//! - The report (`{"outputs": {…}, "warnings": […]}`) is written at the end of a run that succeeds.
//!
//! Anything else is refused by name. A Spark script that does the same on AWS is its twin.

mod insert;
mod parameters;
mod statement;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use self::statement::Statement;
use super::execute::Logs;
use crate::catalog::Column;
use crate::engine::{DeclaredTable, Engine, Session};
use crate::s3::parse_uri;
use crate::world::World;
use trunkline_query::sql_text::{line_of, statements};
use trunkline_query::{Dialect, EngineError};

/// Most warnings of a report; further ones are counted.
const WARNINGS_MAX: usize = 100;
/// Most rows of a `WARN` query.
const WARN_ROWS_MAX: usize = 10_000;

/// Runs a script to its end. The error is the run's error message.
pub(super) async fn run(
    world: &Arc<World>,
    engine: &Arc<Engine>,
    content: &str,
    job: &str,
    run: &str,
    arguments: &BTreeMap<String, String>,
    logs: &Logs,
) -> Result<(), String> {
    let values = parameters::values(arguments, job, run);
    let mut script = Script {
        world: Arc::clone(world),
        engine: Arc::clone(engine),
        session: engine.session(Dialect::Spark, None),
        run: run.to_owned(),
        settings: BTreeMap::new(),
        outputs: Outputs::default(),
        warnings: Vec::new(),
        quarantined: BTreeSet::new(),
        logs: logs.clone(),
        scratch: world.s3.scratch().join(format!("job-{run}")),
    };
    let result = script.all(content, &values).await;
    drop(std::fs::remove_dir_all(&script.scratch));
    result
}

/// What the run has written so far.
#[derive(Debug, Default)]
struct Outputs {
    rows: usize,
    files: usize,
    partitions: usize,
}

struct Script {
    world: Arc<World>,
    engine: Arc<Engine>,
    session: Session,
    run: String,
    settings: BTreeMap<String, String>,
    outputs: Outputs,
    warnings: Vec<String>,
    /// Objects that were copied to quarantine.
    quarantined: BTreeSet<(String, String)>,
    logs: Logs,
    scratch: PathBuf,
}

impl Script {
    async fn all(&mut self, content: &str, values: &BTreeMap<String, String>) -> Result<(), String> {
        let cut = statements(content);
        if cut.is_empty() {
            return Err("ParseException: the script has no statements".to_owned());
        }
        for part in cut {
            let line = line_of(content, part.at);
            let expanded = parameters::expand(part.text, values)
                .map_err(|error| format!("AnalysisException: line {line}: {error}"))?;
            let parsed = statement::parse(&expanded)
                .map_err(|error| format!("ParseException: line {line}: {error}"))?;
            self.logs.line(&format!("line {line}: {}", parsed.summary()));
            self.one(parsed).await.map_err(|error| message(line, &error))?;
        }
        self.warn_of_missing_input();
        self.report().await
    }

    async fn one(&mut self, statement: Statement) -> Result<(), EngineError> {
        match statement {
            Statement::Set { name, value } => {
                self.settings.insert(name, value);
                Ok(())
            }
            Statement::TypedView { name, columns, keys, database, table } => {
                self.typed_view(&name, &columns, &keys, &database, &table)
            }
            Statement::View { name, query } => {
                let rows = self.session.query(&query).await?;
                self.session.add_view(&name, rows)
            }
            Statement::Insert(insert) => self.insert(insert).await,
            Statement::Warn { query } => self.warn(&query).await,
        }
    }

    fn typed_view(
        &mut self,
        name: &str,
        columns: &[Column],
        keys: &[String],
        database: &str,
        table: &str,
    ) -> Result<(), EngineError> {
        let full = format!("{}.{}", database.to_lowercase(), table.to_lowercase());
        let found = match DeclaredTable::find(self.engine.catalog(), database, table)? {
            Some(found) => {
                if !keys.is_empty() && found.key_names() != keys {
                    return Err(EngineError::Analysis(format!(
                        "table {full} is partitioned by ({}), not by ({})",
                        found.key_names().join(", "),
                        keys.join(", ")
                    )));
                }
                found.with_columns(columns)?
            }
            None if self.missing_is_empty() => {
                self.warnings.push(format!("table {full} is not in the catalog; read as empty"));
                DeclaredTable::empty(full, columns, keys)?
            }
            None => {
                return Err(EngineError::NoTable { database: database.to_owned(), table: table.to_owned() });
            }
        };
        self.session.add_table(name, found)
    }

    fn missing_is_empty(&self) -> bool {
        self.settings.get("on_missing_table").is_some_and(|value| value == "empty")
    }

    async fn warn(&mut self, query: &str) -> Result<(), EngineError> {
        let rows = self.session.query(query).await?;
        let rows = self.session.collect(rows, WARN_ROWS_MAX).await?;
        rows.each(|row| {
            if let Some(text) = row.into_iter().next().flatten() {
                self.warnings.push(text);
            }
        })
    }

    fn warn_of_missing_input(&mut self) {
        let missing: Vec<_> =
            self.session.reading().report().found.into_iter().filter(|(_, count)| *count == 0).collect();
        for (table, _) in missing {
            let known = format!("table {table} is not in the catalog; read as empty");
            if !self.warnings.contains(&known) {
                self.warnings
                    .push(format!("no input objects: {table} has no partition or object that matches"));
            }
        }
    }

    async fn report(&mut self) -> Result<(), String> {
        let read = self.session.reading().report();
        let mut warnings = std::mem::take(&mut self.warnings);
        let more = warnings.len().saturating_sub(WARNINGS_MAX);
        warnings.truncate(WARNINGS_MAX);
        if more > 0 {
            warnings.push(format!("… and {more} more"));
        }
        let report = json!({
            "outputs": {
                "rows": self.outputs.rows,
                "files": self.outputs.files,
                "partitions": self.outputs.partitions,
                "quarantined": self.quarantined.len(),
                "input_files": read.rows.len() + read.bad.len(),
                "input_rows": read.rows.values().sum::<usize>(),
            },
            "warnings": warnings,
        });
        self.logs.line(&report.to_string());
        let Some(uri) = self.settings.get("report").cloned() else { return Ok(()) };
        let world = Arc::clone(&self.world);
        let written = tokio::task::spawn_blocking(move || {
            let (bucket, key) = parse_uri(&uri).filter(|(_, key)| !key.is_empty()).ok_or_else(|| {
                format!(
                    "IllegalArgumentException: the setting report is `{uri}`; give an s3:// URI of an object"
                )
            })?;
            let mut content = serde_json::to_vec_pretty(&report).map_err(|error| error.to_string())?;
            content.push(b'\n');
            world
                .s3
                .write(bucket, key, &content)
                .map_err(|error| format!("AmazonS3Exception: {error} ({uri})"))
        });
        written.await.map_err(|error| error.to_string())?
    }
}

/// The run's error message, in the manner of Spark's exceptions.
fn message(line: usize, error: &EngineError) -> String {
    let exception = match error {
        EngineError::Syntax(_) => "ParseException",
        EngineError::Analysis(_) => "AnalysisException",
        EngineError::NoTable { database, table } => {
            return format!(
                "AnalysisException: line {line}: Table or view not found: {database}.{table}; run its crawler first"
            );
        }
        EngineError::BadData(_) => "SparkException",
        EngineError::Execution(_) => "SparkRuntimeException",
        EngineError::Unsupported(_) => "UnsupportedOperationException",
        EngineError::Internal(_) => "InternalError",
    };
    format!("{exception}: line {line}: {error}")
}
