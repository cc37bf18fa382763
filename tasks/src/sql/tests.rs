//! Against a real Postgres: one commit for each attempt, whatever happens to the call.

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use trunkline_postgres::testing::{self, TestServer};
use uuid::Uuid;

use super::*;

struct Place {
    _server: TestServer,
    url: String,
    connection: PgConnection,
    clients: Clients,
}

impl Place {
    async fn new() -> Self {
        let server = testing::shared().await.unwrap();
        let url = server.database("sql").await.unwrap();
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("create table sale (day date, amount int)").execute(&mut connection).await.unwrap();
        Self { _server: server, url, connection, clients: Clients::new(IndexMap::new()) }
    }

    fn request(&self, attempt: u128, settings: &Value) -> Request {
        prepared(&self.url, attempt, settings).unwrap()
    }

    async fn send(&self, request: &Request) -> Sent {
        Sql.send(&self.clients, &intent(request)).await
    }

    async fn find(&self, request: &Request) -> Found {
        Sql.find(&self.clients, &intent(request)).await
    }

    async fn number(&mut self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.connection).await.unwrap()
    }
}

fn intent(request: &Request) -> Intent<'_> {
    Intent { request, baseline: &Value::Null, intent_at: Timestamp::UNIX_EPOCH, now: Timestamp::UNIX_EPOCH }
}

fn prepared(url: &str, attempt: u128, settings: &Value) -> Result<Request, Failure> {
    let mut settings = settings.clone();
    settings["url"] = json!(url);
    let config: SqlConfig = serde_json::from_value(settings).unwrap();
    let cx = PrepareContext {
        attempt_id: Uuid::from_u128(attempt),
        pipeline: "p",
        run: "p@2026-11-19",
        task: "t",
        environment: "local",
        connection: "aws",
        timeout: Duration::from_secs(30),
        previous: None,
        generation: 1,
    };
    Sql.prepare(&config, &cx)
}

fn failure(sent: Sent) -> Failure {
    match sent {
        Sent::Refused(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn statements_are_one_transaction_with_bound_values_and_fetched_rows() {
    let mut place = Place::new().await;
    let settings = json!({
        "statements": [
            "INSERT INTO sale VALUES (:day::date, :amount), (:day::date, 2 * :amount);",
            "SELECT day, amount, :note AS note FROM sale ORDER BY amount"
        ],
        "parameters": { "day": "2026-11-19", "amount": 7, "note": "'); DROP TABLE sale; --" },
        "fetch_rows": 1
    });
    let request = place.request(1, &settings);
    let Sent::Done(outcome) = place.send(&request).await else { panic!() };
    assert_eq!(outcome.outputs["by_statement"], json!([2, 2]));
    assert_eq!(outcome.outputs["row_count"], 2);
    assert_eq!(
        outcome.outputs["rows"],
        json!([{ "day": "2026-11-19", "amount": 7, "note": "'); DROP TABLE sale; --" }])
    );
    assert_eq!(outcome.warnings, ["the result has 2 rows; the output `rows` holds the first 1"]);

    assert_eq!(place.send(&request).await, Sent::Done(outcome.clone()), "sent again, it is the same");
    assert_eq!(place.find(&request).await, Found::Done(outcome));
    assert_eq!(place.number("select count(*) from sale").await, 2);
    let returning = json!({ "sql": "DELETE FROM sale RETURNING amount", "fetch_rows": 9 });
    let Sent::Done(outcome) = place.send(&place.request(2, &returning)).await else { panic!() };
    assert_eq!(outcome.outputs["rows"], json!([{ "amount": 7 }, { "amount": 14 }]));
    assert_eq!(place.number("select count(*) from sale").await, 0);
}

#[tokio::test]
async fn what_fails_leaves_nothing_and_says_why() {
    let mut place = Place::new().await;
    let settings =
        json!({ "statements": ["INSERT INTO sale VALUES ('2026-11-19', 1)", "SELECT 1 / (SELECT 0)"] });
    let request = place.request(3, &settings);
    let failed = failure(place.send(&request).await);
    assert_eq!((failed.class, failed.code.as_deref()), (ErrorClass::Failed, Some("22012")));
    assert_eq!(failed.message, "statement 2 of 2: ERROR: division by zero");
    assert_eq!(place.number("select count(*) from sale").await, 0);
    assert_eq!(place.find(&request).await, Found::ProvedAbsent);

    let missing = place.request(4, &json!({ "sql": "SELECT * FROM no_such_table" }));
    assert_eq!(failure(place.send(&missing).await).class, ErrorClass::Config);
    let slow = Request {
        body: {
            let mut body = place.request(5, &json!({ "sql": "SELECT pg_sleep(60)" })).body;
            body["timeout_seconds"] = json!(1);
            body
        },
        ..missing
    };
    assert_eq!(failure(place.send(&slow).await).class, ErrorClass::Timeout);
    let mut nowhere = place.request(6, &json!({ "sql": "SELECT 1" }));
    nowhere.body["url"] = json!("postgresql://someone:hidden@127.0.0.1:1/none");
    let failed = failure(place.send(&nowhere).await);
    assert!(failed.class == ErrorClass::System && !failed.message.contains("hidden"), "{failed:?}");
    assert!(matches!(place.find(&nowhere).await, Found::NotYetKnown { .. }));
    let odd = prepared("hidden in no address", 7, &json!({ "sql": "SELECT 1" })).unwrap();
    let failed = failure(place.send(&odd).await);
    assert!(failed.class == ErrorClass::Config && !failed.message.contains("hidden"), "{failed:?}");
}

#[tokio::test]
async fn two_sends_of_one_attempt_meet_and_a_session_is_waited_for() {
    let mut place = Place::new().await;
    let settings =
        json!({ "statements": ["INSERT INTO sale VALUES ('2026-11-19', 1)", "SELECT pg_sleep(1)"] });
    let request = place.request(8, &settings);
    let looking = async {
        let waits = "select count(*) from pg_stat_activity where application_name like 'trunkline %-%'
                       and datname = current_database() and query like '%pg_sleep%' and pid <> pg_backend_pid()";
        let mut look = tokio::time::interval(Duration::from_millis(10));
        let mut connection = PgConnection::connect(&place.url).await.unwrap();
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut connection).await.unwrap() == 0 {
            look.tick().await;
        }
        place.find(&request).await
    };
    let (one, other, found) = tokio::join!(place.send(&request), place.send(&request), looking);
    assert!(matches!(found, Found::NotYetKnown { .. }), "{found:?}");
    let (Sent::Done(one), Sent::Done(other)) = (one, other) else { panic!() };
    assert_eq!(one, other);
    assert_eq!(place.number("select count(*) from sale").await, 1, "committed once");
    assert_eq!(place.number("select count(*) from trunkline_statement").await, 1);
}

#[tokio::test]
async fn a_session_that_is_killed_has_committed_nothing() {
    let mut place = Place::new().await;
    let settings =
        json!({ "statements": ["INSERT INTO sale VALUES ('2026-11-19', 1)", "SELECT pg_sleep(60)"] });
    let request = place.request(9, &settings);
    let url = place.url.clone();
    let killing = async {
        let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where datname = current_database() and query = 'SELECT pg_sleep(60)'";
        let mut look = tokio::time::interval(Duration::from_millis(10));
        let mut connection = PgConnection::connect(&url).await.unwrap();
        while sqlx::query_scalar::<_, i64>(kill).fetch_one(&mut connection).await.unwrap() == 0 {
            look.tick().await;
        }
    };
    let (sent, ()) = tokio::join!(place.send(&request), killing);
    assert_eq!(failure(sent).class, ErrorClass::System);
    assert_eq!(place.find(&request).await, Found::ProvedAbsent);
    assert_eq!(place.number("select count(*) from sale").await, 0);
}

#[test]
fn an_address_with_a_password_is_kept_as_a_secret() {
    let refused = prepared("postgresql://someone:hidden@h/d", 1, &json!({ "sql": "SELECT 1" })).unwrap_err();
    assert_eq!(refused.message, "url: it holds a password as text; keep the address as a secret");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (settings, expected) in [
        (json!({}), "sql: say a statement"),
        (json!({ "sql": "SELECT 1", "statements": ["SELECT 1"] }), "say one of them"),
        (json!({ "sql": " ; " }), "a statement is empty"),
        (json!({ "sql": "SELECT :day" }), "`:day` stands in a statement and not among `parameters`"),
        (json!({ "sql": "SELECT 1", "parameters": { "day": 1 } }), "no statement has `:day`"),
        (json!({ "sql": "SELECT 1", "fetch_rows": 0 }), "not between 1 and 1000"),
        (json!({ "statements": vec!["SELECT 1"; 101] }), "takes at most 100"),
    ] {
        let failed = prepared("postgresql://h/d", 1, &settings).unwrap_err();
        assert!(
            failed.class == ErrorClass::Config && failed.message.contains(expected),
            "{}",
            failed.message
        );
    }
}
