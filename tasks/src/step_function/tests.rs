//! `step_function` against a double of Step Functions.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    aws::double::{Answer, Double, context, service_error},
    registry::QUARANTINE,
};

const ATTEMPT: Uuid = Uuid::from_u128(0xa);
const MACHINE: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:etl";

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-20T09:00:00Z".parse().unwrap();
    Timestamp::from_second(start.as_second() + seconds).unwrap()
}

fn operator() -> StepFunction {
    at_second(3600)
}

/// The operator, so many seconds after the intents of these tests.
fn at_second(seconds: i64) -> StepFunction {
    StepFunction { clock: Clock::from_fn(move || at(seconds)), quarantine: QUARANTINE }
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let cx = context(ATTEMPT, EXECUTION_TIME_MAX);
    operator().prepare(&serde_json::from_value(settings).unwrap(), &cx)
}

fn request() -> Request {
    prepared(json!({ "state_machine": MACHINE, "input": { "date": "d", "n": 5 } })).unwrap()
}

fn baseline(express: bool) -> Value {
    json!({ "arn": MACHINE, "express": express })
}

fn intent<'a>(request: &'a Request, baseline: &'a Value, seconds: i64) -> Intent<'a> {
    Intent { request, baseline, intent_at: at(0), now: at(seconds) }
}

fn arn() -> String {
    format!("arn:aws:states:us-east-1:123456789012:execution:etl:trunkline-{ATTEMPT}")
}

fn accepted() -> Answer {
    Answer::Json(200, json!({ "executionArn": arn(), "startDate": at(1).as_second() }))
}

fn machine(kind: &str) -> Answer {
    Answer::Json(
        200,
        json!({
            "stateMachineArn": MACHINE, "name": "etl", "definition": "{}", "roleArn": "r", "type": kind,
            "creationDate": 1,
        }),
    )
}

fn execution(status: &str, more: Value) -> Answer {
    let mut shape = json!({
        "executionArn": arn(), "stateMachineArn": MACHINE, "name": "e", "status": status,
        "startDate": at(1).as_second(), "input": "{\"date\":\"d\",\"n\":5}",
    });
    merge(&mut shape, &more);
    Answer::Json(200, shape)
}

fn exists() -> Answer {
    service_error(400, "ExecutionAlreadyExists", "Execution Already Exists")
}

fn not_there() -> Answer {
    service_error(400, "ExecutionDoesNotExist", "Execution Does Not Exist")
}

#[test]
fn the_request_carries_name_and_input() {
    let request = prepared(json!({
        "state_machine": "etl", "input": { "date": "2026-11-19", "strict": true }, "name_prefix": "daily",
        "request": { "traceHeader": "t" },
    }))
    .unwrap();
    assert_eq!(request.token, format!("daily-{ATTEMPT}"));
    let call = json!({
        "name": request.token, "input": "{\"date\":\"2026-11-19\",\"strict\":true}", "traceHeader": "t",
    });
    assert_eq!(request.body, json!({ "StateMachine": "etl", "Idempotent": false, "StartExecution": call }));
    assert_eq!(operator().label(&request), "Step Functions execution of etl");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    for (settings, words) in [
        (json!({ "state_machine": "" }), "is missing"),
        (json!({ "state_machine": "my machine" }), "cannot hold ' '"),
        (json!({ "state_machine": "arn:aws:lambda:r:1:function:f" }), "no ARN of a state machine"),
        (json!({ "state_machine": "m", "name_prefix": "a/b" }), "cannot hold '/'"),
        (json!({ "state_machine": "m", "name_prefix": "x".repeat(50) }), "takes 80"),
        (json!({ "state_machine": "m", "input": { "x": "y".repeat(INPUT_BYTES_MAX) } }), "takes 262144"),
        (json!({ "state_machine": "m", "request": { "name": "mine" } }), "`name`"),
    ] {
        let failure = prepared(settings).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config);
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_name_becomes_an_address_before_the_intent() {
    let identity = "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>";
    let double = Double::start([Answer::Text(200, identity), machine("STANDARD")]).await;
    let named = prepared(json!({ "state_machine": "etl" })).unwrap();
    let found = operator().baseline(&double.clients, &named).await.unwrap();
    assert_eq!(found, baseline(false));
    assert_eq!(double.received()[1].json(), json!({ "stateMachineArn": MACHINE }));
}

#[tokio::test]
async fn versions_are_started_and_their_machine_is_described() {
    let double = Double::start([machine("STANDARD"), accepted()]).await;
    let alias = format!("{MACHINE}:PROD");
    let request = prepared(json!({ "state_machine": alias })).unwrap();
    let found = operator().baseline(&double.clients, &request).await.unwrap();
    assert_eq!(double.received()[0].json(), json!({ "stateMachineArn": MACHINE }));
    operator().send(&double.clients, &intent(&request, &found, 0)).await;
    assert_eq!(double.received()[1].json()["stateMachineArn"], alias);
}

#[tokio::test]
async fn express_machines_are_refused_unless_the_work_may_be_repeated() {
    let double = Double::start([machine("EXPRESS"), machine("EXPRESS"), accepted()]).await;
    let refused = operator().baseline(&double.clients, &request()).await.unwrap_err();
    assert_eq!(refused.class, ErrorClass::Config);
    assert!(
        refused.message.contains("EXPRESS") && refused.message.contains("idempotent: true"),
        "{}",
        refused.message
    );
    let request = prepared(json!({ "state_machine": MACHINE, "idempotent": true })).unwrap();
    let found = operator().baseline(&double.clients, &request).await.unwrap();
    let Sent::Done(outcome) = operator().send(&double.clients, &intent(&request, &found, 0)).await else {
        panic!()
    };
    assert_eq!(outcome.outputs["execution_arn"], arn());
    assert!(outcome.warnings[0].contains("not watched"));
    let found = operator().find(&double.clients, &intent(&request, &found, 5)).await;
    assert_eq!(found, Found::SafeToRepeat);
    assert_eq!(double.received().len(), 3, "find sends nothing");
}

#[tokio::test]
async fn a_missing_machine_and_a_missing_permission_are_told() {
    let double = Double::start([
        service_error(400, "StateMachineDoesNotExist", "State Machine Does Not Exist"),
        service_error(400, "AccessDeniedException", "not authorized"),
        service_error(400, "ThrottlingException", "Rate exceeded"),
    ])
    .await;
    let missing = operator().baseline(&double.clients, &request()).await.unwrap_err();
    assert_eq!(missing.class, ErrorClass::Config);
    assert!(
        missing.message.contains(MACHINE) && missing.message.contains("connection `aws`"),
        "{}",
        missing.message
    );
    let denied = operator().baseline(&double.clients, &request()).await.unwrap_err();
    assert!(denied.message.contains("states:DescribeStateMachine"), "{}", denied.message);
}

#[tokio::test]
async fn each_answer_to_a_start_means_what_it_must() {
    let double = Double::start([
        accepted(),
        service_error(400, "StateMachineDoesNotExist", "State Machine Does Not Exist"),
        service_error(400, "ExecutionLimitExceeded", "too many"),
        service_error(400, "ThrottlingException", "Rate exceeded"),
        service_error(400, "KmsThrottlingException", "Rate exceeded"),
        service_error(500, "InternalServerException", "oops"),
        Answer::HangUp,
    ])
    .await;
    let (request, baseline) = (request(), baseline(false));
    let intent = intent(&request, &baseline, 0);
    let sent = operator().send(&double.clients, &intent).await;
    assert!(matches!(&sent, Sent::Accepted(handle) if handle.id == arn()), "{sent:?}");
    assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Refused(_)));
    for _ in 0..3 {
        assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Throttled(_)));
    }
    assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Unknown(_)));
    assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Unknown(_)));
    let received = double.received();
    assert_eq!(received.len(), 7, "the SDK must repeat nothing");
    assert!(received.iter().all(|one| one.text == received[0].text && one.signed_at == "20261120T090000Z"));
    let body =
        json!({ "name": request.token, "input": "{\"date\":\"d\",\"n\":5}", "stateMachineArn": MACHINE });
    assert_eq!(received[0].json(), body);
}

#[tokio::test]
async fn a_start_that_arrived_earlier_is_adopted_by_its_second_send() {
    let double = Double::start([exists(), execution("RUNNING", json!({})), exists(), not_there()]).await;
    let (request, baseline) = (request(), baseline(false));
    let sent = operator().send(&double.clients, &intent(&request, &baseline, 0)).await;
    assert!(matches!(&sent, Sent::Accepted(handle) if handle.id == arn()), "{sent:?}");
    let sent = operator().send(&double.clients, &intent(&request, &baseline, 0)).await;
    assert!(matches!(sent, Sent::Unknown(_)), "{sent:?}");
}

#[tokio::test]
async fn a_lost_start_is_resent() {
    let double = Double::start([accepted(), service_error(400, "ThrottlingException", "slow")]).await;
    let (request, baseline) = (request(), baseline(false));
    let found = operator().find(&double.clients, &intent(&request, &baseline, 5)).await;
    assert!(matches!(&found, Found::Found(handle) if handle.id == arn()), "{found:?}");
    let throttled = operator().find(&double.clients, &intent(&request, &baseline, 5)).await;
    assert!(matches!(throttled, Found::NotYetKnown { .. }), "{throttled:?}");
}

#[tokio::test]
async fn an_ended_execution_of_the_name_is_compared() {
    let foreign_input = json!({ "input": "{\"date\":\"other\"}" });
    let foreign_machine = json!({ "stateMachineArn": "arn:aws:states:us-east-1:1:stateMachine:other" });
    let double = Double::start([
        exists(),
        // The same values in another order are the same input.
        execution("SUCCEEDED", json!({ "input": "{\"n\":5,\"date\":\"d\"}", "output": "{}" })),
        exists(),
        execution("FAILED", foreign_input),
        exists(),
        execution("FAILED", foreign_machine),
    ])
    .await;
    let (request, baseline) = (request(), baseline(false));
    let intent = intent(&request, &baseline, 5);
    assert!(matches!(operator().find(&double.clients, &intent).await, Found::Found(_)));
    for words in ["another input", "stateMachine:other"] {
        let Found::Lost(failure) = operator().find(&double.clients, &intent).await else { panic!() };
        assert!(failure.message.contains(words) && failure.message.contains(&arn()), "{}", failure.message);
    }
    assert_eq!(double.received()[1].json()["executionArn"], arn());
}

#[tokio::test]
async fn an_execution_that_is_not_seen_is_absent_after_a_minute() {
    let refused = || service_error(400, "StateMachineDeleting", "is being deleted");
    let double = Double::start([refused(), not_there(), refused(), not_there(), exists(), not_there()]).await;
    let (request, baseline) = (request(), baseline(false));
    let early = operator().find(&double.clients, &intent(&request, &baseline, 59)).await;
    assert!(matches!(early, Found::NotYetKnown { again_at, .. } if again_at == at(60)), "{early:?}");
    let late = operator().find(&double.clients, &intent(&request, &baseline, 60)).await;
    assert_eq!(late, Found::ProvedAbsent);
    let taken = operator().find(&double.clients, &intent(&request, &baseline, 60)).await;
    assert!(matches!(taken, Found::Lost(_)), "{taken:?}");
}

#[tokio::test]
async fn an_old_start_is_looked_for_and_never_resent() {
    let double = Double::start([execution("SUCCEEDED", json!({ "output": "{}" })), not_there()]).await;
    let (request, baseline) = (request(), baseline(false));
    let intent = intent(&request, &baseline, 31 * 24 * 3600);
    assert!(matches!(operator().find(&double.clients, &intent).await, Found::Found(_)));
    assert!(matches!(operator().find(&double.clients, &intent).await, Found::Lost(_)));
    assert_eq!(double.operations(), ["DescribeExecution", "DescribeExecution"]);
}

fn ours() -> Handle {
    operator().handle_of(&intent(&request(), &baseline(false), 0), &format!("trunkline-{ATTEMPT}")).unwrap()
}

async fn polled(answers: Vec<Answer>) -> Status {
    let double = Double::start(answers).await;
    operator().poll(&double.clients, &[ours()]).await.remove(0)
}

#[tokio::test]
async fn each_state_means_what_step_functions_means() {
    for state in ["RUNNING", "PENDING_REDRIVE", "SOMETHING_NEW"] {
        let status = polled(vec![execution(state, json!({}))]).await;
        assert!(
            matches!(&status, Status::Running { remote_state, .. } if remote_state == state),
            "{status:?}"
        );
    }
    let done = execution("SUCCEEDED", json!({ "output": "{\"rows\":7}" }));
    let Status::Succeeded(outcome) = polled(vec![done]).await else { panic!() };
    assert_eq!(Value::Object(outcome.outputs), json!({ "execution_arn": arn(), "output": { "rows": 7 } }));
    assert!(matches!(polled(vec![not_there()]).await, Status::Gone(_)));
    assert!(matches!(
        polled(vec![service_error(400, "ThrottlingException", "s"); 3]).await,
        Status::Throttled(_)
    ));
    let history = || Answer::Json(200, json!({ "events": [] }));
    let late = polled(vec![execution("TIMED_OUT", json!({ "error": "States.Timeout" })), history()]).await;
    assert!(matches!(&late, Status::Failed(failure) if failure.class == ErrorClass::Timeout), "{late:?}");
    let stopped = polled(vec![execution("ABORTED", json!({ "error": "Me", "cause": "by hand" }))]).await;
    let Status::Cancelled(failure) = stopped else { panic!() };
    assert_eq!(failure.message, "Me: by hand");
}

#[tokio::test]
async fn an_execution_may_be_unseen_for_a_minute() {
    let double = Double::start([not_there(), not_there()]).await;
    let early = at_second(59).poll(&double.clients, &[ours()]).await;
    assert!(matches!(early[0], Status::Unavailable(_)), "{early:?}");
    let late = at_second(60).poll(&double.clients, &[ours()]).await;
    assert!(matches!(late[0], Status::Gone(_)), "{late:?}");
}

#[tokio::test]
async fn a_failure_names_the_state_with_error_and_cause() {
    let failed = || execution("FAILED", json!({ "error": "Glue.NoJob", "cause": "no job `x`" }));
    let event = |id: i64, previous: i64, kind: &str, more: Value| {
        let mut event = json!({ "id": id, "previousEventId": previous, "type": kind, "timestamp": 1 });
        merge(&mut event, &more);
        event
    };
    let entered = |name: &str| json!({ "stateEnteredEventDetails": { "name": name } });
    let first = json!({
        "events": [
            event(9, 7, "ExecutionFailed", json!({})),
            event(8, 2, "PassStateEntered", entered("Beside")),
            event(7, 6, "TaskFailed", json!({})),
            event(6, 5, "TaskScheduled", json!({})),
        ],
        "nextToken": "more",
    });
    let second =
        json!({ "events": [event(5, 4, "TaskStateEntered", entered("Convert"))], "nextToken": "more" });
    let status = polled(vec![failed(), Answer::Json(200, first), Answer::Json(200, second)]).await;
    let Status::Failed(failure) = status else { panic!() };
    assert_eq!(failure.message, "state `Convert`: Glue.NoJob: no job `x`");
    assert_eq!((failure.class, failure.code.as_deref()), (ErrorClass::Failed, Some("Glue.NoJob")));
    // Without the history the failure is told all the same.
    let denied = service_error(400, "AccessDeniedException", "no");
    let Status::Failed(failure) = polled(vec![failed(), denied]).await else { panic!() };
    assert_eq!(failure.message, "Glue.NoJob: no job `x`");
}

#[tokio::test]
async fn an_output_that_is_too_large_is_told() {
    let text = format!("\"{}\"", "x".repeat(256 * 1024));
    let Status::Failed(failure) = polled(vec![execution("SUCCEEDED", json!({ "output": text }))]).await
    else {
        panic!()
    };
    assert_eq!(failure.class, ErrorClass::Config);
    assert!(
        failure.message.contains("262146 bytes") && failure.message.contains("S3"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn many_executions_are_listed_and_only_the_ended_described() {
    let listed = |arns: &[String], next: Option<&str>| {
        let shape = |arn: &String| json!({ "executionArn": arn, "stateMachineArn": MACHINE, "name": "n", "status": "RUNNING", "startDate": 1 });
        Answer::Json(
            200,
            json!({ "executions": arns.iter().map(shape).collect::<Vec<_>>(), "nextToken": next }),
        )
    };
    let handles: Vec<Handle> = ["a", "b", "c"]
        .map(|name| operator().handle_of(&intent(&request(), &baseline(false), 0), name).unwrap())
        .to_vec();
    let ids: Vec<String> = handles.iter().map(|handle| handle.id.clone()).collect();
    let double = Double::start([
        listed(&ids[..1], Some("more")),
        listed(&ids[2..], None),
        execution("SUCCEEDED", json!({ "output": "1" })),
        service_error(400, "AccessDeniedException", "no list for you"),
        execution("RUNNING", json!({})),
        execution("RUNNING", json!({})),
        execution("RUNNING", json!({})),
    ])
    .await;
    let statuses = operator().poll(&double.clients, &handles).await;
    assert!(matches!(statuses[0], Status::Running { .. }), "{statuses:?}");
    assert!(matches!(statuses[1], Status::Succeeded(_)), "{statuses:?}");
    assert!(matches!(statuses[2], Status::Running { .. }), "{statuses:?}");
    assert_eq!(double.operations(), ["ListExecutions", "ListExecutions", "DescribeExecution"]);
    assert_eq!(double.received()[2].json()["executionArn"], ids[1]);
    let statuses = operator().poll(&double.clients, &handles).await;
    assert!(statuses.iter().all(|status| matches!(status, Status::Running { .. })), "{statuses:?}");
}

#[tokio::test]
async fn cancelling_what_has_gone_is_fine() {
    let double = Double::start([
        Answer::Json(200, json!({ "stopDate": 1 })),
        not_there(),
        service_error(400, "AccessDeniedException", "no"),
    ])
    .await;
    assert_eq!(operator().cancel(&double.clients, &ours()).await, Ok(()));
    assert_eq!(operator().cancel(&double.clients, &ours()).await, Ok(()));
    assert!(operator().cancel(&double.clients, &ours()).await.is_err());
    assert_eq!(double.received()[0].json()["error"], "Trunkline.Cancelled");
}

#[test]
fn people_find_the_execution_by_name_address_and_link() {
    assert_eq!(ours().id, arn());
    let request = request();
    let baseline = baseline(false);
    let by_arn = operator().handle_of(&intent(&request, &baseline, 0), &arn()).unwrap();
    assert_eq!(by_arn, ours());
    let url = operator().console_url("us-east-1", &by_arn).unwrap();
    let page =
        "https://us-east-1.console.aws.amazon.com/states/home?region=us-east-1#/v2/executions/details/";
    assert_eq!(url, format!("{page}{}", url_part(&arn())));
}

fn redriving() -> Request {
    let previous = Handle { connection: "aws".into(), id: "arn:old".into(), detail: Value::Null };
    let cx = PrepareContext { previous: Some(&previous), ..context(ATTEMPT, EXECUTION_TIME_MAX) };
    let settings = json!({ "state_machine": MACHINE, "redrive": true });
    operator().prepare(&serde_json::from_value(settings).unwrap(), &cx).unwrap()
}

fn redriven_before(redrives: u32) -> Value {
    json!({ "arn": MACHINE, "redrive": { "arn": "arn:old", "redrives": redrives } })
}

#[test]
fn only_a_retry_that_asks_for_it_redrives() {
    let call = redriving().body["RedriveExecution"].clone();
    assert_eq!(call, json!({ "executionArn": "arn:old", "clientToken": ATTEMPT.to_string() }));
    assert!(request().body.get("RedriveExecution").is_none());
}

#[tokio::test]
async fn what_cannot_be_redriven_is_started_anew() {
    for (answer, redrives) in [
        (execution("FAILED", json!({ "redriveStatus": "REDRIVABLE", "redriveCount": 2 })), true),
        (execution("FAILED", json!({ "redriveStatus": "NOT_REDRIVABLE" })), false),
        (
            execution("FAILED", json!({ "redriveStatus": "REDRIVABLE", "stateMachineArn": "arn:other" })),
            false,
        ),
        (service_error(400, "ExecutionDoesNotExist", "no"), false),
    ] {
        let double = Double::start([machine("STANDARD"), answer]).await;
        let found = operator().baseline(&double.clients, &redriving()).await.unwrap();
        assert_eq!(found.get("redrive").is_some(), redrives, "{found}");
        if redrives {
            assert_eq!(
                found,
                json!({ "arn": MACHINE, "express": false, "redrive": { "arn": "arn:old", "redrives": 2 } })
            );
        }
    }
}

#[tokio::test]
async fn a_redrive_is_sent_once_and_told_by_its_count() {
    let done = || Answer::Json(200, json!({ "redriveDate": 5 }));
    let failed = |count: u32| execution("FAILED", json!({ "redriveCount": count }));
    let not_redrivable = || service_error(400, "ExecutionNotRedrivable", "it is RUNNING");
    let (request, baseline) = (redriving(), redriven_before(2));
    let double = Double::start([
        done(),
        not_redrivable(),
        failed(3),
        not_redrivable(),
        failed(2),
        Answer::HangUp,
        // Found by its count, by its token, and proved absent.
        execution("RUNNING", json!({ "redriveCount": 3 })),
        failed(2),
        done(),
        failed(2),
        failed(2),
    ])
    .await;
    let fresh = intent(&request, &baseline, 0);
    let sent = operator().send(&double.clients, &fresh).await;
    let Sent::Accepted(handle) = sent else { panic!("{sent:?}") };
    assert_eq!((handle.id.as_str(), &handle.detail["redrives"]), ("arn:old", &json!(3)));
    assert_eq!(double.received()[0].text, request.body["RedriveExecution"].to_string());
    assert_eq!(double.received()[0].operation, "RedriveExecution");
    assert!(matches!(operator().send(&double.clients, &fresh).await, Sent::Accepted(_)));
    assert!(matches!(operator().send(&double.clients, &fresh).await, Sent::Refused(_)));
    assert!(matches!(operator().send(&double.clients, &fresh).await, Sent::Unknown(_)));
    let at = |seconds| intent(&request, &baseline, seconds);
    assert!(matches!(operator().find(&double.clients, &at(5)).await, Found::Found(_)));
    assert!(matches!(operator().find(&double.clients, &at(5)).await, Found::Found(_)));
    assert!(matches!(operator().find(&double.clients, &at(700)).await, Found::NotYetKnown { .. }));
    assert_eq!(operator().find(&double.clients, &at(1100)).await, Found::ProvedAbsent);
}

#[tokio::test]
async fn how_it_ended_before_its_redrive_is_no_end() {
    let handle = Handle { connection: "aws".into(), id: "arn:old".into(), detail: json!({ "redrives": 3 }) };
    let double = Double::start([
        execution("FAILED", json!({ "redriveCount": 2 })),
        execution("SUCCEEDED", json!({ "redriveCount": 3, "output": "1" })),
    ])
    .await;
    let handles = [handle];
    let status = operator().poll(&double.clients, &handles).await.remove(0);
    assert!(
        matches!(&status, Status::Running { remote_state, .. } if remote_state == "PENDING_REDRIVE"),
        "{status:?}"
    );
    assert!(matches!(operator().poll(&double.clients, &handles).await.remove(0), Status::Succeeded(_)));
}
