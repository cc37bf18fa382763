//! Reading what a request brings: no more than its operation takes, no longer than is bearable, and nothing
//! that two readers could understand in two ways. What it means is the operation's to say.

use std::{fmt, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{header, request::Parts},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use trunkline_state::document::RAW_KEY;

use super::{
    problem::{Kind, Problem},
    routes::JSON,
};

/// How long a body may take to arrive: the longest one in this time is 4 Mbit/s.
const ARRIVAL_WAIT: Duration = Duration::from_secs(30);

/// The bytes of a body.
pub(super) async fn bytes(body: Body, most: usize) -> Result<Bytes, Problem> {
    let limited = http_body_util::Limited::new(body, most);
    let collected = tokio::time::timeout(ARRIVAL_WAIT, http_body_util::BodyExt::collect(limited));
    match collected.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::new(Kind::TooLarge, format!("a body has at most {most} bytes here")))
        }
        Ok(Err(error)) => {
            Err(Problem::new(Kind::Malformed, format!("the body did not arrive whole: {error}")))
        }
        Err(_) => {
            let seconds = ARRIVAL_WAIT.as_secs();
            Err(Problem::new(Kind::TooSlow, format!("the body did not arrive within {seconds} s")))
        }
    }
}

/// A body of JSON, as what its operation takes.
pub(super) async fn read<B: DeserializeOwned>(parts: &Parts, body: Body, most: usize) -> Result<B, Problem> {
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    // Also what keeps pages of other sites from sending one: a browser asks first.
    if !kind.eq_ignore_ascii_case(JSON) {
        return Err(Problem::new(
            Kind::MediaType,
            "send the body as JSON, with the header `content-type: application/json`",
        ));
    }
    parse(&bytes(body, most).await?)
}

/// The bytes of such a body.
pub(super) fn parse<B: DeserializeOwned>(bytes: &[u8]) -> Result<B, Problem> {
    let Strict(value) = serde_json::from_slice(bytes)
        .map_err(|error| Problem::new(Kind::Malformed, format!("the body is no JSON: {error}")))?;
    if let Some(field) = nul_in("", &value) {
        let field = field.escape_debug();
        return Err(Problem::invalid(format!("`{field}` of the body holds a NUL character; leave it out")));
    }
    // Serde takes a list for a record, field by field; nobody means that.
    if !value.is_object() {
        return Err(Problem::invalid("the body must be a JSON object"));
    }
    serde_json::from_value(value).map_err(|error| Problem::invalid(format!("the body: {error}")))
}

/// The field that holds a NUL, in its name or in what stands there.
fn nul_in<'a>(field: &'a str, value: &'a Value) -> Option<&'a str> {
    match value {
        Value::String(text) => text.contains('\0').then_some(field),
        Value::Array(items) => items.iter().find_map(|item| nul_in(field, item)),
        Value::Object(entries) => entries.iter().find_map(|(name, value)| {
            if name.contains('\0') { Some(name.as_str()) } else { nul_in(name, value) }
        }),
        _ => None,
    }
}

/// JSON in which no key stands twice: whoever looked at the first one, and whoever acts on the last, would not
/// mean the same.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if name == RAW_KEY {
                return Err(A::Error::custom(format!("the key `{name}` is of no use here")));
            }
            let Strict(value) = entries.next_value()?;
            if map.contains_key(&name) {
                let shown: String = name.chars().take(100).collect();
                return Err(A::Error::custom(format!("the key `{}` stands twice", shown.escape_debug())));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_what_it_says_and_says_it_once() {
        let text = r#"{"b": [1, -2, 3.5, "x\ny", null, true, {"b": 18446744073709551615}], "a": {}}"#;
        let Strict(read) = serde_json::from_str(text).unwrap();
        assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(read.as_object().unwrap().keys().collect::<Vec<_>>(), ["b", "a"], "in their order");
        for twice in [r#"{"a": 1, "a": 1}"#, r#"{"x": [{"a": 1, "b": 2, "\u0061": 3}]}"#] {
            let error = serde_json::from_str::<Strict>(twice).err().unwrap().to_string();
            assert!(error.starts_with("the key `a` stands twice"), "{error}");
        }
        assert!(serde_json::from_str::<Strict>(&"[".repeat(100_000)).is_err());
        // What stands behind it would be read as JSON once more, and not strictly.
        let twofold = format!(r#"{{"params": {{"{RAW_KEY}": "{{\"a\": 1, \"a\": \"\\u0000\"}}"}}}}"#);
        assert!(parse::<Value>(twofold.as_bytes()).is_err());
        assert_eq!(nul_in("", &json!({"a": [{"b": "\0"}]})), Some("b"));
    }
}
