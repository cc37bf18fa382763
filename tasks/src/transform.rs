//! `transform`: SQL over files of S3, run here, into files of S3.
//!
//! **Safe start**: nothing runs outside, so there is nothing to start twice. The work is a job of this process
//! ([`job`]); a replica that takes over, or this one after a crash, begins it anew. What must not happen is that files
//! of two tries lie side by side: each folder that is written holds a record of whose files lie there, moved only by
//! whoever saw its last state ([`place`]); everything is computed first, then names that are always the same are
//! written over, then files of before that have no successor are removed. A job whose last folder's record is its own
//! has ended, and says what it left from there.
//!
//! Inputs are read once, record by record; what does not fit the declared columns is kept aside with its place and the
//! reason, or fails the task. How that is done, and the SQL, is `trunkline-query`'s.

use std::{path::PathBuf, time::Duration};

use indexmap::IndexMap;
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_query::{
    transform::{self as engine, Column, Input, InputFormat, Output, Transformation},
    write::FileFormat,
};

use self::job::Jobs;
use crate::{
    access::{Finding, Needs, Place},
    aws::address::Address,
    clients::Clients,
    clock::Clock,
    load::{Addresses, check_addresses},
    operator::{ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Request, Sent, Status},
    registry::Options,
};

mod access;
mod job;
mod place;
mod source;

#[cfg(test)]
mod tests;

/// The longest that one attempt may take where the task names no `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
/// How often a job is looked after: it costs no call.
const POLL: SignedDuration = SignedDuration::from_millis(500);
/// Most inputs, and most outputs: each is a table or a query over all of them.
const TABLES_MAX: usize = 50;
/// Names of outputs that mean something else in the task's outputs.
const RESERVED: [&str; 3] = ["records", "rejected", "rejected_files"];

/// The operator.
#[derive(Debug)]
pub struct Transform {
    clock: Clock,
    scratch: PathBuf,
    jobs: Jobs,
}

/// Settings of a `transform` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransformConfig {
    /// Tables for the queries, by name.
    pub inputs: IndexMap<String, InputConfig>,
    /// Queries by name, and where their rows go.
    pub outputs: IndexMap<String, OutputConfig>,
    /// A folder for records that do not fit, `s3://bucket/folder/`, as lines of JSON with `input`, `file`, `record`,
    /// `reason` and `text`; it is replaced like those of the outputs. Without it the first such record fails the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// If more records than this do not fit, the task fails and nothing is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_max: Option<u64>,
}

/// Files that are one table. Two columns more say where a record came from: `_file`, its address, and `_record`, which
/// one of its file it was.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputConfig {
    /// An object, `s3://bucket/key`, everything below a prefix, `s3://bucket/folder/`, or a list of both, also of
    /// objects as `trigger.objects` gives them. An empty list is a table without rows. Below a prefix names that begin with `_` or `.` are passed over.
    pub from: Addresses,
    /// How the objects are written.
    #[serde(default)]
    pub format: InputWords,
    /// Columns with their types in Athena's words, `id: bigint`, `who: struct<name:string>`; found by name whatever the
    /// case. Others are not read. Parquet needs none: then the first file says them.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub columns: IndexMap<String, String>,
    /// Columns that each record must have a value for; an empty text is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// For `csv`: what stands between two cells.
    #[serde(default = "comma")]
    pub delimiter: char,
}

fn comma() -> char {
    ','
}

/// How files are written that are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputWords {
    /// JSON objects: in lines, over several lines, in arrays, or with nothing between them.
    #[default]
    Json,
    /// CSV with a line of names; an empty cell is null.
    Csv,
    /// Parquet.
    Parquet,
}

/// A query and where its rows go.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// A SELECT in Athena's SQL, or `file:sql/name.sql`. Besides Athena's functions there is `uuid5(namespace, name)`.
    pub query: String,
    /// The folder that becomes these rows: `s3://bucket/folder/`. What an earlier run of a task wrote there is replaced,
    /// other objects are left alone.
    pub to: String,
    /// How files are written.
    #[serde(default)]
    pub format: OutputWords,
    /// Columns that become folders, `day=2026-11-19/`, and are not in the files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_by: Vec<String>,
}

/// How files are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputWords {
    /// Parquet, compressed with Snappy.
    #[default]
    Parquet,
    /// CSV with a line of names.
    Csv,
    /// JSON, an object in each line; nulls are left out.
    Json,
}

impl OutputWords {
    fn format(self) -> FileFormat {
        match self {
            Self::Parquet => FileFormat::Parquet,
            Self::Csv => FileFormat::Csv,
            Self::Json => FileFormat::Json,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

impl Transform {
    /// Takes the clock and the folder for files on their way.
    pub fn new(options: &Options) -> Self {
        Self { clock: options.clock.clone(), scratch: options.scratch_folder.clone(), jobs: Jobs::default() }
    }
}

impl Operator for Transform {
    const TYPE: &'static str = "transform";
    const EXAMPLE: &'static str = "\
type: transform
inputs:
  orders:
    from: s3://raw/orders/2026-11-19/
    format: json
    columns: { id: bigint, customer: string, amount: \"decimal(12,2)\", ordered_at: timestamp }
    required: [id]
outputs:
  orders:
    query: SELECT id, customer, amount, date(ordered_at) AS day FROM orders
    to: s3://curated/orders/run=2026-11-19/
    partition_by: [day]
rejected: s3://curated/rejected/orders/2026-11-19/
";
    const GUARANTEE: &'static str = "Everything is computed before a file is written; a folder's record says whose \
         files lie there and is moved only by whoever saw its last state, so that a repeated or a late try never leaves \
         rows twice.";
    type Config = TransformConfig;

    fn default_timeout(&self) -> Duration {
        DEFAULT_TIMEOUT
    }

    fn prepare(&self, config: &TransformConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        check(config)?;
        // The files are not known yet, the columns are.
        engine::check(&transformation(config, |_| Vec::new())).map_err(job::failure)?;
        let body = serde_json::to_value(config).map_err(|error| wrong(error.to_string()))?;
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    async fn send(&self, _: &Clients, intent: &Intent<'_>) -> Sent {
        Sent::Accepted(handle(intent.request))
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        Found::Found(handle(intent.request))
    }

    fn works_in_poll(&self) -> bool {
        true
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        let mut statuses = Vec::with_capacity(handles.len());
        for handle in handles {
            let now = self.clock.now();
            let status = match self.jobs.ask(clients, handle, &self.scratch, now).await {
                Ok(Some(outcome)) => Status::Succeeded(outcome),
                Ok(None) => Status::Running {
                    remote_state: "RUNNING".to_owned(),
                    poll_at: now.checked_add(POLL).ok(),
                },
                Err(failure) if failure.class == ErrorClass::Cancelled => Status::Cancelled(failure),
                Err(failure) if failure.only_delays() => Status::Throttled(failure),
                Err(failure) => Status::Failed(failure),
            };
            statuses.push(status);
        }
        statuses
    }

    async fn cancel(&self, _: &Clients, handle: &Handle) -> Result<(), Failure> {
        self.jobs.cancel(&handle.id);
        Ok(())
    }

    fn label(&self, request: &Request) -> String {
        let names = |key: &str| {
            let names = request.body[key].as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
            names.unwrap_or_default().join(", ")
        };
        format!("transform of {} into {}", names("inputs"), names("outputs"))
    }

    fn handle_of(&self, intent: &Intent<'_>, _id: &str) -> Option<Handle> {
        Some(handle(intent.request))
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        read(&request.body).ok().map(|config| access::needs(&config, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        match read(&request.body) {
            Ok(config) => access::check(clients, &config, &request.connection).await,
            Err(_) => Vec::new(),
        }
    }
}

fn handle(request: &Request) -> Handle {
    Handle { connection: request.connection.clone(), id: request.token.clone(), detail: request.body.clone() }
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}

fn read(body: &Value) -> Result<TransformConfig, Failure> {
    TransformConfig::deserialize(body)
        .map_err(|error| wrong(format!("what was stored of this attempt cannot be read: {error}")))
}

fn check(config: &TransformConfig) -> Result<(), Failure> {
    for (setting, count) in [("inputs", config.inputs.len()), ("outputs", config.outputs.len())] {
        if count == 0 || count > TABLES_MAX {
            return Err(wrong(format!("{setting}: {count} of them, and a task takes 1 to {TABLES_MAX}")));
        }
    }
    for (name, input) in &config.inputs {
        check_input(name, input)?;
    }
    let mut folders: Vec<(String, &str)> = Vec::new();
    for (name, output) in &config.outputs {
        if RESERVED.contains(&name.as_str()) {
            return Err(wrong(format!(
                "outputs.{name}: the task has an output of this name already; choose another"
            )));
        }
        folders.push((format!("outputs.{name}.to"), &output.to));
    }
    if let Some(folder) = &config.rejected {
        folders.push(("rejected".to_owned(), folder));
    } else if config.rejected_max.is_some() {
        return Err(wrong("rejected_max: say where the records go, as `rejected`".into()));
    }
    for (at, (setting, folder)) in folders.iter().enumerate() {
        let address = Address::prefix(folder, setting)?;
        if !folder.ends_with('/') || address.key.is_empty() {
            return Err(wrong(format!("{setting}: `{folder}` is no folder: write s3://bucket/folder/")));
        }
        for (other, earlier) in &folders[..at] {
            if folder.starts_with(earlier) || earlier.starts_with(folder) {
                return Err(wrong(format!(
                    "{setting}: {folder} and {other} {earlier} lie within each other; each needs its own folder"
                )));
            }
        }
    }
    Ok(())
}

fn check_input(name: &str, input: &InputConfig) -> Result<(), Failure> {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(wrong(format!(
            "inputs: `{name}` is no name of a table: it begins with a letter and has letters, digits and _"
        )));
    }
    if input.columns.is_empty() && input.format != InputWords::Parquet {
        return Err(wrong(format!(
            "inputs.{name}.columns: say the columns and their types, such as {{ id: bigint, name: string }}"
        )));
    }
    for column in &input.required {
        if !input.columns.keys().any(|own| own.eq_ignore_ascii_case(column)) {
            return Err(wrong(format!("inputs.{name}.required: `{column}` is none of the columns")));
        }
    }
    if input.format != InputWords::Csv && input.delimiter != comma() {
        return Err(wrong(format!("inputs.{name}.delimiter: only `format: csv` has one")));
    }
    if !input.delimiter.is_ascii() || matches!(input.delimiter, '"' | '\n' | '\r') {
        return Err(wrong(format!("inputs.{name}.delimiter: a plain character such as `;` or a tab")));
    }
    check_addresses(&input.from).map_err(|failure| {
        let message = format!("inputs.{name}.{}", failure.message);
        Failure { message, ..failure }
    })
}

/// The work in the engine's words; `files` gives an input's files by its place.
fn transformation(config: &TransformConfig, files: impl Fn(usize) -> Vec<String>) -> Transformation {
    let column = |input: &InputConfig, name: &String, hive_type: &String| Column {
        name: name.clone(),
        hive_type: hive_type.clone(),
        required: input.required.iter().any(|own| own.eq_ignore_ascii_case(name)),
    };
    let inputs = config.inputs.iter().enumerate().map(|(at, (name, input))| Input {
        name: name.clone(),
        format: match input.format {
            InputWords::Json => InputFormat::Json,
            // Checked to be one byte.
            InputWords::Csv => InputFormat::Csv { delimiter: u8::try_from(input.delimiter).unwrap_or(b',') },
            InputWords::Parquet => InputFormat::Parquet,
        },
        columns: input.columns.iter().map(|(name, hive_type)| column(input, name, hive_type)).collect(),
        files: files(at),
    });
    let outputs = config.outputs.iter().map(|(name, output)| Output {
        name: name.clone(),
        query: output.query.clone(),
        format: output.format.format(),
        partition_by: output.partition_by.clone(),
    });
    Transformation {
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        sets_aside: config.rejected.is_some(),
    }
}
