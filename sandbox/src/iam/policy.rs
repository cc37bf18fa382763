//! Policy documents, and what they say of an action on a resource: an explicit denial goes before everything, then
//! what is allowed, and the rest is denied by default.
//!
//! Conditions are not evaluated, since a simulation without a context has no values for them: a statement with a
//! condition says nothing, as it does on AWS when the context lacks its keys.

use serde_json::Value;

/// What policies say of one action on one resource, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Decision {
    Allowed,
    Implicit,
    Explicit,
}

impl Decision {
    /// IAM's word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Implicit => "implicitDeny",
            Self::Explicit => "explicitDeny",
        }
    }
}

/// A document taken apart.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    statements: Vec<Statement>,
}

#[derive(Debug, PartialEq)]
struct Statement {
    denies: bool,
    actions: Words,
    resources: Words,
    conditional: bool,
}

/// Patterns, and whether everything but what they match is meant.
#[derive(Debug, PartialEq)]
struct Words {
    patterns: Vec<String>,
    inverted: bool,
}

impl Document {
    /// Takes a document apart; the error says what is wrong with it.
    pub(super) fn read(document: &Value) -> Result<Self, String> {
        let statements = match &document["Statement"] {
            Value::Array(list) => list.iter().map(Statement::read).collect::<Result<_, _>>()?,
            one @ Value::Object(_) => vec![Statement::read(one)?],
            _ => return Err("Statement is missing".to_owned()),
        };
        Ok(Self { statements })
    }
}

impl Statement {
    fn read(statement: &Value) -> Result<Self, String> {
        let denies = match statement["Effect"].as_str() {
            Some("Allow") => false,
            Some("Deny") => true,
            _ => return Err("Effect must be Allow or Deny".to_owned()),
        };
        let conditional = statement.get("Condition").is_some_and(|value| *value != Value::Null);
        Ok(Self {
            denies,
            actions: Words::read(statement, "Action", "NotAction")?,
            resources: Words::read(statement, "Resource", "NotResource")?,
            conditional,
        })
    }

    fn concerns(&self, action: &str, resource: &str) -> bool {
        // Actions are the same in whatever case.
        !self.conditional
            && self.actions.cover(&action.to_lowercase(), str::to_lowercase)
            && self.resources.cover(resource, str::to_owned)
    }
}

impl Words {
    fn read(statement: &Value, name: &str, inverted: &str) -> Result<Self, String> {
        let (value, is_inverted) = match (statement.get(name), statement.get(inverted)) {
            (Some(value), None) => (value, false),
            (None, Some(value)) => (value, true),
            _ => return Err(format!("a statement needs either {name} or {inverted}")),
        };
        let texts = match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(list) => list.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let patterns = texts.filter(|texts| !texts.is_empty());
        let patterns = patterns.ok_or_else(|| format!("{name} must be a text or a list of texts"))?;
        Ok(Self { patterns, inverted: is_inverted })
    }

    fn cover(&self, text: &str, form: fn(&str) -> String) -> bool {
        self.patterns.iter().any(|pattern| matches(&form(pattern), text)) != self.inverted
    }
}

/// What documents say; `None` stands for an identity that may do everything.
pub(super) fn decide(documents: Option<&[Document]>, action: &str, resource: &str) -> Decision {
    let Some(documents) = documents else { return Decision::Allowed };
    let concerned = || {
        let statements = documents.iter().flat_map(|document| &document.statements);
        statements.filter(|statement| statement.concerns(action, resource))
    };
    if concerned().any(|statement| statement.denies) {
        return Decision::Explicit;
    }
    if concerned().next().is_some() { Decision::Allowed } else { Decision::Implicit }
}

/// Whether a text fits a pattern: `*` stands for any text, `?` for one letter.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut star) = (0, None);
    let mut next = 0;
    while at < text.len() {
        if next < pattern.len() && pattern[next] == '*' {
            star = Some((next, at));
            next += 1;
        } else if next < pattern.len() && (pattern[next] == '?' || pattern[next] == text[at]) {
            next += 1;
            at += 1;
        } else if let Some((place, from)) = star {
            // The star takes one letter more.
            (next, at) = (place + 1, from + 1);
            star = Some((place, from + 1));
        } else {
            return false;
        }
    }
    pattern[next..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::allow;
    use super::*;

    fn decided(documents: &[Value], action: &str, resource: &str) -> Decision {
        let documents: Vec<_> = documents.iter().map(|document| Document::read(document).unwrap()).collect();
        decide(Some(&documents), action, resource)
    }

    #[test]
    fn patterns_match_as_iam_does() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*c", "ab", false),
            ("arn:aws:s3:::b/p/*", "arn:aws:s3:::b/p/x/y", true),
            ("arn:aws:s3:::b/p/*", "arn:aws:s3:::b/q/x", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn denials_go_before_and_nothing_is_allowed_by_itself() {
        let read = allow(&json!("s3:Get*"), &json!(["arn:aws:s3:::b/*"]));
        let deny = json!({ "Statement": { "Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::b/secret/*" } });
        let both = [read.clone(), deny];
        assert_eq!(decided(&both, "s3:GETObject", "arn:aws:s3:::b/k"), Decision::Allowed);
        assert_eq!(decided(&both, "s3:GetObject", "arn:aws:s3:::b/secret/k"), Decision::Explicit);
        assert_eq!(decided(&both, "s3:PutObject", "arn:aws:s3:::b/k"), Decision::Implicit);
        assert_eq!(decided(&[read], "s3:GetObject", "*"), Decision::Implicit);
        let all_but = json!({ "Statement": [{ "Effect": "Allow", "NotAction": "iam:*", "Resource": "*" }] });
        assert_eq!(decided(std::slice::from_ref(&all_but), "s3:GetObject", "x"), Decision::Allowed);
        assert_eq!(decided(&[all_but], "iam:PassRole", "x"), Decision::Implicit);
        let mut conditional = allow(&json!("*"), &json!("*"));
        conditional["Statement"][0]["Condition"] = json!({ "Bool": { "aws:SecureTransport": "true" } });
        assert_eq!(decided(&[conditional], "s3:GetObject", "x"), Decision::Implicit);
        assert_eq!(decide(None, "s3:GetObject", "x"), Decision::Allowed);
    }

    #[test]
    fn wrong_documents_are_refused() {
        for wrong in [
            json!({}),
            json!({ "Statement": [{ "Effect": "Maybe", "Action": "*", "Resource": "*" }] }),
            json!({ "Statement": [{ "Effect": "Allow", "Resource": "*" }] }),
            json!({ "Statement": [{ "Effect": "Allow", "Action": [], "Resource": "*" }] }),
            json!({ "Statement": [{ "Effect": "Allow", "Action": 1, "Resource": "*" }] }),
        ] {
            assert!(Document::read(&wrong).is_err(), "{wrong}");
        }
    }
}
