//! What an object is: JSON, delimited text or Parquet, and its columns.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::infer::{Shape, columns_of, merge, merge_types, shape_of};
use crate::catalog::Column;
use trunkline_query::parquet;
use trunkline_query::text::{Delimited, rows};

/// How much of the beginning of a JSON or text object is looked at, as Glue does.
const HEAD_BYTES: u64 = 1024 * 1024;
/// Rows of a text object that are looked at.
const TEXT_ROWS: usize = 1_000;
/// Delimiters in the order in which they are tried.
const DELIMITERS: [u8; 5] = [b',', b'|', b'\t', b';', 1];
/// Longest cell of a header.
const HEADER_CELL_MAX: usize = 150;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv { delimiter: u8, header: bool },
    Parquet,
}

/// An object's format and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub format: Format,
    /// For JSON the merged shape of its records, so that types can still grow.
    pub shape: Option<Shape>,
    pub columns: Vec<Column>,
}

impl Finding {
    /// The columns' names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Takes in what was found in another object of the same kind.
    pub(super) fn absorb(&mut self, other: Self) {
        if let (Some(shape), Some(more)) = (self.shape.take(), other.shape) {
            let shape = merge(shape, more);
            self.columns = columns_of(&shape);
            self.shape = Some(shape);
            return;
        }
        for column in other.columns {
            match self.columns.iter_mut().find(|known| known.name == column.name) {
                Some(known) => known.hive_type = merge_types(&known.hive_type, &column.hive_type),
                None => self.columns.push(column),
            }
        }
    }
}

/// Looks at an object; `None` if it is nothing that is known, or cannot be read.
pub(super) fn look(path: &Path) -> Option<Finding> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    if head.starts_with(b"PAR1") {
        let columns = parquet::columns(path).ok()?;
        let columns = columns.into_iter().map(|(name, hive_type)| Column::new(name, hive_type)).collect();
        return Some(Finding { format: Format::Parquet, shape: None, columns });
    }
    json(&head).or_else(|| csv(&head))
}

fn json(head: &[u8]) -> Option<Finding> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if !matches!(first, b'{' | b'[') {
        return None;
    }
    let cut_off = head.len() as u64 >= HEAD_BYTES;
    let mut shape: Option<Shape> = None;
    let mut add = |record: &Value| {
        let found = shape_of(record, 0);
        let known = shape.take();
        shape = Some(known.map_or_else(|| found.clone(), |known| merge(known, found.clone())));
    };
    for value in serde_json::Deserializer::from_slice(head).into_iter::<Value>() {
        match value {
            Ok(record @ Value::Object(_)) => add(&record),
            Ok(Value::Array(items)) if items.iter().all(Value::is_object) => items.iter().for_each(&mut add),
            // The last record may be cut off by the limit; an error elsewhere means that this is not JSON.
            Err(_) if cut_off => break,
            _ => return None,
        }
    }
    let shape = shape?;
    let columns = columns_of(&shape);
    (!columns.is_empty()).then_some(Finding { format: Format::Json, shape: Some(shape), columns })
}

fn csv(head: &[u8]) -> Option<Finding> {
    if head.contains(&0)
        || std::str::from_utf8(&head[..head.len().min(4096)]).is_err_and(|error| error.error_len().is_some())
    {
        return None;
    }
    let cut_off = head.len() as u64 >= HEAD_BYTES;
    DELIMITERS.iter().find_map(|delimiter| {
        let format = Delimited { delimiter: *delimiter, quote: None, escape: None, skipped_lines: 0 };
        let mut table: Vec<Vec<String>> = Vec::new();
        rows(head, format, |cells| {
            if table.len() < TEXT_ROWS {
                table.push(cells.to_vec());
            }
        });
        if cut_off && table.len() > 1 && table.len() < TEXT_ROWS {
            table.pop();
        }
        let width = table.first()?.len();
        // Glue wants at least two columns and two rows, with every row as wide as the first.
        if width < 2 || table.len() < 2 || table.iter().any(|row| row.len() != width) {
            return None;
        }
        Some(csv_finding(&table, *delimiter, width))
    })
}

fn csv_finding(table: &[Vec<String>], delimiter: u8, width: usize) -> Finding {
    let type_of_rows = |rows: &[Vec<String>], at: usize| {
        let types = rows.iter().filter_map(|row| cell_type(&row[at]));
        types.fold(None, |known: Option<String>, next| {
            Some(known.map_or_else(|| next.to_owned(), |known| merge_types(&known, next)))
        })
    };
    let body: Vec<_> = (0..width).map(|at| type_of_rows(&table[1..], at)).collect();
    let first = &table[0];
    let header = first.iter().all(|cell| {
        let name = cell.trim().trim_matches('"');
        !name.is_empty() && name.len() <= HEADER_CELL_MAX && cell_type(name) == Some("string")
    }) && body.iter().flatten().any(|found| found != "string");
    let columns = (0..width)
        .map(|at| {
            if header {
                let name = first[at].trim().trim_matches('"').to_lowercase();
                Column::new(name, body[at].clone().unwrap_or_else(|| "string".to_owned()))
            } else {
                let found = type_of_rows(table, at).unwrap_or_else(|| "string".to_owned());
                Column::new(format!("col{at}"), found)
            }
        })
        .collect();
    Finding { format: Format::Csv { delimiter, header }, shape: None, columns }
}

fn cell_type(cell: &str) -> Option<&'static str> {
    let cell = cell.trim();
    if cell.is_empty() {
        return None;
    }
    Some(if cell.parse::<i64>().is_ok() {
        "bigint"
    } else if cell.parse::<f64>().is_ok_and(f64::is_finite) {
        "double"
    } else {
        "string"
    })
}

/// The storage descriptor of a table or partition of this format.
pub(super) fn storage(finding: &Finding, location: &str, columns: &[Column]) -> Value {
    let text_input = "org.apache.hadoop.mapred.TextInputFormat";
    let text_output = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat";
    let (input, output, library, parameters) = match finding.format {
        Format::Json => {
            let mut names: Vec<_> = finding.names().collect();
            names.sort_unstable();
            let parameters = json!({"paths": names.join(",")});
            (text_input, text_output, "org.openx.data.jsonserde.JsonSerDe", parameters)
        }
        Format::Csv { delimiter, .. } => {
            let parameters = json!({"field.delim": char::from(delimiter).to_string()});
            (text_input, text_output, "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe", parameters)
        }
        Format::Parquet => (
            "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
            "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
            json!({"serialization.format": "1"}),
        ),
    };
    json!({
        "Columns": columns,
        "Location": location,
        "InputFormat": input,
        "OutputFormat": output,
        "Compressed": false,
        "NumberOfBuckets": -1,
        "SerdeInfo": {"SerializationLibrary": library, "Parameters": parameters},
        "BucketColumns": [],
        "SortColumns": [],
        "Parameters": table_parameters(finding),
        "StoredAsSubDirectories": false,
    })
}

/// The parameters of a table of this format.
pub(super) fn table_parameters(finding: &Finding) -> Map<String, Value> {
    let classification = match finding.format {
        Format::Json => "json",
        Format::Csv { .. } => "csv",
        Format::Parquet => "parquet",
    };
    let mut parameters = Map::new();
    let mut set = |name: &str, value: String| drop(parameters.insert(name.to_owned(), value.into()));
    set("classification", classification.to_owned());
    set("compressionType", "none".to_owned());
    set("typeOfData", "file".to_owned());
    if let Format::Csv { delimiter, header } = finding.format {
        set("delimiter", char::from(delimiter).to_string());
        set("columnsOrdered", "true".to_owned());
        set("areColumnsQuoted", "false".to_owned());
        if header {
            set("skip.header.line.count", "1".to_owned());
        }
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(head: &str) -> String {
        match json(head.as_bytes()).or_else(|| csv(head.as_bytes())) {
            None => "nothing".to_owned(),
            Some(finding) => {
                let columns: Vec<_> =
                    finding.columns.iter().map(|c| format!("{} {}", c.name, c.hive_type)).collect();
                format!("{:?}: {}", finding.format, columns.join(", "))
            }
        }
    }

    #[test]
    fn tells_formats_apart() {
        let heads = [
            "{\"A\": 1}\n{\"a\": 2.5, \"B\": \"x\"}",
            "{\n  \"a\": 1\n}",
            "[{\"a\": 1}, {\"b\": 2}]",
            "{\"a\": 1",
            "{}",
            "[1, 2]",
            "id,name,score\n1,a,0.5\n2,b,1\n",
            "a|b\nc|d\n",
            "Id;Name\n;x\n",
            "just a text\nof two lines",
            "one,row,only\n",
            "",
        ];
        let all: Vec<_> = heads.iter().map(|head| format!("{head:?}\n  {}", shown(head))).collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn later_objects_widen_the_columns() {
        let mut finding = json(b"{\"a\": 1}").unwrap();
        finding.absorb(json(b"{\"a\": 0.5, \"b\": [1]}").unwrap());
        assert_eq!(finding.columns, [Column::new("a", "double"), Column::new("b", "array<int>")]);
    }
}
