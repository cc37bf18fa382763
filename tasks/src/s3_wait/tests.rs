//! `s3_wait` against a double of S3.

use uuid::Uuid;

use super::*;
use crate::aws::double::{Answer, Double, context};

const NOTHING: &str = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
const TWO: &str = "<ListBucketResult><IsTruncated>false</IsTruncated>\
    <Contents><Key>d/</Key><Size>0</Size><LastModified>2026-11-20T00:00:00Z</LastModified></Contents>\
    <Contents><Key>d/a</Key><Size>3</Size><LastModified>2026-11-20T02:00:00Z</LastModified></Contents>\
    <Contents><Key>d/b</Key><Size>4</Size><LastModified>2026-11-20T01:00:00Z</LastModified></Contents>\
    </ListBucketResult>";
const PAGE: &str = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>\
    <Contents><Key>d/0</Key><Size>1</Size></Contents></ListBucketResult>";
const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>";
const NO_BUCKET: &str = "<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>";

fn prepared(settings: Value) -> Result<Request, Failure> {
    let cx = context(Uuid::from_u128(1), Duration::from_secs(60));
    S3Wait::new(&Options::for_looking()).prepare(&serde_json::from_value(settings).unwrap(), &cx)
}

fn below() -> Request {
    prepared(json!({ "prefix": "s3://b/d/", "min_count": 2, "min_bytes": 5 })).unwrap()
}

async fn sent(answers: Vec<Answer>, request: &Request) -> Sent {
    let double = Double::start(answers).await;
    let now = jiff::Timestamp::UNIX_EPOCH;
    let intent = Intent { request, baseline: &Value::Null, intent_at: now, now };
    S3Wait::new(&Options::for_looking()).send(&double.clients, &intent).await
}

async fn polled(answers: Vec<Answer>, request: &Request) -> Status {
    let double = Double::start(answers).await;
    S3Wait::new(&Options::for_looking()).poll(&double.clients, &[handle(request)]).await.remove(0)
}

#[test]
fn wrong_settings_say_what_to_write() {
    let complaint = |settings: Value| prepared(settings).unwrap_err().message;
    assert_eq!(complaint(json!({})), "say either `key` (one object) or `prefix` (everything below it)");
    assert!(complaint(json!({ "key": "s3://b/d/" })).contains("write s3://bucket/key"));
    assert!(complaint(json!({ "prefix": "b/d/" })).contains("write s3://bucket/folder/"));
    assert!(complaint(json!({ "key": "s3://b/k", "min_count": 2 })).contains("say `prefix` to count"));
    assert!(complaint(json!({ "prefix": "s3://b/", "min_count": 100_001 })).contains("at most 100000"));
}

#[tokio::test]
async fn what_is_there_already_ends_at_once() {
    let Sent::Done(outcome) = sent(vec![Answer::Text(200, TWO)], &below()).await else { panic!() };
    let expected = json!({ "count": 2, "bytes": 7, "newest_key": "d/a" });
    assert_eq!(Value::Object(outcome.outputs), expected);
}

#[tokio::test]
async fn what_is_missing_is_waited_for() {
    assert!(matches!(sent(vec![Answer::Text(200, NOTHING)], &below()).await, Sent::Accepted(_)));
    let Status::Running { remote_state, .. } =
        polled(vec![Answer::Text(200, PAGE), Answer::Text(200, NOTHING)], &below()).await
    else {
        panic!()
    };
    assert_eq!(remote_state, "1 objects, 1 bytes");
    let status = polled(vec![Answer::Text(200, PAGE), Answer::Text(200, TWO)], &below()).await;
    assert!(matches!(status, Status::Succeeded(_)), "{status:?}");
}

#[tokio::test]
async fn a_refusal_is_said_at_once() {
    let Sent::Refused(failure) = sent(vec![Answer::Text(403, DENIED)], &below()).await else { panic!() };
    assert_eq!((failure.code.as_deref(), failure.message.as_str()), (Some("AccessDenied"), "not you"));
    assert!(matches!(sent(vec![Answer::Text(404, NO_BUCKET)], &below()).await, Sent::Refused(_)));
    assert!(matches!(polled(vec![Answer::Text(404, NO_BUCKET)], &below()).await, Status::Failed(_)));
    let one = prepared(json!({ "key": "s3://b/k" })).unwrap();
    let missing = || Answer::Text(404, "");
    let Sent::Refused(failure) = sent(vec![missing(), missing()], &one).await else { panic!() };
    assert_eq!(failure.message, "there is no bucket `b`");
    assert!(matches!(sent(vec![missing(), Answer::Text(200, "")], &one).await, Sent::Accepted(_)));
    let troubled = vec![Answer::Text(500, ""), Answer::Text(500, ""), Answer::Text(500, "")];
    assert!(matches!(polled(troubled, &below()).await, Status::Unavailable(_)));
}

#[tokio::test]
async fn credentials_that_end_during_a_wait_end_nothing() {
    const EXPIRED: &str =
        "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
    let status = polled(vec![Answer::Text(400, EXPIRED)], &below()).await;
    assert!(matches!(status, Status::Unavailable(_)), "{status:?}");
    // HEAD tells no reason: another call is asked for it.
    let one = prepared(json!({ "key": "s3://b/k" })).unwrap();
    let answers = || vec![Answer::Text(400, ""), Answer::Text(400, EXPIRED)];
    let status = polled(answers(), &one).await;
    assert!(matches!(status, Status::Unavailable(_)), "{status:?}");
    assert!(matches!(sent(answers(), &one).await, Sent::Throttled(_)));
    let status = polled(vec![Answer::Text(400, ""), Answer::Text(200, NOTHING)], &one).await;
    assert!(matches!(status, Status::Unavailable(_)), "{status:?}");
    let status = polled(vec![Answer::Text(400, ""), Answer::Text(403, DENIED)], &one).await;
    assert!(matches!(status, Status::Failed(_)), "{status:?}");
    // They may end between the question for the object and the one for its bucket.
    let between = vec![Answer::Text(404, ""), Answer::Text(400, ""), Answer::Text(400, EXPIRED)];
    let status = polled(between, &one).await;
    assert!(matches!(status, Status::Unavailable(_)), "{status:?}");
}

#[tokio::test]
async fn a_wait_that_is_cut_short_says_so() {
    let operator = S3Wait::new(&Options::for_looking());
    let (clients, handle) = (Clients::default(), handle(&below()));
    operator.cancel(&clients, &handle).await.unwrap();
    assert!(matches!(operator.poll(&clients, &[handle]).await[0], Status::Cancelled(_)));
}
