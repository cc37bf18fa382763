//! Intrinsic functions: `States.Format('{}/{}', $.bucket, $$.Execution.Name)`. Here they are read; what each
//! does stands in [`functions`].

mod functions;

use serde_json::Value;

pub(super) use self::functions::digest;
use super::failure::Failure;
use super::path::Path;
use super::scope::Scope;

/// How deep calls may be nested (the language's own limit).
const DEPTH_MAX: usize = 10;

/// A path or a call, as it may stand behind a name that ends in `.$`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    /// A path.
    Path(Path),
    /// A number, `true`, `false` or `null`.
    Literal(Value),
    /// A quoted text, with its escapes.
    Text(String),
    /// A call.
    Call(&'static functions::Function, Vec<Expression>),
}

impl Expression {
    /// Reads a path or a call; the error says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('$') {
            return Path::parse(text).map(Self::Path);
        }
        let mut reader = Reader { whole: text, rest: text.trim() };
        let call = reader.call(0)?;
        if reader.rest.is_empty() {
            Ok(call)
        } else {
            Err(format!("`{text}`: nothing may follow the call, but there is `{}`", reader.rest))
        }
    }

    /// The value.
    pub(super) fn evaluate(&self, scope: Scope<'_>) -> Result<Value, Failure> {
        match self {
            Self::Path(path) => path.get(scope).ok_or_else(|| Failure::missing_parameter(path, scope.input)),
            Self::Literal(value) => Ok(value.clone()),
            Self::Text(raw) => Ok(Value::from(functions::unescape(raw))),
            Self::Call(function, arguments) => function.call(arguments, scope),
        }
    }
}

struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> String {
        format!("`{}`: {what}", self.whole)
    }

    fn call(&mut self, depth: usize) -> Result<Expression, String> {
        if depth >= DEPTH_MAX {
            return Err(self.wrong("intrinsic functions are nested too deeply"));
        }
        let Some((name, rest)) = self.rest.split_once('(') else {
            return Err(self.wrong("it is neither a path nor a call of an intrinsic function"));
        };
        let name = name.trim();
        let function = functions::named(name)
            .ok_or_else(|| self.wrong(&format!("there is no intrinsic function {name}")))?;
        self.rest = rest.trim_start();
        let mut arguments = Vec::new();
        if let Some(rest) = self.rest.strip_prefix(')') {
            self.rest = rest.trim_start();
        } else {
            loop {
                arguments.push(self.argument(depth)?);
                self.rest = self.rest.trim_start();
                let closing = self.rest.chars().next();
                self.rest = self.rest.get(1..).unwrap_or_default().trim_start();
                match closing {
                    Some(',') => {}
                    Some(')') => break,
                    _ => return Err(self.wrong("a call is not closed")),
                }
            }
        }
        function.check(&arguments).map_err(|what| self.wrong(&what))?;
        Ok(Expression::Call(function, arguments))
    }

    fn argument(&mut self, depth: usize) -> Result<Expression, String> {
        if self.rest.starts_with('\'') {
            return self.text();
        }
        if self.rest.starts_with('$') {
            let (path, rest) = self.rest.split_at(path_length(self.rest));
            self.rest = rest;
            return Path::parse(path.trim_end()).map(Expression::Path).map_err(|what| self.wrong(&what));
        }
        if self.rest.starts_with("States.") {
            return self.call(depth + 1);
        }
        let end = self.rest.find([',', ')']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let word = word.trim();
        match serde_json::from_str::<Value>(word) {
            Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => {
                self.rest = rest;
                Ok(Expression::Literal(value))
            }
            _ => Err(self.wrong(&format!(
                "`{word}` is no argument: write a path, a number, a text in single quotes, or a call"
            ))),
        }
    }

    fn text(&mut self) -> Result<Expression, String> {
        let mut escaped = false;
        for (at, character) in self.rest.char_indices().skip(1) {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\'' => {
                    let text = self.rest[1..at].to_owned();
                    self.rest = &self.rest[at + 1..];
                    return Ok(Expression::Text(text));
                }
                _ => {}
            }
        }
        Err(self.wrong("a quote is not closed"))
    }
}

/// How much of the text belongs to the path at its beginning: up to a comma or a parenthesis that stands
/// outside of brackets and quotes.
fn path_length(text: &str) -> usize {
    let (mut brackets, mut quote, mut escaped) = (0_usize, None, false);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '[') => brackets += 1,
            (None, ']') => brackets = brackets.saturating_sub(1),
            (None, ',' | ')') if brackets == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests;
