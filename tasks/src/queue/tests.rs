//! Notifications as S3 writes them, and what is none.

use serde_json::{Value, json};

use super::{
    Queue, name_of,
    notification::{BODY_BYTES_MAX, ObjectTold, Told, read},
};
use crate::access::Place;

fn record(key: &str) -> Value {
    json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-central-1",
        "eventTime": "2026-11-19T05:10:11.123Z", "eventName": "ObjectCreated:Put",
        "userIdentity": { "principalId": "AWS:X" }, "requestParameters": { "sourceIPAddress": "10.0.0.1" },
        "responseElements": { "x-amz-request-id": "R", "x-amz-id-2": "I" },
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "c",
            "bucket": { "name": "raw", "ownerIdentity": { "principalId": "O" }, "arn": "arn:aws:s3:::raw" },
            "object": { "key": key, "size": 42, "eTag": "e", "versionId": "v", "sequencer": "0055AED6DCD90281E5" }
        }
    })
}

fn key_of(key: &str) -> Result<String, String> {
    match read(&json!({ "Records": [record(key)] }).to_string())? {
        Told::Objects(objects) => Ok(objects[0].key.clone()),
        Told::Test => panic!("no test event"),
    }
}

#[test]
fn a_notification_is_read_whole() {
    let told = read(&json!({ "Records": [record("a/b.json")] }).to_string()).unwrap();
    let object = ObjectTold {
        bucket: "raw".into(),
        key: "a/b.json".into(),
        event: "ObjectCreated:Put".into(),
        size: Some(42),
        etag: Some("e".into()),
        version: Some("v".into()),
        sequencer: Some("0055AED6DCD90281E5".into()),
        event_time: Some("2026-11-19T05:10:11.123Z".parse().unwrap()),
    };
    assert_eq!(told, Told::Objects(vec![object]));
    let two = json!({ "Records": [record("a"), record("b")] }).to_string();
    assert!(matches!(read(&two).unwrap(), Told::Objects(objects) if objects.len() == 2));
}

#[test]
fn keys_are_decoded_once() {
    for (written, meant) in [
        ("a+b%2Bc", "a b+c"),
        ("x%3A%2520", "x:%20"),
        ("gr%C3%BC%C3%9Fe/%E2%82%AC.json", "grüße/€.json"),
        ("plain-._~/", "plain-._~/"),
    ] {
        assert_eq!(key_of(written).as_deref(), Ok(meant), "{written}");
    }
}

#[test]
fn what_is_no_notification_is_told_apart() {
    let mut other = record("a");
    other["eventSource"] = json!("aws:sqs");
    let mut nameless = record("a");
    nameless["s3"]["bucket"] = json!({});
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    for poison in [
        "hello".to_owned(),
        String::new(),
        "{}".to_owned(),
        "[]".to_owned(),
        json!({ "Records": [] }).to_string(),
        json!({ "Records": [record("%C3%28")] }).to_string(),
        json!({ "Records": [record("%4")] }).to_string(),
        json!({ "Records": [record("a%00b")] }).to_string(),
        json!({ "Records": [record("good"), nameless] }).to_string(),
        json!({ "Records": [other] }).to_string(),
        json!({ "Event": "s3:TestEvent", "Service": "Somebody" }).to_string(),
        format!("{{\"Records\": {deep}}}"),
        format!("{{\"x\": \"{}\"}}", "a".repeat(BODY_BYTES_MAX)),
        json!("a".repeat(2_000)).to_string(),
    ] {
        let why = read(&poison).unwrap_err();
        assert!(!why.is_empty() && why.len() < 400, "{why}");
    }
}

#[test]
fn a_test_of_the_queue_is_known() {
    let test = json!({
        "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-11-19T05:10:11.123Z", "Bucket": "raw",
        "RequestId": "R", "HostId": "H",
    });
    assert_eq!(read(&test.to_string()), Ok(Told::Test));
}

#[test]
fn a_queue_is_known_by_name_or_url() {
    assert_eq!(name_of("https://sqs.eu-central-1.amazonaws.com/123456789012/events/"), "events");
    assert_eq!(name_of("events"), "events");
    let queue = Queue { connection: "aws".into(), url: "https://sqs/1/events".into() };
    assert_eq!(queue.name(), "events");
}

#[test]
fn permissions_name_the_queue() {
    let place = Place::new("eu-central-1", "123456789012");
    let by_name = super::needs(&place, "events");
    assert_eq!(by_name[0].resources, ["arn:aws:sqs:eu-central-1:123456789012:events"]);
    assert!(by_name[0].actions.iter().any(|action| action == "sqs:GetQueueUrl"));
    let by_url = super::needs(&place, "https://sqs.eu-central-1.amazonaws.com/999999999999/events");
    assert_eq!(by_url[0].resources, ["arn:aws:sqs:eu-central-1:999999999999:events"]);
    assert_eq!(
        by_url[0].actions,
        ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
    );
}
