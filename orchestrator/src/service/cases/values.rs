//! How two JSON values differ, path by path.

use serde_json::Value;

use super::Line;

/// So many differences of one value are shown; a value that is wrong throughout says no more.
const SHOWN_MAX: usize = 20;
/// The longest value in one line, in characters.
const VALUE_CHARS_MAX: usize = 300;

/// How much of the value is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// At least this: objects may have more names. Lists are whole.
    AtLeast,
}

/// The lines in which a value differs from what is expected; none where it does not.
pub(super) fn difference(expected: &Value, seen: &Value, extent: Extent) -> Vec<Line> {
    let mut found = Found { lines: Vec::new(), differences: 0, extent };
    found.look(expected, seen, &mut Vec::new());
    if found.differences > SHOWN_MAX {
        let rest = found.differences - SHOWN_MAX;
        found.lines.push(Line::Note(format!("and {rest} more")));
    }
    found.lines
}

struct Found {
    lines: Vec<Line>,
    differences: usize,
    extent: Extent,
}

impl Found {
    fn look(&mut self, expected: &Value, seen: &Value, path: &mut Vec<String>) {
        match (expected, seen) {
            (Value::Object(wanted), Value::Object(had)) => {
                for (name, value) in wanted {
                    path.push(name.clone());
                    match had.get(name) {
                        Some(seen) => self.look(value, seen, path),
                        None => self.differ(path, Some(value), None),
                    }
                    path.pop();
                }
                let more = had
                    .iter()
                    .filter(|(name, _)| self.extent == Extent::Whole && !wanted.contains_key(*name));
                for (name, value) in more.collect::<Vec<_>>() {
                    path.push(name.clone());
                    self.differ(path, None, Some(value));
                    path.pop();
                }
            }
            (Value::Array(wanted), Value::Array(had)) => {
                for position in 0..wanted.len().max(had.len()) {
                    path.push(position.to_string());
                    match (wanted.get(position), had.get(position)) {
                        (Some(expected), Some(seen)) => self.look(expected, seen, path),
                        (expected, seen) => self.differ(path, expected, seen),
                    }
                    path.pop();
                }
            }
            _ if same(expected, seen) => {}
            _ => self.differ(path, Some(expected), Some(seen)),
        }
    }

    fn differ(&mut self, path: &[String], expected: Option<&Value>, seen: Option<&Value>) {
        self.differences += 1;
        if self.differences > SHOWN_MAX {
            return;
        }
        let path = if path.is_empty() { String::new() } else { format!("{}: ", path.join(".")) };
        let line = |value: &Value| format!("{path}{}", text(value));
        self.lines.extend(expected.map(|value| Line::Expected(line(value))));
        self.lines.extend(seen.map(|value| Line::Seen(line(value))));
        if expected.is_some() && seen.is_none() {
            self.lines.push(Line::Note(format!("{path}not there")));
        }
    }
}

/// Numbers are compared as numbers: `42` is `42.0`.
fn same(expected: &Value, seen: &Value) -> bool {
    match (expected, seen) {
        (Value::Number(one), Value::Number(other)) => {
            one == other
                || one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| one.total_cmp(&other).is_eq())
        }
        _ => expected == seen,
    }
}

/// A value in one line, not too long.
pub(super) fn text(value: &Value) -> String {
    shortened(&value.to_string())
}

/// A text in one line, not too long.
pub(super) fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if text.chars().nth(VALUE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(expected: &Value, seen: &Value, extent: Extent) -> Vec<String> {
        let text = |line: Line| match line {
            Line::Expected(text) => format!("- {text}"),
            Line::Seen(text) => format!("+ {text}"),
            Line::Note(text) => format!("  {text}"),
        };
        difference(expected, seen, extent).into_iter().map(text).collect()
    }

    #[test]
    fn at_least_takes_more_names_and_no_more_list_entries() {
        let seen = json!({"a": 1, "b": {"c": "x", "d": 2.0}, "l": [1, 2]});
        assert!(shown(&json!({"b": {"d": 2}}), &seen, Extent::AtLeast).is_empty());
        assert!(shown(&json!({"l": [1, 2]}), &seen, Extent::AtLeast).is_empty());
        assert_eq!(shown(&json!({"l": [1]}), &seen, Extent::AtLeast), ["+ l.1: 2"]);
        assert_eq!(
            shown(&json!({"b": {"c": "y", "e": null}}), &seen, Extent::AtLeast),
            ["- b.c: \"y\"", "+ b.c: \"x\"", "- b.e: null", "  b.e: not there"]
        );
    }

    #[test]
    fn the_whole_takes_nothing_else() {
        let seen = json!({"a": 1, "b": {"c": "x"}});
        assert!(shown(&seen, &seen, Extent::Whole).is_empty());
        assert_eq!(shown(&json!({"a": 1, "b": {}}), &seen, Extent::Whole), ["+ b.c: \"x\""]);
        assert_eq!(shown(&json!({"a": "1"}), &json!({"a": 1}), Extent::Whole), ["- a: \"1\"", "+ a: 1"]);
    }

    #[test]
    fn a_value_that_is_wrong_throughout_is_cut() {
        let many = |offset: u32| Value::from((0..100).map(|number| number + offset).collect::<Vec<u32>>());
        let lines = shown(&many(0), &many(1), Extent::Whole);
        assert_eq!((lines.len(), lines.last().unwrap().as_str()), (41, "  and 80 more"));
    }
}
