//! Values for the `?` of a statement, which Athena takes as SQL literals.

use trunkline_query::sql_text::{Kind, Token, meaningful, tokens};

/// Puts the values in the places of the question marks.
pub(super) fn fill(sql: &str, values: &[String]) -> Result<String, String> {
    let mut out = String::with_capacity(sql.len());
    let mut left = values.iter();
    let mut asked = 0;
    for token in tokens(sql) {
        if token.is_symbol("?") {
            asked += 1;
            if let Some(value) = left.next() {
                if !is_literal(value) {
                    return Err(format!(
                        "INVALID_PARAMETER_USAGE: the execution parameter {value} is not a literal; texts need single quotes"
                    ));
                }
                out.push_str(value);
            }
        } else {
            out.push_str(token.text);
        }
    }
    if asked != values.len() {
        return Err(format!(
            "INVALID_PARAMETER_USAGE: Incorrect number of parameters: expected {asked} but found {}",
            values.len()
        ));
    }
    Ok(out)
}

/// Whether a text is one SQL literal: a text, a number, a typed text such as `DATE '2026-11-19'`, or a keyword.
fn is_literal(value: &str) -> bool {
    let pieces = meaningful(value);
    let number = |pieces: &[Token<'_>]| {
        pieces.iter().all(|token| {
            token.kind == Kind::Word && token.text.starts_with(|c: char| c.is_ascii_digit())
                || token.is_symbol(".")
        }) && !pieces.is_empty()
    };
    let closed =
        |token: &Token<'_>| token.kind == Kind::Text && token.text.len() >= 2 && token.text.ends_with('\'');
    match pieces.as_slice() {
        [token] if closed(token) => true,
        [word, text] if closed(text) => {
            ["DATE", "TIMESTAMP", "DECIMAL", "TIME"].iter().any(|known| word.is_word(known))
        }
        [word] if ["NULL", "TRUE", "FALSE"].iter().any(|known| word.is_word(known)) => true,
        [sign, rest @ ..] if sign.is_symbol("-") => number(rest),
        rest => number(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_question_marks_with_literals() {
        let values = ["'o''hara?'", "-1.5", "DATE '2026-11-19'", "NULL"].map(str::to_owned);
        let filled = fill("SELECT ?, ? /* ? */, ?, '?', ?", &values).unwrap();
        assert_eq!(filled, "SELECT 'o''hara?', -1.5 /* ? */, DATE '2026-11-19', '?', NULL");
    }

    #[test]
    fn refuses_what_is_not_a_literal() {
        for value in ["a", "1; DROP TABLE t", "'a' OR 'b'", "(SELECT 1)", "'open", "--", ""] {
            assert!(fill("SELECT ?", &[value.to_owned()]).is_err(), "{value}");
        }
        assert!(fill("SELECT ?", &[]).unwrap_err().contains("expected 1 but found 0"));
        assert!(fill("SELECT 1", &["1".to_owned()]).is_err());
    }
}
