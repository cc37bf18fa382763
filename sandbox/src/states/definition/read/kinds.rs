//! Reading what only one kind of state has.

use serde_json::Value;

use super::Reader;
use super::fields::Fields;
use crate::states::choice::Condition;
use crate::states::definition::{Amount, Items, Kind, Map, Rule, Task, Until, Words};
use crate::states::integration::Integration;
use crate::states::jsonata::Offered;
use crate::states::location::Location;
use crate::states::template::{Mistakes, Template, query};

/// Most branches of a Parallel state; the service has no limit, the definition's length is one.
const BRANCHES_MAX: usize = 1_000;

/// What means a distributed map.
const DISTRIBUTED: [&str; 8] = [
    "ItemReader",
    "ItemBatcher",
    "ResultWriter",
    "Label",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
];

impl Reader {
    pub(super) fn wait(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
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
                let text = if fields.is_jsonata() {
                    "exactly one of Seconds and Timestamp is needed"
                } else {
                    "exactly one of Seconds, SecondsPath, Timestamp and TimestampPath is needed"
                };
                self.wrong(fields.place("Type"), text);
                None
            }
        }
    }

    pub(super) fn choice(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        let default = fields.text(self, "Default");
        let place = fields.place("Choices");
        let rules = fields.take("Choices").and_then(Value::as_array).filter(|rules| !rules.is_empty());
        let Some(rules) = rules else {
            self.wrong(place, "Choices must be a list of at least one rule");
            return None;
        };
        let mut read = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let at = place.item(index);
            let Some(map) = self.object(rule, &at) else { continue };
            let mut inner = Fields::new(map, at.clone(), fields.language());
            inner.read_as(self, fields.language());
            let assign = inner.assign(self, Offered::default());
            let (condition, output) = if fields.is_jsonata() {
                inner.skip(&["Comment"]);
                let output = inner.template(self, "Output", Offered::default());
                (self.condition(&mut inner), output)
            } else {
                let mut mistakes = Mistakes::new();
                let condition = Condition::parse(map, at.path(), 0, &mut mistakes);
                self.tell(mistakes);
                (condition, None)
            };
            let next = inner.take("Next").and_then(Value::as_str);
            if fields.is_jsonata() {
                inner.finish(self, "a choice rule");
            }
            match (condition, next) {
                (Some(condition), Some(next)) => {
                    read.push(Rule { condition, next: next.to_owned(), assign, output });
                }
                (_, None) => self.wrong(at, "Next is missing"),
                (None, _) => {}
            }
        }
        (read.len() == rules.len()).then_some(Kind::Choice { rules: read, default })
    }

    /// `Condition` of a rule in `JSONata`.
    fn condition(&mut self, fields: &mut Fields<'_>) -> Option<Condition> {
        let place = fields.place("Condition");
        let mut mistakes = Mistakes::new();
        let condition = match fields.take("Condition") {
            Some(Value::Bool(holds)) => Some(Condition::Constant(*holds)),
            Some(Value::String(text)) => {
                query(text, Offered::default(), &place, &mut mistakes).map(Condition::Query)
            }
            _ => None,
        };
        if condition.is_none() && mistakes.is_empty() {
            self.wrong(place, "Condition must be true, false or an expression in {% %}");
        }
        self.tell(mistakes);
        condition
    }

    pub(super) fn parallel(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        let place = fields.place("Branches");
        let branches = fields.take("Branches").and_then(Value::as_array);
        let Some(branches) = branches.filter(|list| (1..=BRANCHES_MAX).contains(&list.len())) else {
            self.wrong(place, format!("Branches must be a list of 1 to {BRANCHES_MAX} state machines"));
            return None;
        };
        let read: Vec<_> = branches
            .iter()
            .enumerate()
            .filter_map(|(index, branch)| self.machine(branch, &place.item(index), false))
            .collect();
        (read.len() == branches.len()).then_some(Kind::Parallel { branches: read })
    }

    pub(super) fn map(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        fields.refuse(self, &DISTRIBUTED, "only inline maps are run");
        let items = self.items(fields);
        let selector = fields.template(self, "ItemSelector", Offered::default());
        let old =
            if fields.is_jsonata() { None } else { fields.template(self, "Parameters", Offered::default()) };
        let selector = selector.or(old);
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
            self.wrong(place.member("ProcessorConfig").member("Mode"), text);
            return None;
        }
        let processor = self.machine(processor, &place, false)?;
        Some(Kind::Map(Box::new(Map { processor, items, selector, concurrency })))
    }

    /// `ItemsPath`, or `Items`.
    fn items(&mut self, fields: &mut Fields<'_>) -> Items {
        if !fields.is_jsonata() {
            return fields.reference(self, "ItemsPath").map_or(Items::Input, Items::Path);
        }
        match fields.template(self, "Items", Offered::default()) {
            None => Items::Input,
            Some(items @ (Template::Query(_) | Template::List(_) | Template::Literal(Value::Array(_)))) => {
                Items::Template(items)
            }
            Some(_) => {
                let place: Location = fields.place("Items");
                self.wrong(place, "Items must be a list or an expression in {% %} that gives one");
                Items::Input
            }
        }
    }

    pub(super) fn task(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        fields.refuse(self, &["Credentials"], "there are no other accounts");
        // Only callbacks and activities send heartbeats, and neither can be a Resource here: the field is read
        // and has no effect.
        fields.amount(self, "HeartbeatSeconds", "HeartbeatSecondsPath");
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
