//! The store against a real Postgres: ownership, fences, places, append-only history.

mod stored;

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{Connection as _, migrate::Migrate as _};
use trunkline_state::{
    ids::RunId,
    machine::{self, AttemptKey, Command, Effect, Event},
    pipeline::{Pipeline, PoolUse},
    run::{Failure, Run},
    store::{
        Answer, AwaitedRow, Batch, BudgetRow, Commit, Created, NewVersion, OtherRun, PoolRow, Store,
        StoreError, TurnWants,
    },
    versions,
    words::RunState,
};
use uuid::Uuid;

use stored::{FIRST, Fixture, NOW, create, deployed, done, new_run, pipeline, prepared, save};

#[tokio::test]
async fn a_run_survives_the_way_to_the_store_and_back() {
    let fixture = Fixture::new("roundtrip").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 2, 4, None)).await;
    let (mut run, delta) = new_run(&store, &definition, 10, "a").await;
    assert_eq!(create(&store, &run, &delta).await, Created::Placed);
    let next = run.upcoming(1);
    let delta = machine::step(&mut run, &[done(FIRST), prepared(next)], NOW);
    assert!(save(&store, &run, 1, &delta).await.unwrap());

    let other = fixture.replica(2).await;
    assert!(other.claim_one(run.id).await.unwrap().is_none(), "its owner lives");
    store.leave().await.unwrap();
    let owned = other.claim_one(run.id).await.unwrap().unwrap();
    assert_eq!((owned.fence, owned.run.generation), (2, 1));
    assert_eq!(owned.run.packed_states(), run.packed_states());
    assert_eq!(owned.run.tasks[0].outputs, Some(json!({"rows": 7})));
    assert_eq!(owned.run.tasks[0].warnings, ["odd"]);
    let second = AttemptKey { task: 1, number: 1 };
    assert_eq!(
        machine::due(&owned.run),
        [Effect::Find { attempt: second }],
        "an intent is looked for, never sent"
    );
    assert_eq!(owned.run.attempt_id(1, 1), run.attempt_id(1, 1));
    let history = other.history(run.id, 0, 100).await.unwrap();
    assert_eq!(history.len(), 2);
}

#[tokio::test]
async fn a_store_that_is_up_to_date_is_opened_past_the_lock_of_a_session_that_is_gone() {
    let fixture = Fixture::new("migrated").await;
    let store = fixture.replica(1).await;
    let mut gone = sqlx::PgConnection::connect(&fixture.url).await.unwrap();
    gone.lock().await.unwrap();
    store.migrate().await.unwrap();
}

#[tokio::test]
async fn an_old_fence_writes_nothing() {
    let fixture = Fixture::new("fence").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 1, 4, None)).await;
    let (mut run, delta) = new_run(&store, &definition, 11, "a").await;
    create(&store, &run, &delta).await;
    let zombie = run.clone();
    store.leave().await.unwrap();
    let other = fixture.replica(2).await;
    let claimed = other.claim(10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    let delta = machine::step(&mut run, &[done(FIRST)], NOW);
    assert!(!save(&store, &run, 1, &delta).await.unwrap());
    let stored = other.run(zombie.id).await.unwrap();
    assert_eq!((stored.state.as_str(), stored.ended_at), ("running", None));
    assert_eq!(stored.event_seq, 1, "not even history was written");
}

#[tokio::test]
async fn a_key_is_taken_once_whoever_is_faster() {
    let fixture = Fixture::new("keys").await;
    let (one, two) = (fixture.replica(1).await, fixture.replica(2).await);
    let definition = deployed(&one, pipeline("p", 1, 50, None)).await;
    for round in 0..20_u128 {
        let key = format!("k{round}");
        let (first, first_delta) = new_run(&one, &definition, 100 + 2 * round, &key).await;
        let (second, second_delta) = new_run(&two, &definition, 101 + 2 * round, &key).await;
        let (a, b) = tokio::join!(create(&one, &first, &first_delta), create(&two, &second, &second_delta));
        let placed = [a, b].iter().filter(|created| **created == Created::Placed).count();
        assert_eq!((placed, [a, b].contains(&Created::Refused)), (1, true), "{a:?} {b:?}");
    }
    assert_eq!(one.pipelines().await.unwrap()[0].active_runs, 20);
}

#[tokio::test]
async fn places_of_pipelines_and_groups_are_kept() {
    let fixture = Fixture::new("places").await;
    let store = fixture.replica(1).await;
    let daily = deployed(&store, pipeline("daily", 1, 2, Some("cdr"))).await;
    let full = deployed(&store, pipeline("full", 1, 2, Some("cdr"))).await;
    let (mut first, delta) = new_run(&store, &daily, 1, "a").await;
    assert_eq!(create(&store, &first, &delta).await, Created::Placed);
    let (second, delta) = new_run(&store, &full, 2, "a").await;
    assert_eq!(create(&store, &second, &delta).await, Created::Queued);
    let queued = store.claim_one(second.id).await.unwrap().unwrap();
    assert_eq!((queued.run.state, machine::due(&queued.run)), (RunState::Queued, vec![Effect::Admit]));
    assert!(!store.take_place(second.id, queued.fence).await.unwrap(), "the group is taken");
    let delta = machine::step(&mut first, &[done(FIRST)], NOW);
    assert_eq!(first.state, RunState::Succeeded);
    assert!(save(&store, &first, 1, &delta).await.unwrap());
    assert!(store.take_place(second.id, queued.fence).await.unwrap());
    let rows = store.pipelines().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.active_runs).collect::<Vec<_>>(), [0, 1]);
    let again = store.claim_one(second.id).await.unwrap().unwrap();
    assert!(again.has_place, "a crash between the place and the admission is seen");
    // Cancelled while its place was being taken: the core never knew that it had one.
    let (mut run, fence) = (again.run, again.fence);
    let cancel = Command::Cancel { task: None, reason: None };
    let delta = machine::ask(&mut run, "user:test", &cancel, NOW).unwrap();
    assert!(save(&store, &run, fence, &delta).await.unwrap());
    let rows = store.pipelines().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.active_runs).collect::<Vec<_>>(), [0, 0]);
}

/// The place of a run that is cancelled at the very moment at which it gets it.
#[tokio::test]
async fn a_place_that_is_being_taken_is_given_back() {
    let fixture = Fixture::new("taking").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 1, 1, None)).await;
    let (mut first, delta) = new_run(&store, &definition, 10, "a").await;
    assert_eq!(create(&store, &first, &delta).await, Created::Placed);
    let (second, delta) = new_run(&store, &definition, 11, "b").await;
    assert_eq!(create(&store, &second, &delta).await, Created::Queued);
    let delta = machine::step(&mut first, &[done(FIRST)], NOW);
    assert!(save(&store, &first, 1, &delta).await.unwrap());

    let mut owned = store.claim_one(second.id).await.unwrap().unwrap();
    let mut taking = store.pool().begin().await.unwrap();
    for statement in [
        "update run set has_place = true where run_id = $1",
        "update pipeline set active_runs = 1 where $1::uuid is not null",
    ] {
        sqlx::query(statement).bind(second.id.0).execute(&mut *taking).await.unwrap();
    }
    let cancel = Command::Cancel { task: None, reason: None };
    let delta = machine::ask(&mut owned.run, "user:test", &cancel, NOW).unwrap();
    let saving = tokio::spawn({
        let store = store.clone();
        async move { save(&store, &owned.run, owned.fence, &delta).await.unwrap() }
    });
    let mut look = tokio::time::interval(Duration::from_millis(10));
    let waits = "select count(*) from pg_stat_activity
                  where datname = current_database() and wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(store.pool()).await.unwrap() == 0 {
        look.tick().await;
    }
    taking.commit().await.unwrap();
    assert!(saving.await.unwrap());
    let taken: i32 =
        sqlx::query_scalar("select active_runs from pipeline").fetch_one(store.pool()).await.unwrap();
    assert_eq!(taken, 0, "the place went with the run");
}

#[tokio::test]
async fn the_database_refuses_what_must_never_happen() {
    let fixture = Fixture::new("constraints").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 1, 4, None)).await;
    let (mut run, delta) = new_run(&store, &definition, 12, "a").await;
    create(&store, &run, &delta).await;
    // A second live attempt, forged past the core.
    let mut forged = delta.clone();
    forged.attempts.get_mut(&(0, 1)).unwrap().attempt.number = 2;
    assert!(matches!(save(&store, &run, 1, &forged).await, Err(StoreError::Broken { .. })));
    let ended = machine::step(&mut run, &[done(FIRST)], NOW);
    assert!(save(&store, &run, 1, &ended).await.unwrap());
    for statement in [
        "update attempt set result = null",
        "update event set actor = 'nobody'",
        "update pipeline_version set source = ''",
        "update attempt set state = 'running', ended_at = null",
    ] {
        let refused = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(store.pool()).await;
        assert!(refused.is_err(), "{statement} was allowed");
    }
}

#[tokio::test]
async fn a_clear_reopens_and_keeps_the_past() {
    let fixture = Fixture::new("clear").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 2, 4, None)).await;
    let (mut run, delta) = new_run(&store, &definition, 13, "a").await;
    create(&store, &run, &delta).await;
    let failure = Failure::new("failed", "broke");
    let failed = Event::Failed { attempt: FIRST, failure, outcome: Value::Null };
    let delta = machine::step(&mut run, &[failed], NOW);
    assert!(save(&store, &run, 1, &delta).await.unwrap());
    let owned = store.claim_one(run.id).await.unwrap().unwrap();
    let (mut run, fence) = (owned.run, owned.fence);
    let clear = Command::Clear { tasks: vec![0], generation: None, reason: Some("fixed".into()) };
    let delta = machine::ask(&mut run, "user:test", &clear, NOW).unwrap();
    assert!(save(&store, &run, fence, &delta).await.unwrap());
    assert!(store.take_place(run.id, fence).await.unwrap());
    let next = run.upcoming(0);
    let delta = machine::step(&mut run, &[Event::Admitted, prepared(next)], NOW);
    assert!(save(&store, &run, fence, &delta).await.unwrap());
    let attempts = store.attempts(run.id).await.unwrap();
    let seen: Vec<_> = attempts.iter().map(|row| (row.number, row.generation, row.state.as_str())).collect();
    assert_eq!(seen, [(1, 1, "failed"), (2, 2, "starting")]);
    assert_ne!(attempts[0].attempt_id, attempts[1].attempt_id);
}

#[tokio::test]
async fn a_letter_is_answered_by_the_commit_that_carries_it_out() {
    let fixture = Fixture::new("letters").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 1, 4, None)).await;
    let (mut run, delta) = new_run(&store, &definition, 14, "a").await;
    create(&store, &run, &delta).await;
    let other = fixture.replica(2).await;
    let letter = other.post(run.id, &Command::Pause { reason: None }, "user:other").await.unwrap();
    let letters = store.letters(100).await.unwrap();
    assert_eq!((letters.len(), letters[0].id), (1, letter));
    assert_eq!(other.answer_to(letter).await.unwrap(), None);
    let delta = machine::ask(&mut run, "user:other", &letters[0].command, NOW).unwrap();
    let mut batch = Batch::default();
    batch
        .push(&Commit {
            run: &run,
            fence: 1,
            delta: &delta,
            actor: "user:other",
            letters: &[letter],
            asked: &[],
        })
        .unwrap();
    store.save(&batch).await.unwrap();
    assert_eq!(other.answer_to(letter).await.unwrap(), Some(Answer::Done));
    assert!(store.letters(100).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_letter_to_a_run_that_nobody_owns_is_found_and_an_old_one_refused() {
    let fixture = Fixture::new("orphans").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 1, 4, None)).await;
    let (run, delta) = new_run(&store, &definition, 15, "a").await;
    create(&store, &run, &delta).await;
    let other = fixture.replica(2).await;
    let letter = other.post(run.id, &Command::Pause { reason: None }, "user:other").await.unwrap();
    let found = async || (other.look().await.unwrap().orphans, other.unheard(100).await.unwrap());
    assert_eq!(found().await, (false, vec![]), "its owner lives, and reads it");
    store.release(&[run.id]).await.unwrap();
    assert_eq!(found().await, (true, vec![run.id]));
    other.claim_these(&[run.id]).await.unwrap();
    assert_eq!(found().await, (false, vec![]));
    // Whoever left it waits no longer, and what was meant for then is not carried out now.
    other.refuse_old_letters().await.unwrap();
    assert_eq!(other.letters(100).await.unwrap().len(), 1);
    let later = "update inbox set created_at = created_at - interval '11 minutes'";
    sqlx::query(later).execute(store.pool()).await.unwrap();
    other.refuse_old_letters().await.unwrap();
    let Some(Answer::Refused(reason)) = other.answer_to(letter).await.unwrap() else { panic!("not refused") };
    assert_eq!(reason, "nobody could be asked for 10 minutes, so that it was given up: ask again");
    assert!(other.letters(100).await.unwrap().is_empty());
}

#[tokio::test]
async fn letters_for_many_runs_are_left_and_answered_together() {
    let fixture = Fixture::new("many_letters").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 1, 4, None)).await;
    let mut runs = Vec::new();
    for (id, key) in [(21, "a"), (22, "b"), (23, "c")] {
        let (run, delta) = new_run(&store, &definition, id, key).await;
        create(&store, &run, &delta).await;
        runs.push(run.id);
    }
    let other = fixture.replica(2).await;
    let commands: Vec<_> = runs.iter().map(|run| (*run, &Command::Pause { reason: None })).collect();
    let posted = other.post_all(&commands, "user:other").await.unwrap();
    let letters = store.letters(2).await.unwrap();
    let wanted: Vec<_> = runs[..2].iter().map(|run| (*run, posted[run])).collect();
    assert_eq!(letters.iter().map(|letter| (letter.run, letter.id)).collect::<Vec<_>>(), wanted);
    store.answer(letters[1].id, &Answer::Refused("no".to_owned())).await.unwrap();
    let ids: Vec<i64> = posted.values().copied().collect();
    let answers = other.answers_to(&ids).await.unwrap();
    assert_eq!(answers, HashMap::from([(letters[1].id, Answer::Refused("no".to_owned()))]));
}

#[tokio::test]
async fn only_runs_of_the_dead_are_claimed() {
    let fixture = Fixture::new("claims").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 1, 4, None)).await;
    let (run, delta) = new_run(&store, &definition, 15, "a").await;
    create(&store, &run, &delta).await;
    let other = fixture.replica(2).await;
    assert!(!other.look().await.unwrap().unowned);
    assert!(other.claim(10).await.unwrap().is_empty());
    assert!(other.claim_these(&[run.id]).await.unwrap().is_empty());
    sqlx::query(
        "update replica set heartbeat_at = clock_timestamp() - interval '31 s' where replica_id = $1",
    )
    .bind(store.replica().0)
    .execute(store.pool())
    .await
    .unwrap();
    assert!(other.look().await.unwrap().unowned);
    let claimed = other.claim_these(&[run.id, RunId(Uuid::nil())]).await.unwrap();
    assert_eq!(claimed.iter().map(|owned| (owned.run.id, owned.fence)).collect::<Vec<_>>(), [(run.id, 2)]);
    assert_eq!(other.claim_these(&[run.id]).await.unwrap()[0].fence, 3, "its own can be claimed anew");
    other.release(&[run.id]).await.unwrap();
    assert_eq!(other.claim(10).await.unwrap().len(), 1);
    assert_eq!(other.heartbeat(None).await.unwrap(), Some(1), "the dead do not count");
}

#[tokio::test]
async fn a_deploy_is_whole_and_can_be_rolled_back() {
    let fixture = Fixture::new("deploy").await;
    let store = fixture.replica(1).await;
    let put = |pipelines: Vec<Pipeline>| {
        let new = |pipeline| NewVersion { pipeline, source: "source".to_owned(), folder: String::new() };
        let list = pipelines.into_iter().map(new).collect();
        store.deploy(list, true, "user:test", NOW)
    };
    put(vec![pipeline("a", 1, 1, None), pipeline("b", 1, 1, None)]).await.unwrap();
    let same = put(vec![pipeline("a", 1, 1, None), pipeline("b", 1, 1, None)]).await.unwrap();
    assert!(same.iter().all(|change| change.before == change.after), "{same:?}");
    let changed = put(vec![pipeline("a", 2, 1, None)]).await.unwrap();
    let seen: Vec<_> =
        changed.iter().map(|change| (change.name.as_str(), change.before, change.after)).collect();
    assert_eq!(seen, [("a", Some(1), Some(2)), ("b", Some(1), None)]);
    assert!(matches!(store.version("b", None).await, Err(StoreError::NotFound { .. })));
    store.roll_back("user:test", NOW).await.unwrap();
    assert_eq!(store.version("a", None).await.unwrap().version, 1);
    assert_eq!(store.version("b", None).await.unwrap().version, 1);
}

#[tokio::test]
async fn a_run_that_ended_goes_on_with_another_version() {
    let fixture = Fixture::new("moved").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 2, 4, None)).await;
    let (mut run, delta) = new_run(&store, &definition, 60, "a").await;
    create(&store, &run, &delta).await;
    let failed = Event::Failed { attempt: FIRST, failure: Failure::new("failed", "no"), outcome: json!({}) };
    let delta = machine::step(&mut run, &[failed], NOW);
    assert_eq!(run.state, RunState::Failed);
    assert!(save(&store, &run, 1, &delta).await.unwrap());

    // The second task is gone, `new` comes before the first.
    let mut other = pipeline("p", 2, 4, None);
    other.tasks.swap(0, 1);
    other.tasks[0].name = "new".parse().unwrap();
    (other.tasks[0].depends_on, other.tasks[1].depends_on) = (vec![], vec![0]);
    let newest = deployed(&store, other).await;
    let read = store.read_run(run.id).await.unwrap();
    let params = serde_json::Map::from_iter([("x".to_owned(), json!(1))]);
    let moved = versions::moved(read, &newest, params).unwrap();
    let taken_up = store.claim_one(run.id).await.unwrap().unwrap();
    assert!(store.move_run(&moved, "by user:test", "user:test", NOW).await.unwrap());
    assert!(!store.move_run(&moved, "by user:test", "user:test", NOW).await.unwrap(), "only once");
    let mut stale = taken_up.run;
    let clear = Command::Clear { tasks: vec![0], generation: None, reason: None };
    let delta = machine::ask(&mut stale, "user:test", &clear, NOW).unwrap();
    assert!(
        !save(&store, &stale, taken_up.fence, &delta).await.unwrap(),
        "it was taken up as it stood before"
    );

    let owned = store.claim_one(run.id).await.unwrap().unwrap();
    let (mut run, fence) = (owned.run, owned.fence);
    assert_eq!((run.definition.version, &run.params), (2, &moved.run.params));
    let tasks: Vec<_> = run.present().map(|task| (task, run.task_name(task).into_owned())).collect();
    assert_eq!(tasks, [(0, "t0".to_owned()), (2, "new".to_owned())]);
    assert_eq!(run.packed_states(), b"fku");
    let clear = Command::Clear { tasks: vec![0, 2], generation: Some(1), reason: None };
    let delta = machine::ask(&mut run, "user:test", &clear, NOW).unwrap();
    assert!(save(&store, &run, fence, &delta).await.unwrap());
    let delta = machine::step(&mut run, &[Event::Admitted], NOW);
    assert!(delta.effects.contains(&Effect::Prepare { next: run.upcoming(2) }), "{:?}", delta.effects);
    let history = store.history(run.id, 0, 100).await.unwrap();
    let told: Vec<&str> =
        history.iter().flat_map(|row| &row.changes).filter_map(|c| c.reason.as_deref()).collect();
    assert!(told.contains(&"version 2 does not have it") && told.contains(&"new in version 2"), "{told:?}");
    assert!(told.contains(&"version 1 → 2 by user:test"), "{told:?}");
}

#[tokio::test]
async fn runs_that_others_wait_for_are_read_in_one_statement() {
    let fixture = Fixture::new("others").await;
    let store = fixture.replica(1).await;
    let definition = deployed(&store, pipeline("p", 1, 4, None)).await;
    for (id, key) in [(20, "a"), (21, "b")] {
        let (mut run, delta) = new_run(&store, &definition, id, key).await;
        create(&store, &run, &delta).await;
        if key == "b" {
            let delta = machine::step(&mut run, &[done(FIRST)], NOW);
            assert!(save(&store, &run, 1, &delta).await.unwrap());
        }
    }
    let ids = [21, 99, 20].map(|id| RunId(Uuid::from_u128(id)));
    let word = |run: &Option<OtherRun>| run.as_ref().map_or("none", |run| run.state.as_str()).to_owned();
    let words: Vec<String> = store.other_runs(&ids).await.unwrap().iter().map(word).collect();
    assert_eq!(words, ["succeeded", "none", "running"]);

    let wanted = |pipeline: &str, key: Option<&str>, since: Option<i64>| AwaitedRow {
        pipeline: pipeline.to_owned(),
        key: key.map(str::to_owned),
        since: since.map(|seconds| NOW + jiff::SignedDuration::from_secs(seconds)),
    };
    let list = [
        wanted("p", None, Some(0)),
        wanted("p", Some("a"), None),
        wanted("p", None, Some(1)),
        wanted("q", Some("a"), None),
        wanted("p", Some("b"), None),
        wanted("p", Some("c"), None),
    ];
    let found = store.awaited_runs(&list).await.unwrap();
    let keys: Vec<_> = found.iter().map(|run| run.as_ref().map(|run| run.key.as_str())).collect();
    assert_eq!(keys, [Some("b"), Some("a"), None, None, Some("b"), None]);
    assert_eq!(found[0].as_ref().unwrap().ended_at, Some(NOW));
    assert!(store.awaited_runs(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn budgets_stand_beside_the_heartbeat() {
    let fixture = Fixture::new("budgets").await;
    let store = fixture.replica(1).await;
    let budget = BudgetRow {
        scope: "aws/eu-west-1".into(),
        api: "glue:GetJobRuns".into(),
        nominal_per_second: 10.0,
        allowed_per_second: 2.5,
        calls: 7,
        throttles: 1,
        stretch_seconds: 0.4,
    };
    assert_eq!(store.live_replicas().await.unwrap()[0].budgets, []);
    store.heartbeat(Some(&vec![budget.clone()])).await.unwrap();
    store.heartbeat(None).await.unwrap();
    assert_eq!(store.live_replicas().await.unwrap()[0].budgets, [budget]);
}

/// What is decided while a commit is under way goes into the next one as a whole: attempts that
/// are new in it and already changed again are one row each.
#[tokio::test]
async fn a_commit_takes_many_attempts_that_changed_twice() {
    let fixture = Fixture::new("twice").await;
    let store = fixture.replica(1).await;
    let mut wide = pipeline("p", 40, 4, None);
    wide.tasks.iter_mut().skip(1).for_each(|task| task.depends_on = vec![0]);
    let definition = deployed(&store, wide).await;
    let (mut run, delta) = new_run(&store, &definition, 41, "a").await;
    create(&store, &run, &delta).await;

    let mut events = vec![done(FIRST)];
    events.extend((1..40).map(|task| prepared(run.upcoming(task))));
    let mut delta = machine::step(&mut run, &events, NOW);
    let cancel = Command::Cancel { task: None, reason: None };
    delta.merge(machine::ask(&mut run, "user:test", &cancel, NOW).unwrap());
    assert!(save(&store, &run, 1, &delta).await.unwrap());
    let absent = |task| {
        let attempt = AttemptKey { task, number: 1 };
        let intent_at = run_intent(&run, attempt);
        Event::Deferred { attempt, intent_at, until: NOW, reason: "refused".into() }
    };
    let events: Vec<Event> = (1..40).map(absent).collect();
    let delta = machine::step(&mut run, &events, NOW);
    assert!(save(&store, &run, 1, &delta).await.unwrap());
    assert_eq!(run.state, RunState::Cancelled);
    assert_eq!(store.attempts(run.id).await.unwrap().len(), 40);
    let stored = store.read_run(run.id).await.unwrap();
    assert_eq!(stored.packed_states(), run.packed_states());
}

fn run_intent(run: &Run, attempt: AttemptKey) -> Timestamp {
    run.live_attempt(attempt.task, attempt.number).unwrap().intent_at
}

/// A lock that nobody gives back is as silent as a firewall that forgot the connection.
#[tokio::test]
async fn a_server_that_says_nothing_is_taken_for_gone() {
    let fixture = Fixture::new("silence").await;
    let store = fixture.replica(1).await.with_dead_after(Duration::from_secs(1));
    let definition = deployed(&store, pipeline("p", 1, 4, None)).await;
    let (mut run, delta) = new_run(&store, &definition, 40, "a").await;
    create(&store, &run, &delta).await;

    let mut other = store.pool().begin().await.unwrap();
    sqlx::query("lock table run in access exclusive mode").execute(&mut *other).await.unwrap();
    let delta = machine::step(&mut run, &[done(FIRST)], NOW);
    let commit = save(&store, &run, 1, &delta).await.unwrap_err();
    assert!(commit.is_unreachable(), "{commit}");
    let read = store.owned().await.unwrap_err();
    assert!(read.is_unreachable(), "{read}");

    other.rollback().await.unwrap();
    // Whatever became of the commit: under its next fence the run is as it is stored.
    let owned = store.claim_one(run.id).await.unwrap().unwrap();
    assert_eq!(owned.fence, 2);
}

/// A pipeline of one task that takes slots of a pool of one.
fn pooled(name: &str, slots: u32, priority: i32) -> Pipeline {
    let mut pipeline = pipeline(name, 1, 50, None);
    pipeline.pools.insert("small".to_owned(), 1);
    pipeline.tasks[0].pool = Some(PoolUse { name: "small".to_owned(), slots, priority });
    pipeline
}

/// Asks for the slots of a run's one task; which runs of this replica have been granted theirs.
async fn want(store: &Store, run: &Run, fence: i64) -> Vec<RunId> {
    let granted = store.want_turns(&TurnWants::new(run, fence, &[run.upcoming(0)])).await.unwrap();
    granted.into_iter().map(|one| one.run).collect()
}

async fn shared_out(store: &Store) -> Vec<RunId> {
    store.share_out_turns().await.unwrap().into_iter().map(|one| one.run).collect()
}

/// Begins the one task of a run that was granted its slots.
async fn begin(store: &Store, run: &mut Run, fence: i64) {
    let next = run.upcoming(0);
    let round = run.round;
    let delta = machine::step(run, &[Event::TurnGranted { next, round }, prepared(next)], NOW);
    assert!(save(store, run, fence, &delta).await.unwrap());
}

#[tokio::test]
async fn slots_go_to_who_came_first_less_its_priority_and_come_back_with_every_end() {
    let fixture = Fixture::new("pools").await;
    let (store, other) = (fixture.replica(1).await, fixture.replica(2).await);
    let low = deployed(&store, pooled("low", 1, 0)).await;
    let high = deployed(&store, pooled("high", 1, 60)).await;
    let (mut first, delta) = new_run(&store, &low, 1, "a").await;
    let next = first.upcoming(0);
    assert_eq!(delta.effects, [Effect::WantTurn { next, round: 0 }], "nothing is prepared without slots");
    create(&store, &first, &delta).await;
    let (mut second, delta) = new_run(&store, &low, 2, "b").await;
    create(&store, &second, &delta).await;
    let (mut third, delta) = new_run(&other, &high, 3, "c").await;
    create(&other, &third, &delta).await;

    assert_eq!(want(&store, &first, 1).await, [first.id]);
    assert_eq!(want(&store, &second, 1).await, [first.id], "what was granted is told until it is begun");
    assert_eq!(want(&other, &third, 1).await, []);
    begin(&store, &mut first, 1).await;
    assert_eq!((shared_out(&store).await, shared_out(&other).await), (vec![], vec![]));
    let pools = store.pools().await.unwrap();
    let pool = PoolRow { name: "small".to_owned(), slots: 1, taken: 1, waiting: 2 };
    assert_eq!(pools, [pool]);
    let turns: Vec<String> =
        store.pool_turns("small").await.unwrap().into_iter().map(|turn| turn.run).collect();
    assert_eq!(turns, ["low@a", "high@c", "low@b"], "an hour of waiting less");

    let delta = machine::step(&mut first, &[done(FIRST)], NOW);
    assert!(delta.effects.contains(&Effect::TurnEnded));
    save(&store, &first, 1, &delta).await.unwrap();
    assert_eq!(shared_out(&store).await, [], "not its own");
    assert_eq!(shared_out(&other).await, [third.id]);

    // Whoever pauses before it began loses its slots to the next, and asks again.
    let delta = machine::ask(&mut third, "user:a", &Command::Pause { reason: None }, NOW).unwrap();
    save(&other, &third, 1, &delta).await.unwrap();
    assert_eq!(shared_out(&store).await, [second.id]);
    let delta = machine::ask(&mut third, "user:a", &Command::Resume { reason: None }, NOW).unwrap();
    let next = third.upcoming(0);
    assert_eq!(delta.effects, [Effect::WantTurn { next, round: 1 }]);
    save(&other, &third, 1, &delta).await.unwrap();
    let late = machine::step(&mut third, &[Event::TurnGranted { next, round: 0 }], NOW);
    assert_eq!(late.effects, [], "granted before the pause");
    assert_eq!(want(&other, &third, 1).await, []);
    begin(&store, &mut second, 1).await;

    // Whoever takes a run over asks again, and the one before it is not heard.
    store.leave().await.unwrap();
    let owned = other.claim_one(second.id).await.unwrap().unwrap();
    assert_eq!(want(&store, &second, 1).await, []);
    let mut second = owned.run;
    let delta = machine::step(&mut second, &[done(FIRST)], NOW);
    save(&other, &second, owned.fence, &delta).await.unwrap();
    assert_eq!(shared_out(&other).await, [third.id]);
    begin(&other, &mut third, 1).await;
    let delta = machine::step(&mut third, &[done(FIRST)], NOW);
    save(&other, &third, 1, &delta).await.unwrap();
    shared_out(&other).await;
    assert!(!other.look().await.unwrap().turns, "at rest nobody has any");
}

#[tokio::test]
async fn who_needs_more_slots_than_there_are_gets_all_and_is_not_passed_by() {
    let fixture = Fixture::new("pools_large").await;
    let store = fixture.replica(1).await;
    let small = deployed(&store, pooled("narrow", 1, 0)).await;
    let large = deployed(&store, pooled("wide", 5, 0)).await;
    let mut runs = Vec::new();
    for (id, definition) in [(1, &small), (2, &large), (3, &small)] {
        let (run, delta) = new_run(&store, definition, id, &format!("k{id}")).await;
        create(&store, &run, &delta).await;
        want(&store, &run, 1).await;
        runs.push(run);
    }
    for run in &mut runs {
        assert_eq!(shared_out(&store).await, [run.id], "in the order in which they came");
        begin(&store, run, 1).await;
        assert_eq!(shared_out(&store).await, []);
        let delta = machine::step(run, &[done(FIRST)], NOW);
        save(&store, run, 1, &delta).await.unwrap();
    }
}
