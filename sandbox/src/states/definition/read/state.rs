//! Reading one state.

use serde_json::Value;

use super::Reader;
use super::fields::Fields;
use crate::states::choice::Condition;
use crate::states::definition::{Amount, Catcher, Flow, Kind, Map, Retrier, State, Task, Until, Words};
use crate::states::integration::Integration;

/// What `MaxAttempts` may be (the service's own limit).
const ATTEMPTS_MAX: u64 = 99_999_999;
/// Most branches of a Parallel state; the service has no limit, the definition's length is one.
const BRANCHES_MAX: usize = 1_000;

impl Reader {
    pub(super) fn state(&mut self, value: &Value, at: &str) -> Option<State> {
        let mut fields = Fields::new(self.object(value, at)?, at);
        fields.skip(&["Comment"]);
        fields.refuse_jsonata(self);
        fields.refuse(
            self,
            &["Assign", "Output", "Arguments", "Items", "Condition"],
            "variables and JSONata are not evaluated",
        );
        let kind_name = fields.required_text(self, "Type")?;
        let mut flow = Flow::default();
        if kind_name != "Fail" {
            flow.input = fields.selection(self, "InputPath", false);
            flow.output = fields.selection(self, "OutputPath", false);
        }
        let runs = matches!(kind_name.as_str(), "Task" | "Parallel" | "Map");
        if runs || kind_name == "Pass" {
            flow.result = fields.selection(self, "ResultPath", true);
        }
        if runs {
            flow.result_selector = fields.template(self, "ResultSelector");
        }
        if kind_name == "Pass" || kind_name == "Task" || kind_name == "Parallel" {
            flow.parameters = fields.template(self, "Parameters");
        }
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
                self.wrong(format!("{at}/Type"), format!("there is no type {other} of states"));
                return None;
            }
        };
        let next = match kind_name.as_str() {
            "Choice" | "Succeed" | "Fail" => None,
            _ => self.next(&mut fields, at),
        };
        fields.finish(self, &format!("states of type {kind_name}"));
        Some(State { kind: kind?, flow, next, retry, catch })
    }

    fn next(&mut self, fields: &mut Fields<'_>, at: &str) -> Option<String> {
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
        read: fn(&mut Self, Fields<'_>, &str) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = fields.take(name) else { return Vec::new() };
        let place = fields.place(name);
        let Some(list) = value.as_array() else {
            self.wrong(place, format!("{name} must be a list"));
            return Vec::new();
        };
        let mut all = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let at = format!("{place}/{index}");
            let Some(map) = self.object(value, &at) else { continue };
            all.extend(read(self, Fields::new(map, &at), &at));
        }
        all
    }

    fn errors(&mut self, fields: &mut Fields<'_>, at: &str) -> Vec<String> {
        let names = fields.take("ErrorEquals").and_then(Value::as_array);
        let names: Option<Vec<String>> =
            names.and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
        match names {
            Some(names) if !names.is_empty() => {
                if names.len() > 1 && names.iter().any(|name| name == "States.ALL") {
                    self.wrong(format!("{at}/ErrorEquals"), "States.ALL must stand alone");
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
    fn retrier(&mut self, mut fields: Fields<'_>, at: &str) -> Option<Retrier> {
        fields.skip(&["Comment"]);
        let errors = self.errors(&mut fields, at);
        let interval_seconds = fields.whole(self, "IntervalSeconds").unwrap_or(1);
        let attempts_max = fields.whole(self, "MaxAttempts").unwrap_or(3);
        let delay_max_seconds = fields.whole(self, "MaxDelaySeconds");
        let backoff = match fields.take("BackoffRate") {
            None => 2.0,
            Some(rate) => rate.as_f64().filter(|rate| *rate >= 1.0).unwrap_or_else(|| {
                self.wrong(format!("{at}/BackoffRate"), "BackoffRate must be a number from 1.0 on");
                2.0
            }),
        };
        let jitter = match fields.text(self, "JitterStrategy").as_deref() {
            None | Some("NONE") => false,
            Some("FULL") => true,
            Some(_) => {
                self.wrong(format!("{at}/JitterStrategy"), "JitterStrategy is FULL or NONE");
                false
            }
        };
        fields.finish(self, "Retry");
        let attempts_max = attempts_max.min(ATTEMPTS_MAX);
        Some(Retrier { errors, interval_seconds, attempts_max, backoff, delay_max_seconds, jitter })
    }

    fn catcher(&mut self, mut fields: Fields<'_>, at: &str) -> Option<Catcher> {
        fields.skip(&["Comment"]);
        fields.refuse(self, &["Assign", "Output"], "variables and JSONata are not evaluated");
        let errors = self.errors(&mut fields, at);
        let result = fields.selection(self, "ResultPath", true);
        let next = fields.required_text(self, "Next");
        fields.finish(self, "Catch");
        Some(Catcher { errors, result, next: next? })
    }

    fn wait(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        let seconds = fields.amount(self, "Seconds", "SecondsPath");
        let timestamp = fields.words(self, "Timestamp", "TimestampPath");
        if let Words::Fixed(text) = &timestamp
            && crate::states::choice::time(&Value::from(text.as_str())).is_none()
        {
            self.wrong(fields.place("Timestamp"), format!("`{text}` is no timestamp of RFC 3339"));
        }
        match (seconds, timestamp) {
            (Some(amount), Words::None) => Some(Kind::Wait(Until::Seconds(amount))),
            (None, timestamp) if timestamp != Words::None => Some(Kind::Wait(Until::Timestamp(timestamp))),
            _ => {
                let text = "exactly one of Seconds, SecondsPath, Timestamp and TimestampPath is needed";
                self.wrong(fields.place("Type"), text);
                None
            }
        }
    }

    fn choice(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        let default = fields.text(self, "Default");
        let place = fields.place("Choices");
        let rules = fields.take("Choices").and_then(Value::as_array).filter(|rules| !rules.is_empty());
        let Some(rules) = rules else {
            self.wrong(place, "Choices must be a list of at least one rule");
            return None;
        };
        let mut read = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let at = format!("{place}/{index}");
            let Some(rule) = self.object(rule, &at) else { continue };
            let mut problems = Vec::new();
            let condition = Condition::parse(rule, &at, 0, &mut problems);
            for (place, what) in problems {
                self.wrong(place, what);
            }
            match (condition, rule.get("Next").and_then(Value::as_str)) {
                (Some(condition), Some(next)) => read.push((condition, next.to_owned())),
                (_, None) => self.wrong(at, "Next is missing"),
                (None, _) => {}
            }
        }
        (read.len() == rules.len()).then_some(Kind::Choice { rules: read, default })
    }

    fn parallel(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        let place = fields.place("Branches");
        let branches = fields.take("Branches").and_then(Value::as_array);
        let Some(branches) = branches.filter(|list| (1..=BRANCHES_MAX).contains(&list.len())) else {
            self.wrong(place, format!("Branches must be a list of 1 to {BRANCHES_MAX} state machines"));
            return None;
        };
        let read: Vec<_> = branches
            .iter()
            .enumerate()
            .filter_map(|(index, branch)| self.machine(branch, &format!("{place}/{index}"), false))
            .collect();
        (read.len() == branches.len()).then_some(Kind::Parallel { branches: read })
    }

    fn map(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        let distributed = [
            "ItemReader",
            "ItemBatcher",
            "ResultWriter",
            "Label",
            "ToleratedFailurePercentage",
            "ToleratedFailurePercentagePath",
            "ToleratedFailureCount",
            "ToleratedFailureCountPath",
        ];
        fields.refuse(self, &distributed, "only inline maps are run");
        let items = fields.reference(self, "ItemsPath");
        let old = fields.template(self, "Parameters");
        let selector = fields.template(self, "ItemSelector").or(old);
        let concurrency =
            fields.amount(self, "MaxConcurrency", "MaxConcurrencyPath").unwrap_or(Amount::Fixed(0));
        let (old, new) = (fields.take("Iterator"), fields.take("ItemProcessor"));
        let (name, processor) = if new.is_some() { ("ItemProcessor", new) } else { ("Iterator", old) };
        let place = fields.place(name);
        let Some(processor) = processor else {
            self.wrong(fields.place("ItemProcessor"), "ItemProcessor is missing");
            return None;
        };
        let mode = processor.pointer("/ProcessorConfig/Mode").and_then(Value::as_str);
        if !matches!(mode, None | Some("INLINE")) {
            let text = "distributed maps are not supported by the sandbox: use Mode: INLINE";
            self.wrong(format!("{place}/ProcessorConfig/Mode"), text);
            return None;
        }
        let processor = self.machine(processor, &place, false)?;
        Some(Kind::Map(Box::new(Map { processor, items, selector, concurrency })))
    }

    fn task(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        fields.refuse(self, &["Credentials"], "there are no other accounts");
        // Only callbacks and activities send heartbeats, and neither can be a Resource here.
        fields.skip(&["HeartbeatSeconds", "HeartbeatSecondsPath"]);
        let timeout = fields.amount(self, "TimeoutSeconds", "TimeoutSecondsPath");
        let place = fields.place("Resource");
        let resource = fields.required_text(self, "Resource")?;
        match Integration::parse(&resource) {
            Ok(integration) => Some(Kind::Task(Box::new(Task { integration, timeout }))),
            Err(what) => {
                self.wrong(place, what);
                None
            }
        }
    }
}
