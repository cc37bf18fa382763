//! `redshift_copy` against a double of the Data API and of S3.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    aws::{
        double::{Answer, Double, context, service_error},
        merge,
    },
    redshift::BATCH,
    registry::QUARANTINE,
};

const ATTEMPT: Uuid = Uuid::from_u128(0xa);

fn operator() -> RedshiftCopy {
    RedshiftCopy { quarantine: QUARANTINE }
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let cx = context(ATTEMPT, STATEMENT_TIME_MAX);
    operator().prepare(&serde_json::from_value(settings).unwrap(), &cx)
}

fn settings(table: Value) -> Value {
    json!({
        "role": "arn:aws:iam::1:role/copy",
        "manifests": "s3://scratch/copy/",
        "workgroup": "w",
        "database": "dev",
        "tables": [table],
    })
}

fn contact(mode: &str) -> Value {
    json!({
        "table": "sales.contact",
        "from": "s3://raw/ctr/",
        "json_paths": { "id": "$.ContactId", "agent": "$.Agent.ARN", "at": "$.Updated" },
        "mode": mode,
    })
}

fn statements(table: Value) -> String {
    let request = prepared(settings(table)).unwrap();
    let sqls = request.body[BATCH]["Sqls"].as_array().unwrap();
    sqls.iter().map(|sql| sql.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

fn with(mut base: Value, over: Value) -> Value {
    merge(&mut base, &over);
    base
}

#[test]
fn each_mode_is_statements() {
    let mut all = Vec::new();
    for (mode, more) in [
        ("append", json!({})),
        ("insert_missing", json!({ "key": ["id"] })),
        ("upsert", json!({ "key": ["id", "agent"], "where": "agent IS NOT NULL" })),
        ("merge", json!({ "key": ["id"], "newest": "at" })),
        (
            "replace_partition",
            json!({ "partition": { "day": "it's", "part": 5, "open": true, "none": null } }),
        ),
        ("replace_partition", json!({ "partition": ["agent", "at"] })),
        ("replace", json!({ "options": ["TIMEFORMAT 'auto'", "TRUNCATECOLUMNS"] })),
    ] {
        let mut table = with(contact(mode), more);
        if mode == "replace" {
            // By names: all columns of the table.
            table["json_paths"] = json!({});
        }
        all.push(format!("-- {mode}\n{}", statements(table)));
    }
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn the_request_says_everything_that_is_sent() {
    let mut settings = settings(with(contact("merge"), json!({ "key": ["id"], "newest": "at" })));
    merge(
        &mut settings,
        &json!({
            "role": ["arn:aws:iam::1:role/copy", "arn:aws:iam::2:role/read"],
            "region": "eu-west-2",
            "statements": ["DELETE FROM sales.contact WHERE at < :oldest"],
            "parameters": { "oldest": "2020-01-01" },
            "fetch_rows": 3,
        }),
    );
    settings["tables"].as_array_mut().unwrap().push(json!({
        "table": "rate", "from": ["s3://raw/rates/a b.csv"], "format": "csv", "columns": ["country", "cents"], "mode": "append",
    }));
    settings["tables"].as_array_mut().unwrap().push(json!({
        "table": "cost", "from": [], "format": "json", "mode": "append",
    }));
    let request = prepared(settings).unwrap();
    assert_eq!(operator().label(&request), "Redshift copy into 3 tables");
    insta::assert_json_snapshot!(request.body);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_listed() {
    let parquet = || json!({ "format": "parquet", "columns": ["id"], "json_paths": null });
    for (over, of_table, words) in [
        (json!({ "tables": [] }), json!({}), "name at least one"),
        (
            json!({ "manifests": "s3://scratch/copy" }),
            json!({}),
            "manifests: `s3://scratch/copy` is no folder",
        ),
        (json!({ "role": "copy" }), json!({}), "role: `copy` is no role"),
        (json!({ "role": [] }), json!({}), "role: name at least one"),
        (json!({ "region": "eu west" }), json!({}), "is no region"),
        (json!({ "workgroup": null }), json!({}), "give either `workgroup`"),
        (json!({ "parameters": { "a": 1 } }), json!({}), "no `statements`"),
        (json!({ "fetch_rows": 1 }), json!({}), "no `statements`"),
        (json!({ "statements": vec!["SELECT 1"; 38] }), json!({}), "41 statements, and Redshift takes 40"),
        (json!({ "statements": [" "] }), json!({}), "statements: number 1: there is no statement"),
        (json!({}), json!({ "table": "a.b.c" }), "tables[0].table: `a.b.c` names no table"),
        (json!({}), json!({ "from": "s3://scratch/" }), "`manifests` lies below s3://scratch/"),
        (json!({}), json!({ "from": "raw/" }), "tables[0].from"),
        (json!({}), json!({ "mode": "upsert" }), "mode: upsert needs `key`"),
        (json!({}), json!({ "key": ["id"] }), "key: append has no use for it"),
        (json!({}), json!({ "mode": "upsert", "key": ["x"] }), "columns: `x` is needed"),
        (json!({}), json!({ "json_paths": { "id": "id" } }), "json_paths.id: `id` is no path"),
        (json!({}), json!({ "columns": ["id"] }), "leave `columns` out"),
        (json!({}), json!({ "json_paths": null, "mode": "upsert", "key": ["id"] }), "one row for each key"),
        (json!({}), json!({ "json_paths": null, "columns": ["id", "id"] }), "is there twice"),
        (json!({}), json!({ "format": "csv" }), "only `json` has paths"),
        (json!({}), json!({ "format": "csv", "json_paths": null }), "by their order"),
        (
            json!({}),
            json!({ "mode": "replace_partition", "partition": { "id": 1 } }),
            "partition: `id` has a value here",
        ),
        (json!({}), json!({ "mode": "replace_partition", "partition": ["day"] }), "partition: `day` is not"),
        (json!({ "region": "eu-west-2" }), parquet(), "own region only"),
        (json!({}), json!({ "options": ["JSON 'auto'"] }), "JSON is written by other settings"),
        (json!({}), json!({ "where": "a = 1)" }), "parentheses"),
    ] {
        let mut settings = settings(with(contact("append"), of_table));
        merge(&mut settings, &over);
        let retain = |value: &mut Value| {
            if let Value::Object(map) = value {
                map.retain(|_, value| !value.is_null());
            }
        };
        retain(&mut settings);
        settings["tables"].as_array_mut().unwrap().iter_mut().for_each(retain);
        let failure = prepared(settings).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config);
        assert!(failure.message.contains(words), "{words}: {}", failure.message);
    }
}

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-20T09:00:00Z".parse().unwrap();
    Timestamp::from_second(start.as_second() + seconds).unwrap()
}

fn request() -> Request {
    prepared(settings(contact("append"))).unwrap()
}

fn page(keys: &[&str]) -> Answer {
    let contents: String =
        keys.iter().map(|key| format!("<Contents><Key>{key}</Key><Size>7</Size></Contents>")).collect();
    let list = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>");
    Answer::Headed(200, vec![("content-type", "application/xml".to_owned())], list)
}

#[tokio::test]
async fn files_are_listed_once_for_each_attempt() {
    let double = Double::start([
        Answer::Text(200, ""),
        page(&["ctr/a", "ctr/b c+d%3A", "ctr/"]),
        Answer::Text(200, ""),
    ])
    .await;
    let request = request();
    let baseline = operator().baseline(&double.clients, &request).await.unwrap();
    assert_eq!(baseline, json!({ "objects": [2] }));
    let received = double.received();
    assert_eq!(received[0].json(), json!({ "jsonpaths": ["$.Agent.ARN", "$.Updated", "$.ContactId"] }));
    assert!(received[2].head.to_lowercase().contains("if-none-match: *"), "{}", received[2].head);
    assert!(received[2].head.contains(&format!("/copy/{ATTEMPT}/0.manifest")), "{}", received[2].head);
    let entry = |url: &str| json!({ "url": url, "mandatory": true, "meta": { "content_length": 7 } });
    assert_eq!(
        received[2].json(),
        json!({ "entries": [entry("s3://raw/ctr/a"), entry("s3://raw/ctr/b c+d%3A")] })
    );

    // Another try listed one object before a second one came.
    let double = Double::start([
        Answer::Text(200, ""),
        page(&["ctr/a", "ctr/b"]),
        Answer::Text(412, "<Error><Code>PreconditionFailed</Code><Message>it is there</Message></Error>"),
        Answer::Text(200, r#"{"entries":[{"url":"s3://raw/ctr/a","mandatory":true}]}"#),
    ])
    .await;
    let baseline = operator().baseline(&double.clients, &request).await.unwrap();
    assert_eq!(baseline, json!({ "objects": [1] }));

    let double = Double::start([
        Answer::Text(200, ""),
        Answer::Text(404, "<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>"),
    ])
    .await;
    let failure = operator().baseline(&double.clients, &request).await.unwrap_err();
    assert!(failure.message.starts_with("sales.contact: s3://raw/ctr/"), "{}", failure.message);
}

#[tokio::test]
async fn what_is_sent_follows_from_the_stored_request_and_the_baseline() {
    let request = request();
    for (objects, copies) in [(3, 1), (0, 0)] {
        let double = Double::start([Answer::Json(200, json!({ "Id": "s-1" }))]).await;
        let baseline = json!({ "objects": [objects] });
        let intent = Intent { request: &request, baseline: &baseline, intent_at: at(0), now: at(0) };
        let sent = operator().send(&double.clients, &intent).await;
        let Sent::Accepted(handle) = sent else { panic!("{sent:?}") };
        assert_eq!(handle.detail["tables"][0]["objects"], objects);
        assert_eq!(operator().handle_of(&intent, "s-1"), Some(handle), "a person's word is worth as much");
        let received = double.received();
        assert_eq!(received[0].signed_at, "20261120T090000Z");
        let sqls = received[0].json()["Sqls"].clone();
        let sqls: Vec<&str> = sqls.as_array().unwrap().iter().map(|sql| sql.as_str().unwrap()).collect();
        assert_eq!(sqls.iter().filter(|sql| sql.starts_with("COPY ")).count(), copies, "{sqls:?}");
        assert_eq!(sqls.len(), request.body[BATCH]["Sqls"].as_array().unwrap().len());
    }
    let nothing = Intent { request: &request, baseline: &Value::Null, intent_at: at(0), now: at(0) };
    let double = Double::start([]).await;
    assert!(matches!(operator().send(&double.clients, &nothing).await, Sent::Refused(_)));
    assert!(double.operations().is_empty());
}

#[tokio::test]
async fn a_lost_start_is_found_with_what_was_listed() {
    let request = request();
    let named = json!({ "Id": "s-1", "StatementName": format!("trunkline:{ATTEMPT}"), "Status": "STARTED" });
    let double = Double::start([Answer::Json(200, json!({ "Statements": [named] }))]).await;
    let baseline = json!({ "objects": [4] });
    let intent = Intent { request: &request, baseline: &baseline, intent_at: at(0), now: at(5) };
    let found = operator().find(&double.clients, &intent).await;
    let Found::Found(handle) = found else { panic!("{found:?}") };
    assert_eq!((handle.id.as_str(), &handle.detail["tables"][0]["objects"]), ("s-1", &json!(4)));
}

async fn polled(request: &Request, answers: Vec<Answer>) -> Status {
    let baseline = json!({ "objects": [2] });
    let intent = Intent { request, baseline: &baseline, intent_at: at(0), now: at(5) };
    let handle = operator().handle_of(&intent, "s-1").unwrap();
    let double = Double::start(answers).await;
    operator().poll(&double.clients, &[handle]).await.remove(0)
}

fn upserting() -> Request {
    let mut settings = settings(with(contact("upsert"), json!({ "key": ["id"], "where": "agent <> ''" })));
    merge(
        &mut settings,
        &json!({ "statements": ["UPDATE t SET a = 1", "SELECT 1 AS one"], "fetch_rows": 1 }),
    );
    prepared(settings).unwrap()
}

#[tokio::test]
async fn what_came_into_a_table_is_told() {
    let part = |rows: i64, result: bool| json!({ "Id": "s-1:9", "Status": "FINISHED", "ResultRows": rows, "HasResultSet": result, "Duration": 2_000_000 });
    let parts = [
        part(0, false),
        part(0, false),
        part(9, false),
        part(2, false),
        part(1, true),
        part(0, false),
        part(3, false),
        part(6, false),
        part(8, false),
        part(1, true),
    ];
    let described =
        json!({ "Id": "s-1", "Status": "FINISHED", "Duration": 5_000_000_000_i64, "SubStatements": parts });
    let rows = json!({ "Records": [[{ "longValue": 1 }]], "ColumnMetadata": [{ "label": "one" }], "TotalNumRows": 1 });
    let status = polled(&upserting(), vec![Answer::Json(200, described), Answer::Json(200, rows)]).await;
    let Status::Succeeded(outcome) = status else { panic!("{status:?}") };
    insta::assert_json_snapshot!(outcome.outputs);
}

#[tokio::test]
async fn a_failure_names_the_table() {
    let failed = |at: usize, error: &str| {
        let part = |place: usize| {
            let status = if place == at { "FAILED" } else { "FINISHED" };
            json!({ "Id": "s-1:1", "Status": status, "QueryString": format!("statement {place}"), "Error": error })
        };
        let parts: Vec<Value> = (0..10).map(part).collect();
        let answer = json!({ "Id": "s-1", "Status": "FAILED", "Error": error, "SubStatements": parts });
        vec![Answer::Json(200, answer)]
    };
    let mut said = Vec::new();
    for (at, error) in [
        (
            2,
            "ERROR: Load into table 'trunkline_stage_0' failed.  Check 'stl_load_errors' system table for details.",
        ),
        (4, "ERROR: invalid input syntax for type integer: \"2 rows have no value for id\""),
        (8, "ERROR: column \"a\" does not exist"),
    ] {
        let status = polled(&upserting(), failed(at, error)).await;
        let Status::Failed(failure) = status else { panic!("{status:?}") };
        assert_eq!(failure.class, ErrorClass::Failed);
        said.push(failure.message);
    }
    insta::assert_snapshot!(said.join("\n\n"));
    let throttled = polled(&upserting(), vec![service_error(400, "ThrottlingException", "slow"); 3]).await;
    assert!(matches!(throttled, Status::Throttled(_)), "{throttled:?}");
}

#[test]
fn a_copy_says_what_it_needs() {
    let needs = operator().needs(&request(), &Place::new("eu-west-1", "1")).unwrap();
    insta::assert_debug_snapshot!(needs);
}
