//! The statements of a script, taken apart. Queries inside them are left to the engine.

use crate::catalog::Column;
use trunkline_query::sql_cursor::Cursor;

/// The settings that `SET` knows.
const SETTINGS: [&str; 3] = ["report", "quarantine", "on_missing_table"];

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    Set { name: String, value: String },
    TypedView { name: String, columns: Vec<Column>, keys: Vec<String>, database: String, table: String },
    View { name: String, query: String },
    Insert(Insert),
    Warn { query: String },
}

/// `INSERT OVERWRITE DIRECTORY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Insert {
    /// URI of the folder.
    pub target: String,
    /// Partition columns.
    pub keys: Vec<String>,
    /// Which partitions are replaced; all if there is none.
    pub replace: Option<String>,
    /// The rows.
    pub query: String,
}

impl Statement {
    /// A line for the run's log.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Set { name, value } => format!("SET {name} = '{value}'"),
            Self::TypedView { name, database, table, .. } => format!("VIEW {name} of {database}.{table}"),
            Self::View { name, .. } => format!("VIEW {name}"),
            Self::Insert(insert) => format!("INSERT OVERWRITE {}", insert.target),
            Self::Warn { .. } => "WARN".to_owned(),
        }
    }
}

/// Takes a statement apart.
pub(super) fn parse(text: &str) -> Result<Statement, String> {
    let mut cursor = Cursor::new(text);
    let first = cursor.peek().map(|token| token.text.to_uppercase()).unwrap_or_default();
    match first.as_str() {
        "SET" => set(&mut cursor),
        "CREATE" => create(&mut cursor),
        "INSERT" => insert(&mut cursor),
        "WARN" => {
            cursor.word("WARN")?;
            Ok(Statement::Warn { query: cursor.query()? })
        }
        other => Err(format!(
            "a script's statements are SET, CREATE TEMPORARY VIEW, INSERT OVERWRITE DIRECTORY and WARN, not `{other}`"
        )),
    }
}

fn set(cursor: &mut Cursor<'_>) -> Result<Statement, String> {
    cursor.word("SET")?;
    let name = cursor.name()?.to_lowercase();
    if !SETTINGS.contains(&name.as_str()) {
        return Err(format!("unknown setting {name}; there are {}", SETTINGS.join(", ")));
    }
    cursor.symbol("=")?;
    let value = cursor.text()?;
    cursor.end()?;
    if name == "on_missing_table" && !["fail", "empty"].contains(&value.as_str()) {
        return Err(format!("on_missing_table is 'fail' or 'empty', not '{value}'"));
    }
    Ok(Statement::Set { name, value })
}

fn create(cursor: &mut Cursor<'_>) -> Result<Statement, String> {
    cursor.word("CREATE")?;
    if cursor.accept_word("OR") {
        cursor.word("REPLACE")?;
    }
    if !cursor.accept_word("TEMP") {
        cursor.word("TEMPORARY")?;
    }
    cursor.word("VIEW")?;
    let name = cursor.name()?.to_lowercase();
    if cursor.accept_word("AS") {
        return Ok(Statement::View { name, query: cursor.query()? });
    }
    let columns = columns(cursor)?;
    let keys = partitioned_by(cursor)?;
    cursor.word("USING")?;
    cursor.word("glue")?;
    cursor.word("OPTIONS")?;
    cursor.symbol("(")?;
    let (mut database, mut table) = (None, None);
    loop {
        let option = cursor.name()?.to_lowercase();
        let value = cursor.text()?;
        match option.as_str() {
            "database" => database = Some(value),
            "table" => table = Some(value),
            other => return Err(format!("unknown option {other}; there are database and table")),
        }
        if !cursor.accept_symbol(",") {
            break;
        }
    }
    cursor.symbol(")")?;
    cursor.end()?;
    let database = database.ok_or("the option database is missing")?;
    let table = table.ok_or("the option table is missing")?;
    Ok(Statement::TypedView { name, columns, keys, database, table })
}

fn columns(cursor: &mut Cursor<'_>) -> Result<Vec<Column>, String> {
    cursor.symbol("(")?;
    let mut columns = Vec::new();
    loop {
        let name = cursor.name()?.to_lowercase();
        let hive_type = cursor.type_text()?;
        trunkline_query::types::arrow_type(&hive_type).map_err(|error| format!("column {name}: {error}"))?;
        columns.push(Column::new(name, hive_type));
        if !cursor.accept_symbol(",") {
            break;
        }
    }
    cursor.symbol(")")?;
    Ok(columns)
}

fn partitioned_by(cursor: &mut Cursor<'_>) -> Result<Vec<String>, String> {
    let mut keys = Vec::new();
    if cursor.accept_word("PARTITIONED") {
        cursor.word("BY")?;
        cursor.symbol("(")?;
        loop {
            keys.push(cursor.name()?.to_lowercase());
            if !cursor.accept_symbol(",") {
                break;
            }
        }
        cursor.symbol(")")?;
    }
    Ok(keys)
}

fn insert(cursor: &mut Cursor<'_>) -> Result<Statement, String> {
    cursor.word("INSERT")?;
    cursor.word("OVERWRITE")?;
    cursor.word("DIRECTORY")?;
    let target = cursor.text()?;
    cursor.word("USING")?;
    cursor.word("PARQUET")?;
    let keys = partitioned_by(cursor)?;
    let mut replace = None;
    if cursor.accept_word("REPLACE") {
        cursor.word("WHERE")?;
        replace = Some(cursor.until_query()?);
        if keys.is_empty() {
            return Err("REPLACE WHERE needs PARTITIONED BY".to_owned());
        }
    }
    Ok(Statement::Insert(Insert { target, keys, replace, query: cursor.query()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_statements_apart() {
        let script = [
            "SET report = 's3://b/r.json'",
            "CREATE TEMPORARY VIEW raw (Id BIGINT, `a b` STRING, n DECIMAL(10,2), s STRUCT<x: INT>)
             PARTITIONED BY (partition_0, partition_1) USING glue OPTIONS (database 'd', table 't')",
            "CREATE OR REPLACE TEMP VIEW v AS WITH x AS (SELECT 1) SELECT * FROM x",
            "INSERT OVERWRITE DIRECTORY 's3://b/o/' USING PARQUET PARTITIONED BY (y, m)
             REPLACE WHERE y = substring('2026', 1, 4) AND m IN (SELECT 1) SELECT a, y, m FROM v",
            "WARN SELECT 'x'",
        ];
        let parsed: Vec<_> = script.iter().map(|text| parse(text)).collect();
        insta::assert_debug_snapshot!(parsed);
    }

    #[test]
    fn refuses_the_rest_by_name() {
        let cases = [
            "DROP TABLE t",
            "SET spark.x = '1'",
            "SET on_missing_table = 'maybe'",
            "CREATE TABLE t AS SELECT 1",
            "CREATE TEMPORARY VIEW v (a UUID) USING glue OPTIONS (database 'd', table 't')",
            "CREATE TEMPORARY VIEW v (a INT) USING csv OPTIONS (path 'x')",
            "INSERT INTO t SELECT 1",
            "INSERT OVERWRITE DIRECTORY 's3://b/' USING PARQUET REPLACE WHERE a = 1 SELECT 1",
            "INSERT OVERWRITE DIRECTORY 's3://b/' USING PARQUET VALUES (1)",
            "SET report = 's3://b/r' 'x'",
            "WARN",
        ];
        let errors: Vec<_> =
            cases.iter().map(|text| format!("{text}\n  {}", parse(text).unwrap_err())).collect();
        insta::assert_snapshot!(errors.join("\n"));
    }
}
