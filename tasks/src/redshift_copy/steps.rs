//! The statements that bring one table's rows from its files into it. Pure: texts from names.
//!
//! Only SQL that Redshift documents: no ON CONFLICT, which it does not have, and no MERGE, which fails where a key is
//! in the files twice.

use serde::{Deserialize, Serialize};

use super::CopyTable;
use crate::{
    load::{Mode, Partition},
    operator::Failure,
    postgres::names::{Table, listed, quoted},
    scalar::Parameter,
};

/// The place of a row among those of its key.
const RANK: &str = "trunkline_rank";
/// Whether a row is in the table already.
const KEPT: &str = "trunkline_kept";

/// Which of the transaction's statements are a table's, counted from 0, by what their row counts say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Steps {
    pub(super) first: usize,
    pub(super) copy: usize,
    /// Takes out what `where` does not let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) left_out: Option<usize>,
    /// Fails if a row has no value for a column that must have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) check: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deleted: Option<usize>,
    /// The last one.
    pub(super) inserted: usize,
}

/// A text as Redshift takes it, where a backslash escapes.
pub(super) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// The table that COPY fills.
pub(super) fn stage(place: usize) -> String {
    format!("trunkline_stage_{place}")
}

/// What stands in the place of a COPY from no objects.
pub(super) fn nothing(place: usize) -> String {
    format!("DELETE FROM {} WHERE 1 = 0", stage(place))
}

/// The statements of a table, of which the first will have this number. `copy` is what follows the name of the table.
pub(super) fn of(
    place: usize,
    table: &CopyTable,
    copy: String,
    first: usize,
) -> Result<(Vec<String>, Steps), Failure> {
    let target = Table::read(&table.table, "table")?;
    let columns: Vec<&str> = if table.json_paths.is_empty() {
        table.columns.iter().map(String::as_str).collect()
    } else {
        table.json_paths.keys().map(String::as_str).collect()
    };
    let filling = Filling {
        table,
        sql: target.sql(),
        name: quoted(target.name()),
        columns,
        stage: stage(place),
        place,
    };
    let mut all = Statements { first, list: Vec::new() };
    let mut steps = Steps { first, ..Steps::default() };
    all.push(filling.create());
    steps.copy = all.push(format!("COPY {} {copy}", filling.stage));
    if let Some(condition) = &table.condition {
        // Also of a condition that is neither true nor false.
        let delete =
            format!("DELETE FROM {} WHERE CASE WHEN ({condition}) THEN 0 ELSE 1 END = 1", filling.stage);
        steps.left_out = Some(all.push(delete));
    }
    steps.check = filling.check().map(|sql| all.push(sql));
    let (before, delete, insert) = filling.mode();
    if let Some(sql) = before {
        all.push(sql);
    }
    steps.deleted = delete.map(|sql| all.push(sql));
    steps.inserted = all.push(insert);
    Ok((all.list, steps))
}

struct Statements {
    first: usize,
    list: Vec<String>,
}

impl Statements {
    /// Its number.
    fn push(&mut self, sql: String) -> usize {
        self.list.push(sql);
        self.first + self.list.len() - 1
    }
}

struct Filling<'a> {
    table: &'a CopyTable,
    /// The target as SQL takes it, and the name that its columns are qualified with.
    sql: String,
    name: String,
    /// Those that the files bring; none where nobody said them, which means all of the table.
    columns: Vec<&'a str>,
    stage: String,
    place: usize,
}

impl Filling<'_> {
    fn listed(&self) -> String {
        if self.columns.is_empty() { "*".to_owned() } else { listed(self.columns.iter().copied()) }
    }

    /// With exactly the columns of the files, in their order, so that COPY needs no list of them; without the target's
    /// constraints, because a condition may leave out what they would refuse.
    fn create(&self) -> String {
        format!("CREATE TEMP TABLE {} AS SELECT {} FROM {} WHERE 1 = 0", self.stage, self.listed(), self.sql)
    }

    /// Redshift has no statement that fails on a condition; a text that is no number fails as one.
    fn check(&self) -> Option<String> {
        let needed = match &self.table.partition {
            Partition::Columns(names) if self.table.mode == Mode::ReplacePartition => names,
            _ => &self.table.key,
        };
        if needed.is_empty() {
            return None;
        }
        let is_null: Vec<String> = needed.iter().map(|name| format!("{} IS NULL", quoted(name))).collect();
        let said = text(&format!(" rows have no value for {}", needed.join(", ")));
        Some(format!(
            "SELECT CAST(CASE WHEN COUNT(*) = 0 THEN '0' ELSE CAST(COUNT(*) AS VARCHAR) || {said} END AS INTEGER) \
             FROM {} WHERE {}",
            self.stage,
            is_null.join(" OR ")
        ))
    }

    /// What comes first, what goes out of the table, and what goes in.
    fn mode(&self) -> (Option<String>, Option<String>, String) {
        let by_key = |from: &str| self.delete_same(&self.table.key, from);
        let rows = format!("trunkline_rows_{}", self.place);
        match self.table.mode {
            Mode::Append => (None, None, self.insert(&self.stage)),
            Mode::Replace => {
                // TRUNCATE would commit what came before it.
                (None, Some(format!("DELETE FROM {}", self.sql)), self.insert(&self.stage))
            }
            Mode::InsertMissing => (Some(self.choose(&rows)), None, self.insert(&rows)),
            Mode::Upsert | Mode::Merge => (Some(self.choose(&rows)), Some(by_key(&rows)), self.insert(&rows)),
            Mode::ReplacePartition => match &self.table.partition {
                Partition::Values(values) => {
                    let same = values.iter().map(|(name, value)| match constant(value) {
                        Some(value) => format!("{} = {value}", quoted(name)),
                        None => format!("{} IS NULL", quoted(name)),
                    });
                    let same = same.collect::<Vec<_>>().join(" AND ");
                    (None, Some(format!("DELETE FROM {} WHERE {same}", self.sql)), self.insert(&self.stage))
                }
                Partition::Columns(names) => {
                    let each = listed(names.iter().map(String::as_str));
                    let distinct =
                        format!("CREATE TEMP TABLE {rows} AS SELECT DISTINCT {each} FROM {}", self.stage);
                    let delete = self.delete_same(names, &rows);
                    (Some(distinct), Some(delete), self.insert(&self.stage))
                }
            },
        }
    }

    fn delete_same(&self, names: &[String], from: &str) -> String {
        format!("DELETE FROM {} USING {from} WHERE {}", self.sql, self.same(names, from))
    }

    fn same(&self, names: &[String], other: &str) -> String {
        let same = names.iter().map(|name| format!("{}.{1} = {other}.{1}", self.name, quoted(name)));
        same.collect::<Vec<_>>().join(" AND ")
    }

    fn insert(&self, from: &str) -> String {
        if self.columns.is_empty() {
            return format!("INSERT INTO {} SELECT * FROM {from}", self.sql);
        }
        let (mut names, mut values) = (self.listed(), self.listed());
        if let Partition::Values(constants) = &self.table.partition {
            for (name, value) in constants {
                names.push_str(&format!(", {}", quoted(name)));
                values.push_str(&format!(", {}", constant(value).unwrap_or_else(|| "NULL".to_owned())));
            }
        }
        format!("INSERT INTO {} ({names}) SELECT {values} FROM {from}", self.sql)
    }

    /// One row for each key, of those that have to go in: the newest; of equals the one whose columns sort last, so that
    /// neither the order of files nor that of loads matters. With `merge` the rows of the table compete.
    fn choose(&self, rows: &str) -> String {
        let (names, key) = (self.listed(), listed(self.table.key.iter().map(String::as_str)));
        let newest = self.table.newest.as_deref();
        let others = self
            .columns
            .iter()
            .copied()
            .filter(|name| Some(*name) != newest && !self.table.key.iter().any(|key| key == name));
        let mut order: Vec<String> = newest
            .into_iter()
            .chain(others)
            .map(|name| format!("{} DESC NULLS LAST", quoted(name)))
            .collect();
        let stage = &self.stage;
        let source = match self.table.mode {
            Mode::Merge => {
                order.push(format!("{KEPT} DESC"));
                let own: Vec<String> =
                    self.columns.iter().map(|name| format!("{}.{}", self.name, quoted(name))).collect();
                format!(
                    "(SELECT {names}, 0 AS {KEPT} FROM {stage} UNION ALL SELECT {}, 1 FROM {} JOIN \
                     (SELECT DISTINCT {key} FROM {stage}) AS keys ON {}) AS both_sides",
                    own.join(", "),
                    self.sql,
                    self.same(&self.table.key, "keys")
                )
            }
            _ => stage.clone(),
        };
        if order.is_empty() {
            order.push(key.clone());
        }
        let ranked = format!(
            "(SELECT {names}{}, ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY {}) AS {RANK} FROM {source}) AS ranked",
            if self.table.mode == Mode::Merge { format!(", {KEPT}") } else { String::new() },
            order.join(", ")
        );
        let make = format!("CREATE TEMP TABLE {rows} AS SELECT");
        match self.table.mode {
            Mode::Merge => format!("{make} {names} FROM {ranked} WHERE {RANK} = 1 AND {KEPT} = 0"),
            Mode::InsertMissing => {
                let of_rows: Vec<String> =
                    self.columns.iter().map(|name| format!("ranked.{}", quoted(name))).collect();
                let missing = self.table.key.first().map(|name| quoted(name)).unwrap_or_default();
                format!(
                    "{make} {} FROM {ranked} LEFT JOIN {} ON {} WHERE ranked.{RANK} = 1 AND {}.{missing} IS NULL",
                    of_rows.join(", "),
                    self.sql,
                    self.same(&self.table.key, "ranked"),
                    self.name
                )
            }
            _ => format!("{make} {names} FROM {ranked} WHERE {RANK} = 1"),
        }
    }
}

/// A value of a partition; none for no value.
fn constant(value: &Parameter) -> Option<String> {
    Some(match value {
        Parameter::Boolean(value) => value.to_string().to_uppercase(),
        Parameter::Integer(value) => value.to_string(),
        Parameter::Number(value) => value.to_string(),
        Parameter::Text(value) => text(value),
        Parameter::Null => return None,
    })
}
