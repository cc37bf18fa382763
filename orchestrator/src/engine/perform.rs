//! Effects into events: the only caller of the operators' `baseline`, `send`, `find` and
//! `cancel`. Each effect runs in a task of its own and answers with one message.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use trunkline_state::{
    document::Document,
    ids::RunId,
    machine::{AttemptKey, Effect, Event, Upcoming},
    run::{Attempt, Failure, Run},
    store::{Granted, TurnWants},
};
use trunkline_tasks::{
    operator::{Call, ErrorClass, Found, Handle, Intent, Request, Sent},
    registry::ErasedOperator,
};

use super::{Shared, convert, counts::add, crash, message::Message, mutant, pace, polls::Watch, prepare};

/// How often a look before a start is repeated that failed for a reason that may pass.
const LOOK_TRIES: u32 = 6;

/// Starts an effect, but for those that the owner keeps track of or puts together: [`begin_send`],
/// [`watch`] and [`want_turns`].
pub(super) fn begin(shared: &Arc<Shared>, run: &Run, fence: i64, effect: &Effect) {
    let id = run.id;
    match *effect {
        Effect::Admit => admit(shared, id, fence),
        Effect::Prepare { next } => look_and_prepare(shared, run, fence, next),
        Effect::Find { attempt } => {
            let sending = run.live_attempt(attempt.task, attempt.number).is_some_and(Attempt::is_sending);
            // Overtaken by a person's word in the same commit: the call's own end leads to a new look.
            if !sending && let Some(job) = job(shared, run, fence, attempt) {
                let sends = mutant::is_planted("send_for_find");
                tokio::spawn(async move { if sends { job.send().await } else { job.find().await } });
            }
        }
        Effect::Stop { attempt } => stop(shared, run, fence, attempt),
        // Whoever waits is found by the next look, here or elsewhere.
        Effect::TurnEnded => shared.look_now.notify_one(),
        Effect::Send { .. } | Effect::Watch { .. } | Effect::WantTurn { .. } => {}
    }
}

/// Asks for turns until the store has heard it; then whoever looks grants them.
pub(super) fn want_turns(shared: &Arc<Shared>, wants: TurnWants) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        loop {
            match shared.store.want_turns(&wants).await {
                Ok(granted) => return tell_granted(&shared, granted),
                Err(error) => tracing::warn!("could not ask for the turn of tasks: {}", super::chain(&error)),
            }
            pace::pause(shared.timing.store_retry).await;
        }
    });
}

/// Tells runs whose turn it is. What they know already changes nothing.
pub(super) fn tell_granted(shared: &Shared, granted: Vec<Granted>) {
    for Granted { run, fence, next, round } in granted {
        shared.report(run, fence, Event::TurnGranted { next, round });
    }
}

/// Hands an attempt to the poller. `false` if there is nothing to poll.
pub(super) fn watch(shared: &Arc<Shared>, run: &Run, fence: i64, key: AttemptKey, token: &Arc<()>) -> bool {
    let Some(attempt) = run.live_attempt(key.task, key.number) else { return false };
    let task = run.task(key.task);
    let Some(handle) = attempt.handle.clone() else { return false };
    let works = shared.registry.get(&task.operator).is_some_and(|operator| operator.works_in_poll());
    shared.watch(Watch {
        run: run.id,
        fence,
        attempt: key,
        connections: shared.connections_of(&run.definition),
        operator: task.operator.clone(),
        handle,
        ceiling: task.poll_interval,
        started_at: attempt.started_at.unwrap_or(attempt.intent_at),
        usual: if works { None } else { shared.usual(run, key.task) },
        alive: Arc::downgrade(token),
    });
    true
}

fn admit(shared: &Arc<Shared>, run: RunId, fence: i64) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        match shared.store.take_place(run, fence).await {
            Ok(taken) => shared.send(Message::Place { run, fence, taken }),
            Err(error) => {
                tracing::warn!(run.id = %run, "could not ask for a place: {}", super::chain(&error));
                pace::pause(shared.timing.store_retry).await;
                shared.send(Message::Place { run, fence, taken: false });
            }
        }
    });
}

/// Asks for a place again after a while; for a command that waits for its own run.
pub(super) fn admit_later(shared: &Arc<Shared>, run: RunId, fence: i64) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        pace::pause(shared.timing.place_retry).await;
        admit(&shared, run, fence);
    });
}

fn look_and_prepare(shared: &Arc<Shared>, run: &Run, fence: i64, next: Upcoming) {
    let id = run.id;
    let failed = move |failure| Event::PrepareFailed { next, failure };
    if let Some(event) = prepare::without_request(shared, run, next) {
        return shared.report(id, fence, event);
    }
    let rendered = match prepare::Rendered::of(shared, run, next) {
        Ok(rendered) => rendered,
        Err(failure) => return shared.report(id, fence, failed(failure)),
    };
    let is_retry = run.tasks[next.task].tries > 0;
    let operator = run.task(next.task).operator.clone();
    let clients = shared.clients(&run.definition);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let Some(operator) = shared.registry.get(&operator) else { return };
        let wants_previous = is_retry && operator.follows_previous();
        let previous = if wants_previous { previous_job(&shared, id, next).await } else { None };
        let mut request = match rendered.request(&shared, previous.as_ref()) {
            Ok(request) => request,
            Err(failure) => return shared.report(id, fence, failed(failure)),
        };
        let mut tries = 0;
        loop {
            shared.budget(operator.rate(Call::Read), &clients, &request.connection).await;
            let pinned = clients.pin_secrets(&mut request).await;
            let looked = match pinned {
                Ok(()) => operator.baseline(&clients, &request).await,
                Err(failure) => Err(failure),
            };
            match looked {
                Ok(baseline) => {
                    let baseline = if mutant::is_planted("no_baseline") { Value::Null } else { baseline };
                    let (request, baseline) = (Document::of(&request), Document::of(&baseline));
                    shared.report(id, fence, Event::Prepared { next, request, baseline });
                    return;
                }
                // Being slowed down, or credentials that have just ended, use up no retry and fail
                // no task; a service in trouble is given some time.
                Err(failure)
                    if failure.only_delays()
                        || (failure.class == ErrorClass::System && tries < LOOK_TRIES) =>
                {
                    tries += u32::from(!failure.only_delays());
                    pace::pause(shared.timing.look_retry).await;
                }
                Err(failure) => {
                    return shared.report(id, fence, failed(convert::failure(failure)));
                }
            }
            if !shared.owns(id).await {
                return;
            }
        }
    });
}

/// The job of the attempt before this one, of the same generation. Asked of the store, because memory keeps only
/// attempts that have not ended.
async fn previous_job(shared: &Shared, run: RunId, next: Upcoming) -> Option<Handle> {
    let before = (next.task, next.number.saturating_sub(1), next.generation);
    loop {
        match shared.store.attempts(run).await {
            Ok(attempts) => {
                let previous = attempts
                    .into_iter()
                    .find(|attempt| (attempt.position, attempt.number, attempt.generation) == before)?;
                return previous.handle.as_ref().and_then(convert::handle);
            }
            Err(error) => {
                tracing::warn!(run.id = %run, "could not read the attempt before: {}", super::chain(&error));
                if !shared.owns(run).await {
                    return None;
                }
                pace::pause(shared.timing.store_retry).await;
            }
        }
    }
}

/// Sends what an intent stored. Whether the owner will be told that the call has ended.
pub(super) fn begin_send(shared: &Arc<Shared>, run: &Run, fence: i64, key: AttemptKey) -> bool {
    let Some(job) = job(shared, run, fence, key) else { return false };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        job.send().await;
        shared.send(Message::StartEnded);
    });
    true
}

fn job(shared: &Arc<Shared>, run: &Run, fence: i64, key: AttemptKey) -> Option<Job> {
    let attempt = run.live_attempt(key.task, key.number)?;
    let stored = if mutant::is_planted("rendered_again") {
        let again = Upcoming { task: key.task, generation: attempt.generation, number: key.number };
        prepare::Rendered::of(shared, run, again).and_then(|rendered| rendered.request(shared, None)).ok()
    } else {
        convert::request(&attempt.request)
    };
    let Some(request) = stored else {
        let failure = Failure::new("config", "the stored request of this attempt cannot be read");
        shared.report(run.id, fence, Event::Lost { attempt: key, failure });
        return None;
    };
    Some(Job {
        shared: Arc::clone(shared),
        run: run.id,
        fence,
        key,
        operator: run.task(key.task).operator.clone(),
        clients: shared.clients(&run.definition),
        request,
        baseline: attempt.baseline.read().unwrap_or_default(),
        intent_at: attempt.intent_at,
        capacity_pause: run.task(key.task).poll_interval,
        refusals: refusals(attempt),
    })
}

/// How often this attempt was refused so far, as far as its note tells: the pause grows with
/// the time since the attempt began.
fn refusals(attempt: &Attempt) -> u32 {
    u32::from(attempt.note.is_some()) * 3
}

/// One attempt on its way to the service.
struct Job {
    shared: Arc<Shared>,
    run: RunId,
    fence: i64,
    key: AttemptKey,
    operator: String,
    clients: Arc<trunkline_tasks::clients::Clients>,
    request: Request,
    baseline: Value,
    intent_at: Timestamp,
    capacity_pause: Duration,
    refusals: u32,
}

impl Job {
    fn report(&self, event: Event) {
        self.shared.report(self.run, self.fence, event);
    }

    async fn send(self) {
        let event = match self.send_once().await {
            Event::StartUnknown { attempt, reason, .. } if mutant::is_planted("early_retry") => {
                let failure = Failure::new("failed", reason);
                Event::Failed { attempt, failure, outcome: Value::Null }
            }
            event => event,
        };
        self.report(event);
    }

    async fn send_once(&self) -> Event {
        let attempt = self.key;
        let Some(operator) = self.shared.registry.get(&self.operator) else {
            return self.refused(&trunkline_tasks::operator::Failure::new(
                ErrorClass::Config,
                format!("this binary has no task type `{}`", self.operator),
            ));
        };
        if let Some(rate) = operator.rate(Call::Start) {
            let start = (self.run, self.key);
            let longest = self.shared.timing.budget_wait_max;
            let wait = self.shared.turn(start, &rate, &self.clients, &self.request.connection).await;
            if wait > longest {
                // Half of it, in case the rate recovers: few writes, and never twice too late.
                let pause = longest.max(wait / 2);
                return self.deferred(pause, "waits for its turn in the budget of starts".to_owned());
            }
            tokio::select! {
                () = pace::pause(wait) => {}
                // Sent by whoever has the run next, as soon as it has it: this process would be gone
                // before the answer.
                () = self.shared.stopping.cancelled() => {
                    return self.deferred(Duration::ZERO, "its process ended before its turn".to_owned());
                }
            }
        }
        // The gate: a start goes out only while this replica is certainly not dead for others.
        if !self.shared.may_start().await {
            return self.deferred(self.shared.timing.store_retry, "the store cannot be reached".to_owned());
        }
        crash::point("after_intent", &self.operator);
        add(&self.shared.counts.starts, 1);
        let intent = self.intent();
        let limit = self.shared.timing.limit_of(operator.start_limit(&self.request));
        let Ok(sent) = tokio::time::timeout(limit, operator.send(&self.clients, &intent)).await else {
            let reason = format!("no answer within {}s", limit.as_secs_f64());
            return self.unknown(reason);
        };
        crash::point("after_send", &self.operator);
        self.answered(operator.rate(Call::Start), &sent).await;
        match sent {
            Sent::Accepted(handle) => self.accepted(operator, &handle, false),
            Sent::Done(outcome) => Event::Succeeded { attempt, outcome: convert::outcome(&outcome) },
            Sent::Refused(failure) => self.refused(&failure),
            Sent::Throttled(failure) => {
                let pause = if failure.class == ErrorClass::Capacity {
                    self.capacity_pause
                } else {
                    prepare::defer_pause(&self.shared, self.refusals)
                };
                self.deferred(pause, failure.message)
            }
            Sent::Unknown(failure) => self.unknown(failure.message),
        }
    }

    async fn find(self) {
        let Some(operator) = self.shared.registry.get(&self.operator) else { return };
        self.shared.budget(operator.rate(Call::Read), &self.clients, &self.request.connection).await;
        let attempt = self.key;
        crash::point("before_find", &self.operator);
        let found = operator.find(&self.clients, &self.intent()).await;
        crash::point("after_find", &self.operator);
        self.report(match found {
            Found::Found(handle) => self.accepted(operator, &handle, true),
            Found::Done(outcome) => Event::Succeeded { attempt, outcome: convert::outcome(&outcome) },
            Found::ProvedAbsent | Found::SafeToRepeat => {
                Event::ProvedAbsent { attempt, intent_at: self.intent_at }
            }
            Found::NotYetKnown { again_at, reason } => {
                Event::NotYetKnown { attempt, intent_at: self.intent_at, again_at, reason }
            }
            Found::Lost(failure) => Event::Lost { attempt, failure: convert::failure(failure) },
        });
    }

    fn intent(&self) -> Intent<'_> {
        Intent {
            request: &self.request,
            baseline: &self.baseline,
            intent_at: self.intent_at,
            now: self.shared.now(),
        }
    }

    fn accepted(&self, operator: &dyn ErasedOperator, handle: &Handle, reattached: bool) -> Event {
        Event::Accepted {
            attempt: self.key,
            external_id: handle.id.clone(),
            handle: Document::of(handle),
            reattached,
            awaits_person: operator.waits_for_person(),
        }
    }

    fn refused(&self, failure: &trunkline_tasks::operator::Failure) -> Event {
        Event::Failed {
            attempt: self.key,
            outcome: convert::cost_of(failure),
            failure: convert::failure(failure.clone()),
        }
    }

    fn deferred(&self, pause: Duration, reason: String) -> Event {
        let until = self.shared.now().checked_add(pause).unwrap_or(Timestamp::MAX);
        Event::Deferred { attempt: self.key, intent_at: self.intent_at, until, reason }
    }

    fn unknown(&self, reason: String) -> Event {
        Event::StartUnknown { attempt: self.key, intent_at: self.intent_at, reason }
    }

    async fn answered(&self, rate: Option<trunkline_tasks::operator::Rate>, sent: &Sent) {
        let Some(rate) = rate else { return };
        let throttled = matches!(sent, Sent::Throttled(failure) if failure.class == ErrorClass::Throttled);
        self.shared.budget_answered(&rate, &self.clients, &self.request.connection, throttled).await;
    }
}

fn stop(shared: &Arc<Shared>, run: &Run, fence: i64, key: AttemptKey) {
    let Some(attempt) = run.live_attempt(key.task, key.number) else { return };
    let Some(handle) = attempt.handle.as_ref().and_then(convert::handle) else { return };
    let operator = run.task(key.task).operator.clone();
    let clients = shared.clients(&run.definition);
    let (shared, id) = (Arc::clone(shared), run.id);
    tokio::spawn(async move {
        let Some(operator) = shared.registry.get(&operator) else { return };
        // Not confirmed here: a poll does that, and the core asks again if none comes.
        if let Err(failure) = operator.cancel(&clients, &handle).await {
            tracing::warn!(run.id = %id, job = %handle.id, "could not ask job {} to stop: {}", handle.id, failure.message);
        }
        shared.poll_soon(id, fence, key);
    });
}
