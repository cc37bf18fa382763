//! The conditions of Choice states, in either query language.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::jsonata::Query;
use super::path::Path;
use super::scope::Scope;

/// How deep `And`, `Or` and `Not` may be nested; each level is a frame of the stack.
const DEPTH_MAX: usize = 50;

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    Test(Path, Test),
    /// `Condition` with an expression.
    Query(Query),
    /// `Condition: true`.
    Constant(bool),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    /// `IsNumeric: true` and its like.
    Is(Kind, bool),
    Compare(Kind, Relation, Operand),
    /// `StringMatches`, with stars.
    Matches(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Present,
    Null,
    Text,
    Number,
    Flag,
    Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Value(Value),
    Path(Path),
}

const TYPE_TESTS: [(&str, Kind); 6] = [
    ("IsPresent", Kind::Present),
    ("IsNull", Kind::Null),
    ("IsString", Kind::Text),
    ("IsNumeric", Kind::Number),
    ("IsBoolean", Kind::Flag),
    ("IsTimestamp", Kind::Time),
];

const COMPARED: [(&str, Kind); 4] =
    [("String", Kind::Text), ("Numeric", Kind::Number), ("Boolean", Kind::Flag), ("Timestamp", Kind::Time)];

const RELATIONS: [(&str, Relation); 5] = [
    ("Equals", Relation::Equal),
    ("LessThanEquals", Relation::LessOrEqual),
    ("LessThan", Relation::Less),
    ("GreaterThanEquals", Relation::GreaterOrEqual),
    ("GreaterThan", Relation::Greater),
];

/// Members of a rule that are no part of its condition.
const BESIDE: [&str; 3] = ["Next", "Comment", "Assign"];

impl Condition {
    /// Reads a rule. `None` if it is wrong; each mistake is told with its place below `at`.
    pub(super) fn parse(
        rule: &Map<String, Value>,
        at: &str,
        depth: usize,
        problems: &mut Vec<(String, String)>,
    ) -> Option<Self> {
        let mut wrong = |place: String, what: String| problems.push((place, what));
        if depth > DEPTH_MAX {
            wrong(at.to_owned(), "conditions are nested too deeply".to_owned());
            return None;
        }
        let own = || rule.iter().filter(|(name, _)| !BESIDE.contains(&name.as_str()));
        if let Some((name, value)) = own().find(|(name, _)| matches!(name.as_str(), "And" | "Or" | "Not")) {
            if own().count() > 1 {
                wrong(at.to_owned(), format!("nothing may stand beside {name}"));
                return None;
            }
            return nested(name, value, &format!("{at}/{name}"), depth, problems);
        }
        let Some(variable) = rule.get("Variable").and_then(Value::as_str) else {
            wrong(at.to_owned(), "Variable is missing".to_owned());
            return None;
        };
        let variable =
            Path::parse_reference(variable).map_err(|what| wrong(format!("{at}/Variable"), what)).ok();
        let mut tests = own().filter(|(name, _)| *name != "Variable");
        let (Some((name, value)), None) = (tests.next(), tests.next()) else {
            wrong(at.to_owned(), "a rule has exactly one comparison".to_owned());
            return None;
        };
        match test(name, value) {
            Ok(test) => Some(Self::Test(variable?, test)),
            Err(what) => {
                wrong(format!("{at}/{name}"), what);
                None
            }
        }
    }

    /// Whether it holds.
    pub(super) fn holds(&self, scope: Scope<'_>) -> Result<bool, Failure> {
        match self {
            Self::And(conditions) => all(conditions, scope),
            Self::Or(conditions) => {
                for condition in conditions {
                    if condition.holds(scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(condition) => Ok(!condition.holds(scope)?),
            Self::Test(variable, test) => test.holds(variable, scope),
            Self::Query(query) => query.evaluate_as(scope, "boolean", Value::as_bool),
            Self::Constant(holds) => Ok(*holds),
        }
    }
}

fn all(conditions: &[Condition], scope: Scope<'_>) -> Result<bool, Failure> {
    for condition in conditions {
        if !condition.holds(scope)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn nested(
    name: &str,
    value: &Value,
    at: &str,
    depth: usize,
    problems: &mut Vec<(String, String)>,
) -> Option<Condition> {
    let mut inner = |value: &Value, at: &str| {
        if let Value::Object(rule) = value {
            return Condition::parse(rule, at, depth + 1, problems);
        }
        problems.push((at.to_owned(), "a condition must be an object".to_owned()));
        None
    };
    if name == "Not" {
        return inner(value, at).map(|condition| Condition::Not(Box::new(condition)));
    }
    let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
        problems.push((at.to_owned(), format!("{name} must be a list of conditions")));
        return None;
    };
    let conditions: Vec<Option<Condition>> =
        list.iter().enumerate().map(|(index, value)| inner(value, &format!("{at}/{index}"))).collect();
    let conditions = conditions.into_iter().collect::<Option<Vec<_>>>()?;
    Some(if name == "And" { Condition::And(conditions) } else { Condition::Or(conditions) })
}

fn test(name: &str, value: &Value) -> Result<Test, String> {
    if let Some((_, kind)) = TYPE_TESTS.iter().find(|(known, _)| *known == name) {
        return value
            .as_bool()
            .map(|is| Test::Is(*kind, is))
            .ok_or_else(|| format!("{name} must be true or false"));
    }
    if name == "StringMatches" {
        return value
            .as_str()
            .map(|text| Test::Matches(text.to_owned()))
            .ok_or_else(|| format!("{name} must be a text"));
    }
    let unknown = || format!("{name} is no comparison");
    let (kind, rest) = COMPARED
        .iter()
        .find_map(|(prefix, kind)| Some((*kind, name.strip_prefix(prefix)?)))
        .ok_or_else(unknown)?;
    let (relation, rest) = RELATIONS
        .iter()
        .find_map(|(word, relation)| Some((*relation, rest.strip_prefix(word)?)))
        .ok_or_else(unknown)?;
    if kind == Kind::Flag && relation != Relation::Equal {
        return Err(unknown());
    }
    let operand = match rest {
        "" if kind.fits(value) => Operand::Value(value.clone()),
        "" => return Err(format!("{value} is no value for {name}")),
        "Path" => Operand::Path(Path::parse_reference(value.as_str().unwrap_or_default())?),
        _ => return Err(unknown()),
    };
    Ok(Test::Compare(kind, relation, operand))
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Present => true,
            Self::Null => value.is_null(),
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Flag => value.is_boolean(),
            Self::Time => time(value).is_some(),
        }
    }
}

impl Test {
    fn holds(&self, variable: &Path, scope: Scope<'_>) -> Result<bool, Failure> {
        let found = variable.get(scope);
        if let Self::Is(Kind::Present, is) = self {
            return Ok(found.is_some() == *is);
        }
        let value =
            found.ok_or_else(|| Failure::missing("a choice rule's Variable", variable, scope.input))?;
        Ok(match self {
            Self::Is(kind, is) => kind.fits(&value) == *is,
            Self::Matches(pattern) => value.as_str().is_some_and(|text| matches(text, pattern)),
            Self::Compare(kind, relation, operand) => {
                let other = match operand {
                    Operand::Value(other) => other.clone(),
                    Operand::Path(path) => path
                        .get(scope)
                        .ok_or_else(|| Failure::missing("a choice rule's comparison", path, scope.input))?,
                };
                relation.holds(order(*kind, &value, &other))
            }
        })
    }
}

impl Relation {
    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

/// The order of two values of one kind; nothing if one of them is of another kind.
fn order(kind: Kind, left: &Value, right: &Value) -> Option<Ordering> {
    match kind {
        Kind::Text => Some(left.as_str()?.cmp(right.as_str()?)),
        Kind::Number => left.as_f64()?.partial_cmp(&right.as_f64()?),
        Kind::Flag => Some(left.as_bool()?.cmp(&right.as_bool()?)),
        Kind::Time => Some(time(left)?.cmp(&time(right)?)),
        Kind::Present | Kind::Null => None,
    }
}

/// A timestamp as the language writes it: RFC 3339 with a capital `T` and, if at all, a capital `Z`.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    let text = value.as_str().filter(|text| text.contains('T') && !text.contains('z'))?;
    text.parse().ok()
}

/// Whether a text fits a pattern in which `*` stands for anything and a backslash takes the next character
/// as it is.
fn matches(text: &str, pattern: &str) -> bool {
    #[derive(PartialEq)]
    enum Token {
        Star,
        Character(char),
    }
    let mut tokens = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '*' => Token::Star,
            '\\' => Token::Character(characters.next().unwrap_or('\\')),
            other => Token::Character(other),
        });
    }
    let text: Vec<char> = text.chars().collect();
    // Where the last star stands, and up to where of the text it has reached: going back there is enough.
    let (mut at, mut token, mut star) = (0, 0, None);
    while at < text.len() {
        if tokens.get(token) == Some(&Token::Star) {
            star = Some((token, at));
            token += 1;
        } else if tokens.get(token) == Some(&Token::Character(text[at])) {
            at += 1;
            token += 1;
        } else if let Some((star_token, reached)) = star {
            star = Some((star_token, reached + 1));
            at = reached + 1;
            token = star_token + 1;
        } else {
            return false;
        }
    }
    tokens[token..].iter().all(|token| *token == Token::Star)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::scope::Dice;
    use super::super::variables::Variables;
    use super::*;

    fn read(rule: &Value) -> Result<Condition, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let condition = Condition::parse(rule.as_object().unwrap(), "", 0, &mut problems);
        condition.ok_or(problems)
    }

    fn holds(rule: Value, input: &Value) -> bool {
        held(&rule, input).unwrap()
    }

    fn held(rule: &Value, input: &Value) -> Result<bool, Failure> {
        let variables = json!({ "answer": "b", "limit": 4 });
        let variables = Variables::default().with(variables.as_object().unwrap()).unwrap();
        let (context, dice) = (json!({}), Dice::seeded("t"));
        let scope = Scope::new(input, &context, &variables, &dice, Timestamp::UNIX_EPOCH);
        read(rule).unwrap().holds(scope)
    }

    #[test]
    fn variables_are_compared() {
        let input = json!({ "s": "b", "n": 5 });
        assert!(holds(json!({ "Variable": "$answer", "StringEqualsPath": "$.s" }), &input));
        assert!(holds(json!({ "Variable": "$.n", "NumericGreaterThanPath": "$limit" }), &input));
        assert!(holds(json!({ "Variable": "$none", "IsPresent": false }), &input));
    }

    #[test]
    fn every_comparison_compares() {
        let input = json!({
            "s": "b", "n": 5, "f": true, "t": "2026-11-19T10:00:00Z", "z": null, "s2": "b", "n2": 5.0,
            "t2": "2026-11-19T11:00:00+01:00",
        });
        let sides: [(&str, &str, [Value; 3]); 3] = [
            ("$.s", "String", [json!("a"), json!("b"), json!("c")]),
            ("$.n", "Numeric", [json!(4.5), json!(5), json!(6)]),
            (
                "$.t",
                "Timestamp",
                [
                    json!("2026-11-19T09:59:59Z"),
                    json!("2026-11-19T12:00:00+02:00"),
                    json!("2027-01-01T00:00:00Z"),
                ],
            ),
        ];
        let relations = [
            ("Equals", [false, true, false]),
            ("LessThan", [false, false, true]),
            ("LessThanEquals", [false, true, true]),
            ("GreaterThan", [true, false, false]),
            ("GreaterThanEquals", [true, true, false]),
        ];
        for (variable, kind, values) in &sides {
            for (relation, expected) in &relations {
                for (value, expected) in values.iter().zip(expected) {
                    let rule = json!({ "Variable": variable, format!("{kind}{relation}"): value });
                    assert_eq!(holds(rule.clone(), &input), *expected, "{rule}");
                }
                let rule =
                    json!({ "Variable": variable, format!("{kind}{relation}Path"): format!("{variable}2") });
                assert_eq!(holds(rule.clone(), &input), relation.ends_with("Equals"), "{rule}");
            }
        }
        assert!(holds(json!({ "Variable": "$.f", "BooleanEquals": true }), &input));
        assert!(
            !holds(json!({ "Variable": "$.s", "BooleanEquals": true }), &input),
            "another kind is unequal"
        );
        assert!(!holds(json!({ "Variable": "$.n", "StringEquals": "5" }), &input));
    }

    #[test]
    fn kinds_are_told_apart() {
        let input = json!({ "s": "b", "n": 5, "f": true, "t": "2026-11-19T10:00:00Z", "z": null });
        for (name, fitting) in [
            ("IsString", "st"),
            ("IsNumeric", "n"),
            ("IsBoolean", "f"),
            ("IsTimestamp", "t"),
            ("IsNull", "z"),
            ("IsPresent", "snftz"),
        ] {
            for variable in ["s", "n", "f", "t", "z"] {
                let rule = json!({ "Variable": format!("$.{variable}"), name: true });
                assert_eq!(holds(rule.clone(), &input), fitting.contains(variable), "{rule}");
            }
        }
        assert!(holds(json!({ "Variable": "$.none", "IsPresent": false }), &input));
        let missing = held(&json!({ "Variable": "$.none", "IsNull": true }), &input);
        assert_eq!(missing.unwrap_err().error, "States.Runtime");
    }

    #[test]
    fn conditions_nest() {
        let test = |n: i64| json!({ "Variable": "$.n", "NumericGreaterThan": n });
        let rule = json!({ "And": [test(1), { "Not": test(9) }, { "Or": [test(7), test(2)] }], "Next": "X" });
        assert!(holds(rule.clone(), &json!({ "n": 5 })));
        assert!(!holds(rule, &json!({ "n": 2 })));
    }

    #[test]
    fn stars_match_anything() {
        for (text, pattern, expected) in [
            ("log-2026.txt", "log-*.txt", true),
            ("log-.txt", "log-*.txt", true),
            ("log.txt", "log-*.txt", false),
            ("aXbXc", "*X*X*", true),
            ("abab", "*ab", true),
            ("a*b", r"a\*b", true),
            ("axb", r"a\*b", false),
            ("", "", true),
            ("a", "", false),
            ("", "**", true),
        ] {
            assert_eq!(matches(text, pattern), expected, "{text} {pattern}");
        }
    }

    #[test]
    fn wrong_rules_are_told() {
        for (rule, words) in [
            (json!({ "StringEquals": "a" }), "Variable is missing"),
            (json!({ "Variable": "$.a" }), "exactly one comparison"),
            (json!({ "Variable": "$.a", "IsNull": true, "IsString": true }), "exactly one comparison"),
            (json!({ "Variable": "$.a", "StringLike": "a" }), "no comparison"),
            (json!({ "Variable": "$.a", "BooleanLessThan": true }), "no comparison"),
            (json!({ "Variable": "$.a", "NumericEquals": "5" }), "no value for NumericEquals"),
            (json!({ "Variable": "$.a", "TimestampEquals": "yesterday" }), "no value for"),
            (json!({ "Variable": "$.a", "NumericEqualsPath": 5 }), "no path"),
            (json!({ "And": [], "Next": "X" }), "list of conditions"),
            (json!({ "And": [{ "Variable": "$.a", "IsNull": 1 }] }), "true or false"),
        ] {
            let problems = read(&rule).unwrap_err();
            assert!(problems[0].1.contains(words), "{rule}: {problems:?}");
        }
    }
}
