//! `redshift_copy`: brings files from S3 into tables of Amazon Redshift, as one transaction of its Data API.
//!
//! **Safe start**: before the intent is committed, the objects of each table are listed and the list is written as a
//! manifest whose name holds the attempt, only where none is (`If-None-Match`): of two tries the second one takes the
//! list of the first. The intent remembers how many objects each list has. What is sent follows from the stored request and
//! these numbers alone, so it is the same however often it is sent, and COPY reads what was listed and nothing that
//! came later. The rest is as with `redshift_sql` ([`crate::redshift`]): a client token that the service remembers for 8
//! hours, a name by which a start without an answer is looked for, and a request that may be sent again as long as the
//! token holds. An attempt that ended before its intent leaves files that nobody reads.
//!
//! COPY fills a temporary table for each table, which ends with the session, and from there rows go on as the mode
//! says. Redshift enforces no keys, so one row for each key is chosen here: the newest, or of equals the one whose columns
//! sort last. What is in a table therefore depends on the files that were loaded, not on their order.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    access::{Finding, Needs, Place},
    aws::SignedAt,
    clients::Clients,
    load::{Addresses, Mode, Partition},
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Rate, Request, Sent,
        Status,
    },
    redshift::{self, STATEMENT_TIME_MAX},
    registry::Options,
    scalar::Scalar,
};

mod access;
mod check;
mod end;
mod manifest;
mod plan;
mod steps;

#[cfg(test)]
mod tests;

/// The operator.
#[derive(Clone, Debug)]
pub struct RedshiftCopy {
    quarantine: Duration,
}

/// Settings of a `redshift_copy` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedshiftCopyConfig {
    /// Tables that are filled in this order, as one transaction. One table takes up to 7 of the 40 statements that
    /// Redshift runs as one. Where rows are looked for or taken out (every mode but `append`), the table is locked from
    /// the beginning, so that two loads at once add no row twice.
    pub tables: Vec<CopyTable>,
    /// The role with which COPY reads, attached to the warehouse; or a list, of which each assumes the next: for a bucket of
    /// another account the last one is of that account. It reads the files and `manifests`.
    pub role: Roles,
    /// The region of the buckets, where it is not the warehouse's own. Not for `parquet`, which COPY reads in its own
    /// region only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where the lists of files and the paths into JSON are written, for each attempt in a folder of its own:
    /// `s3://bucket/folder/`. COPY reads exactly the objects of these lists. They may be deleted when the task has ended.
    pub manifests: String,
    /// Statements that run when all tables are filled, in the same transaction. Each may be a `file:sql/name.sql`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<String>,
    /// Values for `:name` in `statements` and `where`. They are bound, so none can become SQL; none may be empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Scalar>,
    /// So many rows of the last of the `statements` that returns rows become the output `rows`, at most 1,000 rows and
    /// 64 KiB. More rows than this stay behind with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub fetch_rows: Option<u32>,
    /// The database to connect to. A connection of the type `redshift` may say this and what follows for all tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The name of a serverless workgroup. Either this or `cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workgroup: Option<String>,
    /// The identifier of a provisioned cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The database user of a cluster, with temporary credentials. Without it and without `secret_arn` the user
    /// is derived from the AWS identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_user: Option<String>,
    /// A secret in Secrets Manager that holds user and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_arn: Option<String>,
}

/// A table and what comes into it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyTable {
    /// The table, `name` or `schema.name`.
    pub table: String,
    /// An object, `s3://bucket/key`, everything below a prefix, `s3://bucket/folder/`, or a list of both, also of
    /// objects as `trigger.objects` gives them. An empty list brings no rows. Below a prefix names that begin with `_` or
    /// `.` are passed over.
    pub from: Addresses,
    /// How the objects are written.
    #[serde(default)]
    pub format: CopyFormat,
    /// For `json`: the columns that get a value, with the path that leads to it, as `$.agent.id` or `$['agent']['id']`, all
    /// in one notation. A record without it leaves the column empty. Without paths, keys of the data go into the columns of the same name, whatever their case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json_paths: BTreeMap<String, String>,
    /// The columns that the files bring: for `csv` and `parquet` in the order of the files; for `json` without paths those
    /// that are looked for, needed where the mode has a `key` or `partition` has values. Other columns of the table
    /// get their default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// More of COPY, each in its own words: `TRUNCATECOLUMNS`, `TIMEFORMAT 'auto'`. Not what other settings say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// A condition on the columns: rows of the files that do not meet it are left out.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// What becomes of rows that are there already.
    pub mode: Mode,
    /// For `insert_missing`, `upsert` and `merge`: the columns that name a row. A row of the files without a value for
    /// them fails the load; leave it out with `where`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// For `merge`: the column that says which of two rows is newer. Of rows that are equally new the one counts whose
    /// other columns, in their order, sort last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// For `replace_partition`: columns with the values of the partition, which its rows get, or a list of columns:
    /// then every partition that occurs in the data is replaced.
    #[serde(default, skip_serializing_if = "Partition::is_empty")]
    pub partition: Partition,
}

/// How objects are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CopyFormat {
    /// JSON objects: one in each line, over several lines, or with nothing between them.
    #[default]
    Json,
    /// CSV with a line of names, which is left out: columns go by their order.
    Csv,
    /// Parquet; columns go by their order.
    Parquet,
}

/// One role or a chain of them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Roles {
    /// One; or `default`, the warehouse's own. A chain in one text has commas.
    One(String),
    /// A chain.
    Chain(Vec<String>),
}

impl RedshiftCopy {
    /// Takes the quarantine of the options.
    pub fn new(options: &Options) -> Self {
        Self { quarantine: options.quarantine }
    }
}

impl Operator for RedshiftCopy {
    const TYPE: &'static str = "redshift_copy";
    const EXAMPLE: &'static str = "\
type: redshift_copy
workgroup: reports
database: dev
role: arn:aws:iam::123456789012:role/copy
manifests: s3://reports-work/copy/
tables:
  - table: contact
    from: s3://contacts/2026/11/19/
    json_paths: { contact_id: $.ContactId, agent_id: $.Agent.ARN, updated_at: $.LastUpdateTimestamp }
    options: [\"TIMEFORMAT 'auto'\"]
    mode: merge
    key: [contact_id]
    newest: updated_at
  - { table: rate, from: s3://rates/2026-11-19.csv, format: csv, columns: [country, cents], mode: replace_partition, partition: { day: \"2026-11-19\" } }
statements:
  - DELETE FROM contact WHERE updated_at < :oldest
parameters: { oldest: \"2020-01-01\" }
";
    const GUARANTEE: &'static str = "As of `redshift_sql`, one transaction for each attempt: its client token and its \
         statement name keep a lost start from being repeated. The files are listed before that, once for each attempt; \
         the list is never overwritten, and COPY reads what it names.";
    const FROM_CONNECTION: &'static [&'static [&'static str]] = redshift::FROM_CONNECTION;
    type Config = RedshiftCopyConfig;

    fn default_timeout(&self) -> Duration {
        STATEMENT_TIME_MAX
    }

    fn prepare(&self, config: &RedshiftCopyConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        check::check(config)?;
        plan::request(config, cx)
    }

    fn needs_baseline(&self) -> bool {
        true
    }

    async fn baseline(&self, clients: &Clients, request: &Request) -> Result<Value, Failure> {
        let work = plan::read(request)?;
        let s3 = clients.s3(&request.connection).await?;
        manifest::write(s3, &work).await
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        let request = match plan::complete(intent.request, intent.baseline) {
            Ok(request) => request,
            Err(failure) => return Sent::Refused(failure),
        };
        match redshift::send(clients, &request, SignedAt(intent.intent_at)).await {
            Sent::Accepted(handle) => Sent::Accepted(plan::remembered(intent, handle)),
            other => other,
        }
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        match redshift::find::find(clients, intent, self.quarantine).await {
            Found::Found(handle) => Found::Found(plan::remembered(intent, handle)),
            other => other,
        }
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        let mut statuses = Vec::with_capacity(handles.len());
        for handle in handles {
            statuses.push(end::poll(clients, handle).await);
        }
        statuses
    }

    async fn cancel(&self, clients: &Clients, handle: &Handle) -> Result<(), Failure> {
        redshift::cancel(clients, handle).await
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        Some(redshift::rate(call))
    }

    fn label(&self, request: &Request) -> String {
        match request.body["tables"].as_array().map(Vec::as_slice) {
            Some([table]) => format!("Redshift copy into {}", table["table"].as_str().unwrap_or_default()),
            Some(tables) => format!("Redshift copy into {} tables", tables.len()),
            None => "Redshift copy".to_owned(),
        }
    }

    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle> {
        Some(plan::remembered(intent, redshift::handle(intent.request, id.to_owned())))
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        redshift::console_url(region, handle)
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, &plan::read(request).ok()?, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        match plan::read(request) {
            Ok(work) => access::check(clients, request, &work).await,
            Err(_) => Vec::new(),
        }
    }
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}
