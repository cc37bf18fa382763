//! `glue_crawler` against a double of Glue.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    aws::{
        double::{Answer, Double, context, service_error},
        later,
    },
    registry::QUARANTINE,
};

fn now() -> Timestamp {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + seconds).unwrap()
}

/// An operator whose clock stands some seconds after the intent.
fn operator(seconds: i64) -> GlueCrawler {
    GlueCrawler {
        clock: Clock::from_fn(move || at(seconds)),
        quarantine: QUARANTINE,
        released: Released::default(),
    }
}

fn request(if_running: &str) -> Request {
    let config = serde_json::from_value(json!({ "crawler": "raw", "if_running": if_running })).unwrap();
    let cx = context(Uuid::from_u128(0xa), CRAWL_TIME_MAX);
    operator(0).prepare(&config, &cx).unwrap()
}

fn baseline() -> Value {
    json!({ "crawls": ["c-old"], "last_start": at(-3600) })
}

fn crawler(state: &str, last: Option<(&str, i64)>) -> Value {
    let mut crawler = json!({ "Name": "raw", "State": state });
    if let Some((status, seconds)) = last {
        crawler["LastCrawl"] = json!({ "Status": status, "StartTime": at(seconds).as_second() });
    }
    crawler
}

fn one(crawler: Value) -> Answer {
    Answer::Json(200, json!({ "Crawler": crawler }))
}

fn batch(crawlers: &[Value]) -> Answer {
    Answer::Json(200, json!({ "Crawlers": crawlers, "CrawlersNotFound": [] }))
}

fn crawl(id: &str, state: &str, seconds: i64) -> Value {
    json!({ "CrawlId": id, "State": state, "StartTime": at(seconds).as_second(), "DPUHour": 0.5 })
}

fn crawls(crawls: &[Value]) -> Answer {
    Answer::Json(200, json!({ "Crawls": crawls }))
}

fn no_history() -> Answer {
    Answer::Json(501, json!({}))
}

async fn send(double: &Double, if_running: &str) -> Sent {
    let (request, baseline) = (request(if_running), baseline());
    let intent = Intent { request: &request, baseline: &baseline, intent_at: now(), now: now() };
    operator(0).send(&double.clients, &intent).await
}

async fn find(double: &Double, seconds: i64) -> Found {
    let (request, baseline) = (request("wait_then_start"), baseline());
    let intent = Intent { request: &request, baseline: &baseline, intent_at: now(), now: at(seconds) };
    operator(seconds).find(&double.clients, &intent).await
}

fn handle_of(crawl: Option<&str>, joined: bool) -> Handle {
    let (request, baseline) = (request("wait_then_start"), baseline());
    let intent = Intent { request: &request, baseline: &baseline, intent_at: now(), now: now() };
    handle(&intent, crawl.map(str::to_owned), joined)
}

async fn poll(answers: Vec<Answer>, seconds: i64) -> Status {
    let double = Double::start(answers).await;
    operator(seconds).poll(&double.clients, &[handle_of(None, false)]).await.remove(0)
}

fn running() -> Answer {
    service_error(400, "CrawlerRunningException", "Crawler with name raw has already started")
}

#[tokio::test]
async fn the_baseline_is_what_was_there() {
    let history = crawls(&[crawl("c-old", "COMPLETED", -3600), crawl("c-older", "COMPLETED", -7200)]);
    // The crawler itself shows crawls that have ended only.
    let double = Double::start([one(crawler("READY", Some(("SUCCEEDED", -7200)))), history]).await;
    let found = operator(0).baseline(&double.clients, &request("fail")).await.unwrap();
    assert_eq!(found, json!({ "crawls": ["c-old", "c-older"], "last_start": at(-3600) }));
    let double = Double::start([service_error(400, "EntityNotFoundException", "no")]).await;
    let failure = operator(0).baseline(&double.clients, &request("fail")).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Config);
    assert_eq!(failure.message, "Glue has no crawler `raw` in us-east-1 (connection `aws`): no");
}

#[tokio::test]
async fn a_start_is_accepted_refused_or_unknown() {
    let double = Double::start([
        Answer::Json(200, json!({})),
        service_error(400, "EntityNotFoundException", "no"),
        service_error(400, "OperationTimeoutException", "slow"),
    ])
    .await;
    let sent = send(&double, "fail").await;
    assert!(matches!(&sent, Sent::Accepted(handle) if handle.id == "raw"), "{sent:?}");
    assert!(matches!(send(&double, "fail").await, Sent::Refused(_)));
    assert!(matches!(send(&double, "fail").await, Sent::Unknown(_)));
    assert_eq!(double.received()[0].signed_at, "20261120T090000Z");
    assert_eq!(double.received()[0].text, r#"{"Name":"raw"}"#);
}

#[tokio::test]
async fn a_running_crawler_is_waited_for_joined_or_an_error() {
    let double =
        Double::start([running(), running(), running(), crawls(&[crawl("c-1", "RUNNING", -60)])]).await;
    assert!(matches!(
        send(&double, "wait_then_start").await,
        Sent::Throttled(Failure { class: ErrorClass::Capacity, .. })
    ));
    assert!(matches!(send(&double, "fail").await, Sent::Refused(_)));
    let sent = send(&double, "join").await;
    let Sent::Accepted(joined) = sent else { panic!("{sent:?}") };
    assert_eq!((joined.id.as_str(), &joined.detail["joined"]), ("c-1", &json!(true)));
}

#[tokio::test]
async fn a_lost_start_is_found_among_the_crawls() {
    let old = || crawl("c-old", "COMPLETED", -3600);
    let double = Double::start([
        crawls(&[crawl("c-2", "RUNNING", 90), crawl("c-1", "COMPLETED", 2), old()]),
        crawls(&[old()]),
        crawls(&[old()]),
        no_history(),
        one(crawler("RUNNING", Some(("SUCCEEDED", -3600)))),
        no_history(),
        one(crawler("READY", Some(("SUCCEEDED", -3600)))),
    ])
    .await;
    let found = find(&double, 100).await;
    assert!(matches!(&found, Found::Found(handle) if handle.id == "c-1"), "{found:?}");
    assert!(matches!(find(&double, 0).await, Found::NotYetKnown { again_at, .. } if again_at == at(5)));
    assert_eq!(find(&double, 960).await, Found::ProvedAbsent);
    assert!(matches!(find(&double, 0).await, Found::Found(_)), "without a history the state tells");
    assert!(matches!(find(&double, 0).await, Found::NotYetKnown { .. }));
}

#[tokio::test]
async fn a_clock_that_is_ahead_hides_no_crawl_of_ours() {
    let minutes = 60;
    let old = || crawl("c-old", "COMPLETED", -3600);
    let double = Double::start([
        // Signed by a clock that is ahead of AWS's by nearly an hour, and corrected by the SDK.
        crawls(&[crawl("c-1", "RUNNING", -59 * minutes), old()]),
        // Older than what was there before, whatever the baseline names.
        crawls(&[old(), crawl("c-forgotten", "COMPLETED", -3601)]),
    ])
    .await;
    let found = find(&double, 0).await;
    assert!(matches!(&found, Found::Found(handle) if handle.id == "c-1"), "{found:?}");
    assert!(matches!(find(&double, 0).await, Found::NotYetKnown { .. }));
}

#[tokio::test]
async fn ready_alone_is_not_the_end() {
    let ready = || batch(&[crawler("READY", Some(("SUCCEEDED", -3600)))]);
    let stale = poll(vec![ready(), crawls(&[crawl("c-old", "COMPLETED", -3600)])], 1).await;
    assert!(matches!(stale, Status::Running { .. }), "{stale:?}");
    let never = poll(vec![ready(), crawls(&[crawl("c-old", "COMPLETED", -3600)])], 961).await;
    assert!(matches!(never, Status::Failed(Failure { class: ErrorClass::System, .. })), "{never:?}");
    let stopping = poll(vec![batch(&[crawler("STOPPING", None)])], 1).await;
    assert!(matches!(&stopping, Status::Running { remote_state, .. } if remote_state == "STOPPING"));
    let Status::Succeeded(outcome) = poll(vec![ready(), crawls(&[crawl("c-1", "COMPLETED", 1)])], 9).await
    else {
        panic!()
    };
    assert_eq!(outcome.outputs["crawl_id"], "c-1");
    assert_eq!(outcome.cost.dpu_seconds, Some(1800.0));
}

#[tokio::test]
async fn each_end_means_what_glue_means() {
    let ready = || batch(&[crawler("READY", None)]);
    let mut failed = crawl("c-1", "FAILED", 1);
    failed["ErrorMessage"] = json!("no access to s3://raw");
    let Status::Failed(failure) = poll(vec![ready(), crawls(&[failed])], 9).await else { panic!() };
    assert_eq!((failure.class, failure.message.as_str()), (ErrorClass::Failed, "no access to s3://raw"));
    let stopped = poll(vec![ready(), crawls(&[crawl("c-1", "STOPPED", 1)])], 9).await;
    assert!(matches!(stopped, Status::Cancelled(_)), "{stopped:?}");
    let deleted = poll(vec![Answer::Json(200, json!({ "CrawlersNotFound": ["raw"] }))], 9).await;
    assert!(matches!(deleted, Status::Gone(_)), "{deleted:?}");
    let throttled =
        poll(std::iter::repeat_n(service_error(400, "ThrottlingException", "slow"), 3).collect(), 9).await;
    assert!(matches!(throttled, Status::Throttled(_)), "{throttled:?}");
}

#[tokio::test]
async fn without_a_history_the_crawlers_own_last_crawl_tells() {
    let ready = |status, seconds| batch(&[crawler("READY", Some((status, seconds)))]);
    let stale = poll(vec![ready("SUCCEEDED", -3600), no_history()], 9).await;
    assert!(matches!(stale, Status::Running { .. }), "{stale:?}");
    let done = poll(vec![ready("SUCCEEDED", 1), no_history()], 9).await;
    assert!(matches!(done, Status::Succeeded(_)), "{done:?}");
    let failed = poll(vec![ready("FAILED", 1), no_history()], 9).await;
    assert!(matches!(failed, Status::Failed(_)), "{failed:?}");
}

#[tokio::test]
async fn only_our_own_crawl_is_stopped() {
    let double = Double::start([
        crawls(&[crawl("c-1", "RUNNING", 1)]),
        service_error(400, "CrawlerNotRunningException", "not running"),
        crawls(&[crawl("c-2", "RUNNING", 300), crawl("c-1", "COMPLETED", 1)]),
        batch(&[crawler("RUNNING", None)]),
    ])
    .await;
    let operator = operator(9);
    assert_eq!(operator.cancel(&double.clients, &handle_of(None, false)).await, Ok(()));
    assert_eq!(operator.cancel(&double.clients, &handle_of(None, false)).await, Ok(()));
    assert_eq!(double.operations(), ["ListCrawls", "StopCrawler", "ListCrawls"]);
    let joined = handle_of(Some("c-9"), true);
    assert_eq!(operator.cancel(&double.clients, &joined).await, Ok(()));
    let status = operator.poll(&double.clients, &[joined]).await.remove(0);
    assert!(matches!(status, Status::Cancelled(_)), "{status:?}");
    assert_eq!(later(now(), Duration::from_secs(9)), at(9));
}
