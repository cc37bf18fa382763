//! `eventbridge_put` against a double of EventBridge.

use uuid::Uuid;

use super::*;
use crate::aws::double::{Answer, Double, context, service_error};

fn operator() -> EventbridgePut {
    EventbridgePut::new(&Options::for_looking())
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let cx = context(Uuid::from_u128(0xc), Duration::from_secs(60));
    operator().prepare(&serde_json::from_value(settings).unwrap(), &cx)
}

fn request() -> Request {
    let detail = json!({ "day": "2026-11-19", "rows": 3 });
    prepared(json!({ "source": "t.cdr", "detail_type": "done", "detail": detail, "resources": ["arn:x"] }))
        .unwrap()
}

async fn send(double: &Double) -> Sent {
    let (request, now) = (request(), jiff::Timestamp::UNIX_EPOCH);
    let intent = Intent { request: &request, baseline: &Value::Null, intent_at: now, now };
    operator().send(&double.clients, &intent).await
}

fn entry_failed(code: &str) -> Answer {
    let entry = json!({ "ErrorCode": code, "ErrorMessage": "words" });
    Answer::Json(200, json!({ "FailedEntryCount": 1, "Entries": [entry] }))
}

#[tokio::test]
async fn an_event_is_put_as_it_was_prepared() {
    let accepted = json!({ "FailedEntryCount": 0, "Entries": [{ "EventId": "e-1" }] });
    let double = Double::start([Answer::Json(200, accepted)]).await;
    let Sent::Done(outcome) = send(&double).await else { panic!("not done") };
    assert_eq!(Value::Object(outcome.outputs), json!({ "event_id": "e-1" }));
    assert_eq!(double.operations(), ["PutEvents"]);
    assert_eq!(
        double.received()[0].json(),
        json!({ "Entries": [{
        "EventBusName": "default", "Source": "t.cdr", "DetailType": "done",
        "Detail": r#"{"day":"2026-11-19","rows":3}"#, "Resources": ["arn:x"],
    }] })
    );
}

#[tokio::test]
async fn a_refused_entry_within_a_200_is_a_failure() {
    let double = Double::start([
        entry_failed("NotAuthorizedForSourceException"),
        entry_failed("ThrottlingException"),
        entry_failed("InternalFailure"),
        Answer::Json(200, json!({ "FailedEntryCount": 0, "Entries": [] })),
    ])
    .await;
    let Sent::Refused(failure) = send(&double).await else { panic!() };
    assert_eq!(
        (failure.class, failure.message.as_str()),
        (ErrorClass::Config, "event for bus default: words")
    );
    assert_eq!(failure.code.as_deref(), Some("NotAuthorizedForSourceException"));
    assert!(matches!(send(&double).await, Sent::Throttled(_)));
    assert!(matches!(send(&double).await, Sent::Unknown(_)));
    assert!(matches!(send(&double).await, Sent::Unknown(_)));
}

#[tokio::test]
async fn a_call_that_fails_means_what_it_must() {
    let double = Double::start([
        service_error(400, "AccessDeniedException", "no"),
        service_error(400, "ThrottlingException", "slow"),
        service_error(500, "InternalException", "x"),
        Answer::HangUp,
    ])
    .await;
    assert!(matches!(send(&double).await, Sent::Refused(_)));
    assert!(matches!(send(&double).await, Sent::Throttled(_)));
    assert!(matches!(send(&double).await, Sent::Unknown(_)));
    assert!(matches!(send(&double).await, Sent::Unknown(_)));
    assert_eq!(double.received().len(), 4, "the SDK must repeat nothing");
}

#[test]
fn wrong_settings_say_what_to_write() {
    let complaint = |settings: Value| prepared(settings).unwrap_err().message;
    assert!(complaint(json!({ "source": "", "detail_type": "d" })).starts_with("source: "));
    assert!(complaint(json!({ "source": "aws.ec2", "detail_type": "d" })).contains("AWS's own"));
    assert!(complaint(json!({ "source": "s", "detail_type": "x".repeat(129) })).starts_with("detail_type: "));
    assert!(complaint(json!({ "bus": "", "source": "s", "detail_type": "d" })).starts_with("bus: "));
    let long = json!({ "x": "y".repeat(EVENT_BYTES_MAX) });
    assert!(complaint(json!({ "source": "s", "detail_type": "d", "detail": long })).contains("into S3"));
}
