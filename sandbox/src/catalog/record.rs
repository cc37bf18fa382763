//! The records of the catalog, and how their loosely shaped members are read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DatabaseRecord {
    /// Lower-case name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The members of `DatabaseInput`, without `Name`.
    pub input: Map<String, Value>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TableRecord {
    /// Lower-case name of its database.
    pub database: String,
    /// Lower-case name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// When its definition was last changed.
    pub updated: Timestamp,
    /// Number of changes so far.
    pub version: u64,
    /// The members of `TableInput`, without `Name`.
    pub input: Map<String, Value>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartitionRecord {
    /// One value per partition key, in the keys' order.
    pub values: Vec<String>,
    /// When it was added.
    pub created: Timestamp,
    /// The members of `PartitionInput`, without `Values`.
    pub input: Map<String, Value>,
}

/// A column, or a partition key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    /// Lower-case name.
    #[serde(rename = "Name")]
    pub name: String,
    /// Hive type, e.g. `bigint` or `array<struct<a:string>>`.
    #[serde(rename = "Type", default = "string_type")]
    pub hive_type: String,
}

fn string_type() -> String {
    "string".to_owned()
}

impl Column {
    /// A column of the given Hive type.
    pub(crate) fn new(name: impl Into<String>, hive_type: impl Into<String>) -> Self {
        Self { name: name.into(), hive_type: hive_type.into() }
    }
}

impl TableRecord {
    /// The columns that are in the files.
    pub(crate) fn columns(&self) -> Vec<Column> {
        columns_of(self.input.get("StorageDescriptor").and_then(|storage| storage.get("Columns")))
    }

    /// The columns that are in the folder names.
    pub(crate) fn partition_keys(&self) -> Vec<Column> {
        columns_of(self.input.get("PartitionKeys"))
    }

    /// The URI of the folder, as it was given.
    pub(crate) fn location(&self) -> &str {
        text_of(self.input.get("StorageDescriptor"), "Location")
    }

    /// The class name of the reader and writer of rows.
    pub(crate) fn serde_library(&self) -> &str {
        let storage = self.input.get("StorageDescriptor");
        text_of(storage.and_then(|storage| storage.get("SerdeInfo")), "SerializationLibrary")
    }

    /// A parameter of the reader and writer of rows.
    pub(crate) fn serde_parameter(&self, name: &str) -> Option<&str> {
        self.input.get("StorageDescriptor")?.get("SerdeInfo")?.get("Parameters")?.get(name)?.as_str()
    }

    /// A parameter of the table itself, then of its storage.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let has =
            |holder: Option<&Value>| holder.is_some_and(|map| map.get(name).is_some_and(Value::is_string));
        let own = self.input.get("Parameters");
        let storage = self.input.get("StorageDescriptor").and_then(|storage| storage.get("Parameters"));
        let holder = if has(own) { own } else { storage };
        holder.and_then(|map| map.get(name)).and_then(Value::as_str)
    }

    /// `EXTERNAL_TABLE`, `VIRTUAL_VIEW`, or empty.
    pub(crate) fn table_type(&self) -> &str {
        self.input.get("TableType").and_then(Value::as_str).unwrap_or_default()
    }
}

impl PartitionRecord {
    /// The URI of the folder, if the partition has one of its own.
    pub(crate) fn location(&self) -> Option<&str> {
        self.input.get("StorageDescriptor")?.get("Location")?.as_str()
    }
}

fn text_of<'a>(holder: Option<&'a Value>, name: &str) -> &'a str {
    holder.and_then(|map| map.get(name)).and_then(Value::as_str).unwrap_or_default()
}

fn columns_of(list: Option<&Value>) -> Vec<Column> {
    let Some(Value::Array(list)) = list else { return Vec::new() };
    list.iter()
        .filter_map(|item| {
            let name = item.get("Name")?.as_str()?.to_lowercase();
            let hive_type = item.get("Type").and_then(Value::as_str).unwrap_or("string").to_owned();
            Some(Column { name, hive_type })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_loosely_shaped_members() {
        let Value::Object(input) = json!({
            "StorageDescriptor": {
                "Columns": [{"Name": "Id", "Type": "bigint"}, {"Name": "note"}, {"Type": "int"}],
                "Location": "s3://b/t/",
                "SerdeInfo": {"SerializationLibrary": "x.JsonSerDe", "Parameters": {"paths": "id"}},
                "Parameters": {"classification": "json"}
            },
            "PartitionKeys": [{"Name": "day", "Type": "string"}],
            "Parameters": {"skip.header.line.count": "1"}
        }) else {
            unreachable!("the literal above is an object")
        };
        let at = Timestamp::UNIX_EPOCH;
        let table = TableRecord {
            database: "d".into(),
            name: "t".into(),
            created: at,
            updated: at,
            version: 0,
            input,
        };
        assert_eq!(table.columns(), [Column::new("id", "bigint"), Column::new("note", "string")]);
        assert_eq!(table.partition_keys(), [Column::new("day", "string")]);
        assert_eq!(table.parameter("classification"), Some("json"));
        assert_eq!(table.parameter("skip.header.line.count"), Some("1"));
        assert_eq!(table.serde_parameter("paths"), Some("id"));
        assert_eq!(table.location(), "s3://b/t/");
    }
}
