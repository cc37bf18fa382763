//! Reading one state: what every kind has. What only some have stands in [`super::kinds`].

use serde_json::Value;

use super::fields::Fields;
use super::{Language, Reader};
use crate::states::definition::{Assign, Catcher, Caught, Flow, Kind, Paths, Queries, Retrier, State};
use crate::states::jsonata::Offered;
use crate::states::location::Location;

/// What `MaxAttempts` may be (the service's own limit).
const ATTEMPTS_MAX: u64 = 99_999_999;

impl Reader {
    pub(super) fn state(&mut self, value: &Value, at: &Location) -> Option<State> {
        let mut fields = Fields::new(self.object(value, at)?, at.clone(), self.language);
        fields.skip(&["Comment"]);
        let language = self.language_of(&mut fields, at);
        fields.read_as(self, language);
        let kind_name = fields.required_text(self, "Type")?;
        let runs = matches!(kind_name.as_str(), "Task" | "Parallel" | "Map");
        let offered = Offered { result: runs, error: false };
        let flow = match language {
            Language::JsonPath => Flow::Paths(Box::new(self.paths(&mut fields, &kind_name))),
            Language::Jsonata => Flow::Queries(Box::new(self.queries(&mut fields, &kind_name, offered))),
        };
        let assign = match kind_name.as_str() {
            "Succeed" | "Fail" => Assign::default(),
            _ => fields.assign(self, offered),
        };
        let (mut retry, mut catch) = (Vec::new(), Vec::new());
        if runs {
            retry = self.list(&mut fields, "Retry", Self::retrier);
            catch = self.list(&mut fields, "Catch", Self::catcher);
        }
        let kind = match kind_name.as_str() {
            "Pass" => Some(Kind::Pass { result: fields.take("Result").cloned() }),
            "Wait" => self.wait(&mut fields),
            "Choice" => self.choice(&mut fields),
            "Succeed" => Some(Kind::Succeed),
            "Fail" => Some(Kind::Fail {
                error: fields.words(self, "Error", "ErrorPath"),
                cause: fields.words(self, "Cause", "CausePath"),
            }),
            "Parallel" => self.parallel(&mut fields),
            "Map" => self.map(&mut fields),
            "Task" => self.task(&mut fields),
            other => {
                self.wrong(at.member("Type"), format!("there is no type {other} of states"));
                return None;
            }
        };
        let next = match kind_name.as_str() {
            "Choice" | "Succeed" | "Fail" => None,
            _ => self.next(&mut fields, at),
        };
        fields.finish(self, &format!("states of type {kind_name}"));
        Some(State { kind: kind?, flow, assign, next, retry, catch })
    }

    /// The language of a state. One that leads back from `JSONata` is refused, as the service does.
    fn language_of(&mut self, fields: &mut Fields<'_>, at: &Location) -> Language {
        let language = fields.query_language(self).unwrap_or(self.language);
        if language == Language::JsonPath && self.language == Language::Jsonata {
            let text = "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine";
            self.wrong(at, text);
        }
        language
    }

    fn paths(&mut self, fields: &mut Fields<'_>, kind_name: &str) -> Paths {
        let mut paths = Paths::default();
        let runs = matches!(kind_name, "Task" | "Parallel" | "Map");
        if kind_name != "Fail" {
            paths.input = fields.selection(self, "InputPath", false);
            paths.output = fields.selection(self, "OutputPath", false);
        }
        if runs || kind_name == "Pass" {
            paths.result = fields.selection(self, "ResultPath", true);
        }
        if runs {
            paths.result_selector = fields.template(self, "ResultSelector", Offered::default());
        }
        if matches!(kind_name, "Pass" | "Task" | "Parallel") {
            paths.parameters = fields.template(self, "Parameters", Offered::default());
        }
        paths
    }

    fn queries(&mut self, fields: &mut Fields<'_>, kind_name: &str, offered: Offered) -> Queries {
        let mut queries = Queries::default();
        if matches!(kind_name, "Task" | "Parallel") {
            queries.arguments = fields.template(self, "Arguments", Offered::default());
        }
        if kind_name != "Fail" {
            queries.output = fields.template(self, "Output", offered);
        }
        queries
    }

    fn next(&mut self, fields: &mut Fields<'_>, at: &Location) -> Option<String> {
        let next = fields.text(self, "Next");
        let end = fields.take("End");
        match (&next, end) {
            (None, Some(Value::Bool(true))) | (Some(_), None | Some(Value::Bool(false))) => {}
            (Some(_), Some(_)) => self.wrong(at, "a state has Next or End, not both"),
            (None, _) => self.wrong(at, "the state needs Next, or End: true"),
        }
        next
    }

    fn list<T>(
        &mut self,
        fields: &mut Fields<'_>,
        name: &'static str,
        read: fn(&mut Self, Fields<'_>, &Location) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = fields.take(name) else { return Vec::new() };
        let place = fields.place(name);
        let Some(list) = value.as_array() else {
            self.wrong(place, format!("{name} must be a list"));
            return Vec::new();
        };
        let mut all = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let at = place.item(index);
            let Some(map) = self.object(value, &at) else { continue };
            let mut inner = Fields::new(map, at.clone(), self.language);
            inner.read_as(self, fields.language());
            all.extend(read(self, inner, &at));
        }
        all
    }

    fn errors(&mut self, fields: &mut Fields<'_>, at: &Location) -> Vec<String> {
        let names = fields.take("ErrorEquals").and_then(Value::as_array);
        let names: Option<Vec<String>> =
            names.and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
        match names {
            Some(names) if !names.is_empty() => {
                if names.len() > 1 && names.iter().any(|name| name == "States.ALL") {
                    self.wrong(at.member("ErrorEquals"), "States.ALL must stand alone");
                }
                names
            }
            _ => {
                self.wrong(at, "ErrorEquals must be a list of names of errors");
                Vec::new()
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "read like a catcher, which can be too wrong to be one")]
    fn retrier(&mut self, mut fields: Fields<'_>, at: &Location) -> Option<Retrier> {
        fields.skip(&["Comment"]);
        let errors = self.errors(&mut fields, at);
        let interval_seconds = fields.whole(self, "IntervalSeconds").unwrap_or(1);
        let attempts_max = fields.whole(self, "MaxAttempts").unwrap_or(3);
        let delay_max_seconds = fields.whole(self, "MaxDelaySeconds");
        let backoff = match fields.take("BackoffRate") {
            None => 2.0,
            Some(rate) => rate.as_f64().filter(|rate| *rate >= 1.0).unwrap_or_else(|| {
                self.wrong(at.member("BackoffRate"), "BackoffRate must be a number from 1.0 on");
                2.0
            }),
        };
        let jitter = match fields.text(self, "JitterStrategy").as_deref() {
            None | Some("NONE") => false,
            Some("FULL") => true,
            Some(_) => {
                self.wrong(at.member("JitterStrategy"), "JitterStrategy is FULL or NONE");
                false
            }
        };
        fields.finish(self, "Retry");
        let attempts_max = attempts_max.min(ATTEMPTS_MAX);
        Some(Retrier { errors, interval_seconds, attempts_max, backoff, delay_max_seconds, jitter })
    }

    fn catcher(&mut self, mut fields: Fields<'_>, at: &Location) -> Option<Catcher> {
        fields.skip(&["Comment"]);
        let errors = self.errors(&mut fields, at);
        let offered = Offered { result: false, error: true };
        let assign = fields.assign(self, offered);
        let output = if fields.is_jsonata() {
            Caught::Output(fields.template(self, "Output", offered))
        } else {
            Caught::Result(fields.selection(self, "ResultPath", true))
        };
        let next = fields.required_text(self, "Next");
        fields.finish(self, "Catch");
        Some(Catcher { errors, next: next?, assign, output })
    }
}
