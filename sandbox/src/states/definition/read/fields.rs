//! The members of one object of a definition: each is taken once, and what is left over is a mistake.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Language, Reader};
use crate::states::definition::{Amount, Assign, Selection, Words};
use crate::states::intrinsic::Expression;
use crate::states::jsonata::{Offered, Query};
use crate::states::location::Location;
use crate::states::path::Path;
use crate::states::template::{Mistakes, Syntax, Template, query};
use crate::states::variables::wrong_name;

/// The largest number of seconds: the service's own limit.
pub(in crate::states) const SECONDS_MAX: u64 = 99_999_999;

/// Fields that a state has in one language only.
const OF_ONE_LANGUAGE: [(Language, &[&str]); 2] = [
    (
        Language::JsonPath,
        &[
            "InputPath",
            "Parameters",
            "ResultSelector",
            "ResultPath",
            "OutputPath",
            "Result",
            "ItemsPath",
            "MaxConcurrencyPath",
            "SecondsPath",
            "TimestampPath",
            "TimeoutSecondsPath",
            "HeartbeatSecondsPath",
            "ErrorPath",
            "CausePath",
            "Variable",
        ],
    ),
    (Language::Jsonata, &["Arguments", "Output", "Items", "Condition"]),
];

/// A mistake that the reader was told of.
struct Told;

pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    at: Location,
    language: Language,
    taken: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, at: Location, language: Language) -> Self {
        Self { map, at, language, taken: BTreeSet::new() }
    }

    /// The language in which the members are read.
    pub(super) fn language(&self) -> Language {
        self.language
    }

    /// Whether expressions are written in `JSONata` here.
    pub(super) fn is_jsonata(&self) -> bool {
        self.language == Language::Jsonata
    }

    /// Members that have no meaning here.
    pub(super) fn skip(&mut self, names: &[&'static str]) {
        self.taken.extend(names);
    }

    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.taken.insert(name);
        self.map.get(name)
    }

    pub(super) fn place(&self, name: &str) -> Location {
        self.at.member(name)
    }

    /// Members that mean something that the sandbox does not do.
    pub(super) fn refuse(&mut self, reader: &mut Reader, names: &[&'static str], why: &str) {
        for name in names {
            if self.take(name).is_some() {
                reader.wrong(self.place(name), format!("{name} is not supported by the sandbox: {why}"));
            }
        }
    }

    /// `QueryLanguage`.
    pub(super) fn query_language(&mut self, reader: &mut Reader) -> Option<Language> {
        let named = self.take("QueryLanguage")?.as_str();
        let language =
            [Language::JsonPath, Language::Jsonata].into_iter().find(|one| Some(one.name()) == named);
        if language.is_none() {
            reader.wrong(self.place("QueryLanguage"), "QueryLanguage is JSONPath or JSONata");
        }
        language
    }

    /// From here on the members are read as ones of a language; those of the other one are mistakes.
    pub(super) fn read_as(&mut self, reader: &mut Reader, language: Language) {
        self.language = language;
        for (only, names) in OF_ONE_LANGUAGE.iter().filter(|(only, _)| *only != language) {
            for name in *names {
                if self.take(name).is_some() {
                    let (language, only) = (language.name(), only.name());
                    let text = format!(
                        "The QueryLanguage is set to '{language}', but field '{name}' is only supported for the '{only}' QueryLanguage"
                    );
                    reader.wrong(self.place(name), text);
                }
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
            reader.wrong(&self.at, format!("{name} is missing"));
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

    /// The expression of a text, where the language is `JSONata` and the text is one. No field that is read
    /// here comes after the result.
    fn query(&mut self, reader: &mut Reader, name: &'static str) -> Result<Option<Query>, Told> {
        let Some(Value::String(text)) = self.map.get(name).filter(|_| self.is_jsonata()) else {
            return Ok(None);
        };
        let mut mistakes = Mistakes::new();
        let query = query(text, Offered::default(), &self.place(name), &mut mistakes);
        if query.is_none() && mistakes.is_empty() {
            return Ok(None);
        }
        self.taken.insert(name);
        reader.tell(mistakes);
        query.map(Some).ok_or(Told)
    }

    /// `NAME`, or `NAMEPath`.
    pub(super) fn amount(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        path_name: &'static str,
    ) -> Option<Amount> {
        match self.query(reader, name) {
            Ok(None) => {}
            Ok(Some(query)) => return Some(Amount::Query(query)),
            Err(Told) => return None,
        }
        if self.is_jsonata() {
            return self.whole(reader, name).map(Amount::Fixed);
        }
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
        match self.query(reader, name) {
            Ok(None) => {}
            Ok(Some(query)) => return Words::Query(query),
            Err(Told) => return Words::None,
        }
        let fixed = self.text(reader, name);
        let expression = if self.is_jsonata() { None } else { self.text(reader, path_name) };
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
            Ok(path) if is_reference && !path.is_of_input() => {
                reader.wrong(
                    self.place(name),
                    format!("{name} cannot point into the context object or a variable"),
                );
                Selection::Whole
            }
            Ok(path) => Selection::Path(path),
            Err(what) => {
                reader.wrong(self.place(name), what);
                Selection::Whole
            }
        }
    }

    /// A template in the language of the state; `offered` is what its expressions may refer to.
    pub(super) fn template(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        offered: Offered,
    ) -> Option<Template> {
        let value = self.take(name)?;
        let syntax = if self.is_jsonata() { Syntax::Queries(offered) } else { Syntax::Paths };
        let mut mistakes = Mistakes::new();
        let template = Template::parse(value, syntax, &self.place(name), &mut mistakes);
        reader.tell(mistakes);
        Some(template)
    }

    /// `Assign`.
    pub(super) fn assign(&mut self, reader: &mut Reader, offered: Offered) -> Assign {
        let variables = match self.template(reader, "Assign", offered) {
            None => Vec::new(),
            Some(Template::Object(variables)) => variables,
            Some(Template::Literal(Value::Object(map))) => {
                map.into_iter().map(|(name, value)| (name, Template::Literal(value))).collect()
            }
            Some(_) => {
                reader.wrong(self.place("Assign"), "Assign must be an object of variables");
                Vec::new()
            }
        };
        for (name, _) in &variables {
            if let Some(what) = wrong_name(name) {
                reader.wrong(self.place("Assign").member(name), what);
            }
        }
        Assign { variables }
    }
}

impl Reader {
    pub(super) fn tell(&mut self, mistakes: Mistakes) {
        for (place, what) in mistakes {
            self.wrong(place, what);
        }
    }
}
