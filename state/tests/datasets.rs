//! Datasets against a real Postgres: each success of a task is one update, and what all of one interval wait for is one run.

mod stored;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::Map;
use trunkline_state::{
    ids::RunId,
    machine::{self, Command, Mark},
    pipeline::Pipeline,
    run::{Definition, Failure, Run, Trigger},
    schedule::{DataInterval, Interval},
    store::{Arrivals, MakeRun, RunFilter, Store, Taken},
    triggers::{DatasetSource, EventTrigger, TriggerSource, same_interval},
};
use uuid::Uuid;

use stored::{FIRST, Fixture, NOW, create, deployed, done, new_run, pipeline, prepared, save};

/// A pipeline whose first task writes these; its second one keeps the run going.
fn writing(name: &str, datasets: &[&str]) -> Pipeline {
    let mut writer = Pipeline { data_interval: DataInterval::Day, ..pipeline(name, 2, 100, None) };
    writer.tasks[1].depends_on.clear();
    writer.tasks[0].outlets = datasets.iter().map(|name| (*name).to_owned()).collect();
    writer
}

/// A pipeline whose runs updates make.
fn reading(name: &str, data_interval: DataInterval, on: DatasetSource) -> Pipeline {
    let on = TriggerSource::Dataset(on);
    let triggers = vec![EventTrigger { on, batch: None, params: IndexMap::new() }];
    Pipeline { data_interval, triggers, ..pipeline(name, 1, 100, None) }
}

fn all(names: &[&str]) -> DatasetSource {
    DatasetSource::All(names.iter().map(|name| (*name).to_owned()).collect())
}

fn day(number: i64) -> Interval {
    let at = |number: i64| Timestamp::from_second(1_800_057_600 + number * 86_400).unwrap();
    Interval { start: at(number), end: at(number + 1) }
}

fn maker(first: u128) -> Arc<MakeRun> {
    let next = AtomicU64::new(0);
    Arc::new(move |occasion| {
        let update = &occasion.updates[0];
        let pipeline = &occasion.definition.pipeline;
        let covered = same_interval(pipeline, &update.pipeline, &update.key, update.interval())?;
        let (interval, key) = covered.unzip();
        let id = first + u128::from(next.fetch_add(1, Ordering::Relaxed));
        let mut run = Run::new(
            RunId(Uuid::from_u128(id)),
            Arc::clone(occasion.definition),
            occasion.installation,
            key.unwrap_or_else(|| occasion.key.clone()),
            interval.map_or(occasion.now, |interval| interval.start),
            interval,
            None,
            Map::new(),
            Trigger::Dataset,
            occasion.now,
        );
        let told = occasion.updates.iter().map(|update| update.value()).collect();
        run.told = Arc::new(Map::from_iter([("datasets".to_owned(), told)]));
        Ok(run)
    })
}

/// What is due now of what waited, as whoever looks around does it.
async fn look(store: &Store, make: &Arc<MakeRun>) -> Taken {
    let pipelines = store.due_triggers(100).await.unwrap();
    store.take_events(Arrivals { pipelines, ..Arrivals::default() }, Arc::clone(make)).await.unwrap()
}

/// The keys of a pipeline's runs, and which updates each was told: `dataset by run`.
async fn told(store: &Store, pipeline: &str) -> BTreeMap<String, Vec<String>> {
    let filter = RunFilter { pipeline: Some(pipeline.into()), state: None, limit: 1_000 };
    let mut runs = BTreeMap::new();
    for row in store.runs(&filter).await.unwrap() {
        let told = store.told(row.id).await.unwrap().unwrap();
        let text = |one: &serde_json::Value, name: &str| one[name].as_str().unwrap().to_owned();
        let updates = told["datasets"].as_array().unwrap().iter();
        let updates = updates.map(|one| format!("{} by {}", text(one, "name"), text(one, "run"))).collect();
        assert!(runs.insert(row.key, updates).is_none());
    }
    runs
}

async fn waiting(store: &Store, pipeline: &str) -> usize {
    store.waiting_events(pipeline, 1_000).await.unwrap().len()
}

/// A run of a day under way, owned with fence 1.
async fn begun(store: &Store, definition: &Arc<Definition>, id: u128, number: i64) -> Run {
    let (mut run, delta) = new_run(store, definition, id, &format!("k{id}")).await;
    (run.interval, run.logical_date) = (Some(day(number)), day(number).start);
    create(store, &run, &delta).await;
    run
}

/// Lets the first task of a run succeed, with its newest attempt.
async fn succeed(store: &Store, run: &mut Run) {
    let attempt = machine::AttemptKey { task: 0, number: run.tasks[0].attempts };
    let delta = machine::step(run, &[done(attempt)], NOW);
    assert!(save(store, run, 1, &delta).await.unwrap());
}

/// The same again, in a new generation.
async fn again(store: &Store, run: &mut Run) {
    let clear = Command::Clear { tasks: vec![0], generation: None, reason: None };
    let mut delta = machine::ask(run, "user:test", &clear, NOW).unwrap();
    let next = prepared(run.upcoming(0));
    delta.merge(machine::step(run, &[next], NOW));
    assert!(save(store, run, 1, &delta).await.unwrap());
    succeed(store, run).await;
}

#[tokio::test]
async fn a_success_is_one_update_for_each_generation_and_nothing_else_is() {
    let fixture = Fixture::new("datasets_once").await;
    let store = fixture.replica(1).await;
    let writer = deployed(&store, writing("w", &["s3://b/one/", "two"])).await;
    deployed(&store, reading("r", DataInterval::None, all(&["s3://b/one/", "two", "three"]))).await;
    let mut run = begun(&store, &writer, 100, 0).await;
    succeed(&store, &mut run).await;
    assert_eq!(waiting(&store, "r").await, 2);
    // The row is written again, as by a commit whose answer was lost.
    let mut delta = machine::Delta::default();
    delta.tasks.insert(0);
    assert!(save(&store, &run, 1, &delta).await.unwrap());
    assert_eq!(waiting(&store, "r").await, 2, "it had succeeded already");
    let last = store.last_updates(&["two".into(), "three".into()]).await.unwrap();
    assert_eq!((last.len(), last["two"].run(), last["two"].generation), (1, "w@k100".to_owned(), 1));
    again(&store, &mut run).await;
    assert_eq!(waiting(&store, "r").await, 4, "a task that is cleared updates again");
    assert_eq!(store.last_updates(&["two".into()]).await.unwrap()["two"].generation, 2);

    let mut run = begun(&store, &writer, 101, 0).await;
    let failed = machine::Event::Failed {
        attempt: FIRST,
        failure: Failure::new("failed", "broke"),
        outcome: serde_json::Value::Null,
    };
    let delta = machine::step(&mut run, &[failed], NOW);
    assert!(save(&store, &run, 1, &delta).await.unwrap());
    assert_eq!(waiting(&store, "r").await, 4, "a failure updates nothing");
    let command = Command::Mark { tasks: vec![0], mark: Mark::Succeeded, reason: None };
    let delta = machine::ask(&mut run, "user:test", &command, NOW).unwrap();
    assert!(save(&store, &run, 1, &delta).await.unwrap());
    assert_eq!(waiting(&store, "r").await, 6, "a person's word counts like the task's own");
}

#[tokio::test]
async fn all_of_one_interval_make_its_run_in_any_order() {
    let fixture = Fixture::new("datasets_interval").await;
    let (one, two) = (fixture.replica(1).await, fixture.replica(2).await);
    let a = deployed(&one, writing("wa", &["a"])).await;
    let b = deployed(&one, writing("wb", &["b"])).await;
    deployed(&one, reading("r", DataInterval::Day, all(&["a", "b"]))).await;
    let make = maker(1 << 64);
    let mut runs = BTreeMap::new();
    for (id, (writer, number)) in
        [(&a, 1), (&b, 2), (&a, 0), (&b, 0), (&b, 3), (&a, 2)].into_iter().enumerate()
    {
        let mut run = begun(&one, writer, 100 + id as u128, number).await;
        succeed(&one, &mut run).await;
        // Two servers look at the same time.
        let other = maker((2 + id as u128) << 64);
        tokio::join!(look(&one, &make), look(&two, &other));
        runs.insert(id, run);
    }
    let expected = [(0, vec!["a by wa@k102", "b by wb@k103"]), (2, vec!["a by wa@k105", "b by wb@k101"])];
    let key = |number| format!("2027-01-{:02}", 16 + number);
    let expected: BTreeMap<String, Vec<String>> = expected
        .into_iter()
        .map(|(number, told)| (key(number), told.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(told(&one, "r").await, expected);
    assert_eq!(waiting(&one, "r").await, 2, "of the other days one is missing");
    // What is cleared has its run, and waits for nothing.
    for id in [0, 2] {
        again(&one, runs.get_mut(&id).unwrap()).await;
        look(&one, &make).await;
    }
    assert_eq!(told(&one, "r").await, expected);
    let waits = one.updated_datasets("r").await.unwrap();
    let waits: BTreeSet<(String, Timestamp)> =
        waits.into_iter().map(|(name, interval)| (name, interval.unwrap().start)).collect();
    assert_eq!(waits, BTreeSet::from([("a".into(), day(1).start), ("b".into(), day(3).start)]));
}

#[tokio::test]
async fn without_an_interval_updates_gather_until_none_is_missing() {
    let fixture = Fixture::new("datasets_gather").await;
    let store = fixture.replica(1).await;
    let a = deployed(&store, writing("wa", &["a"])).await;
    let b = deployed(&store, writing("wb", &["b", "c"])).await;
    deployed(&store, reading("r", DataInterval::None, all(&["b", "a"]))).await;
    let any = DatasetSource::Any(vec!["a".into(), "c".into()]);
    deployed(&store, reading("s", DataInterval::None, any)).await;
    let make = maker(1 << 64);
    store.set_paused("s", true, "user:test", None).await.unwrap();
    for (id, number) in [(100, 0), (101, 1)] {
        let mut run = begun(&store, &a, id, number).await;
        succeed(&store, &mut run).await;
        assert!(look(&store, &make).await.runs.is_empty());
    }
    let mut run = begun(&store, &b, 102, 0).await;
    succeed(&store, &mut run).await;
    assert_eq!(look(&store, &make).await.runs.len(), 1);
    let runs = told(&store, "r").await.into_values().collect::<Vec<_>>();
    assert_eq!(runs, [["b by wb@k102", "a by wa@k100", "a by wa@k101"]], "in the order of the trigger");
    store.set_paused("s", false, "user:test", None).await.unwrap();
    assert_eq!(look(&store, &make).await.runs.len(), 1, "one run of all that came while it was paused");
    let runs = told(&store, "s").await.into_values().collect::<Vec<_>>();
    assert_eq!(runs, [["a by wa@k100", "a by wa@k101", "c by wb@k102"]]);
    // Another version that waits for something else keeps what it cannot use.
    let mut run = begun(&store, &a, 103, 2).await;
    succeed(&store, &mut run).await;
    deployed(&store, reading("r", DataInterval::None, all(&["b"]))).await;
    let taken = look(&store, &make).await;
    assert_eq!(taken.refused, [("r".to_owned(), "no trigger of this version takes it".to_owned())]);
    assert_eq!(waiting(&store, "r").await, 1);
}

#[tokio::test]
async fn what_is_complete_is_seen_however_much_else_waits() {
    let fixture = Fixture::new("datasets_many").await;
    let store = fixture.replica(1).await;
    let a = deployed(&store, writing("wa", &["a"])).await;
    let b = deployed(&store, writing("wb", &["b"])).await;
    deployed(&store, reading("r", DataInterval::Day, all(&["a", "b"]))).await;
    let make = maker(1 << 64);
    let mut run = begun(&store, &a, 100, 0).await;
    succeed(&store, &mut run).await;
    // Years of days of which only the one was updated, all older than what follows.
    sqlx::query(
        "insert into trigger_event (pipeline, source, dedupe_key, received_at, body)
         select pipeline, source, 'k' || n, received_at - interval '1 day',
                body || jsonb_build_object(
                  'interval_start', (body ->> 'interval_start')::timestamptz + make_interval(days => n),
                  'interval_end', (body ->> 'interval_end')::timestamptz + make_interval(days => n))
           from trigger_event, generate_series(1, 3000) n",
    )
    .execute(store.pool())
    .await
    .unwrap();
    let mut run = begun(&store, &b, 101, 0).await;
    succeed(&store, &mut run).await;
    assert_eq!(look(&store, &make).await.runs.len(), 1);
    assert_eq!(told(&store, "r").await.into_values().collect::<Vec<_>>(), [["a by wa@k100", "b by wb@k101"]]);
    let mut run = begun(&store, &b, 102, 2_900).await;
    succeed(&store, &mut run).await;
    assert_eq!(look(&store, &make).await.runs.len(), 1);
}

#[tokio::test]
async fn an_interval_that_is_none_of_the_pipeline_is_refused_at_once() {
    let fixture = Fixture::new("datasets_other").await;
    let store = fixture.replica(1).await;
    let a = deployed(&store, writing("wa", &["a"])).await;
    deployed(&store, reading("r", DataInterval::Hour, all(&["a", "b"]))).await;
    let mut run = begun(&store, &a, 100, 0).await;
    succeed(&store, &mut run).await;
    let taken = look(&store, &maker(1 << 64)).await;
    assert_eq!((taken.runs.len(), taken.refused.len()), (0, 1));
    assert!(taken.refused[0].1.contains("which is no interval of r"), "{:?}", taken.refused);
}
