//! Files of a bucket as rows: JSON, delimited text, Parquet, and what Postgres's COPY writes; types and folders of a
//! catalog.
//!
//! The first byte chooses the reader; files of Parquet begin as such.
#![no_main]

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use libfuzzer_sys::fuzz_target;
use trunkline_query::{cells, copy, csv, folders, json, parquet, text::Delimited, transform::Content, types};
use trunkline_tasks::fuzzing::copied;

const TYPES: [(&str, &str); 8] = [
    ("id", "int"),
    ("note", "string"),
    ("amount", "decimal(12,2)"),
    ("at", "timestamp"),
    ("day", "date"),
    ("list", "array<bigint>"),
    ("parts", "struct<a:int,b:string>"),
    ("words", "map<string,double>"),
];

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| schema(&TYPES));
static PLAIN: LazyLock<SchemaRef> = LazyLock::new(|| schema(&TYPES[..5]));

fn schema(columns: &[(&str, &str)]) -> SchemaRef {
    let field =
        |(name, hive): &(&str, &str)| Field::new(*name, types::arrow_type(hive).expect("a type"), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"PAR1") {
        return columnar(data);
    }
    let [what, rest @ ..] = data else { return };
    match what % 5 {
        0 => records(rest),
        1 => delimited(rest),
        2 => from_postgres(rest),
        3 => into_postgres(rest),
        _ => catalog(rest),
    }
});

/// As many rows as records.
fn records(content: &[u8]) {
    for read in [json::records_of(content), json::records_by_line(content)] {
        let Ok(records) = read else { continue };
        for strict in [false, true] {
            if let Ok(batch) = json::batch_of(&records, &SCHEMA, strict) {
                assert_eq!(batch.num_rows(), records.len());
            }
        }
    }
}

fn delimited(content: &[u8]) {
    for (delimiter, quote, escape) in
        [(b',', Some(b'"'), Some(b'\\')), (b'\t', None, None), (b'|', Some(b'"'), Some(b'"'))]
    {
        let format = Delimited { delimiter, quote, escape, skipped_lines: usize::from(quote.is_some()) };
        let loose = csv::batch_of(content, format, &PLAIN, &[0, 1, 2, 3, 4], false)
            .expect("what does not fit is null");
        if let Ok(strict) = csv::batch_of(content, format, &PLAIN, &[0, 1, 2, 3, 4], true) {
            assert_eq!(strict, loose, "nothing was null that could be read");
        }
    }
}

/// What `extract` makes of COPY's text.
fn from_postgres(content: &[u8]) {
    use copy::ColumnType::{Boolean, Bytes, Date, Decimal, Float64, Int32, Text, Timestamp};
    let column = |name: &str, column_type| copy::Column { name: name.to_owned(), column_type };
    let columns = vec![
        column("a", Int32),
        column("b", Text),
        column("c", Decimal { precision: 12, scale: 2 }),
        column("d", Timestamp { is_utc: true }),
        column("e", Date),
        column("f", Float64),
        column("g", Boolean),
        column("h", Bytes),
    ];
    let mut written = copy::ParquetCopy::new(columns, "fuzz").expect("columns");
    let cut = content.len() / 2;
    if written.push(&content[..cut]).is_ok() && written.push(&content[cut..]).is_ok() {
        let mut file = written.take();
        let Ok((rest, rows)) = written.finish() else { return };
        file.extend(rest);
        let mut read = 0;
        let counted = parquet::read_from(bytes::Bytes::from(file), &PLAIN, 16, |batch| {
            read += batch.num_rows();
            true
        });
        if let Ok(count) = counted {
            assert_eq!((count as u64, read), (rows, count));
        }
    }
}

/// What `load` makes of records: a line for each, wherever the bytes are cut.
fn into_postgres(content: &[u8]) {
    let columns = ["id", "note", "amount"];
    let cut = content.first().map_or(0, |byte| usize::from(*byte) % content.len());
    let whole = copied(&columns, [content, b""]);
    let pieces = copied(&columns, [&content[..cut], &content[cut..]]);
    if let (Ok(whole), Ok(pieces)) = (&whole, &pieces) {
        assert_eq!(whole, pieces, "cut at {cut}");
    }
    assert_eq!(whole.is_ok(), pieces.is_ok(), "cut at {cut}: {whole:?} {pieces:?}");
    if let Ok((rows, count)) = whole {
        assert_eq!(rows.iter().filter(|byte| **byte == b'\n').count() as u64, count);
        assert_eq!(rows.iter().filter(|byte| **byte == b'\t').count() as u64, 2 * count);
    }
}

/// A file of Parquet that anybody may have put into the bucket.
fn columnar(data: &[u8]) {
    let file = || bytes::Bytes::copy_from_slice(data);
    let _ = parquet::schema(file());
    let _ = parquet::read_from(file(), &SCHEMA, 16, |_| true);
    let kind = |_: usize, _: &str| Some("text".to_owned());
    let _ = cells::read(Content::Memory(data.to_vec()), &kind, &mut |cells| {
        let columns = cells.names().count();
        for (row, column) in (0..cells.rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            cells.append(row, column, &mut String::new())?;
        }
        Ok(true)
    });
}

fn catalog(rest: &[u8]) {
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if let Ok(arrow) = types::arrow_type(text)
        && let Ok(hive) = types::hive_type(&arrow)
    {
        let again = types::arrow_type(&hive).expect("what is written is read");
        assert_eq!(types::hive_type(&again).ok(), Some(hive));
    }
    if let Some((key, value)) = folders::parse_folder(text) {
        let written = folders::folder(&key, value.as_deref());
        let read = folders::parse_folder(&written).expect("what is written is read");
        assert_eq!(read, (key, value.filter(|value| !value.is_empty())));
    }
    folders::is_data(text);
}
