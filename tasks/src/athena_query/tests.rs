//! `athena_query` against a double of Athena.

use jiff::Timestamp;
use serde_json::json;

use super::{request::comment, *};
use crate::{
    aws::{
        double::{Answer, Double, context, service_error},
        merge,
    },
    registry::QUARANTINE,
};

const ATTEMPT: Uuid = Uuid::from_u128(0xa);

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-20T09:00:00Z".parse().unwrap();
    Timestamp::from_second(start.as_second() + seconds).unwrap()
}

fn operator() -> AthenaQuery {
    AthenaQuery { clock: crate::clock::Clock::system(), quarantine: QUARANTINE }
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let cx = context(ATTEMPT, QUERY_TIME_MAX);
    operator().prepare(&serde_json::from_value(settings).unwrap(), &cx)
}

fn request() -> Request {
    prepared(json!({ "query": "SELECT 1", "workgroup": "w" })).unwrap()
}

fn intent(request: &Request, seconds: i64) -> Intent<'_> {
    Intent { request, baseline: &Value::Null, intent_at: at(0), now: at(seconds) }
}

fn accepted() -> Answer {
    Answer::Json(200, json!({ "QueryExecutionId": "q-1" }))
}

fn query(id: &str, state: &str, more: Value) -> Value {
    let text = format!("SELECT 1\n{}", comment(ATTEMPT));
    let mut query = json!({
        "QueryExecutionId": id, "Query": text,
        "Status": { "State": state, "SubmissionDateTime": at(1).as_second() },
        "Statistics": { "DataScannedInBytes": 1024 },
        "ResultConfiguration": { "OutputLocation": "s3://r/q.csv" },
    });
    merge(&mut query, &more);
    query
}

fn batch(queries: &[Value]) -> Answer {
    Answer::Json(200, json!({ "QueryExecutions": queries, "UnprocessedQueryExecutionIds": [] }))
}

#[test]
fn the_request_carries_token_comment_and_quoted_values() {
    let request = prepared(json!({
        "query": "SELECT * FROM t WHERE a = ? AND b = ? AND c = ?;\n",
        "database": "d",
        "output_location": "s3://r/",
        "parameters": ["O'Brien", 5, null],
        "request": { "EngineConfiguration": { "MaxConcurrentDpus": 4 }, "ClientRequestToken": "mine" },
    }))
    .unwrap();
    assert_eq!(request.token.len(), 64);
    assert_eq!(
        request.body["StartQueryExecution"],
        json!({
            "QueryString": format!("SELECT * FROM t WHERE a = ? AND b = ? AND c = ?\n-- trunkline:{ATTEMPT}"),
            "QueryExecutionContext": { "Database": "d" },
            "ResultConfiguration": { "OutputLocation": "s3://r/" },
            "ExecutionParameters": ["'O''Brien'", "5", "NULL"],
            "EngineConfiguration": { "MaxConcurrentDpus": 4 },
            "ClientRequestToken": request.token,
        })
    );
    let reuse = json!({ "ResultReuseByAgeConfiguration": { "Enabled": true } });
    let reused =
        prepared(json!({ "query": "SELECT 1", "request": { "ResultReuseConfiguration": reuse } })).unwrap();
    assert_eq!(reused.body["StartQueryExecution"]["QueryString"], "SELECT 1");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    for (settings, words) in [
        (json!({ "query": " ;\n" }), "no statement"),
        (json!({ "query": "SELECT 1", "output_location": "r" }), "s3://bucket/prefix/"),
        (json!({ "query": "x".repeat(QUERY_BYTES_MAX) }), "Athena takes 262144"),
    ] {
        let failure = prepared(settings).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config);
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}

#[tokio::test]
async fn each_answer_to_a_start_means_what_it_must() {
    let double = Double::start([
        accepted(),
        service_error(400, "InvalidRequestException", "line 1:8: mismatched input"),
        service_error(400, "TooManyRequestsException", "Rate exceeded"),
        service_error(500, "InternalServerException", "oops"),
        Answer::HangUp,
    ])
    .await;
    let request = request();
    let intent = intent(&request, 0);
    let sent = operator().send(&double.clients, &intent).await;
    assert!(matches!(&sent, Sent::Accepted(handle) if handle.id == "q-1"), "{sent:?}");
    assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Refused(_)));
    assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Throttled(_)));
    assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Unknown(_)));
    assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Unknown(_)));
    let received = double.received();
    assert_eq!(received.len(), 5, "the SDK must repeat nothing");
    let stored = request.body["StartQueryExecution"].to_string();
    assert!(received.iter().all(|one| one.text == stored));
    assert_eq!(received[0].signed_at, "20261120T090000Z");
}

#[tokio::test]
async fn within_the_hour_a_lost_start_is_resent() {
    let double = Double::start([accepted(), service_error(400, "TooManyRequestsException", "slow")]).await;
    let request = request();
    let found = operator().find(&double.clients, &intent(&request, 3599)).await;
    assert_eq!(found, Found::Found(handle(&request, "q-1".into())));
    assert_eq!(double.received()[0].text, request.body["StartQueryExecution"].to_string());
    let throttled = operator().find(&double.clients, &intent(&request, 5)).await;
    assert!(matches!(throttled, Found::NotYetKnown { .. }), "{throttled:?}");
}

#[tokio::test]
async fn after_the_hour_the_history_is_searched() {
    let page = |ids: &[&str], next: Option<&str>| {
        Answer::Json(200, json!({ "QueryExecutionIds": ids, "NextToken": next }))
    };
    let other = || query("q-9", "SUCCEEDED", json!({ "Query": "SELECT 2" }));
    let old =
        || query("q-0", "SUCCEEDED", json!({ "Query": "SELECT 3", "Status": { "SubmissionDateTime": 5 } }));
    let double = Double::start([
        page(&["q-9"], Some("more")),
        batch(&[other()]),
        page(&["q-1"], None),
        batch(&[query("q-1", "RUNNING", json!({}))]),
        page(&["q-9", "q-0"], Some("more")),
        batch(&[other(), old()]),
    ])
    .await;
    let request = request();
    let found = operator().find(&double.clients, &intent(&request, 3600)).await;
    assert_eq!(found, Found::Found(handle(&request, "q-1".into())));
    assert_eq!(operator().find(&double.clients, &intent(&request, 3600)).await, Found::ProvedAbsent);
    assert_eq!(double.received().len(), 6, "what is older than the intent is not looked at");
}

#[tokio::test]
async fn a_token_that_means_something_else_is_lost() {
    let mismatch = service_error(400, "InvalidRequestException", "Idempotent parameters do not match");
    let none = Answer::Json(200, json!({ "QueryExecutionIds": [] }));
    let double = Double::start([mismatch, none]).await;
    let request = request();
    let found = operator().find(&double.clients, &intent(&request, 1000)).await;
    assert!(matches!(found, Found::Lost(_)), "{found:?}");
}

async fn polled(query: Value) -> Status {
    let double = Double::start([batch(&[query])]).await;
    operator().poll(&double.clients, &[handle(&request(), "q-1".into())]).await.remove(0)
}

#[tokio::test]
async fn each_state_means_what_athena_means() {
    for state in ["QUEUED", "RUNNING", "SOMETHING_NEW"] {
        let status = polled(query("q-1", state, json!({}))).await;
        assert!(
            matches!(&status, Status::Running { remote_state, .. } if remote_state == state),
            "{status:?}"
        );
    }
    let Status::Succeeded(outcome) = polled(query("q-1", "SUCCEEDED", json!({}))).await else { panic!() };
    let expected =
        json!({ "query_execution_id": "q-1", "output_location": "s3://r/q.csv", "bytes_scanned": 1024 });
    assert_eq!(Value::Object(outcome.outputs), expected);
    assert_eq!(outcome.cost.bytes_scanned, Some(1024));
    assert!(matches!(polled(query("q-1", "CANCELLED", json!({}))).await, Status::Cancelled(_)));
    for (category, retryable, class) in
        [(2, false, ErrorClass::Failed), (1, false, ErrorClass::System), (3, true, ErrorClass::System)]
    {
        let error = json!({ "ErrorCategory": category, "ErrorType": 1301, "Retryable": retryable });
        let status =
            json!({ "Status": { "StateChangeReason": "COLUMN_NOT_FOUND: x", "AthenaError": error } });
        let Status::Failed(failure) = polled(query("q-1", "FAILED", status)).await else { panic!() };
        assert_eq!((failure.class, failure.message.as_str()), (class, "COLUMN_NOT_FOUND: x"));
        assert_eq!(failure.code.as_deref(), Some("FAILED/1301"));
    }
}

#[tokio::test]
async fn what_is_left_out_is_asked_about_again() {
    let left = json!([
        { "QueryExecutionId": "q-2", "ErrorCode": "INTERNAL", "ErrorMessage": "try again" },
        { "QueryExecutionId": "q-3", "ErrorCode": "INVALID", "ErrorMessage": "QueryExecution q-3 was not found" },
    ]);
    let answer = json!({ "QueryExecutions": [query("q-1", "RUNNING", json!({}))], "UnprocessedQueryExecutionIds": left });
    let double = Double::start([Answer::Json(200, answer)]).await;
    let handles = ["q-4", "q-3", "q-2", "q-1"].map(|id| handle(&request(), id.into()));
    let statuses = operator().poll(&double.clients, &handles).await;
    assert!(matches!(statuses[0], Status::Unavailable(_)), "{statuses:?}");
    assert!(matches!(statuses[1], Status::Gone(_)), "{statuses:?}");
    assert!(matches!(statuses[2], Status::Unavailable(_)), "{statuses:?}");
    assert!(matches!(statuses[3], Status::Running { .. }), "{statuses:?}");
    assert_eq!(double.operations(), ["BatchGetQueryExecution"]);
}

#[tokio::test]
async fn cancelling_what_has_ended_is_fine() {
    let double = Double::start([
        Answer::Json(200, json!({})),
        service_error(400, "InvalidRequestException", "has ended"),
        service_error(400, "AccessDeniedException", "no"),
    ])
    .await;
    let handle = handle(&request(), "q-1".into());
    assert_eq!(operator().cancel(&double.clients, &handle).await, Ok(()));
    assert_eq!(operator().cancel(&double.clients, &handle).await, Ok(()));
    assert!(operator().cancel(&double.clients, &handle).await.is_err());
}
