//! Watching external jobs: a timer heap, batches, budgets. A job that waits costs one entry
//! here: no thread, no slot, no write.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::mpsc;
use trunkline_state::{
    document::Document,
    ids::RunId,
    machine::{AttemptKey, Event},
    run::Failure,
};
use trunkline_tasks::{
    clients::Clients,
    operator::{Call, Handle, Status},
    registry::ErasedOperator,
};

use super::{
    Shared, convert,
    counts::{Waiting, add},
    message::Message,
    pace,
};

/// A job is asked about after this share of the time that it has run: quick ones are seen to
/// end quickly, long ones cost little.
const ELAPSED_SHARE: u32 = 10;
/// Until this share of its usual time has passed, a job is not expected to end.
const USUAL_EARLY: f64 = 0.9;
/// Due times lie on a grid of the ceiling halved so often, so that the grids of young jobs
/// contain those of old ones and batches fill.
const HALVINGS_MAX: u32 = 16;
/// A question that failed is asked again after this many intervals.
const TROUBLE_FACTOR: u32 = 2;
/// The longest sleep of the loop.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Questions of one replica that are under way at once.
const CALLS_MAX: usize = 64;

/// An external job to be watched.
pub(super) struct Watch {
    pub(super) run: RunId,
    pub(super) fence: i64,
    pub(super) attempt: AttemptKey,
    pub(super) connections: Arc<Clients>,
    pub(super) operator: String,
    /// As it is stored: read at each poll, so that a job that waits shares the run's own text.
    pub(super) handle: Document,
    /// `poll_interval` of the task.
    pub(super) ceiling: Duration,
    pub(super) started_at: Timestamp,
    /// How long the task usually takes.
    pub(super) usual: Option<Duration>,
    /// Gone once nobody wants to know any more.
    pub(super) alive: Weak<()>,
}

/// One message to the poller.
pub(super) enum PollMessage {
    /// Watch this.
    Watch(Box<Watch>),
    /// Put these back; they have not ended.
    Again(Vec<(Watched, Timestamp)>),
    /// Something is about to change: ask soon.
    Soon(RunId, i64, AttemptKey),
}

/// A watched job with what the polls so far left.
pub(super) struct Watched {
    watch: Watch,
    remote_state: Option<String>,
    log_at: Option<(u32, u64)>,
    _counted: Waiting,
}

/// The poller: owns every watched job of this replica.
pub(super) struct Poller {
    shared: Arc<Shared>,
    inbox: mpsc::UnboundedReceiver<PollMessage>,
    due: BTreeMap<Timestamp, Vec<Watched>>,
    calls: Arc<tokio::sync::Semaphore>,
}

impl Poller {
    pub(super) fn new(shared: Arc<Shared>, inbox: mpsc::UnboundedReceiver<PollMessage>) -> Self {
        Self { shared, inbox, due: BTreeMap::new(), calls: Arc::new(tokio::sync::Semaphore::new(CALLS_MAX)) }
    }

    pub(super) async fn run(mut self) {
        loop {
            let now = self.shared.now();
            let idle = self.due.first_key_value().map_or(IDLE_MAX, |(at, _)| {
                Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO).min(IDLE_MAX)
            });
            tokio::select! {
                message = self.inbox.recv() => {
                    let Some(message) = message else { return };
                    self.take(message);
                    while let Ok(message) = self.inbox.try_recv() {
                        self.take(message);
                    }
                }
                () = pace::pause(idle) => {}
            }
            self.ask_due();
        }
    }

    fn take(&mut self, message: PollMessage) {
        let now = self.shared.now();
        match message {
            PollMessage::Watch(watch) => {
                let counted = Waiting::new(&self.shared.counts);
                let watched = Watched { watch: *watch, remote_state: None, log_at: None, _counted: counted };
                let at = next_poll(&watched.watch, now, self.shared.timing.poll_min);
                self.due.entry(at).or_default().push(watched);
            }
            PollMessage::Again(list) => {
                for (watched, at) in list {
                    self.due.entry(at).or_default().push(watched);
                }
            }
            PollMessage::Soon(run, fence, attempt) => self.hurry(run, fence, attempt, now),
        }
    }

    fn hurry(&mut self, run: RunId, fence: i64, attempt: AttemptKey, now: Timestamp) {
        let wanted = |watched: &Watched| {
            watched.watch.run == run && watched.watch.fence == fence && watched.watch.attempt == attempt
        };
        let found = self.due.iter_mut().find_map(|(_, list)| {
            let position = list.iter().position(wanted)?;
            Some(list.swap_remove(position))
        });
        if let Some(watched) = found {
            self.due.entry(now).or_default().push(watched);
        }
    }

    /// Asks about everything that is due, as few calls as the operators' batches allow.
    fn ask_due(&mut self) {
        let now = self.shared.now();
        let later = self.due.split_off(&now.checked_add(Duration::from_nanos(1)).unwrap_or(now));
        let due = std::mem::replace(&mut self.due, later);
        let mut groups: HashMap<(usize, String, String), Vec<Watched>> = HashMap::new();
        for watched in due.into_values().flatten() {
            if watched.watch.alive.strong_count() == 0 {
                continue;
            }
            let Some(operator) = self.shared.registry.get(&watched.watch.operator) else { continue };
            let Some(handle) = convert::handle(&watched.watch.handle) else {
                let failure = Failure::new("config", "the stored handle of this attempt cannot be read");
                let attempt = watched.watch.attempt;
                self.shared.report(watched.watch.run, watched.watch.fence, Event::Lost { attempt, failure });
                continue;
            };
            let connections =
                if operator.asks_trunkline() { 0 } else { Arc::as_ptr(&watched.watch.connections) as usize };
            let key = (connections, watched.watch.operator.clone(), operator.batch_key(&handle));
            groups.entry(key).or_default().push(watched);
        }
        for ((_, operator, _), group) in groups {
            let size = self.shared.registry.get(&operator).map_or(1, |found| found.batch_size().max(1));
            batches(group, size).for_each(|batch| self.ask(batch));
        }
    }

    fn ask(&self, batch: Vec<Watched>) {
        let (shared, calls) = (Arc::clone(&self.shared), Arc::clone(&self.calls));
        tokio::spawn(async move {
            ask_batch(&shared, batch, &calls).await;
        });
    }
}

/// Batches that own no more memory than they fill: they wait in numbers for the budget, and the
/// halves of a split vector would each keep the room of the whole.
fn batches<T>(group: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut rest = group.into_iter();
    std::iter::from_fn(move || {
        let mut batch = Vec::with_capacity(size.min(rest.len()));
        batch.extend(rest.by_ref().take(size));
        (!batch.is_empty()).then_some(batch)
    })
}

async fn ask_batch(shared: &Arc<Shared>, batch: Vec<Watched>, calls: &tokio::sync::Semaphore) {
    let Some(first) = batch.first() else { return };
    let Some(operator) = shared.registry.get(&first.watch.operator) else { return };
    let clients = Arc::clone(&first.watch.connections);
    let rate = operator.rate(Call::Read);
    if let Some(rate) = &rate
        && let Some(handle) = convert::handle(&first.watch.handle)
    {
        // More to ask than the budget allows: intervals stretch. Waiting for one API's budget
        // keeps no other API from being asked.
        pace::pause(shared.take_budget(rate, &clients, &handle.connection).await).await;
    }
    let Ok(_permit) = calls.acquire().await else { return };
    // Boxed, because a batch that waits for its turn needs no room for the call yet.
    Box::pin(ask_now(shared, batch, &clients, operator)).await;
}

async fn ask_now(
    shared: &Arc<Shared>,
    batch: Vec<Watched>,
    clients: &Arc<Clients>,
    operator: &dyn ErasedOperator,
) {
    let handles: Vec<Handle> =
        batch.iter().filter_map(|watched| convert::handle(&watched.watch.handle)).collect();
    let Some(connection) = handles.first().map(|handle| handle.connection.clone()) else { return };
    let rate = operator.rate(Call::Read);
    add(&shared.counts.polls, 1);
    add(&shared.counts.polled, handles.len());
    let statuses = operator.poll(clients, &handles).await;
    if let Some(rate) = &rate {
        let throttled = statuses.iter().any(|status| matches!(status, Status::Throttled(_)));
        shared.budget_answered(rate, clients, &connection, throttled).await;
    }
    let now = shared.now();
    let mut again = Vec::new();
    for ((mut watched, handle), status) in batch.into_iter().zip(handles).zip(statuses) {
        copy_log(shared, &mut watched, &handle).await;
        if let Some(at) = digest(shared, &mut watched, status, now) {
            again.push((watched, at));
        }
    }
    if !again.is_empty() {
        shared.watch_again(again);
    }
}

/// What a status means: an event for the owner, or the time to ask again.
fn digest(shared: &Shared, watched: &mut Watched, status: Status, now: Timestamp) -> Option<Timestamp> {
    let attempt = watched.watch.attempt;
    let event = match status {
        Status::Running { remote_state, poll_at } => {
            if watched.remote_state.as_ref() != Some(&remote_state) {
                let state = remote_state.clone();
                shared.send(Message::RemoteState { run: watched.watch.run, task: attempt.task, state });
                watched.remote_state = Some(remote_state);
            }
            return Some(poll_at.unwrap_or_else(|| next_poll(&watched.watch, now, shared.timing.poll_min)));
        }
        Status::Throttled(_) | Status::Unavailable(_) => {
            let interval =
                interval(&watched.watch, now, shared.timing.poll_min).saturating_mul(TROUBLE_FACTOR);
            return Some(now.checked_add(interval).unwrap_or(Timestamp::MAX));
        }
        Status::Succeeded(outcome) => Event::Succeeded { attempt, outcome: convert::outcome(&outcome) },
        Status::Failed(failure) => {
            Event::Failed { attempt, outcome: convert::cost_of(&failure), failure: convert::failure(failure) }
        }
        Status::Cancelled(failure) => Event::Stopped { attempt, failure: convert::failure(failure) },
        Status::Gone(failure) => Event::Lost {
            attempt,
            failure: Failure { class: "lost".to_owned(), ..convert::failure(failure) },
        },
    };
    shared.report(watched.watch.run, watched.watch.fence, event);
    None
}

/// Copies what the attempt printed since the last look; never able to fail it.
async fn copy_log(shared: &Shared, watched: &mut Watched, handle: &Handle) {
    let watch = &watched.watch;
    let Some(operator) = shared.registry.get(&watch.operator) else { return };
    loop {
        let (chunk, offset) = if let Some(at) = watched.log_at {
            at
        } else {
            // Most operators keep no output: find out before asking the store.
            if operator.read_log(handle, 0).await.is_none() {
                return;
            }
            match shared.store.log_end(watch.run, watch.attempt).await {
                Ok(end) => end,
                Err(_) => return,
            }
        };
        watched.log_at = Some((chunk, offset));
        let Some(piece) = operator.read_log(handle, offset).await else { return };
        if piece.text.is_empty() || piece.next_offset <= offset {
            return;
        }
        if shared
            .store
            .append_log(watch.run, watch.attempt, chunk, &piece.text, piece.next_offset)
            .await
            .is_err()
        {
            return;
        }
        watched.log_at = Some((chunk + 1, piece.next_offset));
    }
}

/// When to ask about a job next: the last moment within its interval that lies on the grid, so
/// that jobs of one kind are asked about together, however they began.
fn next_poll(watch: &Watch, now: Timestamp, shortest: Duration) -> Timestamp {
    let interval = interval(watch, now, shortest);
    let at = now.checked_add(interval).unwrap_or(Timestamp::MAX);
    let step = i64::try_from(step_of(watch.ceiling.max(shortest), interval).as_millis());
    let step = step.unwrap_or(i64::MAX).max(1);
    let first = now.as_millisecond().saturating_add(1);
    let rounded = at.as_millisecond().div_euclid(step).saturating_mul(step);
    let rounded = if rounded < first { rounded.saturating_add(step) } else { rounded };
    Timestamp::from_millisecond(rounded).unwrap_or(at)
}

/// The largest halving of the ceiling that is no longer than the interval.
fn step_of(ceiling: Duration, interval: Duration) -> Duration {
    let halvings = (0..=HALVINGS_MAX).map(|halvings| ceiling / 2_u32.pow(halvings));
    halvings.into_iter().find(|step| *step <= interval).unwrap_or(interval)
}

/// The interval that fits a job's own history: short at first and near its usual end, longer
/// the longer it runs, at most `poll_interval`.
fn interval(watch: &Watch, now: Timestamp, shortest: Duration) -> Duration {
    let elapsed = Duration::try_from(now.duration_since(watch.started_at)).unwrap_or(Duration::ZERO);
    let ceiling = watch.ceiling.max(shortest);
    let by_age = (elapsed / ELAPSED_SHARE).clamp(shortest, ceiling);
    match watch.usual.map(|usual| usual.mul_f64(USUAL_EARLY)) {
        Some(expected) if elapsed < expected => {
            expected.checked_sub(elapsed).unwrap().clamp(by_age.min(ceiling), ceiling)
        }
        _ => by_age,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(ceiling: u64, usual: Option<u64>) -> Watch {
        Watch {
            run: RunId(uuid::Uuid::nil()),
            fence: 1,
            attempt: AttemptKey { task: 0, number: 1 },
            connections: Arc::new(Clients::default()),
            operator: "sleep".to_owned(),
            handle: Document::null(),
            ceiling: Duration::from_secs(ceiling),
            started_at: Timestamp::UNIX_EPOCH,
            usual: usual.map(Duration::from_secs),
            alive: Weak::new(),
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "whole numbers and sums of powers of two")]
    fn intervals_follow_age_and_history() {
        let after = |watch: &Watch, seconds: i64| {
            interval(watch, Timestamp::from_second(seconds).unwrap(), Duration::from_millis(250))
                .as_secs_f64()
        };
        let unknown = watch(30, None);
        assert_eq!([0, 10, 100, 1000].map(|s| after(&unknown, s)), [0.25, 1.0, 10.0, 30.0]);
        let usually_ten_minutes = watch(30, Some(600));
        // Not expected to end yet, then close to its usual end, then overdue.
        assert_eq!([0, 530, 600].map(|s| after(&usually_ten_minutes, s)), [30.0, 30.0, 30.0]);
        let usually_ten_seconds = watch(30, Some(10));
        assert_eq!([0, 6, 10].map(|s| after(&usually_ten_seconds, s)), [9.0, 3.0, 1.0]);
    }

    #[test]
    fn batches_are_full_and_own_no_more_than_they_fill() {
        let found: Vec<Vec<u32>> = batches((0..120).collect(), 50).collect();
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 20]);
        assert_eq!(found.concat(), (0..120).collect::<Vec<_>>());
        assert!(found.iter().all(|batch| batch.capacity() <= 50), "{found:?}");
    }

    #[test]
    fn jobs_of_one_kind_are_asked_about_together() {
        let one = next_poll(
            &watch(30, Some(600)),
            Timestamp::from_millisecond(60_001).unwrap(),
            Duration::from_millis(250),
        );
        let other = next_poll(
            &watch(30, Some(600)),
            Timestamp::from_millisecond(62_999).unwrap(),
            Duration::from_millis(250),
        );
        assert_eq!(one, other);
    }

    #[test]
    fn jobs_of_any_age_meet_on_the_grid_within_their_interval() {
        let job =
            |began: i64| Watch { started_at: Timestamp::from_second(began).unwrap(), ..watch(30, None) };
        let mut polls: Vec<i64> = Vec::new();
        for began in 0..100 {
            let (job, mut now) =
                (job(began), Timestamp::from_millisecond(began * 1_000 + began * 7).unwrap());
            while now.as_second() < 600 {
                let wait = interval(&job, now, Duration::from_millis(250));
                let next = next_poll(&job, now, Duration::from_millis(250));
                assert!(next > now && next <= now + wait, "{now} {next} {wait:?}");
                now = next;
            }
            polls.push(now.as_millisecond());
        }
        // Old ones all come at once, whenever they began.
        assert!(polls.iter().all(|at| *at == 600_000), "{polls:?}");
    }
}
