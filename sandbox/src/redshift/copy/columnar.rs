//! A Parquet file as rows of `PostgreSQL`'s COPY. Pure.
//!
//! Redshift takes columns by their order, whatever their names, as many as the table has, and of the column's own type:
//! an INT64 for an INT is refused, as pandas writes it for every whole number. Where nobody knows whether Redshift would
//! take a type, the sandbox does not.

use bytes::Bytes;
use datafusion::arrow::datatypes::DataType;
use trunkline_query::{
    cells::{self, Cells},
    parquet,
    transform::Content,
};

use super::{Target, rows::escaped};

/// The rows of a file, in `PostgreSQL`'s text format. The error is what Redshift's Spectrum says, which scans it.
pub(super) fn rows(content: Vec<u8>, uri: &str, columns: &[Target]) -> Result<Vec<u8>, String> {
    let content = Bytes::from(content);
    let schema = parquet::schema(content.clone())
        .map_err(|error| format!("File '{uri}' is not a valid Parquet file: {error}"))?;
    let (wanted, found) = (columns.len(), schema.fields().len());
    if wanted != found {
        return Err(format!(
            "Unmatched number of columns between table and file. Table columns: {wanted}, Data columns: {found}, File name: {uri}"
        ));
    }
    for (column, field) in columns.iter().zip(schema.fields()) {
        if !takes(&column.kind, field.data_type()) {
            return Err(format!(
                "File '{uri}' has an incompatible Parquet schema for column '{uri}.{}'. Column type: {}, Parquet schema: {}",
                field.name(),
                column.kind,
                field.data_type()
            ));
        }
    }
    let mut out = Vec::with_capacity(content.len());
    let kind_of = |place: usize, _: &str| columns.get(place).map(|column| column.kind.clone());
    let mut each = |cells: &mut Cells<'_>| {
        for row in 0..cells.rows {
            append(cells, row, columns, &mut out)?;
        }
        Ok(true)
    };
    let read = cells::read(Content::Memory(content.into()), &kind_of, &mut each);
    read.map_err(|error| format!("{error}, File name: {uri}"))?;
    Ok(out)
}

fn append(cells: &mut Cells<'_>, row: usize, columns: &[Target], out: &mut Vec<u8>) -> Result<(), String> {
    let mut text = String::new();
    for (place, column) in columns.iter().enumerate() {
        if place > 0 {
            out.push(b'\t');
        }
        text.clear();
        if !cells.append(row, place, &mut text)? {
            out.extend_from_slice(b"\\N");
            continue;
        }
        if let Some(most) = column.bytes.filter(|most| text.len() > *most) {
            return Err(format!(
                "The length of the data column {} is longer than the length defined in the table. Table: {most}, Data: {}",
                column.name,
                text.len()
            ));
        }
        escaped(out, &text);
    }
    out.push(b'\n');
    Ok(())
}

/// Whether a column of this type takes the file's, by what lies in the file: whole numbers of 8 and 16 bits lie there as
/// 32.
fn takes(kind: &str, found: &DataType) -> bool {
    let found = match found {
        DataType::Dictionary(_, value) => value.as_ref(),
        other => other,
    };
    match found {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => matches!(kind, "smallint" | "integer"),
        DataType::Int64 => kind == "bigint",
        DataType::Float32 => kind == "real",
        DataType::Float64 => kind == "double precision",
        DataType::Boolean => kind == "boolean",
        DataType::Date32 => kind == "date",
        DataType::Timestamp(..) => kind.starts_with("timestamp"),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => kind == format!("numeric({precision},{scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => is_text(kind),
        // Old writers say of no text that it is one.
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => is_text(kind) || kind == "bytea",
        _ => false,
    }
}

fn is_text(kind: &str) -> bool {
    kind.starts_with("character") || kind == "text"
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::parquet::arrow::ArrowWriter;
    use datafusion::arrow::array::{
        ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    const URI: &str = "s3://b/k";

    fn file(columns: Vec<ArrayRef>) -> Vec<u8> {
        let names: Vec<String> = (0..columns.len()).map(|place| format!("c{place}")).collect();
        let columns = names.iter().zip(columns).map(|(name, array)| (name, array, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    fn target(name: &str, kind: &str, bytes: Option<usize>) -> Target {
        Target { name: name.to_owned(), kind: kind.to_owned(), bytes }
    }

    #[test]
    fn columns_go_by_their_order() {
        let content = file(vec![
            Arc::new(Int64Array::from(vec![Some(1), None])),
            Arc::new(StringArray::from(vec!["a\tb", "ä"])),
            Arc::new(Decimal128Array::from(vec![1050, -5]).with_precision_and_scale(12, 2).unwrap()),
            Arc::new(TimestampMicrosecondArray::from(vec![0, 1]).with_timezone("UTC")),
        ]);
        let columns = [
            target("id", "bigint", None),
            target("note", "character varying(3)", Some(3)),
            target("amount", "numeric(12,2)", None),
            target("at", "timestamp without time zone", None),
        ];
        let read = rows(content, URI, &columns).unwrap();
        assert_eq!(
            String::from_utf8(read).unwrap(),
            "1\ta\\tb\t10.50\t1970-01-01T00:00:00Z\n\\N\tä\t-0.05\t1970-01-01T00:00:00.000001Z\n"
        );
    }

    #[test]
    fn what_redshift_refuses_is_refused() {
        let number = || file(vec![Arc::new(Int64Array::from(vec![1]))]);
        let error = rows(number(), URI, &[]).unwrap_err();
        assert_eq!(
            error,
            "Unmatched number of columns between table and file. Table columns: 0, Data columns: 1, File name: s3://b/k"
        );
        for kind in ["integer", "character varying(5)", "numeric(12,2)", "double precision"] {
            let error = rows(number(), URI, &[target("id", kind, None)]).unwrap_err();
            assert!(
                error.contains("incompatible Parquet schema for column 's3://b/k.c0'")
                    && error.ends_with(&format!("Column type: {kind}, Parquet schema: Int64")),
                "{error}"
            );
        }
        let small = file(vec![Arc::new(Int32Array::from(vec![1]))]);
        assert!(rows(small, URI, &[target("id", "bigint", None)]).is_err());
        let text = file(vec![Arc::new(StringArray::from(vec!["ää"]))]);
        let error = rows(text, URI, &[target("note", "character varying(3)", Some(3))]).unwrap_err();
        assert!(error.ends_with("Table: 3, Data: 4, File name: s3://b/k"), "{error}");
        let error = rows(b"id\n1\n".to_vec(), URI, &[target("id", "bigint", None)]).unwrap_err();
        assert!(error.starts_with("File 's3://b/k' is not a valid Parquet file"), "{error}");
    }
}
