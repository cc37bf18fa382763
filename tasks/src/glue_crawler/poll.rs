//! The state of crawls: one question for up to a hundred crawlers, the history only for those
//! that have come to rest.

use std::{collections::HashMap, time::Duration};

use aws_sdk_glue::{
    Client,
    types::{Crawler, CrawlerHistory},
};
use serde_json::Value;

use super::{BATCH_MAX, Detail, crawls};
use crate::{
    aws::{
        error::Trouble,
        later,
        log_lines::{self, LogPlace},
    },
    clients::{Clients, Purpose},
    clock::Clock,
    operator::{Cost, ErrorClass, Failure, Handle, Outcome, Outputs, Status},
};

/// The log group of all crawlers.
const LOG_GROUP: &str = "/aws-glue/crawlers";

/// Kinds of things that a crawl changes, and how outputs name them.
const CHANGED: [(&str, &str); 2] = [("TABLE", "tables"), ("PARTITION", "partitions")];

/// What a crawl does to them.
const CHANGES: [(&str, &str); 3] = [("ADD", "created"), ("UPDATE", "updated"), ("DELETE", "deleted")];

pub(super) async fn poll(
    clients: &Clients,
    handles: &[Handle],
    clock: &Clock,
    quarantine: Duration,
) -> Vec<Status> {
    let Some(first) = handles.first() else { return Vec::new() };
    let glue = match clients.glue(&first.connection, Purpose::Read).await {
        Ok(glue) => glue,
        Err(failure) => return handles.iter().map(|_| Status::Unavailable(failure.clone())).collect(),
    };
    let details: Vec<Option<Detail>> =
        handles.iter().map(|handle| serde_json::from_value(handle.detail.clone()).ok()).collect();
    let crawlers = match read_crawlers(glue, &details).await {
        Ok(crawlers) => crawlers,
        Err(trouble) => return handles.iter().map(|_| trouble.clone().into_status()).collect(),
    };
    let mut statuses = Vec::with_capacity(handles.len());
    for detail in &details {
        statuses.push(match detail {
            Some(detail) => status_of(glue, detail, &crawlers, clock, quarantine).await,
            None => Status::Gone(Failure::new(ErrorClass::Lost, "the stored handle names no crawler")),
        });
    }
    let places: Vec<_> = details.iter().map(|detail| detail.as_ref().map(place_of)).collect();
    log_lines::add(clients, &first.connection, &mut statuses, &places).await;
    statuses
}

/// Where a crawler writes: all its crawls into one stream, each line beginning with the crawl's id.
fn place_of(detail: &Detail) -> LogPlace {
    LogPlace {
        since: Some(detail.since),
        with: detail.crawl.clone(),
        ..LogPlace::new(LOG_GROUP, &*detail.crawler)
    }
}

/// Stops our crawl, if it is ours that runs.
pub(super) async fn cancel(clients: &Clients, handle: &Handle) -> Result<(), Failure> {
    let glue = clients.glue(&handle.connection, Purpose::Read).await?;
    let Ok(detail) = serde_json::from_value::<Detail>(handle.detail.clone()) else { return Ok(()) };
    let history = crawls::history(glue, &detail.crawler).await.map_err(Trouble::into_failure)?;
    let ended = history
        .as_deref()
        .and_then(|history| our_crawl(history, &detail))
        .is_some_and(|crawl| crawls::state_of(crawl) != "RUNNING");
    if ended {
        return Ok(());
    }
    match glue.stop_crawler().name(&detail.crawler).send().await.map_err(Trouble::from) {
        Ok(_) => Ok(()),
        Err(trouble) => match trouble.code() {
            "CrawlerNotRunningException" | "CrawlerStoppingException" | "EntityNotFoundException" => Ok(()),
            _ => Err(trouble.into_failure()),
        },
    }
}

async fn read_crawlers(
    glue: &Client,
    details: &[Option<Detail>],
) -> Result<HashMap<String, Crawler>, Trouble> {
    let mut names: Vec<String> = details.iter().flatten().map(|detail| detail.crawler.clone()).collect();
    names.sort_unstable();
    names.dedup();
    let mut crawlers = HashMap::with_capacity(names.len());
    for names in names.chunks(BATCH_MAX) {
        let answer = glue.batch_get_crawlers().set_crawler_names(Some(names.to_vec())).send().await?;
        for crawler in answer.crawlers.unwrap_or_default() {
            crawlers.insert(crawler.name.clone().unwrap_or_default(), crawler);
        }
    }
    Ok(crawlers)
}

async fn status_of(
    glue: &Client,
    detail: &Detail,
    crawlers: &HashMap<String, Crawler>,
    clock: &Clock,
    quarantine: Duration,
) -> Status {
    let Some(crawler) = crawlers.get(&detail.crawler) else {
        let text = format!("crawler `{}` was deleted while its crawl was awaited", detail.crawler);
        return Status::Gone(Failure::new(ErrorClass::Lost, text));
    };
    if !crawls::is_ready(crawler) {
        if crawlers.len() == 1
            && let Some(status) = overtaken(glue, detail).await
        {
            return status;
        }
        let state = crawler.state.as_ref().map_or("", |state| state.as_str());
        return Status::Running { remote_state: state.to_owned(), poll_at: None };
    }
    match crawls::history(glue, &detail.crawler).await {
        Err(trouble) => trouble.into_status(),
        Ok(Some(history)) => match our_crawl(&history, detail) {
            Some(crawl) => read_crawl(crawl),
            None => not_yet_visible(detail, clock, quarantine),
        },
        Ok(None) => read_last(crawler, detail, clock, quarantine),
    }
}

/// How our crawl ended, if the crawler is busy because somebody started the next one since.
/// Asked for a lone crawler only: in a batch it would cost a call for each. A double of AWS
/// (moto) moves a crawl on only when its history is read, so this also lets runs end there.
async fn overtaken(glue: &Client, detail: &Detail) -> Option<Status> {
    let history = crawls::history(glue, &detail.crawler).await.ok()??;
    let ours = our_crawl(&history, detail)?;
    let newest = history.first()?;
    let is_past = newest.crawl_id != ours.crawl_id && crawls::state_of(ours) != "RUNNING";
    is_past.then(|| read_crawl(ours))
}

fn our_crawl<'a>(history: &'a [CrawlerHistory], detail: &Detail) -> Option<&'a CrawlerHistory> {
    match &detail.crawl {
        Some(id) => history.iter().find(|crawl| crawl.crawl_id.as_ref() == Some(id)),
        None => crawls::ours(history, &detail.baseline),
    }
}

/// `READY`, and no crawl of ours: the start has not come through yet.
fn not_yet_visible(detail: &Detail, clock: &Clock, quarantine: Duration) -> Status {
    if clock.now() < later(detail.since, quarantine) {
        return Status::Running { remote_state: "READY (crawl not visible yet)".to_owned(), poll_at: None };
    }
    let text = format!("glue accepted the start of crawler `{}` and shows no crawl of it", detail.crawler);
    Status::Failed(Failure::new(ErrorClass::System, text))
}

fn read_crawl(crawl: &CrawlerHistory) -> Status {
    let dpu_seconds = (crawl.dpu_hour > 0.0).then_some(crawl.dpu_hour * 3600.0);
    let cost = Cost { dpu_seconds, ..Cost::default() };
    let state = crawls::state_of(crawl);
    let failure = |class| {
        let text = crawl.error_message.clone().filter(|text| !text.trim().is_empty());
        let text = text.unwrap_or_else(|| format!("the crawl ended as {state}; its log may say why"));
        Failure { cost, ..Failure::new(class, text).with_code(state) }
    };
    match state {
        "COMPLETED" => {
            let mut outputs = crawl.summary.as_deref().map(changes).unwrap_or_default();
            outputs.insert("crawl_id".into(), crawl.crawl_id.clone().unwrap_or_default().into());
            Status::Succeeded(Outcome { outputs, cost, ..Outcome::default() })
        }
        "FAILED" => Status::Failed(failure(ErrorClass::Failed)),
        "STOPPED" => Status::Cancelled(failure(ErrorClass::Cancelled)),
        other => Status::Running { remote_state: other.to_owned(), poll_at: None },
    }
}

/// Where there is no history: the crawler's own last crawl, if it began after the baseline.
fn read_last(crawler: &Crawler, detail: &Detail, clock: &Clock, quarantine: Duration) -> Status {
    let Some(last) = &crawler.last_crawl else { return not_yet_visible(detail, clock, quarantine) };
    if crawls::last_start(crawler) <= detail.baseline.last_start {
        return not_yet_visible(detail, clock, quarantine);
    }
    let state = last.status.as_ref().map_or("", |status| status.as_str());
    let failure = |class| {
        let text = last.error_message.clone().unwrap_or_else(|| format!("the crawl ended as {state}"));
        Failure::new(class, text).with_code(state)
    };
    match state {
        "SUCCEEDED" => Status::Succeeded(Outcome::default()),
        "FAILED" => Status::Failed(failure(ErrorClass::Failed)),
        "CANCELLED" => Status::Cancelled(failure(ErrorClass::Cancelled)),
        other => Status::Running { remote_state: other.to_owned(), poll_at: None },
    }
}

/// What a crawl changed, out of its summary: JSON within JSON, such as
/// `{"TABLE": "{\"ADD\": {\"Count\": 1, …}}"}`. Counts that are not told are left out.
fn changes(summary: &str) -> Outputs {
    let mut outputs = Outputs::new();
    let Some(summary) = unwrapped(&Value::from(summary)) else { return outputs };
    for (kind, kind_name) in CHANGED {
        let Some(of_kind) = summary.get(kind).and_then(unwrapped) else { continue };
        for (change, change_name) in CHANGES {
            let count = of_kind.get(change).and_then(unwrapped).and_then(|value| count(&value));
            if let Some(count) = count {
                outputs.insert(format!("{kind_name}_{change_name}"), count.into());
            }
        }
    }
    outputs
}

/// A value, or the value within a text.
fn unwrapped(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        other => Some(other.clone()),
    }
}

fn count(value: &Value) -> Option<u64> {
    let named = value.pointer("/Details/names").and_then(Value::as_array).map(|names| names.len() as u64);
    value.as_u64().or_else(|| value.get("Count").and_then(Value::as_u64)).or(named)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_summary_is_read_where_it_can_be() {
        let inner = json!({ "ADD": { "Count": 2, "Details": { "names": ["a", "b"] } }, "UPDATE": "1" });
        let summary = json!({ "TABLE": inner.to_string(), "PARTITION": { "ADD": 7 } }).to_string();
        let expected = json!({ "tables_created": 2, "tables_updated": 1, "partitions_created": 7 });
        assert_eq!(Value::Object(changes(&summary)), expected);
        assert!(changes("no json").is_empty());
        assert!(changes("[]").is_empty());
    }
}
