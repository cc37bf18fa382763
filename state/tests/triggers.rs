//! Events that make runs, against a real Postgres: each counts once, waits where it must, and is never lost.

mod stored;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use trunkline_state::{
    ids::{ReplicaId, RunId},
    machine,
    pipeline::Pipeline,
    run::{Definition, Failure, Run, Trigger},
    store::{
        Arrivals, Batch, Commit, MakeRun, NewEvent, NewVersion, Place, PoisonMessage, QueueAsked,
        QueueReport, Role, RunFilter, Store, Taken,
    },
    triggers::{
        BatchLimits, EVENTS_KEPT, EventSource, EventTrigger, ObjectEvent, ObjectSource, RunEnd, RunSource,
        TriggerSource, batch_key,
    },
};
use uuid::Uuid;

use stored::{FIRST, Fixture, NOW, create, deployed, done, new_run, pipeline, prepared, save};

fn triggered(name: &str, places: u32, prefix: &str, batch: Option<BatchLimits>) -> Pipeline {
    let on =
        TriggerSource::S3(ObjectSource { queue: "q".into(), prefix: prefix.into(), ..Default::default() });
    Pipeline {
        triggers: vec![EventTrigger { on, batch, params: IndexMap::new() }],
        ..pipeline(name, 1, places, None)
    }
}

fn object(key: &str) -> ObjectEvent {
    ObjectEvent {
        bucket: "raw".into(),
        key: key.into(),
        event: "ObjectCreated:Put".into(),
        ..Default::default()
    }
}

fn event(pipeline: &str, key: &str) -> NewEvent {
    let object = object(key);
    NewEvent {
        pipeline: pipeline.into(),
        source: EventSource::S3,
        dedupe_key: object.dedupe_key(),
        body: serde_json::to_value(&object).unwrap(),
    }
}

/// Runs with ids of their own; objects whose key begins with `bad` make none.
fn maker(first: u128) -> Arc<MakeRun> {
    let next = AtomicU64::new(0);
    Arc::new(move |occasion| {
        if occasion.objects.iter().any(|object| object.key.starts_with("in/bad")) {
            return Err("param `day` must be a date".to_owned());
        }
        let id = first + u128::from(next.fetch_add(1, Ordering::Relaxed));
        let mut run = Run::new(
            RunId(Uuid::from_u128(id)),
            Arc::clone(occasion.definition),
            occasion.installation,
            occasion.key.clone(),
            occasion.now,
            None,
            None,
            Map::new(),
            Trigger::S3,
            occasion.now,
        );
        let objects: Vec<Value> = occasion.objects.iter().map(ObjectEvent::value).collect();
        run.told = Arc::new(Map::from_iter([("objects".to_owned(), Value::Array(objects))]));
        Ok(run)
    })
}

async fn take(store: &Store, make: &Arc<MakeRun>, events: Vec<NewEvent>) -> Taken {
    store.take_events(Arrivals { events, ..Arrivals::default() }, Arc::clone(make)).await.unwrap()
}

/// What is due now of what waited, as whoever looks around does it.
async fn look(store: &Store, make: &Arc<MakeRun>) -> Taken {
    let pipelines = store.due_triggers(100).await.unwrap();
    store.take_events(Arrivals { pipelines, ..Arrivals::default() }, Arc::clone(make)).await.unwrap()
}

/// The keys of the objects of every run.
async fn told(store: &Store, pipeline: &str) -> BTreeMap<RunId, Vec<String>> {
    let filter = RunFilter { pipeline: Some(pipeline.into()), state: None, limit: 10_000 };
    let mut runs = BTreeMap::new();
    for row in store.runs(&filter).await.unwrap() {
        let told = store.told(row.id).await.unwrap().unwrap();
        let keys = told["objects"].as_array().unwrap().iter();
        runs.insert(row.id, keys.map(|object| object["key"].as_str().unwrap().to_owned()).collect());
    }
    runs
}

async fn waiting(store: &Store, pipeline: &str) -> Vec<String> {
    let rows = store.waiting_events(pipeline, 10_000).await.unwrap();
    rows.iter().map(|row| row.body["key"].as_str().unwrap().to_owned()).collect()
}

async fn waiting_count(store: &Store, pipeline: &str) -> usize {
    store.waiting_events(pipeline, 10_000).await.unwrap().len()
}

/// Sees a queued run to its end.
async fn end(store: &Store, run: RunId) {
    let mut owned = store.claim_one(run).await.unwrap().unwrap();
    assert!(store.take_place(run, owned.fence).await.unwrap());
    let mut delta = machine::step(&mut owned.run, &[machine::Event::Admitted], NOW);
    let next = owned.run.upcoming(0);
    delta.merge(machine::step(&mut owned.run, &[prepared(next)], NOW));
    assert!(save(store, &owned.run, owned.fence, &delta).await.unwrap());
    let delta = machine::step(&mut owned.run, &[done(FIRST)], NOW);
    assert!(save(store, &owned.run, owned.fence, &delta).await.unwrap());
}

#[tokio::test]
async fn each_event_makes_one_run_however_often_and_wherever_it_comes() {
    let fixture = Fixture::new("events").await;
    let (one, two) = (fixture.replica(1).await, fixture.replica(2).await);
    deployed(&one, triggered("a", 1_000, "in/", None)).await;
    deployed(&one, triggered("b", 1_000, "in/", None)).await;
    let (make_one, make_two) = (maker(1 << 64), maker(2 << 64));
    let keys: Vec<String> = (0..60).map(|number| format!("in/{number}")).collect();
    for round in 0..6_usize {
        // Each replica sees some of them, in an order of its own, and most of them twice in one look.
        let seen = |from: usize| -> Vec<NewEvent> {
            let mut some: Vec<&String> = keys.iter().cycle().skip(from).take(25).collect();
            some.extend(keys.iter().skip(from % 30).take(5));
            some.into_iter().flat_map(|key| [event("b", key), event("a", key)]).collect()
        };
        let (first, second) = tokio::join!(
            take(&one, &make_one, seen(round * 13)),
            take(&two, &make_two, seen(round * 13 + 7)),
        );
        assert!(first.refused.is_empty() && second.refused.is_empty());
    }
    for pipeline in ["a", "b"] {
        let runs = told(&one, pipeline).await;
        assert!(runs.values().all(|objects| objects.len() == 1));
        let mut objects: Vec<String> = runs.into_values().flatten().collect();
        objects.sort();
        let mut expected = keys.clone();
        expected.sort();
        assert_eq!(objects, expected, "exactly one run of {pipeline} for each object");
        assert_eq!(waiting(&one, pipeline).await, Vec::<String>::new());
    }
    let repeated = take(&two, &make_two, vec![event("a", "in/1")]).await;
    assert_eq!(repeated, Taken::default(), "a repetition changes nothing");
}

#[tokio::test]
async fn events_wait_while_their_pipeline_is_paused() {
    let fixture = Fixture::new("events_paused").await;
    let store = fixture.replica(1).await;
    deployed(&store, triggered("p", 10, "in/", None)).await;
    let make = maker(1 << 64);
    store.set_paused("p", true, "user:test", None).await.unwrap();
    let taken = take(&store, &make, vec![event("p", "in/a"), event("p", "in/b")]).await;
    assert_eq!((taken.recorded, taken.runs.len()), (2, 0));
    assert!(store.due_triggers(10).await.unwrap().is_empty() && !store.look().await.unwrap().triggers);
    let row = store.trigger_rows(Some("p")).await.unwrap().remove(0);
    assert_eq!((row.waiting, row.paused, row.refused), (2, true, 0));
    store.set_paused("p", false, "user:test", None).await.unwrap();
    assert!(store.look().await.unwrap().triggers);
    assert_eq!(look(&store, &make).await.runs.len(), 2);
    assert!(!store.look().await.unwrap().triggers, "nothing waits any more");
}

#[tokio::test]
async fn no_more_runs_are_made_than_there_are_places_for() {
    let fixture = Fixture::new("events_room").await;
    let store = fixture.replica(1).await;
    deployed(&store, triggered("p", 2, "in/", None)).await;
    let make = maker(1 << 64);
    let events = (0..5).map(|number| event("p", &format!("in/{number}"))).collect();
    let taken = take(&store, &make, events).await;
    assert_eq!((taken.recorded, taken.runs.len()), (5, 2));
    assert_eq!(look(&store, &make).await.runs.len(), 0, "two wait for their places already");
    assert_eq!(waiting(&store, "p").await.len(), 3);
    let mut made = taken.runs;
    let mut seen = BTreeSet::new();
    while let Some(run) = made.pop() {
        end(&store, run).await;
        assert!(seen.insert(run));
        made.extend(look(&store, &make).await.runs);
        assert!(made.len() <= 2);
    }
    assert_eq!(seen.len(), 5);
    assert!(waiting(&store, "p").await.is_empty());
}

#[tokio::test]
async fn a_batch_is_one_run_and_its_window_is_kept() {
    let fixture = Fixture::new("events_batch").await;
    let store = fixture.replica(1).await;
    deployed(
        &store,
        triggered("p", 10, "in/", Some(BatchLimits { max: 3, window: Duration::from_secs(600) })),
    )
    .await;
    let make = maker(1 << 64);
    assert!(take(&store, &make, vec![event("p", "in/b"), event("p", "in/c")]).await.runs.is_empty());
    let work = store.look().await.unwrap();
    assert!(!work.triggers && work.next_fire_at.is_some(), "the end of the window is waited for");
    let taken = take(&store, &make, vec![event("p", "in/a"), event("p", "in/d"), event("p", "in/a")]).await;
    assert_eq!((taken.recorded, taken.runs.len()), (2, 1));
    let runs = told(&store, "p").await;
    let whole = runs.values().next().unwrap();
    assert!(whole.len() == 3 && whole.is_sorted(), "in the order of their keys: {whole:?}");
    let left = waiting(&store, "p").await;
    assert_eq!(left.len(), 1);
    let keys: Vec<String> = whole.iter().map(|key| object(key).dedupe_key()).collect();
    let key = batch_key(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(store.run_with_key("p", &key).await.unwrap(), runs.keys().next().copied());
    // The window is over.
    let aged = "update trigger_event set received_at = received_at - interval '600 s'";
    sqlx::query(aged).execute(store.pool()).await.unwrap();
    sqlx::query("update trigger_wait set look_at = clock_timestamp()").execute(store.pool()).await.unwrap();
    assert_eq!(look(&store, &make).await.runs.len(), 1);
    assert_eq!(told(&store, "p").await.len(), 2);
    assert!(store.look().await.unwrap().next_fire_at.is_none());
}

#[tokio::test]
async fn an_event_that_can_make_no_run_waits_for_another_version() {
    let fixture = Fixture::new("events_refused").await;
    let store = fixture.replica(1).await;
    deployed(&store, triggered("p", 10, "in/", None)).await;
    let make = maker(1 << 64);
    let taken =
        take(&store, &make, vec![event("p", "in/bad"), event("p", "in/good"), event("p", "out/x")]).await;
    assert_eq!((taken.recorded, taken.runs.len(), taken.refused.len()), (3, 1, 2));
    assert_eq!(look(&store, &make).await, Taken::default(), "it is not tried again and again");
    let row = store.trigger_rows(None).await.unwrap().remove(0);
    assert_eq!((row.waiting, row.refused), (2, 2));
    let rows = store.waiting_events("p", 10).await.unwrap();
    assert!(rows.iter().any(|row| row.refusal.as_deref() == Some("param `day` must be a date")));
    assert!(rows.iter().any(|row| row.refusal.as_deref() == Some("no trigger of this version takes it")));
    deployed(&store, triggered("p", 11, "", None)).await;
    assert!(store.look().await.unwrap().triggers);
    let taken = look(&store, &make).await;
    assert_eq!((taken.runs.len(), taken.refused.len()), (1, 1), "this version takes everything");
    assert_eq!(waiting(&store, "p").await, ["in/bad"]);
}

#[tokio::test]
async fn what_was_told_stays_with_the_run_and_goes_with_it() {
    let fixture = Fixture::new("events_told").await;
    let store = fixture.replica(1).await;
    deployed(&store, triggered("p", 10, "in/", None)).await;
    let make = maker(1 << 64);
    let taken = take(&store, &make, vec![event("p", "in/a b+ü")]).await;
    let loaded = store.read_run(taken.runs[0]).await.unwrap();
    assert_eq!((loaded.trigger, &loaded.told["objects"][0]["key"]), (Trigger::S3, &json!("in/a b+ü")));
    end(&store, taken.runs[0]).await;
    let later = NOW + EVENTS_KEPT + Duration::from_secs(3_600);
    assert_eq!(store.purge("p", later, 10).await.unwrap(), 1);
    assert_eq!(store.told(taken.runs[0]).await.unwrap(), None);
    let repeated = take(&store, &make, vec![event("p", "in/a b+ü")]).await;
    assert_eq!(repeated, Taken::default(), "its event is known although the run is gone");
    store.set_paused("p", true, "user:test", None).await.unwrap();
    take(&store, &make, vec![event("p", "in/waits")]).await;
    store.purge_traces(later).await.unwrap();
    assert_eq!(waiting(&store, "p").await, ["in/waits"], "what waits is never forgotten");
    let known: i64 =
        sqlx::query_scalar("select count(*) from trigger_event").fetch_one(store.pool()).await.unwrap();
    assert_eq!(known, 1);
}

/// A pipeline whose runs come after those of others.
fn following(name: &str, upstreams: &[(&str, RunEnd)]) -> Pipeline {
    let trigger = |(upstream, on): &(&str, RunEnd)| EventTrigger {
        on: TriggerSource::Pipeline(RunSource { name: (*upstream).into(), on: *on }),
        batch: None,
        params: IndexMap::new(),
    };
    Pipeline { triggers: upstreams.iter().map(trigger).collect(), ..pipeline(name, 1, 10, None) }
}

/// Makes a run and ends it. Its id.
async fn run_and_end(store: &Store, definition: &Arc<Definition>, id: u128, well: bool) -> RunId {
    let (mut run, delta) = new_run(store, definition, id, &format!("k{id}")).await;
    create(store, &run, &delta).await;
    let failed = machine::Event::Failed {
        attempt: FIRST,
        failure: Failure::new("failed", "broke"),
        outcome: Value::Null,
    };
    let delta = machine::step(&mut run, &[if well { done(FIRST) } else { failed }], NOW);
    assert!(save(store, &run, 1, &delta).await.unwrap());
    run.id
}

#[tokio::test]
async fn the_end_of_a_run_is_told_to_whoever_waits_for_it_by_the_commit_that_ends_it() {
    let fixture = Fixture::new("events_runs").await;
    let store = fixture.replica(1).await;
    let crawl = deployed(&store, pipeline("crawl", 1, 10, None)).await;
    run_and_end(&store, &crawl, 100, true).await;
    deployed(&store, following("load", &[("crawl", RunEnd::Success), ("other", RunEnd::Done)])).await;
    deployed(&store, following("alarm", &[("crawl", RunEnd::Failure)])).await;
    deployed(&store, following("gone", &[("crawl", RunEnd::Done)])).await;
    let mut kept = Vec::new();
    for name in ["crawl", "load", "alarm"] {
        let version = store.version(name, None).await.unwrap();
        let (pipeline, source) = (version.pipeline, version.source);
        kept.push(NewVersion { pipeline, source, folder: String::new() });
    }
    store.deploy(kept, true, "user:test", NOW).await.unwrap();
    let make = maker(1 << 64);
    assert!(!store.look().await.unwrap().triggers, "what ended before is nobody's");

    let first = run_and_end(&store, &crawl, 101, true).await;
    assert!(store.look().await.unwrap().triggers);
    assert_eq!(look(&store, &make).await.runs.len(), 1);
    let rows =
        store.runs(&RunFilter { pipeline: Some("load".into()), state: None, limit: 10 }).await.unwrap();
    assert_eq!((rows.len(), rows[0].created_by.as_str()), (1, "pipeline:crawl@k101"));
    assert_eq!(rows[0].key, format!("{}-1", first.0.simple()), "a key of its own, without an interval");
    run_and_end(&store, &crawl, 102, false).await;
    assert_eq!(look(&store, &make).await.runs.len(), 1);
    let count = |name: &str| RunFilter { pipeline: Some(name.into()), state: None, limit: 10 };
    assert_eq!(store.runs(&count("alarm")).await.unwrap().len(), 1);
    assert_eq!(store.runs(&count("load")).await.unwrap().len(), 1);
    let left: i64 = sqlx::query_scalar("select count(*) from trigger_event where pipeline = 'gone'")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(left, 0, "nobody waits who is not there");
}

#[tokio::test]
async fn runs_that_end_in_one_commit_are_all_told() {
    let fixture = Fixture::new("events_together").await;
    let store = fixture.replica(1).await;
    let crawl = deployed(&store, pipeline("crawl", 1, 10, None)).await;
    deployed(&store, following("load", &[("crawl", RunEnd::Success)])).await;
    let mut batch = Batch::default();
    for id in [101, 102] {
        let (mut run, delta) = new_run(&store, &crawl, id, &format!("k{id}")).await;
        create(&store, &run, &delta).await;
        let delta = machine::step(&mut run, &[done(FIRST)], NOW);
        let commit =
            Commit { run: &run, fence: 1, delta: &delta, actor: "replica:test", letters: &[], asked: &[] };
        batch.push(&commit).unwrap();
    }
    assert_eq!(store.save(&batch).await.unwrap().len(), 2);
    assert_eq!(look(&store, &maker(1 << 64)).await.runs.len(), 2);
}

#[tokio::test]
async fn what_is_told_while_others_look_is_looked_at_again() {
    let fixture = Fixture::new("events_meanwhile").await;
    let store = fixture.replica(1).await;
    let crawl = deployed(&store, pipeline("crawl", 1, 10, None)).await;
    deployed(&store, following("load", &[("crawl", RunEnd::Success)])).await;
    run_and_end(&store, &crawl, 101, true).await;
    let inner = maker(1 << 64);
    let (url, once) = (fixture.url.clone(), std::sync::Once::new());
    // Another run ends after what waits was read, and before it is noted that nothing waits any more.
    let make: Arc<MakeRun> = Arc::new(move |occasion| {
        once.call_once(|| {
            let (url, crawl) = (url.clone(), Arc::clone(&crawl));
            let other = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    let id = ReplicaId(Uuid::from_u128(2));
                    let store = Store::connect(&url, id, true).await.unwrap();
                    store.register(Role::Serve, &Place::default()).await.unwrap();
                    run_and_end(&store, &crawl, 102, true).await;
                });
            });
            other.join().unwrap();
        });
        inner(occasion)
    });
    assert_eq!(look(&store, &make).await.runs.len(), 1);
    assert_eq!(waiting_count(&store, "load").await, 1);
    assert!(store.look().await.unwrap().triggers, "the second one is not forgotten");
    assert_eq!(look(&store, &make).await.runs.len(), 1);
    assert!(!store.look().await.unwrap().triggers);
}

#[tokio::test]
async fn queues_and_what_cannot_be_read_are_counted() {
    let fixture = Fixture::new("events_queue").await;
    let store = fixture.replica(1).await;
    let poison = |id: &str| PoisonMessage { id: id.into(), reason: "no JSON".into() };
    for _ in 0..3 {
        let queue = QueueReport {
            queue: "aws/q".into(),
            received: 4,
            unmatched: 1,
            poison: vec![poison("m1"), poison("m2"), poison("m1")],
        };
        store.take_events(Arrivals { queue: Some(queue), ..Arrivals::default() }, maker(1)).await.unwrap();
    }
    let asked = QueueAsked { messages: Some(7), dead_letters: Some(2), ..QueueAsked::default() };
    store.note_queue("aws/q", &asked).await.unwrap();
    let row = store.queue_rows().await.unwrap().remove(0);
    assert_eq!((row.received, row.unmatched, row.poison), (12, 3, 2));
    assert_eq!((row.asked, row.last_poison.map(|one| one.reason)), (asked, Some("no JSON".into())));
    assert!(row.last_received_at.is_some());
}
