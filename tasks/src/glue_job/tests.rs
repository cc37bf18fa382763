//! `glue_job` against a double of Glue.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::aws::double::{self, Answer, Double, service_error};

const NOW: &str = "2026-11-20T09:00:00Z";
const ATTEMPT: Uuid = Uuid::from_u128(0xa);

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// Seconds since the epoch, as Glue tells times.
fn epoch(moment: Timestamp) -> i64 {
    moment.as_second()
}

fn operator() -> GlueJob {
    GlueJob { clock: Clock::from_fn(now), quarantine: crate::registry::QUARANTINE }
}

fn context() -> PrepareContext<'static> {
    double::context(ATTEMPT, Duration::from_secs(5400))
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    operator().prepare(&serde_json::from_value(settings).unwrap(), &context())
}

fn request() -> Request {
    prepared(json!({ "job": "etl", "arguments": { "--date": "2026-11-19" } })).unwrap()
}

fn intent(request: &Request, now: Timestamp) -> Intent<'_> {
    Intent { request, baseline: &Value::Null, intent_at: self::now(), now }
}

fn run(id: &str, state: &str, more: Value) -> Value {
    let mut run = json!({
        "Id": id, "JobName": "etl", "JobRunState": state, "StartedOn": epoch(now()), "Attempt": 0,
        "MaxCapacity": 2.0, "ExecutionTime": 30,
    });
    merge(&mut run, &more);
    run
}

fn runs(runs: &[Value]) -> Answer {
    Answer::Json(200, json!({ "JobRuns": runs }))
}

fn one(run: Value) -> Answer {
    Answer::Json(200, json!({ "JobRun": run }))
}

#[test]
fn the_request_is_the_call_in_glues_words() {
    let request = prepared(json!({
        "job": "etl",
        "arguments": { "--date": "2026-11-19", "--workers": 10 },
        "number_of_workers": 10,
        "worker_type": "G.1X",
        "report": "s3://b/r.json",
        "request": { "Arguments": { "--x": "y", MARKER: "mine" }, "NotificationProperty": { "NotifyDelayAfter": 5 } },
    }))
    .unwrap();
    assert_eq!(
        request.body,
        json!({
            "StartJobRun": {
                "JobName": "etl",
                "Arguments": { "--date": "2026-11-19", "--workers": "10", "--x": "y", MARKER: ATTEMPT.to_string() },
                "NumberOfWorkers": 10,
                "WorkerType": "G.1X",
                "Timeout": 90,
                "NotificationProperty": { "NotifyDelayAfter": 5 },
            },
            "Report": "s3://b/r.json",
        })
    );
    let unmarked = prepared(json!({ "job": "etl", "marker": "off" })).unwrap();
    assert_eq!(unmarked.body["StartJobRun"].get("Arguments"), None);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    for (settings, words) in [
        (json!({ "job": "" }), "job:"),
        (json!({ "job": "j", "arguments": { "date": "x" } }), "`--date`"),
        (json!({ "job": "j", "arguments": { MARKER: "x" } }), "set by Trunkline"),
        (json!({ "job": "j", "report": "b/k" }), "s3://bucket/key"),
        (json!({ "job": "j", "request": { "JobRunId": "jr_1" } }), "JobRunId"),
    ] {
        let failure = prepared(settings).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config);
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_start_is_sent_as_stored_and_signed_with_its_intent() {
    let double = Double::start([]).await;
    double.then([
        Answer::Json(200, json!({ "JobRunId": "jr_1" })),
        service_error(400, "ConcurrentRunsExceededException", "busy"),
    ]);
    let request = request();
    let intent_at: Timestamp = "2020-02-29T12:34:56.789Z".parse().unwrap();
    let intent = Intent { request: &request, baseline: &Value::Null, intent_at, now: now() };
    let sent = operator().send(&double.clients, &intent).await;
    let Sent::Accepted(handle) = sent else { panic!("{sent:?}") };
    assert_eq!((handle.id.as_str(), handle.detail["job"].as_str()), ("jr_1", Some("etl")));
    // The double's clock is decades off; the second start must not be signed by it.
    let busy = operator().send(&double.clients, &intent).await;
    assert!(matches!(busy, Sent::Throttled(Failure { class: ErrorClass::Capacity, .. })), "{busy:?}");
    for received in double.received() {
        assert_eq!(received.operation, "StartJobRun");
        assert_eq!(received.signed_at, "20200229T123456Z");
        assert_eq!(received.text, request.body["StartJobRun"].to_string());
    }
}

#[tokio::test]
async fn a_missing_job_is_named() {
    let double = Double::start([service_error(400, "EntityNotFoundException", "Failed to start job")]).await;
    let request = request();
    let Sent::Refused(failure) = operator().send(&double.clients, &intent(&request, now())).await else {
        panic!()
    };
    assert_eq!(failure.message, "Glue has no job `etl` in us-east-1 (connection `aws`): Failed to start job");
    assert_eq!(failure.class, ErrorClass::Config);
}

#[tokio::test]
async fn a_lost_answer_is_found_by_the_marker() {
    let ours = json!({ "Arguments": { MARKER: ATTEMPT.to_string() } });
    let foreign = json!({ "Arguments": { MARKER: Uuid::from_u128(0xb).to_string() } });
    let retry =
        json!({ "Arguments": { MARKER: ATTEMPT.to_string() }, "Attempt": 1, "PreviousRunId": "jr_2" });
    let page =
        runs(&[run("jr_4", "RUNNING", retry), run("jr_3", "RUNNING", foreign), run("jr_2", "FAILED", ours)]);
    let double = Double::start([Answer::HangUp, page]).await;
    let request = request();
    assert!(matches!(operator().send(&double.clients, &intent(&request, now())).await, Sent::Unknown(_)));
    let found = operator().find(&double.clients, &intent(&request, now())).await;
    assert_eq!(found, Found::Found(handle(&request, "jr_2")), "the first of Glue's own retries is ours");
}

#[tokio::test]
async fn absence_is_proved_by_waiting() {
    let old =
        run("jr_0", "SUCCEEDED", json!({ "StartedOn": epoch(now()) - 7200, "Arguments": { "--date": "x" } }));
    let double = Double::start(std::iter::repeat_n(runs(&[old]), 4)).await;
    let request = request();
    let mut ats = Vec::new();
    for seconds in [0_u64, 5, 60] {
        let at = later(now(), Duration::from_secs(seconds));
        match operator().find(&double.clients, &intent(&request, at)).await {
            Found::NotYetKnown { again_at, .. } => ats.push(epoch(again_at) - epoch(now())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ats, [5, 15, 960]);
    let late = later(now(), crate::registry::QUARANTINE);
    assert_eq!(operator().find(&double.clients, &intent(&request, late)).await, Found::ProvedAbsent);
}

#[tokio::test]
async fn runs_that_tell_nothing_are_not_guessed_about() {
    let silent = || runs(&[run("jr_1", "RUNNING", json!({}))]);
    let double = Double::start([silent(), silent(), silent()]).await;
    let request = request();
    let late = later(now(), crate::registry::QUARANTINE);
    assert!(matches!(
        operator().find(&double.clients, &intent(&request, now())).await,
        Found::NotYetKnown { .. }
    ));
    let Found::Lost(failure) = operator().find(&double.clients, &intent(&request, late)).await else {
        panic!()
    };
    assert!(failure.message.contains("jr_1"), "{}", failure.message);
    let unmarked = prepared(json!({ "job": "etl", "marker": "off" })).unwrap();
    let found = operator().find(&double.clients, &intent(&unmarked, now())).await;
    assert_eq!(found, Found::Found(handle(&unmarked, "jr_1")));
}

#[tokio::test]
async fn a_look_that_fails_is_repeated_later() {
    let double = Double::start([service_error(400, "AccessDeniedException", "no")]).await;
    let request = request();
    let late = later(now(), crate::registry::QUARANTINE);
    let found = operator().find(&double.clients, &intent(&request, late)).await;
    let Found::NotYetKnown { reason, .. } = found else { panic!("{found:?}") };
    assert!(reason.contains("no"), "{reason}");
}

async fn polled(run: Value) -> Status {
    let double =
        Double::start([one(run), runs(&[]), Answer::Json(200, json!({ "Job": { "MaxRetries": 0 } }))]).await;
    operator().poll(&double.clients, &[handle(&request(), "jr_1")]).await.remove(0)
}

#[tokio::test]
async fn each_state_means_what_glue_means() {
    for state in ["STARTING", "RUNNING", "STOPPING", "WAITING", "SOMETHING_NEW"] {
        let status = polled(run("jr_1", state, json!({}))).await;
        assert!(
            matches!(&status, Status::Running { remote_state, .. } if remote_state == state),
            "{status:?}"
        );
    }
    let Status::Succeeded(outcome) = polled(run("jr_1", "SUCCEEDED", json!({}))).await else { panic!() };
    let expected = json!({ "job_run_id": "jr_1", "execution_seconds": 30, "dpu_seconds": 60.0 });
    assert_eq!(Value::Object(outcome.outputs), expected);
    assert!(matches!(polled(run("jr_1", "STOPPED", json!({}))).await, Status::Cancelled(_)));
    for (state, class) in [
        ("FAILED", ErrorClass::Failed),
        ("TIMEOUT", ErrorClass::Timeout),
        ("ERROR", ErrorClass::System),
        ("EXPIRED", ErrorClass::System),
    ] {
        let status =
            polled(run("jr_1", state, json!({ "ErrorMessage": "AnalysisException: no column" }))).await;
        let Status::Failed(failure) = status else { panic!("{state}: {status:?}") };
        assert_eq!((failure.class, failure.message.as_str()), (class, "AnalysisException: no column"));
        assert_eq!(failure.cost.dpu_seconds, Some(60.0));
    }
}

#[tokio::test]
async fn glues_own_retries_are_followed() {
    let failed = || run("jr_1", "FAILED", json!({ "CompletedOn": epoch(now()) - 5 }));
    let retry = run("jr_2", "SUCCEEDED", json!({ "PreviousRunId": "jr_1", "Attempt": 1 }));
    let job = |retries: i32| Answer::Json(200, json!({ "Job": { "MaxRetries": retries } }));
    let double = Double::start([
        one(failed()),
        runs(&[failed()]),
        job(1),
        one(failed()),
        runs(&[retry, failed()]),
        one(failed()),
        runs(&[failed()]),
        job(0),
    ])
    .await;
    let handles = [handle(&request(), "jr_1")];
    let status = operator().poll(&double.clients, &handles).await.remove(0);
    assert!(matches!(status, Status::Running { .. }), "{status:?}");
    let status = operator().poll(&double.clients, &handles).await.remove(0);
    let Status::Succeeded(outcome) = status else { panic!("{status:?}") };
    assert_eq!(outcome.outputs["job_run_id"], "jr_2");
    let status = operator().poll(&double.clients, &handles).await.remove(0);
    assert!(matches!(status, Status::Failed(_)), "{status:?}");
}

#[tokio::test]
async fn glues_own_retries_are_known_by_their_ids_too() {
    let first = run("jr_1", "FAILED", json!({}));
    let second = run("jr_1_attempt_1", "FAILED", json!({ "Attempt": 1 }));
    let third = run("jr_1_attempt_2", "SUCCEEDED", json!({ "Attempt": 2 }));
    let double = Double::start([one(first.clone()), runs(&[third, second, first])]).await;
    let status = operator().poll(&double.clients, &[handle(&request(), "jr_1")]).await.remove(0);
    let Status::Succeeded(outcome) = status else { panic!("{status:?}") };
    assert_eq!(outcome.outputs["job_run_id"], "jr_1_attempt_2");
}

#[tokio::test]
async fn a_failure_shows_the_end_of_the_drivers_log() {
    let failed = run(
        "jr_1",
        "FAILED",
        json!({ "ErrorMessage": "no column", "LogGroupName": "/aws-glue/python-jobs" }),
    );
    let events = json!({ "events": [{ "timestamp": 1, "message": "KeyError: 'day'" }] });
    let job = Answer::Json(200, json!({ "Job": { "MaxRetries": 0 } }));
    let double = Double::start([one(failed), runs(&[])]).await;
    double.then([Answer::Json(200, events), job]);
    let status = operator().poll(&double.clients, &[handle(&request(), "jr_1")]).await.remove(0);
    let Status::Failed(failure) = status else { panic!("{status:?}") };
    assert_eq!(
        failure.message,
        "no column\n\nthe end of its log (/aws-glue/python-jobs/error jr_1):\nKeyError: 'day'"
    );
}

#[tokio::test]
async fn a_cleared_task_resets_the_bookmark_before_its_start() {
    let config =
        || serde_json::from_value(json!({ "job": "etl", "on_clear": { "reset_bookmark": true } })).unwrap();
    let first = operator().prepare(&config(), &context()).unwrap();
    assert!(first.body.get("ResetJobBookmark").is_none(), "nothing was cleared");
    let cleared = PrepareContext { generation: 2, ..context() };
    let request = operator().prepare(&config(), &cleared).unwrap();
    let started = || Answer::Json(200, json!({ "JobRunId": "jr_1" }));
    let double = Double::start([
        Answer::Json(200, json!({})),
        started(),
        service_error(400, "EntityNotFoundException", "no bookmark"),
        started(),
        service_error(500, "InternalServiceException", "oops"),
        service_error(400, "AccessDeniedException", "not allowed"),
    ])
    .await;
    let operator = operator();
    for _ in 0..2 {
        let sent = operator.send(&double.clients, &intent(&request, now())).await;
        assert!(matches!(sent, Sent::Accepted(_)), "{sent:?}");
    }
    let sent = operator.send(&double.clients, &intent(&request, now())).await;
    assert!(matches!(sent, Sent::Throttled(_)), "nothing was started: {sent:?}");
    let Sent::Refused(failure) = operator.send(&double.clients, &intent(&request, now())).await else {
        panic!()
    };
    assert_eq!(failure.message, "the job's bookmark was not reset (`on_clear`): not allowed");
    let operations = double.operations();
    assert_eq!(operations[..4], ["ResetJobBookmark", "StartJobRun", "ResetJobBookmark", "StartJobRun"]);
    assert_eq!(operations[4..], ["ResetJobBookmark", "ResetJobBookmark"]);
    assert_eq!(double.received()[0].json(), json!({ "JobName": "etl" }));
    assert_eq!(double.received()[0].signed_at, "20261120T090000Z");
}

#[tokio::test]
async fn runs_of_one_job_are_asked_for_together() {
    let page = runs(&[run("jr_2", "RUNNING", json!({})), run("jr_1", "SUCCEEDED", json!({}))]);
    let double = Double::start([page, service_error(400, "ThrottlingException", "slow")]).await;
    let handles = [handle(&request(), "jr_1"), handle(&request(), "jr_2")];
    let statuses = operator().poll(&double.clients, &handles).await;
    assert!(matches!(statuses[0], Status::Succeeded(_)), "{statuses:?}");
    assert!(matches!(statuses[1], Status::Running { .. }), "{statuses:?}");
    assert_eq!(double.operations(), ["GetJobRuns"]);
}

#[tokio::test]
async fn a_report_becomes_outputs_and_warnings() {
    let mut request = request();
    request.body["Report"] = json!("s3://b/r.json");
    let handles = [handle(&request, "jr_1")];
    let done = || one(run("jr_1", "SUCCEEDED", json!({ "StartedOn": 900_000_000 })));
    let double = Double::start([
        done(),
        Answer::Json(200, json!({ "outputs": { "rows": 7, "job_run_id": "x" }, "warnings": ["no files"] })),
        done(),
        Answer::Text(404, "<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"),
        done(),
        Answer::Text(200, "no json"),
    ])
    .await;
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        match operator().poll(&double.clients, &handles).await.remove(0) {
            Status::Succeeded(outcome) => outcomes.push(outcome),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        (&outcomes[0].outputs["rows"], &outcomes[0].outputs["job_run_id"]),
        (&json!(7), &json!("jr_1"))
    );
    assert_eq!(outcomes[0].warnings, ["no files"]);
    assert!(outcomes[1].warnings[0].starts_with("report s3://b/r.json: not read: NoSuchKey"), "{outcomes:?}");
    assert!(outcomes[2].warnings[0].contains("not of the form"), "{outcomes:?}");
}

#[tokio::test]
async fn cancelling_what_has_ended_is_fine() {
    let stopped = |code: &str| {
        let error = json!({ "JobRunId": "jr_2", "ErrorDetail": { "ErrorCode": code, "ErrorMessage": "no" } });
        Answer::Json(200, json!({ "Errors": [error] }))
    };
    let chain = || {
        runs(&[run("jr_2", "RUNNING", json!({ "PreviousRunId": "jr_1" })), run("jr_1", "FAILED", json!({}))])
    };
    let double = Double::start([
        chain(),
        stopped("JobRunInvalidStateTransitionException"),
        chain(),
        stopped("InternalServiceException"),
    ])
    .await;
    let handle = handle(&request(), "jr_1");
    assert_eq!(operator().cancel(&double.clients, &handle).await, Ok(()));
    assert!(operator().cancel(&double.clients, &handle).await.is_err());
    assert_eq!(
        double.received()[1].json()["JobRunIds"],
        json!(["jr_2"]),
        "the newest of the chain is stopped"
    );
}

#[test]
fn the_console_link_leads_to_the_run() {
    let url = operator().console_url("eu-central-1", &handle(&request(), "jr_1")).unwrap();
    assert_eq!(
        url,
        "https://eu-central-1.console.aws.amazon.com/gluestudio/home?region=eu-central-1#/job/etl/run/jr_1"
    );
}
