//! A JSON document that is carried, stored and sent, but never looked into here: requests,
//! baselines, handles. Kept as the text that it was made as, so that what is sent is what was
//! committed, and so that a job that waits costs its bytes and nothing more.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

/// A key that the JSON library takes for its own: what stands behind it is read as JSON once more, or refused. A
/// value that was put together with such a key could be written, and then never be read.
pub const RAW_KEY: &str = "$serde_json::private::RawValue";

/// The text of a JSON document, shared by whoever holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Document(Arc<str>);

impl Document {
    /// The document of a value; `null` for the few that JSON cannot hold, none of them ours.
    pub fn of(value: &impl Serialize) -> Self {
        serde_json::to_string(value).map_or_else(|_| Self::null(), |text| Self(text.into()))
    }

    /// The document `null`.
    pub fn null() -> Self {
        Self("null".into())
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What it says, as the type that knows how to read it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self::of(&value)
    }
}

impl From<Box<RawValue>> for Document {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw.get().into())
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(&self.0) {
            Ok(raw) => raw.serialize(serializer),
            Err(_) => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By way of a value: an inbox's command is read from a tagged document, which keeps no
        // raw text.
        Value::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_order_and_numbers_as_they_were_written() {
        let document = Document::of(&json!({"b": 1.10, "a": {"z": [], "y": null}}));
        assert_eq!(document.text(), r#"{"b":1.1,"a":{"z":[],"y":null}}"#);
        assert_eq!(document.read::<Value>().unwrap(), json!({"b": 1.1, "a": {"z": [], "y": null}}));
    }

    #[test]
    fn is_a_document_within_a_document() {
        let outer = json!({"handle": Document::from(json!({"id": "jr_1"}))});
        assert_eq!(outer, json!({"handle": {"id": "jr_1"}}));
        let again: Document = serde_json::from_value(outer["handle"].clone()).unwrap();
        assert_eq!(again, Document::from(json!({"id": "jr_1"})));
    }
}
