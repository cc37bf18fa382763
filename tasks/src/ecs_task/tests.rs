//! `ecs_task` against a double of ECS.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    aws::{
        double::{self, Answer, Double, service_error},
        later,
    },
    registry::QUARANTINE,
};

const ATTEMPT: Uuid = Uuid::from_u128(0xa);
const ARN: &str = "arn:aws:ecs:us-east-1:1:task/etl/t1";

fn now() -> Timestamp {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

fn operator() -> EcsTask {
    EcsTask { quarantine: QUARANTINE }
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let context = double::context(ATTEMPT, Duration::from_secs(3600));
    operator().prepare(&serde_json::from_value(settings).unwrap(), &context)
}

fn request() -> Request {
    prepared(json!({ "task_definition": "export:3", "cluster": "etl" })).unwrap()
}

fn intent(request: &Request, seconds: u64) -> Intent<'_> {
    Intent {
        request,
        baseline: &Value::Null,
        intent_at: now(),
        now: later(now(), Duration::from_secs(seconds)),
    }
}

fn tasks(tasks: &[Value]) -> Answer {
    Answer::Json(200, json!({ "tasks": tasks, "failures": [] }))
}

fn arns(arns: &[&str]) -> Answer {
    Answer::Json(200, json!({ "taskArns": arns }))
}

fn stopped(containers: Value) -> Value {
    json!({
        "taskArn": ARN, "lastStatus": "STOPPED", "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited", "containers": containers,
        "taskDefinitionArn": "arn:aws:ecs:us-east-1:1:task-definition/export:3",
    })
}

#[test]
fn the_request_is_the_call_in_the_words_of_ecs() {
    let request = prepared(json!({
        "task_definition": "export", "cluster": "etl", "launch_type": "FARGATE", "subnets": ["s-1"],
        "container": "main", "command": ["run", 7], "environment": { "DAY": "2026-11-19" },
        "request": { "overrides": { "cpu": "512" }, "clientToken": "mine", "startedBy": "me" },
    }))
    .unwrap();
    assert_eq!(
        request.body["RunTask"],
        json!({
            "taskDefinition": "export", "count": 1, "cluster": "etl", "launchType": "FARGATE",
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["s-1"], "assignPublicIp": "DISABLED" } },
            "overrides": {
                "containerOverrides": [{
                    "name": "main", "command": ["run", "7"], "environment": [{ "name": "DAY", "value": "2026-11-19" }],
                }],
                "cpu": "512",
            },
            "clientToken": ATTEMPT.to_string(), "startedBy": format!("trunkline-{ATTEMPT}"),
        })
    );
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    for (settings, words) in [
        (json!({ "task_definition": "" }), "task_definition:"),
        (json!({ "task_definition": "e", "command": ["x"] }), "container:"),
        (json!({ "task_definition": "e", "security_groups": ["g"] }), "subnets:"),
        (json!({ "task_definition": "e", "request": { "count": 2 } }), "`count`"),
    ] {
        let failure = prepared(settings).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config);
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_start_is_sent_as_stored_and_signed_with_its_intent() {
    let failure =
        |reason: &str| Answer::Json(200, json!({ "tasks": [], "failures": [{ "reason": reason }] }));
    let double = Double::start([
        tasks(&[json!({ "taskArn": ARN })]),
        failure("RESOURCE:MEMORY"),
        failure("MISSING"),
        service_error(400, "ClusterNotFoundException", "Cluster not found."),
        service_error(500, "ServerException", "oops"),
        tasks(&[]),
    ])
    .await;
    let request = request();
    let intent = intent(&request, 0);
    let operator = operator();
    let accepted = operator.send(&double.clients, &intent).await;
    assert_eq!(accepted, Sent::Accepted(handle(&request, ARN)));
    let full = operator.send(&double.clients, &intent).await;
    assert!(matches!(&full, Sent::Throttled(Failure { class: ErrorClass::Capacity, .. })), "{full:?}");
    assert!(matches!(operator.send(&double.clients, &intent).await, Sent::Refused(_)));
    let Sent::Refused(failure) = operator.send(&double.clients, &intent).await else { panic!() };
    assert_eq!(
        failure.message,
        "ECS started no task of `export:3` in cluster `etl` (us-east-1, connection `aws`): Cluster not found."
    );
    assert!(matches!(operator.send(&double.clients, &intent).await, Sent::Unknown(_)));
    assert!(matches!(operator.send(&double.clients, &intent).await, Sent::Unknown(_)));
    for received in double.received() {
        assert_eq!(received.operation, "RunTask");
        assert_eq!(received.signed_at, "20261120T090000Z");
        assert_eq!(received.text, request.body["RunTask"].to_string());
    }
}

#[tokio::test]
async fn an_unconfirmed_start_is_sent_again_while_the_token_is_known() {
    let double = Double::start([Answer::HangUp, tasks(&[json!({ "taskArn": ARN })])]).await;
    let request = request();
    assert!(matches!(operator().send(&double.clients, &intent(&request, 0)).await, Sent::Unknown(_)));
    let found = operator().find(&double.clients, &intent(&request, 30)).await;
    assert_eq!(found, Found::Found(handle(&request, ARN)));
    let received = double.received();
    assert_eq!(received[0].text, received[1].text, "byte for byte");
    assert_eq!(received[1].signed_at, "20261120T090030Z");
}

#[tokio::test]
async fn later_it_is_looked_for_and_never_sent() {
    let ours = json!({ "taskArn": ARN, "startedBy": format!("trunkline-{ATTEMPT}") });
    let other = json!({ "taskArn": "x", "startedBy": "trunkline-x" });
    let request = request();
    let late = 45 * 60;
    let double = Double::start([arns(&[ARN])]).await;
    let found = operator().find(&double.clients, &intent(&request, late)).await;
    assert_eq!(found, Found::Found(handle(&request, ARN)));
    assert_eq!(double.received()[0].json()["startedBy"], json!(format!("trunkline-{ATTEMPT}")));

    let double = Double::start([arns(&[]), arns(&["x", ARN]), tasks(&[other, ours])]).await;
    let found = operator().find(&double.clients, &intent(&request, late)).await;
    assert_eq!(found, Found::Found(handle(&request, ARN)));
    assert_eq!(double.operations(), ["ListTasks", "ListTasks", "DescribeTasks"]);
    assert_eq!(double.received()[1].json()["family"], json!("export"));

    let double = Double::start([arns(&[]), arns(&[]), arns(&[]), arns(&[])]).await;
    assert_eq!(operator().find(&double.clients, &intent(&request, late)).await, Found::ProvedAbsent);
    let Found::Lost(failure) = operator().find(&double.clients, &intent(&request, 2 * 60 * 60)).await else {
        panic!("a short task may have come and gone")
    };
    assert!(failure.message.contains("trunkline-00000000"), "{}", failure.message);
}

#[tokio::test]
async fn a_refused_resend_leads_to_a_look() {
    let denied = service_error(400, "ConflictException", "The provided clientToken is already in use");
    let double = Double::start([denied, arns(&[]), arns(&[])]).await;
    let request = request();
    let found = operator().find(&double.clients, &intent(&request, 30)).await;
    assert!(matches!(found, Found::NotYetKnown { .. }), "{found:?}");
}

async fn polled(task: Value) -> Status {
    let double = Double::start([tasks(&[task])]).await;
    operator().poll(&double.clients, &[handle(&request(), ARN)]).await.remove(0)
}

#[tokio::test]
async fn each_end_means_what_ecs_means() {
    for state in ["PROVISIONING", "PENDING", "RUNNING", "STOPPING", "DEPROVISIONING", "SOMETHING_NEW"] {
        let status = polled(json!({ "taskArn": ARN, "lastStatus": state })).await;
        assert!(
            matches!(&status, Status::Running { remote_state, .. } if remote_state == state),
            "{status:?}"
        );
    }
    let status = polled(stopped(json!([{ "name": "main", "exitCode": 0 }]))).await;
    let Status::Succeeded(outcome) = status else { panic!("{status:?}") };
    assert_eq!(outcome.outputs["exit_codes"], json!({ "main": 0 }));

    let killed = json!([{ "name": "main", "exitCode": 137, "reason": "OutOfMemoryError: Container killed" }]);
    let Status::Failed(failure) = polled(stopped(killed)).await else { panic!() };
    assert_eq!(failure.class, ErrorClass::Failed);
    assert_eq!(
        failure.message,
        "container `main` ended with exit code 137: OutOfMemoryError: Container killed (Essential container in task \
         exited)"
    );

    for (code, expected) in
        [("TaskFailedToStart", ErrorClass::System), ("SpotInterruption", ErrorClass::System)]
    {
        let mut task = stopped(json!([{ "name": "main", "reason": "CannotPullContainerError: no image" }]));
        task["stopCode"] = json!(code);
        let Status::Failed(failure) = polled(task).await else { panic!("{code}") };
        assert_eq!((failure.class, failure.code.as_deref()), (expected, Some(code)));
        let tells_why = failure.message.contains("CannotPullContainerError: no image");
        assert_eq!(tells_why, code == "TaskFailedToStart", "{}", failure.message);
    }
    let mut task = stopped(json!([{ "name": "main", "exitCode": 137 }]));
    task["stopCode"] = json!("UserInitiated");
    assert!(matches!(polled(task).await, Status::Cancelled(_)));
}

#[tokio::test]
async fn sidecars_do_not_decide_where_the_main_container_is_named() {
    let containers = json!([{ "name": "main", "exitCode": 0 }, { "name": "proxy", "exitCode": 137 }]);
    assert!(matches!(polled(stopped(containers.clone())).await, Status::Failed(_)));
    for (named, expected) in [("main", "succeeded"), ("absent", "has no container `absent`")] {
        let request = prepared(json!({ "task_definition": "e", "exit_codes_of": [named] })).unwrap();
        let double = Double::start([tasks(&[stopped(containers.clone())])]).await;
        let status = operator().poll(&double.clients, &[handle(&request, ARN)]).await.remove(0);
        match status {
            Status::Succeeded(_) => assert_eq!(expected, "succeeded"),
            Status::Failed(failure) => assert!(failure.message.contains(expected), "{}", failure.message),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_failure_shows_the_end_of_the_containers_log() {
    let definition = json!({ "taskDefinition": { "containerDefinitions": [{
        "name": "main", "logConfiguration": {
            "logDriver": "awslogs", "options": { "awslogs-group": "/etl", "awslogs-stream-prefix": "p" },
        },
    }] } });
    let double = Double::start([
        tasks(&[stopped(json!([{ "name": "main", "exitCode": 3 }]))]),
        Answer::Json(200, definition),
        Answer::Json(200, json!({ "events": [{ "timestamp": 1, "message": "ValueError: no rows" }] })),
    ])
    .await;
    let status = operator().poll(&double.clients, &[handle(&request(), ARN)]).await.remove(0);
    let Status::Failed(failure) = status else { panic!("{status:?}") };
    assert!(
        failure.message.ends_with("the end of its log (/etl p/main/t1):\nValueError: no rows"),
        "{failure:?}"
    );
    assert_eq!(double.operations(), ["DescribeTasks", "DescribeTaskDefinition", "GetLogEvents"]);
}

#[tokio::test]
async fn tasks_are_asked_for_together_and_may_be_forgotten() {
    let other = "arn:aws:ecs:us-east-1:1:task/etl/t2";
    let third = "arn:aws:ecs:us-east-1:1:task/etl/t3";
    let answer = json!({
        "tasks": [{ "taskArn": other, "lastStatus": "RUNNING" }], "failures": [{ "arn": ARN, "reason": "MISSING" }],
    });
    let double = Double::start([
        Answer::Json(200, answer),
        service_error(400, "ThrottlingException", "Rate exceeded"),
        service_error(400, "AccessDeniedException", "no"),
    ])
    .await;
    let handles = [ARN, other, third].map(|arn| handle(&request(), arn));
    let statuses = operator().poll(&double.clients, &handles).await;
    assert!(matches!(statuses[0], Status::Gone(_)), "{statuses:?}");
    assert!(matches!(statuses[1], Status::Running { .. }), "{statuses:?}");
    assert!(matches!(statuses[2], Status::Unavailable(_)), "an answer without it says nothing: {statuses:?}");
    assert_eq!(double.received()[0].json()["tasks"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn cancelling_what_is_gone_is_fine() {
    let double = Double::start([
        Answer::Json(200, json!({ "task": {} })),
        service_error(400, "InvalidParameterException", "The referenced task was not found."),
        service_error(400, "AccessDeniedException", "no"),
    ])
    .await;
    let handle = handle(&request(), ARN);
    assert_eq!(operator().cancel(&double.clients, &handle).await, Ok(()));
    assert_eq!(operator().cancel(&double.clients, &handle).await, Ok(()));
    assert!(operator().cancel(&double.clients, &handle).await.is_err());
    assert_eq!(double.received()[0].json()["cluster"], json!("etl"));
}

#[test]
fn the_console_link_leads_to_the_task() {
    let url = operator().console_url("eu-central-1", &handle(&request(), ARN)).unwrap();
    assert_eq!(
        url,
        "https://eu-central-1.console.aws.amazon.com/ecs/v2/clusters/etl/tasks/t1/configuration?region=eu-central-1"
    );
}
