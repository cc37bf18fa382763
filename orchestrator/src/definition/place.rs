//! From a position in a value back to the position in the file.
//!
//! A value differs from what is written: quotes, escapes, indentation and folding go away. A
//! mistake inside a template is found in the value and must be underlined in the file.

use std::ops::Range;

use super::tree::{Scalar, Style};

/// The bytes of the file that make up `within`, a range of the scalar's text.
///
/// `span` is where the scalar stands in `file`. Where the two cannot be aligned, the whole
/// scalar is meant.
pub(super) fn in_file(
    file: &str,
    span: &Range<usize>,
    scalar: &Scalar,
    within: &Range<usize>,
) -> Range<usize> {
    let Some(raw) = file.get(span.clone()) else { return span.clone() };
    if raw == scalar.text {
        return clamp(span, span.start + within.start, span.start + within.end);
    }
    let starts = align(raw, scalar);
    let found = |offset: usize| starts.get(offset).copied();
    let (Some(start), Some(last)) = (found(within.start), found(within.end.max(within.start + 1) - 1)) else {
        return span.clone();
    };
    let width = raw.get(last..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
    let end = if within.is_empty() { start } else { last + width };
    clamp(span, span.start + start, span.start + end)
}

fn clamp(span: &Range<usize>, start: usize, end: usize) -> Range<usize> {
    let start = start.clamp(span.start, span.end);
    start..end.clamp(start, span.end)
}

/// For each byte of the value, the byte of the raw text that it comes from.
fn align(raw: &str, scalar: &Scalar) -> Vec<usize> {
    let mut starts = Vec::with_capacity(scalar.text.len());
    let mut position = match scalar.style {
        Style::SingleQuoted | Style::DoubleQuoted => 1,
        // The header (`|`, `>-`) ends with its line.
        Style::Block => raw.find('\n').map_or(0, |found| found + 1),
        Style::Plain => 0,
    };
    for wanted in scalar.text.chars() {
        let (start, next) = step(raw, position, wanted, scalar.style);
        starts.extend(std::iter::repeat_n(start, wanted.len_utf8()));
        position = next;
    }
    starts
}

/// Where the next character of the value stands, and where to go on.
fn step(raw: &str, from: usize, wanted: char, style: Style) -> (usize, usize) {
    let mut position = from;
    while let Some(found) = raw.get(position..).and_then(|rest| rest.chars().next()) {
        let after = position + found.len_utf8();
        if style == Style::DoubleQuoted && found == '\\' {
            return (position, position + escape_length(&raw[position..]));
        }
        if found == wanted {
            let doubled = style == Style::SingleQuoted && found == '\'';
            return (position, if doubled { after + 1 } else { after });
        }
        // A folded line break is a space in the value.
        if wanted == ' ' && found == '\n' {
            return (position, after);
        }
        if !found.is_whitespace() {
            return (position, position);
        }
        position = after;
    }
    (position.min(raw.len()), position)
}

/// The bytes of the escape that `raw` begins with.
fn escape_length(raw: &str) -> usize {
    let digits = match raw.as_bytes().get(1) {
        Some(b'x') => 2,
        Some(b'u') => 4,
        Some(b'U') => 8,
        _ => 0,
    };
    let kind = raw[1..].chars().next().map_or(0, char::len_utf8);
    (1 + kind + digits).min(raw.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::tree::{Kind, parse};

    /// The file's text under the word `here` of the value.
    fn located(yaml: &str) -> String {
        let parsed = parse(yaml.as_bytes());
        let root = parsed.root.unwrap();
        let node = &root.as_mapping().unwrap().entries[0].value;
        let Kind::Scalar(scalar) = &node.kind else { panic!("a scalar") };
        let at = scalar.text.find("here").unwrap();
        yaml[in_file(yaml, &node.span, scalar, &(at..at + 4))].to_owned()
    }

    #[test]
    fn every_style_leads_back_to_the_file() {
        for yaml in [
            "a: some here text\n",
            "a: 'it''s here'\n",
            "a: \"tab\\t and \\u00e9 here\"\n",
            "a: |\n  first\n    second here\n",
            "a: >-\n  first\n  second\n\n  here\n",
            "a: \"folded\n  over here\"\n",
            "a: é {{ here }}\n",
        ] {
            assert_eq!(located(yaml), "here", "{yaml}");
        }
    }

    #[test]
    fn no_range_leaves_the_scalar() {
        let yaml = "a: \"\\u00e9\"\n";
        let parsed = parse(yaml.as_bytes());
        let root = parsed.root.unwrap();
        let node = &root.as_mapping().unwrap().entries[0].value;
        let scalar = node.as_scalar().unwrap();
        for start in 0..6 {
            for end in start..9 {
                let range = in_file(yaml, &node.span, scalar, &(start..end));
                assert!(node.span.start <= range.start && range.end <= node.span.end);
            }
        }
    }
}
