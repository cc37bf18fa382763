//! `sql`: runs statements in a Postgres database, as one transaction.
//!
//! **Safe start**: the call is the whole job, and it is committed together with a row of the attempt's token in the
//! table `trunkline_statement` of that database ([`postgres::ledger`]). So whether it was committed is known to the database
//! itself: after a lost answer the row is looked for. While a session of the attempt is still there, nobody knows yet;
//! without row and session nothing was committed and nothing can be, and the stored request is sent again. Two sends
//! of one attempt meet at the token: the second waits for the first and takes its result.
//!
//! A statement that runs can be stopped only by its time limit, which is the database's `statement_timeout`.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Needs, Place},
    clients::Clients,
    operator::{
        ErrorClass, Failure, Found, Handle, Intent, Operator, Outputs, PrepareContext, Request, Sent, Status,
    },
    postgres::{
        self,
        transaction::{self, Attempt},
    },
    registry::Options,
    scalar::Parameter,
};

pub(crate) mod placeholders;
pub(crate) mod statements;

#[cfg(test)]
mod tests;

/// The longest that one attempt may take where the task names no `timeout`: what a nightly merge takes, not a week.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Most statements of one transaction.
const STATEMENTS_MAX: usize = 100;

/// The longest statement: more is data, which belongs into a table or a file.
const SQL_BYTES_MAX: usize = 256 * 1024;

/// Most rows that may be fetched: outputs feed later tasks, they are no way to move data.
const FETCH_ROWS_MAX: u32 = 1_000;

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct Sql;

/// Settings of a `sql` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlConfig {
    /// The database, `postgresql://user@host:5432/name`. With a password it has to be a secret: `{{ secrets.warehouse }}`.
    pub url: String,
    /// One SQL statement, or `file:sql/name.sql` beside the pipeline. Either this or `statements`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Up to 100 statements that run in this order as one transaction: all of them or none. Each may be a
    /// `file:sql/name.sql`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<String>,
    /// Values for `:name` in the statements. They are bound, so none can become SQL. A text is a text: write
    /// `:day::date` where a date is wanted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Parameter>,
    /// So many rows of the last statement become the output `rows`, at most 1,000 rows and 64 KiB; it is a SELECT, or
    /// has RETURNING. More rows than this stay behind with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub fetch_rows: Option<u32>,
}

impl Sql {
    /// It needs nothing of the options.
    pub fn new(_options: &Options) -> Self {
        Self
    }
}

/// What a request holds, beside the token.
#[derive(Debug, Deserialize, Serialize)]
struct Work {
    url: String,
    statements: Vec<Statement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fetch_rows: Option<u32>,
    timeout_seconds: u64,
    run: String,
    task: String,
}

impl Work {
    fn attempt<'a>(&'a self, token: &'a str) -> Attempt<'a> {
        let Self { url, run, task, timeout_seconds, .. } = self;
        Attempt { url, token, run, task, timeout_seconds: *timeout_seconds }
    }
}

/// A statement with `$1`, `$2`, … and what they stand for.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<Parameter>,
}

impl Operator for Sql {
    const TYPE: &'static str = "sql";
    const EXAMPLE: &'static str = "\
type: sql
url: postgresql://etl@warehouse.example.com/sales
statements:
  - DELETE FROM daily_totals WHERE day = :day::date
  - INSERT INTO daily_totals SELECT day, sum(amount) FROM sales WHERE day = :day::date GROUP BY day
  - SELECT total FROM daily_totals WHERE day = :day::date
parameters: { day: \"2026-11-19\" }
fetch_rows: 1
";
    const GUARANTEE: &'static str = "An attempt commits once: a row with its token stands in the table \
         `trunkline_statement` of the database and is committed with it. After a lost answer that row is looked for, \
         and only where it is missing and no session of the attempt is left it is sent again.";
    const SECRETS: &'static [&'static str] = &["url"];
    type Config = SqlConfig;

    fn default_timeout(&self) -> Duration {
        DEFAULT_TIMEOUT
    }

    fn prepare(&self, config: &SqlConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let wrong = |message: String| Failure::new(ErrorClass::Config, message);
        let texts: Vec<&String> = match (&config.sql, config.statements.as_slice()) {
            (Some(sql), []) => vec![sql],
            (None, [_, ..]) => config.statements.iter().collect(),
            (Some(_), _) => return Err(wrong("sql, statements: say one of them, not both".into())),
            (None, []) => return Err(wrong("sql: say a statement, or several as `statements`".into())),
        };
        if texts.len() > STATEMENTS_MAX {
            let count = texts.len();
            return Err(wrong(format!(
                "statements: {count} of them, and a task takes at most {STATEMENTS_MAX}"
            )));
        }
        if let Some(rows) = config.fetch_rows.filter(|rows| !(1..=FETCH_ROWS_MAX).contains(rows)) {
            return Err(wrong(format!("fetch_rows: {rows} is not between 1 and {FETCH_ROWS_MAX}")));
        }
        postgres::check_address("url", &config.url)?;
        let statements = prepared(&texts, &config.parameters).map_err(wrong)?;
        let work = Work {
            url: config.url.clone(),
            statements,
            fetch_rows: config.fetch_rows,
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

    async fn send(&self, _clients: &Clients, intent: &Intent<'_>) -> Sent {
        match read(intent.request) {
            Ok(work) => transaction::run(work.attempt(&intent.request.token), &work).await,
            Err(failure) => Sent::Refused(failure),
        }
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
        match request.body["statements"].as_array().map(Vec::len) {
            Some(count) if count > 1 => format!("{count} statements in Postgres"),
            _ => "a statement in Postgres".to_owned(),
        }
    }

    fn needs(&self, _request: &Request, _place: &Place) -> Option<Needs> {
        // A database's own users and grants; nothing of IAM.
        Some(Needs::default())
    }
}

/// The statements with numbered places and their values; every parameter has to be used.
pub(crate) fn prepared(
    texts: &[&String],
    parameters: &BTreeMap<String, Parameter>,
) -> Result<Vec<Statement>, String> {
    let mut used: Vec<&str> = Vec::new();
    let mut statements = Vec::with_capacity(texts.len());
    for text in texts {
        if text.len() > SQL_BYTES_MAX {
            return Err(format!(
                "a statement has {} bytes, and at most {SQL_BYTES_MAX} are taken",
                text.len()
            ));
        }
        let (sql, names) = placeholders::numbered(text);
        if sql.trim().is_empty() {
            return Err("a statement is empty".into());
        }
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            let Some((known, value)) = parameters.get_key_value(&name) else {
                return Err(format!("`:{name}` stands in a statement and not among `parameters`"));
            };
            used.push(known);
            values.push(value.clone());
        }
        statements.push(Statement { sql, values });
    }
    match parameters.keys().find(|name| !used.contains(&name.as_str())) {
        Some(name) => Err(format!("parameters: no statement has `:{name}`")),
        None => Ok(statements),
    }
}

fn read(request: &Request) -> Result<Work, Failure> {
    Work::deserialize(&request.body).map_err(|error| {
        let text = format!("what was stored of this attempt cannot be read: {error}");
        Failure::new(ErrorClass::Config, text)
    })
}

/// Outputs of a transaction: how many rows each statement touched, and what was fetched.
fn outputs(touched: &[u64]) -> Outputs {
    let mut outputs = Outputs::new();
    outputs.insert("rows_affected".into(), touched.iter().sum::<u64>().into());
    if touched.len() > 1 {
        outputs.insert("by_statement".into(), touched.into());
    }
    outputs
}
