//! What a statement is, and the statements other than queries taken apart.

use crate::catalog::Column;
use trunkline_query::sql_cursor::Cursor;
use trunkline_query::sql_text::meaningful;

/// What a statement is, from its first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Insert,
    CreateAs,
    Definition,
    Utility,
}

impl Kind {
    /// Athena's `StatementType`.
    pub(super) fn statement_type(self) -> &'static str {
        match self {
            Self::Query | Self::Insert => "DML",
            Self::CreateAs | Self::Definition => "DDL",
            Self::Utility => "UTILITY",
        }
    }

    /// The ending of the result object.
    pub(super) fn result_ending(self) -> &'static str {
        match self {
            Self::Query => ".csv",
            Self::Insert | Self::CreateAs => "",
            Self::Definition | Self::Utility => ".txt",
        }
    }
}

/// What a statement is.
pub(super) fn kind_of(sql: &str) -> Kind {
    let words: Vec<String> = meaningful(sql).iter().take(3).map(|token| token.text.to_uppercase()).collect();
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    match (word(0), word(1)) {
        ("INSERT", _) => Kind::Insert,
        ("CREATE", "TABLE") => Kind::CreateAs,
        ("CREATE" | "DROP" | "ALTER" | "MSCK", _) => Kind::Definition,
        ("SHOW" | "DESCRIBE" | "EXPLAIN", _) => Kind::Utility,
        _ => Kind::Query,
    }
}

/// A table name: the database if it is given, and the table.
pub(super) type TableName = (Option<String>, String);

/// A partition: keys with values, and its own location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub values: Vec<(String, String)>,
    pub location: Option<String>,
}

/// `CREATE EXTERNAL TABLE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CreateTable {
    pub name: TableName,
    pub if_not_exists: bool,
    pub columns: Vec<Column>,
    pub keys: Vec<Column>,
    pub serde: Option<String>,
    pub serde_properties: Vec<(String, String)>,
    /// `PARQUET`, `TEXTFILE` or the input format's class.
    pub stored_as: Option<String>,
    pub location: String,
    pub properties: Vec<(String, String)>,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    Query(String),
    CreateDatabase { name: String, if_not_exists: bool },
    DropDatabase { name: String, if_exists: bool, cascade: bool },
    CreateTable(CreateTable),
    CreateTableAs { name: TableName, if_not_exists: bool, properties: Vec<(String, String)>, query: String },
    InsertInto { name: TableName, query: String },
    DropTable { name: TableName, if_exists: bool },
    RepairTable { name: TableName },
    AddPartitions { name: TableName, if_not_exists: bool, partitions: Vec<Partition> },
    DropPartitions { name: TableName, if_exists: bool, partitions: Vec<Partition> },
    ShowDatabases,
    ShowTables { database: Option<String>, pattern: Option<String> },
    ShowPartitions { name: TableName },
}

/// Takes a statement apart; the error is a text for people.
pub(super) fn parse(sql: &str) -> Result<Statement, String> {
    let text = sql.trim_end().trim_end_matches(';');
    let mut cursor = Cursor::new(text);
    let cursor = &mut cursor;
    let statement = if cursor.accept_words(&["CREATE", "EXTERNAL", "TABLE"]) {
        create_table(cursor)?
    } else if cursor.accept_words(&["CREATE", "TABLE"]) {
        return create_table_as(cursor);
    } else if cursor.accept_words(&["CREATE", "DATABASE"]) || cursor.accept_words(&["CREATE", "SCHEMA"]) {
        let if_not_exists = cursor.accept_words(&["IF", "NOT", "EXISTS"]);
        let name = cursor.name()?;
        if cursor.accept_word("COMMENT") || cursor.accept_word("LOCATION") {
            cursor.text()?;
        }
        Statement::CreateDatabase { name, if_not_exists }
    } else if cursor.accept_words(&["DROP", "DATABASE"]) || cursor.accept_words(&["DROP", "SCHEMA"]) {
        let if_exists = cursor.accept_words(&["IF", "EXISTS"]);
        let name = cursor.name()?;
        let cascade = cursor.accept_word("CASCADE");
        cursor.accept_word("RESTRICT");
        Statement::DropDatabase { name, if_exists, cascade }
    } else if cursor.accept_words(&["DROP", "TABLE"]) {
        let if_exists = cursor.accept_words(&["IF", "EXISTS"]);
        Statement::DropTable { name: table_name(cursor)?, if_exists }
    } else if cursor.accept_words(&["INSERT", "INTO"]) {
        let name = table_name(cursor)?;
        return Ok(Statement::InsertInto { name, query: cursor.query()? });
    } else if cursor.accept_words(&["MSCK", "REPAIR", "TABLE"]) {
        Statement::RepairTable { name: table_name(cursor)? }
    } else if cursor.accept_words(&["ALTER", "TABLE"]) {
        alter_table(cursor)?
    } else if cursor.accept_word("SHOW") {
        show(cursor)?
    } else {
        return other(cursor, text);
    };
    cursor.end()?;
    Ok(statement)
}

fn other(cursor: &Cursor<'_>, text: &str) -> Result<Statement, String> {
    let first = cursor.peek().map(|token| token.text.to_uppercase()).unwrap_or_default();
    match first.as_str() {
        "SELECT" | "WITH" | "VALUES" | "(" => Ok(Statement::Query(text.to_owned())),
        _ => {
            let words: Vec<_> =
                meaningful(text).iter().take(2).map(|token| token.text.to_uppercase()).collect();
            Err(format!("NOT_SUPPORTED: the sandbox's Athena does not run {} statements", words.join(" ")))
        }
    }
}

fn table_name(cursor: &mut Cursor<'_>) -> Result<TableName, String> {
    let mut parts = vec![cursor.name()?];
    while cursor.accept_symbol(".") {
        parts.push(cursor.name()?);
    }
    let table = parts.pop().unwrap_or_default().to_lowercase();
    let database = parts.pop().map(|name| name.to_lowercase());
    match parts.pop() {
        Some(catalog) if !catalog.eq_ignore_ascii_case("awsdatacatalog") => {
            Err(format!("Catalog '{catalog}' does not exist"))
        }
        _ => Ok((database, table)),
    }
}

fn columns(cursor: &mut Cursor<'_>) -> Result<Vec<Column>, String> {
    cursor.symbol("(")?;
    let mut columns = Vec::new();
    loop {
        let name = cursor.name()?.to_lowercase();
        let typed = cursor.type_text()?;
        // A comment is not part of the type.
        let hive_type = typed.split(" comment ").next().unwrap_or(&typed).trim().to_owned();
        trunkline_query::types::arrow_type(&hive_type).map_err(|error| format!("column {name}: {error}"))?;
        columns.push(Column::new(name, hive_type));
        if !cursor.accept_symbol(",") {
            break;
        }
    }
    cursor.symbol(")")?;
    Ok(columns)
}

fn properties(cursor: &mut Cursor<'_>) -> Result<Vec<(String, String)>, String> {
    cursor.symbol("(")?;
    let mut properties = Vec::new();
    loop {
        let name = cursor.text()?;
        cursor.symbol("=")?;
        properties.push((name, cursor.text()?));
        if !cursor.accept_symbol(",") {
            break;
        }
    }
    cursor.symbol(")")?;
    Ok(properties)
}

fn create_table(cursor: &mut Cursor<'_>) -> Result<Statement, String> {
    let mut table = CreateTable {
        if_not_exists: cursor.accept_words(&["IF", "NOT", "EXISTS"]),
        ..CreateTable::default()
    };
    table.name = table_name(cursor)?;
    table.columns = columns(cursor)?;
    loop {
        if cursor.accept_word("COMMENT") {
            cursor.text()?;
        } else if cursor.accept_words(&["PARTITIONED", "BY"]) {
            table.keys = columns(cursor)?;
        } else if cursor.accept_words(&["ROW", "FORMAT", "SERDE"]) {
            table.serde = Some(cursor.text()?);
        } else if cursor.accept_words(&["WITH", "SERDEPROPERTIES"]) {
            table.serde_properties = properties(cursor)?;
        } else if cursor.accept_words(&["ROW", "FORMAT", "DELIMITED"]) {
            table.serde = Some("org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe".to_owned());
            delimited(cursor, &mut table.serde_properties)?;
        } else if cursor.accept_words(&["STORED", "AS", "INPUTFORMAT"]) {
            table.stored_as = Some(cursor.text()?);
            cursor.word("OUTPUTFORMAT")?;
            cursor.text()?;
        } else if cursor.accept_words(&["STORED", "AS"]) {
            table.stored_as = Some(cursor.name()?.to_uppercase());
        } else if cursor.accept_word("LOCATION") {
            table.location = cursor.text()?;
        } else if cursor.accept_word("TBLPROPERTIES") {
            table.properties = properties(cursor)?;
        } else {
            break;
        }
    }
    if table.location.is_empty() {
        return Err("LOCATION is missing".to_owned());
    }
    Ok(Statement::CreateTable(table))
}

fn delimited(cursor: &mut Cursor<'_>, properties: &mut Vec<(String, String)>) -> Result<(), String> {
    loop {
        if cursor.accept_words(&["FIELDS", "TERMINATED", "BY"]) {
            properties.push(("field.delim".to_owned(), cursor.text()?));
        } else if cursor.accept_words(&["ESCAPED", "BY"]) {
            properties.push(("escape.delim".to_owned(), cursor.text()?));
        } else if cursor.accept_words(&["LINES", "TERMINATED", "BY"]) {
            let lines = cursor.text()?;
            if lines != "\\n" && lines != "\n" {
                return Err("LINES TERMINATED BY can only be '\\n'".to_owned());
            }
        } else {
            return Ok(());
        }
    }
}

fn create_table_as(cursor: &mut Cursor<'_>) -> Result<Statement, String> {
    let if_not_exists = cursor.accept_words(&["IF", "NOT", "EXISTS"]);
    let name = table_name(cursor)?;
    let mut properties = Vec::new();
    if cursor.accept_word("WITH") {
        cursor.symbol("(")?;
        loop {
            let property = cursor.name()?.to_lowercase();
            cursor.symbol("=")?;
            properties.push((property, property_value(cursor)?));
            if !cursor.accept_symbol(",") {
                break;
            }
        }
        cursor.symbol(")")?;
    }
    if !cursor.accept_word("AS") {
        return Err(format!("{}; CREATE TABLE needs AS SELECT, or EXTERNAL", cursor.expected("AS")));
    }
    Ok(Statement::CreateTableAs { name, if_not_exists, properties, query: cursor.query()? })
}

/// A property of CTAS: a text, a word, or `ARRAY['a', 'b']`, which is given back joined by commas.
fn property_value(cursor: &mut Cursor<'_>) -> Result<String, String> {
    if cursor.accept_word("ARRAY") {
        cursor.symbol("[")?;
        let mut items = Vec::new();
        while !cursor.accept_symbol("]") {
            items.push(cursor.text()?);
            cursor.accept_symbol(",");
        }
        return Ok(items.join(","));
    }
    cursor.text().or_else(|_| cursor.name())
}

fn alter_table(cursor: &mut Cursor<'_>) -> Result<Statement, String> {
    let name = table_name(cursor)?;
    if cursor.accept_word("ADD") {
        let if_not_exists = cursor.accept_words(&["IF", "NOT", "EXISTS"]);
        return Ok(Statement::AddPartitions { name, if_not_exists, partitions: partitions(cursor)? });
    }
    if cursor.accept_word("DROP") {
        let if_exists = cursor.accept_words(&["IF", "EXISTS"]);
        return Ok(Statement::DropPartitions { name, if_exists, partitions: partitions(cursor)? });
    }
    Err("NOT_SUPPORTED: the sandbox's Athena alters tables only by ADD PARTITION and DROP PARTITION"
        .to_owned())
}

fn partitions(cursor: &mut Cursor<'_>) -> Result<Vec<Partition>, String> {
    let mut found = Vec::new();
    while cursor.accept_word("PARTITION") {
        cursor.symbol("(")?;
        let mut values = Vec::new();
        loop {
            let key = cursor.name()?.to_lowercase();
            cursor.symbol("=")?;
            values.push((key, cursor.text().or_else(|_| cursor.name())?));
            if !cursor.accept_symbol(",") {
                break;
            }
        }
        cursor.symbol(")")?;
        let location = if cursor.accept_word("LOCATION") { Some(cursor.text()?) } else { None };
        found.push(Partition { values, location });
        cursor.accept_symbol(",");
    }
    if found.is_empty() { Err(cursor.expected("PARTITION")) } else { Ok(found) }
}

fn show(cursor: &mut Cursor<'_>) -> Result<Statement, String> {
    if cursor.accept_word("DATABASES") || cursor.accept_word("SCHEMAS") {
        return Ok(Statement::ShowDatabases);
    }
    if cursor.accept_word("PARTITIONS") {
        return Ok(Statement::ShowPartitions { name: table_name(cursor)? });
    }
    if cursor.accept_word("TABLES") {
        let named = cursor.accept_word("IN") || cursor.accept_word("FROM");
        let database = if named { Some(cursor.name()?.to_lowercase()) } else { None };
        return Ok(Statement::ShowTables { database, pattern: cursor.text().ok() });
    }
    Err("NOT_SUPPORTED: the sandbox's Athena shows DATABASES, TABLES and PARTITIONS".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_statements_apart() {
        let all = [
            "SELECT 1;",
            "-- a comment\nWITH x AS (SELECT 1) SELECT * FROM x",
            "CREATE EXTERNAL TABLE IF NOT EXISTS `lake`.`Raw` (`Id` bigint COMMENT 'the id', tags array<struct<a:int,b:string>>)
             COMMENT 'c' PARTITIONED BY (year string, month int)
             ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' WITH SERDEPROPERTIES ('ignore.malformed.json' = 'true')
             STORED AS TEXTFILE LOCATION 's3://b/raw/' TBLPROPERTIES ('classification'='json')",
            "CREATE EXTERNAL TABLE t (a int) ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' LINES TERMINATED BY '\\n' LOCATION 's3://b/t/'",
            "CREATE TABLE lake.t WITH (format = 'PARQUET', partitioned_by = ARRAY['d', 'e'], external_location = 's3://b/t/') AS SELECT 1 a",
            "INSERT INTO t SELECT 1",
            "DROP TABLE IF EXISTS t",
            "MSCK REPAIR TABLE awsdatacatalog.lake.t",
            "ALTER TABLE t ADD IF NOT EXISTS PARTITION (y = '2026', m = '1') LOCATION 's3://b/x/' PARTITION (y='2026', m='2')",
            "ALTER TABLE t DROP PARTITION (y = '2026')",
            "CREATE SCHEMA IF NOT EXISTS lake",
            "DROP DATABASE lake CASCADE",
            "SHOW TABLES IN lake 'raw*'",
            "SHOW PARTITIONS lake.t",
        ];
        let parsed: Vec<_> = all.iter().map(|sql| parse(sql)).collect();
        insta::assert_debug_snapshot!(parsed);
    }

    #[test]
    fn refuses_the_rest_by_name() {
        let all = [
            "CREATE VIEW v AS SELECT 1",
            "UNLOAD (SELECT 1) TO 's3://b/'",
            "EXPLAIN SELECT 1",
            "CREATE TABLE t (a int)",
            "CREATE EXTERNAL TABLE t (a int)",
            "CREATE EXTERNAL TABLE t (a uuid) LOCATION 's3://b/'",
            "ALTER TABLE t ADD COLUMNS (a int)",
            "DROP TABLE t; DROP TABLE u",
            "SHOW CREATE TABLE t",
            "DROP TABLE other.lake.t",
            "DELETE FROM t",
        ];
        let errors: Vec<_> = all.iter().map(|sql| format!("{sql}\n  {}", parse(sql).unwrap_err())).collect();
        insta::assert_snapshot!(errors.join("\n"));
    }
}
