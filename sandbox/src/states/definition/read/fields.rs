//! The members of one object of a definition: each is taken once, and what is left over is a mistake.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Reader;
use crate::states::definition::{Amount, Selection, Words};
use crate::states::intrinsic::Expression;
use crate::states::path::Path;
use crate::states::template::Template;

/// The largest number of seconds: the service's own limit.
const SECONDS_MAX: u64 = 99_999_999;

pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    at: String,
    taken: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, at: &str) -> Self {
        Self { map, at: at.to_owned(), taken: BTreeSet::new() }
    }

    /// Members that have no meaning here.
    pub(super) fn skip(&mut self, names: &[&'static str]) {
        self.taken.extend(names);
    }

    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.taken.insert(name);
        self.map.get(name)
    }

    pub(super) fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }

    /// Members that mean something that the sandbox does not do.
    pub(super) fn refuse(&mut self, reader: &mut Reader, names: &[&'static str], why: &str) {
        for name in names {
            if self.take(name).is_some() {
                reader.wrong(self.place(name), format!("{name} is not supported by the sandbox: {why}"));
            }
        }
    }

    pub(super) fn refuse_jsonata(&mut self, reader: &mut Reader) {
        match self.take("QueryLanguage").map(|language| language.as_str().unwrap_or_default()) {
            None | Some("JSONPath") => {}
            Some(_) => {
                let text =
                    "QueryLanguage: the sandbox evaluates JSONPath only; definitions in JSONata are refused";
                reader.wrong(self.place("QueryLanguage"), text);
            }
        }
    }

    /// Whatever was not taken is a mistake.
    pub(super) fn finish(self, reader: &mut Reader, whose: &str) {
        for name in self.map.keys().filter(|name| !self.taken.contains(name.as_str())) {
            let place = self.place(name);
            reader.wrong(place, format!("Field '{name}' is not supported in {whose}"));
        }
    }

    pub(super) fn text(&mut self, reader: &mut Reader, name: &'static str) -> Option<String> {
        let value = self.take(name)?;
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            reader.wrong(self.place(name), format!("{name} must be a text"));
        }
        text
    }

    pub(super) fn required_text(&mut self, reader: &mut Reader, name: &'static str) -> Option<String> {
        if self.take(name).is_none() {
            reader.wrong(self.at.as_str(), format!("{name} is missing"));
        }
        self.text(reader, name)
    }

    pub(super) fn whole(&mut self, reader: &mut Reader, name: &'static str) -> Option<u64> {
        let value = self.take(name)?;
        let number = value.as_u64().filter(|number| *number <= SECONDS_MAX);
        if number.is_none() {
            reader.wrong(self.place(name), format!("{name} must be a whole number from 0 to {SECONDS_MAX}"));
        }
        number
    }

    pub(super) fn reference(&mut self, reader: &mut Reader, name: &'static str) -> Option<Path> {
        let value = self.take(name)?;
        match Path::parse_reference(value.as_str().unwrap_or_default()) {
            Ok(path) => Some(path),
            Err(what) => {
                reader.wrong(self.place(name), what);
                None
            }
        }
    }

    /// `NAME`, or `NAMEPath`.
    pub(super) fn amount(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        path_name: &'static str,
    ) -> Option<Amount> {
        let path = self.reference(reader, path_name).map(Amount::Path);
        let fixed = self.whole(reader, name).map(Amount::Fixed);
        if path.is_some() && fixed.is_some() {
            reader.wrong(self.place(name), format!("there is {name} and {path_name}: one of them is enough"));
        }
        fixed.or(path)
    }

    /// `NAME`, or `NAMEPath` with a path or a call.
    pub(super) fn words(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        path_name: &'static str,
    ) -> Words {
        let fixed = self.text(reader, name);
        let expression = self.text(reader, path_name);
        match (fixed, expression) {
            (Some(_), Some(_)) => {
                let text = format!("there is {name} and {path_name}: one of them is enough");
                reader.wrong(self.place(name), text);
                Words::None
            }
            (Some(text), None) => Words::Fixed(text),
            (None, Some(text)) => match Expression::parse(&text) {
                Ok(expression) => Words::Expression(expression),
                Err(what) => {
                    reader.wrong(self.place(path_name), what);
                    Words::None
                }
            },
            (None, None) => Words::None,
        }
    }

    pub(super) fn selection(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        is_reference: bool,
    ) -> Selection {
        let text = match self.take(name) {
            None => return Selection::Whole,
            Some(Value::Null) => return Selection::Nothing,
            Some(value) => value.as_str().unwrap_or_default(),
        };
        let path = if is_reference { Path::parse_reference(text) } else { Path::parse(text) };
        match path {
            Ok(path) if path.is_whole() => Selection::Whole,
            Ok(path) if is_reference && path.is_of_context() => {
                reader.wrong(self.place(name), format!("{name} cannot point into the context object"));
                Selection::Whole
            }
            Ok(path) => Selection::Path(path),
            Err(what) => {
                reader.wrong(self.place(name), what);
                Selection::Whole
            }
        }
    }

    pub(super) fn template(&mut self, reader: &mut Reader, name: &'static str) -> Option<Template> {
        let value = self.take(name)?;
        let mut problems = Vec::new();
        let template = Template::parse(value, &self.place(name), &mut problems);
        for (place, what) in problems {
            reader.wrong(place, what);
        }
        Some(template)
    }
}
