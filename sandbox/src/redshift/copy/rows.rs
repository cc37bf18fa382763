//! The records of one object as rows of `PostgreSQL`'s COPY. Pure.

use serde_json::{Map, Value};

use super::{CopyPlan, Format, Target, Times, paths::Path};

/// The rows of an object, in `PostgreSQL`'s text format. The error says which record, as `stl_load_errors` does.
pub(crate) fn rows(
    content: &[u8],
    plan: &CopyPlan,
    columns: &[Target],
    paths: Option<&[Path]>,
) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(content.len());
    match &plan.format {
        Format::Csv { skip, delimiter } => {
            for (number, fields) in csv(content, *delimiter)?.into_iter().enumerate().skip(*skip) {
                if fields.len() != columns.len() {
                    let (found, wanted) = (fields.len(), columns.len());
                    return Err(format!("line {}: {found} fields, and {wanted} columns", number + 1));
                }
                let cells = fields.into_iter().map(Some).collect();
                write(&mut out, cells, plan, columns)
                    .map_err(|error| format!("line {}: {error}", number + 1))?;
            }
        }
        // Columns have types there, see `columnar.rs`.
        Format::Parquet => return Err("it is Parquet".to_owned()),
        Format::Json { .. } | Format::JsonPaths(_) => {
            let records = serde_json::Deserializer::from_slice(content).into_iter::<Value>();
            for (place, record) in records.enumerate() {
                let number = place + 1;
                let at = |error: String| format!("record {number}: {error}");
                let record = record.map_err(|error| at(format!("Invalid JSON: {error}")))?;
                let Value::Object(object) = &record else {
                    return Err(at("Invalid JSON: an object was expected".to_owned()));
                };
                let cells = columns.iter().enumerate().map(|(place, column)| {
                    let found = match (paths, &plan.format) {
                        (Some(paths), _) => paths[place].follow(&record),
                        (None, Format::Json { ignores_case: true }) => ignoring_case(object, &column.name),
                        _ => object.get(&column.name),
                    };
                    found.and_then(text)
                });
                write(&mut out, cells.collect(), plan, columns).map_err(at)?;
            }
        }
    }
    Ok(out)
}

fn ignoring_case<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.iter().find(|(key, _)| key.to_lowercase() == name).map(|(_, value)| value)
}

/// A value as text; what is below it, as JSON.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn write(
    out: &mut Vec<u8>,
    cells: Vec<Option<String>>,
    plan: &CopyPlan,
    columns: &[Target],
) -> Result<(), String> {
    for (place, (cell, column)) in cells.into_iter().zip(columns).enumerate() {
        if place > 0 {
            out.push(b'\t');
        }
        // An empty field of a CSV is an empty text, and no value of anything else.
        match cell.filter(|cell| !cell.is_empty() || column.bytes.is_some()) {
            None => out.extend_from_slice(b"\\N"),
            Some(cell) => escaped(out, &fitting(cell, plan, column)?),
        }
    }
    out.push(b'\n');
    Ok(())
}

/// A value that its column takes.
fn fitting(mut cell: String, plan: &CopyPlan, column: &Target) -> Result<String, String> {
    if let Some(most) = column.bytes.filter(|most| cell.len() > *most) {
        if !plan.truncates {
            return Err(format!(
                "column {}: String length exceeds DDL length ({} bytes, {most} allowed)",
                column.name,
                cell.len()
            ));
        }
        let end = (0..=most).rev().find(|end| cell.is_char_boundary(*end)).unwrap_or(0);
        cell.truncate(end);
    }
    if column.kind.starts_with("timestamp") && plan.times != Times::Text {
        let number: i64 =
            cell.parse().map_err(|_| format!("column {}: Invalid timestamp format or value", column.name))?;
        let milliseconds =
            if plan.times == Times::EpochSeconds { number.saturating_mul(1000) } else { number };
        let at = jiff::Timestamp::from_millisecond(milliseconds)
            .map_err(|_| format!("column {}: Invalid timestamp format or value", column.name))?;
        return Ok(at.to_string());
    }
    Ok(cell)
}

/// The text format of `PostgreSQL`'s COPY.
pub(super) fn escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.push(other),
        }
    }
}

/// Fields in quotes may hold anything, a quote twice.
fn csv(content: &[u8], delimiter: u8) -> Result<Vec<Vec<String>>, String> {
    let text = std::str::from_utf8(content).map_err(|error| format!("it is no UTF-8: {error}"))?;
    let delimiter = char::from(delimiter);
    let (mut lines, mut fields, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut is_quoted, mut rest) = (false, text.chars().peekable());
    while let Some(character) = rest.next() {
        match character {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' => is_quoted = !is_quoted,
            other if is_quoted => field.push(other),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' => {
                fields.push(std::mem::take(&mut field));
                lines.push(std::mem::take(&mut fields));
            }
            other if other == delimiter => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    if is_quoted {
        return Err(format!("line {}: a quote is not closed", lines.len() + 1));
    }
    if !field.is_empty() || !fields.is_empty() {
        fields.push(field);
        lines.push(fields);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str, kind: &str, bytes: Option<usize>) -> Target {
        Target { name: name.to_owned(), kind: kind.to_owned(), bytes }
    }

    fn plan(format: Format) -> CopyPlan {
        let (table, columns, from) = (vec!["t".to_owned()], Vec::new(), "s3://b/k".to_owned());
        CopyPlan { table, columns, from, is_manifest: false, format, truncates: false, times: Times::Text }
    }

    fn read(content: &str, plan: &CopyPlan) -> Result<String, String> {
        let columns = [target("id", "integer", None), target("note", "character varying(4)", Some(4))];
        rows(content.as_bytes(), plan, &columns, None).map(|rows| String::from_utf8(rows).unwrap())
    }

    #[test]
    fn objects_may_stand_back_to_back_and_lengths_are_bytes() {
        let auto = plan(Format::Json { ignores_case: false });
        let records = r#"{"id":1,"note":"a}{b"}{"note":null,"more":1} {"id":3,"note":[1]}"#;
        assert_eq!(read(records, &auto).unwrap(), "1\ta}{b\n\\N\t\\N\n3\t[1]\n");
        let error = read(r#"{"id":1}{"id":2,"note":"äää"}"#, &auto).unwrap_err();
        assert_eq!(error, "record 2: column note: String length exceeds DDL length (6 bytes, 4 allowed)");
        let cut = CopyPlan { truncates: true, ..auto.clone() };
        assert_eq!(read(r#"{"id":2,"note":"aää"}"#, &cut).unwrap(), "2\taä\n");
        assert!(read(r#"{"id":1}[2]"#, &auto).unwrap_err().starts_with("record 2: Invalid JSON"));
        assert!(read(r#"{"ID":7}"#, &auto).unwrap().starts_with("\\N"));
        assert!(read(r#"{"ID":7}"#, &plan(Format::Json { ignores_case: true })).unwrap().starts_with('7'));
    }

    #[test]
    fn fields_of_a_csv_may_hold_anything() {
        let csv = plan(Format::Csv { skip: 1, delimiter: b',' });
        assert_eq!(read("id,note\r\n1,\"a,\"\"\n\"\r\n,b", &csv).unwrap(), "1\ta,\"\\n\n\\N\tb\n");
        assert_eq!(read("x\n1,2,3\n", &csv).unwrap_err(), "line 2: 3 fields, and 2 columns");
        assert_eq!(read("x\n1,\"2\n", &csv).unwrap_err(), "line 2: a quote is not closed");
    }
}
