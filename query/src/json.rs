//! JSON objects as rows: splitting an object's bytes into records, and turning records into columns.
//!
//! Two readers of JSON disagree on what is legal, and both are here: Spark's and the crawler's (any number of
//! records, pretty-printed or not, one after another) and the `SerDe` that Athena uses (one record per line).

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, ListArray, MapArray, StringArray, StructArray, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use serde_json::{Map, Value};

/// One record of a JSON object.
pub type Record = Map<String, Value>;

/// Why an object is not JSON, or not of the table's shape.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BadJson(pub String);

/// The records of an object as Spark and the crawler see it: objects one after another with any white space
/// between them, or arrays of objects.
pub fn records_of(content: &[u8]) -> Result<Vec<Record>, BadJson> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut records = Vec::new();
    for value in serde_json::Deserializer::from_slice(content).into_iter::<Value>() {
        match value.map_err(|error| BadJson(error.to_string()))? {
            Value::Object(record) => records.push(record),
            Value::Array(items) => {
                for item in items {
                    let Value::Object(record) = item else { return Err(not_an_object(&item)) };
                    records.push(record);
                }
            }
            other => return Err(not_an_object(&other)),
        }
    }
    Ok(records)
}

/// The records of an object as Athena's `SerDe` sees it: every line is one record.
pub fn records_by_line(content: &[u8]) -> Result<Vec<Record>, BadJson> {
    let mut records = Vec::new();
    for line in content.split(|byte| *byte == b'\n') {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        records.push(serde_json::from_slice(line).map_err(|_| {
            BadJson("HIVE_CURSOR_ERROR: Row is not a valid JSON Object - JSONException".to_owned())
        })?);
    }
    Ok(records)
}

fn not_an_object(value: &Value) -> BadJson {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    BadJson(format!("expected a JSON object, found {kind}"))
}

/// Turns records into one batch with the schema's columns: names match whatever their case, missing members
/// are null, further members are passed over. A value that does not fit its column is null, or an error if
/// `strict`.
pub fn batch_of(records: &[Record], schema: &SchemaRef, strict: bool) -> Result<RecordBatch, BadJson> {
    let rows: Vec<Option<&Record>> = records.iter().map(Some).collect();
    let arrays = member_arrays(&rows, schema.fields(), strict)?;
    let options =
        datafusion::arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(records.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
        .map_err(|error| BadJson(error.to_string()))
}

fn member_arrays(rows: &[Option<&Record>], fields: &Fields, strict: bool) -> Result<Vec<ArrayRef>, BadJson> {
    let index: HashMap<String, usize> =
        fields.iter().enumerate().map(|(at, field)| (field.name().to_lowercase(), at)).collect();
    let mut columns: Vec<Vec<Option<&Value>>> = vec![vec![None; rows.len()]; fields.len()];
    // Most records spell their members alike, so each spelling is lower-cased once.
    let mut spellings: HashMap<&str, Option<usize>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        for (name, value) in row.iter().copied().flatten() {
            let column = if let Some(known) = spellings.get(name.as_str()) {
                *known
            } else {
                let found = index.get(&name.to_lowercase()).copied();
                spellings.insert(name, found);
                found
            };
            if let Some(column) = column {
                columns[column][at] = Some(value);
            }
        }
    }
    columns
        .iter()
        .zip(fields)
        .map(|(values, field)| {
            array_of(values, field.data_type(), strict)
                .map_err(|BadJson(reason)| BadJson(format!("column {}: {reason}", field.name())))
        })
        .collect()
}

fn array_of(values: &[Option<&Value>], data_type: &DataType, strict: bool) -> Result<ArrayRef, BadJson> {
    let build = Build { values, strict };
    Ok(match data_type {
        DataType::Utf8 => Arc::new(build.texts()),
        DataType::Boolean => Arc::new(build.each("a boolean", Value::as_bool)?.collect::<BooleanArray>()),
        DataType::Int8 => Arc::new(build.each("a tinyint", whole)?.collect::<Int8Array>()),
        DataType::Int16 => Arc::new(build.each("a smallint", whole)?.collect::<Int16Array>()),
        DataType::Int32 => Arc::new(build.each("an int", whole)?.collect::<Int32Array>()),
        DataType::Int64 => Arc::new(build.each("a bigint", Value::as_i64)?.collect::<Int64Array>()),
        #[expect(clippy::cast_possible_truncation, reason = "a FLOAT column holds the nearest 32-bit number")]
        DataType::Float32 => Arc::new(
            build.each("a float", |value| value.as_f64().map(|wide| wide as f32))?.collect::<Float32Array>(),
        ),
        DataType::Float64 => Arc::new(build.each("a double", Value::as_f64)?.collect::<Float64Array>()),
        DataType::Binary => Arc::new(
            build.each("a string", |value| value.as_str().map(str::as_bytes))?.collect::<BinaryArray>(),
        ),
        DataType::List(field) => build.list(field)?,
        DataType::Struct(fields) => build.structure(fields)?,
        DataType::Map(entries, _) => build.map(entries)?,
        other => build.from_text(other)?,
    })
}

fn whole<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    T::try_from(value.as_i64()?).ok()
}

struct Build<'a> {
    values: &'a [Option<&'a Value>],
    strict: bool,
}

impl<'a> Build<'a> {
    /// Null and missing are the same to every reader.
    fn present(&self) -> impl Iterator<Item = Option<&'a Value>> {
        self.values.iter().map(|value| value.filter(|value| !value.is_null()))
    }

    fn each<T>(
        &self,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<std::vec::IntoIter<Option<T>>, BadJson> {
        let mut read_values = Vec::with_capacity(self.values.len());
        for value in self.present() {
            let fits = value.and_then(&read);
            if self.strict
                && fits.is_none()
                && let Some(value) = value
            {
                return Err(misfit(value, wanted));
            }
            read_values.push(fits);
        }
        Ok(read_values.into_iter())
    }

    fn texts(&self) -> StringArray {
        self.present()
            .map(|value| {
                value.map(|value| match value {
                    Value::String(text) => std::borrow::Cow::Borrowed(text.as_str()),
                    other => std::borrow::Cow::Owned(other.to_string()),
                })
            })
            .collect()
    }

    /// Dates, timestamps and decimals, by way of their text.
    #[expect(clippy::wrong_self_convention, reason = "it builds from text, it is not a conversion of Build")]
    fn from_text(&self, data_type: &DataType) -> Result<ArrayRef, BadJson> {
        let texts: ArrayRef = Arc::new(self.texts());
        let options = CastOptions { safe: !self.strict, ..CastOptions::default() };
        cast_with_options(&texts, data_type, &options).map_err(|error| {
            let alone = |value: &Value| Build { values: &[Some(value)], strict: true }.from_text(data_type);
            // The error of a column is that of its first value that does not fit.
            let mut values = self.present().flatten();
            let first = if self.values.len() == 1 {
                values.next()
            } else {
                values.find(|value| alone(value).is_err())
            };
            first.map_or_else(|| BadJson(error.to_string()), |value| misfit(value, &named(data_type)))
        })
    }

    fn list(&self, field: &Arc<Field>) -> Result<ArrayRef, BadJson> {
        let lists: Vec<Option<&Vec<Value>>> = self.each("an array", Value::as_array)?.collect();
        let lengths = lists.iter().map(|list| list.map_or(0, Vec::len));
        let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
        let nulls: NullBuffer = lists.iter().map(Option::is_some).collect();
        let items: Vec<Option<&Value>> =
            lists.iter().flatten().flat_map(|list| list.iter().map(Some)).collect();
        let items = array_of(&items, field.data_type(), self.strict)?;
        let list = ListArray::try_new(Arc::clone(field), offsets, items, Some(nulls));
        Ok(Arc::new(list.map_err(|error| BadJson(error.to_string()))?))
    }

    fn structure(&self, fields: &Fields) -> Result<ArrayRef, BadJson> {
        let records: Vec<Option<&Record>> = self.each("an object", Value::as_object)?.collect();
        if fields.is_empty() {
            return Ok(new_null_array(&DataType::Struct(fields.clone()), records.len()));
        }
        let members = member_arrays(&records, fields, self.strict)?;
        let nulls: NullBuffer = records.iter().map(Option::is_some).collect();
        let built = StructArray::try_new(fields.clone(), members, Some(nulls));
        Ok(Arc::new(built.map_err(|error| BadJson(error.to_string()))?))
    }

    fn map(&self, entries: &Arc<Field>) -> Result<ArrayRef, BadJson> {
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(BadJson("a map without entries".to_owned()));
        };
        let records: Vec<Option<&Record>> = self.each("an object", Value::as_object)?.collect();
        let offsets =
            OffsetBuffer::<i32>::from_lengths(records.iter().map(|record| record.map_or(0, Map::len)));
        let nulls: NullBuffer = records.iter().map(Option::is_some).collect();
        let keys: Vec<Value> = records
            .iter()
            .copied()
            .flatten()
            .flat_map(|record| record.keys().cloned().map(Value::String))
            .collect();
        let keys: Vec<Option<&Value>> = keys.iter().map(Some).collect();
        let values: Vec<Option<&Value>> =
            records.iter().copied().flatten().flat_map(|record| record.values().map(Some)).collect();
        let key_array = if fields[0].data_type() == &DataType::Utf8 {
            array_of(&keys, &DataType::Utf8, self.strict)?
        } else {
            Build { values: &keys, strict: self.strict }.from_text(fields[0].data_type())?
        };
        let members = vec![key_array, array_of(&values, fields[1].data_type(), self.strict)?];
        let pairs = StructArray::try_new(fields.clone(), members, None)
            .map_err(|error| BadJson(error.to_string()))?;
        let built = MapArray::try_new(Arc::clone(entries), offsets, pairs, Some(nulls), false);
        Ok(Arc::new(built.map_err(|error| BadJson(error.to_string()))?))
    }
}

/// A type as people write it.
pub(crate) fn named(data_type: &DataType) -> String {
    crate::types::hive_type(data_type).unwrap_or_else(|_| data_type.to_string())
}

fn misfit(value: &Value, wanted: &str) -> BadJson {
    let mut shown = value.to_string();
    if shown.len() > 60 {
        shown = shown.chars().take(60).chain(['…']).collect();
    }
    BadJson(format!("HIVE_BAD_DATA: {shown} is not {wanted}"))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Array;
    use datafusion::arrow::datatypes::Schema;
    use datafusion::arrow::util::pretty::pretty_format_batches;

    use super::super::types::arrow_type;
    use super::*;

    fn schema(columns: &[(&str, &str)]) -> SchemaRef {
        let fields: Vec<_> =
            columns.iter().map(|(name, hive)| Field::new(*name, arrow_type(hive).unwrap(), true)).collect();
        Arc::new(Schema::new(fields))
    }

    #[test]
    fn splits_every_layout() {
        for (layout, expected) in [
            (r#"{"a":1}"#, 1),
            ("{\n  \"a\": 1\n}\n", 1),
            ("{\"a\":1}\n{\"a\":2}\n", 2),
            (r#"{"a":1}{"a":2} {"a":3}"#, 3),
            (r#"[{"a":1},{"a":2}]"#, 2),
            ("\u{feff}{\"a\":1}", 1),
            ("  \n", 0),
        ] {
            assert_eq!(records_of(layout.as_bytes()).map(|records| records.len()), Ok(expected), "{layout}");
        }
    }

    #[test]
    fn names_what_is_not_json() {
        for corrupt in ["{\"a\":1", "nonsense", "[1]", "1", "{\"a\":1} trailing", "\u{0}"] {
            assert!(records_of(corrupt.as_bytes()).is_err(), "{corrupt}");
        }
        assert_eq!(records_of(b"[1]").unwrap_err().to_string(), "expected a JSON object, found a number");
        assert!(records_of(&[b'{', 0xff, b'}']).is_err());
    }

    #[test]
    fn builds_columns_by_name_whatever_their_case() {
        let content =
            br#"{"Id":7,"Minutes":0,"Tags":["x",null],"Who":{"Name":"n"},"More":{"k":1.5},"Extra":1}
                          {"Minutes":0.1,"Id":"text","Day":"2026-11-19"}"#;
        let schema = schema(&[
            ("id", "int"),
            ("minutes", "double"),
            ("tags", "array<string>"),
            ("who", "struct<name:string,age:int>"),
            ("more", "map<string,double>"),
            ("day", "date"),
            ("absent", "boolean"),
        ]);
        let records = records_of(content).unwrap();
        let batch = batch_of(&records, &schema, false).unwrap();
        insta::assert_snapshot!(pretty_format_batches(&[batch]).unwrap());
        let error = batch_of(&records, &schema, true).unwrap_err();
        assert_eq!(error.to_string(), "column id: HIVE_BAD_DATA: \"text\" is not an int");
    }

    #[test]
    fn a_text_column_takes_any_value() {
        let records = records_of(br#"{"a":12}{"a":true}{"a":{"b":1}}{"a":null}"#).unwrap();
        let batch = batch_of(&records, &schema(&[("a", "string")]), true).unwrap();
        let column = batch.column(0).as_any().downcast_ref::<StringArray>().unwrap();
        let texts: Vec<_> = column.iter().collect();
        assert_eq!(texts, [Some("12"), Some("true"), Some("{\"b\":1}"), None]);
        assert_eq!(column.null_count(), 1);
    }

    #[test]
    fn athena_wants_one_record_per_line() {
        assert_eq!(records_by_line(b"{\"a\":1}\n\n{\"a\":2}").map(|records| records.len()), Ok(2));
        assert!(records_by_line(b"{\n\"a\":1}").is_err());
    }
}
