//! Result objects: CSV with every value quoted, as Athena writes it, and reading it back page by page.
//!
//! A null is nothing at all between two commas, an empty text is `""`.

use serde_json::{Value, json};

use crate::s3::{Store, parse_uri};

/// A row: nulls are `None`.
pub(super) type Row = Vec<Option<String>>;

/// Adds a row to a CSV text.
pub(super) fn push_row(csv: &mut String, row: &[Option<String>]) {
    for (at, cell) in row.iter().enumerate() {
        if at > 0 {
            csv.push(',');
        }
        if let Some(cell) = cell {
            csv.push('"');
            csv.push_str(&cell.replace('"', "\"\""));
            csv.push('"');
        }
    }
    csv.push('\n');
}

/// Writes a result object.
pub(super) fn write(store: &Store, uri: &str, content: &str) -> Result<(), String> {
    let (bucket, key) = parse_uri(uri).ok_or_else(|| format!("{uri} is not an s3:// URI"))?;
    store.write(bucket, key, content.as_bytes()).map_err(|error| error.to_string())
}

/// Reads the rows of a result object: of CSV with the header, of other objects the lines.
pub(super) fn read(store: &Store, uri: &str) -> Result<Vec<Row>, String> {
    if !(uri.ends_with(".csv") || uri.ends_with(".txt")) {
        return Ok(Vec::new());
    }
    let (bucket, key) = parse_uri(uri).ok_or_else(|| format!("{uri} is not an s3:// URI"))?;
    let content = store.read(bucket, key).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&content);
    Ok(if uri.ends_with(".csv") {
        parse(&text)
    } else {
        text.lines().map(|line| vec![Some(line.to_owned())]).collect()
    })
}

/// A row as `GetQueryResults` shows it.
pub(super) fn row_shape(row: Row) -> Value {
    let cells: Vec<_> = row
        .into_iter()
        .map(|cell| match cell {
            Some(text) => json!({"VarCharValue": text}),
            None => json!({}),
        })
        .collect();
    json!({"Data": cells})
}

fn parse(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row: Row = Vec::new();
    let mut cell: Option<String> = None;
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.get_or_insert_default().push('"');
            }
            '"' => {
                quoted = !quoted;
                cell.get_or_insert_default();
            }
            ',' if !quoted => row.push(cell.take()),
            '\n' if !quoted => {
                row.push(cell.take());
                rows.push(std::mem::take(&mut row));
            }
            other => cell.get_or_insert_default().push(other),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_there_and_back() {
        let rows: Vec<Row> = [
            vec![Some("npanxx"), Some("Total \"s\"")],
            vec![None, Some("")],
            vec![Some("two\nlines, one cell"), None],
        ]
        .into_iter()
        .map(|row| row.into_iter().map(|cell| cell.map(str::to_owned)).collect())
        .collect();
        let mut csv = String::new();
        for row in &rows {
            push_row(&mut csv, row);
        }
        assert_eq!(csv, "\"npanxx\",\"Total \"\"s\"\"\"\n,\"\"\n\"two\nlines, one cell\",\n");
        assert_eq!(parse(&csv), rows);
    }
}
