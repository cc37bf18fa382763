//! `eventbridge_put`: puts one event onto an EventBridge bus.
//!
//! **Safe start**: there is no way to ask EventBridge whether it took an event, so an
//! interrupted put is repeated: at least once, as EventBridge itself promises no more to the
//! targets of a rule. An event has no place for a mark of ours, so a target that must tell a
//! repetition needs something in `detail` to tell it by, such as `{{ run.name }}`.

use std::time::Duration;

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{
        error::{Trouble, entry_sent},
        repeat,
    },
    clients::Clients,
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, Outcome, PrepareContext, Rate, Request,
        Sent, Status,
    },
    registry::Options,
};

mod access;

#[cfg(test)]
mod tests;

/// What EventBridge takes in one call.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// The longest source, and the longest detail type.
const WORD_LENGTH_MAX: usize = 128;

/// The bus of every account.
const DEFAULT_BUS: &str = "default";

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct EventbridgePut {
    quarantine: Duration,
}

/// Settings of an `eventbridge_put` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventbridgePutConfig {
    /// The bus's name or ARN.
    #[serde(default = "default_bus")]
    pub bus: String,
    /// Who speaks, e.g. `telephony.cdr`; `aws.` is AWS's own.
    pub source: String,
    /// What happened, e.g. `CDR day complete`.
    pub detail_type: String,
    /// The event itself, an object.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Value>,
    /// ARNs that the event is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
}

fn default_bus() -> String {
    DEFAULT_BUS.to_owned()
}

impl EventbridgePut {
    /// Takes the scale of time of the options.
    pub fn new(options: &Options) -> Self {
        Self { quarantine: options.quarantine }
    }
}

impl Operator for EventbridgePut {
    const TYPE: &'static str = "eventbridge_put";
    const EXAMPLE: &'static str = "\
type: eventbridge_put
bus: data-platform
source: telephony.cdr
detail_type: CDR day complete
detail: { day: '2026-11-19', rows: 1042 }
";
    const GUARANTEE: &'static str = "At least once: EventBridge cannot be asked, so a put whose answer was lost \
         is repeated.";
    type Config = EventbridgePutConfig;

    fn default_timeout(&self) -> Duration {
        // The call is the whole job; throttling may delay it.
        Duration::from_secs(3600)
    }

    fn label(&self, request: &Request) -> String {
        format!("EventBridge bus {}", entry(request)["EventBusName"].as_str().unwrap_or_default())
    }

    fn prepare(&self, config: &EventbridgePutConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let wrong = |message: String| Failure::new(ErrorClass::Config, message);
        if config.bus.trim().is_empty() {
            return Err(wrong(format!("bus: it is empty; leave it out for the bus `{DEFAULT_BUS}`")));
        }
        for (name, text) in [("source", &config.source), ("detail_type", &config.detail_type)] {
            if !(1..=WORD_LENGTH_MAX).contains(&text.chars().count()) {
                return Err(wrong(format!("{name}: must have 1 to {WORD_LENGTH_MAX} characters")));
            }
        }
        if config.source.starts_with("aws.") {
            return Err(wrong("source: names that begin with `aws.` are AWS's own".to_owned()));
        }
        let detail = Value::Object(config.detail.clone()).to_string();
        let resources: usize = config.resources.iter().map(String::len).sum();
        let size = detail.len() + config.source.len() + config.detail_type.len() + resources;
        if size > EVENT_BYTES_MAX {
            return Err(wrong(format!(
                "detail: the event has {size} bytes and EventBridge takes {EVENT_BYTES_MAX}; put the data into \
                 S3 and its address into the event"
            )));
        }
        let mut entry = json!({
            "EventBusName": config.bus,
            "Source": config.source,
            "DetailType": config.detail_type,
            "Detail": detail,
        });
        if !config.resources.is_empty() {
            entry["Resources"] = json!(config.resources);
        }
        let body = json!({ "PutEvents": { "Entries": [entry] } });
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        let entry = entry(intent.request);
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        let events = match clients.events(&intent.request.connection).await {
            Ok(events) => events,
            Err(failure) => return Sent::Refused(failure),
        };
        let event = PutEventsRequestEntry::builder()
            .set_event_bus_name(text("EventBusName"))
            .set_source(text("Source"))
            .set_detail_type(text("DetailType"))
            .set_detail(text("Detail"))
            .set_resources(serde_json::from_value(entry["Resources"].clone()).ok())
            .build();
        let answer = match events.put_events().entries(event).send().await {
            Ok(answer) => answer,
            Err(error) => return Trouble::from(error).into_sent(),
        };
        // The answer is a 200 also where the one entry was not taken.
        let Some(result) = answer.entries().first() else {
            return Sent::Unknown(Failure::new(
                ErrorClass::System,
                "EventBridge said nothing about the event",
            ));
        };
        match (result.event_id(), result.error_code()) {
            (Some(id), None) => {
                let mut outcome = Outcome::default();
                outcome.outputs.insert("event_id".into(), Value::from(id));
                Sent::Done(outcome)
            }
            (_, Some(code)) => {
                let told = result.error_message().unwrap_or("EventBridge did not take the event");
                let bus = entry["EventBusName"].as_str().unwrap_or_default();
                entry_sent(code, &format!("event for bus {bus}: {told}"))
            }
            (None, None) => {
                Sent::Unknown(Failure::new(ErrorClass::System, "EventBridge gave the event no id"))
            }
        }
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        repeat(intent, self.quarantine)
    }

    async fn poll(&self, _: &Clients, handles: &[Handle]) -> Vec<Status> {
        let gone = || Failure::new(ErrorClass::Lost, "an event that was put cannot be asked about");
        handles.iter().map(|_| Status::Gone(gone())).collect()
    }

    async fn cancel(&self, _: &Clients, _: &Handle) -> Result<(), Failure> {
        Ok(())
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        // The smallest regions take 400 calls a second.
        (call == Call::Start).then(|| Rate {
            api: "events:PutEvents".into(),
            per_second: 100.0,
            burst: 200.0,
        })
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, place: &Place) -> Vec<Finding> {
        access::check(clients, request, place).await
    }
}

fn entry(request: &Request) -> &Value {
    &request.body["PutEvents"]["Entries"][0]
}
