//! Paths into JSON as the states language writes them: `$.a.b[0]`, `$$.Execution.Id`, `$..x`, `$.a[?(@.n > 1)]`,
//! and into a variable: `$order.items[0]`.
//!
//! A path of names and indexes only is *definite* (a reference path): it selects one value. Everything else
//! selects a list. Crates for `JSONPath` follow RFC 9535, whose names, roots and escapes are others than the
//! language's (`$.detail-type`, `$$`, `$.a\.b`), and can put nothing at a path.
//!
//! Where a path stands, and what a missing value means there, is the callers' business.

mod filter;

use std::fmt;

use serde_json::{Map, Value};

use self::filter::Filter;
use super::scope::Scope;
use super::variables::{RESERVED, begins_name, continues_name};

/// The most values that one path selects: `$..*` over the longest input stays far below it.
const SELECTED_MAX: usize = 200_000;

/// A path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    text: String,
    root: Root,
    steps: Vec<Step>,
}

/// What a path begins at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    /// `$`: the state's input.
    Input,
    /// `$$`: the context object.
    Context,
    /// `$name`: a variable.
    Variable(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Name(String),
    Index(i64),
    /// `['a', 'b']`.
    Names(Vec<String>),
    /// `[0, 2]`.
    Indexes(Vec<i64>),
    /// `[from:to:step]`.
    Slice(Option<i64>, Option<i64>, Option<i64>),
    /// `.*` and `[*]`.
    All,
    /// `..`: every value below, and the one itself; the step that follows is applied to each.
    Descend,
    /// `[?(…)]`.
    Filter(Filter),
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Path {
    /// Reads a path; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text };
        if !reader.eat("$") {
            return Err(format!("`{text}` is no path: a path begins with $"));
        }
        let root = match reader.variable() {
            Some(name) if name == RESERVED => {
                return Err(format!("`{text}` is no path: ${RESERVED} is for JSONata only"));
            }
            Some(name) => Root::Variable(name),
            None if reader.eat("$") => Root::Context,
            None => Root::Input,
        };
        let steps = reader.steps(text)?;
        if !reader.rest.is_empty() {
            return Err(format!("`{text}` is no path: `{}` cannot be read", reader.rest));
        }
        Ok(Self { text: text.to_owned(), root, steps })
    }

    /// Reads a reference path: names and indexes only.
    pub(super) fn parse_reference(text: &str) -> Result<Self, String> {
        let path = Self::parse(text)?;
        if path.is_definite() {
            Ok(path)
        } else {
            Err(format!("`{text}` must be a reference path: names and indexes only"))
        }
    }

    /// Whether it selects one value.
    fn is_definite(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Name(_) | Step::Index(_)))
    }

    /// Whether it begins at the state's input, not at the context object or a variable.
    pub(super) fn is_of_input(&self) -> bool {
        self.root == Root::Input
    }

    /// Whether it is `$` itself.
    pub(super) fn is_whole(&self) -> bool {
        self.steps.is_empty() && self.root == Root::Input
    }

    /// What the path selects: the value of a definite path (`None` if there is none), the list of any other.
    /// Nothing is selected of a variable without a value.
    pub(super) fn get(&self, scope: Scope<'_>) -> Option<Value> {
        let root = match &self.root {
            Root::Input => scope.input,
            Root::Context => scope.context,
            Root::Variable(name) => scope.variables.get(name)?,
        };
        let selected = select(root, &self.steps);
        if self.is_definite() {
            selected.first().map(|value| (*value).clone())
        } else {
            Some(selected.into_iter().cloned().collect())
        }
    }

    /// The document with `value` put where the path points; missing objects on the way are made. `None` if
    /// something on the way is neither missing nor an object, or an index does not exist.
    pub(super) fn put(&self, document: Value, value: Value) -> Option<Value> {
        put(document, &self.steps, value)
    }
}

fn put(document: Value, steps: &[Step], value: Value) -> Option<Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    match (step, document) {
        (Step::Name(name), Value::Object(mut map)) => {
            let below = map.get_mut(name).map_or(Value::Null, Value::take);
            // A name that holds null is taken for one that is missing, as long as more follows.
            let below = if rest.is_empty() || !below.is_null() { below } else { Value::Object(Map::new()) };
            map.insert(name.clone(), put(below, rest, value)?);
            Some(Value::Object(map))
        }
        (Step::Index(index), Value::Array(mut list)) => {
            let index = position(*index, list.len())?;
            let below = list.get_mut(index)?.take();
            list[index] = put(below, rest, value)?;
            Some(Value::Array(list))
        }
        _ => None,
    }
}

/// Everything below `root` that the steps select, in document order.
fn select<'a>(root: &'a Value, steps: &[Step]) -> Vec<&'a Value> {
    let mut current = vec![root];
    for step in steps {
        let mut next = Vec::new();
        for value in current {
            apply(value, step, &mut next);
            if next.len() > SELECTED_MAX {
                break;
            }
        }
        current = next;
    }
    current
}

fn apply<'a>(value: &'a Value, step: &Step, next: &mut Vec<&'a Value>) {
    match (step, value) {
        (Step::Name(name), Value::Object(map)) => next.extend(map.get(name)),
        (Step::Names(names), Value::Object(map)) => {
            next.extend(names.iter().filter_map(|name| map.get(name)));
        }
        (Step::Index(index), Value::Array(list)) => {
            next.extend(position(*index, list.len()).and_then(|index| list.get(index)));
        }
        (Step::Indexes(indexes), Value::Array(list)) => {
            next.extend(indexes.iter().filter_map(|index| list.get(position(*index, list.len())?)));
        }
        (Step::Slice(from, to, step), Value::Array(list)) => slice(list, *from, *to, *step, next),
        (Step::All, Value::Object(map)) => next.extend(map.values()),
        (Step::All, Value::Array(list)) => next.extend(list),
        (Step::Descend, value) => descend(value, next),
        (Step::Filter(filter), Value::Array(list)) => {
            next.extend(list.iter().filter(|one| filter.holds(one)));
        }
        (Step::Filter(filter), Value::Object(map)) => {
            next.extend(map.values().filter(|one| filter.holds(one)));
        }
        _ => {}
    }
}

fn descend<'a>(value: &'a Value, next: &mut Vec<&'a Value>) {
    next.push(value);
    if next.len() > SELECTED_MAX {
        return;
    }
    match value {
        Value::Object(map) => map.values().for_each(|below| descend(below, next)),
        Value::Array(list) => list.iter().for_each(|below| descend(below, next)),
        _ => {}
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index + length } else { index };
    usize::try_from(index).ok()
}

fn slice<'a>(
    list: &'a [Value],
    from: Option<i64>,
    to: Option<i64>,
    step: Option<i64>,
    next: &mut Vec<&'a Value>,
) {
    let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let bound = |index: i64| (if index < 0 { index + length } else { index }).clamp(0, length);
    let (from, to) = (bound(from.unwrap_or(0)), bound(to.unwrap_or(length)));
    let step = usize::try_from(step.unwrap_or(1)).unwrap_or(1).max(1);
    let (Ok(from), Ok(to)) = (usize::try_from(from), usize::try_from(to)) else { return };
    if from < to {
        next.extend(list[from..to].iter().step_by(step));
    }
}

/// What is left of a path's text.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// The name of a variable, if one begins here.
    fn variable(&mut self) -> Option<String> {
        if !self.rest.starts_with(begins_name) {
            return None;
        }
        let end = self.rest.find(|character| !continues_name(character)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(name.to_owned())
    }

    /// Steps up to the first character that begins none.
    fn steps(&mut self, whole: &str) -> Result<Vec<Step>, String> {
        let wrong = |what: &str| format!("`{whole}` is no path: {what}");
        let mut steps = Vec::new();
        loop {
            if self.eat("..") {
                steps.push(Step::Descend);
                if self.eat("*") {
                    steps.push(Step::All);
                } else if !self.rest.starts_with('[') {
                    steps.push(Step::Name(self.name().ok_or_else(|| wrong("a name is missing after .."))?));
                }
            } else if self.eat(".*") {
                steps.push(Step::All);
            } else if self.eat(".") {
                steps.push(Step::Name(self.name().ok_or_else(|| wrong("a name is missing after a dot"))?));
            } else if self.eat("[") {
                steps.push(self.bracket().map_err(|what| wrong(&what))?);
            } else {
                return Ok(steps);
            }
        }
    }

    /// A name without quotes; a backslash takes the next character as it is.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut end = 0;
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            if character == '\\' {
                let (at, escaped) = characters.next()?;
                name.push(escaped);
                end = at + escaped.len_utf8();
            } else if character.is_alphanumeric() || matches!(character, '_' | '-' | ':') {
                name.push(character);
                end = at + character.len_utf8();
            } else {
                break;
            }
        }
        self.rest = &self.rest[end..];
        (!name.is_empty()).then_some(name)
    }

    fn bracket(&mut self) -> Result<Step, String> {
        self.skip_spaces();
        if self.eat("?") {
            let filter = Filter::read(self)?;
            return self.close(Step::Filter(filter));
        }
        if self.eat("*") {
            return self.close(Step::All);
        }
        if self.rest.starts_with(['\'', '"']) {
            let mut names = vec![self.quoted()?];
            while self.eat_comma() {
                names.push(self.quoted()?);
            }
            let single = names.len() == 1;
            let step = if single { Step::Name(names.remove(0)) } else { Step::Names(names) };
            return self.close(step);
        }
        let first = self.integer();
        if self.rest.starts_with(':') {
            let mut parts = [first, None, None];
            for part in &mut parts[1..] {
                if self.eat(":") {
                    *part = self.integer();
                }
            }
            return self.close(Step::Slice(parts[0], parts[1], parts[2]));
        }
        let mut indexes = vec![first.ok_or("a bracket holds neither a name, an index nor a filter")?];
        while self.eat_comma() {
            indexes.push(self.integer().ok_or("an index is missing after a comma")?);
        }
        let step = if indexes.len() == 1 { Step::Index(indexes[0]) } else { Step::Indexes(indexes) };
        self.close(step)
    }

    fn eat_comma(&mut self) -> bool {
        self.skip_spaces();
        let found = self.eat(",");
        self.skip_spaces();
        found
    }

    fn close(&mut self, step: Step) -> Result<Step, String> {
        self.skip_spaces();
        if self.eat("]") { Ok(step) } else { Err("a bracket is not closed".to_owned()) }
    }

    fn integer(&mut self) -> Option<i64> {
        self.skip_spaces();
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let sign = usize::from(self.rest.starts_with('-'));
        let end = sign + digits(&self.rest[sign..]);
        let number = self.rest[..end].parse().ok()?;
        self.rest = &self.rest[end..];
        self.skip_spaces();
        Some(number)
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or("a quoted name is missing")?;
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            if character == quote {
                self.rest = &self.rest[at + 1..];
                return Ok(text);
            }
            text.push(match character {
                '\\' => characters.next().map(|(_, escaped)| escaped).ok_or("a text ends in a backslash")?,
                other => other,
            });
        }
        Err("a quote is not closed".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::scope::Dice;
    use super::super::variables::Variables;
    use super::*;

    fn get(path: &str, input: &Value) -> Option<Value> {
        let variables = json!({ "order": { "items": [{ "id": 1 }, { "id": 2 }] }, "n_2": 3 });
        let variables = Variables::default().with(variables.as_object().unwrap()).unwrap();
        let (context, dice) = (json!({ "Execution": { "Id": "e" } }), Dice::seeded("t"));
        let scope = Scope::new(input, &context, &variables, &dice, Timestamp::UNIX_EPOCH);
        Path::parse(path).unwrap().get(scope)
    }

    #[test]
    fn paths_begin_at_variables() {
        let input = json!({ "order": "input" });
        assert_eq!(get("$n_2", &input), Some(json!(3)));
        assert_eq!(get("$order.items[-1].id", &input), Some(json!(2)));
        assert_eq!(get("$order..id", &input), Some(json!([1, 2])));
        assert_eq!(get("$order.none", &input), None);
        assert_eq!(get("$none", &input), None);
        assert!(Path::parse("$states.input").unwrap_err().contains("for JSONata only"));
        assert!(Path::parse_reference("$order.items[*]").is_err());
    }

    #[test]
    fn definite_paths_give_one_value() {
        let input = json!({ "a": { "b-c": [1, 2, { "d e": 3 }] }, "n": null });
        assert_eq!(get("$", &input), Some(input.clone()));
        assert_eq!(get("$.a.b-c[1]", &input), Some(json!(2)));
        assert_eq!(get("$['a'][\"b-c\"][-1]['d e']", &input), Some(json!(3)));
        assert_eq!(get("$.n", &input), Some(Value::Null));
        assert_eq!(get("$.x", &input), None);
        assert_eq!(get("$.a[0]", &input), None);
        assert_eq!(get("$$.Execution.Id", &input), Some(json!("e")));
        assert_eq!(get(r"$.a\.b", &json!({ "a.b": 1 })), Some(json!(1)));
    }

    #[test]
    fn other_paths_give_lists() {
        let input =
            json!({ "items": [{ "n": 1, "t": "x" }, { "n": 2 }, { "n": 3, "t": "y" }], "m": { "n": 9 } });
        assert_eq!(get("$.items[*].n", &input), Some(json!([1, 2, 3])));
        assert_eq!(get("$..n", &input), Some(json!([1, 2, 3, 9])));
        assert_eq!(get("$.items[0,2].n", &input), Some(json!([1, 3])));
        assert_eq!(get("$.items[1:].n", &input), Some(json!([2, 3])));
        assert_eq!(get("$.items[:-1].n", &input), Some(json!([1, 2])));
        assert_eq!(get("$.items[::2].n", &input), Some(json!([1, 3])));
        assert_eq!(get("$.items[?(@.n > 1 && @.t)].n", &input), Some(json!([3])));
        assert_eq!(get("$.items[?(@.t == 'x' || @.n==2)]['n','t']", &input), Some(json!([1, "x", 2])));
        assert_eq!(get("$.items[?(!(@.n <= 2))].n", &input), Some(json!([3])));
        assert_eq!(get("$.nothing[*]", &input), Some(json!([])));
    }

    #[test]
    fn values_are_put_where_a_path_points() {
        let put = |path: &str, document: Value| Path::parse(path).unwrap().put(document, json!(1));
        assert_eq!(put("$", json!({ "a": 2 })), Some(json!(1)));
        assert_eq!(put("$.a.b", json!({ "c": 2 })), Some(json!({ "c": 2, "a": { "b": 1 } })));
        assert_eq!(put("$.a[1]", json!({ "a": [0, 0] })), Some(json!({ "a": [0, 1] })));
        assert_eq!(put("$.a.b", json!({ "a": "text" })), None);
        assert_eq!(put("$.a[2]", json!({ "a": [0, 0] })), None);
        assert_eq!(put("$.a", json!("text")), None);
    }

    #[test]
    fn what_is_no_path_is_told() {
        for wrong in ["", "a", "$a.", "$.", "$..", "$.a[", "$.a['b", "$.a[?(@.b ~ 1)]", "$.a b", "$[]", "$$$"]
        {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Path::parse_reference("$.a[*]").is_err());
        assert!(Path::parse_reference("$.a[0].b").is_ok());
    }
}
