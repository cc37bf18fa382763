//! The condition of a filter, `[?(@.n > 1 && @.name == 'x')]`.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Reader, Step, select};

/// How deep conditions may be nested; each level is a frame of the stack.
const DEPTH_MAX: usize = 50;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    Any(Vec<Filter>),
    All(Vec<Filter>),
    Not(Box<Filter>),
    /// `@.a`: something is there.
    Exists(Vec<Step>),
    Compare(Operand, Comparison, Operand),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// In the order in which they must be tried.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

impl Filter {
    /// Reads what follows the question mark.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, String> {
        any(reader, 0)
    }

    /// Whether it holds for the value that `@` means.
    pub(super) fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Any(filters) => filters.iter().any(|filter| filter.holds(value)),
            Self::All(filters) => filters.iter().all(|filter| filter.holds(value)),
            Self::Not(filter) => !filter.holds(value),
            Self::Exists(steps) => !select(value, steps).is_empty(),
            Self::Compare(left, comparison, right) => match (left.value(value), right.value(value)) {
                (Some(left), Some(right)) => comparison.holds(left, right),
                _ => false,
            },
        }
    }
}

impl Operand {
    fn value<'a>(&'a self, current: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Path(steps) => select(current, steps).first().copied(),
            Self::Literal(value) => Some(value),
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            _ if left == right => Some(Ordering::Equal),
            _ => None,
        };
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Unequal => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

fn any(reader: &mut Reader<'_>, depth: usize) -> Result<Filter, String> {
    let mut filters = vec![all(reader, depth)?];
    while reader.eat("||") {
        filters.push(all(reader, depth)?);
    }
    Ok(if filters.len() == 1 { filters.remove(0) } else { Filter::Any(filters) })
}

fn all(reader: &mut Reader<'_>, depth: usize) -> Result<Filter, String> {
    let mut filters = vec![one(reader, depth)?];
    while reader.eat("&&") {
        filters.push(one(reader, depth)?);
    }
    Ok(if filters.len() == 1 { filters.remove(0) } else { Filter::All(filters) })
}

fn one(reader: &mut Reader<'_>, depth: usize) -> Result<Filter, String> {
    if depth > DEPTH_MAX {
        return Err("a filter is nested too deeply".to_owned());
    }
    reader.skip_spaces();
    let filter = if reader.rest.starts_with('!') && !reader.rest.starts_with("!=") {
        reader.eat("!");
        Filter::Not(Box::new(one(reader, depth + 1)?))
    } else if reader.eat("(") {
        let inner = any(reader, depth + 1)?;
        if !reader.eat(")") {
            return Err("a parenthesis of a filter is not closed".to_owned());
        }
        inner
    } else {
        comparison(reader)?
    };
    reader.skip_spaces();
    Ok(filter)
}

fn comparison(reader: &mut Reader<'_>) -> Result<Filter, String> {
    let left = operand(reader)?;
    reader.skip_spaces();
    let found = COMPARISONS.iter().find(|(token, _)| reader.eat(token));
    match (found, left) {
        (Some((_, comparison)), left) => {
            reader.skip_spaces();
            Ok(Filter::Compare(left, *comparison, operand(reader)?))
        }
        (None, Operand::Path(steps)) => Ok(Filter::Exists(steps)),
        (None, Operand::Literal(_)) => Err("a filter compares a value with nothing".to_owned()),
    }
}

fn operand(reader: &mut Reader<'_>) -> Result<Operand, String> {
    if reader.eat("@") {
        return Ok(Operand::Path(reader.steps("@")?));
    }
    if reader.rest.starts_with(['\'', '"']) {
        return Ok(Operand::Literal(Value::from(reader.quoted()?)));
    }
    let end = reader.rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '+' | '.'));
    let (word, rest) = reader.rest.split_at(end.unwrap_or(reader.rest.len()));
    let value: Value =
        serde_json::from_str(word).map_err(|_| format!("a filter cannot compare with `{word}`"))?;
    reader.rest = rest;
    Ok(Operand::Literal(value))
}
