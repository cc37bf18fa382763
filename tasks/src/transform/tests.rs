//! `transform` without S3: settings, requests and names. With it, `tests/python/test_transform.py`.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::aws::double::{Answer, Double, context};

fn operator() -> Transform {
    Transform::new(&Options::for_looking())
}

fn settings() -> Value {
    json!({
        "inputs": { "sale": { "from": "s3://lake/raw/", "columns": { "id": "bigint", "day": "date" } } },
        "outputs": { "sale": { "query": "SELECT id, day FROM sale", "to": "s3://lake/clean/", "partition_by": ["day"] } },
    })
}

fn prepared(settings: &Value) -> Result<Request, Failure> {
    let cx = context(Uuid::from_u128(1), Duration::from_secs(60));
    let config = serde_json::from_value(settings.clone()).expect("settings");
    operator().prepare(&config, &cx)
}

#[test]
fn mistakes_name_the_setting() {
    let mut told = Vec::new();
    for (at, value) in [
        ("/inputs", json!({})),
        ("/inputs", json!({ "a sale": settings()["inputs"]["sale"] })),
        ("/inputs/sale/columns", json!({})),
        ("/inputs/sale/columns", json!({ "id": "bigint", "ID": "date" })),
        ("/inputs/sale/columns", json!({ "id": "list<int>", "day": "date" })),
        ("/inputs/sale/from", json!("lake/raw/")),
        ("/outputs/sale/query", json!("SELECT id, who FROM sale")),
        ("/outputs/sale/query", json!("SELECT id, day FROM sales")),
        ("/outputs/sale/query", json!("SELECT string_agg(id) AS day FROM sale")),
        ("/outputs/sale/partition_by", json!(["year"])),
        ("/outputs/sale/to", json!("s3://lake/clean")),
        ("/outputs/sale/to", json!("s3://lake/")),
        ("/outputs", json!({ "rejected": settings()["outputs"]["sale"] })),
    ] {
        let mut wrong = settings();
        *wrong.pointer_mut(at).unwrap() = value.clone();
        let failure = prepared(&wrong).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config);
        told.push(format!("{at} {value}\n  {}", failure.message));
    }
    for (key, value) in [("required", json!(["who"])), ("delimiter", json!(";")), ("delimiter", json!("\""))]
    {
        let mut wrong = settings();
        wrong["inputs"]["sale"][key] = value.clone();
        if value == json!("\"") {
            wrong["inputs"]["sale"]["format"] = json!("csv");
        }
        told.push(format!("{key} {value}\n  {}", prepared(&wrong).unwrap_err().message));
    }
    for (key, value) in [("rejected", json!("s3://lake/clean/rejected/")), ("rejected_max", json!(3))] {
        let mut wrong = settings();
        wrong[key] = value.clone();
        told.push(format!("{key} {value}\n  {}", prepared(&wrong).unwrap_err().message));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_request_says_what_it_is_and_what_it_needs() {
    let mut settings = settings();
    settings["rejected"] = json!("s3://aside/sale/");
    let request = prepared(&settings).unwrap();
    assert_eq!(operator().label(&request), "transform of sale into sale");
    let needs = operator().needs(&request, &Place::new("eu-west-1", "000000000000")).unwrap();
    insta::assert_debug_snapshot!((request, needs.statements));
}

/// The record of a folder, as S3 answers with it.
fn record(done: bool, files: &[&str]) -> Answer {
    let text = json!({ "token": "other", "files": files, "done": done }).to_string();
    Answer::Headed(200, vec![("etag", "\"1\"".to_owned())], text)
}

fn tagged(tag: &str) -> Answer {
    Answer::Headed(200, vec![("etag", format!("\"{tag}\""))], String::new())
}

const MOVED: Answer = Answer::Text(
    412,
    "<Error><Code>PreconditionFailed</Code><Message>At least one of the pre-conditions</Message></Error>",
);

#[tokio::test]
async fn a_folder_is_left_to_whoever_moved_its_record() {
    let double = Double::start([record(true, &["part-00001.csv"])]).await;
    double.then([MOVED, record(false, &["part-00009.csv"])]);
    let s3 = double.clients.s3("aws").await.unwrap();
    let folder = place::Folder::new(s3, "s3://lake/clean/").unwrap();
    let refused = folder.replace("mine", &[], None).await.unwrap_err();
    assert_eq!(
        refused.message,
        "s3://lake/clean/: another task, or another try of this one, writes here at the same time"
    );
    // Neither file nor record was written over.
    let sent: Vec<String> = double
        .received()
        .into_iter()
        .map(|call| call.head.lines().next().unwrap_or_default().to_owned())
        .collect();
    insta::assert_debug_snapshot!(sent);
}

#[tokio::test]
async fn files_are_named_before_they_are_written_and_removed_when_they_have_no_successor() {
    let local = tempfile::tempdir().unwrap();
    let path = local.path().join("rows");
    std::fs::write(&path, "id\n1\n").unwrap();
    let double = Double::start([record(true, &["part-00000.csv", "part-00001.csv"])]).await;
    double.then([tagged("2"), Answer::Text(200, ""), Answer::Text(204, ""), tagged("3")]);
    let s3 = double.clients.s3("aws").await.unwrap();
    let folder = place::Folder::new(s3, "s3://lake/clean/").unwrap();
    let files = [place::New { name: "part-00000.csv".to_owned(), path }];
    folder.replace("mine", &files, Some(crate::operator::Outcome::default())).await.unwrap();
    let sent: Vec<String> = double
        .received()
        .into_iter()
        .map(|call| {
            // The bytes of a file are signed with the time.
            let text = if call.text.starts_with('{') { &call.text } else { "" };
            format!("{}\n{text}", call.head.lines().next().unwrap_or_default())
        })
        .collect();
    insta::assert_debug_snapshot!(sent);
}
