//! `replace`: what a task says about the table that its query's result becomes, and the
//! statement that builds the new data. Pure; the work after the query stands in `repoint.rs`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AthenaQueryConfig, request::first_word};
use crate::{
    aws::address::Address,
    operator::{ErrorClass, Failure, PrepareContext},
    scalar::Scalar,
};

/// Most partition columns; tables have one to five.
const KEYS_MAX: usize = 20;

/// Settings of `replace`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// The table, `name` or `database.name`. If there is none yet, it is made.
    pub table: String,
    /// What is replaced.
    pub how: How,
    /// An S3 prefix that belongs to this table alone. Each attempt builds its data in a folder of its own below it.
    pub location: String,
    /// The table's partition columns in order; the query's last columns. At most 100 partitions can be built by one
    /// query (a limit of Athena).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitioned_by: Vec<String>,
    /// The one partition that this task fills, e.g. `{ day: "2026-11-19" }`: rows of any other fail the task before
    /// anything is replaced, and an empty result that is allowed empties it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partition: BTreeMap<String, Scalar>,
    /// What becomes of the data that the table showed before.
    #[serde(default)]
    pub old_data: OldData,
    /// Allows a result without rows. Otherwise it fails the task, and the table stays as it was.
    #[serde(default)]
    pub allow_empty: bool,
}

/// What a query's result takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The whole table: it is pointed to the new data and takes the columns of the query. Of a table with
    /// partitions, the partitions that the result does not have are gone.
    Swap,
    /// The partitions that the result has; all others stay.
    Partition,
}

/// What becomes of the data that a table showed before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OldData {
    /// What lies below `location` is deleted once the table shows the new data; what lies elsewhere is kept.
    #[default]
    Remove,
    /// Everything is kept.
    Keep,
}

/// The checked settings with the names of one attempt, as they stand in the request and in the handle.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Plan {
    pub(super) database: String,
    pub(super) table: String,
    pub(super) how: How,
    /// `location` with its slash.
    pub(super) root: String,
    /// Where this attempt builds.
    pub(super) fresh: String,
    /// The table over the new data while it is built: also the journal of the replacing.
    pub(super) journal: String,
    pub(super) keys: Vec<String>,
    /// The values of `partition` in the order of the keys; empty if the task names none.
    pub(super) values: Vec<String>,
    pub(super) old_data: OldData,
    pub(super) allow_empty: bool,
}

impl Plan {
    /// Checks the settings and names what belongs to this attempt.
    pub(super) fn of(config: &AthenaQueryConfig, cx: &PrepareContext<'_>) -> Result<Option<Self>, Failure> {
        let Some(replace) = &config.replace else { return Ok(None) };
        if config.fetch_rows.is_some() {
            return Err(wrong("fetch_rows: a query that replaces a table gives no rows back".into()));
        }
        if config.catalog.as_deref().is_some_and(|name| !name.eq_ignore_ascii_case("awsdatacatalog")) {
            return Err(wrong("replace: only tables of the catalog AwsDataCatalog can be replaced".into()));
        }
        if let Some(key) =
            ["QueryString", "ResultReuseConfiguration"].iter().find(|key| config.request.contains_key(**key))
        {
            return Err(wrong(format!("request: `{key}` cannot be set for a query that replaces a table")));
        }
        let (database, table) = table_of(replace, config.database.as_deref())?;
        let keys = keys_of(replace)?;
        let values = values_of(replace, &keys)?;
        let address = Address::prefix(&replace.location, "replace.location")?;
        if address.key.trim_matches('/').is_empty() {
            return Err(wrong(format!(
                "replace.location: `{}` is a whole bucket: name a prefix of the table alone",
                replace.location
            )));
        }
        if replace.location.contains(['\'', '\n']) {
            return Err(wrong(format!(
                "replace.location: `{}` has a quote or a line break",
                replace.location
            )));
        }
        let root = format!("{}/", replace.location.trim_end_matches('/'));
        let attempt = cx.attempt_id;
        Ok(Some(Self {
            fresh: format!("{root}{attempt}/"),
            journal: format!("trunkline_{}", attempt.simple()),
            database,
            table,
            how: replace.how,
            root,
            keys,
            values,
            old_data: replace.old_data,
            allow_empty: replace.allow_empty,
        }))
    }

    /// The table as people name it.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.database, self.table)
    }

    /// The statement that builds the new data.
    pub(super) fn build_statement(&self, query: &str) -> Result<String, Failure> {
        match first_word(query).as_str() {
            "SELECT" | "WITH" | "VALUES" | "TABLE" => {}
            word => {
                return Err(wrong(format!(
                    "query: with `replace`, the query is the SELECT whose rows the table gets, and this one begins \
                     with `{word}`; leave CREATE TABLE … AS or INSERT INTO away"
                )));
            }
        }
        let mut properties =
            format!("format = 'PARQUET', write_compression = 'SNAPPY', external_location = '{}'", self.fresh);
        if !self.keys.is_empty() {
            let keys: Vec<_> = self.keys.iter().map(|key| format!("'{key}'")).collect();
            properties += &format!(", partitioned_by = ARRAY[{}]", keys.join(", "));
        }
        let (database, journal) = (&self.database, &self.journal);
        Ok(format!("CREATE TABLE \"{database}\".\"{journal}\" WITH ({properties}) AS\n{query}"))
    }
}

fn table_of(replace: &Replace, database: Option<&str>) -> Result<(String, String), Failure> {
    let (database, table) = match (replace.table.split_once('.'), database) {
        (Some((database, table)), _) => (database, table),
        (None, Some(database)) => (database, replace.table.as_str()),
        (None, None) => {
            return Err(wrong(format!(
                "replace.table: `{}` names no database: write database.table, or set `database`",
                replace.table
            )));
        }
    };
    for name in [database, table] {
        if !is_name(name) {
            return Err(wrong(format!("replace.table: `{name}` is no name of a database or table")));
        }
    }
    // The catalog keeps names in lower case.
    Ok((database.to_lowercase(), table.to_lowercase()))
}

fn keys_of(replace: &Replace) -> Result<Vec<String>, Failure> {
    let keys: Vec<String> = replace.partitioned_by.iter().map(|key| key.to_lowercase()).collect();
    if let Some(key) = keys.iter().find(|key| !is_name(key)) {
        return Err(wrong(format!("replace.partitioned_by: `{key}` is no name of a column")));
    }
    if keys.len() > KEYS_MAX {
        return Err(wrong(format!(
            "replace.partitioned_by: {} columns, at most {KEYS_MAX} are taken",
            keys.len()
        )));
    }
    if keys.is_empty() && replace.how == How::Partition {
        return Err(wrong(
            "replace.partitioned_by: `how: partition` needs the table's partition columns".into(),
        ));
    }
    Ok(keys)
}

fn values_of(replace: &Replace, keys: &[String]) -> Result<Vec<String>, Failure> {
    if replace.partition.is_empty() {
        return Ok(Vec::new());
    }
    if replace.how != How::Partition {
        return Err(wrong("replace.partition: goes with `how: partition` only".into()));
    }
    let value = |key: &String| {
        let found = replace.partition.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map(|(_, value)| value.0.clone())
    };
    let values: Option<Vec<String>> = keys.iter().map(value).collect();
    values.filter(|values| values.len() == replace.partition.len()).ok_or_else(|| {
        wrong(format!(
            "replace.partition: give a value to each of the columns {}, and to no other",
            keys.join(", ")
        ))
    })
}

/// Names that need no quoting rules of their own: what Athena recommends.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    !name.is_empty() && name.len() <= 255 && name.chars().all(fits)
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}
