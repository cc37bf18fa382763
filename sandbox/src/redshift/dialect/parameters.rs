//! Values for the `:name` of statements. Each becomes a text literal, as the service gives them to the database:
//! without a type, so that it takes the one of what it is compared with.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::lexer::{Kind, Piece, pieces};

/// A named value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parameter {
    /// Its name, without the colon.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Checks that statements and values fit each other.
pub(crate) fn check(statements: &[String], values: &[Parameter]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for value in values {
        if value.name.is_empty() || !value.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("Parameter name {} must be of letters, digits and underscores", value.name));
        }
        if value.value.is_empty() || value.value.contains('\0') {
            return Err(format!("Parameter {} must have a value of at least one character", value.name));
        }
        if !names.insert(value.name.as_str()) {
            return Err(format!("Parameter {} is given twice", value.name));
        }
    }
    let pieces: Vec<Piece> = statements.iter().flat_map(|sql| pieces(sql)).collect();
    let used: BTreeSet<&str> =
        pieces.iter().filter(|piece| piece.kind == Kind::Parameter).map(|piece| &piece.text[1..]).collect();
    let unused: Vec<&str> = names.difference(&used).copied().collect();
    if !unused.is_empty() {
        return Err(format!(
            "Parameters list contains unused parameters. Unused parameters: [{}]",
            unused.join(", ")
        ));
    }
    let missing: Vec<&str> = used.difference(&names).copied().collect();
    if !missing.is_empty() {
        return Err(format!("Parameters list lacks values. Missing parameters: [{}]", missing.join(", ")));
    }
    Ok(())
}

/// Puts the values in.
pub(super) fn fill(pieces: &mut [Piece], values: &[Parameter]) {
    for piece in pieces.iter_mut().filter(|piece| piece.kind == Kind::Parameter) {
        if let Some(value) = values.iter().find(|value| value.name == piece.text[1..]) {
            *piece = Piece { kind: Kind::Text, text: literal(&value.value) };
        }
    }
}

/// A text literal under the rule that backslashes escape.
pub(crate) fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redshift::dialect::lexer::text_of;

    fn value(name: &str, value: &str) -> Parameter {
        Parameter { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn values_never_become_sql() {
        let mut found = pieces("SELECT :a, ':a', :a::int, :b -- :a");
        fill(&mut found, &[value("a", "x' OR \\'1"), value("b", "2")]);
        assert_eq!(text_of(&found), "SELECT 'x'' OR \\\\''1', ':a', 'x'' OR \\\\''1'::int, '2' -- :a");
        // What was put in is read back as one text.
        let again = pieces(&literal("x' OR \\'1 \\"));
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].kind, Kind::Text);
    }

    #[test]
    fn statements_and_values_must_fit() {
        let sql = ["SELECT :a".to_owned(), "SELECT :b".to_owned()];
        assert_eq!(check(&sql, &[value("a", "1"), value("b", "2")]), Ok(()));
        let error = |values: &[Parameter]| check(&sql, values).unwrap_err();
        assert!(error(&[value("a", "1")]).contains("Missing parameters: [b]"));
        assert!(
            error(&[value("a", "1"), value("b", "2"), value("c", "3")]).contains("Unused parameters: [c]")
        );
        assert!(error(&[value("a", "")]).contains("at least one character"));
        assert!(error(&[value("a-b", "1")]).contains("letters"));
        assert!(error(&[value("a", "1"), value("a", "1")]).contains("twice"));
    }
}
