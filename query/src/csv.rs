//! Delimited text as columns: cells by position, converted to the table's types.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::text::{Delimited, rows};

/// Hive's text for a null.
const NULL: &str = "\\N";

/// Reads an object. `positions` are the places of the schema's columns in a row. A cell that does not fit its
/// column is null, or an error if `strict`.
pub fn batch_of(
    content: &[u8],
    format: Delimited,
    schema: &SchemaRef,
    positions: &[usize],
    strict: bool,
) -> Result<RecordBatch, String> {
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); positions.len()];
    let mut count = 0;
    rows(content, format, |cells| {
        count += 1;
        for (column, position) in columns.iter_mut().zip(positions) {
            column.push(cells.get(*position).filter(|cell| *cell != NULL).cloned());
        }
    });
    let arrays = columns
        .into_iter()
        .zip(schema.fields())
        .map(|(cells, field)| {
            column_of(cells, field.data_type(), strict).map_err(|error| {
                format!("HIVE_BAD_DATA: Error parsing a field value of column {}: {error}", field.name())
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options).map_err(|error| error.to_string())
}

fn column_of(cells: Vec<Option<String>>, data_type: &DataType, strict: bool) -> Result<ArrayRef, String> {
    if data_type == &DataType::Utf8 {
        return Ok(Arc::new(StringArray::from(cells)));
    }
    let cells: StringArray = cells
        .into_iter()
        .map(|cell| cell.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
        .collect();
    let options = CastOptions { safe: !strict, ..CastOptions::default() };
    let cells: ArrayRef = Arc::new(cells);
    cast_with_options(&cells, data_type, &options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::arrow::util::pretty::pretty_format_batches;

    use super::*;

    #[test]
    fn converts_cells_by_position() {
        let format = Delimited { delimiter: b',', quote: None, escape: None, skipped_lines: 1 };
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("name", DataType::Utf8, true),
            Field::new("count", DataType::Int64, true),
        ]));
        let content = b"count,skip,name\n1,x,a\n,x,\\N\nmany,x\n";
        let batch = batch_of(content, format, &schema, &[2, 0], false).unwrap();
        insta::assert_snapshot!(pretty_format_batches(&[batch]).unwrap());
        let error = batch_of(content, format, &schema, &[2, 0], true).unwrap_err();
        assert!(error.contains("column count"), "{error}");
    }
}
