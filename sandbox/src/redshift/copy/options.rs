//! `COPY table [(columns)] FROM 's3://…' options`, read piece by piece.

use super::{CopyPlan, Format, Times};
use crate::redshift::dialect::lexer::{Kind, Piece};

/// Formats of times that say no more than that they are ISO 8601.
const ISO_FORMATS: [&str; 6] = [
    "AUTO",
    "YYYY-MM-DD HH:MI:SS",
    "YYYY-MM-DDTHH:MI:SS",
    "YYYY-MM-DDTHH24:MI:SS",
    "YYYY-MM-DD HH24:MI:SS",
    "YYYY-MM-DDTHH:MI:SSZ",
];

/// What COPY of columnar files takes besides its format (Redshift's documentation, "COPY from columnar data formats"),
/// of that what is read here.
const COLUMNAR_WORDS: [&str; 5] = ["IAM_ROLE", "FORMAT", "PARQUET", "MANIFEST", "STATUPDATE"];

/// Reads a statement that begins with `COPY`. The error is the service's text for a failed statement.
pub(crate) fn parse(statement: &[Piece]) -> Result<CopyPlan, String> {
    let mut cursor =
        Cursor { pieces: statement.iter().filter(|piece| piece.kind != Kind::Blank).collect(), at: 1 };
    let table = cursor.name()?;
    let columns = if cursor.symbol("(") { cursor.columns()? } else { Vec::new() };
    cursor.expect("FROM")?;
    let from = cursor.text("the address of the data")?;
    if !from.starts_with("s3://") {
        return Err(refused("a source other than s3://"));
    }
    let mut read = Options::default();
    while let Some(word) = cursor.word() {
        read.option(&word, &mut cursor)?;
        read.words.push(word);
    }
    if let Some(piece) = cursor.pieces.get(cursor.at) {
        return Err(format!("ERROR: syntax error at or near \"{}\"", piece.text));
    }
    if !read.is_allowed {
        return Err("ERROR: COPY needs the right to read: add IAM_ROLE".to_owned());
    }
    if read.format == Some(Format::Parquet)
        && let Some(word) = read.words.iter().find(|word| !COLUMNAR_WORDS.contains(&word.as_str()))
    {
        return Err(format!("ERROR: {word} argument is not supported for PARQUET based COPY"));
    }
    let Options { format, skip, delimiter, is_manifest, truncates, times, .. } = read;
    let format = match format {
        Some(Format::Csv { .. }) => Format::Csv { skip, delimiter: delimiter.unwrap_or(b',') },
        Some(format) => format,
        None => return Err(refused("text with delimiters: say FORMAT AS JSON, CSV or PARQUET; it")),
    };
    Ok(CopyPlan { table, columns, from, is_manifest, format, truncates, times })
}

fn refused(what: &str) -> String {
    format!("ERROR: {what} is not offered by the sandbox's COPY")
}

struct Options {
    format: Option<Format>,
    skip: usize,
    delimiter: Option<u8>,
    is_manifest: bool,
    truncates: bool,
    times: Times,
    is_allowed: bool,
    /// All that were read.
    words: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let (format, delimiter, times) = (None, None, Times::Text);
        let (is_manifest, truncates, is_allowed, words) = (false, false, false, Vec::new());
        Self { format, skip: 0, delimiter, is_manifest, truncates, times, is_allowed, words }
    }
}

impl Options {
    fn option(&mut self, word: &str, cursor: &mut Cursor<'_>) -> Result<(), String> {
        match word {
            "IAM_ROLE" => {
                if cursor.word().is_none_or(|word| word != "DEFAULT") {
                    cursor.text("a role")?;
                }
                self.is_allowed = true;
            }
            // Keys in statements are kept by Redshift in its history.
            "CREDENTIALS" | "ACCESS_KEY_ID" | "SECRET_ACCESS_KEY" => {
                return Err(refused("a key in the statement: say IAM_ROLE; it"));
            }
            "FORMAT" => {
                cursor.word_is("AS");
                let format = cursor.word().unwrap_or_default();
                self.format(&format, cursor)?;
            }
            "JSON" | "CSV" | "PARQUET" => self.format(word, cursor)?,
            "MANIFEST" => self.is_manifest = true,
            "TRUNCATECOLUMNS" => self.truncates = true,
            "IGNOREHEADER" => {
                cursor.word_is("AS");
                self.skip = cursor.number("a number of lines")?;
            }
            "DELIMITER" => {
                cursor.word_is("AS");
                match *cursor.text("a character")?.as_bytes() {
                    [byte] => self.delimiter = Some(byte),
                    _ => return Err(refused("a delimiter of more than one byte")),
                }
            }
            "TIMEFORMAT" | "DATEFORMAT" => {
                cursor.word_is("AS");
                self.times(word, &cursor.text("a format")?)?;
            }
            "MAXERROR" => {
                cursor.word_is("AS");
                if cursor.number("a number")? > 0 {
                    return Err(refused("MAXERROR over 0"));
                }
            }
            "REGION" => {
                cursor.word_is("AS");
                cursor.text("a region")?;
            }
            // They change how fast or how compressed, not what.
            "COMPUPDATE" | "STATUPDATE" => {
                if !cursor.word_is("ON") && !cursor.word_is("OFF") {
                    cursor.word_is("PRESET");
                }
            }
            other => return Err(refused(other)),
        }
        Ok(())
    }

    fn format(&mut self, word: &str, cursor: &mut Cursor<'_>) -> Result<(), String> {
        self.format = Some(match word {
            "JSON" => {
                cursor.word_is("AS");
                match cursor.optional_text().as_deref() {
                    None | Some("auto") => Format::Json { ignores_case: false },
                    Some("auto ignorecase") => Format::Json { ignores_case: true },
                    Some(uri) if uri.starts_with("s3://") => Format::JsonPaths(uri.to_owned()),
                    Some(other) => return Err(refused(&format!("JSON '{other}'"))),
                }
            }
            "CSV" => Format::Csv { skip: 0, delimiter: b',' },
            "PARQUET" => Format::Parquet,
            other => return Err(refused(&format!("FORMAT {other}"))),
        });
        Ok(())
    }

    fn times(&mut self, word: &str, format: &str) -> Result<(), String> {
        self.times = match format.to_uppercase().as_str() {
            "EPOCHSECS" => Times::EpochSeconds,
            "EPOCHMILLISECS" => Times::EpochMilliseconds,
            "YYYY-MM-DD" => self.times,
            known if ISO_FORMATS.contains(&known) => Times::Text,
            _ => return Err(refused(&format!("{word} '{format}'"))),
        };
        Ok(())
    }
}

struct Cursor<'a> {
    pieces: Vec<&'a Piece>,
    at: usize,
}

impl Cursor<'_> {
    fn next(&mut self, wanted: impl Fn(&Piece) -> bool) -> Option<String> {
        let text = self.pieces.get(self.at).filter(|piece| wanted(piece)).map(|piece| piece.text.clone())?;
        self.at += 1;
        Some(text)
    }

    fn word(&mut self) -> Option<String> {
        self.next(|piece| piece.kind == Kind::Word).map(|word| word.to_uppercase())
    }

    fn word_is(&mut self, word: &str) -> bool {
        self.next(|piece| piece.is_word(word)).is_some()
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        self.next(|piece| piece.is_symbol(symbol)).is_some()
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.word_is(word) { Ok(()) } else { Err(self.syntax(word)) }
    }

    fn syntax(&self, wanted: &str) -> String {
        let found = self.pieces.get(self.at).map_or("the end", |piece| piece.text.as_str());
        format!("ERROR: syntax error at or near \"{found}\": {wanted} was expected")
    }

    /// A name, its parts apart, in lower case as Redshift keeps names.
    fn name(&mut self) -> Result<Vec<String>, String> {
        let mut parts = Vec::new();
        loop {
            let part = self.next(|piece| matches!(piece.kind, Kind::Word | Kind::Quoted));
            let part = part.ok_or_else(|| self.syntax("a name"))?;
            // A bare name may hold its schema.
            parts.extend(part.trim_matches('"').to_lowercase().split('.').map(str::to_owned));
            if !self.symbol(".") {
                return Ok(parts);
            }
        }
    }

    fn columns(&mut self) -> Result<Vec<String>, String> {
        let mut columns = Vec::new();
        loop {
            columns.extend(self.name()?);
            if self.symbol(")") {
                return Ok(columns);
            }
            if !self.symbol(",") {
                return Err(self.syntax("a comma"));
            }
        }
    }

    fn optional_text(&mut self) -> Option<String> {
        let text = self.next(|piece| piece.kind == Kind::Text)?;
        let inner = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(&text);
        Some(inner.replace("''", "'").replace("\\'", "'"))
    }

    fn text(&mut self, wanted: &str) -> Result<String, String> {
        self.optional_text().ok_or_else(|| self.syntax(wanted))
    }

    fn number(&mut self, wanted: &str) -> Result<usize, String> {
        let word = self.word().ok_or_else(|| self.syntax(wanted))?;
        word.parse().map_err(|_| format!("ERROR: syntax error at or near \"{word}\": {wanted} was expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redshift::dialect::lexer::pieces;

    fn read(sql: &str) -> Result<CopyPlan, String> {
        parse(&pieces(sql))
    }

    #[test]
    fn what_the_statement_says_is_read() {
        let plan = read(
            "copy Public.\"Events\" (request_id, topic) from 's3://b/2026/11/' iam_role 'arn:aws:iam::1:role/a,arn:aws:iam::2:role/b' \
             region 'eu-central-1' format as json 's3://b/paths.json' timeformat 'YYYY-MM-DDTHH:MI:SS' manifest \
             truncatecolumns compupdate off statupdate on maxerror 0",
        )
        .unwrap();
        assert_eq!(plan.table, ["public", "events"]);
        assert_eq!(plan.columns, ["request_id", "topic"]);
        assert_eq!(plan.format, Format::JsonPaths("s3://b/paths.json".to_owned()));
        assert!(plan.is_manifest && plan.truncates);
        let plan = read("COPY t FROM 's3://b/k' IAM_ROLE default CSV IGNOREHEADER 1 DELIMITER ';'").unwrap();
        assert_eq!(plan.format, Format::Csv { skip: 1, delimiter: b';' });
        let plan = read(
            "COPY t FROM 's3://b/k' IAM_ROLE default JSON 'auto ignorecase' TIMEFORMAT 'epochmillisecs'",
        )
        .unwrap();
        assert_eq!(
            (plan.format, plan.times),
            (Format::Json { ignores_case: true }, Times::EpochMilliseconds)
        );
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        for (sql, said) in [
            ("COPY t FROM 's3://b/k' JSON 'auto'", "add IAM_ROLE"),
            ("COPY t FROM 's3://b/k' IAM_ROLE default", "text with delimiters"),
            ("COPY t FROM 'emr://x' IAM_ROLE default JSON 'auto'", "a source other than s3://"),
            (
                "COPY t FROM 's3://b/k' CREDENTIALS 'aws_access_key_id=x' JSON 'auto'",
                "a key in the statement",
            ),
            ("COPY t FROM 's3://b/k' IAM_ROLE default FORMAT AS ORC", "FORMAT ORC"),
            (
                "COPY t FROM 's3://b/k' IAM_ROLE default FORMAT AS PARQUET COMPUPDATE OFF",
                "COMPUPDATE argument is not supported for PARQUET based COPY",
            ),
            (
                "COPY t FROM 's3://b/k' IAM_ROLE default REGION 'x' FORMAT AS PARQUET",
                "REGION argument is not supported for PARQUET based COPY",
            ),
            ("COPY t FROM 's3://b/k' IAM_ROLE default JSON 'auto' GZIP", "GZIP"),
            ("COPY t FROM 's3://b/k' IAM_ROLE default JSON 'auto' MAXERROR 5", "MAXERROR over 0"),
            ("COPY t FROM 's3://b/k' IAM_ROLE default JSON 'auto' TIMEFORMAT 'MM/DD'", "TIMEFORMAT 'MM/DD'"),
            ("COPY FROM", "syntax error"),
            ("COPY t (a FROM", "a comma was expected"),
            ("COPY", "a name was expected"),
        ] {
            let error = read(sql).unwrap_err();
            assert!(error.starts_with("ERROR: ") && error.contains(said), "{sql}: {error}");
        }
    }
}
