//! `http` against a double of a service.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    aws::double::{Answer as Scripted, Double, context},
    operator::Outcome,
};

const ATTEMPT: Uuid = Uuid::from_u128(0xa);

fn operator() -> Http {
    Http::new(&Options::for_looking())
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let config = serde_json::from_value(settings).map_err(|error| wrong(error.to_string()))?;
    operator().prepare(&config, &context(ATTEMPT, Duration::from_secs(60)))
}

fn intent(request: &Request, seconds_later: i64) -> Intent<'_> {
    let at: jiff::Timestamp = "2026-11-20T09:00:00Z".parse().unwrap();
    let now = at + jiff::SignedDuration::from_secs(seconds_later);
    Intent { request, baseline: &Value::Null, intent_at: at, now }
}

async fn send(double: &Double, settings: Value) -> Sent {
    let request = prepared(settings).unwrap();
    operator().send(&double.clients, &intent(&request, 0)).await
}

fn done(sent: Sent) -> Outcome {
    let Sent::Done(outcome) = sent else { panic!("{sent:?}") };
    outcome
}

fn word(sent: &Sent) -> String {
    match sent {
        Sent::Accepted(_) => "accepted".to_owned(),
        Sent::Done(_) => "done".to_owned(),
        Sent::Refused(failure) => format!("refused {:?}", failure.class),
        Sent::Throttled(_) => "throttled".to_owned(),
        Sent::Unknown(_) => "unknown".to_owned(),
    }
}

#[tokio::test]
async fn the_request_is_sent_as_it_is_written() {
    let double = Double::start([Scripted::Json(200, json!({ "result": { "rows": 3 } }))]).await;
    let settings = json!({
        "url": format!("{}/v1/jobs?x=1", double.endpoint), "method": "POST", "json": { "day": "2026-11-19" },
        "headers": { "X-Team": "cdr", "X-Count": 7 }, "idempotency": { "field": "token" },
        "outputs": { "rows": "/result/rows" },
    });
    let outcome = done(send(&double, settings).await);
    assert_eq!(Value::Object(outcome.outputs), json!({ "status": 200, "rows": 3 }));
    let received = &double.received()[0];
    assert!(received.head.starts_with("POST /v1/jobs?x=1 HTTP/1.1\r\n"), "{}", received.head);
    let head = received.head.to_ascii_lowercase();
    for line in ["x-team: cdr", "x-count: 7", "content-type: application/json", "user-agent: trunkline/"] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    assert_eq!(received.json(), json!({ "day": "2026-11-19", "token": ATTEMPT.to_string() }));
}

#[tokio::test]
async fn each_answer_means_what_it_must() {
    // Status; a POST that may not be repeated; a GET.
    let table = [
        (200, "done", "done"),
        (201, "done", "done"),
        (302, "refused Config", "refused Config"),
        (400, "refused Config", "refused Config"),
        (403, "refused Config", "refused Config"),
        (429, "throttled", "throttled"),
        (408, "unknown", "refused System"),
        (500, "unknown", "refused System"),
        (503, "unknown", "refused System"),
    ];
    for (status, post, get) in table {
        let double = Double::start([Scripted::Text(status, "words"), Scripted::Text(status, "words")]).await;
        let sent = send(&double, json!({ "url": double.endpoint, "method": "POST" })).await;
        assert_eq!(word(&sent), post, "POST {status}: {sent:?}");
        let sent = send(&double, json!({ "url": double.endpoint })).await;
        assert_eq!(word(&sent), get, "GET {status}: {sent:?}");
        assert_eq!(double.received().len(), 2, "nothing is repeated by the client");
    }
    let double = Double::start([
        Scripted::Headed(422, vec![("x-request-id", "r-7".to_owned())], "day is missing".to_owned()),
        Scripted::HangUp,
        Scripted::Text(409, "is there"),
    ])
    .await;
    let url = format!("{}/v1?key=secret", double.endpoint);
    let Sent::Refused(failure) = send(&double, json!({ "url": url, "method": "PUT" })).await else {
        panic!()
    };
    let place = format!("{}/v1", double.endpoint);
    assert_eq!(failure.message, format!("HTTP PUT {place} was answered with status 422: day is missing"));
    assert_eq!((failure.code.as_deref(), failure.request_id.as_deref()), (Some("422"), Some("r-7")));
    assert_eq!(word(&send(&double, json!({ "url": url })).await), "unknown");
    assert_eq!(
        word(&send(&double, json!({ "url": url, "method": "PUT", "expect": [201, 409] })).await),
        "done"
    );
}

#[tokio::test]
async fn a_lost_answer_is_repeated_only_where_that_is_safe() {
    let clients = Clients::default();
    let find = async |settings: Value, seconds| {
        let request = prepared(settings).unwrap();
        operator().find(&clients, &intent(&request, seconds)).await
    };
    let post = |extra: Value| {
        let mut settings = json!({ "url": "https://h/x", "method": "POST", "json": {} });
        crate::aws::merge(&mut settings, &extra);
        settings
    };
    let Found::Lost(failure) = find(post(json!({})), 60).await else { panic!("not lost") };
    assert!(failure.message.contains("HTTP POST https://h/x arrived"), "{}", failure.message);
    for safe in [
        post(json!({ "idempotent": true })),
        post(json!({ "idempotency": { "header": "Idempotency-Key" } })),
        json!({ "url": "https://h/x" }),
        json!({ "url": "https://h/x", "method": "DELETE" }),
    ] {
        assert!(matches!(find(safe.clone(), 0).await, Found::NotYetKnown { .. }), "{safe}");
        assert_eq!(find(safe.clone(), 60).await, Found::SafeToRepeat, "{safe}");
    }
}

#[tokio::test]
async fn redirects_are_followed_for_questions_and_headers_stay_at_home() {
    let elsewhere = Double::start([Scripted::Text(200, "there")]).await;
    let home = Double::start([
        Scripted::Headed(302, vec![("location", "/next".to_owned())], String::new()),
        Scripted::Headed(307, vec![("location", format!("{}/y", elsewhere.endpoint))], String::new()),
    ])
    .await;
    let settings =
        json!({ "url": format!("{}/x", home.endpoint), "headers": { "authorization": "Bearer b" } });
    assert_eq!(done(send(&home, settings).await).outputs["body"], "there");
    let heads: Vec<String> = home.received().iter().map(|one| one.head.to_ascii_lowercase()).collect();
    assert!(heads[0].starts_with("get /x") && heads[1].starts_with("get /next"), "{heads:?}");
    assert!(heads.iter().all(|head| head.contains("bearer b")));
    assert!(!elsewhere.received()[0].head.to_ascii_lowercase().contains("bearer"));
    let around = (0..9).map(|_| Scripted::Headed(302, vec![("location", "/x".to_owned())], String::new()));
    let double = Double::start(around).await;
    let Sent::Refused(failure) = send(&double, json!({ "url": double.endpoint })).await else { panic!() };
    assert!(failure.message.ends_with("redirects more than 5 times"), "{}", failure.message);
    assert_eq!(double.received().len(), 6);
}

#[tokio::test]
async fn answers_have_a_limit_and_so_have_outputs() {
    let long = "x".repeat(exchange::ANSWER_BYTES_MAX + 1);
    let much = "x".repeat(300 * 1024);
    let double =
        Double::start([Scripted::Headed(200, vec![], long), Scripted::Headed(200, vec![], much)]).await;
    let Sent::Refused(failure) = send(&double, json!({ "url": double.endpoint })).await else { panic!() };
    assert!(failure.message.contains("more than 1048576 bytes"), "{}", failure.message);
    let Sent::Refused(failure) = send(&double, json!({ "url": double.endpoint })).await else { panic!() };
    assert!(failure.message.starts_with("the outputs have 3072"), "{}", failure.message);
}

#[tokio::test]
async fn what_was_never_sent_has_failed() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let double = Double::start([]).await;
    let sent = send(&double, json!({ "url": closed, "method": "POST" })).await;
    let Sent::Refused(failure) = sent else { panic!("{sent:?}") };
    assert_eq!(failure.class, ErrorClass::System);
    assert!(failure.message.contains("no connection could be made"), "{}", failure.message);
}

fn job(double: &Double) -> Value {
    json!({
        "url": format!("{}/jobs", double.endpoint), "method": "POST", "json": { "a": 1 },
        "headers": { "x-team": "cdr" }, "idempotency": { "header": "Idempotency-Key" },
        "poll": {
            "id_from": "/id", "url": format!("{}/jobs/{{id}}", double.endpoint), "state": "/status",
            "succeeded": ["DONE"], "failed": ["ERROR"], "cancelled": ["STOPPED"], "error": "/why",
        },
        "lookup": { "url": format!("{}/jobs?key={{key}}", double.endpoint), "job": "/items/0" },
        "cancel": { "method": "DELETE" },
        "outputs": { "rows": "/rows" },
    })
}

#[tokio::test]
async fn a_job_is_submitted_asked_about_and_ends() {
    let double = Double::start([Scripted::Json(202, json!({ "id": "a/7" }))]).await;
    let Sent::Accepted(handle) = send(&double, job(&double)).await else { panic!("not accepted") };
    assert_eq!(handle.id, "a/7");
    let first = double.received()[0].head.to_ascii_lowercase();
    assert!(first.contains(&format!("idempotency-key: {ATTEMPT}")), "{first}");
    let answers = [
        (200, json!({ "status": "QUEUED" }), "running QUEUED"),
        (200, json!({ "nothing": 1 }), "running ?"),
        (429, json!({}), "throttled"),
        (403, json!({}), "unavailable"),
        (500, json!({}), "unavailable"),
        (404, json!({}), "gone"),
        (200, json!({ "status": "ERROR", "why": "disk full" }), "failed job a/7 is ERROR: disk full"),
        (200, json!({ "status": "STOPPED" }), "cancelled"),
        (
            200,
            json!({ "status": "DONE" }),
            "failed outputs: the answer holds nothing at `/rows`: {\"status\":\"DONE\"}",
        ),
        (200, json!({ "status": "DONE", "rows": 9 }), "succeeded 9"),
    ];
    for (status, body, expected) in answers {
        double.then([Scripted::Json(status, body)]);
        let said = match operator().poll(&double.clients, std::slice::from_ref(&handle)).await.remove(0) {
            Status::Running { remote_state, .. } => format!("running {remote_state}"),
            Status::Succeeded(outcome) => format!("succeeded {}", outcome.outputs["rows"]),
            Status::Failed(failure) => format!("failed {}", failure.message),
            Status::Cancelled(_) => "cancelled".to_owned(),
            Status::Throttled(_) => "throttled".to_owned(),
            Status::Unavailable(_) => "unavailable".to_owned(),
            Status::Gone(_) => "gone".to_owned(),
        };
        assert_eq!(said, expected);
    }
    let polled = &double.received()[1].head;
    assert!(polled.starts_with("GET /jobs/a%2F7 ") && polled.contains("x-team: cdr"), "{polled}");
    double.then([Scripted::Text(202, ""), Scripted::Text(404, ""), Scripted::Text(500, "")]);
    operator().cancel(&double.clients, &handle).await.unwrap();
    operator().cancel(&double.clients, &handle).await.unwrap();
    operator().cancel(&double.clients, &handle).await.unwrap_err();
    assert!(double.received().last().unwrap().head.starts_with("DELETE /jobs/a%2F7 "));
}

#[tokio::test]
async fn an_unseen_submit_is_looked_up_by_its_key() {
    let double = Double::start([
        Scripted::HangUp,
        Scripted::Text(503, ""),
        Scripted::Json(200, json!({ "items": [] })),
        Scripted::Json(200, json!({ "items": [{ "id": 12 }] })),
        Scripted::Text(404, ""),
    ])
    .await;
    let request = prepared(job(&double)).unwrap();
    let sent = operator().send(&double.clients, &intent(&request, 0)).await;
    assert!(matches!(sent, Sent::Unknown(_)), "{sent:?}");
    let find = async |seconds| operator().find(&double.clients, &intent(&request, seconds)).await;
    assert!(matches!(find(0).await, Found::NotYetKnown { .. }), "the look itself failed");
    assert!(matches!(find(0).await, Found::NotYetKnown { .. }), "not shown yet");
    let Found::Found(handle) = find(5).await else { panic!("not found") };
    assert_eq!(handle.id, "12");
    assert!(double.received()[3].head.contains(&format!("GET /jobs?key={ATTEMPT} ")));
    assert_eq!(find(20 * 60).await, Found::ProvedAbsent);
}

#[tokio::test]
async fn the_answer_may_say_where_to_ask_and_202_means_wait() {
    let double = Double::start([
        Scripted::Headed(202, vec![("location", "/status/9".to_owned())], String::new()),
        Scripted::Text(202, ""),
        Scripted::Text(200, "ready"),
        Scripted::Text(202, "no location"),
    ])
    .await;
    let settings = json!({
        "url": format!("{}/jobs", double.endpoint), "method": "POST", "poll": { "url_from": "header:Location" },
    });
    let Sent::Accepted(handle) = send(&double, settings.clone()).await else { panic!("not accepted") };
    let poll = async || operator().poll(&double.clients, std::slice::from_ref(&handle)).await.remove(0);
    assert!(matches!(poll().await, Status::Running { .. }));
    let Status::Succeeded(outcome) = poll().await else { panic!("not done") };
    assert_eq!(outcome.outputs["body"], "ready");
    assert!(double.received()[1].head.starts_with("GET /status/9 "));
    let Sent::Refused(failure) = send(&double, settings).await else { panic!("accepted") };
    assert!(failure.message.contains("cannot be asked about: no location"), "{}", failure.message);
    // Without a way to stop it, the job is let go.
    let operator = operator();
    operator.cancel(&double.clients, &handle).await.unwrap();
    assert!(matches!(operator.poll(&double.clients, &[handle]).await[0], Status::Cancelled(_)));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let complaint = |extra: Value| {
        let mut settings = json!({ "url": "https://h/x" });
        crate::aws::merge(&mut settings, &extra);
        prepared(settings).unwrap_err().message
    };
    let cases = [
        (json!({ "url": "h/x" }), "url: `h/x` is no URL"),
        (json!({ "url": "ftp://h/x" }), "url: only https:// and http:// are spoken"),
        (json!({ "url": "https://u:p@h/x" }), "url: no user and no password"),
        (json!({ "json": {} }), "method: a GET has no body"),
        (json!({ "method": "POST", "json": {}, "body": "x" }), "say either `json` or `body`"),
        (json!({ "headers": { "Host": "x" } }), "headers: `Host` is set by the client"),
        (json!({ "headers": { "x": [1] } }), "headers: `x` must be one text"),
        (json!({ "idempotency": { "field": "token" } }), "idempotency: `field` needs `json`"),
        (json!({ "answer_within": 901 }), "answer_within: must be from 1 to 900"),
        (
            json!({ "answer_within": 30, "poll": { "url": "https://h" } }),
            "answer_within: must be from 1 to 20",
        ),
        (json!({ "outputs": { "a": "rows" } }), "outputs: `a`: `rows` is no JSON pointer"),
        (json!({ "cancel": { "method": "DELETE" } }), "`lookup` and `cancel` are about a job"),
        (json!({ "poll": {} }), "poll: say either `url` or `url_from`"),
        (json!({ "poll": { "url": "https://h/{id}" } }), "poll: `{id}` needs `id_from`"),
        (json!({ "poll": { "url": "https://h", "state": "/s" } }), "poll: `state` needs `succeeded`"),
        (json!({ "poll": { "url": "https://h", "failed": ["x"] } }), "poll: `succeeded`, `failed`"),
        (json!({ "poll": { "url": "https://h" }, "lookup": { "url": "https://h" } }), "lookup: it looks for"),
        (json!({ "method": "POST", "body": "x".repeat(BODY_BYTES_MAX + 1) }), "the body has 1048577 bytes"),
    ];
    for (extra, expected) in cases {
        let found = complaint(extra.clone());
        assert!(found.starts_with(expected), "{extra} gave {found}");
    }
}
