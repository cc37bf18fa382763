//! Parameters: how they are declared, and whether the values of a run fit.
//!
//! Values come as text (`-p workers=12`) or as JSON (an API, a trigger); both end as the same
//! typed values. All mistakes of a run are reported together.

use jiff::civil::Date;
use serde_json::{Map, Number, Value};
use trunkline_state::{
    elements::ITEMS_BYTES_MAX,
    pipeline::{Param, ParamType, Pipeline},
};

use super::{
    reader::{Keys, Reader, shorten},
    scalar::Core,
    suggest::did_you_mean,
    tree::{Entry, Kind, Mapping, Node},
};

/// The most parameters of a pipeline.
pub const PARAMS_MAX: usize = 100;
/// The longest text of a parameter, unless it names its own `max_length`, in characters.
pub const TEXT_LENGTH_MAX: u32 = 4096;
/// The longest list of a parameter, in bytes of its JSON: what a task may run over.
pub const ARRAY_BYTES_MAX: usize = ITEMS_BYTES_MAX;
/// The keys of a declaration.
pub const PARAM_KEYS: [&str; 7] =
    ["type", "description", "default", "minimum", "maximum", "enum", "max_length"];
/// Keys of JSON Schema that are planned.
const LATER_KEYS: [&str; 3] = ["pattern", "min_length", "required"];

/// The words of the types.
pub(super) const TYPES: [(&str, ParamType); 6] = [
    ("string", ParamType::String),
    ("integer", ParamType::Integer),
    ("number", ParamType::Number),
    ("boolean", ParamType::Boolean),
    ("date", ParamType::Date),
    ("array", ParamType::Array),
];

/// Why a run's parameters were refused: every reason, one per line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ParamsError(pub Vec<String>);

/// A value as it was given.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// From the command line.
    Text(String),
    /// From a program.
    Json(Value),
}

/// The parameters of a run: what was given, checked and typed, and defaults for the rest.
pub fn resolve(
    pipeline: &Pipeline,
    given: impl IntoIterator<Item = (String, Given)>,
) -> Result<Map<String, Value>, ParamsError> {
    let mut problems = Vec::new();
    let mut values: Map<String, Value> = Map::new();
    for (name, value) in given {
        let Some(param) = pipeline.params.get(&name) else {
            problems.push(unknown(pipeline, &name));
            continue;
        };
        let checked = match value {
            Given::Text(text) => typed(param, &text).and_then(|value| check(param, value)),
            Given::Json(value) => check(param, value),
        };
        match checked {
            Ok(_) if values.contains_key(&name) => problems.push(format!("param `{name}` is given twice")),
            Ok(value) => {
                values.insert(name, value);
            }
            Err(reason) => problems.push(format!("param `{name}` {reason}")),
        }
    }
    let mut ordered = Map::new();
    for (name, param) in &pipeline.params {
        match values.remove(name).or_else(|| param.default.clone()) {
            Some(value) => {
                ordered.insert(name.clone(), value);
            }
            None if problems.iter().any(|problem| problem.contains(&format!("`{name}`"))) => {}
            None => problems.push(format!("param `{name}` has no default; give it with -p {name}=…")),
        }
    }
    if problems.is_empty() { Ok(ordered) } else { Err(ParamsError(problems)) }
}

/// Splits `k=v` as the command line has it.
pub fn split(text: &str) -> Result<(String, Given), ParamsError> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), Given::Text(value.to_owned())))
        }
        _ => Err(ParamsError(vec![format!("`{}` is no parameter; write -p name=value", shorten(text))])),
    }
}

fn unknown(pipeline: &Pipeline, name: &str) -> String {
    let names = pipeline.params.keys().map(String::as_str);
    let help = did_you_mean(name, names, "its params are").unwrap_or_else(|| "it has no params".to_owned());
    format!("pipeline `{}` has no param `{}`; {help}", pipeline.name, shorten(name))
}

/// Text to a value of the parameter's type.
pub fn typed(param: &Param, text: &str) -> Result<Value, String> {
    match param.kind {
        ParamType::String | ParamType::Date => Ok(Value::from(text)),
        ParamType::Boolean => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(format!("must be true or false, not `{}`", shorten(text))),
        },
        ParamType::Array => match serde_json::from_str::<Value>(text) {
            Ok(list @ Value::Array(_)) => Ok(list),
            _ => Err(format!("must be a list as JSON, such as [1, 2], not `{}`", shorten(text))),
        },
        ParamType::Integer => {
            let parsed = text.parse::<i64>().map(Value::from);
            parsed.map_err(|_| format!("must be a whole number, not `{}`", shorten(text)))
        }
        ParamType::Number => {
            let whole = text.parse::<i64>().ok().map(Number::from);
            let number = whole.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64));
            number.map(Value::Number).ok_or_else(|| format!("must be a number, not `{}`", shorten(text)))
        }
    }
}

/// Whether a value fits the declaration; the value as it is kept.
pub fn check(param: &Param, value: Value) -> Result<Value, String> {
    match misfit(param, &value) {
        Some(misfit) => Err(misfit.reason),
        None => Ok(value),
    }
}

/// Why a value does not fit.
struct Misfit {
    /// The key of the declaration that refuses it, other than `type`.
    rule: Option<&'static str>,
    /// The reason, without the parameter's name.
    reason: String,
}

fn misfit(param: &Param, value: &Value) -> Option<Misfit> {
    let because = |rule, reason| Some(Misfit { rule, reason });
    let shown = || shorten(&value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned));
    let fits = match param.kind {
        ParamType::String => value.is_string(),
        ParamType::Integer => value.is_i64() || value.is_u64(),
        ParamType::Number => value.is_number(),
        ParamType::Boolean => value.is_boolean(),
        ParamType::Array => value.is_array(),
        ParamType::Date => {
            value.as_str().is_some_and(|text| text.len() == 10 && text.parse::<Date>().is_ok())
        }
    };
    if !fits {
        return because(None, format!("must be {}, not `{}`", article(param.kind), shown()));
    }
    if value.is_array() && value.to_string().len() > ARRAY_BYTES_MAX {
        return because(None, format!("is longer than {ARRAY_BYTES_MAX} bytes of JSON"));
    }
    if let Some(number) = value.as_f64() {
        if let Some(minimum) = param.minimum.filter(|minimum| number < *minimum) {
            return because(Some("minimum"), format!("must be at least {minimum}, not {number}"));
        }
        if let Some(maximum) = param.maximum.filter(|maximum| number > *maximum) {
            return because(Some("maximum"), format!("must be at most {maximum}, not {number}"));
        }
    }
    if let Some(text) = value.as_str() {
        let most = param.max_length.unwrap_or(TEXT_LENGTH_MAX);
        let length = text.chars().count();
        if u32::try_from(length).map_or(true, |length| length > most) {
            return because(Some("max_length"), format!("has {length} characters; at most {most} are taken"));
        }
    }
    if !param.choices.is_empty() && !param.choices.contains(value) {
        let words: Vec<String> = param
            .choices
            .iter()
            .map(|choice| choice.as_str().map_or_else(|| choice.to_string(), ToOwned::to_owned))
            .collect();
        return because(Some("enum"), format!("must be one of {}, not `{}`", words.join(", "), shown()));
    }
    None
}

fn article(kind: ParamType) -> &'static str {
    match kind {
        ParamType::String => "text",
        ParamType::Integer => "a whole number",
        ParamType::Number => "a number",
        ParamType::Boolean => "true or false",
        ParamType::Date => "a date such as 2026-11-19",
        ParamType::Array => "a list",
    }
}

/// Reads one declaration.
pub(super) fn declaration(reader: &mut Reader, entry: &Entry) -> Option<Param> {
    if !is_identifier(&entry.key) {
        let diagnostic = reader
            .error(&entry.key_span, format!("`{}` cannot be the name of a param", shorten(&entry.key)))
            .label("name")
            .help("use letters, digits and _, beginning with a letter: templates read it as params.<name>");
        reader.report(diagnostic);
    }
    let Kind::Mapping(mapping) = &entry.value.kind else {
        let diagnostic = reader
            .error(&entry.value.span, format!("param `{}` must be a declaration", shorten(&entry.key)))
            .label("expected names with values")
            .help(format!("write {}: {{ type: integer, default: 10 }}", shorten(&entry.key)));
        reader.report(diagnostic);
        return None;
    };
    reader.check_keys(mapping, Keys { of: "a param", known: &PARAM_KEYS, later: &LATER_KEYS });
    let Some(kind) = mapping.get("type") else {
        let diagnostic = reader
            .error(&entry.key_span, format!("param `{}` needs `type`", entry.key))
            .label("`type` is missing")
            .help("it is one of string, integer, number, boolean, date, array");
        reader.report(diagnostic);
        return None;
    };
    let kind = reader.word(kind, &TYPES)?;
    let numeric = matches!(kind, ParamType::Integer | ParamType::Number);
    let textual = kind == ParamType::String;
    let mut param = Param {
        kind,
        description: mapping.get("description").and_then(|entry| reader.text(entry)).unwrap_or_default(),
        default: None,
        minimum: bound(reader, mapping, "minimum", numeric),
        maximum: bound(reader, mapping, "maximum", numeric),
        choices: Vec::new(),
        max_length: None,
    };
    if let Some(length) = mapping.get("max_length").filter(|entry| applies(reader, entry, textual, "string"))
    {
        param.max_length = reader.integer(length, 1..=1_000_000);
    }
    if let (Some(minimum), Some(maximum)) = (param.minimum, param.maximum)
        && minimum > maximum
        && let Some(entry) = mapping.get("maximum")
    {
        let message = format!("`maximum` {maximum} is less than `minimum` {minimum}");
        let diagnostic = reader.error(&entry.value.span, message).label("nothing would fit");
        reader.report(diagnostic);
    }
    choices(reader, mapping, &mut param);
    if let Some(default) = mapping.get("default") {
        param.default = fitting(reader, &default.value, (&param, mapping), "the default");
    }
    Some(param)
}

fn bound(reader: &mut Reader, mapping: &Mapping, key: &str, numeric: bool) -> Option<f64> {
    let entry = mapping.get(key)?;
    if applies(reader, entry, numeric, "integer or number") { reader.number(entry) } else { None }
}

fn applies(reader: &mut Reader, entry: &Entry, does: bool, kinds: &str) -> bool {
    if !does {
        let message = format!("`{}` belongs to a param of type {kinds}", entry.key);
        let diagnostic =
            reader.error(&entry.key_span, message).label("has no meaning here").help("leave it out");
        reader.report(diagnostic);
    }
    does
}

fn choices(reader: &mut Reader, mapping: &Mapping, param: &mut Param) {
    let Some(entry) = mapping.get("enum") else { return };
    let Kind::Sequence(items) = &entry.value.kind else {
        reader.mismatch(&entry.value, "enum", "a list of values");
        return;
    };
    if items.is_empty() {
        let diagnostic = reader.error(&entry.value.span, "`enum` is empty").label("no value would fit");
        reader.report(diagnostic);
    }
    // Not yet among the choices: the choices must not be checked against themselves.
    let values: Vec<Value> =
        items.iter().filter_map(|item| fitting(reader, item, (param, mapping), "a choice")).collect();
    param.choices = values;
}

/// A value in a declaration, in the declared type.
fn fitting(
    reader: &mut Reader,
    node: &Node,
    (param, declared): (&Param, &Mapping),
    what: &str,
) -> Option<Value> {
    let scalar = match (&node.kind, param.kind) {
        (Kind::Scalar(scalar), _) => scalar,
        (Kind::Sequence(_), ParamType::Array) => return Some(node.to_json()),
        _ => {
            reader.mismatch(node, what, article(param.kind));
            return None;
        }
    };
    if scalar.core == Core::Null {
        reader.mismatch(node, what, article(param.kind));
        return None;
    }
    let value = match param.kind {
        ParamType::String | ParamType::Date => Value::from(scalar.text.as_str()),
        _ => scalar.core.to_json(&scalar.text),
    };
    let Some(misfit) = misfit(param, &value) else { return Some(value) };
    let mut diagnostic = reader.error(&node.span, format!("{what} {}", misfit.reason)).label("does not fit");
    if let Some(rule) = misfit.rule.and_then(|rule| declared.get(rule)) {
        diagnostic = diagnostic.related(reader.source, rule.value.span.clone(), "because of this");
    }
    reader.report(diagnostic);
    None
}

fn is_identifier(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(kind: ParamType) -> Param {
        Param {
            kind,
            description: String::new(),
            default: None,
            minimum: None,
            maximum: None,
            choices: vec![],
            max_length: None,
        }
    }

    #[test]
    fn texts_become_typed_values() {
        assert_eq!(typed(&param(ParamType::Integer), "12"), Ok(Value::from(12)));
        assert_eq!(typed(&param(ParamType::Number), "1.5"), Ok(Value::from(1.5)));
        assert_eq!(typed(&param(ParamType::Boolean), "true"), Ok(Value::Bool(true)));
        assert!(typed(&param(ParamType::Boolean), "yes").is_err());
        assert!(typed(&param(ParamType::Integer), "1.5").is_err());
        assert!(typed(&param(ParamType::Number), "NaN").is_err());
        assert_eq!(typed(&param(ParamType::Array), "[1, \"a\"]"), Ok(serde_json::json!([1, "a"])));
        assert!(typed(&param(ParamType::Array), "1, 2").is_err());
    }

    #[test]
    fn values_are_held_against_the_declaration() {
        let mut workers = param(ParamType::Integer);
        workers.minimum = Some(2.0);
        assert_eq!(check(&workers, Value::from(1)), Err("must be at least 2, not 1".to_owned()));
        assert!(check(&workers, Value::from("3")).is_err());
        let mut kind = param(ParamType::String);
        kind.choices = vec![Value::from("a"), Value::from("b")];
        assert_eq!(check(&kind, Value::from("c")), Err("must be one of a, b, not `c`".to_owned()));
        assert!(check(&param(ParamType::Date), Value::from("2026-02-30")).is_err());
        assert!(check(&param(ParamType::Date), Value::from("2026-02-28")).is_ok());
    }

    #[test]
    fn a_parameter_of_the_command_line_has_a_name() {
        assert_eq!(split("a=b=c"), Ok(("a".to_owned(), Given::Text("b=c".to_owned()))));
        assert!(split("=b").is_err());
        assert!(split("a").is_err());
    }
}
