//! `extract`: reads tables of a Postgres database, as they are at one moment, into files of JSON lines or Parquet on S3.
//!
//! **Safe start**: reading changes nothing, so it may be done again; what must not happen is that later tasks read the
//! files of one try and the watermark of another. Files are never written twice: their names hold the attempt and the
//! database session. A last object, the record of the attempt, names them and is written only where none is
//! (`If-None-Match`): of two tries the second one finds the first one's record and takes that. After a lost answer the
//! record is looked for; without one everything is read again.
//!
//! All tables are read in one transaction that sees one snapshot. How far each was read stands in the target database
//! (`trunkline_watermark`), where the task that loads the files moves it in the same transaction.
//!
//! It can be stopped only by its time limit.

use std::time::Duration;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{self, Finding, Needs, Place, Statement},
    aws::address::Address,
    clients::Clients,
    duration::HumanDuration,
    operator::{ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Request, Sent, Status},
    postgres::{
        self,
        names::{Table, check_column},
    },
    registry::Options,
};

#[cfg(feature = "transform")]
mod columns;
mod lines;
#[cfg(feature = "transform")]
mod parquet;
mod record;
mod snapshot;
mod upload;

#[cfg(test)]
mod tests;

/// The longest that one attempt may take where the task names no `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Most tables of one snapshot.
const TABLES_MAX: usize = 200;
/// When the record of an attempt is looked for again.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct Extract;

/// Settings of an `extract` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtractConfig {
    /// The database, `postgresql://user@host:5432/name`. With a password it has to be a secret: `{{ secrets.source }}`.
    pub url: String,
    /// The tables, all read in one transaction that sees one snapshot.
    pub tables: Vec<ExtractTable>,
    /// Where the files go: `s3://bucket/folder/`. Each table has a folder of its own below, and no file is ever
    /// overwritten.
    pub to: String,
    /// How the files are written: JSON objects, one in each line, or Parquet with the columns typed as in the database. There
    /// times with a zone become UTC; `numeric` without a precision or of more than 38 digits, `uuid`, `json`, `time`,
    /// `interval`, enums and the like become text, arrays and composite types the text of their JSON. A value that
    /// Parquet's type lacks, such as the date `infinity`, fails the task.
    #[serde(default)]
    pub format: Rows,
    /// Where it stands how far the tables with `since` were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<WatermarkConfig>,
    /// So much of what was read before is read again, for rows that were committed late: `10m`. Only for columns of
    /// times and dates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<HumanDuration>,
}

/// A table and what of it is read.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtractTable {
    /// The table, `name` or `schema.name`.
    pub table: String,
    /// A column that only grows, such as `last_updated`: rows with more than the watermark are read; those without a
    /// value only the first time. Without `since` all rows are read each time that any other table has something new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The columns; without them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// JSON objects, one in each line.
    #[default]
    Json,
    /// Parquet, compressed with Snappy.
    Parquet,
}

impl Rows {
    fn extension(self) -> &'static str {
        match self {
            Self::Json => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

/// Where a watermark stands.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatermarkConfig {
    /// The database that the files are loaded into, a secret where it has a password.
    pub url: String,
    /// The name under which `advance_watermark` of `load` moves it.
    pub name: String,
}

/// What a request holds, beside the token.
#[derive(Debug, Deserialize, Serialize)]
struct Work {
    #[serde(flatten)]
    config: ExtractConfig,
    timeout_seconds: u64,
}

impl Extract {
    /// It needs nothing of the options.
    pub fn new(_options: &Options) -> Self {
        Self
    }
}

impl Operator for Extract {
    const TYPE: &'static str = "extract";
    const EXAMPLE: &'static str = "\
type: extract
url: postgresql://reader@source.example.com/shop
tables:
  - { table: sales_order, since: last_updated }
  - { table: department }
to: s3://raw/shop/
watermark: { url: postgresql://etl@warehouse.example.com/sales, name: shop }
overlap: 10m
";
    const GUARANTEE: &'static str = "Reading changes nothing and is repeated after a lost answer, unless the record of \
         the attempt is there: that is written last, once, and names the files. No file is written twice.";
    const SECRETS: &'static [&'static str] = &["url", "watermark"];
    type Config = ExtractConfig;

    fn default_timeout(&self) -> Duration {
        DEFAULT_TIMEOUT
    }

    fn prepare(&self, config: &ExtractConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        check(config)?;
        let work = Work { config: config.clone(), timeout_seconds: cx.timeout.as_secs().max(1) };
        let body = serde_json::to_value(work).map_err(|error| wrong(error.to_string()))?;
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    fn start_limit(&self, request: &Request) -> Duration {
        postgres::send_limit(request)
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        match self.extract(clients, intent.request).await {
            Ok(outcome) => Sent::Done(outcome),
            Err(failure) if postgres::failure::passes(&failure) => Sent::Throttled(failure),
            Err(failure) => Sent::Refused(failure),
        }
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        let work = match read(intent.request) {
            Ok(work) => work,
            Err(failure) => return Found::Lost(failure),
        };
        let again_at = intent.now.checked_add(LOOK_AGAIN).unwrap_or(intent.now);
        let looked = match clients.s3(&intent.request.connection).await {
            Ok(s3) => record::read(s3, &work.config.to, &intent.request.token).await,
            Err(failure) => Err(failure),
        };
        match looked {
            Ok(Some(outcome)) => Found::Done(outcome),
            Ok(None) => Found::SafeToRepeat,
            Err(failure) => Found::NotYetKnown { again_at, reason: failure.message },
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
            Some([table]) => format!("extract of {}", table["table"].as_str().unwrap_or_default()),
            Some(tables) => format!("extract of {} tables", tables.len()),
            None => Self::TYPE.to_owned(),
        }
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        let work = read(request).ok()?;
        let Address { bucket, key } = Address::prefix(&work.config.to, "to").ok()?;
        let objects = place.s3(&format!("{bucket}/{key}*"));
        Some(Needs::of(vec![
            Statement::new("s3", &["ListBucket"], [place.s3(bucket)]),
            Statement::new("s3", &["AbortMultipartUpload", "GetObject", "PutObject"], [objects]),
        ]))
    }

    async fn check(&self, clients: &Clients, request: &Request, _place: &Place) -> Vec<Finding> {
        let Ok(work) = read(request) else { return Vec::new() };
        match Address::prefix(&work.config.to, "to") {
            Ok(Address { bucket, .. }) => vec![access::bucket(clients, &request.connection, bucket).await],
            Err(_) => Vec::new(),
        }
    }
}

impl Extract {
    async fn extract(
        self,
        clients: &Clients,
        request: &Request,
    ) -> Result<crate::operator::Outcome, Failure> {
        let work = read(request)?;
        let s3 = clients.s3(&request.connection).await?;
        let outcome = snapshot::extract(s3, &work, &request.token).await?;
        record::write(s3, &work.config.to, &request.token, outcome).await
    }
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}

fn check(config: &ExtractConfig) -> Result<(), Failure> {
    postgres::check_address("url", &config.url)?;
    if let Some(watermark) = &config.watermark {
        postgres::check_address("watermark.url", &watermark.url)?;
        if watermark.name.trim().is_empty() {
            return Err(wrong("watermark.name: it is empty".into()));
        }
    }
    if !config.to.ends_with('/') {
        return Err(wrong(format!("to: `{}` is no folder: write s3://bucket/folder/", config.to)));
    }
    Address::prefix(&config.to, "to")?;
    if config.format == Rows::Parquet {
        crate::parquet::is_known("format")?;
    }
    let count = config.tables.len();
    if count == 0 || count > TABLES_MAX {
        return Err(wrong(format!("tables: {count} of them, and a task takes 1 to {TABLES_MAX}")));
    }
    let mut names = Vec::with_capacity(count);
    for (place, table) in config.tables.iter().enumerate() {
        let setting = format!("tables[{place}]");
        let read = Table::read(&table.table, &format!("{setting}.table"))?;
        for column in table.columns.iter().chain(&table.since) {
            check_column(&setting, column)?;
        }
        if table.since.is_some() && config.watermark.is_none() {
            return Err(wrong(format!(
                "{setting}.since: say where it stands how far was read, as `watermark`"
            )));
        }
        let name = read.name().to_owned();
        if names.contains(&name) {
            return Err(wrong(format!("{setting}.table: two tables are named {name}")));
        }
        names.push(name);
    }
    if config.overlap.is_some() && config.tables.iter().all(|table| table.since.is_none()) {
        return Err(wrong("overlap: no table has `since`".into()));
    }
    Ok(())
}

fn read(request: &Request) -> Result<Work, Failure> {
    Work::deserialize(&request.body)
        .map_err(|error| wrong(format!("what was stored of this attempt cannot be read: {error}")))
}
