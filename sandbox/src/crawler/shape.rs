//! Crawlers and crawls in the shapes of the Glue API, and the check of definitions.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::record::{CrawlRecord, CrawlerRecord, CrawlerState};
use crate::glue::request::insert_some;
use crate::s3::parse_uri;
use crate::wire::{ApiError, epoch_seconds};

pub(super) const LOG_GROUP: &str = "/aws-glue/crawlers";

/// A crawler as `GetCrawler` shows it.
pub(super) fn crawler_shape(crawler: &CrawlerRecord, now: Timestamp) -> Value {
    let mut shape = crawler.definition.clone();
    shape.remove("Tags");
    shape.insert("Name".into(), crawler.name.clone().into());
    shape.insert("State".into(), crawler.state.name().into());
    shape.insert("CreationTime".into(), epoch_seconds(crawler.created));
    shape.insert("LastUpdated".into(), epoch_seconds(crawler.updated));
    shape.insert("Version".into(), crawler.version.into());
    let elapsed = match crawler.running() {
        Some(crawl) if crawler.state != CrawlerState::Ready => now.duration_since(crawl.started).as_millis(),
        _ => 0,
    };
    shape.insert("CrawlElapsedTime".into(), i64::try_from(elapsed.max(0)).unwrap_or(i64::MAX).into());
    shape.entry("Classifiers").or_insert_with(|| json!([]));
    shape.entry("RecrawlPolicy").or_insert_with(|| json!({"RecrawlBehavior": "CRAWL_EVERYTHING"}));
    let usual = if crawler.new_folders_only() {
        ("LOG", "LOG")
    } else {
        ("UPDATE_IN_DATABASE", "DEPRECATE_IN_DATABASE")
    };
    shape
        .entry("SchemaChangePolicy")
        .or_insert_with(|| json!({"UpdateBehavior": usual.0, "DeleteBehavior": usual.1}));
    shape.entry("LineageConfiguration").or_insert_with(|| json!({"CrawlerLineageSettings": "DISABLE"}));
    if let Some(Value::String(expression)) = shape.get("Schedule") {
        let schedule = json!({"ScheduleExpression": expression, "State": "SCHEDULED"});
        shape.insert("Schedule".into(), schedule);
    }
    insert_some(
        &mut shape,
        "LastCrawl",
        crawler.last_ended().map(|crawl| last_crawl_shape(crawl, &crawler.name)),
    );
    Value::Object(shape)
}

fn last_crawl_shape(crawl: &CrawlRecord, crawler: &str) -> Value {
    let mut shape = Map::new();
    shape.insert("Status".into(), crawl.state.last_crawl_status().into());
    insert_some(&mut shape, "ErrorMessage", crawl.error.clone());
    shape.insert("LogGroup".into(), LOG_GROUP.into());
    shape.insert("LogStream".into(), crawler.into());
    shape.insert("MessagePrefix".into(), crawl.id.clone().into());
    shape.insert("StartTime".into(), epoch_seconds(crawl.started));
    Value::Object(shape)
}

/// A crawl as `ListCrawls` shows it.
pub(super) fn crawl_shape(crawl: &CrawlRecord, crawler: &str) -> Value {
    let mut shape = Map::new();
    shape.insert("CrawlId".into(), crawl.id.clone().into());
    shape.insert("State".into(), crawl.state.name().into());
    shape.insert("StartTime".into(), epoch_seconds(crawl.started));
    insert_some(&mut shape, "EndTime", crawl.ended.map(epoch_seconds));
    insert_some(&mut shape, "Summary", Some(&crawl.summary).filter(|text| !text.is_empty()).cloned());
    insert_some(&mut shape, "ErrorMessage", crawl.error.clone());
    shape.insert("LogGroup".into(), LOG_GROUP.into());
    shape.insert("LogStream".into(), crawler.into());
    shape.insert("MessagePrefix".into(), crawl.id.clone().into());
    shape.insert("DPUHour".into(), 0.0.into());
    Value::Object(shape)
}

/// Refuses definitions that Glue refuses, and targets that the sandbox cannot crawl.
pub(super) fn check(definition: &Map<String, Value>) -> Result<(), ApiError> {
    let targets = definition.get("Targets").and_then(Value::as_object);
    for (kind, list) in targets.into_iter().flatten() {
        if kind != "S3Targets" && list.as_array().is_some_and(|list| !list.is_empty()) {
            return Err(invalid(format!("the sandbox's crawlers do not support {kind}; use S3Targets")));
        }
    }
    let s3 = targets.and_then(|targets| targets.get("S3Targets")).and_then(Value::as_array);
    let Some(s3) = s3.filter(|list| !list.is_empty()) else {
        return Err(invalid("At least one target must be specified."));
    };
    for target in s3 {
        let path = target.get("Path").and_then(Value::as_str).unwrap_or_default();
        // Glue accepts `bucket/path` without a scheme too.
        if parse_uri(path).is_none() {
            return Err(invalid(format!("The S3 target path `{path}` is not an s3:// URI")));
        }
    }
    if definition.get("Classifiers").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        return Err(invalid("the sandbox's crawlers do not support custom Classifiers"));
    }
    let text = |member: &str, name: &str| {
        definition.get(member).and_then(|value| value.get(name)).and_then(Value::as_str)
    };
    let new_only = text("RecrawlPolicy", "RecrawlBehavior") == Some("CRAWL_NEW_FOLDERS_ONLY");
    if text("RecrawlPolicy", "RecrawlBehavior") == Some("CRAWL_EVENT_MODE") {
        return Err(invalid("the sandbox's crawlers do not support CRAWL_EVENT_MODE"));
    }
    let changes = ["UpdateBehavior", "DeleteBehavior"]
        .iter()
        .any(|name| text("SchemaChangePolicy", name).is_some_and(|behavior| behavior != "LOG"));
    if new_only && changes {
        return Err(invalid(
            "The SchemaChangePolicy for \"Crawl new folders only\" must be LOG for updates and deletes.",
        ));
    }
    Ok(())
}

fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::new(400, "InvalidInputException", text)
}
