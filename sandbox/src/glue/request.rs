//! Reading the members of JSON requests, and cutting lists into pages. Glue and Athena share these rules.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::wire::ApiError;

/// Reads a request into its shape; members that the shape does not name are ignored.
pub(crate) fn parse<T: DeserializeOwned>(body: Value, code: &'static str) -> Result<T, ApiError> {
    let body = if body.is_null() { Value::Object(Map::new()) } else { body };
    serde_json::from_value(body)
        .map_err(|error| ApiError::new(400, code, format!("Invalid request: {error}")))
}

/// One page of a list and the token of the next page.
///
/// The token is the index at which the next page starts; lists that change between two pages may show an
/// item twice or not at all, as AWS's do.
pub(crate) fn page<T>(
    items: Vec<T>,
    token: Option<&str>,
    size: Option<usize>,
    size_max: usize,
    code: &'static str,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let start = match token {
        None | Some("") => 0,
        Some(token) => token
            .parse::<usize>()
            .map_err(|_| ApiError::new(400, code, "NextToken is not one that was given out"))?,
    };
    let size = size.unwrap_or(size_max).clamp(1, size_max);
    let end = start.saturating_add(size);
    let next = (items.len() > end).then(|| end.to_string());
    Ok((items.into_iter().skip(start).take(size).collect(), next))
}

/// Adds a member if there is something to add.
pub(crate) fn insert_some(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

/// An answer of one list and perhaps a token.
pub(crate) fn listed(name: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let mut map = Map::new();
    map.insert(name.to_owned(), Value::Array(items));
    insert_some(&mut map, "NextToken", next);
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn pages_follow_each_other() {
        let (first, next) = page(vec![1, 2, 3], None, Some(2), 10, "E").unwrap();
        assert_eq!((first, next.as_deref()), (vec![1, 2], Some("2")));
        let (second, next) = page(vec![1, 2, 3], next.as_deref(), Some(2), 10, "E").unwrap();
        assert_eq!((second, next), (vec![3], None));
        assert!(page(vec![1], Some("x"), None, 10, "E").is_err());
        assert_eq!(page(vec![1], Some("99"), None, 10, "E").unwrap(), (vec![], None));
    }
}
