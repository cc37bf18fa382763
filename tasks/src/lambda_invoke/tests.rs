//! `lambda_invoke` against a double of Lambda.

use uuid::Uuid;

use super::*;
use crate::aws::double::{Answer, Double};

const ATTEMPT: Uuid = Uuid::from_u128(0xa);

fn operator() -> LambdaInvoke {
    LambdaInvoke::new(&Options::for_looking())
}

fn prepared_within(settings: Value, timeout: Duration) -> Result<Request, Failure> {
    let cx = PrepareContext {
        attempt_id: ATTEMPT,
        pipeline: "p",
        run: "p@2026-11-19",
        task: "t",
        environment: "local",
        connection: "aws",
        timeout,
        previous: None,
        generation: 1,
    };
    operator().prepare(&serde_json::from_value(settings).unwrap(), &cx)
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    prepared_within(settings, CALL_TIME_MAX)
}

fn request() -> Request {
    prepared(json!({ "function": "f", "qualifier": "live", "payload": { "b": 1, "a": [null] } })).unwrap()
}

fn intent(request: &Request) -> Intent<'_> {
    let now = "2026-11-20T09:00:00Z".parse().unwrap();
    Intent { request, baseline: &Value::Null, intent_at: now, now }
}

async fn send(double: &Double, request: &Request) -> Sent {
    operator().send(&double.clients, &intent(request)).await
}

fn answered(headers: &[(&'static str, &str)], body: &str) -> Answer {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Answer::Headed(200, headers, body.to_owned())
}

fn lambda_error(status: u16, code: &'static str) -> Answer {
    let headers = vec![("x-amzn-errortype", code.to_owned())];
    Answer::Headed(status, headers, json!({ "Type": "User", "Message": "words" }).to_string())
}

#[tokio::test]
async fn a_call_carries_the_attempt_beside_the_payload() {
    let double = Double::start([answered(&[("x-amz-executed-version", "7")], r#"{"rows": 3}"#)]).await;
    let Sent::Done(outcome) = send(&double, &request()).await else { panic!("not done") };
    let expected = json!({ "request_id": "request-1", "executed_version": "7", "response": { "rows": 3 } });
    assert_eq!(Value::Object(outcome.outputs), expected);
    let received = &double.received()[0];
    assert_eq!(received.operation, "/2015-03-31/functions/f/invocations?Qualifier=live");
    assert_eq!(received.text, r#"{"b":1,"a":[null]}"#, "as it was written: nothing is added or moved");
    assert_eq!(received.signed_at, "20261120T090000Z", "signed with the time of the intent");
    let header = |name: &str| {
        let line = received.head.lines().find(|line| line.to_lowercase().starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    assert_eq!(header("x-amz-invocation-type"), "RequestResponse");
    assert_eq!(header("x-amz-log-type"), "Tail");
    let context = STANDARD.decode(header("x-amz-client-context")).unwrap();
    let context: Value = serde_json::from_slice(&context).unwrap();
    assert_eq!(context["custom"]["trunkline-attempt"], json!(ATTEMPT.to_string()));
    assert_eq!(context["custom"]["trunkline-run"], "p@2026-11-19");
}

#[tokio::test]
async fn a_function_that_failed_says_why() {
    let log = STANDARD.encode(
        "START RequestId: 1 Version: 7\nreading day 19\n[ERROR] ValueError: no rows\nTraceback\n\
         END RequestId: 1\nREPORT RequestId: 1 Duration: 2 ms\n",
    );
    let raised = r#"{"errorMessage":"no rows","errorType":"ValueError","stackTrace":["a","b"]}"#;
    let timed_out = r#"{"errorMessage":"2026-11-20T09:00:03Z 1 Task timed out after 3.00 seconds"}"#;
    let also = r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 1 Error: Task timed out after 3.00 seconds"}"#;
    let died = r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 1 Error: Runtime exited"}"#;
    let unhandled = ("x-amz-function-error", "Unhandled");
    let double = Double::start([
        answered(&[unhandled, ("x-amz-log-result", &log)], raised),
        answered(&[unhandled], timed_out),
        answered(&[unhandled], also),
        answered(&[unhandled], died),
        answered(&[("x-amz-function-error", "Handled")], "garbage"),
    ])
    .await;
    let mut failures = Vec::new();
    for _ in 0..5 {
        let Sent::Refused(failure) = send(&double, &request()).await else { panic!("not failed") };
        failures.push(failure);
    }
    assert_eq!(
        failures[0].message,
        "ValueError: no rows\nlast lines of the log of f:\n  reading day 19\n  [ERROR] ValueError: no rows\n  Traceback"
    );
    assert_eq!(failures[0].code.as_deref(), Some("ValueError"));
    assert_eq!(failures[0].request_id.as_deref(), Some("request-1"));
    let classes = failures.iter().map(|failure| failure.class).collect::<Vec<_>>();
    let (failed, timeout) = (ErrorClass::Failed, ErrorClass::Timeout);
    assert_eq!(classes, [failed, timeout, timeout, failed, failed]);
    assert_eq!(failures[4].message, "Handled: garbage");
}

#[tokio::test]
async fn a_response_that_cannot_be_kept_is_said_and_not_repeated() {
    let long = format!("\"{}\"", "x".repeat(256 * 1024));
    let double = Double::start([answered(&[], "<html>"), answered(&[], &long), answered(&[], "")]).await;
    let Sent::Refused(failure) = send(&double, &request()).await else { panic!() };
    assert_eq!(failure.class, ErrorClass::Config);
    assert!(failure.message.starts_with("function f succeeded, but its response is not JSON"), "{failure:?}");
    assert!(failure.message.ends_with("<html>"), "{failure:?}");
    let Sent::Refused(failure) = send(&double, &request()).await else { panic!() };
    assert!(failure.message.contains("262146 bytes"), "{}", failure.message);
    let Sent::Done(outcome) = send(&double, &request()).await else { panic!() };
    assert_eq!(outcome.outputs["response"], Value::Null);
}

#[tokio::test]
async fn each_answer_means_what_it_must() {
    let double = Double::start([
        lambda_error(404, "ResourceNotFoundException"),
        lambda_error(429, "TooManyRequestsException"),
        lambda_error(502, "EC2ThrottledException"),
        lambda_error(502, "KMSAccessDeniedException"),
        lambda_error(413, "RequestTooLargeException"),
        lambda_error(500, "ServiceException"),
        Answer::HangUp,
    ])
    .await;
    let Sent::Refused(failure) = send(&double, &request()).await else { panic!() };
    assert_eq!(failure.message, "Lambda has no function `f` in us-east-1 (connection `aws`): words");
    let Sent::Throttled(failure) = send(&double, &request()).await else { panic!() };
    assert_eq!(failure.class, ErrorClass::Throttled);
    let Sent::Throttled(failure) = send(&double, &request()).await else { panic!() };
    assert_eq!(failure.class, ErrorClass::Capacity);
    for _ in 0..2 {
        let Sent::Refused(failure) = send(&double, &request()).await else { panic!() };
        assert_eq!(failure.class, ErrorClass::Config);
    }
    for _ in 0..2 {
        assert!(matches!(send(&double, &request()).await, Sent::Unknown(_)));
    }
    assert_eq!(double.received().len(), 7, "the SDK must repeat nothing");
}

#[tokio::test]
async fn only_what_may_be_repeated_is() {
    let clients = Clients::default();
    let once = request();
    let Found::Lost(failure) = operator().find(&clients, &intent(&once)).await else { panic!() };
    assert_eq!(failure.class, ErrorClass::Lost);
    assert!(failure.message.contains("not answered within 930s"), "{}", failure.message);
    for repeatable in
        [json!({ "function": "f", "idempotent": true }), json!({ "function": "f", "durable_name": "d" })]
    {
        let request = prepared(repeatable).unwrap();
        let soon = Intent { now: intent(&request).now, ..intent(&request) };
        let found = operator().find(&clients, &soon).await;
        assert!(
            matches!(found, Found::NotYetKnown { .. }),
            "a service in trouble is given a pause: {found:?}"
        );
        let later = Intent { now: soon.now + jiff::SignedDuration::from_secs(2), ..soon };
        assert_eq!(operator().find(&clients, &later).await, Found::SafeToRepeat);
    }
}

#[tokio::test]
async fn an_accepted_event_is_all_that_is_claimed() {
    let request = prepared(json!({ "function": "f", "mode": "async" })).unwrap();
    assert_eq!(operator().start_limit(&request), START_TIMEOUT);
    let double = Double::start([Answer::Headed(202, Vec::new(), String::new())]).await;
    let Sent::Done(outcome) = send(&double, &request).await else { panic!() };
    assert_eq!(Value::Object(outcome.outputs), json!({ "request_id": "request-1" }));
    let head = double.received()[0].head.to_lowercase();
    assert!(head.contains("x-amz-invocation-type: event") && !head.contains("client-context"), "{head}");
}

#[tokio::test]
async fn durable_executions_are_named_by_the_attempt() {
    let request = prepared(json!({ "function": "f", "durable_name": "daily_report" })).unwrap();
    let double = Double::start([answered(&[("x-amz-durable-execution-arn", "arn:d")], "1")]).await;
    let Sent::Done(outcome) = send(&double, &request).await else { panic!() };
    assert_eq!(outcome.outputs["durable_execution_arn"], "arn:d");
    let head = double.received()[0].head.to_lowercase();
    let name = format!("x-amz-durable-execution-name: daily_report-{}", ATTEMPT.simple());
    assert!(head.contains(&name), "{head}");
}

#[test]
fn the_answer_is_waited_for_as_long_as_the_task_allows() {
    assert_eq!(operator().start_limit(&request()), CALL_TIME_MAX);
    let settings = json!({ "function": "f" });
    let within = |timeout| prepared_within(settings.clone(), timeout).unwrap();
    assert_eq!(operator().start_limit(&within(Duration::from_secs(90))), Duration::from_secs(90));
    assert_eq!(operator().start_limit(&within(Duration::from_secs(86_400))), CALL_TIME_MAX);
    assert_eq!(operator().start_limit(&within(Duration::from_millis(5))), Duration::from_secs(1));
}

#[test]
fn wrong_settings_say_what_to_write() {
    let complaint = |settings: Value| prepared(settings).unwrap_err().message;
    assert!(complaint(json!({ "function": " " })).starts_with("function: "));
    assert!(complaint(json!({ "function": "f", "qualifier": "" })).starts_with("qualifier: "));
    let long = "x".repeat(ASYNC_BYTES_MAX);
    let both = |mode: &str| prepared(json!({ "function": "f", "mode": mode, "payload": long }));
    assert!(both("sync").is_ok());
    let said = both("async").unwrap_err().message;
    assert!(said.starts_with("payload: 1048578 bytes are more than the 1048576"), "{said}");
    let longer = "x".repeat(SYNC_BYTES_MAX);
    assert!(complaint(json!({ "function": "f", "payload": longer })).contains("mode: sync"));
    for name in ["", "a b", "x".repeat(32).as_str()] {
        assert!(
            complaint(json!({ "function": "f", "durable_name": name })).contains("1 to 31 characters"),
            "{name}"
        );
    }
}

#[test]
fn a_context_that_grows_too_long_keeps_the_attempt() {
    let run = "r".repeat(4000);
    let cx = PrepareContext {
        attempt_id: ATTEMPT,
        pipeline: "p",
        run: &run,
        task: "t",
        environment: "local",
        connection: "aws",
        timeout: CALL_TIME_MAX,
        previous: None,
        generation: 1,
    };
    let context = client_context(&cx);
    assert!(context.len() <= CONTEXT_BYTES_MAX);
    let context: Value = serde_json::from_slice(&STANDARD.decode(context).unwrap()).unwrap();
    assert_eq!(context, json!({ "custom": { "trunkline-attempt": ATTEMPT.to_string() } }));
}
