//! What the store keeps beside runs, against a real Postgres: backfills, deadlines, and what is purged.

mod stored;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};
use trunkline_state::{
    machine::{self, Command},
    run::Run,
    schedule::{Interval, Selected},
    store::{Batch, Commit, Late, NewBackfill, Reprocess, RunRange, Store},
    words::RunState,
};
use uuid::Uuid;

use stored::{FIRST, Fixture, NOW, create, deployed, done, new_run, pipeline, save};

async fn rows(store: &Store, table: &str) -> i64 {
    let count = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(count).fetch_one(store.pool()).await.unwrap()
}

#[tokio::test]
async fn old_runs_go_with_everything_of_theirs_and_nothing_that_lives() {
    let fixture = Fixture::new("purge").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 1, 9, None)).await;
    for (id, key) in [(20, "old"), (21, "older"), (22, "live")] {
        let (mut run, delta) = new_run(&store, &definition, id, key).await;
        create(&store, &run, &delta).await;
        if key != "live" {
            let ended = machine::step(&mut run, &[done(FIRST)], NOW);
            assert!(save(&store, &run, 1, &ended).await.unwrap());
        }
    }
    let at_their_end = NOW;
    let later = NOW + SignedDuration::from_secs(1);
    assert_eq!(store.purgeable("p", at_their_end).await.unwrap(), 0, "as old as the retention is not older");
    assert_eq!(store.purgeable("other", later).await.unwrap(), 0);
    assert_eq!(store.purgeable("p", later).await.unwrap(), 2);
    assert_eq!(store.purge("p", later, 1).await.unwrap(), 1, "some at a time");
    assert_eq!(store.purge("p", later, 9).await.unwrap(), 1);
    assert_eq!(store.purge("p", later, 9).await.unwrap(), 0);
    for table in ["run", "task_run", "attempt", "event"] {
        assert_eq!(rows(&store, table).await, 1, "{table}: what lives is left");
    }
    store.purge_traces(Timestamp::MAX).await.unwrap();
    assert_eq!(rows(&store, "replica").await, 1, "who lives is left");
}

#[tokio::test]
async fn what_people_ask_is_on_record_once_whether_the_owner_hears_it_or_reads_it() {
    let fixture = Fixture::new("record").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 2, 9, None)).await;
    let (mut run, delta) = new_run(&store, &definition, 30, "a").await;
    create(&store, &run, &delta).await;
    let ask = async |run: &mut Run, command: &Command, actor: &str, letters: &[i64], fence| {
        let delta = machine::ask(run, actor, command, NOW).unwrap();
        let asked = [(actor.to_owned(), command.clone())];
        let asked = if letters.is_empty() { &asked[..] } else { &[] };
        let mut batch = Batch::default();
        batch.push(&Commit { run, fence, delta: &delta, actor, letters, asked }).unwrap();
        store.save(&batch).await.unwrap().len()
    };
    let cancel = Command::Cancel { task: Some(FIRST.task), reason: Some("late".to_owned()) };
    assert_eq!(
        ask(&mut run.clone(), &cancel, "user:other", &[], 2).await,
        0,
        "whoever owns it no more does nothing"
    );
    assert_eq!(ask(&mut run, &cancel, "user:ana", &[], 1).await, 1);
    let pause = Command::Pause { reason: None };
    let letter = store.post(run.id, &pause, "user:bob").await.unwrap();
    assert_eq!(ask(&mut run, &pause, "user:bob", &[letter], 1).await, 1);
    let rows = store.audit(None, Some("p"), None, 100).await.unwrap();
    let asked = rows.iter().filter(|row| row.detail.get("command").is_some());
    let asked: Vec<_> =
        asked.map(|row| (row.actor.as_str(), row.action.as_str(), row.detail.clone())).collect();
    let task = run.task_name(FIRST.task);
    assert_eq!(
        asked,
        [
            ("user:bob", "run.pause", json!({ "command": "pause", "reason": null })),
            ("user:ana", "run.cancel", json!({ "command": "cancel", "reason": "late", "tasks": [task] })),
        ]
    );
}

fn date(day: i64) -> Selected {
    let start = NOW + SignedDuration::from_hours(24 * day);
    let interval = Interval { start, end: start + SignedDuration::from_hours(24) };
    Selected {
        interval: Some(interval),
        fire: None,
        logical_date: start,
        finished: true,
        key: format!("d{day}"),
    }
}

#[tokio::test]
async fn a_backfill_is_held_by_one_and_told_once() {
    let fixture = Fixture::new("backfill").await;
    let (store, other) = (fixture.replica(1).await, fixture.replica(2).await);
    let definition = deployed(&store, pipeline("p", 1, 9, None)).await;
    let id = Uuid::from_u128(77);
    let new = NewBackfill {
        id,
        pipeline: "p".into(),
        version: 1,
        reprocess: Reprocess::Missing,
        max_active: 2,
        params: Map::new(),
        actor: "user:test".into(),
        reason: None,
        runs: (0..3).map(date).collect(),
    };
    store.create_backfill(&new).await.unwrap();
    let hold = Duration::from_secs(60);
    assert_eq!(store.take_backfill(None, hold).await.unwrap(), Some(id));
    assert_eq!(other.take_backfill(None, hold).await.unwrap(), None, "one at a time");
    assert_eq!(other.take_backfill(Some(id), hold).await.unwrap(), None);
    let dates = store.backfill_dates(id, &["waiting"], 9).await.unwrap();
    assert_eq!(dates.iter().map(|date| date.key.as_str()).collect::<Vec<_>>(), ["d0", "d1", "d2"]);
    store.begin_backfill_date(id, dates[0].ordinal, 1).await.unwrap();
    store.leave_backfill_date(id, dates[1].ordinal, "has a run").await.unwrap();
    store.leave_backfill_date(id, dates[2].ordinal, "has a run").await.unwrap();
    assert!(!store.finish_backfill(id, 1, 1).await.unwrap(), "one date is under way");

    let (mut run, delta) = new_run(&store, &definition, 30, "d0").await;
    create(&store, &run, &delta).await;
    assert_eq!(store.backfill_of(run.id.0, 1).await.unwrap(), Some(id));
    assert_eq!(store.backfill_of(run.id.0, 2).await.unwrap(), None, "a later clear is somebody else's");
    let ended = machine::step(&mut run, &[done(FIRST)], NOW);
    assert!(save(&store, &run, 1, &ended).await.unwrap());
    store.release_backfill(id, Duration::ZERO).await.unwrap();
    assert_eq!(other.take_backfill(None, hold).await.unwrap(), Some(id), "whoever comes next");
    let row = other.backfill(id).await.unwrap().unwrap();
    assert_eq!((row.total, row.begun, row.over), (3, 0, 3));
    assert!(other.finish_backfill(id, 2, 1).await.unwrap());
    assert!(!other.finish_backfill(id, 2, 1).await.unwrap());
    assert_eq!(rows(&store, "outbox").await, 2, "one digest for each notice of success");
    assert!(!store.cancel_backfill(id, "user:test").await.unwrap(), "it is over");
    let entries = store.runs_between("p", &RunRange::default(), 9).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| (entry.key.as_str(), entry.state)).collect::<Vec<_>>(),
        [("d0", RunState::Succeeded)]
    );
}

#[tokio::test]
async fn however_many_look_a_late_run_is_told_of_once() {
    let fixture = Fixture::new("late").await;
    let (store, other) = (fixture.replica(1).await, fixture.replica(2).await);
    deployed(&store, pipeline("p", 1, 9, None)).await;
    let late = Late { version: 1, key: "d0".into(), fire: NOW, due: NOW, before: 0, notices: 2 };
    for replica in [&store, &other] {
        replica.looked_at_deadlines("p", NOW, None, Some(&late)).await.unwrap();
    }
    assert_eq!(rows(&store, "outbox").await, 2);
    assert!(store.was_in_trouble("p", "d0", 1, NOW).await.unwrap());
    assert!(!store.was_in_trouble("p", "d1", 1, NOW).await.unwrap());
    assert!(store.late_pipelines(9).await.unwrap().is_empty(), "nothing more is due");
}
