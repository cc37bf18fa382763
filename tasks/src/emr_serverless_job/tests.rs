//! `emr_serverless_job` against a double of EMR Serverless.

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
const LATE: u64 = 45 * 60;

fn now() -> Timestamp {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

fn operator() -> EmrServerlessJob {
    EmrServerlessJob { quarantine: QUARANTINE }
}

fn settings(more: Value) -> Value {
    let mut settings = json!({
        "application": "00f1", "execution_role": "arn:aws:iam::1:role/spark", "entry_point": "s3://b/etl.py",
    });
    merge(&mut settings, &more);
    settings
}

fn prepared(more: Value) -> Result<Request, Failure> {
    let context = double::context(ATTEMPT, Duration::from_secs(3600));
    operator().prepare(&serde_json::from_value(settings(more)).unwrap(), &context)
}

fn request() -> Request {
    prepared(json!({})).unwrap()
}

fn intent(request: &Request, seconds: u64) -> Intent<'_> {
    Intent {
        request,
        baseline: &Value::Null,
        intent_at: now(),
        now: later(now(), Duration::from_secs(seconds)),
    }
}

/// An error as services with REST tell it.
fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::Headed(
        status,
        vec![("x-amzn-errortype", code.to_owned())],
        json!({ "message": message }).to_string(),
    )
}

fn accepted() -> Answer {
    Answer::Json(200, json!({ "applicationId": "00f1", "jobRunId": "r-1", "arn": "arn:r" }))
}

fn about(more: Value) -> Value {
    let mut about = json!({
        "applicationId": "00f1", "arn": "arn:r", "createdBy": "me", "createdAt": 1, "updatedAt": 1,
        "executionRole": "r", "stateDetails": "", "releaseLabel": "emr-7.9.0",
    });
    merge(&mut about, &more);
    about
}

fn listed(runs: &[Value]) -> Answer {
    Answer::Json(200, json!({ "jobRuns": runs }))
}

#[test]
fn the_request_is_the_call_in_the_words_of_emr() {
    let request = prepared(json!({
        "arguments": ["--date", "2026-11-19", 7], "spark_conf": { "spark.executor.memory": "8g" },
        "spark_submit_parameters": "--py-files s3://b/lib.zip", "log_group": "/spark",
        "request": { "clientToken": "mine", "tags": { "a": "b" } },
    }))
    .unwrap();
    assert_eq!(
        request.body["StartJobRun"],
        json!({
            "executionRoleArn": "arn:aws:iam::1:role/spark",
            "jobDriver": { "sparkSubmit": {
                "entryPoint": "s3://b/etl.py", "entryPointArguments": ["--date", "2026-11-19", "7"],
                "sparkSubmitParameters": "--conf spark.executor.memory=8g --py-files s3://b/lib.zip",
            } },
            "executionTimeoutMinutes": 60,
            "configurationOverrides": { "monitoringConfiguration": {
                "cloudWatchLoggingConfiguration": { "enabled": true, "logGroupName": "/spark" },
            } },
            "tags": { "a": "b" }, "clientToken": ATTEMPT.to_string(), "name": format!("p-t-{ATTEMPT}"),
        })
    );
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    for (more, words) in [
        (json!({ "application": "My App" }), "application:"),
        (json!({ "execution_role": "spark" }), "execution_role:"),
        (json!({ "entry_point": "etl.py" }), "entry_point:"),
        (json!({ "spark_conf": { "a": "b c" } }), "spark_conf:"),
        (json!({ "name_prefix": "a b" }), "name_prefix:"),
    ] {
        let failure = prepared(more).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config);
        assert!(failure.message.starts_with(words), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_start_is_sent_as_stored_and_signed_with_its_intent() {
    let double = Double::start([
        accepted(),
        error(404, "ResourceNotFoundException", "Application 00f1 does not exist"),
        error(400, "ValidationException", "bad"),
        error(429, "ThrottlingException", "slow"),
        error(500, "InternalServerException", "oops"),
        Answer::HangUp,
    ])
    .await;
    let request = request();
    let intent = intent(&request, 0);
    let operator = operator();
    assert_eq!(operator.send(&double.clients, &intent).await, Sent::Accepted(handle(&request, "r-1")));
    let Sent::Refused(failure) = operator.send(&double.clients, &intent).await else { panic!() };
    assert_eq!(
        failure.message,
        "EMR Serverless has no application `00f1` in us-east-1 (connection `aws`): Application 00f1 does not exist"
    );
    assert!(matches!(operator.send(&double.clients, &intent).await, Sent::Refused(_)));
    assert!(matches!(operator.send(&double.clients, &intent).await, Sent::Throttled(_)));
    assert!(matches!(operator.send(&double.clients, &intent).await, Sent::Unknown(_)));
    assert!(matches!(operator.send(&double.clients, &intent).await, Sent::Unknown(_)));
    for received in double.received() {
        assert_eq!(received.operation, "/applications/00f1/jobruns");
        assert_eq!(received.signed_at, "20261120T090000Z");
        assert_eq!(received.text, request.body["StartJobRun"].to_string());
    }
}

#[tokio::test]
async fn an_unconfirmed_start_is_sent_again_and_later_looked_for() {
    let request = request();
    let double = Double::start([accepted()]).await;
    let found = operator().find(&double.clients, &intent(&request, 30)).await;
    assert_eq!(found, Found::Found(handle(&request, "r-1")));
    assert_eq!(double.received()[0].text, request.body["StartJobRun"].to_string());

    let ours = json!({ "id": "r-1", "state": "RUNNING", "name": format!("p-t-{ATTEMPT}") });
    let other = json!({ "id": "r-2", "state": "RUNNING", "name": "p-t-other" });
    let double = Double::start([listed(&[about(other.clone()), about(ours)]), listed(&[about(other)])]).await;
    let found = operator().find(&double.clients, &intent(&request, LATE)).await;
    assert_eq!(found, Found::Found(handle(&request, "r-1")));
    assert_eq!(operator().find(&double.clients, &intent(&request, LATE)).await, Found::ProvedAbsent);
    let asked = double.received()[0].operation.clone();
    assert!(asked.contains("createdAtAfter=2026-11-20T08%3A58%3A00Z"), "{asked}");
}

#[tokio::test]
async fn a_refused_resend_leads_to_a_look() {
    let double = Double::start([error(409, "ConflictException", "other parameters"), listed(&[])]).await;
    let request = request();
    let found = operator().find(&double.clients, &intent(&request, 30)).await;
    assert!(matches!(found, Found::NotYetKnown { .. }), "{found:?}");
}

async fn polled(more: Value) -> Status {
    let mut run = about(
        json!({ "jobRunId": "r-1", "jobDriver": { "sparkSubmit": { "entryPoint": "s3://b/etl.py" } } }),
    );
    merge(&mut run, &more);
    let double = Double::start([Answer::Json(200, json!({ "jobRun": run }))]).await;
    operator().poll(&double.clients, &[handle(&request(), "r-1")]).await.remove(0)
}

#[tokio::test]
async fn each_state_means_what_emr_means() {
    for state in ["SUBMITTED", "PENDING", "SCHEDULED", "QUEUED", "RUNNING", "CANCELLING", "SOMETHING_NEW"] {
        let status = polled(json!({ "state": state })).await;
        assert!(
            matches!(&status, Status::Running { remote_state, .. } if remote_state == state),
            "{status:?}"
        );
    }
    let done = polled(json!({
        "state": "SUCCESS", "totalExecutionDurationSeconds": 90,
        "totalResourceUtilization": { "vCPUHour": 0.05, "memoryGBHour": 0.2 },
        "billedResourceUtilization": { "vCPUHour": 0.1, "memoryGBHour": 0.4 },
    }))
    .await;
    let Status::Succeeded(outcome) = done else { panic!("{done:?}") };
    assert_eq!((outcome.cost.vcpu_hours, outcome.cost.memory_gb_hours), (Some(0.1), Some(0.4)));
    assert_eq!(
        Value::Object(outcome.outputs),
        json!({ "job_run_id": "r-1", "execution_seconds": 90, "vcpu_hours": 0.1, "memory_gb_hours": 0.4 })
    );
    let failed = polled(json!({ "state": "FAILED", "stateDetails": "Job failed. ExitCode: 1" })).await;
    let Status::Failed(failure) = failed else { panic!("{failed:?}") };
    assert_eq!((failure.class, failure.message.as_str()), (ErrorClass::Failed, "Job failed. ExitCode: 1"));
    let late = polled(json!({ "state": "FAILED", "stateDetails": "exceeded its execution timeout" })).await;
    assert!(matches!(late, Status::Failed(Failure { class: ErrorClass::Timeout, .. })), "{late:?}");
    assert!(matches!(polled(json!({ "state": "CANCELLED" })).await, Status::Cancelled(_)));
}

#[tokio::test]
async fn what_cannot_be_asked_says_nothing_about_the_run() {
    let double = Double::start([
        error(404, "ResourceNotFoundException", "no such run"),
        error(400, "AccessDeniedException", "no"),
        error(400, "ThrottlingException", "slow"),
    ])
    .await;
    let handles = [handle(&request(), "r-1"), handle(&request(), "r-2")];
    let statuses = operator().poll(&double.clients, &handles).await;
    assert!(matches!(statuses[0], Status::Gone(_)), "{statuses:?}");
    assert!(matches!(statuses[1], Status::Unavailable(_)), "{statuses:?}");
}

#[tokio::test]
async fn a_failure_shows_the_end_of_the_drivers_log() {
    let run = about(json!({
        "jobRunId": "r-1", "state": "FAILED", "stateDetails": "ExitCode: 1", "jobDriver": { "sparkSubmit": { "entryPoint": "s3://b/e.py" } },
        "configurationOverrides": { "monitoringConfiguration": {
            "cloudWatchLoggingConfiguration": { "enabled": true, "logGroupName": "/spark" },
        } },
    }));
    let events = json!({ "events": [{ "timestamp": 1, "message": "AnalysisException" }] });
    let double =
        Double::start([Answer::Json(200, json!({ "jobRun": run })), Answer::Json(200, events)]).await;
    let status = operator().poll(&double.clients, &[handle(&request(), "r-1")]).await.remove(0);
    let Status::Failed(failure) = status else { panic!("{status:?}") };
    assert!(failure.message.ends_with("SPARK_DRIVER/stderr):\nAnalysisException"), "{}", failure.message);
    assert_eq!(
        double.received()[1].json()["logStreamName"],
        "applications/00f1/jobs/r-1/SPARK_DRIVER/stderr"
    );
}

#[tokio::test]
async fn cancelling_what_has_ended_is_fine() {
    let double = Double::start([
        Answer::Json(200, json!({ "applicationId": "00f1", "jobRunId": "r-1" })),
        error(400, "ValidationException", "Job run is in a terminal state"),
        error(404, "ResourceNotFoundException", "no"),
        error(403, "AccessDeniedException", "no"),
    ])
    .await;
    let handle = handle(&request(), "r-1");
    for _ in 0..3 {
        assert_eq!(operator().cancel(&double.clients, &handle).await, Ok(()));
    }
    assert!(operator().cancel(&double.clients, &handle).await.is_err());
    assert!(double.received()[0].head.starts_with("DELETE /applications/00f1/jobruns/r-1 "));
}
