//! The filter `table`: rows as aligned text, for mails.
//!
//! `{{ tasks.report.outputs.rows | table(columns=["npanxx", "calls"], limit=5) }}`

use minijinja::{
    Error, ErrorKind, Value,
    value::{Kwargs, ValueKind},
};

/// Rows without `limit`: what a mail shows of a result; the rest is counted.
const ROWS_SHOWN: usize = 20;
/// Rows with any `limit`: more belong into a file.
const ROWS_MAX: usize = 200;
/// Columns of a table: what fits beside each other.
const COLUMNS_MAX: usize = 20;
/// The longest cell, in characters; what is longer is cut.
const CELL_MAX: usize = 40;

/// Rows that are mappings or lists, as text with a line for each. Outputs keep no order of
/// names, so `columns` says which there are, and how they stand.
pub(super) fn table(rows: &Value, options: Kwargs) -> Result<String, Error> {
    let wrong = |reason: &str| Error::new(ErrorKind::InvalidOperation, format!("table {reason}"));
    if !matches!(rows.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(wrong("takes a list of rows, such as the output `rows` of a query"));
    }
    let limit = options.get::<Option<usize>>("limit")?.unwrap_or(ROWS_SHOWN).min(ROWS_MAX);
    let named: Option<Vec<String>> = options.get("columns")?;
    options.assert_all_used()?;
    let rows: Vec<Value> = rows.try_iter()?.collect();
    let Some(first) = rows.first() else { return Ok(String::new()) };
    let mut columns = match named {
        Some(columns) => columns,
        None if first.kind() == ValueKind::Map => first.try_iter()?.map(|name| name.to_string()).collect(),
        None => Vec::new(),
    };
    columns.truncate(COLUMNS_MAX);
    let mut lines: Vec<Vec<Cell>> = Vec::with_capacity(limit + 1);
    if !columns.is_empty() {
        lines.push(columns.iter().map(|name| Cell::head(name)).collect());
    }
    for row in rows.iter().take(limit) {
        lines.push(match row.kind() {
            ValueKind::Map => {
                let cell = |name: &String| Ok(Cell::of(&row.get_attr(name)?));
                columns.iter().map(cell).collect::<Result<_, Error>>()?
            }
            ValueKind::Seq => row.try_iter()?.take(COLUMNS_MAX).map(|value| Cell::of(&value)).collect(),
            _ => return Err(wrong("takes rows that are mappings or lists")),
        });
    }
    let mut text = aligned(&lines);
    if let Some(more) = rows.len().checked_sub(limit).filter(|more| *more > 0) {
        text.push_str(&format!("\nand {more} more"));
    }
    Ok(text)
}

struct Cell {
    text: String,
    is_number: bool,
}

impl Cell {
    fn of(value: &Value) -> Self {
        if value.is_none() || value.is_undefined() {
            return Self { text: String::new(), is_number: false };
        }
        // One line for each row, whatever stands in it.
        let text: String = value.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { text: cut(text), is_number: value.kind() == ValueKind::Number }
    }

    fn head(name: &str) -> Self {
        Self { text: cut(name.to_owned()), is_number: false }
    }
}

fn cut(text: String) -> String {
    if text.chars().count() <= CELL_MAX {
        return text;
    }
    text.chars().take(CELL_MAX - 1).chain(['…']).collect()
}

/// Columns as wide as their widest cell; those of numbers end where their numbers do.
fn aligned(lines: &[Vec<Cell>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| lines.iter().filter_map(move |line| line.get(column));
    let shape: Vec<(usize, bool)> = (0..columns)
        .map(|column| {
            let width = cells(column).map(|cell| cell.text.chars().count()).max().unwrap_or(0);
            (width, cells(column).any(|cell| cell.is_number))
        })
        .collect();
    let line = |cells: &Vec<Cell>| {
        let padded = cells.iter().zip(&shape).map(|(Cell { text, .. }, &(width, right))| {
            if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};
    use serde_json::{Value as Json, json};

    use super::*;

    fn shown(rows: &Json, call: &str) -> Result<String, String> {
        let mut environment = Environment::new();
        environment.add_filter("table", table);
        let text = format!("{{{{ rows | {call} }}}}");
        environment
            .render_str(&text, context! { rows => Value::from(minijinja::value::Serde(rows)) })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_end_and_words_begin_in_one_place() {
        let rows = json!([
            {"npanxx": "555555", "calls": 1200, "note": null},
            {"npanxx": "206", "calls": 7, "note": "a\nb"},
            {"npanxx": null, "calls": 1, "note": "x".repeat(50)}
        ]);
        let text = shown(&rows, "table(columns=['npanxx', 'calls', 'note'])").unwrap();
        insta::assert_snapshot!(text, @r"
        npanxx  calls  note
        555555   1200
        206         7  a b
                    1  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
        ");
    }

    #[test]
    fn what_is_over_the_limit_is_counted() {
        let rows = json!([[1, "a"], [10, "b"], [100, "c"]]);
        insta::assert_snapshot!(shown(&rows, "table(limit=2)").unwrap(), @r"
         1  a
        10  b
        and 1 more
        ");
        assert_eq!(shown(&json!([]), "table").unwrap(), "");
    }

    #[test]
    fn columns_over_the_limit_have_neither_head_nor_cells() {
        let names: Vec<String> = (0..COLUMNS_MAX + 5).map(|n| format!("c{n}")).collect();
        let row: serde_json::Map<_, _> =
            names.iter().map(|name| (name.clone(), Json::from(name.as_str()))).collect();
        let text = shown(&json!([row]), &format!("table(columns={})", json!(names))).unwrap();
        for line in text.lines() {
            assert_eq!(line.split_whitespace().count(), COLUMNS_MAX, "{line}");
        }
    }

    #[test]
    fn what_is_no_table_is_said() {
        assert!(shown(&json!("text"), "table").unwrap_err().contains("table takes a list of rows"));
        assert!(shown(&json!([1]), "table").unwrap_err().contains("rows that are mappings or lists"));
        assert!(shown(&json!([[1]]), "table(colums=[])").unwrap_err().contains("colums"));
    }
}
