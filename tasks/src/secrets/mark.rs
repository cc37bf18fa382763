//! The mark that stands for a secret in everything that is stored: `secret(token@version)`
//! behind a character that no text of people has.
//!
//! Whoever could write a mark into a value of a run (a parameter, an output of a job) could
//! have a secret sent to where its author did not want it. So the character is taken out of all
//! such values before templates see them ([`neutralise`]).

use std::fmt;

use serde_json::Value;

/// Begins every mark. It is not visible and means nothing in text of people: "invisible
/// separator".
pub const SENTINEL: char = '\u{2063}';

/// What stands behind it.
const OPEN: &str = "secret(";

/// The longest mark: a name and a version's id.
const MARK_BYTES_MAX: usize = 400;

/// A secret, perhaps in one version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Its name under `secrets` in `trunkline.yaml`.
    pub name: String,
    /// The version that it is pinned to.
    pub version: Option<String>,
}

impl Mark {
    /// The mark of a secret as a template names it.
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), version: None }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{SENTINEL}{OPEN}{}@{version})", self.name),
            None => write!(f, "{SENTINEL}{OPEN}{})", self.name),
        }
    }
}

/// Whether a text may be the name of a secret.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 100
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether a text may be the version of a secret, as services write them.
fn is_version(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\'))
}

/// Takes the character that begins marks out of a value that did not come from the pipeline's
/// author, also out of keys: a template can print them.
pub fn neutralise(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(SENTINEL) => *text = text.replace(SENTINEL, ""),
        Value::Array(items) => items.iter_mut().for_each(neutralise),
        Value::Object(entries) => {
            if entries.keys().any(|key| key.contains(SENTINEL)) {
                let renamed = |(key, entry): (String, Value)| (key.replace(SENTINEL, ""), entry);
                *entries = std::mem::take(entries).into_iter().map(renamed).collect();
            }
            entries.values_mut().for_each(neutralise);
        }
        _ => {}
    }
}

/// Whether any text inside holds a mark.
pub fn has_marks(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(SENTINEL) && !in_text(text).is_empty(),
        Value::Array(items) => items.iter().any(has_marks),
        Value::Object(entries) => entries.values().any(has_marks),
        _ => false,
    }
}

/// Every mark inside.
pub(crate) fn marks(value: &Value) -> Vec<Mark> {
    match value {
        Value::String(text) if text.contains(SENTINEL) => {
            in_text(text).into_iter().map(|(_, _, mark)| mark).collect()
        }
        Value::Array(items) => items.iter().flat_map(marks).collect(),
        Value::Object(entries) => entries.values().flat_map(marks).collect(),
        _ => Vec::new(),
    }
}

/// Puts texts in the places of marks. Inside a text that is itself JSON (the payload of a
/// function) they are escaped, so that it stays JSON.
pub(crate) fn replace(value: &mut Value, with: &dyn Fn(&Mark) -> Option<String>) {
    texts(value, &mut |text| {
        if !text.contains(SENTINEL) {
            return;
        }
        let is_json = text.starts_with(['{', '[', '"'])
            && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok();
        for (start, end, mark) in in_text(text).into_iter().rev() {
            let Some(new) = with(&mark) else { continue };
            if is_json {
                let quoted = Value::from(new).to_string();
                text.replace_range(start..end, &quoted[1..quoted.len() - 1]);
            } else {
                text.replace_range(start..end, &new);
            }
        }
    });
}

/// Calls `each` with every text inside a value, except the keys of objects.
pub(super) fn texts(value: &mut Value, each: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(items) => items.iter_mut().for_each(|item| texts(item, each)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| texts(entry, each)),
        _ => {}
    }
}

/// The same with every key of objects too: whatever a service answers can be one.
pub(super) fn keys_and_texts(value: &mut Value, each: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(items) => items.iter_mut().for_each(|item| keys_and_texts(item, each)),
        Value::Object(entries) => {
            let renamed = |(mut key, mut entry): (String, Value)| {
                each(&mut key);
                keys_and_texts(&mut entry, each);
                (key, entry)
            };
            *entries = std::mem::take(entries).into_iter().map(renamed).collect();
        }
        _ => {}
    }
}

/// The marks of one text with their bytes, none of which belong to two: where one seems to begin inside another, the
/// outer one is none, since neither names nor versions hold what begins a mark.
fn in_text(text: &str) -> Vec<(usize, usize, Mark)> {
    let mut found = Vec::new();
    for (start, sentinel) in text.match_indices(SENTINEL) {
        let Some(inside) = text[start + sentinel.len()..].strip_prefix(OPEN) else { continue };
        let Some(length) = inside.find(')').filter(|length| *length <= MARK_BYTES_MAX) else { continue };
        let (name, version) = match inside[..length].split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (&inside[..length], None),
        };
        if is_name(name) && version.as_deref().is_none_or(is_version) {
            let end = start + sentinel.len() + OPEN.len() + length + 1;
            found.push((start, end, Mark { name: name.to_owned(), version }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_are_found_and_replaced() {
        let (token, pinned) = (Mark::of("token"), Mark { name: "b".into(), version: Some("7-x".into()) });
        let mut value = json!({ "a": [format!("Bearer {token}")], "b": format!("{pinned}{token}"), "c": 1 });
        assert!(has_marks(&value));
        assert_eq!(marks(&value), [token.clone(), pinned.clone(), token.clone()]);
        replace(&mut value, &|mark| (*mark == token).then(|| "T\"".to_owned()));
        assert_eq!(value, json!({ "a": ["Bearer T\""], "b": format!("{pinned}T\""), "c": 1 }));
    }

    #[test]
    fn json_inside_a_text_stays_json() {
        let mark = Mark::of("token");
        let inner = json!({ "key": mark.to_string() }).to_string();
        let mut value = json!({ "payload": inner });
        replace(&mut value, &|_| Some("quote\" line\n".to_owned()));
        let inner: Value = serde_json::from_str(value["payload"].as_str().unwrap()).unwrap();
        assert_eq!(inner["key"], "quote\" line\n");
    }

    #[test]
    fn marks_do_not_lie_in_one_another() {
        let inner = Mark { name: "b".into(), version: Some("2".into()) };
        let mut value = json!(format!("{SENTINEL}secret(a@1{inner})"));
        assert_eq!(marks(&value), [inner]);
        replace(&mut value, &|_| Some("B".to_owned()));
        assert_eq!(value, json!(format!("{SENTINEL}secret(a@1B)")));
        for version in ["", "1 2", "1\"", "ü", "1\n"] {
            assert!(!has_marks(&json!(format!("{SENTINEL}secret(a@{version})"))), "{version:?}");
        }
    }

    #[test]
    fn what_others_write_is_no_mark() {
        let mut value = json!({ "x": [Mark::of("token").to_string()] });
        neutralise(&mut value);
        assert_eq!(value, json!({ "x": ["secret(token)"] }));
        let mut keys = json!([{ Mark::of("token").to_string(): { format!("{SENTINEL}a"): 1 }, "b": 2 }]);
        neutralise(&mut keys);
        assert_eq!(keys, json!([{ "secret(token)": { "a": 1 }, "b": 2 }]), "a template can print keys");
        assert!(!has_marks(&value));
        assert!(!has_marks(&json!(format!("{SENTINEL}secret(NO)"))));
        assert!(!has_marks(&json!(format!("{SENTINEL}secret(no"))));
    }
}
