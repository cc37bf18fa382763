//! `run_pipeline` against a double of the engine.

use std::sync::Arc;

use super::*;
use crate::{aws::double::context, pipelines::double::Double};

const ATTEMPT: Uuid = Uuid::from_u128(0xa);

fn operator() -> RunPipeline {
    let mut options = Options::for_looking();
    options.clock = Clock::from_fn(now);
    RunPipeline::new(&options)
}

fn now() -> Timestamp {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let config = serde_json::from_value(settings).map_err(|error| wrong(error.to_string()))?;
    operator().prepare(&config, &context(ATTEMPT, Duration::from_secs(60)))
}

fn clients(double: &Double) -> Clients {
    Clients::default().with_pipelines(Arc::new(double.clone()))
}

/// One attempt: its request and what was remembered before it.
struct Attempt {
    request: Request,
    baseline: Value,
}

impl Attempt {
    async fn new(double: &Double, settings: Value) -> Self {
        let request = prepared(settings).unwrap();
        let baseline = operator().baseline(&clients(double), &request).await.unwrap();
        Self { request, baseline }
    }

    fn intent(&self) -> Intent<'_> {
        Intent { request: &self.request, baseline: &self.baseline, intent_at: now(), now: now() }
    }

    async fn send(&self, double: &Double) -> Sent {
        operator().send(&clients(double), &self.intent()).await
    }

    async fn find(&self, double: &Double) -> Found {
        operator().find(&clients(double), &self.intent()).await
    }
}

fn end(double: &Double, state: &str) {
    double.set(|held| held.runs[0].state = state.to_owned());
}

fn accepted(sent: Sent) -> Handle {
    let Sent::Accepted(handle) = sent else { panic!("{sent:?}") };
    handle
}

#[tokio::test]
async fn a_run_is_made_once_whoever_repeats_the_start() {
    let double = Double::default();
    let attempt = Attempt::new(&double, json!({ "pipeline": "child", "date": "2026-11-19" })).await;
    double.set(|held| held.loses_answer = true);
    assert!(matches!(attempt.send(&double).await, Sent::Unknown(_)));
    let Found::Found(found) = attempt.find(&double).await else { panic!("not found") };
    assert_eq!(found.id, "child@2026-11-19");
    assert_eq!(accepted(attempt.send(&double).await), found);
    assert_eq!(double.0.lock().unwrap().runs.len(), 1);
    assert!(double.asked().contains(&"start 2026-11-19 by task:p@1/t".to_owned()), "{:?}", double.asked());
}

#[tokio::test]
async fn an_unseen_start_may_be_repeated_and_a_store_that_is_down_is_waited_for() {
    let double = Double::default();
    let attempt = Attempt::new(&double, json!({ "pipeline": "child" })).await;
    assert_eq!(attempt.find(&double).await, Found::SafeToRepeat);
    double.set(|held| held.is_down = true);
    assert!(matches!(attempt.find(&double).await, Found::NotYetKnown { .. }));
    assert!(matches!(attempt.send(&double).await, Sent::Unknown(_)));
    double.set(|held| held.is_down = false);
    // Without a date the key is the attempt's own.
    assert_eq!(accepted(attempt.send(&double).await).id, format!("child@{ATTEMPT}"));
}

#[tokio::test]
async fn what_is_there_already_is_taken_as_the_task_says() {
    let cases = [
        ("join", "failed", ""),
        ("join", "running", ""),
        ("clear_failed", "failed", "again Failed"),
        ("clear_failed", "cancelled", "again Failed"),
        ("clear_failed", "succeeded", ""),
        ("clear_failed", "running", ""),
        ("rerun", "succeeded", "again All"),
        ("rerun", "running", ""),
    ];
    for (existing, state, expected) in cases {
        let double = Double::default();
        let first = Attempt::new(&double, json!({ "pipeline": "child", "date": "d" })).await;
        accepted(first.send(&double).await);
        end(&double, state);
        let settings = json!({ "pipeline": "child", "date": "d", "existing": existing });
        let attempt = Attempt::new(&double, settings).await;
        let handle = accepted(attempt.send(&double).await);
        // Twice, as after a lost answer: no second generation.
        accepted(attempt.send(&double).await);
        let again: Vec<String> =
            double.asked().into_iter().filter(|asked| asked.starts_with("again")).collect();
        let wanted: Vec<String> = Some(expected)
            .filter(|text| !text.is_empty())
            .map(|text| format!("{text} by task:p@1/t"))
            .into_iter()
            .collect();
        assert_eq!(again, wanted, "{existing} {state}");
        // Only what this task set going is stopped with it.
        operator().cancel(&clients(&double), &handle).await.unwrap();
        let passed_on = double.asked().iter().any(|asked| asked.starts_with("cancel"));
        assert_eq!(passed_on, !expected.is_empty(), "{existing} {state}");
    }
}

#[tokio::test]
async fn many_waiters_are_one_question_and_each_hears_its_end() {
    let double = Double::default();
    let operator = operator();
    let clients = clients(&double);
    let mut handles = Vec::new();
    for day in ["1", "2", "3", "4"] {
        let attempt = Attempt::new(&double, json!({ "pipeline": "child", "date": day })).await;
        handles.push(accepted(attempt.send(&double).await));
    }
    double.set(|held| {
        for (run, state) in held.runs.iter_mut().zip(["running", "succeeded", "failed", "cancelled"]) {
            run.state = state.into();
        }
        held.asked.clear();
    });
    let statuses = operator.poll(&clients, &handles).await;
    assert_eq!(double.asked().iter().filter(|asked| asked.starts_with("states")).count(), 1);
    let Status::Running { remote_state, poll_at } = &statuses[0] else { panic!("{statuses:?}") };
    assert_eq!((remote_state.as_str(), poll_at.is_some()), ("running", true));
    let Status::Succeeded(outcome) = &statuses[1] else { panic!("{statuses:?}") };
    assert_eq!(outcome.outputs["tasks"]["load"]["rows"], 3);
    assert_eq!(outcome.outputs["run"], "child@2");
    let Status::Failed(failure) = &statuses[2] else { panic!("{statuses:?}") };
    assert_eq!(failure.message, "child@3 failed: load: no such table\nSee it: trunkline show child@3");
    assert!(matches!(&statuses[3], Status::Cancelled(_)));
    double.set(|held| held.runs.clear());
    assert!(matches!(operator.poll(&clients, &handles[..1]).await[0], Status::Gone(_)));
    double.set(|held| held.is_down = true);
    assert!(matches!(operator.poll(&clients, &handles[..1]).await[0], Status::Unavailable(_)));
}

#[tokio::test]
async fn a_task_that_does_not_wait_ends_with_the_start() {
    let double = Double::default();
    let attempt = Attempt::new(&double, json!({ "pipeline": "child", "date": "d", "wait": false })).await;
    let Sent::Done(outcome) = attempt.send(&double).await else { panic!("not done") };
    assert_eq!(outcome.outputs["run"], "child@d");
    let Found::Done(found) = attempt.find(&double).await else { panic!("not done") };
    assert_eq!(found.outputs["run_id"], outcome.outputs["run_id"]);
}

#[tokio::test]
async fn wrong_names_are_said_at_once() {
    let complaint = |settings: Value| prepared(settings).unwrap_err().message;
    assert_eq!(complaint(json!({ "pipeline": "A b" })), "pipeline: `A b` is no name of a pipeline");
    let request = prepared(json!({ "pipeline": "other" })).unwrap();
    let failure = operator().baseline(&clients(&Double::default()), &request).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Config);
    let failure = operator().baseline(&Clients::default(), &request).await.unwrap_err();
    assert!(failure.message.contains("no engine"), "{}", failure.message);
}

#[tokio::test]
async fn it_asks_trunkline_alone_so_nothing_of_aws_is_needed() {
    let request = prepared(json!({ "pipeline": "child", "date": "2026-11-19" })).unwrap();
    let place =
        Place { partition: "aws", region: "us-east-1".to_owned(), account: "111122223333".to_owned() };
    assert_eq!(operator().needs(&request, &place), Some(Needs::default()));
    assert_eq!(operator().check(&Clients::default(), &request, &place).await, []);
}
