//! Crawlers: the operations of the Glue API.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::record::{CrawlRecord, CrawlerRecord, CrawlerState};
use super::shape::{check, crawl_shape, crawler_shape};
use super::{Crawlers, no_crawler};
use crate::files::replace_json;
use crate::glue::request::{listed, page, parse};
use crate::ledger::Accepted;
use crate::wire::{ApiError, CallContext};

const INVALID: &str = "InvalidInputException";
/// Page size of the list operations (the API's own maximum).
const PAGE_MAX: usize = 1_000;
/// Page size of `ListCrawls` if the request names none (the API's own default).
const CRAWLS_PAGE: usize = 20;
/// Most names that one `BatchGetCrawlers` takes (the API's own limit).
const BATCH_GET_MAX: usize = 100;

impl Crawlers {
    /// Answers the operations on crawlers; `None` if the operation is not one of them.
    pub(crate) fn call(
        self: &Arc<Self>,
        cx: &CallContext,
        operation: &str,
        body: &Value,
    ) -> Option<Result<Value, ApiError>> {
        let body = body.clone();
        Some(match operation {
            "CreateCrawler" => self.create(cx, body),
            "UpdateCrawler" => self.update(cx, body),
            "DeleteCrawler" => self.delete(body),
            "GetCrawler" => self.get(cx, body),
            "GetCrawlers" => self.get_many(cx, body),
            "BatchGetCrawlers" => self.batch_get(cx, body),
            "ListCrawlers" => self.list_names(body),
            "StartCrawler" => self.start(cx, body),
            "StopCrawler" => self.stop(body),
            "ListCrawls" => self.list_crawls(cx, body),
            "GetCrawlerMetrics" => self.metrics(body),
            _ => return None,
        })
    }

    fn create(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let (name, definition) = definition_of(body)?;
        check(&definition)?;
        let mut state = self.lock();
        if state.crawlers.contains_key(&name) {
            let text = format!("Crawler with name {name} already exists");
            return Err(ApiError::new(400, "AlreadyExistsException", text));
        }
        let crawler = CrawlerRecord {
            name: name.clone(),
            created: cx.now,
            updated: cx.now,
            version: 1,
            definition,
            state: CrawlerState::Ready,
            crawls: Vec::new(),
        };
        replace_json(&self.file(&name), &crawler).map_err(ApiError::internal)?;
        state.crawlers.insert(name, crawler);
        Ok(json!({}))
    }

    fn update(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let (name, changes) = definition_of(body)?;
        self.idle(&name)?;
        let known = self.lock().crawlers.get(&name).map(|crawler| crawler.definition.clone());
        let mut definition = known.ok_or_else(|| no_crawler(&name))?;
        definition.extend(changes);
        check(&definition)?;
        self.change(&name, |crawler| {
            crawler.definition = definition;
            crawler.updated = cx.now;
            crawler.version += 1;
        })?;
        Ok(json!({}))
    }

    fn delete(&self, body: Value) -> Result<Value, ApiError> {
        let request: Named = parse(body, INVALID)?;
        self.idle(&request.name)?;
        let mut state = self.lock();
        std::fs::remove_file(self.file(&request.name)).map_err(ApiError::internal)?;
        state.crawlers.remove(&request.name);
        Ok(json!({}))
    }

    /// Refuses if there is no such crawler or it is at work.
    fn idle(&self, name: &str) -> Result<(), ApiError> {
        match self.lock().crawlers.get(name).map(|crawler| crawler.state) {
            None => Err(no_crawler(name)),
            Some(CrawlerState::Ready) => Ok(()),
            Some(_) => Err(running(name)),
        }
    }

    fn get(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: Named = parse(body, INVALID)?;
        let state = self.lock();
        let crawler = state.crawlers.get(&request.name).ok_or_else(|| no_crawler(&request.name))?;
        let mut shape = crawler_shape(crawler, cx.now);
        if let Some(odd) = self.world.faults.unknown_state(&cx.service, &cx.operation, cx.now) {
            shape["State"] = odd.into();
        }
        Ok(json!({"Crawler": shape}))
    }

    fn get_many(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: Paging = parse(body, INVALID)?;
        let shapes = self.lock().crawlers.values().map(|crawler| crawler_shape(crawler, cx.now)).collect();
        let (items, next) =
            page(shapes, request.next_token.as_deref(), request.max_results, PAGE_MAX, INVALID)?;
        Ok(listed("Crawlers", items, next))
    }

    fn batch_get(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            crawler_names: Vec<String>,
        }
        let request: Request = parse(body, INVALID)?;
        if request.crawler_names.len() > BATCH_GET_MAX {
            return Err(ApiError::new(
                400,
                INVALID,
                format!("at most {BATCH_GET_MAX} crawlers can be asked for at once"),
            ));
        }
        let odd = self.world.faults.unknown_state(&cx.service, &cx.operation, cx.now);
        let state = self.lock();
        let (found, missing): (Vec<_>, Vec<_>) =
            request.crawler_names.into_iter().partition(|name| state.crawlers.contains_key(name));
        let mut shapes: Vec<_> = found
            .iter()
            .filter_map(|name| state.crawlers.get(name))
            .map(|crawler| crawler_shape(crawler, cx.now))
            .collect();
        if let (Some(odd), Some(first)) = (odd, shapes.first_mut()) {
            first["State"] = odd.into();
        }
        Ok(json!({"Crawlers": shapes, "CrawlersNotFound": missing}))
    }

    fn list_names(&self, body: Value) -> Result<Value, ApiError> {
        let request: Paging = parse(body, INVALID)?;
        let names = self.lock().crawlers.keys().cloned().map(Value::String).collect();
        let (items, next) =
            page(names, request.next_token.as_deref(), request.max_results, PAGE_MAX, INVALID)?;
        Ok(listed("CrawlerNames", items, next))
    }

    fn start(self: &Arc<Self>, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: Named = parse(body, INVALID)?;
        let name = request.name;
        let id = self.world.new_uuid().to_string();
        // Looking and recording are one step, so that of two starts one is refused.
        let started = self.change(&name, |crawler| {
            let ready = crawler.state == CrawlerState::Ready;
            if ready {
                crawler.begin_crawl(id.clone(), cx.now);
            }
            ready
        })?;
        if !started {
            return Err(running(&name));
        }
        let accepted = Accepted { marker: None, id: &id, subject: &name };
        self.world.ledger.accepted(cx, accepted).map_err(ApiError::internal)?;
        self.spawn(name, id);
        Ok(json!({}))
    }

    fn stop(&self, body: Value) -> Result<Value, ApiError> {
        let request: Named = parse(body, INVALID)?;
        let name = request.name;
        let was = self.change(&name, |crawler| {
            let was = crawler.state;
            if was == CrawlerState::Running {
                crawler.state = CrawlerState::Stopping;
            }
            was
        })?;
        match was {
            CrawlerState::Ready => {
                let text = format!("Crawler with name {name} isn't running");
                Err(ApiError::new(400, "CrawlerNotRunningException", text))
            }
            CrawlerState::Stopping => {
                let text = format!("Crawler with name {name} is already stopping");
                Err(ApiError::new(400, "CrawlerStoppingException", text))
            }
            CrawlerState::Running => {
                if let Some(stop) = self.lock().live.get(&name) {
                    stop.cancel();
                }
                Ok(json!({}))
            }
        }
    }

    fn list_crawls(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: ListCrawls = parse(body, INVALID)?;
        let lag = self.world.faults.list_lag(&cx.service, &cx.operation, cx.now);
        let state = self.lock();
        let name = &request.crawler_name;
        let crawler = state.crawlers.get(name).ok_or_else(|| no_crawler(name))?;
        let mut found = Vec::new();
        for crawl in crawler.crawls.iter().rev() {
            let hidden = lag.is_some_and(|lag| cx.now.duration_since(crawl.started).unsigned_abs() < lag);
            if !hidden && matches_all(crawl, &request.filters)? {
                found.push(crawl_shape(crawl, name));
            }
        }
        let size = request.max_results.unwrap_or(CRAWLS_PAGE);
        let (items, next) = page(found, request.next_token.as_deref(), Some(size), PAGE_MAX, INVALID)?;
        Ok(listed("Crawls", items, next))
    }

    fn metrics(&self, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            #[serde(default)]
            crawler_name_list: Vec<String>,
            next_token: Option<String>,
            max_results: Option<usize>,
        }
        let request: Request = parse(body, INVALID)?;
        let state = self.lock();
        let wanted =
            |name: &String| request.crawler_name_list.is_empty() || request.crawler_name_list.contains(name);
        let shapes = state
            .crawlers
            .values()
            .filter(|crawler| wanted(&crawler.name))
            .map(|crawler| {
                let seconds = crawler.last_ended().map_or(0.0, seconds_of);
                json!({
                    "CrawlerName": crawler.name,
                    "TimeLeftSeconds": 0.0,
                    "StillEstimating": crawler.state == CrawlerState::Running,
                    "LastRuntimeSeconds": seconds,
                    "MedianRuntimeSeconds": seconds,
                    "TablesCreated": 0,
                    "TablesUpdated": 0,
                    "TablesDeleted": 0,
                })
            })
            .collect();
        let (items, next) =
            page(shapes, request.next_token.as_deref(), request.max_results, PAGE_MAX, INVALID)?;
        Ok(listed("CrawlerMetricsList", items, next))
    }
}

fn seconds_of(crawl: &CrawlRecord) -> f64 {
    crawl.ended.map_or(0.0, |ended| ended.duration_since(crawl.started).as_secs_f64())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Paging {
    next_token: Option<String>,
    max_results: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListCrawls {
    crawler_name: String,
    #[serde(default)]
    filters: Vec<Filter>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    #[serde(rename = "FieldName")]
    name: String,
    #[serde(rename = "FilterOperator")]
    operator: String,
    #[serde(rename = "FieldValue")]
    value: String,
}

fn matches_all(crawl: &CrawlRecord, filters: &[Filter]) -> Result<bool, ApiError> {
    for filter in filters {
        let wanted = filter.value.as_str();
        let order = match filter.name.as_str() {
            "CRAWL_ID" => crawl.id.as_str().cmp(wanted),
            "STATE" => crawl.state.name().cmp(wanted),
            "START_TIME" => crawl.started.cmp(&time_of(wanted)?),
            "END_TIME" => match crawl.ended {
                Some(ended) => ended.cmp(&time_of(wanted)?),
                None => return Ok(false),
            },
            other => {
                return Err(ApiError::new(
                    400,
                    INVALID,
                    format!("the sandbox does not filter crawls by {other}"),
                ));
            }
        };
        let holds = match filter.operator.as_str() {
            "GT" => order.is_gt(),
            "GE" => order.is_ge(),
            "LT" => order.is_lt(),
            "LE" => order.is_le(),
            "EQ" => order.is_eq(),
            "NE" => order.is_ne(),
            other => return Err(ApiError::new(400, INVALID, format!("unknown FilterOperator {other}"))),
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A time in a filter: seconds or milliseconds since the epoch, or an RFC 3339 time.
fn time_of(text: &str) -> Result<Timestamp, ApiError> {
    /// Numbers from here on are milliseconds: as seconds they would be in the year 5138.
    const MILLISECONDS_FROM: i64 = 100_000_000_000;
    let parsed = match text.parse::<i64>() {
        Ok(number) if number.abs() < MILLISECONDS_FROM => Timestamp::from_second(number),
        Ok(number) => Timestamp::from_millisecond(number),
        Err(_) => text.parse(),
    };
    parsed.map_err(|_| ApiError::new(400, INVALID, format!("`{text}` is not a time")))
}

fn definition_of(body: Value) -> Result<(String, Map<String, Value>), ApiError> {
    let Value::Object(mut definition) = body else {
        return Err(ApiError::new(400, INVALID, "a crawler's definition is an object"));
    };
    match definition.remove("Name") {
        Some(Value::String(name)) if !name.is_empty() => Ok((name, definition)),
        _ => Err(ApiError::new(400, INVALID, "Name is required")),
    }
}

fn running(name: &str) -> ApiError {
    ApiError::new(400, "CrawlerRunningException", format!("Crawler with name {name} has already started"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_times_as_clients_write_them() {
        let expected = Timestamp::from_second(1_709_994_151).unwrap();
        for text in ["1709994151", "1709994151000", "2024-03-09T14:22:31Z"] {
            assert_eq!(time_of(text).unwrap(), expected, "{text}");
        }
        assert!(time_of("yesterday").is_err());
    }
}
