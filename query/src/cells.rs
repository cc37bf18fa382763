//! Values of Parquet's columns as texts that Postgres reads.
//!
//! A moment becomes one in UTC, whatever zone its file names; bytes are hexadecimal where the column holds bytes, and a
//! text where they are one, since old writers say of no text that it is one; what is nested becomes JSON.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, BinaryArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, FieldRef, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::SignedDuration;
use jiff::civil::DateTime;

use crate::parquet;
use crate::transform::Content;

/// Rows that are held at the same time: their texts may be large.
const BATCH_ROWS: usize = 1_024;
/// Where Parquet's times begin.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const NANOSECONDS: i64 = 1_000_000_000;

/// Reads a file's rows, some at a time. `kind_of` is told each column's place and name, and says the type of the
/// database's column that it goes into, if it goes into one; `each` returns whether to go on. Returns the names of all
/// columns.
pub fn read(
    content: Content,
    kind_of: &dyn Fn(usize, &str) -> Option<String>,
    each: &mut dyn FnMut(&mut Cells<'_>) -> Result<bool, String>,
) -> Result<Vec<String>, String> {
    let kinds: RefCell<Vec<String>> = RefCell::default();
    let wanted = |place: usize, name: &str| {
        let kind = kind_of(place, name);
        let is_wanted = kind.is_some();
        kinds.borrow_mut().extend(kind);
        is_wanted
    };
    let batch = |batch: &RecordBatch| {
        let plain = Plain::new(batch)?;
        each(&mut plain.cells(&kinds.borrow())?)
    };
    match content {
        Content::Memory(bytes) => parquet::read_plain(Bytes::from(bytes), BATCH_ROWS, wanted, batch),
        Content::Disk(file) => parquet::read_plain(file, BATCH_ROWS, wanted, batch),
    }
}

/// The columns of a batch in the few types that [`Cells`] knows.
struct Plain {
    schema: SchemaRef,
    rows: usize,
    arrays: Vec<ArrayRef>,
}

impl Plain {
    fn new(batch: &RecordBatch) -> Result<Self, String> {
        let arrays = batch.columns().iter().map(plain).collect::<Result<_, _>>()?;
        Ok(Self { schema: batch.schema(), rows: batch.num_rows(), arrays })
    }

    fn cells(&self, kinds: &[String]) -> Result<Cells<'_>, String> {
        let columns = self.schema.fields().iter().zip(&self.arrays).zip(kinds);
        let columns = columns.map(|((field, array), kind)| {
            Ok(Column { name: field.name(), array, kind: Kind::new(field, array, kind)? })
        });
        Ok(Cells { rows: self.rows, columns: columns.collect::<Result<_, String>>()? })
    }
}

/// One type for each of its encodings.
fn plain(array: &ArrayRef) -> Result<ArrayRef, String> {
    let wanted = match array.data_type() {
        DataType::Dictionary(_, value) => {
            let value = cast(array, value).map_err(|error| error.to_string())?;
            return plain(&value);
        }
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        _ => return Ok(array.clone()),
    };
    cast(array, &wanted).map_err(|error| error.to_string())
}

/// Texts of a batch's values.
pub struct Cells<'a> {
    /// How many rows there are.
    pub rows: usize,
    columns: Vec<Column<'a>>,
}

struct Column<'a> {
    name: &'a str,
    array: &'a ArrayRef,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Texts(&'a StringArray),
    /// Bytes that are texts.
    Bytes(&'a BinaryArray),
    Hexadecimal {
        bytes: &'a BinaryArray,
        /// What stands before them.
        mark: &'static str,
    },
    Times {
        values: &'a [i64],
        /// How many are a second.
        units: i64,
        is_utc: bool,
    },
    Shown(ArrayFormatter<'a>),
    Nested(NullableEncoder<'a>),
}

impl<'a> Kind<'a> {
    fn new(field: &'a FieldRef, array: &'a ArrayRef, kind: &str) -> Result<Self, String> {
        let wrong = |text: &str| format!("column {}: {text}", field.name());
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Texts(array.as_string()),
            DataType::Binary if kind == "bytea" => {
                Self::Hexadecimal { bytes: array.as_binary(), mark: "\\x" }
            }
            DataType::Binary if kind == "uuid" => Self::Hexadecimal { bytes: array.as_binary(), mark: "" },
            DataType::Binary => Self::Bytes(array.as_binary()),
            DataType::Timestamp(unit, zone) => {
                let (values, units) = times(array, *unit);
                Self::Times { values, units, is_utc: zone.is_some() }
            }
            nested if nested.is_nested() => {
                static OPTIONS: LazyLock<EncoderOptions> =
                    LazyLock::new(|| EncoderOptions::default().with_explicit_nulls(true));
                let encoder = make_encoder(field, array.as_ref(), &OPTIONS);
                Self::Nested(encoder.map_err(|error| wrong(&error.to_string()))?)
            }
            DataType::Duration(_) | DataType::Interval(_) => {
                return Err(wrong(&format!("Parquet's type {} has no counterpart", array.data_type())));
            }
            _ => {
                static OPTIONS: FormatOptions<'static> = FormatOptions::new();
                let formatter = ArrayFormatter::try_new(array.as_ref(), &OPTIONS);
                Self::Shown(formatter.map_err(|error| wrong(&error.to_string()))?)
            }
        })
    }
}

impl Cells<'_> {
    /// The columns' names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name)
    }

    /// Appends a value's text; without a value nothing, and the answer is no.
    pub fn append(&mut self, row: usize, column: usize, out: &mut String) -> Result<bool, String> {
        let Column { name, array, kind } = &mut self.columns[column];
        if array.is_null(row) || array.data_type() == &DataType::Null {
            return Ok(false);
        }
        let wrong = |text: &str| format!("column {name}: {text}");
        match kind {
            Kind::Texts(texts) => out.push_str(texts.value(row)),
            Kind::Bytes(bytes) => {
                let text = std::str::from_utf8(bytes.value(row));
                out.push_str(text.map_err(|_| wrong("its bytes are no text"))?);
            }
            Kind::Hexadecimal { bytes, mark } => {
                out.push_str(mark);
                out.push_str(&hex::encode(bytes.value(row)));
            }
            Kind::Times { values, units, is_utc } => {
                let value = values[row];
                let at = time(value, *units)
                    .ok_or_else(|| wrong(&format!("{value} is no time before the year 10000")))?;
                let zone = if *is_utc { "Z" } else { "" };
                write!(out, "{at}{zone}").map_err(|error| wrong(&error.to_string()))?;
            }
            Kind::Shown(formatter) => {
                write!(out, "{}", formatter.value(row)).map_err(|error| wrong(&error.to_string()))?;
            }
            Kind::Nested(encoder) => {
                let mut text = Vec::new();
                encoder.encode(row, &mut text);
                out.push_str(&String::from_utf8_lossy(&text));
            }
        }
        Ok(true)
    }
}

/// The values with how many of their unit are a second.
fn times(array: &ArrayRef, unit: TimeUnit) -> (&[i64], i64) {
    match unit {
        TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().values(), 1),
        TimeUnit::Millisecond => (array.as_primitive::<TimestampMillisecondType>().values(), 1_000),
        TimeUnit::Microsecond => (array.as_primitive::<TimestampMicrosecondType>().values(), 1_000_000),
        TimeUnit::Nanosecond => (array.as_primitive::<TimestampNanosecondType>().values(), NANOSECONDS),
    }
}

fn time(value: i64, units: i64) -> Option<DateTime> {
    let part = value.rem_euclid(units) * (NANOSECONDS / units);
    EPOCH.checked_add(SignedDuration::new(value.div_euclid(units), i32::try_from(part).ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        DictionaryArray, DurationSecondArray, FixedSizeBinaryArray, Float64Array, Int32Array, ListArray,
        TimestampMillisecondArray, TimestampNanosecondArray,
    };
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    fn texts(array: ArrayRef, kind: &str) -> Result<Vec<Option<String>>, String> {
        let batch = RecordBatch::try_from_iter_with_nullable([("c", array, true)]).unwrap();
        let plain = Plain::new(&batch)?;
        let mut cells = plain.cells(&[kind.to_owned()])?;
        (0..batch.num_rows())
            .map(|row| {
                let mut text = String::new();
                Ok(cells.append(row, 0, &mut text)?.then_some(text))
            })
            .collect()
    }

    fn one(array: impl Array + 'static, kind: &str) -> String {
        texts(Arc::new(array), kind).unwrap()[0].clone().unwrap()
    }

    #[test]
    fn values_become_texts_that_postgres_reads() {
        let times = TimestampMillisecondArray::from(vec![-1, 253_402_300_799_999]);
        let berlin = times.clone().with_timezone("Europe/Berlin");
        assert_eq!(one(times.clone(), "timestamp"), "1969-12-31T23:59:59.999");
        assert_eq!(one(berlin, "timestamptz"), "1969-12-31T23:59:59.999Z");
        assert_eq!(texts(Arc::new(times), "text").unwrap()[1].as_deref(), Some("9999-12-31T23:59:59.999"));
        assert_eq!(one(TimestampNanosecondArray::from(vec![1]), "text"), "1970-01-01T00:00:00.000000001");
        assert_eq!(one(Float64Array::from(vec![0.1]), "numeric"), "0.1");
        assert_eq!(one(Float64Array::from(vec![f64::NAN]), "numeric"), "NaN");
        let words: DictionaryArray<Int32Type> = ["b", "a"].into_iter().collect();
        assert_eq!(one(words, "text"), "b");
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]);
        assert_eq!(one(lists, "jsonb"), "[1,null]");
        assert_eq!(texts(Arc::new(Int32Array::from(vec![None])), "text").unwrap(), [None]);
    }

    #[test]
    fn bytes_are_what_their_column_holds() {
        let bytes = || FixedSizeBinaryArray::try_from_iter([*b"sixteen bytes :)"].into_iter()).unwrap();
        assert_eq!(one(bytes(), "uuid"), "7369787465656e206279746573203a29");
        assert_eq!(one(bytes(), "bytea"), "\\x7369787465656e206279746573203a29");
        assert_eq!(one(bytes(), "text"), "sixteen bytes :)");
        let refused = texts(Arc::new(BinaryArray::from_vec(vec![b"\xff"])), "text").unwrap_err();
        assert_eq!(refused, "column c: its bytes are no text");
    }

    #[test]
    fn what_has_no_counterpart_is_refused_by_name() {
        let refused = texts(Arc::new(DurationSecondArray::from(vec![1])), "interval").unwrap_err();
        assert_eq!(refused, "column c: Parquet's type Duration(s) has no counterpart");
        let refused = texts(Arc::new(TimestampMillisecondArray::from(vec![i64::MAX])), "text").unwrap_err();
        assert!(refused.starts_with("column c: 9223372036854775807 is no time"), "{refused}");
    }
}
