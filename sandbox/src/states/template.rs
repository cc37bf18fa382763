//! Templates: `Parameters`, `ResultSelector` and `ItemSelector` in `JSONPath`, `Arguments`, `Output` and
//! `ItemSelector` in `JSONata`, `Assign` in both. Whatever is no expression is taken as it is written.

use serde_json::{Map, Value};

use super::failure::Failure;
use super::intrinsic::Expression;
use super::jsonata::{Offered, Query, delimited};
use super::location::Location;
use super::scope::Scope;

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
    /// What stands between `{%` and `%}`.
    Query(Query),
}

/// How a template tells what is to be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// A name that ends in `.$` stands for a path or a call of an intrinsic function.
    Paths,
    /// A text in `{% … %}` is an expression.
    Queries(Offered),
}

/// Mistakes with their places.
pub(super) type Mistakes = Vec<(String, String)>;

impl Template {
    /// Reads a template. Each mistake is told with its place.
    pub(super) fn parse(value: &Value, syntax: Syntax, at: &Location, mistakes: &mut Mistakes) -> Self {
        match value {
            Value::Object(map) => {
                let mut members = Vec::with_capacity(map.len());
                for (name, value) in map {
                    let at = at.member(name);
                    members.push(match name.strip_suffix(".$") {
                        Some(plain) if syntax == Syntax::Paths => {
                            (plain.to_owned(), expression(value, &at, mistakes))
                        }
                        _ => (name.clone(), Self::parse(value, syntax, &at, mistakes)),
                    });
                }
                if members.iter().all(|(_, member)| matches!(member, Self::Literal(_))) {
                    return Self::Literal(value.clone());
                }
                Self::Object(members)
            }
            Value::Array(list) => {
                let items: Vec<Self> = list
                    .iter()
                    .enumerate()
                    .map(|(index, item)| Self::parse(item, syntax, &at.item(index), mistakes))
                    .collect();
                if items.iter().all(|item| matches!(item, Self::Literal(_))) {
                    return Self::Literal(value.clone());
                }
                Self::List(items)
            }
            Value::String(text) if let Syntax::Queries(offered) = syntax => {
                query(text, offered, at, mistakes).map_or_else(|| Self::Literal(value.clone()), Self::Query)
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
            Self::Query(query) => query.evaluate(scope)?,
        })
    }
}

fn expression(value: &Value, at: &Location, mistakes: &mut Mistakes) -> Template {
    let read = match value.as_str() {
        Some(text) => Expression::parse(text),
        None => Err("the value of a name that ends in .$ must be a text".to_owned()),
    };
    match read {
        Ok(expression) => Template::Expression(expression),
        Err(what) => {
            mistakes.push((at.into(), what));
            Template::Literal(Value::Null)
        }
    }
}

/// The expression of a text in `JSONata`, if it is one.
pub(super) fn query(text: &str, offered: Offered, at: &Location, mistakes: &mut Mistakes) -> Option<Query> {
    let read = delimited(text)
        .and_then(|inside| inside.map(|inside| Query::parse(inside, at.field(), offered)).transpose());
    read.unwrap_or_else(|what| {
        mistakes.push((at.into(), what));
        None
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::scope::Dice;
    use super::super::variables::Variables;
    use super::*;

    fn filled(template: &Value, syntax: Syntax) -> Value {
        let mut mistakes = Vec::new();
        let template = Template::parse(template, syntax, &Location::whole(), &mut mistakes);
        assert_eq!(mistakes, []);
        let variables = Variables::default().with(json!({ "v": [7] }).as_object().unwrap()).unwrap();
        let (input, context, dice) = (json!({ "a": 1 }), json!({ "Name": "n" }), Dice::seeded("t"));
        template.fill(Scope::new(&input, &context, &variables, &dice, Timestamp::UNIX_EPOCH)).unwrap()
    }

    #[test]
    fn names_with_a_dollar_are_filled_in() {
        let template = json!({
            "plain": "$.a", "path.$": "$.a", "deep": { "list": [1, { "name.$": "$$.Name" }] },
            "call.$": "States.Array($.a, 2)", "variable.$": "$v[0]", "other": "{% $v %}",
        });
        let expected = json!({
            "plain": "$.a", "path": 1, "deep": { "list": [1, { "name": "n" }] }, "call": [1, 2], "variable": 7,
            "other": "{% $v %}",
        });
        assert_eq!(filled(&template, Syntax::Paths), expected);
    }

    #[test]
    fn texts_in_delimiters_are_filled_in() {
        let template = json!({
            "plain": "$v", "path.$": "$.a", "deep": ["{% $v %}", { "n": "{%$states.context.Name%}" }], "n": 1,
            "spaced": " {% $v %} ",
        });
        let expected = json!({
            "plain": "$v", "path.$": "$.a", "deep": [[7], { "n": "n" }], "n": 1, "spaced": " {% $v %} ",
        });
        assert_eq!(filled(&template, Syntax::Queries(Offered::default())), expected);
        let whole = json!("{% $states.input.a + $v[0] %}");
        assert_eq!(filled(&whole, Syntax::Queries(Offered::default())), json!(8));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let told = |template: &Value, syntax: Syntax| {
            let mut mistakes = Vec::new();
            Template::parse(template, syntax, &Location::whole().member("P"), &mut mistakes);
            mistakes.into_iter().map(|(place, _)| place).collect::<Vec<String>>()
        };
        let paths = json!({ "a": [{ "b.$": 1 }], "c.$": "States.No()" });
        assert_eq!(told(&paths, Syntax::Paths), ["/P/a/0/b.$", "/P/c.$"]);
        let queries = json!({ "a": ["{% $x + %}"], "b": "{% $x", "c": "$x %}", "d": "{% 1 %}" });
        assert_eq!(told(&queries, Syntax::Queries(Offered::default())), ["/P/a/0", "/P/b", "/P/c"]);
    }
}
