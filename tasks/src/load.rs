//! `load`: brings files from S3 into tables of a Postgres database, as one transaction.
//!
//! **Safe start**: as `sql`: the call is the whole job, and it is committed together with the attempt's token
//! ([`crate::postgres::transaction`]). Rows are copied into staging tables that end with the transaction, and go on
//! from there as the mode of each table says; statements and the watermark follow in the same transaction. A reader
//! sees all of it or nothing.
//!
//! It can be stopped only by its time limit.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    access::{Finding, Needs, Place},
    aws::address::Address,
    clients::Clients,
    operator::{ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Request, Sent, Status},
    postgres::{
        self,
        names::{Table, check_column},
        transaction::{self, Attempt},
        watermark::Step,
    },
    registry::Options,
    scalar::Parameter,
    scratch::Scratch,
    sql::{self, Statement},
};

pub(crate) mod access;
pub(crate) mod files;
mod fill;
mod modes;
#[cfg(feature = "transform")]
mod parquet;
pub(crate) mod records;
mod stage;

#[cfg(test)]
mod tests;

/// The longest that one attempt may take where the task names no `timeout`: what a nightly load takes, not a week.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Most tables of one transaction.
const TABLES_MAX: usize = 100;
/// Most addresses of one table.
const ADDRESSES_MAX: usize = 10_000;

/// The operator.
#[derive(Clone, Debug)]
pub struct Load {
    scratch: PathBuf,
}

/// Settings of a `load` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadConfig {
    /// The database, `postgresql://user@host:5432/name`. With a password it has to be a secret: `{{ secrets.warehouse }}`.
    pub url: String,
    /// Tables that are filled in this order, as one transaction.
    pub tables: Vec<LoadTable>,
    /// Statements that run when all tables are filled, in the same transaction. Each may be a `file:sql/name.sql`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<String>,
    /// A SELECT that runs last: each of its rows becomes a warning, of the text in its first column; at most 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<String>,
    /// Values for `:name` in `statements` and `warnings`. They are bound, so none can become SQL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Parameter>,
    /// Says in the same transaction how far the source was read, so that the next `extract` goes on from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advance_watermark: Option<Advance>,
}

/// A table and what comes into it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadTable {
    /// The table, `name` or `schema.name`. Keys of the data go into the columns of the same name; others are ignored
    /// with a warning, and columns that no record has get their default.
    pub table: String,
    /// An object, `s3://bucket/key`, everything below a prefix, `s3://bucket/folder/`, or a list of both, also of
    /// objects as `trigger.objects` gives them. An empty list brings no rows. Below a prefix names that begin with `_` or
    /// `.` are passed over.
    pub from: Addresses,
    /// How the objects are written: JSON objects in lines, over several lines, or with nothing between them; CSV with a line
    /// of names; or Parquet, of which times with a zone come as UTC and what is nested as JSON. A file of Parquet is
    /// brought to this machine before it is read, into `.trunkline/`.
    #[serde(default)]
    pub format: Format,
    /// What becomes of rows that are there already.
    pub mode: Mode,
    /// For `insert_missing`, `upsert` and `merge`: the columns that name a row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// For `merge`: the column that says which of two rows is newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// For `replace_partition`: columns with the values of the partition, which its rows get, or a list of columns:
    /// then every partition that occurs in the data is replaced.
    #[serde(default, skip_serializing_if = "Partition::is_empty")]
    pub partition: Partition,
}

/// One address or several.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged, from = "Given")]
pub enum Addresses {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// Addresses as people write them, and as a trigger gives objects: `{{ trigger.objects }}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Given {
    One(String),
    Several(Vec<Item>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Item {
    Address(String),
    Object {
        /// The object's bucket.
        bucket: String,
        /// Its key as it is, not encoded.
        key: String,
    },
}

impl From<Given> for Addresses {
    fn from(given: Given) -> Self {
        let address = |item| match item {
            Item::Address(address) => address,
            Item::Object { bucket, key } => format!("s3://{bucket}/{key}"),
        };
        match given {
            Given::One(address) => Self::One(address),
            Given::Several(items) => Self::Several(items.into_iter().map(address).collect()),
        }
    }
}

/// How objects are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JSON objects: one in each line, over several lines, or with nothing between them.
    #[default]
    Json,
    /// CSV with a line of names.
    Csv,
    /// Parquet.
    Parquet,
}

/// What becomes of rows that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every row is added.
    Append,
    /// Rows whose key is there already are left out.
    InsertMissing,
    /// Rows whose key is there already take its place.
    Upsert,
    /// As `upsert`, but only over rows that are older.
    Merge,
    /// The partition's rows are replaced by these.
    ReplacePartition,
    /// All rows of the table are replaced by these.
    Replace,
}

impl Mode {
    /// Whether rows have a name by which they are found again.
    pub(crate) fn is_keyed(self) -> bool {
        matches!(self, Self::InsertMissing | Self::Upsert | Self::Merge)
    }
}

/// The columns of a partition.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Partition {
    /// With their values.
    Values(BTreeMap<String, Parameter>),
    /// Whatever values the data has.
    Columns(Vec<String>),
}

impl Default for Partition {
    fn default() -> Self {
        Self::Columns(Vec::new())
    }
}

impl Partition {
    pub(crate) fn is_empty(&self) -> bool {
        self.columns().next().is_none()
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = &String> {
        let (values, columns) = match self {
            Self::Values(values) => (Some(values.keys()), None),
            Self::Columns(columns) => (None, Some(columns.iter())),
        };
        values.into_iter().flatten().chain(columns.into_iter().flatten())
    }
}

/// How far a source was read.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Advance {
    /// The name under which `extract` reads it.
    pub name: String,
    /// The output `watermark` of the `extract` whose files are loaded: `{{ tasks.extract.outputs.watermark }}`.
    pub to: BTreeMap<String, Value>,
}

/// What a request holds, beside the token.
#[derive(Debug, Deserialize, Serialize)]
struct Work {
    url: String,
    tables: Vec<LoadTable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    statements: Vec<Statement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warnings: Option<Statement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watermark: Option<Watermark>,
    timeout_seconds: u64,
    run: String,
    task: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Watermark {
    name: String,
    steps: IndexMap<String, Step>,
}

impl Load {
    /// Takes the folder for files on their way.
    pub fn new(options: &Options) -> Self {
        Self { scratch: options.scratch_folder.clone() }
    }
}

impl Operator for Load {
    const TYPE: &'static str = "load";
    const EXAMPLE: &'static str = "\
type: load
url: postgresql://etl@warehouse.example.com/sales
tables:
  - { table: customer, from: s3://raw/customer/2026-11-19.jsonl, mode: merge, key: [customer_id], newest: last_updated }
  - { table: sale, from: s3://raw/sale/2026-11-19/, mode: replace_partition, partition: { day: \"2026-11-19\" } }
statements:
  - DELETE FROM daily_total WHERE day = :day::date
  - INSERT INTO daily_total SELECT day, sum(amount) FROM sale WHERE day = :day::date GROUP BY day
parameters: { day: \"2026-11-19\" }
";
    const GUARANTEE: &'static str = "An attempt commits once, as one of `sql`: a row with its token stands in the table \
         `trunkline_statement` of the database and is committed with the rows. After a lost answer that row is looked \
         for, and only where it is missing and no session of the attempt is left the files are loaded again.";
    const SECRETS: &'static [&'static str] = &["url"];
    type Config = LoadConfig;

    fn default_timeout(&self) -> Duration {
        DEFAULT_TIMEOUT
    }

    fn prepare(&self, config: &LoadConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        postgres::check_address("url", &config.url)?;
        if config.tables.is_empty() || config.tables.len() > TABLES_MAX {
            let count = config.tables.len();
            return Err(wrong(format!("tables: {count} of them, and a task takes 1 to {TABLES_MAX}")));
        }
        for (place, table) in config.tables.iter().enumerate() {
            check(table).map_err(|failure| at(place, failure))?;
        }
        let mut texts: Vec<&String> = config.statements.iter().collect();
        texts.extend(&config.warnings);
        let mut statements = sql::prepared(&texts, &config.parameters).map_err(wrong)?;
        let warnings = config.warnings.as_ref().and_then(|_| statements.pop());
        let work = Work {
            url: config.url.clone(),
            tables: config.tables.clone(),
            statements,
            warnings,
            watermark: config.advance_watermark.as_ref().map(watermark).transpose()?,
            timeout_seconds: cx.timeout.as_secs().max(1),
            run: cx.run.to_owned(),
            task: cx.task.to_owned(),
        };
        let body = serde_json::to_value(work).map_err(|error| wrong(error.to_string()))?;
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    fn start_limit(&self, request: &Request) -> Duration {
        postgres::send_limit(request)
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        let work = match read(intent.request) {
            Ok(work) => work,
            Err(failure) => return Sent::Refused(failure),
        };
        let s3 = match clients.s3(&intent.request.connection).await {
            Ok(s3) => s3,
            Err(failure) => return Sent::Refused(failure),
        };
        let attempt = Attempt {
            url: &work.url,
            token: &intent.request.token,
            run: &work.run,
            task: &work.task,
            timeout_seconds: work.timeout_seconds,
        };
        let scratch = match self.room(&work, &intent.request.token) {
            Ok(scratch) => scratch,
            Err(failure) => return Sent::Refused(failure),
        };
        transaction::run(attempt, &stage::Loading { work: &work, s3, scratch }).await
    }

    async fn find(&self, _clients: &Clients, intent: &Intent<'_>) -> Found {
        match read(intent.request) {
            Ok(work) => transaction::find(&work.url, &intent.request.token, intent.now).await,
            Err(failure) => Found::Lost(failure),
        }
    }

    async fn poll(&self, _clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        postgres::nothing_to_ask(handles)
    }

    async fn cancel(&self, _clients: &Clients, _handle: &Handle) -> Result<(), Failure> {
        Ok(())
    }

    fn label(&self, request: &Request) -> String {
        match request.body["tables"].as_array().map(Vec::as_slice) {
            Some([table]) => format!("load into {}", table["table"].as_str().unwrap_or_default()),
            Some(tables) => format!("load into {} tables", tables.len()),
            None => Self::TYPE.to_owned(),
        }
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(&read(request).ok()?, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _place: &Place) -> Vec<Finding> {
        match read(request) {
            Ok(work) => access::check(clients, &work, &request.connection).await,
            Err(_) => Vec::new(),
        }
    }
}

impl Load {
    /// A folder of this machine for files that have to be here to be read.
    fn room(&self, work: &Work, token: &str) -> Result<Option<Scratch>, Failure> {
        if work.tables.iter().all(|table| table.format != Format::Parquet) {
            return Ok(None);
        }
        Scratch::new(&self.scratch, token)
            .map(Some)
            .map_err(|error| Failure::new(ErrorClass::System, format!("{}: {error}", self.scratch.display())))
    }
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}

/// Says which table it is about.
fn at(place: usize, failure: Failure) -> Failure {
    let message = format!("tables[{place}].{}", failure.message);
    Failure { message, ..failure }
}

fn check(table: &LoadTable) -> Result<(), Failure> {
    Table::read(&table.table, "table")?;
    check_addresses(&table.from)?;
    if table.format == Format::Parquet {
        crate::parquet::is_known("format")?;
    }
    check_mode(table.mode, &table.key, table.newest.as_deref(), &table.partition)
}

/// Refuses addresses that name no objects.
pub(crate) fn check_addresses(from: &Addresses) -> Result<(), Failure> {
    let addresses = addresses(from);
    if addresses.len() > ADDRESSES_MAX {
        return Err(wrong(format!(
            "from: {} addresses, and at most {ADDRESSES_MAX} are taken",
            addresses.len()
        )));
    }
    for address in addresses {
        if address.ends_with('/') {
            Address::prefix(address, "from")
        } else {
            Address::object(address, "from")
        }?;
    }
    Ok(())
}

/// What a mode needs and what it has no use for.
pub(crate) fn check_mode(
    mode: Mode,
    key: &[String],
    newest: Option<&str>,
    partition: &Partition,
) -> Result<(), Failure> {
    for name in key {
        check_column("key", name)?;
    }
    if let Some(name) = newest {
        check_column("newest", name)?;
    }
    for name in partition.columns() {
        check_column("partition", name)?;
    }
    let word = serde_json::to_value(mode).unwrap_or_default();
    let word = word.as_str().unwrap_or_default();
    let needed = [
        ("key", mode.is_keyed(), key.is_empty()),
        ("newest", mode == Mode::Merge, newest.is_none()),
        ("partition", mode == Mode::ReplacePartition, partition.is_empty()),
    ];
    for (name, wanted, is_missing) in needed {
        if wanted && is_missing {
            return Err(wrong(format!("mode: {word} needs `{name}`")));
        }
        if !wanted && !is_missing {
            return Err(wrong(format!("{name}: {word} has no use for it")));
        }
    }
    Ok(())
}

/// All of them, in their order.
pub(crate) fn addresses(from: &Addresses) -> &[String] {
    match from {
        Addresses::One(address) => std::slice::from_ref(address),
        Addresses::Several(addresses) => addresses,
    }
}

fn watermark(advance: &Advance) -> Result<Watermark, Failure> {
    let step = |(table, step): (&String, &Value)| {
        let step = Step::deserialize(step).map_err(|error| {
            wrong(format!(
                "advance_watermark.to.{table}: it is not what `extract` leaves as `watermark`: {error}"
            ))
        })?;
        Ok((table.clone(), step))
    };
    let steps = advance.to.iter().map(step).collect::<Result<_, Failure>>()?;
    Ok(Watermark { name: advance.name.clone(), steps })
}

fn read(request: &Request) -> Result<Work, Failure> {
    Work::deserialize(&request.body).map_err(|error| {
        let text = format!("what was stored of this attempt cannot be read: {error}");
        Failure::new(ErrorClass::Config, text)
    })
}
