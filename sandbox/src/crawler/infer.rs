//! The Hive types of JSON values, and their merging over many records.

use serde_json::Value;

use crate::catalog::Column;

/// Deepest nesting whose shape is kept; what is deeper is text.
const DEPTH_MAX: usize = 16;
/// Most members of one object that become columns or fields.
const MEMBERS_MAX: usize = 2_000;

/// A type as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// Only nulls were seen.
    Unknown,
    Boolean,
    Int,
    Bigint,
    Double,
    Text,
    List(Box<Shape>),
    /// Fields in the order in which they were first seen, with lower-case names.
    Fields(Vec<(String, Shape)>),
}

/// The shape of a JSON value.
pub(super) fn shape_of(value: &Value, depth: usize) -> Shape {
    match value {
        Value::Null => Shape::Unknown,
        Value::Bool(_) => Shape::Boolean,
        Value::Number(number) => match number.as_i64() {
            Some(whole) if i32::try_from(whole).is_ok() => Shape::Int,
            Some(_) => Shape::Bigint,
            None => Shape::Double,
        },
        Value::String(_) => Shape::Text,
        Value::Array(_) | Value::Object(_) if depth >= DEPTH_MAX => Shape::Text,
        Value::Array(items) => {
            let item = items.iter().map(|item| shape_of(item, depth + 1)).fold(Shape::Unknown, merge);
            Shape::List(Box::new(item))
        }
        Value::Object(members) => {
            let mut fields = Vec::new();
            for (name, value) in members.iter().take(MEMBERS_MAX) {
                add_field(&mut fields, name.to_lowercase(), shape_of(value, depth + 1));
            }
            Shape::Fields(fields)
        }
    }
}

/// A shape that both shapes fit into.
pub(super) fn merge(one: Shape, other: Shape) -> Shape {
    match (one, other) {
        (Shape::Unknown, known) | (known, Shape::Unknown) => known,
        (one, other) if one == other => one,
        (Shape::Int, Shape::Bigint) | (Shape::Bigint, Shape::Int) => Shape::Bigint,
        (Shape::Int | Shape::Bigint, Shape::Double) | (Shape::Double, Shape::Int | Shape::Bigint) => {
            Shape::Double
        }
        (Shape::List(one), Shape::List(other)) => Shape::List(Box::new(merge(*one, *other))),
        (Shape::Fields(mut fields), Shape::Fields(more)) => {
            for (name, shape) in more {
                add_field(&mut fields, name, shape);
            }
            Shape::Fields(fields)
        }
        _ => Shape::Text,
    }
}

fn add_field(fields: &mut Vec<(String, Shape)>, name: String, shape: Shape) {
    if let Some((_, known)) = fields.iter_mut().find(|(known, _)| *known == name) {
        *known = merge(std::mem::replace(known, Shape::Unknown), shape);
    } else if fields.len() < MEMBERS_MAX {
        fields.push((name, shape));
    }
}

/// The columns of a record's shape.
pub(super) fn columns_of(shape: &Shape) -> Vec<Column> {
    match shape {
        Shape::Fields(fields) => fields.iter().map(|(name, shape)| Column::new(name, hive(shape))).collect(),
        _ => Vec::new(),
    }
}

fn hive(shape: &Shape) -> String {
    match shape {
        // Glue, too, takes columns of nothing but nulls for text.
        Shape::Unknown | Shape::Text => "string".to_owned(),
        Shape::Boolean => "boolean".to_owned(),
        Shape::Int => "int".to_owned(),
        Shape::Bigint => "bigint".to_owned(),
        Shape::Double => "double".to_owned(),
        Shape::List(item) => format!("array<{}>", hive(item)),
        Shape::Fields(fields) if fields.is_empty() => "string".to_owned(),
        Shape::Fields(fields) => {
            let parts: Vec<_> =
                fields.iter().map(|(name, shape)| format!("{name}:{}", hive(shape))).collect();
            format!("struct<{}>", parts.join(","))
        }
    }
}

/// The Hive type that both types fit into, for files whose columns have types already.
pub(super) fn merge_types(one: &str, other: &str) -> String {
    const WHOLE: [&str; 4] = ["tinyint", "smallint", "int", "bigint"];
    let whole = |name: &str| WHOLE.iter().position(|known| *known == name);
    match (whole(one), whole(other)) {
        (Some(a), Some(b)) => WHOLE[a.max(b)].to_owned(),
        _ if one == other => one.to_owned(),
        (Some(_), None) if other == "double" => other.to_owned(),
        (None, Some(_)) if one == "double" => one.to_owned(),
        _ => "string".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merges_what_records_disagree_on() {
        let records = [
            json!({"Id": 1, "Minutes": 0, "Big": 1, "Mixed": 1, "Null": null, "Tags": [], "Who": {"A": 1}}),
            json!({"Id": 2, "Minutes": 0.1, "Big": 3_000_000_000_i64, "Mixed": "x", "Tags": ["a"], "Who": {"b": null}, "New": true}),
        ];
        let shape = records.iter().map(|record| shape_of(record, 0)).fold(Shape::Unknown, merge);
        let columns: Vec<_> = columns_of(&shape)
            .into_iter()
            .map(|column| format!("{} {}", column.name, column.hive_type))
            .collect();
        assert_eq!(
            columns,
            [
                "id int",
                "minutes double",
                "big bigint",
                "mixed string",
                "null string",
                "tags array<string>",
                "who struct<a:int,b:string>",
                "new boolean",
            ]
        );
    }

    #[test]
    fn deep_values_end_as_text() {
        let mut value = json!(1);
        for _ in 0..100 {
            value = json!([value]);
        }
        let text = hive(&shape_of(&value, 0));
        assert!(text.starts_with("array<array<") && text.contains("string"), "{text}");
        assert_eq!(merge_types("int", "bigint"), "bigint");
        assert_eq!(merge_types("double", "int"), "double");
        assert_eq!(merge_types("date", "int"), "string");
    }
}
