//! One contact trace record: who called, which queue and which agent it reached, how long it took. Pure.

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value, json};

use super::{ContactsSpec, Quirk, Random};

const ACCOUNT: &str = "123456789012";
const INSTANCE: &str =
    "arn:aws:connect:eu-central-1:123456789012:instance/5c1f0c3e-7f0a-4b53-9d0f-2f6b8d1c9a10";
/// The agent whose name changes, and the queue.
const RENAMED: u64 = 3;
const AGENTS: [&str; 6] = ["ann.lee", "bob", "Žofie.Müller", "cleo.old", "日本.太郎", "dan"];
const QUEUES: [&str; 4] = ["Sales", "TechSupport", "Accounting", "Orders"];

/// How far a contact came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Nobody was asked for.
    Ivr,
    /// Waited for an agent and gave up.
    Abandoned,
    /// Spoke with an agent.
    Agent,
}

/// A contact's newest record, and what is peculiar about it.
pub(super) fn record(spec: &ContactsSpec, hour: Timestamp, number: u64) -> (Quirk, Map<String, Value>) {
    let mut random = chance(spec, hour, number);
    let id = random.uuid();
    let quirk = Quirk::of(number, &mut random);
    let way = match quirk.0 {
        0 | 3..=9 | 13..=21 | 23..=26 => Way::Agent,
        1 => Way::Abandoned,
        2 => Way::Ivr,
        // A quarter is queued, and three quarters of those reach an agent.
        _ => match random.below(16) {
            0..=2 => Way::Agent,
            3 => Way::Abandoned,
            _ => Way::Ivr,
        },
    };
    // The renamed agent is seen before and after.
    let begin = match quirk.0 {
        23 | 25 => 300,
        24 | 26 => 2_100,
        _ => random.below(2_400),
    };
    let at = hour.checked_add(begin.cast_signed().seconds()).unwrap_or(hour);
    let mut record = times(&mut random, at, way);
    let mut put = |key: &str, value: Value| record.insert(key.to_owned(), value);
    put("ContactId", json!(id));
    if way == Way::Agent {
        let which = match quirk.0 {
            18 => 2,
            23 | 24 => RENAMED,
            _ => random.below(AGENTS.len() as u64),
        };
        put("Agent", agent(spec, &mut random, which, at));
        put("AgentConnectionAttempts", json!(random.between(1, 3)));
        put("Recordings", recordings(&id, at));
    }
    if way != Way::Ivr {
        let which = if matches!(quirk.0, 25 | 26) { RENAMED } else { random.below(QUEUES.len() as u64) };
        put("Queue", queue(spec, &mut random, which, at));
    }
    if random.below(3) > 0 {
        put(
            "Attributes",
            json!({ "Intent": (["billing", "order", "other"][usize::try_from(random.below(3)).unwrap_or(0)]) }),
        );
    }
    peculiar(spec, hour, number, quirk, &mut record);
    (quirk, record)
}

fn chance(spec: &ContactsSpec, hour: Timestamp, number: u64) -> Random {
    Random::new(spec.seed ^ hour.as_second().cast_unsigned().rotate_left(20), number)
}

fn stamp(at: Timestamp, seconds: u64) -> Value {
    let at = at.checked_add(seconds.cast_signed().seconds()).unwrap_or(at);
    json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn arn(spec: &ContactsSpec, kind: &str, which: u64) -> String {
    let place = if kind == "agent" { 2_000_000 } else { 3_000_000 };
    format!("{INSTANCE}/{kind}/{}", Random::new(spec.seed, place + which).uuid())
}

/// Names changed half an hour after the beginning.
fn is_renamed(spec: &ContactsSpec, which: u64, at: Timestamp) -> bool {
    which == RENAMED && at.as_second() >= spec.from.as_second() + 1_800
}

/// All fields in their order, with what is true of every contact.
fn times(random: &mut Random, at: Timestamp, way: Way) -> Map<String, Value> {
    let ivr = random.between(10, 45);
    let end = ivr + if way == Way::Ivr { 0 } else { random.between(70, 720) };
    let updated = end + random.between(60, 600);
    let reason = match way {
        Way::Ivr => "CONTACT_FLOW_DISCONNECT",
        Way::Abandoned => "CUSTOMER_DISCONNECT",
        Way::Agent => {
            ["CUSTOMER_DISCONNECT", "AGENT_DISCONNECT"][usize::try_from(random.below(2)).unwrap_or(0)]
        }
    };
    let phone = format!("+1555555{:04}", random.below(60));
    let record = json!({
        "AWSAccountId": ACCOUNT,
        "AWSContactTraceRecordFormatVersion": "2017-03-10",
        "Agent": null,
        "AgentConnectionAttempts": 0,
        "Attributes": {},
        "Channel": "VOICE",
        "ConnectedToSystemTimestamp": stamp(at, 0),
        "ContactId": null,
        "CustomerEndpoint": { "Address": phone, "Type": "TELEPHONE_NUMBER" },
        "DisconnectReason": reason,
        "DisconnectTimestamp": stamp(at, end),
        "InitialContactId": null,
        "InitiationMethod": "INBOUND",
        "InitiationTimestamp": stamp(at, 0),
        "InstanceARN": INSTANCE,
        "LastUpdateTimestamp": stamp(at, updated),
        "MediaStreams": [{ "Type": "AUDIO" }],
        "NextContactId": null,
        "PreviousContactId": null,
        "Queue": null,
        "Recording": null,
        "Recordings": null,
        "SystemEndpoint": { "Address": "+15555550199", "Type": "TELEPHONE_NUMBER" },
        "TransferCompletedTimestamp": null,
        "TransferredToEndpoint": null,
    });
    let Value::Object(record) = record else { return Map::new() };
    record
}

fn agent(spec: &ContactsSpec, random: &mut Random, which: u64, at: Timestamp) -> Value {
    let name = if is_renamed(spec, which, at) {
        "cleo.new"
    } else {
        AGENTS[usize::try_from(which).unwrap_or(0) % AGENTS.len()]
    };
    json!({
        "ARN": arn(spec, "agent", which),
        "AfterContactWorkDuration": random.between(60, 600),
        "AgentInteractionDuration": random.between(60, 600),
        "ConnectedToAgentTimestamp": stamp(at, 50),
        "CustomerHoldDuration": random.below(90),
        "HierarchyGroups": null,
        "LongestHoldDuration": 0,
        "NumberOfHolds": 0,
        "RoutingProfile": { "ARN": format!("{INSTANCE}/routing-profile/1"), "Name": "Basic" },
        "Username": name,
    })
}

fn queue(spec: &ContactsSpec, random: &mut Random, which: u64, at: Timestamp) -> Value {
    let name = if is_renamed(spec, which, at) {
        "Orders and returns"
    } else {
        QUEUES[usize::try_from(which).unwrap_or(0) % QUEUES.len()]
    };
    let waited = random.between(10, 120);
    json!({
        "ARN": arn(spec, "queue", which),
        "DequeueTimestamp": stamp(at, 40 + waited),
        "Duration": waited,
        "EnqueueTimestamp": stamp(at, 40),
        "Name": name,
    })
}

fn recordings(id: &str, at: Timestamp) -> Value {
    let location = format!("connect-recordings/{}/{id}.wav", at.strftime("%Y/%m/%d"));
    json!([{ "DeletionReason": null, "Location": location, "Status": "AVAILABLE", "Type": "AUDIO" }])
}

/// What sets a contact of the first round apart.
fn peculiar(
    spec: &ContactsSpec,
    hour: Timestamp,
    number: u64,
    quirk: Quirk,
    record: &mut Map<String, Value>,
) {
    let neighbour = |number: u64| json!(chance(spec, hour, number).uuid());
    let mut put = |key: &str, value: Value| record.insert(key.to_owned(), value);
    match quirk.0 {
        3 => drop(put("InitiationMethod", json!("OUTBOUND"))),
        4 => {
            put("Channel", json!("CHAT"));
            put("CustomerEndpoint", Value::Null);
            put("SystemEndpoint", Value::Null);
            put("MediaStreams", json!([{ "Type": "CHAT" }]));
        }
        // One contact that an agent passed on, and what it became.
        5 if number < spec.count => {
            put("NextContactId", neighbour(number + 1));
            put("TransferredToEndpoint", json!({ "Address": "+15555550123", "Type": "TELEPHONE_NUMBER" }));
        }
        6 if number > 0 => {
            put("InitialContactId", neighbour(number - 1));
            put("PreviousContactId", neighbour(number - 1));
            put("InitiationMethod", json!("TRANSFER"));
        }
        7 => drop(put("Attributes", json!({}))),
        8 => drop(put("Attributes", json!({ "Intent": "cancel order", "Language": "de" }))),
        9 => drop(record.shift_remove("Attributes")),
        10 => drop(put("Attributes", Value::Null)),
        11 => drop(put("Recordings", Value::Null)),
        12 => drop(put("Recordings", json!([]))),
        16 => drop(put("ContactAnalysis", json!({ "Transcript": [{ "Text": "hi" }], "Score": 0.5 }))),
        17 => drop(put("Attributes", json!({ "Intent": "a }{ b", "Note": "\"}{\"\n{" }))),
        19 => drop(record.shift_remove("ContactId")),
        22 => drop(record.shift_remove("Recordings")),
        27 => drop(put("DisconnectReason", Value::Null)),
        _ => {}
    }
}

/// The record as it was before the agent's work afterwards ended.
pub(super) fn older(newest: &Map<String, Value>) -> Map<String, Value> {
    let mut record = newest.clone();
    let before = newest["LastUpdateTimestamp"]
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok())
        .and_then(|at| at.checked_sub(30.seconds()).ok());
    if let Some(before) = before {
        record.insert("LastUpdateTimestamp".to_owned(), stamp(before, 0));
    }
    record.insert("DisconnectReason".to_owned(), Value::Null);
    if let Some(agent) = record.get_mut("Agent").filter(|agent| agent.is_object()) {
        agent["AgentInteractionDuration"] = json!(1);
    }
    record
}

/// The record with another reason and the same time.
pub(super) fn disagreeing(newest: &Map<String, Value>) -> Map<String, Value> {
    let mut record = newest.clone();
    record.insert("DisconnectReason".to_owned(), json!("TELECOM_PROBLEM"));
    record
}
