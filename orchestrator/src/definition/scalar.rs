//! What a plain YAML scalar means: the core schema of YAML 1.2, with three departures.
//!
//! `yes`, `no`, `on` and `off` are text. A number with a leading zero is text, so that the
//! account `012345678901` keeps its zero. A number that JSON cannot hold exactly is text.

use serde_json::{Number, Value};

/// A scalar's meaning where no schema asks for anything else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Core {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number past the signed range.
    Unsigned(u64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// Anything else.
    Text,
}

/// Reads the text of a plain scalar.
pub(crate) fn core_value(text: &str) -> Core {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Core::Null,
        "true" | "True" | "TRUE" => return Core::Bool(true),
        "false" | "False" | "FALSE" => return Core::Bool(false),
        _ => {}
    }
    number(text).unwrap_or(Core::Text)
}

fn number(text: &str) -> Option<Core> {
    if let Some(digits) = text.strip_prefix("0x") {
        return based(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return based(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let whole = unsigned.split(['.', 'e', 'E']).next().unwrap_or_default();
    if whole.len() > 1 && whole.starts_with('0') {
        return None;
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let signed = digits.parse().ok().map(Core::Integer);
        return signed.or_else(|| digits.parse().ok().map(Core::Unsigned));
    }
    let allowed = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    if !unsigned.bytes().all(allowed) || !unsigned.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Core::Float)
}

fn based(digits: &str, radix: u32) -> Option<Core> {
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(digits, radix).ok().map(Core::Integer)
}

impl Core {
    /// The same as JSON; `text` is what stands in the file.
    pub fn to_json(self, text: &str) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Integer(value) => Value::from(value),
            Self::Unsigned(value) => Value::from(value),
            Self::Float(value) => Number::from_f64(value).map_or_else(|| Value::from(text), Value::Number),
            Self::Text => Value::from(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_of_the_core_schema() {
        for (text, expected) in [
            ("~", Core::Null),
            ("true", Core::Bool(true)),
            ("yes", Core::Text),
            ("off", Core::Text),
            ("10", Core::Integer(10)),
            ("-3", Core::Integer(-3)),
            ("+3", Core::Integer(3)),
            ("0", Core::Integer(0)),
            ("0o17", Core::Integer(15)),
            ("0xff", Core::Integer(255)),
            ("2.0", Core::Float(2.0)),
            ("1e3", Core::Float(1000.0)),
            ("0.5", Core::Float(0.5)),
            (".5", Core::Float(0.5)),
            (".", Core::Text),
            ("1.2.3", Core::Text),
            ("2026-11-01", Core::Text),
            (".inf", Core::Text),
            ("18446744073709551615", Core::Unsigned(u64::MAX)),
            ("99999999999999999999", Core::Text),
        ] {
            assert_eq!(core_value(text), expected, "{text}");
        }
    }

    #[test]
    fn account_numbers_keep_their_zeros() {
        assert_eq!(core_value("012345678901"), Core::Text);
        assert_eq!(core_value("007"), Core::Text);
        assert_eq!(core_value("012345678901").to_json("012345678901"), Value::from("012345678901"));
    }
}
