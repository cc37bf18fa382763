//! `s3_delete` against a double of S3.

use uuid::Uuid;

use super::*;
use crate::aws::double::{Answer, Double, context};

const NOTHING: &str = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
const TWO: &str = "<ListBucketResult><IsTruncated>false</IsTruncated>\
    <Contents><Key>d/a</Key><Size>3</Size><LastModified>2026-11-20T01:00:00Z</LastModified></Contents>\
    <Contents><Key>d/b</Key><Size>4</Size><LastModified>2026-11-20T02:00:00Z</LastModified></Contents>\
    </ListBucketResult>";
const THREE: &str = "<ListBucketResult><IsTruncated>false</IsTruncated>\
    <Contents><Key>d/a</Key><Size>3</Size><LastModified>2026-11-20T01:00:00Z</LastModified></Contents>\
    <Contents><Key>d/b</Key><Size>4</Size><LastModified>2026-11-20T02:00:00Z</LastModified></Contents>\
    <Contents><Key>d/new</Key><Size>4</Size><LastModified>2026-11-20T02:00:01Z</LastModified></Contents>\
    </ListBucketResult>";
const DELETED: &str = "<DeleteResult/>";
const DENIED: &str = "<DeleteResult><Error><Key>d/a</Key><Code>AccessDenied</Code><Message>not you</Message></Error></DeleteResult>";
const BUSY: &str = "<DeleteResult><Error><Key>d/a</Key><Code>InternalError</Code><Message>again</Message></Error></DeleteResult>";

fn operator() -> S3Delete {
    S3Delete::new(&Options::for_looking())
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let cx = context(Uuid::from_u128(1), Duration::from_secs(60));
    operator().prepare(&serde_json::from_value(settings).unwrap(), &cx)
}

fn below(most: u64) -> Request {
    prepared(json!({ "prefix": "s3://b/d/", "max_objects": most })).unwrap()
}

fn xml(text: &'static str) -> Answer {
    Answer::Text(200, text)
}

async fn counted(double: &Double, request: &Request) -> Result<Value, Failure> {
    operator().baseline(&double.clients, request).await
}

/// The handle of a task that counted `TWO`.
async fn started(double: &Double) -> Handle {
    let request = below(2);
    double.then([xml(TWO)]);
    let baseline = counted(double, &request).await.unwrap();
    let now = jiff::Timestamp::UNIX_EPOCH;
    let intent = Intent { request: &request, baseline: &baseline, intent_at: now, now };
    let Sent::Accepted(handle) = operator().send(&double.clients, &intent).await else { panic!() };
    let found = operator().find(&double.clients, &intent).await;
    assert_eq!(found, Found::Found(handle.clone()), "a crash changes nothing");
    handle
}

#[tokio::test]
async fn too_many_are_refused_before_anything_is_deleted() {
    let double = Double::start([xml(TWO)]).await;
    let failure = counted(&double, &below(1)).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Config);
    assert_eq!(
        failure.message,
        "max_objects: there are more than 1 objects below s3://b/d/; nothing was deleted"
    );
    assert!(double.operations().iter().all(|operation| operation.contains("list-type=2")));
}

#[tokio::test]
async fn only_what_was_counted_is_deleted() {
    let double = Double::start([]).await;
    let handle = started(&double).await;
    double.then([xml(THREE), xml(DELETED)]);
    let statuses = operator().poll(&double.clients, &[handle]).await;
    let Status::Succeeded(outcome) = &statuses[0] else { panic!("{statuses:?}") };
    assert_eq!(Value::Object(outcome.outputs.clone()), json!({ "count": 2, "bytes": 7 }));
    let sent = double.received().last().unwrap().text.clone();
    assert!(sent.contains("<Key>d/a</Key>") && sent.contains("<Key>d/b</Key>"), "{sent}");
    assert!(!sent.contains("d/new"), "{sent}");
}

#[tokio::test]
async fn nothing_there_is_done_at_once() {
    let double = Double::start([xml(NOTHING)]).await;
    let request = below(5);
    let baseline = counted(&double, &request).await.unwrap();
    let now = jiff::Timestamp::UNIX_EPOCH;
    let intent = Intent { request: &request, baseline: &baseline, intent_at: now, now };
    let Sent::Done(outcome) = operator().send(&double.clients, &intent).await else { panic!() };
    assert_eq!(outcome.outputs["count"], 0);
}

#[tokio::test]
async fn what_s3_says_of_single_keys_is_told() {
    let double = Double::start([]).await;
    let handle = started(&double).await;
    double.then([xml(TWO), xml(DENIED)]);
    let statuses = operator().poll(&double.clients, &[handle]).await;
    let Status::Failed(failure) = &statuses[0] else { panic!("{statuses:?}") };
    assert_eq!(
        failure.message,
        "1 of 2 objects below s3://b/d/ could not be deleted, the others are gone:\n  d/a: AccessDenied: not you"
    );
    assert_eq!(failure.class, ErrorClass::Config);
}

#[tokio::test]
async fn what_passes_is_tried_again_for_a_while() {
    let double = Double::start([]).await;
    let handle = started(&double).await;
    let operator = operator();
    for pass in 1..=PASSES_MAX {
        double.then([xml(TWO), xml(BUSY)]);
        let status = operator.poll(&double.clients, std::slice::from_ref(&handle)).await.remove(0);
        match status {
            Status::Running { .. } => assert!(pass < PASSES_MAX),
            Status::Failed(failure) => {
                assert_eq!(pass, PASSES_MAX);
                assert!(failure.message.contains("kept failing"), "{}", failure.message);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn trouble_delays_and_a_refusal_ends() {
    let double = Double::start([]).await;
    let handle = started(&double).await;
    double.then([Answer::Text(500, ""), Answer::Text(500, ""), Answer::Text(500, "")]);
    let status = operator().poll(&double.clients, std::slice::from_ref(&handle)).await.remove(0);
    assert!(matches!(status, Status::Unavailable(_)), "{status:?}");
    double.then([Answer::Text(403, "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>")]);
    let status = operator().poll(&double.clients, &[handle]).await.remove(0);
    let Status::Failed(failure) = status else { panic!("{status:?}") };
    assert_eq!(failure.message, "s3://b/d/: not you");
}

#[tokio::test]
async fn a_task_that_is_cancelled_stops_between_steps() {
    let double = Double::start([]).await;
    let handle = started(&double).await;
    let operator = operator();
    operator.cancel(&double.clients, &handle).await.unwrap();
    assert!(matches!(operator.poll(&double.clients, &[handle]).await[0], Status::Cancelled(_)));
    assert!(!double.operations().iter().any(|operation| operation.contains("delete")));
}

#[test]
fn wrong_settings_say_what_to_write() {
    let complaint = |settings: Value| prepared(settings).unwrap_err().message;
    assert_eq!(complaint(json!({})), "say either `key` (one object) or `prefix` (everything below it)");
    assert!(complaint(json!({ "prefix": "s3://b/" })).contains("whole bucket"));
    assert!(complaint(json!({ "prefix": "s3://b//" })).contains("whole bucket"));
    assert!(complaint(json!({ "key": "s3://b/k", "max_objects": 0 })).contains("from 1 to 100000"));
}
