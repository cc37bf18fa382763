//! Which crawl is ours: the baseline before a start, and the look for it afterwards.

use std::time::Duration;

use aws_sdk_glue::{
    Client,
    types::{Crawler, CrawlerHistory},
};
use jiff::Timestamp;

use super::{Baseline, crawler_of, handle};
use crate::{
    aws::{ask_again, error::Trouble, later, next_look, timestamp},
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Found, Intent, Request},
};

/// How many crawls one look reads: as many as the documented page holds. No crawler runs more
/// often between an intent and the look for it.
const HISTORY: i32 = 100;

/// How many crawls a baseline names: those that may have begun at the very moment of the newest
/// one. Everything older is ruled out by its time.
const BASELINE_CRAWLS: usize = 10;

/// The newest crawls of a crawler, newest first; `None` where the service keeps no history,
/// as some doubles of AWS do not.
pub(super) async fn history(glue: &Client, crawler: &str) -> Result<Option<Vec<CrawlerHistory>>, Trouble> {
    match glue.list_crawls().crawler_name(crawler).max_results(HISTORY).send().await.map_err(Trouble::from) {
        Ok(answer) => {
            let mut crawls = answer.crawls.unwrap_or_default();
            crawls.sort_by_key(|crawl| std::cmp::Reverse(timestamp(crawl.start_time.as_ref())));
            Ok(Some(crawls))
        }
        Err(trouble) if trouble.is_not_offered() => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// The first crawl that was not there before. A crawler runs one crawl at a time, so whatever is
/// younger than the newest crawl of the baseline, by AWS's own clock, began after it. Ours is asked
/// nothing: it may be wrong by an hour, and the SDK corrects what it signs by AWS's answers.
pub(super) fn ours<'a>(crawls: &'a [CrawlerHistory], baseline: &Baseline) -> Option<&'a CrawlerHistory> {
    let began = |crawl: &CrawlerHistory| timestamp(crawl.start_time.as_ref());
    crawls
        .iter()
        .filter(|crawl| began(crawl).is_some_and(|at| baseline.last_start.is_none_or(|last| at >= last)))
        .filter(|crawl| crawl.crawl_id.as_ref().is_some_and(|id| !baseline.crawls.contains(id)))
        .min_by_key(|crawl| began(crawl))
}

pub(super) async fn baseline(clients: &Clients, request: &Request) -> Result<Baseline, Failure> {
    let glue = clients.glue(&request.connection, Purpose::Read).await?;
    let crawler = match get_crawler(glue, crawler_of(request)).await {
        Ok(crawler) => crawler,
        Err(trouble) if trouble.is_not_there() => {
            return Err(no_such_crawler(clients, request, trouble).await);
        }
        Err(trouble) => return Err(trouble.into_failure()),
    };
    let crawls = history(glue, crawler_of(request)).await.map_err(Trouble::into_failure)?.unwrap_or_default();
    let newest = crawls.first().and_then(|crawl| timestamp(crawl.start_time.as_ref()));
    let crawls = crawls.into_iter().filter_map(|crawl| crawl.crawl_id);
    Ok(Baseline {
        crawls: crawls.take(BASELINE_CRAWLS).collect(),
        last_start: last_start(&crawler).max(newest),
    })
}

/// The crawl that runs now.
pub(super) async fn running(clients: &Clients, intent: &Intent<'_>) -> Result<Option<String>, Failure> {
    let glue = clients.glue(&intent.request.connection, Purpose::Read).await?;
    let crawls = history(glue, crawler_of(intent.request)).await.map_err(Trouble::into_failure)?;
    let running = crawls.unwrap_or_default().into_iter().find(|crawl| state_of(crawl) == "RUNNING");
    Ok(running.and_then(|crawl| crawl.crawl_id))
}

pub(super) async fn find(clients: &Clients, intent: &Intent<'_>, quarantine: Duration) -> Found {
    match look(clients, intent).await {
        Ok(Seen::Crawl(id)) => Found::Found(handle(intent, Some(id), false)),
        Ok(Seen::WithoutId) => Found::Found(handle(intent, None, false)),
        Ok(Seen::Nothing) => match next_look(intent, quarantine) {
            Some(again_at) => Found::NotYetKnown {
                again_at,
                reason: format!(
                    "crawler `{}` shows no crawl since the start was sent; until {} AWS may still accept it",
                    crawler_of(intent.request),
                    later(intent.intent_at, quarantine),
                ),
            },
            None => Found::ProvedAbsent,
        },
        Err(failure) => ask_again(intent, quarantine, &failure),
    }
}

enum Seen {
    Crawl(String),
    /// A crawl of a service that keeps no history of them.
    WithoutId,
    Nothing,
}

async fn look(clients: &Clients, intent: &Intent<'_>) -> Result<Seen, Failure> {
    let glue = clients.glue(&intent.request.connection, Purpose::Read).await?;
    let name = crawler_of(intent.request);
    let baseline: Baseline = serde_json::from_value(intent.baseline.clone()).unwrap_or_default();
    if let Some(crawls) = history(glue, name).await.map_err(Trouble::into_failure)? {
        Ok(ours(&crawls, &baseline)
            .and_then(|crawl| crawl.crawl_id.clone())
            .map_or(Seen::Nothing, Seen::Crawl))
    } else {
        let crawler = get_crawler(glue, name).await.map_err(Trouble::into_failure)?;
        let began = last_start(&crawler) > baseline.last_start;
        Ok(if began || !is_ready(&crawler) { Seen::WithoutId } else { Seen::Nothing })
    }
}

pub(super) async fn get_crawler(glue: &Client, name: &str) -> Result<Crawler, Trouble> {
    let answer = glue.get_crawler().name(name).send().await?;
    answer.crawler.ok_or_else(|| Trouble::empty("glue gave an answer without the crawler"))
}

pub(super) fn last_start(crawler: &Crawler) -> Option<Timestamp> {
    timestamp(crawler.last_crawl.as_ref()?.start_time.as_ref())
}

pub(super) fn is_ready(crawler: &Crawler) -> bool {
    crawler.state.as_ref().is_some_and(|state| state.as_str() == "READY")
}

pub(super) fn state_of(crawl: &CrawlerHistory) -> &str {
    crawl.state.as_ref().map_or("", |state| state.as_str())
}

pub(super) async fn no_such_crawler(clients: &Clients, request: &Request, trouble: Trouble) -> Failure {
    let region = clients.region_of(&request.connection).await.unwrap_or_default();
    let mut failure = trouble.into_failure();
    failure.class = ErrorClass::Config;
    failure.message = format!(
        "Glue has no crawler `{}` in {region} (connection `{}`): {}",
        crawler_of(request),
        request.connection,
        failure.message
    );
    failure
}
