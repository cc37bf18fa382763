//! What Redshift writes differently from `PostgreSQL`, and how it is understood here.
//!
//! The sandbox runs Redshift's SQL on a `PostgreSQL` of its own. Where Redshift only spells something differently,
//! or has a function that `PostgreSQL` lacks, the statement is translated; where the two would mean different things
//! and it cannot be translated, it is refused by name or left to fail, never approximated.
//!
//! | Redshift | here |
//! |---|---|
//! | `DISTKEY`, `DISTSTYLE`, `SORTKEY`, `ENCODE`, `BACKUP` in `CREATE TABLE` and `ALTER TABLE` | left out: they change where rows lie, not what they say |
//! | `PRIMARY KEY`, `UNIQUE`, `REFERENCES` | not enforced, as in Redshift; a primary key still means `NOT NULL` |
//! | `IDENTITY(1, 1)` | an identity column |
//! | `VARCHAR`, `TEXT` without a length, `VARCHAR(MAX)` in `CREATE TABLE` | 256 and 65535 characters |
//! | `"Name"` | `name`: quoted names have no case either |
//! | `'it\'s'` | a backslash in a text escapes |
//! | `GETDATE()`, `SYSDATE`, `DATEADD`, `DATEDIFF`, `DATE_PART` with bare units, `ADD_MONTHS`, `LAST_DAY`, `TRUNC(timestamp)`, `CONVERT_TIMEZONE` | functions with Redshift's rules (`database/library.sql`) |
//! | `NVL`, `NVL2`, `DECODE`, `CONVERT(type, value)`, `LISTAGG … WITHIN GROUP`, `APPROXIMATE COUNT(DISTINCT …)` | their standard forms |
//! | `LEN`, `CHARINDEX`, `SHA2`, `JSON_EXTRACT_PATH_TEXT` on texts | functions |
//! | `MINUS`, `DELETE t`, `VACUUM` with its options, `current_database()` | `EXCEPT`, `DELETE FROM t`, plain `VACUUM`, the name in Redshift |
//! | `TRUNCATE` in a batch | commits what came before it, as in Redshift |
//! | `COPY` from S3 | carried out by the sandbox itself (`copy`) |
//! | `UNLOAD`, external schemas, `CREATE DATABASE`, `BEGIN` and `COMMIT` | refused |
//!
//! Left as `PostgreSQL` does it: the order of ties, the digits of averages, collation beyond ASCII, lengths of texts
//! counted in characters instead of bytes.

mod calls;
pub(crate) mod lexer;
pub(crate) mod parameters;
mod table;

use self::lexer::{Kind, Piece, pieces, statements, text_of};
use self::parameters::Parameter;
use super::copy::{self, CopyPlan};

/// How a statement must be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// In the transaction.
    Inside,
    /// In the transaction, which it commits.
    Commits,
    /// Outside of any transaction.
    Alone,
}

/// A statement for `PostgreSQL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Translated {
    /// Its text.
    pub sql: String,
    /// How it must be run.
    pub how: How,
    /// A `COPY` is not for `PostgreSQL`.
    pub copy: Option<CopyPlan>,
}

/// How many statements a text holds.
pub(crate) fn count(sql: &str) -> usize {
    statements(sql).len()
}

/// Translates one statement of a database with this name. The error is the service's text for a failed statement.
pub(crate) fn translate(sql: &str, values: &[Parameter], database: &str) -> Result<Translated, String> {
    let Some(mut statement) = statements(sql).into_iter().next() else {
        return Err("ERROR: there is no statement".to_owned());
    };
    parameters::fill(&mut statement, values);
    for piece in statement.iter_mut().filter(|piece| piece.kind == Kind::Quoted) {
        piece.text = piece.text.to_lowercase();
    }
    let words = leading_words(&statement);
    let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
    refuse(&words)?;
    if word(0) == "COPY" {
        let copy = Some(copy::parse(&trimmed(&statement))?);
        return Ok(Translated { sql: text_of(&statement).trim().to_owned(), how: How::Inside, copy });
    }
    let mut how = How::Inside;
    match (word(0), word(1)) {
        ("VACUUM", _) => {
            how = How::Alone;
            statement = vacuum(&statement);
        }
        ("TRUNCATE", _) => how = How::Commits,
        ("CREATE", "TABLE" | "TEMP" | "TEMPORARY" | "LOCAL") => statement = table::create(statement)?,
        ("ALTER", "TABLE") => statement = table::strip(statement),
        ("DELETE", second) if second != "FROM" => {
            if let Some(at) = statement.iter().position(|piece| piece.is_word("DELETE")) {
                statement.insert(at + 1, Piece::made(" FROM"));
            }
        }
        _ => {}
    }
    let statement = calls::rewrite(&statement, database)?;
    Ok(Translated { sql: text_of(&statement).trim().to_owned(), how, copy: None })
}

/// From the first word on.
fn trimmed(statement: &[Piece]) -> Vec<Piece> {
    statement.iter().skip_while(|piece| piece.kind == Kind::Blank).cloned().collect()
}

/// The first bare words, in upper case.
fn leading_words(statement: &[Piece]) -> Vec<String> {
    let meaningful = statement.iter().filter(|piece| piece.kind != Kind::Blank);
    meaningful
        .take_while(|piece| piece.kind == Kind::Word)
        .take(4)
        .map(|piece| piece.text.to_uppercase())
        .collect()
}

fn refuse(words: &[String]) -> Result<(), String> {
    let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
    let reason = match (word(0), word(1)) {
        ("UNLOAD", _) => {
            "UNLOAD is not offered by the sandbox yet: on this machine, read rows with SELECT".to_owned()
        }
        ("BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT", _) => {
            format!(
                "{} does not belong into a statement of the Data API, which runs a batch in one transaction by itself: leave it out",
                word(0)
            )
        }
        ("CREATE", "EXTERNAL") | ("DROP" | "ALTER", "EXTERNAL") => {
            "external schemas and tables are not offered by the sandbox".to_owned()
        }
        ("CREATE" | "DROP" | "ALTER", "DATABASE") => {
            "the sandbox makes databases from the template only (DbName of a namespace, DBName of a cluster)"
                .to_owned()
        }
        ("ANALYZE", "COMPRESSION") => "ANALYZE COMPRESSION is not offered by the sandbox".to_owned(),
        _ => return Ok(()),
    };
    Err(format!("ERROR: {reason}"))
}

/// `VACUUM [FULL | SORT ONLY | DELETE ONLY | REINDEX | RECLUSTER] [table] [TO n PERCENT] [BOOST]` without its options.
fn vacuum(statement: &[Piece]) -> Vec<Piece> {
    let options = ["FULL", "SORT", "DELETE", "ONLY", "REINDEX", "RECLUSTER", "BOOST"];
    let end = statement.iter().position(|piece| piece.is_word("TO")).unwrap_or(statement.len());
    statement[..end].iter().filter(|piece| !piece.is_any(&options)).cloned().collect()
}

/// The first words of a statement, for people.
pub(crate) fn first_word(sql: &str) -> String {
    pieces(sql)
        .iter()
        .find(|piece| piece.kind == Kind::Word)
        .map(|piece| piece.text.to_uppercase())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
