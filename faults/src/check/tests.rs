//! The checks find what they are there for: each test breaks one promise in evidence that
//! keeps all of them.

use serde_json::Value;

use super::*;
use crate::evidence::{Action, Audit, Call, HistoryFact, NoticeFact, Start, TaskFact};

fn start(operation: &str, marker: Option<&str>, id: &str) -> Start {
    Start {
        sequence: 1,
        operation: operation.to_owned(),
        subject: "faults-crawl-one".to_owned(),
        marker: marker.map(str::to_owned),
        id: id.to_owned(),
        at: Some(jiff::Timestamp::UNIX_EPOCH),
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
        ended_at: Some(15 + i64::from(position) * 10),
        body: serde_json::json!({ "StartJobRun": sent(token) }),
        failure: String::new(),
    }
}

fn sent(token: &str) -> Value {
    serde_json::json!({ "JobName": "j", "Arguments": { "--trunkline-attempt": token } })
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
            trigger: "manual".to_owned(),
            wanted: vec!["succeeded"],
        }],
        tasks: vec![task(0), task(1), task(2)],
        attempts: vec![
            attempt(0, "glue_crawler", "a", Some("c1")),
            attempt(1, "glue_job", "b", Some("jr_1")),
            attempt(2, "command", "c", None),
        ],
        history: vec![HistoryFact { run: "r".to_owned(), seq: 1, actor: "replica:0123".to_owned(), changes }],
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
        calls: vec![Call { operation: "StartJobRun".to_owned(), body: sent("b").to_string() }],
        jobs: vec![("jr_1".to_owned(), "SUCCEEDED".to_owned())],
        accepted: vec![("line", "2026-03-01".to_owned())],
        actions: vec![Action {
            user: "rig-1".to_owned(),
            operation: "clear",
            confirmed: true,
            interrupted: false,
        }],
        audit: HashMap::from([("rig-1".to_owned(), Audit { lines: 1, mentions: 2 })]),
        ..Evidence::default()
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

#[test]
fn what_happens_outside_is_found() {
    let call =
        |operation: &str, body: Value| Call { operation: operation.to_owned(), body: body.to_string() };
    let other = serde_json::json!({ "JobName": "k", "Arguments": { "--trunkline-attempt": "b" } });
    let resent = broken(|evidence| evidence.calls.push(call("StartJobRun", other)));
    assert!(resent[0].starts_with("I1") && resent[0].contains("was sent as"), "{resent:?}");
    let stop = call("BatchStopJobRun", serde_json::json!({ "JobName": "j", "JobRunIds": ["jr_1", "jr_9"] }));
    let foreign = broken(|evidence| evidence.calls.push(stop));
    assert_eq!(foreign, ["I14: BatchStopJobRun was called for jr_9, which is not ours"]);
    let running = broken(|evidence| evidence.jobs[0].1 = "RUNNING".to_owned());
    assert_eq!(running, ["I2: job run jr_1 of faults-crawl-one is RUNNING at rest"]);
    let orphan = broken(|evidence| evidence.attempts[1].external_id = None);
    assert!(orphan[0].starts_with("I2") && orphan[0].contains("jr_1"), "{orphan:?}");
    let second = |number: i64| jiff::Timestamp::from_second(number).unwrap();
    let blind = broken(|evidence| {
        evidence.away = vec![(second(10), second(20))];
        evidence.ledger[1].at = Some(second(15));
    });
    assert_eq!(blind, ["I2: StartJobRun was accepted 5000 ms after the store went away"]);
    assert!(broken(|evidence| evidence.canary.push("table run".to_owned()))[0].starts_with("I12"));
    assert!(broken(|evidence| evidence.forgotten_transactions = 1)[0].starts_with("I5"));
}

#[test]
fn a_missing_or_a_second_run_and_line_are_found() {
    let missing = broken(|evidence| evidence.accepted.push(("fan", "2026-03-01".to_owned())));
    assert_eq!(missing, ["I3: fan@2026-03-01 was accepted and has 0 runs"]);
    assert_eq!(broken(|evidence| evidence.fires = Some("tick")), ["I3: the fire of tick made 0 runs"]);
    assert!(broken(|evidence| evidence.audit.clear())[0].starts_with("I13"));
    let doubled = broken(|evidence| {
        evidence.audit = HashMap::from([("rig-1".to_owned(), Audit { lines: 2, mentions: 2 })]);
    });
    assert!(doubled[0].starts_with("I13: `clear` of rig-1 has 2 lines"), "{doubled:?}");
    assert!(broken(|evidence| evidence.miscounted.push("r".to_owned()))[0].starts_with("I11"));
}

#[test]
fn a_second_attempt_before_the_end_of_the_first_is_found() {
    let early = broken(|evidence| {
        evidence.tasks[1].attempts = 2;
        let mut again = attempt(1, "glue_job", "d", None);
        again.number = 2;
        again.intent_at = 24;
        evidence.attempts.push(again);
    });
    assert!(early.iter().any(|text| text.starts_with("I6: attempt 2 of task 1")), "{early:?}");
}

#[test]
fn a_lost_attempt_is_right_only_where_a_person_said_so() {
    let lost = |failure: &str| {
        let failure = failure.to_owned();
        broken(move |evidence| {
            evidence.attempts[1].state = "lost".to_owned();
            evidence.attempts[1].external_id = None;
            evidence.attempts[1].failure = failure;
            evidence.history[0].changes =
                serde_json::json!([{ "to": "queued" }, { "from": "queued", "to": "failed" }]);
            evidence.runs[0].state = "failed".to_owned();
        })
    };
    assert!(lost("declared lost by user:rig-1-0-0").iter().all(|text| text.starts_with("I5")));
    assert!(lost("too often").iter().any(|text| text.ends_with("ended as lost")));
}

#[test]
fn a_cancelled_task_is_a_reason_for_a_failed_run_only_in_a_persons_name() {
    let failed = |actor: &'static str| {
        broken(move |evidence| {
            evidence.runs[0].wanted = vec!["failed"];
            evidence.runs[0].state = "failed".to_owned();
            evidence.history.push(HistoryFact {
                run: "r".to_owned(),
                seq: 2,
                actor: actor.to_owned(),
                changes: serde_json::json!([change(Some(2), None, Some("running"), "cancelled")]),
            });
        })
    };
    let unsaid = |found: &[String]| found.iter().any(|text| text.contains("no attempt says why"));
    assert!(!unsaid(&failed("user:rig-1-0-0")));
    assert!(unsaid(&failed("replica:0123")));
}

#[test]
fn what_people_asked_for_is_counted_by_what_history_knows() {
    let mut evidence = sound();
    let action = |user: &str, operation, confirmed, interrupted| Action {
        user: user.to_owned(),
        operation,
        confirmed,
        interrupted,
    };
    evidence.actions = vec![
        action("rig-1", "clear", false, true),
        action("rig-2", "clear", false, false),
        action("rig-3", "clear", false, true),
        action("rig-4", "backfill", true, false),
    ];
    let counts = operations(&evidence);
    assert_eq!(counts["clear"], Carried { done: 1, refused: 1, cut_off: 1 });
    assert_eq!(counts["backfill"], Carried { done: 1, refused: 0, cut_off: 0 });
}
