//! The checks find what they are there for: each test breaks one promise in evidence that
//! keeps all of them.

use serde_json::Value;

use super::*;
use crate::evidence::{HistoryFact, NoticeFact, Start, TaskFact};

fn start(operation: &str, marker: Option<&str>, id: &str) -> Start {
    Start {
        sequence: 1,
        operation: operation.to_owned(),
        subject: "faults-crawl-one".to_owned(),
        marker: marker.map(str::to_owned),
        id: id.to_owned(),
    }
}

fn attempt(position: i32, operator: &str, token: &str, external: Option<&str>) -> AttemptFact {
    AttemptFact {
        id: token.to_owned(),
        run: "r".to_owned(),
        position,
        number: 1,
        generation: 1,
        operator: operator.to_owned(),
        state: "succeeded".to_owned(),
        token: token.to_owned(),
        external_id: external.map(str::to_owned),
        reattached: false,
        intent_at: 10 + i64::from(position) * 10,
    }
}

fn task(position: i32) -> TaskFact {
    let ended_at = Some(15 + i64::from(position) * 10);
    TaskFact { run: "r".to_owned(), position, state: "succeeded".to_owned(), attempts: 1, ended_at }
}

fn change(task: Option<i64>, attempt: Option<i64>, from: Option<&str>, to: &str) -> Value {
    serde_json::json!({ "task": task, "attempt": attempt, "from": from, "to": to })
}

/// A run that crawled, converted and ran a command.
fn sound() -> Evidence {
    let changes = serde_json::json!([
        { "to": "queued" },
        change(None, None, Some("queued"), "running"),
        change(Some(0), None, Some("waiting"), "queued"),
        change(Some(0), None, Some("queued"), "running"),
        change(Some(0), Some(1), None, "starting"),
        change(Some(0), Some(1), Some("starting"), "running"),
        change(Some(0), Some(1), Some("running"), "succeeded"),
        change(None, None, Some("running"), "succeeded"),
    ]);
    Evidence {
        runs: vec![RunFact {
            id: "r".to_owned(),
            pipeline: "line".to_owned(),
            key: "2026-03-01".to_owned(),
            state: "succeeded".to_owned(),
            crawler: Some("faults-crawl-one".to_owned()),
            event_seq: 1,
            depends_on: vec![vec![], vec![0], vec![1]],
            generation: 1,
        }],
        tasks: vec![task(0), task(1), task(2)],
        attempts: vec![
            attempt(0, "glue_crawler", "a", Some("c1")),
            attempt(1, "glue_job", "b", Some("jr_1")),
            attempt(2, "command", "c", None),
        ],
        history: vec![HistoryFact { run: "r".to_owned(), seq: 1, changes }],
        notices: vec![NoticeFact {
            key: "r/1".to_owned(),
            run: "r".to_owned(),
            state: "sent".to_owned(),
            provider_id: Some("m1".to_owned()),
        }],
        places: vec![("pipeline line".to_owned(), 0)],
        ledger: vec![
            start("StartCrawler", None, "c1"),
            start("StartJobRun", Some("b"), "jr_1"),
            start("Publish", None, "m1"),
        ],
        commands: vec!["c".to_owned()],
        ended_then: HashMap::from([("a".to_owned(), "h".to_owned())]),
        ended_now: HashMap::from([("a".to_owned(), "h".to_owned()), ("b".to_owned(), "i".to_owned())]),
    }
}

fn broken(how: impl FnOnce(&mut Evidence)) -> Vec<String> {
    let mut evidence = sound();
    how(&mut evidence);
    check(&evidence)
}

#[test]
fn sound_evidence_has_no_violation() {
    assert_eq!(check(&sound()), Vec::<String>::new());
}

#[test]
fn a_second_start_is_found() {
    let again = |evidence: &mut Evidence| evidence.ledger.push(start("StartJobRun", Some("b"), "jr_2"));
    assert!(broken(again)[0].starts_with("I1: attempt 1 of task 1 of r (glue_job) was started 2 times"));
    let again = |evidence: &mut Evidence| evidence.ledger.push(start("StartCrawler", None, "c2"));
    assert!(broken(again)[0].starts_with("I1: faults-crawl-one was started 2 times for 1"));
    assert!(broken(|evidence| evidence.commands.push("c".to_owned()))[0].ends_with("ran 2 times"));
    assert!(broken(|evidence| evidence.commands.clear())[0].ends_with("ran 0 times"));
}

#[test]
fn a_start_of_nobody_is_found() {
    let orphan = |evidence: &mut Evidence| evidence.ledger.push(start("StartJobRun", Some("z"), "jr_2"));
    assert_eq!(broken(orphan), ["I2: StartJobRun jr_2 (z) belongs to no attempt"]);
    assert!(broken(|evidence| evidence.commands.push("z".to_owned()))[0].starts_with("I2"));
}

#[test]
fn a_wrong_end_is_found() {
    let failed = broken(|evidence| evidence.runs[0].state = "failed".to_owned());
    assert!(failed.iter().any(|text| text == "I4: line@2026-03-01 is failed, not succeeded"), "{failed:?}");
    assert!(broken(|evidence| evidence.attempts[1].state = "running".to_owned())[0].starts_with("I4"));
    assert!(broken(|evidence| evidence.attempts[1].state = "lost".to_owned())[0].starts_with("I4"));
    assert!(broken(|evidence| evidence.places[0].1 = 1)[0].starts_with("I11"));
    assert!(broken(|evidence| evidence.tasks[1].attempts = 2)[0].starts_with("I11"));
}

#[test]
fn a_change_of_history_is_found() {
    let rehashed = broken(|evidence| drop(evidence.ended_now.insert("a".to_owned(), "x".to_owned())));
    assert_eq!(rehashed, ["I8: the ended attempt a changed"]);
    assert!(broken(|evidence| evidence.history.clear())[0].starts_with("I5"));
    let other_end = broken(|evidence| evidence.attempts[0].state = "failed".to_owned());
    assert!(other_end.iter().any(|text| text.contains("does not end at failed")), "{other_end:?}");
    let illegal = broken(|evidence| {
        evidence.history[0].changes.as_array_mut().unwrap().push(change(
            Some(0),
            Some(1),
            Some("succeeded"),
            "running",
        ));
    });
    assert!(illegal[0].starts_with("I5: illegal transition"), "{illegal:?}");
    let gap = broken(|evidence| {
        evidence.history[0].changes.as_array_mut().unwrap().push(change(
            Some(0),
            None,
            Some("retrying"),
            "queued",
        ));
    });
    assert!(gap[0].contains("goes on from retrying"), "{gap:?}");
}

#[test]
fn a_start_before_its_upstreams_is_found() {
    assert!(broken(|evidence| evidence.attempts[1].intent_at = 3)[0].starts_with("I7"));
}

#[test]
fn a_notice_that_was_not_sent_is_found() {
    assert!(broken(|evidence| evidence.notices[0].state = "dead".to_owned())[0].starts_with("I9"));
    assert!(broken(|evidence| evidence.notices[0].provider_id = Some("m2".to_owned()))[0].starts_with("I9"));
    assert!(broken(|evidence| evidence.notices.clear())[0].starts_with("I9"));
}
