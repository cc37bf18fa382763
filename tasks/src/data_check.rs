//! `data_check`: looks whether the rows of a Postgres table are as they should be, and warns or fails.
//!
//! **Safe start**: it only reads, in one transaction that sees one snapshot, so it is simply done again after a lost
//! answer.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Needs, Place},
    clients::Clients,
    duration::HumanDuration,
    operator::{ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Request, Sent, Status},
    postgres::{self, names::Table},
    registry::Options,
    scalar::Parameter,
    sql::{self, Statement},
};

mod look;
mod questions;

#[cfg(test)]
mod tests;

/// The longest that one attempt may take where the task names no `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Most checks of one task.
const CHECKS_MAX: usize = 100;

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct DataCheck;

/// Settings of a `data_check` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataCheckConfig {
    /// The database, `postgresql://user@host:5432/name`. With a password it has to be a secret: `{{ secrets.warehouse }}`.
    pub url: String,
    /// The table that is looked at, `name` or `schema.name`; a view is as good.
    pub table: String,
    /// Which of its rows: an SQL condition, such as `day = :day::date`. All without it.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// What must be true. All are looked at, whatever the first one says.
    pub checks: Vec<Check>,
    /// Values for `:name` in `where` and `sql`. They are bound, so none can become SQL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Parameter>,
}

/// One check: exactly one of `rows`, `fresh`, `unique`, `not_null` and `sql`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// How many rows there must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
    /// How old the newest row may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh: Option<Fresh>,
    /// Columns whose values together occur once at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<String>,
    /// Columns that have a value in every row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_null: Vec<String>,
    /// A SELECT of rows that must not be; a `file:sql/name.sql` as well. It does not see `where`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// What it is about, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What becomes of the task where it is not true.
    #[serde(default)]
    pub severity: Severity,
}

/// Bounds of a number of rows.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// At least so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// How old the newest row may be.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fresh {
    /// A column of times or dates.
    pub column: String,
    /// So old at most: `1d`.
    pub within: HumanDuration,
    /// Seen from this moment, such as `{{ data_interval_end }}`; without it from now, by the database's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// What becomes of the task where a check is not true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It fails.
    #[default]
    Fail,
    /// It succeeds with a warning.
    Warn,
}

/// What a request holds, beside the token.
#[derive(Debug, Deserialize, Serialize)]
struct Work {
    url: String,
    table: String,
    questions: Vec<Question>,
    timeout_seconds: u64,
}

/// A check as it is asked: the statement gives a number of rows, and an example.
#[derive(Debug, Deserialize, Serialize)]
struct Question {
    name: String,
    statement: Statement,
    wanted: Wanted,
    severity: Severity,
}

/// Which number is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    /// None: each is a mistake.
    None,
    /// So many.
    Between { min: Option<u64>, max: Option<u64> },
}

impl DataCheck {
    /// It needs nothing of the options.
    pub fn new(_options: &Options) -> Self {
        Self
    }
}

impl Operator for DataCheck {
    const TYPE: &'static str = "data_check";
    const EXAMPLE: &'static str = "\
type: data_check
url: postgresql://etl@warehouse.example.com/sales
table: sale
where: day = :day::date
checks:
  - { rows: { min: 1 } }
  - { unique: [sale_id] }
  - { not_null: [customer_id, amount] }
  - { fresh: { column: changed_at, within: 1d }, severity: warn }
  - { name: no sale without its customer, sql: SELECT sale_id FROM sale LEFT JOIN customer c USING (customer_id) WHERE c.name IS NULL }
parameters: { day: \"2026-11-19\" }
";
    const GUARANTEE: &'static str = "It only reads, in one snapshot, and is repeated after a lost answer.";
    const SECRETS: &'static [&'static str] = &["url"];
    type Config = DataCheckConfig;

    fn default_timeout(&self) -> Duration {
        DEFAULT_TIMEOUT
    }

    fn prepare(&self, config: &DataCheckConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        postgres::check_address("url", &config.url)?;
        let table = Table::read(&config.table, "table")?;
        if config.checks.is_empty() || config.checks.len() > CHECKS_MAX {
            let count = config.checks.len();
            return Err(wrong(format!("checks: {count} of them, and a task takes 1 to {CHECKS_MAX}")));
        }
        let asked = questions::asked(&table, config)?;
        let texts: Vec<&String> = asked.iter().map(|asked| &asked.sql).collect();
        let statements = sql::prepared(&texts, &config.parameters).map_err(wrong)?;
        let question = |(asked, statement): (&questions::Asked, Statement)| Question {
            name: asked.name.clone(),
            statement,
            wanted: asked.wanted,
            severity: asked.severity,
        };
        let work = Work {
            url: config.url.clone(),
            table: config.table.clone(),
            questions: asked.iter().zip(statements).map(question).collect(),
            timeout_seconds: cx.timeout.as_secs().max(1),
        };
        let body = serde_json::to_value(work).map_err(|error| wrong(error.to_string()))?;
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    fn start_limit(&self, request: &Request) -> Duration {
        postgres::send_limit(request)
    }

    async fn send(&self, _clients: &Clients, intent: &Intent<'_>) -> Sent {
        let work = Work::deserialize(&intent.request.body)
            .map_err(|error| wrong(format!("what was stored of this attempt cannot be read: {error}")));
        let looked = match work {
            Ok(work) => look::look(&work, &intent.request.token).await,
            Err(failure) => Err(failure),
        };
        match looked {
            Ok(outcome) => Sent::Done(outcome),
            Err(failure) if postgres::failure::passes(&failure) => Sent::Throttled(failure),
            Err(failure) => Sent::Refused(failure),
        }
    }

    async fn find(&self, _clients: &Clients, _intent: &Intent<'_>) -> Found {
        Found::SafeToRepeat
    }

    async fn poll(&self, _clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        postgres::nothing_to_ask(handles)
    }

    async fn cancel(&self, _clients: &Clients, _handle: &Handle) -> Result<(), Failure> {
        Ok(())
    }

    fn label(&self, request: &Request) -> String {
        format!("checks of {}", request.body["table"].as_str().unwrap_or_default())
    }

    fn needs(&self, _request: &Request, _place: &Place) -> Option<Needs> {
        // A database's own users and grants; nothing of IAM.
        Some(Needs::default())
    }
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}
