//! `redshift_sql` against a double of the Data API.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    aws::double::{Answer, Double, context, service_error},
    redshift::{SQL_BYTES_MAX, handle},
    registry::QUARANTINE,
};

const ATTEMPT: Uuid = Uuid::from_u128(0xa);

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-20T09:00:00Z".parse().unwrap();
    Timestamp::from_second(start.as_second() + seconds).unwrap()
}

fn operator() -> RedshiftSql {
    RedshiftSql { quarantine: QUARANTINE }
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let cx = context(ATTEMPT, STATEMENT_TIME_MAX);
    operator().prepare(&serde_json::from_value(settings).unwrap(), &cx)
}

fn request() -> Request {
    prepared(json!({ "sql": "SELECT 1", "workgroup": "w", "database": "dev" })).unwrap()
}

fn intent(request: &Request, seconds: i64) -> Intent<'_> {
    Intent { request, baseline: &Value::Null, intent_at: at(0), now: at(seconds) }
}

fn answer(body: Value) -> Answer {
    Answer::Json(200, body)
}

#[test]
fn the_request_carries_token_name_and_bound_values() {
    let request = prepared(json!({
        "statements": ["DELETE FROM t WHERE day = :day", "INSERT INTO t VALUES (:day, :n)"],
        "parameters": { "day": "2026-11-19", "n": 5 },
        "cluster": "c", "db_user": "etl", "database": "dev", "fetch_rows": 10,
        "request": { "WithEvent": true, "ClientToken": "mine", "StatementName": "mine" },
    }))
    .unwrap();
    assert_eq!(request.token.len(), 64);
    assert_eq!(
        request.body,
        json!({
            "BatchExecuteStatement": {
                "Sqls": ["DELETE FROM t WHERE day = :day", "INSERT INTO t VALUES (:day, :n)"],
                "ClusterIdentifier": "c",
                "DbUser": "etl",
                "Database": "dev",
                "Parameters": [{ "name": "day", "value": "2026-11-19" }, { "name": "n", "value": "5" }],
                "WithEvent": true,
                "ClientToken": request.token,
                "StatementName": format!("trunkline:{ATTEMPT}"),
            },
            "fetch_rows": 10,
        })
    );
    assert_eq!(operator().label(&request), "Redshift batch of 2 statements");
    let each = json!({ "statements": ["SELECT 1"], "execution_mode": "auto_commit", "workgroup": "w", "database": "d" });
    assert_eq!(prepared(each).unwrap().body["BatchExecuteStatement"]["ExecutionMode"], "AUTO_COMMIT");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    for (over, words) in [
        (json!({ "sql": " " }), "sql: there is no statement"),
        (json!({ "sql": null }), "give the statement"),
        (json!({ "statements": ["SELECT 1"] }), "not both"),
        (json!({ "sql": null, "statements": vec!["SELECT 1"; 41] }), "41 of them"),
        (json!({ "sql": null, "statements": ["SELECT 1", ""] }), "number 2"),
        (json!({ "sql": "x".repeat(SQL_BYTES_MAX + 1) }), "Redshift takes 102400"),
        (json!({ "cluster": "c" }), "give either `workgroup`"),
        (json!({ "workgroup": null }), "give either `workgroup`"),
        (json!({ "db_user": "u" }), "leave `db_user` out"),
        (json!({ "workgroup": null, "cluster": "c", "db_user": "u", "secret_arn": "s" }), "not both"),
        (json!({ "database": "" }), "database"),
        (json!({ "parameters": { "a-b": 1 } }), "is no name"),
        (json!({ "parameters": { "a": "" } }), "does not take"),
        (json!({ "execution_mode": "auto_commit" }), "always commits"),
        (json!({ "fetch_rows": 0 }), "between 1 and 1000"),
        (json!({ "fetch_rows": 1001 }), "between 1 and 1000"),
    ] {
        let mut settings = json!({ "sql": "SELECT 1", "workgroup": "w", "database": "dev" });
        merge(&mut settings, &over);
        if let Value::Object(map) = &mut settings {
            map.retain(|_, value| !value.is_null());
        }
        let failure = prepared(settings).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config);
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}

#[tokio::test]
async fn each_answer_to_a_start_means_what_it_must() {
    let double = Double::start([
        answer(json!({ "Id": "s-1" })),
        service_error(400, "ValidationException", "Multiple sql statements are not allowed."),
        service_error(
            400,
            "ActiveStatementsExceededException",
            "Active statements exceeded the allowed quota (500).",
        ),
        service_error(400, "ThrottlingException", "Rate exceeded"),
        service_error(500, "InternalServerException", "oops"),
        Answer::HangUp,
    ])
    .await;
    let request = request();
    let intent = intent(&request, 0);
    let sent = operator().send(&double.clients, &intent).await;
    assert!(matches!(&sent, Sent::Accepted(handle) if handle.id == "s-1"), "{sent:?}");
    assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Refused(_)));
    let full = operator().send(&double.clients, &intent).await;
    assert!(matches!(&full, Sent::Throttled(failure) if failure.class == ErrorClass::Capacity), "{full:?}");
    assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Throttled(_)));
    assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Unknown(_)));
    assert!(matches!(operator().send(&double.clients, &intent).await, Sent::Unknown(_)));
    let received = double.received();
    assert_eq!(received.len(), 6, "the SDK must repeat nothing");
    let stored = request.body["ExecuteStatement"].to_string();
    assert!(received.iter().all(|one| one.text == stored && one.operation == "ExecuteStatement"));
    assert_eq!(received[0].signed_at, "20261120T090000Z");
}

fn listed(id: &str, name: &str, status: &str) -> Value {
    json!({ "Id": id, "StatementName": name, "Status": status })
}

#[tokio::test]
async fn a_lost_start_is_found_by_its_name() {
    let name = format!("trunkline:{ATTEMPT}");
    let double = Double::start([
        answer(json!({ "Statements": [], "NextToken": "more" })),
        answer(json!({ "Statements": [listed("s-9", &format!("{name}x"), "STARTED"), listed("s-1", &name, "FINISHED")] })),
    ])
    .await;
    let request = request();
    let found = operator().find(&double.clients, &intent(&request, 5)).await;
    assert_eq!(found, Found::Found(handle(&request, "s-1".into())));
    let received = double.received();
    assert_eq!(received[0].json()["Status"], "ALL");
    assert_eq!(received[0].json()["WorkgroupName"], "w");
    assert_eq!(received[1].json()["NextToken"], "more");
    assert_eq!(double.operations(), ["ListStatements", "ListStatements"], "a look sends nothing");
}

#[tokio::test]
async fn what_is_not_listed_is_settled_by_its_age() {
    const HOUR: i64 = 3_600;
    let request = request();
    let mut found = Vec::new();
    for seconds in [1, 20, 60, 7 * HOUR - 1, 7 * HOUR, 24 * HOUR - 1, 24 * HOUR] {
        let double = Double::start([answer(json!({ "Statements": [] }))]).await;
        found.push(match operator().find(&double.clients, &intent(&request, seconds)).await {
            Found::NotYetKnown { again_at, .. } => {
                format!("again at {}", again_at.as_second() - at(0).as_second())
            }
            Found::SafeToRepeat => "repeat".to_owned(),
            Found::ProvedAbsent => "absent".to_owned(),
            Found::Lost(_) => "lost".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(found, ["again at 5", "again at 60", "repeat", "repeat", "absent", "absent", "lost"]);
    let double = Double::start([service_error(400, "AccessDeniedException", "no")]).await;
    let denied = operator().find(&double.clients, &intent(&request, 7 * HOUR)).await;
    assert!(
        matches!(denied, Found::NotYetKnown { .. }),
        "a look without an answer proves nothing: {denied:?}"
    );
}

fn described(state: &str, more: Value) -> Answer {
    let mut shape = json!({ "Id": "s-1", "Status": state, "Duration": 1_500_000_000_i64, "QueryString": "SELECT  1\n FROM t" });
    merge(&mut shape, &more);
    answer(shape)
}

async fn polled_with(detail: Value, answers: Vec<Answer>) -> (Status, Vec<String>) {
    let double = Double::start(answers).await;
    let handle = Handle { connection: "aws".into(), id: "s-1".into(), detail };
    let status = operator().poll(&double.clients, &[handle]).await.remove(0);
    (status, double.operations())
}

async fn polled(answers: Vec<Answer>) -> Status {
    polled_with(json!({}), answers).await.0
}

#[tokio::test]
async fn each_state_means_what_redshift_means() {
    for state in ["SUBMITTED", "PICKED", "STARTED", "SOMETHING_NEW"] {
        let status = polled(vec![described(state, json!({}))]).await;
        assert!(
            matches!(&status, Status::Running { remote_state, .. } if remote_state == state),
            "{status:?}"
        );
    }
    let changed = described("FINISHED", json!({ "ResultRows": 3, "HasResultSet": false }));
    let Status::Succeeded(outcome) = polled(vec![changed]).await else { panic!() };
    let expected = json!({ "statement_id": "s-1", "duration_ms": 1500, "rows_affected": 3 });
    assert_eq!(Value::Object(outcome.outputs), expected);
    let unknown = described("FINISHED", json!({ "ResultRows": -1 }));
    let Status::Succeeded(outcome) = polled(vec![unknown]).await else { panic!() };
    assert_eq!(Value::Object(outcome.outputs), json!({ "statement_id": "s-1", "duration_ms": 1500 }));
    assert!(matches!(polled(vec![described("ABORTED", json!({}))]).await, Status::Cancelled(_)));
    let error = json!({ "Error": "ERROR: relation \"t\" does not exist" });
    let Status::Failed(failure) = polled(vec![described("FAILED", error)]).await else { panic!() };
    assert_eq!(failure.class, ErrorClass::Failed);
    assert_eq!(failure.message, "ERROR: relation \"t\" does not exist\n  SELECT 1 FROM t");
    let Status::Gone(failure) =
        polled(vec![service_error(400, "ResourceNotFoundException", "Query does not exist.")]).await
    else {
        panic!()
    };
    assert!(failure.message.contains("24 hours"), "{}", failure.message);
    let throttled = polled(vec![service_error(400, "ThrottlingException", "slow"); 3]).await;
    assert!(matches!(throttled, Status::Throttled(_)), "{throttled:?}");
}

fn failed_batch() -> Value {
    let long = format!("INSERT INTO t {}", "x".repeat(300));
    json!({
        "Error": "Query #2 failed with ERROR: no such column",
        "QueryString": null,
        "SubStatements": [
            { "Id": "s-1:1", "Status": "FINISHED", "QueryString": "DELETE FROM t" },
            { "Id": "s-1:2", "Status": "FAILED", "QueryString": long, "Error": "ERROR: no such column" },
            { "Id": "s-1:3", "Status": "ABORTED", "QueryString": "SELECT 1" },
        ],
    })
}

#[tokio::test]
async fn a_failed_batch_names_the_statement() {
    let Status::Failed(failure) = polled(vec![described("FAILED", failed_batch())]).await else { panic!() };
    let shown = format!("INSERT INTO t {}…", "x".repeat(106));
    assert_eq!(failure.message, format!("statement 2 of 3 failed: ERROR: no such column\n  {shown}"));
    assert_eq!(failure.class, ErrorClass::Failed);
}

#[tokio::test]
async fn what_is_half_committed_is_not_repeated() {
    let detail = json!({ "execution_mode": "AUTO_COMMIT" });
    let (status, _) = polled_with(detail, vec![described("FAILED", failed_batch())]).await;
    let Status::Failed(failure) = status else { panic!("{status:?}") };
    assert_eq!(failure.class, ErrorClass::Config);
    assert!(failure.message.contains("1 of 3 statements are committed"), "{}", failure.message);
}

fn batch() -> Answer {
    described(
        "FINISHED",
        json!({
            "QueryString": null,
            "SubStatements": [
                { "Id": "s-1:1", "Status": "FINISHED", "ResultRows": 2, "Duration": 1_000_000 },
                { "Id": "s-1:2", "Status": "FINISHED", "ResultRows": 5, "Duration": 2_000_000 },
                { "Id": "s-1:3", "Status": "FINISHED", "ResultRows": 3, "HasResultSet": true, "Duration": 3_000_000 },
            ],
        }),
    )
}

fn page(rows: &[i64], next: Option<&str>) -> Answer {
    let records: Vec<Value> = rows
        .iter()
        .map(|row| json!([{ "longValue": row }, { "stringValue": "1.50" }, { "isNull": true }]))
        .collect();
    let columns = ["n", "amount", "note"].map(|name| json!({ "name": name, "label": name }));
    answer(json!({ "Records": records, "ColumnMetadata": columns, "TotalNumRows": 3, "NextToken": next }))
}

#[tokio::test]
async fn rows_of_the_last_result_become_outputs() {
    let answers = vec![batch(), page(&[1, 2], Some("2")), page(&[3], None)];
    let (status, operations) = polled_with(json!({ "fetch_rows": 10 }), answers).await;
    let Status::Succeeded(outcome) = status else { panic!("{status:?}") };
    let row = |n: i64| json!({ "n": n, "amount": "1.50", "note": null });
    assert_eq!(
        Value::Object(outcome.outputs),
        json!({
            "statement_id": "s-1",
            "duration_ms": 1500,
            "rows_affected": 7,
            "row_count": 3,
            "statements": [
                { "duration_ms": 1, "rows_affected": 2 },
                { "duration_ms": 2, "rows_affected": 5 },
                { "duration_ms": 3, "row_count": 3 },
            ],
            "rows": [row(1), row(2), row(3)],
        })
    );
    assert!(outcome.warnings.is_empty());
    assert_eq!(operations, ["DescribeStatement", "GetStatementResult", "GetStatementResult"]);
}

#[tokio::test]
async fn rows_have_limits_that_are_told() {
    let answers = vec![batch(), page(&[1, 2], Some("2"))];
    let (status, _) = polled_with(json!({ "fetch_rows": 2 }), answers).await;
    let Status::Succeeded(outcome) = status else { panic!("{status:?}") };
    assert_eq!(outcome.outputs["rows"].as_array().unwrap().len(), 2);
    assert_eq!(outcome.warnings, ["the result has 3 rows; the output `rows` holds the first 2"]);

    let wide = answer(json!({
        "Records": [[{ "stringValue": "x".repeat(70_000) }]], "ColumnMetadata": [{ "label": "a" }], "TotalNumRows": 1,
    }));
    let twice = answer(
        json!({ "Records": [], "ColumnMetadata": [{ "label": "a" }, { "label": "a" }], "TotalNumRows": 0 }),
    );
    for (answer, words) in [(wide, "65536 bytes"), (twice, "called `a`")] {
        let (status, _) = polled_with(json!({ "fetch_rows": 2 }), vec![batch(), answer]).await;
        let Status::Failed(failure) = status else { panic!("{status:?}") };
        assert_eq!(failure.class, ErrorClass::Config, "running it again would not help");
        assert!(
            failure.message.contains(words) && failure.message.contains("committed"),
            "{}",
            failure.message
        );
    }

    let none = described("FINISHED", json!({ "ResultRows": 1, "HasResultSet": false }));
    let (status, _) = polled_with(json!({ "fetch_rows": 2 }), vec![none]).await;
    let Status::Succeeded(outcome) = status else { panic!("{status:?}") };
    assert_eq!(outcome.outputs["rows"], json!([]));
    assert_eq!(outcome.warnings.len(), 1);
}

#[tokio::test]
async fn rows_that_cannot_be_read_now_are_read_later() {
    let mut answers = vec![batch()];
    answers.extend(vec![service_error(500, "InternalServerException", "oops"); 3]);
    let (status, _) = polled_with(json!({ "fetch_rows": 2 }), answers).await;
    assert!(matches!(status, Status::Unavailable(_)), "{status:?}");
}

#[tokio::test]
async fn a_stop_counts_only_when_it_was_taken() {
    let handle = handle(&request(), "s-1".into());
    let refused = || service_error(400, "ValidationException", "Could not cancel a query that is …");
    for (answers, stopped) in [
        (vec![answer(json!({ "Status": true }))], true),
        (vec![refused(), described("FINISHED", json!({}))], true),
        (vec![refused(), described("SUBMITTED", json!({}))], false),
        (vec![answer(json!({ "Status": false })), described("STARTED", json!({}))], false),
        (vec![service_error(400, "ResourceNotFoundException", "gone")], true),
        (vec![service_error(400, "AccessDeniedException", "no")], false),
    ] {
        let double = Double::start(answers).await;
        let answer = operator().cancel(&double.clients, &handle).await;
        assert_eq!(answer.is_ok(), stopped, "{answer:?}");
        if let Err(failure) = answer {
            assert!(!failure.message.is_empty());
        }
    }
}

#[test]
fn people_are_led_to_where_it_ran() {
    let url = |detail: Value| {
        operator().console_url("eu-west-1", &Handle { connection: "aws".into(), id: "s-1".into(), detail })
    };
    assert_eq!(
        url(json!({ "cluster": "c 1" })).unwrap(),
        "https://eu-west-1.console.aws.amazon.com/redshiftv2/home?region=eu-west-1#cluster-details?cluster=c%201&tab=query-monitoring"
    );
    assert!(url(json!({ "workgroup": "w" })).unwrap().ends_with("#serverless-query-monitoring"));
}
