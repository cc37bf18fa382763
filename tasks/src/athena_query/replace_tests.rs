//! `replace` and `fetch_rows` against a double of Athena, Glue and S3.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{
    aws::double::{Answer, Double, context, service_error},
    registry::QUARANTINE,
};

const ATTEMPT: Uuid = Uuid::from_u128(0xa);
const FRESH: &str = "s3://lake/report/00000000-0000-0000-0000-00000000000a/";
const JOURNAL: &str = "trunkline_0000000000000000000000000000000a";
const EMPTY_LIST: &str = "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>";

fn operator() -> AthenaQuery {
    AthenaQuery { clock: Clock::from_fn(|| Timestamp::UNIX_EPOCH), quarantine: QUARANTINE }
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let cx = context(ATTEMPT, QUERY_TIME_MAX);
    operator().prepare(&serde_json::from_value(settings).unwrap(), &cx)
}

fn settings(replace: &Value) -> Value {
    let mut all = json!({ "table": "Report", "how": "swap", "location": "s3://lake/report" });
    crate::aws::merge(&mut all, replace);
    json!({ "query": "SELECT a FROM t;", "database": "lake", "replace": all })
}

fn partitioned() -> Value {
    json!({ "how": "partition", "partitioned_by": ["day"], "partition": { "day": "2026-11-19" } })
}

fn ended(state: &str) -> Answer {
    let query = json!({ "QueryExecutionId": "q-1", "Status": { "State": state } });
    Answer::Json(200, json!({ "QueryExecutions": [query] }))
}

fn wrote(rows: u64) -> Answer {
    Answer::Json(200, json!({ "UpdateCount": rows, "ResultSet": {} }))
}

fn table(name: &str, location: &str, more: &Value) -> Answer {
    let mut table = json!({
        "Name": name, "DatabaseName": "lake", "TableType": "EXTERNAL_TABLE", "VersionId": "7",
        "Parameters": {}, "PartitionKeys": [],
        "StorageDescriptor": { "Location": location, "Columns": [{ "Name": "a", "Type": "bigint" }] },
    });
    crate::aws::merge(&mut table, more);
    Answer::Json(200, json!({ "Table": table }))
}

fn done() -> Answer {
    Answer::Json(200, json!({}))
}

fn gone() -> Answer {
    service_error(400, "EntityNotFoundException", "Table not found.")
}

async fn polled(double: &Double, replace: &Value) -> Status {
    let request = prepared(settings(replace)).unwrap();
    operator().poll(&double.clients, &[handle(&request, "q-1".into())]).await.remove(0)
}

#[test]
fn the_query_builds_in_a_folder_of_the_attempt() {
    let request = prepared(settings(&partitioned())).unwrap();
    let text = request.body["StartQueryExecution"]["QueryString"].as_str().unwrap();
    assert_eq!(
        text,
        format!(
            "CREATE TABLE \"lake\".\"{JOURNAL}\" WITH (format = 'PARQUET', write_compression = 'SNAPPY', \
             external_location = '{FRESH}', partitioned_by = ARRAY['day']) AS\nSELECT a FROM t\n\
             -- trunkline:{ATTEMPT}"
        )
    );
    assert_eq!(operator().label(&request), "Athena query for lake.report");
}

#[test]
fn what_cannot_replace_is_refused_before_anything_is_sent() {
    let with = |key: &str, value: Value| {
        let mut all = settings(&json!({}));
        all[key] = value;
        all
    };
    for (settings, words) in [
        (with("query", json!("INSERT INTO report SELECT 1")), "begins with `INSERT`"),
        (with("fetch_rows", json!(1)), "gives no rows back"),
        (with("catalog", json!("other")), "AwsDataCatalog"),
        (with("request", json!({ "QueryString": "SELECT 2" })), "`QueryString` cannot be set"),
        (with("database", Value::Null), "write database.table"),
        (settings(&json!({ "location": "s3://lake/" })), "a whole bucket"),
        (settings(&json!({ "location": "lake" })), "s3://bucket/folder/"),
        (settings(&json!({ "location": "s3://lake/it's" })), "a quote"),
        (settings(&json!({ "table": "a b" })), "no name of a database or table"),
        (settings(&json!({ "how": "partition" })), "needs the table's partition columns"),
        (settings(&json!({ "partition": { "day": 1 } })), "goes with `how: partition`"),
        (
            settings(&json!({ "how": "partition", "partitioned_by": ["day"], "partition": { "dya": 1 } })),
            "a value to each of the columns day",
        ),
        (json!({ "query": "SELECT 1", "fetch_rows": 1001 }), "not between 1 and 1000"),
        (json!({ "query": "SELECT 1", "more_rows": "ignore" }), "beyond `fetch_rows`, which is missing"),
        (json!({ "query": "SELECT ?", "parameters": ["x".repeat(1023)] }), "1025 characters"),
    ] {
        let failure = prepared(settings).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config);
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_table_is_swapped_and_its_old_folder_removed() {
    let listed =
        "<ListBucketResult><Contents><Key>report/old/x</Key><Size>1</Size></Contents></ListBucketResult>";
    let double = Double::start([
        ended("SUCCEEDED"),
        wrote(5),
        table(JOURNAL, FRESH, &json!({})),
        table("report", "s3://lake/report/old/", &json!({ "Description": "kept" })),
        done(), // The journal is written.
        table("report", "s3://lake/report/old/", &json!({ "Description": "kept" })),
        done(), // The table is pointed.
        Answer::Text(200, listed),
        Answer::Text(200, "<DeleteResult/>"),
        done(), // The journal is dropped.
    ])
    .await;
    let status = polled(&double, &json!({})).await;
    let Status::Succeeded(outcome) = status else { panic!("{status:?}") };
    assert_eq!(outcome.outputs["table"], "lake.report");
    assert_eq!(outcome.outputs["location"], FRESH);
    assert_eq!(outcome.outputs["row_count"], 5);
    assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);
    let received = double.received();
    let journal = received[4].json();
    assert_eq!(journal["TableInput"]["Parameters"]["trunkline_old"], "[\"s3://lake/report/old/\"]");
    let pointed = received[6].json();
    assert_eq!(pointed["VersionId"], "7", "only the version that was read is changed");
    assert_eq!(pointed["TableInput"]["Name"], "report");
    assert_eq!(pointed["TableInput"]["Description"], "kept");
    assert_eq!(pointed["TableInput"]["StorageDescriptor"]["Location"], FRESH);
    assert_eq!(received[9].json()["Name"], JOURNAL);
}

#[tokio::test]
async fn after_a_crash_it_goes_on_where_it_was() {
    let journal = json!({ "Parameters": { "trunkline_old": "[\"s3://lake/report/old/\"]" } });
    // Killed after the table was pointed, while old data were removed.
    let double = Double::start([
        ended("SUCCEEDED"),
        wrote(5),
        table(JOURNAL, FRESH, &journal),
        table("report", FRESH.trim_end_matches('/'), &json!({})),
        Answer::Text(200, EMPTY_LIST),
        done(),
    ])
    .await;
    let status = polled(&double, &json!({})).await;
    assert!(matches!(status, Status::Succeeded(_)), "{status:?}");
    assert!(!double.operations().contains(&"UpdateTable".to_owned()), "{:?}", double.operations());
    // Killed after everything: the journal is gone.
    let double = Double::start([ended("SUCCEEDED"), wrote(5), gone()]).await;
    let status = polled(&double, &json!({})).await;
    assert!(matches!(status, Status::Succeeded(_)), "{status:?}");
    // Somebody changed the table between our look and our word: look again.
    let double = Double::start([
        ended("SUCCEEDED"),
        wrote(5),
        table(JOURNAL, FRESH, &journal),
        table("report", "s3://lake/report/old/", &json!({})),
        service_error(400, "ConcurrentModificationException", "Update table failed"),
    ])
    .await;
    let status = polled(&double, &json!({})).await;
    assert!(matches!(status, Status::Unavailable(_)), "{status:?}");
}

#[tokio::test]
async fn what_must_not_replace_the_table_changes_nothing() {
    let part = |day: &str| {
        Answer::Json(200, json!({ "Partitions": [{ "Values": [day], "StorageDescriptor": {} }] }))
    };
    let keyed = json!({ "PartitionKeys": [{ "Name": "day", "Type": "string" }] });
    let other = json!({
        "PartitionKeys": [{ "Name": "day", "Type": "string" }],
        "StorageDescriptor": { "Columns": [{ "Name": "a", "Type": "string" }] },
    });
    let journal = |more: &Value| table(JOURNAL, FRESH, more);
    let none = json!({});
    let cases: [(Value, Vec<Answer>, &str); 5] = [
        (json!({}), vec![wrote(0), journal(&none)], "gave no rows (say `allow_empty: true`"),
        (
            json!({}),
            vec![
                wrote(1),
                journal(&none),
                table("report", "s3://x/", &json!({ "TableType": "VIRTUAL_VIEW" })),
            ],
            "of the kind VIRTUAL_VIEW",
        ),
        (
            json!({}),
            vec![wrote(1), journal(&none), table("report", "s3://x/", &keyed)],
            "partition columns are [day]",
        ),
        (
            partitioned(),
            vec![wrote(1), journal(&keyed), part("2026-11-18")],
            "rows of the partition day=2026-11-18, and the task fills day=2026-11-19 only",
        ),
        (
            partitioned(),
            vec![wrote(1), journal(&keyed), part("2026-11-19"), table("report", "s3://x/", &other)],
            "the table has [a string], the query [a bigint]",
        ),
    ];
    for (replace, answers, words) in cases {
        let double = Double::start([vec![ended("SUCCEEDED")], answers].concat()).await;
        let status = polled(&double, &replace).await;
        let Status::Failed(failure) = status else { panic!("{words}: {status:?}") };
        assert_eq!(failure.class, ErrorClass::Config);
        assert!(failure.message.contains(words), "{}", failure.message);
        assert!(failure.message.contains("`lake.report` was not replaced"), "{}", failure.message);
        let operations = double.operations();
        assert!(operations.iter().all(|name| name.contains("Get")), "{operations:?}");
    }
}

#[tokio::test]
async fn what_a_failed_query_left_is_removed() {
    let double = Double::start([ended("FAILED"), Answer::Text(200, EMPTY_LIST)]).await;
    assert!(matches!(polled(&double, &json!({})).await, Status::Failed(_)));
    let paths: Vec<_> = double.operations();
    assert!(paths[1].contains("prefix=report%2F00000000-0000-0000-0000-00000000000a%2F"), "{paths:?}");
}

#[test]
fn only_folders_below_the_location_are_removable() {
    let plan = |how: How| {
        let mut replace = json!({ "how": how });
        if how == How::Partition {
            replace["partitioned_by"] = json!(["day"]);
        }
        let request = prepared(settings(&replace)).unwrap();
        Plan::deserialize(&request.body["replace"]).unwrap()
    };
    let swap = |address: &str| leftovers::removable(&plan(How::Swap), address);
    assert_eq!(swap("s3://lake/report/old/day=1"), Some("s3://lake/report/old/".into()));
    for kept in
        ["s3://lake/report", "s3://lake/report/", "s3://lake/reports/old/", "s3://other/report/old/", FRESH]
    {
        assert_eq!(swap(kept), None, "{kept}");
    }
    let partition = |address: &str| leftovers::removable(&plan(How::Partition), address);
    assert_eq!(partition("s3://lake/report/old/day=1"), Some("s3://lake/report/old/day=1/".into()));
    assert_eq!(partition(&format!("{FRESH}day=1/")), None);
}

fn rows_answer(rows: &[[&str; 2]], next: Option<&str>) -> Answer {
    let cell = |text: &&str| if text.is_empty() { json!({}) } else { json!({ "VarCharValue": text }) };
    let rows: Vec<Value> =
        rows.iter().map(|row| json!({ "Data": row.iter().map(cell).collect::<Vec<_>>() })).collect();
    let columns = json!([{ "Name": "a", "Type": "bigint" }, { "Name": "b", "Type": "varchar" }]);
    let set = json!({ "Rows": rows, "ResultSetMetadata": { "ColumnInfo": columns } });
    Answer::Json(200, json!({ "ResultSet": set, "NextToken": next }))
}

async fn fetched(limit: u32, answers: impl IntoIterator<Item = Answer>) -> Status {
    let double = Double::start(std::iter::once(ended("SUCCEEDED")).chain(answers)).await;
    let request = prepared(json!({ "query": "SELECT a, b FROM t", "fetch_rows": limit })).unwrap();
    operator().poll(&double.clients, &[handle(&request, "q-1".into())]).await.remove(0)
}

#[tokio::test]
async fn rows_become_outputs_up_to_their_limits() {
    let pages = || [rows_answer(&[["a", "b"], ["1", "x"]], Some("more")), rows_answer(&[["2", ""]], None)];
    let Status::Succeeded(outcome) = fetched(5, pages()).await else { panic!() };
    assert_eq!(outcome.outputs["rows"], json!([{ "a": 1, "b": "x" }, { "a": 2, "b": null }]));
    assert_eq!(outcome.outputs["row_count"], 2);
    assert!(outcome.warnings.is_empty());
    let Status::Succeeded(outcome) = fetched(1, pages()).await else { panic!() };
    assert_eq!(outcome.outputs["rows"], json!([{ "a": 1, "b": "x" }]));
    assert_eq!(outcome.warnings, ["the result has more than 1 rows; the output `rows` holds the first 1"]);
    let wanted = json!({ "query": "SELECT a, b FROM t", "fetch_rows": 1, "more_rows": "ignore" });
    let double = Double::start(std::iter::once(ended("SUCCEEDED")).chain(pages())).await;
    let asked = [handle(&prepared(wanted).unwrap(), "q-1".into())];
    let Status::Succeeded(outcome) = operator().poll(&double.clients, &asked).await.remove(0) else {
        panic!()
    };
    assert_eq!((outcome.outputs["row_count"].clone(), outcome.warnings.len()), (json!(1), 0));
    let long = "x".repeat(65_536);
    let answer = rows_answer(&[["a", "b"], ["1", &long]], None);
    let Status::Failed(failure) = fetched(5, [answer]).await else { panic!() };
    assert!(
        failure.message.contains("the first 1 rows of the result have more than 65536 bytes"),
        "{}",
        failure.message
    );
    let denied = service_error(400, "AccessDeniedException", "not authorized");
    assert!(matches!(fetched(5, [denied]).await, Status::Failed(_)));
}
