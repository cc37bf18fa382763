//! Against a real Postgres: what is right passes, and every mistake is told with an example.

use jiff::Timestamp;
use serde_json::{Value, json};
use trunkline_postgres::testing;
use uuid::Uuid;

use super::*;

fn prepared(url: &str, settings: &Value) -> Result<Request, Failure> {
    let mut settings = settings.clone();
    settings["url"] = json!(url);
    let config: DataCheckConfig = serde_json::from_value(settings).unwrap();
    let cx = PrepareContext {
        attempt_id: Uuid::from_u128(1),
        pipeline: "p",
        run: "p@2026-11-19",
        task: "t",
        environment: "local",
        connection: "aws",
        timeout: Duration::from_secs(30),
        previous: None,
        generation: 1,
    };
    DataCheck.prepare(&config, &cx)
}

async fn sent(url: &str, settings: &Value) -> Sent {
    let request = prepared(url, settings).unwrap();
    let intent = Intent {
        request: &request,
        baseline: &Value::Null,
        intent_at: Timestamp::UNIX_EPOCH,
        now: Timestamp::UNIX_EPOCH,
    };
    DataCheck.send(&Clients::default(), &intent).await
}

#[tokio::test]
async fn every_mistake_is_told_and_what_is_right_passes() {
    let server = testing::shared().await.unwrap();
    let url = server.database("checks").await.unwrap();
    let rows = "create table sale (id int, day date, amount int, changed timestamp);
                insert into sale values (1, '2026-11-19', 5, '2026-11-19 10:00'), (2, '2026-11-19', 6, '2026-11-19 11:00'),
                  (2, '2026-11-18', 7, '2026-11-18 09:00'), (3, '2026-11-18', null, '2026-11-18 09:00')";
    postgres::script(&url, std::iter::once(rows.to_owned())).await.unwrap();
    let checks = json!([
        { "rows": { "min": 1, "max": 3 } },
        { "unique": ["id"] },
        { "not_null": ["id", "amount"] },
        { "fresh": { "column": "changed", "within": "1d", "at": "2026-11-20T00:00:00Z" } },
        { "name": "no large sale", "sql": "SELECT id FROM sale WHERE amount > :most;" }
    ]);
    let parameters = json!({ "day": "2026-11-19", "most": 100 });
    let of_day =
        json!({ "table": "sale", "where": "day = :day::date", "checks": checks, "parameters": parameters });
    let Sent::Done(outcome) = sent(&url, &of_day).await else { panic!("{:?}", sent(&url, &of_day).await) };
    assert!(outcome.warnings.is_empty());
    assert_eq!(outcome.outputs["checks"][0], json!({ "name": "rows", "count": 2, "passed": true }));

    let mut all = json!({ "table": "sale", "checks": checks, "parameters": { "most": 5 } });
    all["checks"][3]["fresh"]["at"] = json!("2026-11-21T00:00:00Z");
    all["checks"][1]["severity"] = json!("warn");
    let Sent::Refused(failure) = sent(&url, &all).await else { panic!() };
    assert_eq!(failure.class, ErrorClass::Failed);
    insta::assert_snapshot!(failure.message, @r#"
    sale: 4 of 5 checks failed
    rows: 4, and it should be 1 to 3
    not_null id, amount: 1 wrong, such as (3,2026-11-18,,"2026-11-18 09:00:00")
    fresh changed: the newest is of 2026-11-19 11:00:00
    no large sale: 2 wrong, such as (2)
    sale: unique id: 1 wrong, such as (2)
    "#);
    let empty = json!({ "table": "sale", "where": "false", "checks": [
        { "fresh": { "column": "changed", "within": "1d" }, "severity": "warn" }, { "unique": ["id"] }
    ] });
    let Sent::Done(outcome) = sent(&url, &empty).await else { panic!() };
    assert_eq!(outcome.warnings, ["sale: fresh changed: the newest is of no time: there is no row"]);
    let missing = json!({ "table": "none", "checks": [{ "rows": { "min": 1 } }] });
    let Sent::Refused(failure) = sent(&url, &missing).await else { panic!() };
    assert_eq!((failure.class, failure.code.as_deref()), (ErrorClass::Config, Some("42P01")));
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_place() {
    for (checks, expected) in [
        (json!([]), "checks: 0 of them"),
        (json!([{}]), "checks[0]: say exactly one of"),
        (json!([{ "rows": { "min": 1 }, "unique": ["a"] }]), "checks[0]: say exactly one of"),
        (json!([{ "rows": {} }]), "checks[0].rows: say `min`"),
        (json!([{ "rows": { "min": 2, "max": 1 } }]), "checks[0].rows: say `min`"),
        (json!([{ "unique": ["a\"b"] }]), "checks[0]: `a\"b` names no column"),
        (json!([{ "sql": "SELECT :day" }]), "`:day` stands in a statement"),
    ] {
        let refused = prepared("postgresql://h/d", &json!({ "table": "t", "checks": checks })).unwrap_err();
        assert!(refused.message.starts_with(expected), "{}", refused.message);
    }
}
