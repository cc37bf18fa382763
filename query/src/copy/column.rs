//! Texts of Postgres as values of one column.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use jiff::civil::{Date, DateTime};

/// The name of the time zone that Parquet's times have, if any.
const UTC: &str = "UTC";
/// Where Parquet's days and times begin.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;

/// A type of Parquet, and what texts it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `t` and `f`.
    Boolean,
    /// A whole number.
    Int16,
    /// A whole number.
    Int32,
    /// A whole number.
    Int64,
    /// A number, `NaN` or `Infinity`.
    Float32,
    /// A number, `NaN` or `Infinity`.
    Float64,
    /// A number with exactly these digits at most.
    Decimal {
        /// Digits, 38 at most.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// `2026-11-19`.
    Date,
    /// `2026-11-19 10:00:00.123456`, with no offset.
    Timestamp {
        /// Whether it is a moment and the text says it in UTC; otherwise it is what a clock on some wall shows.
        is_utc: bool,
    },
    /// Two hexadecimal digits for each byte.
    Bytes,
    /// A text as it is.
    Text,
}

impl ColumnType {
    pub(super) fn arrow(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale.cast_signed()),
            Self::Date => DataType::Date32,
            Self::Timestamp { is_utc } => {
                DataType::Timestamp(TimeUnit::Microsecond, is_utc.then(|| Arc::from(UTC)))
            }
            Self::Bytes => DataType::Binary,
            Self::Text => DataType::Utf8,
        }
    }

    /// For a message.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int16 => "whole number of 16 bits",
            Self::Int32 => "whole number of 32 bits",
            Self::Int64 => "whole number of 64 bits",
            Self::Float32 | Self::Float64 => "number",
            Self::Decimal { .. } => "decimal",
            Self::Date => "date",
            Self::Timestamp { .. } => "timestamp",
            Self::Bytes => "bytes",
            Self::Text => "text",
        }
    }
}

/// The values of a column so far.
pub(super) enum Builder {
    Boolean(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8, u8),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Bytes(BinaryBuilder),
    Text(StringBuilder),
}

impl Builder {
    pub(super) fn new(column_type: ColumnType) -> Self {
        match column_type {
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnType::Int16 => Self::Int16(Int16Builder::new()),
            ColumnType::Int32 => Self::Int32(Int32Builder::new()),
            ColumnType::Int64 => Self::Int64(Int64Builder::new()),
            ColumnType::Float32 => Self::Float32(Float32Builder::new()),
            ColumnType::Float64 => Self::Float64(Float64Builder::new()),
            ColumnType::Decimal { precision, scale } => {
                let builder = Decimal128Builder::new().with_data_type(column_type.arrow());
                Self::Decimal(builder, precision, scale)
            }
            ColumnType::Date => Self::Date(Date32Builder::new()),
            ColumnType::Timestamp { .. } => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(column_type.arrow()))
            }
            ColumnType::Bytes => Self::Bytes(BinaryBuilder::new()),
            ColumnType::Text => Self::Text(StringBuilder::new()),
        }
    }

    pub(super) fn append_null(&mut self) {
        match self {
            Self::Boolean(builder) => builder.append_null(),
            Self::Int16(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) => builder.append_null(),
            Self::Float32(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Decimal(builder, ..) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
        }
    }

    /// Whether the text is a value; then it is added.
    pub(super) fn append(&mut self, text: &str) -> bool {
        match self {
            Self::Boolean(builder) => put(boolean(text), |value| builder.append_value(value)),
            Self::Int16(builder) => put(text.parse().ok(), |value| builder.append_value(value)),
            Self::Int32(builder) => put(text.parse().ok(), |value| builder.append_value(value)),
            Self::Int64(builder) => put(text.parse().ok(), |value| builder.append_value(value)),
            Self::Float32(builder) => put(text.parse().ok(), |value| builder.append_value(value)),
            Self::Float64(builder) => put(text.parse().ok(), |value| builder.append_value(value)),
            Self::Decimal(builder, precision, scale) => {
                put(decimal(text, *precision, *scale), |value| builder.append_value(value))
            }
            Self::Date(builder) => put(date(text), |value| builder.append_value(value)),
            Self::Timestamp(builder) => put(timestamp(text), |value| builder.append_value(value)),
            Self::Bytes(builder) => put(hex::decode(text).ok(), |value| builder.append_value(value)),
            Self::Text(builder) => put(Some(text), |value| builder.append_value(value)),
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Int16(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder, ..) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Bytes(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
        }
    }
}

fn put<T>(value: Option<T>, append: impl FnOnce(T)) -> bool {
    value.map(append).is_some()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "t" => Some(true),
        "f" => Some(false),
        _ => None,
    }
}

/// All digits as one whole number; nothing is rounded.
fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = usize::from(scale);
    if part.len() > scale || !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i128 = format!("{whole}{part:0<scale$}").parse().ok()?;
    let fits = value < 10_i128.checked_pow(u32::from(precision))?;
    fits.then_some(if digits.len() < text.len() { -value } else { value })
}

fn date(text: &str) -> Option<i32> {
    let date: Date = text.parse().ok()?;
    i32::try_from(date.duration_since(EPOCH.date()).as_secs() / SECONDS_OF_A_DAY).ok()
}

fn timestamp(text: &str) -> Option<i64> {
    let time: DateTime = text.parse().ok()?;
    i64::try_from(time.duration_since(EPOCH).as_micros()).ok()
}
