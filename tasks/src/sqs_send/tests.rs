//! `sqs_send` against a double of SQS.

use uuid::Uuid;

use super::*;
use crate::aws::double::{Answer, Double, service_error};

const ATTEMPT: Uuid = Uuid::from_u128(0xb);

fn operator() -> SqsSend {
    SqsSend::new(&Options::for_looking())
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let cx = PrepareContext {
        attempt_id: ATTEMPT,
        pipeline: "daily",
        run: "daily@1",
        task: "t",
        environment: "local",
        connection: "aws",
        timeout: Duration::from_secs(60),
        previous: None,
        generation: 1,
    };
    operator().prepare(&serde_json::from_value(settings).unwrap(), &cx)
}

async fn send(double: &Double, request: &Request) -> Sent {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let intent = Intent { request, baseline: &Value::Null, intent_at: now, now };
    operator().send(&double.clients, &intent).await
}

fn url(double: &Double) -> Answer {
    Answer::Json(200, json!({ "QueueUrl": format!("{}/000000000000/q", double.endpoint) }))
}

fn taken() -> Answer {
    Answer::Json(200, json!({ "MessageId": "m-1", "SequenceNumber": "7" }))
}

#[tokio::test]
async fn a_message_carries_the_attempt() {
    let request =
        prepared(json!({ "queue": "q.fifo", "body": { "day": 19 }, "attributes": { "n": 5 } })).unwrap();
    let double = Double::start([]).await;
    double.then([url(&double), taken()]);
    let Sent::Done(outcome) = send(&double, &request).await else { panic!("not done") };
    assert_eq!(Value::Object(outcome.outputs), json!({ "message_id": "m-1", "sequence_number": "7" }));
    assert_eq!(double.operations(), ["GetQueueUrl", "SendMessage"]);
    let sent = double.received()[1].json();
    assert_eq!(sent["MessageBody"], r#"{"day":19}"#);
    assert_eq!(sent["MessageGroupId"], "daily");
    assert_eq!(sent["MessageDeduplicationId"], json!(ATTEMPT.to_string()));
    let expected = json!({ "DataType": "String", "StringValue": ATTEMPT.to_string() });
    assert_eq!(sent["MessageAttributes"]["trunkline-attempt"], expected);
    assert_eq!(sent["MessageAttributes"]["n"]["StringValue"], "5");
}

#[tokio::test]
async fn each_answer_means_what_it_must() {
    let request = prepared(json!({ "queue": "q", "body": "m" })).unwrap();
    let double = Double::start([]).await;
    double.then([
        service_error(400, "com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist."),
        url(&double),
        service_error(400, "com.amazonaws.sqs#InvalidMessageContents", "no"),
        url(&double),
        service_error(400, "com.amazonaws.sqs#RequestThrottled", "slow"),
        url(&double),
        Answer::Text(500, ""),
        url(&double),
        Answer::HangUp,
    ]);
    let Sent::Refused(failure) = send(&double, &request).await else { panic!() };
    assert_eq!(failure.message, "queue q: The specified queue does not exist.");
    let Sent::Refused(failure) = send(&double, &request).await else { panic!() };
    assert_eq!(failure.message, "queue q: no");
    assert!(matches!(send(&double, &request).await, Sent::Throttled(_)));
    for _ in 0..2 {
        assert!(matches!(send(&double, &request).await, Sent::Unknown(_)));
    }
    assert_eq!(double.received().len(), 9, "the SDK must repeat no send");
}

#[tokio::test]
async fn a_queue_that_cannot_be_looked_up_was_sent_nothing() {
    let request = prepared(json!({ "queue": "q", "body": "m" })).unwrap();
    let double = Double::start([]).await;
    assert!(matches!(send(&double, &request).await, Sent::Throttled(_)));
    assert!(double.operations().iter().all(|operation| operation == "GetQueueUrl"));
    // A queue that is named by its URL is not looked up.
    let queue = format!("{}/000000000000/q", double.endpoint);
    double.then([taken()]);
    let request = prepared(json!({ "queue": queue, "body": "m" })).unwrap();
    assert!(matches!(send(&double, &request).await, Sent::Done(_)));
    assert_eq!(double.operations().last().unwrap(), "SendMessage");
}

#[test]
fn wrong_settings_say_what_to_write() {
    let complaint = |settings: Value| prepared(settings).unwrap_err().message;
    assert!(complaint(json!({ "queue": "", "body": "m" })).starts_with("queue: "));
    assert!(complaint(json!({ "queue": "q", "body": "" })).starts_with("body: "));
    assert!(complaint(json!({ "queue": "q", "body": "\u{1}" })).contains("U+0001"));
    assert!(complaint(json!({ "queue": "q", "body": "x".repeat(MESSAGE_BYTES_MAX) })).contains("into S3"));
    assert!(complaint(json!({ "queue": "q", "body": "m", "group": "g" })).contains("no FIFO queue"));
    assert!(complaint(json!({ "queue": "q.fifo", "body": "m", "group": "a b" })).starts_with("group: "));
    assert!(
        complaint(json!({ "queue": "q.fifo", "body": "m", "delay_seconds": 1 })).starts_with("delay_seconds")
    );
    assert!(complaint(json!({ "queue": "q", "body": "m", "delay_seconds": 901 })).contains("at most 900"));
    for attributes in [json!({ "a b": "x" }), json!({ "a": "" }), json!({ "trunkline-attempt": "x" })] {
        let settings = json!({ "queue": "q", "body": "m", "attributes": attributes });
        assert!(complaint(settings).starts_with("attributes: `"));
    }
    let many: Value =
        (0..10).map(|n| (format!("a{n}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    assert!(complaint(json!({ "queue": "q", "body": "m", "attributes": many })).contains("at most 9"));
}

#[tokio::test]
async fn an_interrupted_send_is_repeated_after_a_pause() {
    let request = prepared(json!({ "queue": "q", "body": "m" })).unwrap();
    let intent_at = jiff::Timestamp::UNIX_EPOCH;
    let after = |seconds| {
        let now = jiff::Timestamp::from_second(seconds).unwrap();
        Intent { request: &request, baseline: &Value::Null, intent_at, now }
    };
    let clients = Clients::default();
    let again_at = jiff::Timestamp::from_second(2).unwrap();
    let Found::NotYetKnown { again_at: told, .. } = operator().find(&clients, &after(1)).await else {
        panic!()
    };
    assert_eq!(told, again_at);
    assert_eq!(operator().find(&clients, &after(2)).await, Found::SafeToRepeat);
}
