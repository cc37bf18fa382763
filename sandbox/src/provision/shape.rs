//! What properties look like: turns evaluated nodes into the JSON that the services' own calls take.
//!
//! `CloudFormation` takes `10` and `"10"` for a number and for a text alike, and so does this.

use serde_json::{Map, Number, Value};

use super::Problem;
use super::yaml::{Content, Node};

/// The shape of a property.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// A text.
    Text,
    /// A whole number.
    Whole,
    /// A number.
    Fraction,
    /// True or false.
    Flag,
    /// A map from names to texts.
    Texts,
    /// A list of one shape.
    List(&'static Shape),
    /// Known members, each with its shape.
    Fields(&'static [Field]),
    /// Anything; for properties without effect in the sandbox.
    Any,
}

/// A member of [`Shape::Fields`].
pub(super) type Field = (&'static str, Shape);

/// Turns a node into JSON of a shape. All problems are told, with their lines; `place` names what is turned.
pub(super) fn typed(node: &Node, shape: Shape, place: &str, problems: &mut Vec<Problem>) -> Value {
    match (shape, &node.content) {
        (Shape::Any, _) => untyped(node),
        (Shape::Fields(fields), Content::Map(pairs)) => {
            let mut members = Map::new();
            for (name, value) in pairs {
                match fields.iter().find(|(known, _)| known == name) {
                    Some((_, shape)) => {
                        let place = format!("{place}.{name}");
                        members.insert(name.clone(), typed(value, *shape, &place, problems));
                    }
                    None => problems.push(Problem::new(
                        value.line,
                        format!("{place}: property {name} is not supported by the sandbox"),
                    )),
                }
            }
            Value::Object(members)
        }
        (Shape::Texts, Content::Map(pairs)) => {
            let mut texts = Map::new();
            for (name, value) in pairs {
                let place = format!("{place}.{name}");
                texts.insert(name.clone(), typed(value, Shape::Text, &place, problems));
            }
            Value::Object(texts)
        }
        (Shape::List(shape), Content::List(items)) => {
            items.iter().map(|item| typed(item, *shape, place, problems)).collect()
        }
        (_, Content::Text { text, .. }) => scalar(text, shape).unwrap_or_else(|| {
            problems.push(Problem::new(node.line, format!("{place}: {text:?} is not {}", shape.name())));
            Value::Null
        }),
        _ => {
            problems.push(Problem::new(node.line, format!("{place} must be {}", shape.name())));
            Value::Null
        }
    }
}

/// Turns a node into JSON by how it is written.
pub(super) fn untyped(node: &Node) -> Value {
    match &node.content {
        Content::Nothing => Value::Null,
        Content::List(items) => items.iter().map(untyped).collect(),
        Content::Map(pairs) => {
            Value::Object(pairs.iter().map(|(name, value)| (name.clone(), untyped(value))).collect())
        }
        Content::Text { text, plain: true } => scalar(text, Shape::Flag)
            .or_else(|| scalar(text, Shape::Whole))
            .or_else(|| scalar(text, Shape::Fraction))
            .unwrap_or_else(|| Value::from(text.as_str())),
        Content::Text { text, plain: false } => Value::from(text.as_str()),
    }
}

fn scalar(text: &str, shape: Shape) -> Option<Value> {
    match shape {
        Shape::Text => Some(Value::from(text)),
        Shape::Whole => text.parse::<i64>().ok().map(Value::from),
        Shape::Fraction => text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
        Shape::Flag => match text {
            "true" | "True" | "TRUE" => Some(Value::Bool(true)),
            "false" | "False" | "FALSE" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Whole => "a whole number",
            Self::Fraction => "a number",
            Self::Flag => "true or false",
            Self::Texts | Self::Fields(_) => "a mapping",
            Self::List(_) => "a list",
            Self::Any => "anything",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    const JOB: Shape = Shape::Fields(&[
        ("Version", Shape::Text),
        ("Workers", Shape::Whole),
        ("Queue", Shape::Flag),
        ("Arguments", Shape::Texts),
        ("Names", Shape::List(&Shape::Text)),
    ]);

    fn run(text: &str) -> (Value, Vec<Problem>) {
        let mut problems = Vec::new();
        let value = typed(&yaml::parse(text).unwrap(), JOB, "Job", &mut problems);
        (value, problems)
    }

    #[test]
    fn scalars_become_what_the_property_is() {
        let (value, problems) =
            run("Version: 5.0\nWorkers: '10'\nQueue: true\nArguments: {--n: 1}\nNames: [a, 2]\n");
        assert_eq!(problems, []);
        let expected = serde_json::json!({
            "Version": "5.0", "Workers": 10, "Queue": true, "Arguments": {"--n": "1"}, "Names": ["a", "2"],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let (_, problems) = run("Workers: many\nQueue: []\nMaxDreams: 3\n");
        let told: Vec<(usize, &str)> =
            problems.iter().map(|problem| (problem.line, problem.message.as_str())).collect();
        assert_eq!(
            told,
            [
                (1, "Job.Workers: \"many\" is not a whole number"),
                (2, "Job.Queue must be true or false"),
                (3, "Job: property MaxDreams is not supported by the sandbox"),
            ]
        );
    }
}
