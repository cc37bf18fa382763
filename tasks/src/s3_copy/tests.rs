//! `s3_copy` against a double of S3.

use uuid::Uuid;

use super::*;
use crate::aws::double::{Answer, Double, context};

const NOTHING: &str = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
const ONE: &str = "<ListBucketResult><IsTruncated>false</IsTruncated>\
    <Contents><Key>d/x y</Key><Size>3</Size><ETag>\"e1\"</ETag><LastModified>2026-11-20T01:00:00Z</LastModified></Contents>\
    </ListBucketResult>";
const HUGE: &str = "<ListBucketResult><IsTruncated>false</IsTruncated>\
    <Contents><Key>d/huge</Key><Size>5368709121</Size><ETag>\"e\"</ETag></Contents></ListBucketResult>";
const COPIED: &str = "<CopyObjectResult><ETag>\"e1\"</ETag></CopyObjectResult>";
const GONE: &str = "<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>";

fn operator() -> S3Copy {
    S3Copy::new(&Options::for_looking())
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let cx = context(Uuid::from_u128(1), Duration::from_secs(60));
    operator().prepare(&serde_json::from_value(settings).unwrap(), &cx)
}

fn below() -> Request {
    prepared(json!({ "prefix": "s3://b/d/", "to": "s3://c/e/", "max_objects": 2 })).unwrap()
}

fn xml(text: &'static str) -> Answer {
    Answer::Text(200, text)
}

fn missing() -> [Answer; 2] {
    [Answer::Text(404, ""), Answer::Text(200, "")]
}

fn there(bytes: &str, etag: &str) -> Answer {
    // Of an answer to HEAD only the length of the body is sent.
    let headers = vec![("etag", format!("\"{etag}\""))];
    Answer::Headed(200, headers, "x".repeat(bytes.parse().unwrap()))
}

fn started(request: &Request) -> Handle {
    handle(request, &plan_of(&request.body).unwrap())
}

async fn polled(double: &Double, request: &Request) -> Status {
    operator().poll(&double.clients, &[started(request)]).await.remove(0)
}

#[tokio::test]
async fn what_is_missing_is_copied_by_s3_itself() {
    let double = Double::start([xml(ONE)]).await;
    double.then(missing());
    double.then([xml(COPIED)]);
    let Status::Succeeded(outcome) = polled(&double, &below()).await else { panic!() };
    assert_eq!(Value::Object(outcome.outputs), json!({ "count": 1, "bytes": 3, "copied": 1 }));
    let sent = double.received().pop().unwrap();
    assert_eq!(sent.operation, "/c/e/x%20y?x-id=CopyObject");
    assert!(sent.head.to_lowercase().contains("x-amz-copy-source: b/d/x%20y"), "{}", sent.head);
}

#[tokio::test]
async fn what_is_there_already_is_skipped() {
    let double = Double::start([xml(ONE), there("3", "e1")]).await;
    let Status::Succeeded(outcome) = polled(&double, &below()).await else { panic!() };
    assert_eq!(Value::Object(outcome.outputs), json!({ "count": 1, "bytes": 3, "copied": 0 }));
    assert_eq!(double.received().len(), 2);
}

#[tokio::test]
async fn what_differs_is_copied_again() {
    let double = Double::start([xml(ONE), there("3", "e2"), xml(COPIED)]).await;
    let Status::Succeeded(outcome) = polled(&double, &below()).await else { panic!() };
    assert_eq!(outcome.outputs["copied"], 1);
}

#[tokio::test]
async fn what_vanishes_meanwhile_is_told() {
    let double = Double::start([xml(ONE)]).await;
    double.then(missing());
    double.then([Answer::Text(404, GONE)]);
    let Status::Succeeded(outcome) = polled(&double, &below()).await else { panic!() };
    assert_eq!(outcome.outputs["count"], 0);
    assert!(outcome.warnings[0].contains("1 objects below s3://b/d/ were deleted"), "{outcome:?}");
}

#[tokio::test]
async fn a_copy_that_is_refused_is_named_and_trouble_is_repeated() {
    let double = Double::start([xml(ONE)]).await;
    double.then(missing());
    double.then([Answer::Text(403, "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>")]);
    let Status::Failed(failure) = polled(&double, &below()).await else { panic!() };
    assert_eq!(failure.message, "s3://b/d/x y to s3://c/e/x y: not you");
    let double = Double::start([xml(ONE)]).await;
    double.then(missing());
    assert!(matches!(polled(&double, &below()).await, Status::Unavailable(_)));
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_anything_is_copied() {
    let baseline = async |answers: Vec<Answer>, request: &Request| {
        let double = Double::start(answers).await;
        let found = operator().baseline(&double.clients, request).await;
        assert!(!double.operations().iter().any(|operation| operation.contains("CopyObject")));
        found
    };
    let failure = baseline(vec![xml(HUGE)], &below()).await.unwrap_err();
    assert!(failure.message.starts_with("s3://b/d/huge has 5368709121 bytes"), "{}", failure.message);
    assert_eq!(failure.code.as_deref(), Some("EntityTooLarge"));
    let few = prepared(json!({ "prefix": "s3://b/d/", "to": "s3://c/", "max_objects": 1 })).unwrap();
    assert!(baseline(vec![xml(ONE)], &few).await.is_ok());
    let one = prepared(json!({ "key": "s3://b/k", "to": "s3://c/" })).unwrap();
    let failure = baseline(missing().to_vec(), &one).await.unwrap_err();
    assert!(failure.message.starts_with("there is no object s3://b/k"), "{}", failure.message);
    assert!(baseline(vec![xml(NOTHING)], &below()).await.is_ok());
}

#[tokio::test]
async fn nothing_to_copy_ends_at_once_with_a_warning() {
    let (request, now) = (below(), jiff::Timestamp::UNIX_EPOCH);
    let nothing = serde_json::to_value(Summary::default()).unwrap();
    let intent = Intent { request: &request, baseline: &nothing, intent_at: now, now };
    let Sent::Done(outcome) = operator().send(&Clients::default(), &intent).await else { panic!() };
    assert_eq!(outcome.warnings, ["there is nothing below s3://b/d/; nothing was copied"]);
}

#[test]
fn copies_go_where_they_are_meant_to() {
    let target = |settings: Value, key: &str| {
        let plan = plan(&serde_json::from_value(settings).unwrap()).unwrap();
        format!("{}/{}", plan.to_bucket, plan.target(key))
    };
    assert_eq!(target(json!({ "key": "s3://b/d/k.csv", "to": "s3://c/e/" }), "d/k.csv"), "c/e/k.csv");
    assert_eq!(target(json!({ "key": "s3://b/d/k.csv", "to": "s3://c/" }), "d/k.csv"), "c/k.csv");
    assert_eq!(target(json!({ "key": "s3://b/d/k.csv", "to": "s3://c/l.csv" }), "d/k.csv"), "c/l.csv");
    assert_eq!(target(json!({ "prefix": "s3://b/d/", "to": "s3://c/e/" }), "d/x/y"), "c/e/x/y");
    assert_eq!(target(json!({ "prefix": "s3://b/day=1", "to": "s3://c/day=2" }), "day=1/x"), "c/day=2/x");
}

#[test]
fn a_step_is_bounded_by_objects_and_bytes() {
    let object = |bytes| Object { key: "k".into(), bytes, etag: None, written: None };
    let (now, is_end) = first_of(vec![object(1), object(2)]);
    assert_eq!((now.len(), is_end), (2, true));
    let (now, is_end) = first_of(vec![object(STEP_BYTES), object(2)]);
    assert_eq!((now.len(), is_end), (1, false));
    let (now, is_end) = first_of(vec![object(2), object(STEP_BYTES)]);
    assert_eq!((now.len(), is_end), (2, true));
    let (now, is_end) = first_of(vec![object(1); STEP_OBJECTS]);
    assert_eq!((now.len(), is_end), (STEP_OBJECTS, false));
}

#[test]
fn wrong_settings_say_what_to_write() {
    let complaint = |settings: Value| prepared(settings).unwrap_err().message;
    assert!(complaint(json!({ "to": "s3://b/" })).starts_with("say either `key`"));
    assert!(complaint(json!({ "key": "s3://b/k", "to": "b/k" })).starts_with("to: "));
    assert!(complaint(json!({ "key": "s3://b/k", "to": "s3://b/" })).contains("the object itself"));
    assert!(complaint(json!({ "prefix": "s3://b/d/", "to": "s3://b/d/e/" })).contains("copied again"));
    assert!(complaint(json!({ "prefix": "s3://b/d/", "to": "s3://b/e" })).contains("end it with a slash"));
    assert!(
        complaint(json!({ "prefix": "s3://b/d/", "to": "s3://c/", "max_objects": 100_001 }))
            .contains("from 1 to")
    );
}
