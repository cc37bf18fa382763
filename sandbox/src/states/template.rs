//! Payload templates: `Parameters`, `ResultSelector`, `ItemSelector`. A name that ends in `.$` stands for a path
//! or a call of an intrinsic function; everything else is taken as it is written.

use serde_json::{Map, Value};

use super::failure::Failure;
use super::intrinsic::{Expression, Scope};

/// A template that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Template {
    /// Without anything to fill in.
    Literal(Value),
    /// A list of templates.
    List(Vec<Template>),
    /// Members in the order they were written.
    Object(Vec<(String, Template)>),
    /// What stands behind a name that ends in `.$`.
    Expression(Expression),
}

impl Template {
    /// Reads a template. Each mistake is told with its place below `at`.
    pub(super) fn parse(value: &Value, at: &str, problems: &mut Vec<(String, String)>) -> Self {
        match value {
            Value::Object(map) => {
                let members: Vec<(String, Self)> = map
                    .iter()
                    .map(|(name, value)| match name.strip_suffix(".$") {
                        Some(plain) => {
                            (plain.to_owned(), expression(value, &format!("{at}/{name}"), problems))
                        }
                        None => (name.clone(), Self::parse(value, &format!("{at}/{name}"), problems)),
                    })
                    .collect();
                if members.iter().all(|(_, member)| matches!(member, Self::Literal(_))) {
                    return Self::Literal(value.clone());
                }
                Self::Object(members)
            }
            Value::Array(list) => {
                let items: Vec<Self> = list
                    .iter()
                    .enumerate()
                    .map(|(index, item)| Self::parse(item, &format!("{at}/{index}"), problems))
                    .collect();
                if items.iter().all(|item| matches!(item, Self::Literal(_))) {
                    return Self::Literal(value.clone());
                }
                Self::List(items)
            }
            other => Self::Literal(other.clone()),
        }
    }

    /// The value with everything filled in.
    pub(super) fn fill(&self, scope: Scope<'_>) -> Result<Value, Failure> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::List(items) => items.iter().map(|item| item.fill(scope)).collect::<Result<_, _>>()?,
            Self::Object(members) => {
                let mut map = Map::new();
                for (name, member) in members {
                    map.insert(name.clone(), member.fill(scope)?);
                }
                Value::Object(map)
            }
            Self::Expression(expression) => expression.evaluate(scope)?,
        })
    }
}

fn expression(value: &Value, at: &str, problems: &mut Vec<(String, String)>) -> Template {
    let Some(text) = value.as_str() else {
        problems.push((at.to_owned(), "the value of a name that ends in .$ must be a text".to_owned()));
        return Template::Literal(Value::Null);
    };
    match Expression::parse(text) {
        Ok(expression) => Template::Expression(expression),
        Err(what) => {
            problems.push((at.to_owned(), what));
            Template::Literal(Value::Null)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::super::intrinsic::Dice;
    use super::*;

    #[test]
    fn names_with_a_dollar_are_filled_in() {
        let mut problems = Vec::new();
        let template = json!({
            "plain": "$.a", "path.$": "$.a", "deep": { "list": [1, { "name.$": "$$.Name" }] },
            "call.$": "States.Array($.a, 2)",
        });
        let template = Template::parse(&template, "/P", &mut problems);
        assert_eq!(problems, []);
        let dice = Dice::new(Uuid::nil(), "t");
        let scope = Scope { input: &json!({ "a": 1 }), context: &json!({ "Name": "n" }), dice: &dice };
        let expected =
            json!({ "plain": "$.a", "path": 1, "deep": { "list": [1, { "name": "n" }] }, "call": [1, 2] });
        assert_eq!(template.fill(scope), Ok(expected));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let mut problems = Vec::new();
        Template::parse(&json!({ "a": [{ "b.$": 1 }], "c.$": "States.No()" }), "/P", &mut problems);
        let places: Vec<&str> = problems.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, ["/P/a/0/b.$", "/P/c.$"]);
    }
}
