//! `batch_job` against a double of Batch.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    aws::{
        double::{self, Answer, Double},
        later,
    },
    registry::QUARANTINE,
};

const ATTEMPT: Uuid = Uuid::from_u128(0xa);

fn now() -> Timestamp {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

fn operator() -> BatchJob {
    BatchJob { quarantine: QUARANTINE }
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let context = double::context(ATTEMPT, Duration::from_secs(3600));
    operator().prepare(&serde_json::from_value(settings).unwrap(), &context)
}

fn request() -> Request {
    prepared(json!({ "queue": "etl", "job_definition": "export:3" })).unwrap()
}

fn intent(request: &Request, after: Duration) -> Intent<'_> {
    Intent { request, baseline: &Value::Null, intent_at: now(), now: later(now(), after) }
}

/// An error as services with REST tell it.
fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::Headed(
        status,
        vec![("x-amzn-errortype", code.to_owned())],
        json!({ "message": message }).to_string(),
    )
}

fn listed(names: &[(&str, &str)]) -> Answer {
    let jobs: Vec<Value> = names.iter().map(|(id, name)| json!({ "jobId": id, "jobName": name })).collect();
    Answer::Json(200, json!({ "jobSummaryList": jobs }))
}

fn job(state: &str, more: Value) -> Value {
    let mut job = json!({
        "jobId": "j-1", "jobName": "n", "jobQueue": "q", "jobDefinition": "d", "startedAt": 0, "status": state,
    });
    merge(&mut job, &more);
    job
}

fn described(jobs: &[Value]) -> Answer {
    Answer::Json(200, json!({ "jobs": jobs }))
}

#[test]
fn the_request_is_the_call_in_the_words_of_batch() {
    let request = prepared(json!({
        "queue": "etl", "job_definition": "export", "parameters": { "day": "2026-11-19", "n": 3 },
        "command": ["run", "Ref::day"], "environment": { "A": true }, "array_size": 24, "job_attempts": 2,
        "request": { "jobName": "mine", "containerOverrides": { "vcpus": 2 } },
    }))
    .unwrap();
    let name = format!("p-t-{ATTEMPT}");
    assert_eq!(request.token, name);
    assert_eq!(
        request.body["SubmitJob"],
        json!({
            "jobQueue": "etl", "jobDefinition": "export", "parameters": { "day": "2026-11-19", "n": "3" },
            "containerOverrides": {
                "command": ["run", "Ref::day"], "environment": [{ "name": "A", "value": "true" }], "vcpus": 2,
            },
            "arrayProperties": { "size": 24 }, "retryStrategy": { "attempts": 2 },
            "timeout": { "attemptDurationSeconds": 3600 }, "jobName": name,
        })
    );
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    for (more, words) in [
        (json!({ "queue": "" }), "queue:"),
        (json!({ "job_definition": "" }), "job_definition:"),
        (json!({ "array_size": 1 }), "array_size:"),
        (json!({ "job_attempts": 11 }), "job_attempts:"),
        (json!({ "name_prefix": "-x" }), "name_prefix:"),
    ] {
        let mut settings = json!({ "queue": "q", "job_definition": "d" });
        merge(&mut settings, &more);
        let failure = prepared(settings).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config);
        assert!(failure.message.starts_with(words), "{}", failure.message);
    }
}

#[test]
fn names_are_what_batch_takes() {
    let config: BatchJobConfig =
        serde_json::from_value(json!({ "queue": "q", "job_definition": "d" })).unwrap();
    let long = "x".repeat(300);
    for (pipeline, task) in [("p", "t"), ("_p", "t.ü"), (long.as_str(), "t")] {
        let cx = PrepareContext { pipeline, task, ..double::context(ATTEMPT, JOB_TIME_MAX) };
        let name = name_of(&config, &cx).unwrap();
        assert!(name.len() <= NAME_MAX && name.ends_with(&ATTEMPT.to_string()), "{name}");
        assert!(name.chars().next().unwrap().is_ascii_alphanumeric(), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{name}");
    }
}

#[tokio::test]
async fn a_start_is_sent_as_stored_and_signed_with_its_intent() {
    let double = Double::start([
        Answer::Json(200, json!({ "jobId": "j-1", "jobName": "n" })),
        error(400, "ClientException", "Job queue etl does not exist"),
        error(429, "TooManyRequestsException", "slow"),
        error(500, "ServerException", "oops"),
        Answer::HangUp,
    ])
    .await;
    let request = request();
    let intent = intent(&request, Duration::ZERO);
    let operator = operator();
    assert_eq!(operator.send(&double.clients, &intent).await, Sent::Accepted(handle(&request, "j-1")));
    let Sent::Refused(failure) = operator.send(&double.clients, &intent).await else { panic!() };
    assert_eq!(failure.class, ErrorClass::Config);
    assert_eq!(
        failure.message,
        "Batch took no job of `export:3` for queue `etl` (us-east-1, connection `aws`): Job queue etl does not exist"
    );
    assert!(matches!(operator.send(&double.clients, &intent).await, Sent::Throttled(_)));
    assert!(matches!(operator.send(&double.clients, &intent).await, Sent::Unknown(_)));
    assert!(matches!(operator.send(&double.clients, &intent).await, Sent::Unknown(_)));
    for received in double.received() {
        assert_eq!(received.operation, "/v1/submitjob");
        assert_eq!(received.signed_at, "20261120T090000Z");
        assert_eq!(received.text, request.body["SubmitJob"].to_string());
    }
}

#[tokio::test]
async fn a_lost_answer_is_found_by_the_name() {
    let request = request();
    let name = request.token.as_str();
    let upper = name.to_uppercase();
    let double = Double::start([listed(&[("j-0", upper.as_str()), ("j-1", name)])]).await;
    let found = operator().find(&double.clients, &intent(&request, Duration::ZERO)).await;
    assert_eq!(found, Found::Found(handle(&request, "j-1")), "the filter does not look at case");
    let asked = double.received()[0].json();
    assert_eq!(asked["filters"], json!([{ "name": "JOB_NAME", "values": [name] }]));
    assert_eq!(asked["jobQueue"], json!("etl"));
}

#[tokio::test]
async fn absence_is_proved_by_waiting() {
    let request = request();
    let double = Double::start([listed(&[]), listed(&[]), error(400, "ClientException", "denied")]).await;
    let early = operator().find(&double.clients, &intent(&request, Duration::from_secs(60))).await;
    let Found::NotYetKnown { again_at, .. } = early else { panic!("{early:?}") };
    assert_eq!(again_at, later(now(), QUARANTINE));
    let late = intent(&request, QUARANTINE);
    assert_eq!(operator().find(&double.clients, &late).await, Found::ProvedAbsent);
    let failed = operator().find(&double.clients, &late).await;
    assert!(matches!(failed, Found::NotYetKnown { .. }), "a look that fails proves nothing: {failed:?}");
    assert!(double.operations().iter().all(|path| path == "/v1/listjobs"));
}

async fn polled(job: Value) -> Status {
    let double = Double::start([described(&[job])]).await;
    operator().poll(&double.clients, &[handle(&request(), "j-1")]).await.remove(0)
}

#[tokio::test]
async fn each_state_means_what_batch_means() {
    for state in ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SOMETHING_NEW"] {
        let status = polled(job(state, json!({}))).await;
        assert!(
            matches!(&status, Status::Running { remote_state, .. } if remote_state == state),
            "{status:?}"
        );
    }
    let waits =
        polled(job("RUNNABLE", json!({ "statusReason": "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT" }))).await;
    let Status::Running { remote_state, .. } = waits else { panic!("{waits:?}") };
    assert_eq!(remote_state, "RUNNABLE (MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT)");
    let done = polled(job("SUCCEEDED", json!({ "container": { "exitCode": 0 }, "attempts": [{}] }))).await;
    let Status::Succeeded(outcome) = done else { panic!("{done:?}") };
    assert_eq!(Value::Object(outcome.outputs), json!({ "job_id": "j-1", "attempts": 1, "exit_code": 0 }));
    for (more, class) in [
        (json!({ "statusReason": "Job attempt duration exceeded timeout" }), ErrorClass::Timeout),
        (json!({ "statusReason": "Host EC2 (instance i-1) terminated." }), ErrorClass::System),
        (json!({ "statusReason": "Essential container in task exited" }), ErrorClass::Failed),
    ] {
        let Status::Failed(failure) = polled(job("FAILED", more)).await else { panic!() };
        assert_eq!(failure.class, class);
    }
    for more in
        [json!({ "isTerminated": true }), json!({ "isCancelled": true }), json!({ "statusReason": REASON })]
    {
        assert!(matches!(polled(job("FAILED", more)).await, Status::Cancelled(_)));
    }
}

#[tokio::test]
async fn a_failure_tells_of_each_attempt_and_shows_the_log() {
    let attempt = |code: i32, reason: &str| json!({ "container": { "exitCode": code, "reason": reason } });
    let failed = job(
        "FAILED",
        json!({
            "statusReason": "Essential container in task exited",
            "attempts": [attempt(1, "bad"), attempt(137, "OutOfMemoryError: Container killed")],
            "container": {
                "exitCode": 137, "reason": "OutOfMemoryError: Container killed", "logStreamName": "export/default/1",
            },
        }),
    );
    let events = json!({ "events": [{ "timestamp": 1, "message": "MemoryError" }] });
    let double = Double::start([described(&[failed]), Answer::Json(200, events)]).await;
    let status = operator().poll(&double.clients, &[handle(&request(), "j-1")]).await.remove(0);
    let Status::Failed(failure) = status else { panic!("{status:?}") };
    assert_eq!(
        failure.message,
        "Essential container in task exited, exit code 137: OutOfMemoryError: Container killed\n\
         Batch's attempt 1: exit code 1, bad\n\
         Batch's attempt 2: exit code 137, OutOfMemoryError: Container killed\n\n\
         the end of its log (/aws/batch/job export/default/1):\nMemoryError"
    );
}

#[tokio::test]
async fn an_array_job_names_the_elements_that_failed() {
    let array =
        job("FAILED", json!({ "statusReason": "Array Child Job failed", "arrayProperties": { "size": 24 } }));
    let elements = json!({ "jobSummaryList": [{
        "jobId": "j-1:7", "jobName": "n", "arrayProperties": { "index": 7 }, "container": { "exitCode": 3 },
        "statusReason": "Essential container in task exited",
    }] });
    let element = job("FAILED", json!({ "jobId": "j-1:7", "container": { "logStreamName": "s" } }));
    let events = json!({ "events": [{ "timestamp": 1, "message": "no rows" }] });
    let double = Double::start([
        described(&[array]),
        Answer::Json(200, elements),
        described(&[element]),
        Answer::Json(200, events),
    ])
    .await;
    let status = operator().poll(&double.clients, &[handle(&request(), "j-1")]).await.remove(0);
    let Status::Failed(failure) = status else { panic!("{status:?}") };
    assert_eq!(
        failure.message,
        "Array Child Job failed\nelement 7: Essential container in task exited, exit code 3\n\n\
         the end of its log (/aws/batch/job s):\nno rows"
    );
}

#[tokio::test]
async fn jobs_are_asked_for_together_and_may_be_forgotten() {
    let double = Double::start([
        described(&[job("RUNNING", json!({}))]),
        error(429, "TooManyRequestsException", "slow"),
    ])
    .await;
    let handles = [handle(&request(), "j-1"), handle(&request(), "j-2")];
    let statuses = operator().poll(&double.clients, &handles).await;
    assert!(matches!(statuses[0], Status::Running { .. }), "{statuses:?}");
    assert!(matches!(statuses[1], Status::Gone(_)), "{statuses:?}");
    assert_eq!(double.received()[0].json()["jobs"], json!(["j-1", "j-2"]));
}

#[tokio::test]
async fn cancelling_says_why() {
    let double = Double::start([Answer::Json(200, json!({})), error(400, "ClientException", "no")]).await;
    let handle = handle(&request(), "j-1");
    assert_eq!(operator().cancel(&double.clients, &handle).await, Ok(()));
    assert!(operator().cancel(&double.clients, &handle).await.is_err());
    assert_eq!(double.received()[0].json(), json!({ "jobId": "j-1", "reason": REASON }));
}
