//! The columns of a table in the source, and what each becomes in Parquet.
//!
//! A type that Parquet has too keeps its values exactly. What Parquet lacks becomes text as Postgres writes it:
//! `numeric` without a precision or of more than 38 digits, `uuid`, `time`, `interval`, ranges, enums, `json`; arrays
//! and composite types become JSON. A value that the column's type in Parquet lacks, `infinity` among them, is an
//! error: nothing is rounded and nothing becomes null.

use sqlx::PgConnection;
use trunkline_query::copy::{Column, ColumnType};

use super::wrong;
use crate::{
    operator::Failure,
    postgres::{
        failure,
        names::{Table, quoted},
    },
};

/// Digits of Parquet's decimals, as every reader takes them.
const DIGITS_MAX: i32 = 38;

/// A column, and how it is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) column: Column,
    pub(super) sql: String,
}

/// What the catalog says of a column's type, domains taken apart.
#[derive(Debug, sqlx::FromRow)]
struct Described {
    name: String,
    type_name: String,
    is_standard: bool,
    /// Whether it is an array or has columns of its own.
    is_nested: bool,
    modifier: i32,
}

/// The columns that are wanted, in their order; all of the table's where none is named.
pub(super) async fn of(
    connection: &mut PgConnection,
    table: &Table,
    wanted: &[String],
) -> Result<Vec<Source>, Failure> {
    // A column of a domain has no modifier; its domain, or the one below that, has.
    let described: Vec<Described> = sqlx::query_as(
        "with recursive typed as (
            select attnum, attname::text as name, atttypid as type, atttypmod as modifier
              from pg_attribute where attrelid = to_regclass($1) and attnum > 0 and not attisdropped
            union all
            select attnum, name, typbasetype, case when typtypmod = -1 then modifier else typtypmod end
              from typed join pg_type on pg_type.oid = typed.type where typtype = 'd'
         )
         select name, typname::text as type_name, typnamespace = 'pg_catalog'::regnamespace as is_standard,
                typcategory = 'A' or typtype = 'c' as is_nested, modifier
           from typed join pg_type on pg_type.oid = typed.type where typtype <> 'd' order by attnum",
    )
    .bind(table.sql())
    .fetch_all(connection)
    .await
    .map_err(|error| failure::of(&error))?;
    if described.is_empty() {
        return Err(wrong("there is no such table, or it has no column".into()));
    }
    if wanted.is_empty() {
        return Ok(described.iter().map(source).collect());
    }
    let find = |name: &String| {
        let found = described.iter().find(|column| column.name == *name).map(source);
        found.ok_or_else(|| wrong(format!("it has no column `{name}`")))
    };
    wanted.iter().map(find).collect()
}

fn source(described: &Described) -> Source {
    let name = quoted(&described.name);
    let (column_type, sql) = match described.type_name.as_str() {
        _ if described.is_nested => (ColumnType::Text, format!("to_json({name})::text")),
        _ if !described.is_standard => (ColumnType::Text, name),
        "bool" => (ColumnType::Boolean, name),
        "int2" => (ColumnType::Int16, name),
        "int4" => (ColumnType::Int32, name),
        "int8" | "oid" => (ColumnType::Int64, name),
        "float4" => (ColumnType::Float32, name),
        "float8" => (ColumnType::Float64, name),
        "numeric" => (decimal(described.modifier), name),
        "date" => (ColumnType::Date, name),
        "timestamp" => (ColumnType::Timestamp { is_utc: false }, name),
        "timestamptz" => (ColumnType::Timestamp { is_utc: true }, format!("{name} at time zone 'UTC'")),
        // Postgres writes bytes in one of two ways, as the database is set.
        "bytea" => (ColumnType::Bytes, format!("encode({name}, 'hex')")),
        _ => (ColumnType::Text, name),
    };
    Source { column: Column { name: described.name.clone(), column_type }, sql }
}

/// A decimal, or text where Parquet has none for all values of the column. How a modifier holds both numbers is in
/// Postgres's `numeric.c`; the scale may be negative, or more than the digits.
fn decimal(modifier: i32) -> ColumnType {
    if modifier < 4 {
        return ColumnType::Text;
    }
    let precision = ((modifier - 4) >> 16) & 0xffff;
    let scale = (((modifier - 4) & 0x7ff) ^ 0x400) - 0x400;
    let (digits, scale) = if scale < 0 { (precision - scale, 0) } else { (precision.max(scale), scale) };
    match (u8::try_from(digits), u8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if digits <= DIGITS_MAX => ColumnType::Decimal { precision, scale },
        _ => ColumnType::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modifier(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7ff)) + 4
    }

    #[test]
    fn decimals_have_the_digits_of_their_column() {
        for ((precision, scale), expected) in [
            ((12, 2), Some((12, 2))),
            ((38, 38), Some((38, 38))),
            ((39, 0), None),
            ((3, 5), Some((5, 5))),
            ((2, -3), Some((5, 0))),
            ((30, -9), None),
            ((1000, 2), None),
        ] {
            let expected = expected
                .map_or(ColumnType::Text, |(precision, scale)| ColumnType::Decimal { precision, scale });
            assert_eq!(decimal(modifier(precision, scale)), expected, "numeric({precision}, {scale})");
        }
        assert_eq!(decimal(-1), ColumnType::Text);
    }

    #[test]
    fn a_type_of_a_person_is_text_whatever_its_name() {
        let described = |is_standard| Described {
            name: "a\"b".into(),
            type_name: "date".into(),
            is_standard,
            is_nested: false,
            modifier: -1,
        };
        assert_eq!(source(&described(true)).column.column_type, ColumnType::Date);
        let own = source(&described(false));
        assert_eq!((own.column.column_type, own.sql.as_str()), (ColumnType::Text, "\"a\"\"b\""));
    }
}
