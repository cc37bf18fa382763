//! The operations of the CloudWatch Logs API.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::pattern::Pattern;
use super::store::{About, EVENT_BYTES_MAX, Event, Group, Store};
use crate::glue::request::{page, parse};
use crate::wire::{ApiError, CallContext};
use crate::world::World;

/// The code of refusals.
const INVALID: &str = "InvalidParameterException";
/// Entries on a page of a description, as on AWS.
const PAGE: usize = 50;
/// Events of one answer, as on AWS.
const EVENTS_MAX: usize = 10_000;
/// Events of one `PutLogEvents`, and their bytes, as on AWS.
const PUT_EVENTS_MAX: usize = 10_000;
const PUT_BYTES_MAX: usize = 1_048_576;
/// What AWS counts for each event beside its text.
const EVENT_OVERHEAD: usize = 26;
/// Groups of an account: far above what a project makes.
const GROUPS_MAX: usize = 10_000;
/// The longest name of a group or stream.
const NAME_MAX: usize = 512;

/// Answers one call.
pub(crate) fn call(world: &World, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let store = &world.logs;
    match cx.operation.as_str() {
        "CreateLogGroup" => create_group(store, cx, body),
        "DeleteLogGroup" => delete_group(store, body),
        "PutRetentionPolicy" => put_retention(store, body),
        "DescribeLogGroups" => describe_groups(store, cx, body),
        "CreateLogStream" => create_stream(store, cx, body),
        "DeleteLogStream" => delete_stream(store, body),
        "DescribeLogStreams" => describe_streams(store, cx, body),
        "PutLogEvents" => put_events(store, cx, body),
        "GetLogEvents" => get_events(store, body),
        "FilterLogEvents" => filter_events(store, body),
        _ => Err(ApiError::unknown_operation(cx)),
    }
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "logGroupName")]
    name: Option<String>,
    #[serde(rename = "logGroupIdentifier")]
    identifier: Option<String>,
    #[serde(rename = "logStreamName")]
    stream: Option<String>,
}

impl Named {
    /// The group, by its name or its ARN.
    fn group(&self) -> Result<String, ApiError> {
        let named = self.name.as_deref().or(self.identifier.as_deref());
        let name = named.ok_or_else(|| invalid("logGroupName is required"))?;
        let name = name.rsplit_once("log-group:").map_or(name, |(_, name)| name.trim_end_matches(":*"));
        checked(name, "logGroupName")
    }

    fn stream(&self) -> Result<String, ApiError> {
        let name = self.stream.as_deref().ok_or_else(|| invalid("logStreamName is required"))?;
        checked(name, "logStreamName")
    }
}

fn checked(name: &str, member: &str) -> Result<String, ApiError> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains(['*']) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint"
        )));
    }
    Ok(name.to_owned())
}

fn create_group(store: &Store, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let name = parse::<Named>(body, INVALID)?.group()?;
    let mut groups = store.groups();
    if groups.contains_key(&name) {
        return Err(ApiError::new(
            400,
            "ResourceAlreadyExistsException",
            "The specified log group already exists",
        ));
    }
    if groups.len() >= GROUPS_MAX {
        return Err(ApiError::new(400, "LimitExceededException", "Resource limit exceeded."));
    }
    let about = About { name: name.clone(), created: cx.now.as_millisecond(), retention_days: None };
    store.keep(&about).map_err(internal)?;
    groups.insert(name, Group { about, streams: BTreeMap::new() });
    Ok(json!({}))
}

fn delete_group(store: &Store, body: Value) -> Result<Value, ApiError> {
    let name = parse::<Named>(body, INVALID)?.group()?;
    let mut groups = store.groups();
    groups.get(&name).ok_or_else(no_group)?;
    store.remove_group(&name).map_err(internal)?;
    groups.remove(&name);
    Ok(json!({}))
}

fn put_retention(store: &Store, body: Value) -> Result<Value, ApiError> {
    let days = body.get("retentionInDays").and_then(Value::as_u64);
    let days = days.ok_or_else(|| invalid("retentionInDays is required"))?;
    let name = parse::<Named>(body, INVALID)?.group()?;
    let mut groups = store.groups();
    let group = groups.get_mut(&name).ok_or_else(no_group)?;
    let about = About { retention_days: Some(days), ..group.about.clone() };
    store.keep(&about).map_err(internal)?;
    group.about = about;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Paged {
    log_group_name_prefix: Option<String>,
    log_stream_name_prefix: Option<String>,
    order_by: Option<String>,
    #[serde(default)]
    descending: bool,
    limit: Option<usize>,
    next_token: Option<String>,
}

fn describe_groups(store: &Store, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: Paged = parse(body, INVALID)?;
    let prefix = request.log_group_name_prefix.unwrap_or_default();
    let groups = store.groups();
    let shown = groups.values().filter(|group| group.about.name.starts_with(&prefix)).map(|group| {
        let arn = group_arn(cx, &group.about.name);
        let mut shown = json!({
            "logGroupName": group.about.name, "creationTime": group.about.created, "arn": format!("{arn}:*"),
            "logGroupArn": arn, "metricFilterCount": 0, "storedBytes": 0,
        });
        if let Some(days) = group.about.retention_days {
            shown["retentionInDays"] = days.into();
        }
        shown
    });
    let (items, next) = page(shown.collect(), request.next_token.as_deref(), request.limit, PAGE, INVALID)?;
    Ok(paged("logGroups", items, next))
}

fn create_stream(store: &Store, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: Named = parse(body, INVALID)?;
    let (group, stream) = (request.group()?, request.stream()?);
    let mut groups = store.groups();
    let found = groups.get_mut(&group).ok_or_else(no_group)?;
    if found.streams.contains_key(&stream) {
        return Err(ApiError::new(
            400,
            "ResourceAlreadyExistsException",
            "The specified log stream already exists",
        ));
    }
    store.make_stream(found, &stream, cx.now.as_millisecond()).map_err(internal)?;
    Ok(json!({}))
}

fn delete_stream(store: &Store, body: Value) -> Result<Value, ApiError> {
    let request: Named = parse(body, INVALID)?;
    let (group, stream) = (request.group()?, request.stream()?);
    let mut groups = store.groups();
    let found = groups.get_mut(&group).ok_or_else(no_group)?;
    found.streams.get(&stream).ok_or_else(no_stream)?;
    store.remove_stream(&group, &stream).map_err(internal)?;
    found.streams.remove(&stream);
    Ok(json!({}))
}

fn describe_streams(store: &Store, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let group = parse::<Named>(body.clone(), INVALID)?.group()?;
    let request: Paged = parse(body, INVALID)?;
    let prefix = request.log_stream_name_prefix.unwrap_or_default();
    let by_time = request.order_by.as_deref() == Some("LastEventTime");
    if by_time && !prefix.is_empty() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let groups = store.groups();
    let found = groups.get(&group).ok_or_else(no_group)?;
    let mut shown = Vec::new();
    for stream in found.streams.values().filter(|stream| stream.stream.starts_with(&prefix)) {
        let events = store.read(&group, &stream.stream).map_err(internal)?;
        let arn = format!("{}:log-stream:{}", group_arn(cx, &group), stream.stream);
        let mut about = json!({
            "logStreamName": stream.stream, "creationTime": stream.created, "arn": arn, "storedBytes": 0,
        });
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            about["firstEventTimestamp"] = first.timestamp.into();
            about["lastEventTimestamp"] = last.timestamp.into();
            about["lastIngestionTime"] = last.ingested.into();
        }
        shown.push(about);
    }
    if by_time {
        shown.sort_by_key(|about| about["lastEventTimestamp"].as_i64());
    }
    if request.descending {
        shown.reverse();
    }
    let (items, next) = page(shown, request.next_token.as_deref(), request.limit, PAGE, INVALID)?;
    Ok(paged("logStreams", items, next))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Put {
    log_events: Vec<PutEvent>,
}

#[derive(Deserialize)]
struct PutEvent {
    timestamp: i64,
    message: String,
}

fn put_events(store: &Store, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let named: Named = parse(body.clone(), INVALID)?;
    let (group, stream) = (named.group()?, named.stream()?);
    let events = parse::<Put>(body, INVALID)?.log_events;
    let bytes: usize = events.iter().map(|event| event.message.len() + EVENT_OVERHEAD).sum();
    if events.is_empty() || events.len() > PUT_EVENTS_MAX || bytes > PUT_BYTES_MAX {
        return Err(invalid(format!(
            "from 1 to {PUT_EVENTS_MAX} events and {PUT_BYTES_MAX} bytes can be put at once"
        )));
    }
    if events.iter().any(|event| event.message.is_empty() || event.message.len() > EVENT_BYTES_MAX) {
        return Err(invalid("an event's message must have from 1 byte to 1 MiB"));
    }
    if events.windows(2).any(|two| two[0].timestamp > two[1].timestamp) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    let ingested = cx.now.as_millisecond();
    let groups = store.groups();
    let found = groups.get(&group).ok_or_else(no_group)?;
    found.streams.get(&stream).ok_or_else(no_stream)?;
    let events =
        events.into_iter().map(|PutEvent { timestamp, message }| Event { timestamp, ingested, message });
    store.write(found, &stream, events).map_err(internal)?;
    Ok(json!({ "nextSequenceToken": format!("{ingested:056}") }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    start_time: Option<i64>,
    end_time: Option<i64>,
    limit: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    start_from_head: bool,
    filter_pattern: Option<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefix: Option<String>,
}

impl Wanted {
    fn fits(&self, event: &Event) -> bool {
        self.start_time.is_none_or(|start| event.timestamp >= start)
            && self.end_time.is_none_or(|end| event.timestamp < end)
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(EVENTS_MAX).clamp(1, EVENTS_MAX)
    }
}

fn get_events(store: &Store, body: Value) -> Result<Value, ApiError> {
    let named: Named = parse(body.clone(), INVALID)?;
    let (group, stream) = (named.group()?, named.stream()?);
    let wanted: Wanted = parse(body, INVALID)?;
    {
        let groups = store.groups();
        let found = groups.get(&group).ok_or_else(no_group)?;
        found.streams.get(&stream).ok_or_else(no_stream)?;
    }
    let events = store.read(&group, &stream).map_err(internal)?;
    let events: Vec<Event> = events.into_iter().filter(|event| wanted.fits(event)).collect();
    let limit = wanted.limit();
    let index =
        |text: &str| text.parse::<usize>().map_err(|_| invalid("The specified nextToken is invalid."));
    let (start, end) = match wanted.next_token.as_deref().map(|token| (token.get(..2), token.get(2..))) {
        Some((Some("f/"), Some(at))) => {
            let start = index(at)?.min(events.len());
            (start, (start + limit).min(events.len()))
        }
        Some((Some("b/"), Some(at))) => {
            let end = index(at)?.min(events.len());
            (end.saturating_sub(limit), end)
        }
        Some(_) => return Err(invalid("The specified nextToken is invalid.")),
        None if wanted.start_from_head => (0, limit.min(events.len())),
        None => (events.len().saturating_sub(limit), events.len()),
    };
    let shown: Vec<Value> = events[start..end].iter().map(shape).collect();
    // The same token again says that there is nothing more on that side.
    Ok(json!({
        "events": shown, "nextForwardToken": format!("f/{end}"), "nextBackwardToken": format!("b/{start}"),
    }))
}

fn filter_events(store: &Store, body: Value) -> Result<Value, ApiError> {
    let group = parse::<Named>(body.clone(), INVALID)?.group()?;
    let wanted: Wanted = parse(body, INVALID)?;
    let pattern = Pattern::parse(wanted.filter_pattern.as_deref().unwrap_or_default()).map_err(invalid)?;
    let streams: Vec<String> = {
        let groups = store.groups();
        let found = groups.get(&group).ok_or_else(no_group)?;
        let named = |stream: &String| {
            wanted.log_stream_names.as_ref().is_none_or(|names| names.contains(stream))
                && wanted
                    .log_stream_name_prefix
                    .as_ref()
                    .is_none_or(|prefix| stream.starts_with(prefix.as_str()))
        };
        found.streams.keys().filter(|stream| named(stream)).cloned().collect()
    };
    let mut found = Vec::new();
    for stream in &streams {
        let events = store.read(&group, stream).map_err(internal)?;
        for (number, event) in events.iter().enumerate() {
            if wanted.fits(event) && pattern.fits(&event.message) {
                let mut shown = shape(event);
                shown["logStreamName"] = json!(stream);
                shown["eventId"] = json!(format!("{:020}{number:010}", event.timestamp));
                found.push(shown);
            }
        }
    }
    found.sort_by_key(|event| event["timestamp"].as_i64());
    let (items, next) = page(found, wanted.next_token.as_deref(), wanted.limit, EVENTS_MAX, INVALID)?;
    let mut answer = paged("events", items, next);
    answer["searchedLogStreams"] = json!([]);
    Ok(answer)
}

fn shape(event: &Event) -> Value {
    json!({ "timestamp": event.timestamp, "message": event.message, "ingestionTime": event.ingested })
}

fn paged(name: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let mut answer = json!({ name: items });
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    answer
}

fn group_arn(cx: &CallContext, group: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{group}", cx.region, cx.account)
}

fn no_group() -> ApiError {
    ApiError::new(400, "ResourceNotFoundException", "The specified log group does not exist.")
}

fn no_stream() -> ApiError {
    ApiError::new(400, "ResourceNotFoundException", "The specified log stream does not exist.")
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(400, INVALID, message)
}

/// The sandbox itself failed.
fn internal(reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(503, "ServiceUnavailableException", reason.to_string())
}
