//! What Postgres's COPY writes, as Parquet.
//!
//! Texts become values strictly: what a type of Parquet has no value for (`infinity` as a date, a year before Christ)
//! is an error with its row and column, never another value. Little is held in memory: rows until they are a batch,
//! and one group of rows.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use self::column::Builder;
use crate::EngineError;
use crate::write::write_parquet;

mod column;

pub use self::column::ColumnType;

/// Rows of one batch.
const BATCH_ROWS: usize = 8_192;
/// Text of one batch: rows with large texts come in smaller batches.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How much of a value stands in a message.
const EXAMPLE_CHARS: usize = 60;

/// A column of what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
}

/// Takes the text format of COPY apart (Postgres's documentation, "COPY", "Text Format") and writes its rows.
pub struct ParquetCopy {
    columns: Vec<Column>,
    builders: Vec<Builder>,
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    /// The cell that is being read, and where it stands.
    cell: Vec<u8>,
    at: usize,
    is_null: bool,
    is_escaped: bool,
    /// Of the batch.
    rows: usize,
    bytes: usize,
    count: u64,
}

impl ParquetCopy {
    /// A file of these columns.
    pub fn new(columns: Vec<Column>, created_by: &str) -> Result<Self, EngineError> {
        let fields = columns.iter().map(|column| Field::new(&column.name, column.column_type.arrow(), true));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(created_by.to_owned())
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties));
        let builders = columns.iter().map(|column| Builder::new(column.column_type)).collect();
        Ok(Self {
            columns,
            builders,
            schema,
            writer: writer.map_err(EngineError::internal)?,
            cell: Vec::new(),
            at: 0,
            is_null: false,
            is_escaped: false,
            rows: 0,
            bytes: 0,
            count: 0,
        })
    }

    /// Takes some bytes of the rows, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        for &byte in bytes {
            if self.is_escaped {
                self.is_escaped = false;
                match byte {
                    b'N' => self.is_null = true,
                    b'b' => self.cell.push(8),
                    b'f' => self.cell.push(12),
                    b'n' => self.cell.push(b'\n'),
                    b'r' => self.cell.push(b'\r'),
                    b't' => self.cell.push(b'\t'),
                    b'v' => self.cell.push(11),
                    other => self.cell.push(other),
                }
                continue;
            }
            match byte {
                b'\\' => self.is_escaped = true,
                b'\t' => self.end_cell()?,
                b'\n' => {
                    self.end_cell()?;
                    self.end_row()?;
                }
                other => self.cell.push(other),
            }
        }
        Ok(())
    }

    fn end_cell(&mut self) -> Result<(), EngineError> {
        let Some(builder) = self.builders.get_mut(self.at) else {
            return Err(EngineError::internal(format!(
                "row {}: it has more columns than asked for",
                self.count + 1
            )));
        };
        self.bytes += self.cell.len();
        let appended = if self.is_null {
            builder.append_null();
            true
        } else {
            std::str::from_utf8(&self.cell).is_ok_and(|text| builder.append(text))
        };
        if !appended {
            let text: String = String::from_utf8_lossy(&self.cell).chars().take(EXAMPLE_CHARS).collect();
            let Column { name, column_type } = &self.columns[self.at];
            return Err(EngineError::BadData(format!(
                "row {}, column {name}: Parquet's {} has no value {text:?}",
                self.count + 1,
                column_type.words()
            )));
        }
        self.cell.clear();
        self.is_null = false;
        self.at += 1;
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), EngineError> {
        if self.at != self.builders.len() {
            return Err(EngineError::internal(format!("row {}: it has {} columns", self.count + 1, self.at)));
        }
        self.at = 0;
        self.rows += 1;
        self.count += 1;
        if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), EngineError> {
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(EngineError::internal)?;
        (self.rows, self.bytes) = (0, 0);
        write_parquet(&mut self.writer, &batch)
    }

    /// What is written and was not taken yet: whole groups of rows.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.inner_mut())
    }

    /// The rest of the file, and how many rows it has.
    pub fn finish(mut self) -> Result<(Vec<u8>, u64), EngineError> {
        if self.at > 0 || !self.cell.is_empty() || self.is_escaped {
            return Err(EngineError::internal(format!("row {} is cut off", self.count + 1)));
        }
        if self.rows > 0 {
            self.write()?;
        }
        let rest = self.writer.into_inner().map_err(EngineError::internal)?;
        Ok((rest, self.count))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use datafusion::arrow::util::pretty::pretty_format_batches;

    use super::*;
    use crate::parquet;

    fn columns(types: &[(&str, ColumnType)]) -> Vec<Column> {
        types
            .iter()
            .map(|(name, column_type)| Column { name: (*name).to_owned(), column_type: *column_type })
            .collect()
    }

    fn copied(types: &[(&str, ColumnType)], pieces: &[&[u8]]) -> Result<String, String> {
        let mut copy = ParquetCopy::new(columns(types), "test").unwrap();
        let mut file = Vec::new();
        for piece in pieces {
            copy.push(piece).map_err(|error| error.to_string())?;
            file.extend(copy.take());
        }
        let (rest, _) = copy.finish().map_err(|error| error.to_string())?;
        file.extend(rest);
        let schema = parquet::schema(Bytes::from(file.clone()))?;
        let mut batches = Vec::new();
        parquet::read_from(Bytes::from(file), &schema, 100, |batch| {
            batches.push(batch);
            true
        })?;
        Ok(pretty_format_batches(&batches).unwrap().to_string())
    }

    #[test]
    fn every_type_keeps_its_values() {
        let types = [
            ("b", ColumnType::Boolean),
            ("i", ColumnType::Int64),
            ("f", ColumnType::Float64),
            ("d", ColumnType::Decimal { precision: 38, scale: 2 }),
            ("day", ColumnType::Date),
            ("at", ColumnType::Timestamp { is_utc: false }),
            ("utc", ColumnType::Timestamp { is_utc: true }),
            ("raw", ColumnType::Bytes),
            ("t", ColumnType::Text),
        ];
        let rows = concat!(
            "t\t-9223372036854775808\tNaN\t123456789012345678901234567890123456.78\t9999-12-31\t9999-12-31 23:59:59.999999\t",
            "2026-11-19 10:00:00.5\t00ff\ta\\tb\\\\N\\\\\n",
            "f\t0\t-Infinity\t-0.05\t0001-01-01\t0001-01-01 00:00:00\t1969-12-31 23:59:59.999999\t\t\n",
            "\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n",
        );
        let whole = copied(&types, &[rows.as_bytes()]).unwrap();
        insta::assert_snapshot!(whole.replace('\t', "<tab>"), @r"
        +-------+----------------------+------+-----------------------------------------+------------+----------------------------+-----------------------------+------+--------+
        | b     | i                    | f    | d                                       | day        | at                         | utc                         | raw  | t      |
        +-------+----------------------+------+-----------------------------------------+------------+----------------------------+-----------------------------+------+--------+
        | true  | -9223372036854775808 | NaN  | 123456789012345678901234567890123456.78 | 9999-12-31 | 9999-12-31T23:59:59.999999 | 2026-11-19T10:00:00.500Z    | 00ff | a<tab>b\N\ |
        | false | 0                    | -inf | -0.05                                   | 0001-01-01 | 0001-01-01T00:00:00        | 1969-12-31T23:59:59.999999Z |      |        |
        |       |                      |      |                                         |            |                            |                             |      |        |
        +-------+----------------------+------+-----------------------------------------+------------+----------------------------+-----------------------------+------+--------+
        ");
        for cut in 0..rows.len() {
            let (first, second) = rows.as_bytes().split_at(cut);
            assert_eq!(copied(&types, &[first, second]).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_value_that_parquet_lacks_is_told_with_its_place() {
        for (column_type, text, expected) in [
            (ColumnType::Date, "infinity", "date has no value \"infinity\""),
            (ColumnType::Timestamp { is_utc: true }, "0044-03-15 00:00:00 BC", "timestamp has no value"),
            (ColumnType::Decimal { precision: 4, scale: 2 }, "NaN", "decimal has no value \"NaN\""),
            (ColumnType::Decimal { precision: 4, scale: 2 }, "1.234", "decimal has no value"),
            (ColumnType::Decimal { precision: 4, scale: 2 }, "123.45", "decimal has no value"),
            (ColumnType::Int16, "40000", "whole number of 16 bits has no value \"40000\""),
        ] {
            let rows = format!("\\N\n{text}\n");
            let refused = copied(&[("c", column_type)], &[rows.as_bytes()]).unwrap_err();
            assert!(
                refused.starts_with("row 2, column c: Parquet's ") && refused.contains(expected),
                "{refused}"
            );
        }
        let refused = copied(&[("c", ColumnType::Text)], &[b"\xff\n"]).unwrap_err();
        assert!(refused.starts_with("row 1, column c: Parquet's text has no value"), "{refused}");
        let refused = copied(&[("c", ColumnType::Text)], &[b"a"]).unwrap_err();
        assert_eq!(refused, "row 1 is cut off");
    }

    #[test]
    fn a_file_of_no_rows_has_its_columns() {
        let mut copy = ParquetCopy::new(columns(&[("id", ColumnType::Int32)]), "test").unwrap();
        copy.push(b"").unwrap();
        let (file, rows) = copy.finish().unwrap();
        assert_eq!(rows, 0);
        let schema = parquet::schema(Bytes::from(file)).unwrap();
        assert_eq!(schema.field(0).name(), "id");
    }
}
