//! `pipeline_wait` against a double of the engine.

use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::{aws::double::context, pipelines::double::Double};

fn now() -> Timestamp {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

fn operator() -> PipelineWait {
    let mut options = Options::for_looking();
    options.clock = Clock::from_fn(now);
    PipelineWait::new(&options)
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let config = serde_json::from_value(settings).map_err(|error| wrong(&error.to_string()))?;
    operator().prepare(&config, &context(Uuid::from_u128(1), Duration::from_secs(60)))
}

async fn waiting(clients: &Clients, settings: Value) -> Handle {
    let request = prepared(settings).unwrap();
    let baseline = operator().baseline(clients, &request).await.unwrap();
    let intent = Intent { request: &request, baseline: &baseline, intent_at: now(), now: now() };
    let Sent::Accepted(handle) = operator().send(clients, &intent).await else { panic!("not accepted") };
    assert_eq!(operator().find(clients, &intent).await, Found::Found(handle.clone()));
    handle
}

fn run(state: &str) -> RunStatus {
    let label = "child@2026-11-19".to_owned();
    RunStatus { id: Uuid::from_u128(7), label, state: state.to_owned(), generation: 1, ended_at: Some(now()) }
}

#[tokio::test]
async fn a_wait_ends_with_the_success_of_its_run_and_a_failure_only_if_asked() {
    let double = Double::default();
    let clients = Clients::default().with_pipelines(Arc::new(double.clone()));
    let settings = json!({ "pipeline": "child", "date": "2026-11-19" });
    let patient = waiting(&clients, settings.clone()).await;
    let strict =
        waiting(&clients, json!({ "pipeline": "child", "date": "2026-11-19", "if_failed": "fail" })).await;
    let handles = [patient, strict];
    let operator = operator();
    let mut heard = Vec::new();
    for state in ["", "running", "failed", "succeeded"] {
        double.set(|held| held.runs = if state.is_empty() { Vec::new() } else { vec![run(state)] });
        let statuses = operator.poll(&clients, &handles).await;
        let word = |status: &Status| match status {
            Status::Running { remote_state, poll_at: Some(_) } => format!("running: {remote_state}"),
            Status::Succeeded(outcome) => format!("succeeded: {}", outcome.outputs["run"]),
            Status::Failed(failure) => format!("failed: {}", failure.message),
            other => format!("{other:?}"),
        };
        heard.push(statuses.iter().map(word).collect::<Vec<_>>());
    }
    assert_eq!(
        heard,
        [
            ["running: no such run yet", "running: no such run yet"],
            ["running: running", "running: running"],
            ["running: failed", "failed: child@2026-11-19 failed\nSee it: trunkline show child@2026-11-19"],
            ["succeeded: \"child@2026-11-19\"", "succeeded: \"child@2026-11-19\""],
        ]
    );
    assert_eq!(double.asked(), vec!["awaited 2"; 4], "one question for all that wait");
}

#[tokio::test]
async fn a_wait_can_be_let_go_and_survives_a_store_that_is_down() {
    let double = Double::default();
    let clients = Clients::default().with_pipelines(Arc::new(double.clone()));
    let handle = waiting(&clients, json!({ "pipeline": "child", "since": "2026-11-19T00:00:00Z" })).await;
    let operator = operator();
    double.set(|held| held.is_down = true);
    assert!(matches!(
        operator.poll(&clients, std::slice::from_ref(&handle)).await[0],
        Status::Unavailable(_)
    ));
    double.set(|held| held.is_down = false);
    operator.cancel(&clients, &handle).await.unwrap();
    assert!(matches!(operator.poll(&clients, &[handle]).await[0], Status::Cancelled(_)));
}

#[test]
fn what_is_waited_for_is_said_in_one_way() {
    let complaint = |settings: Value| prepared(settings).unwrap_err().message;
    let either = "say either `date` (one run) or `since` (any run from then on)";
    assert_eq!(complaint(json!({ "pipeline": "child" })), either);
    let both = json!({ "pipeline": "child", "date": "2026-11-19", "since": "2026-11-19T00:00:00Z" });
    assert_eq!(complaint(both), either);
    assert!(
        complaint(json!({ "pipeline": "child", "since": "yesterday" })).starts_with("since: `yesterday`")
    );
    let strict = json!({ "pipeline": "child", "since": "2026-11-19T00:00:00Z", "if_failed": "fail" });
    assert!(complaint(strict).starts_with("if_failed: "));
}

#[tokio::test]
async fn it_asks_trunkline_alone_so_nothing_of_aws_is_needed() {
    let request = prepared(json!({ "pipeline": "child", "date": "2026-11-19" })).unwrap();
    let place =
        Place { partition: "aws", region: "us-east-1".to_owned(), account: "111122223333".to_owned() };
    assert_eq!(operator().needs(&request, &place), Some(Needs::default()));
    assert_eq!(operator().check(&Clients::default(), &request, &place).await, []);
}
