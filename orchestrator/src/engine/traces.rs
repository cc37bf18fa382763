//! Runs whose end this replica committed, into traces: a bounded queue, and one task that reads the store and
//! exports.
//!
//! Best effort, and apart from everything else: no run waits for it, no failure of it is a failure of anything,
//! and what cannot be exported after a few tries is dropped. Without a way out nothing is queued or read.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use trunkline_state::store::{Store, StoreError};

use super::{Shared, chain, pace::pause};
use crate::trace::{Course, Ended, Export, Facts, SPANS_MAX, Span, Unexported, trace};

/// Ended runs that wait for their export: minutes of a busy server, in some 50 KB.
const QUEUE_MAX: usize = 1_000;
/// Runs whose spans go into one request: a burst of small runs is exported as fast as it comes.
const RUNS_AT_ONCE: usize = 50;
/// Tries of one export: with the pauses between them, some 15 seconds, the restart of a receiver.
const TRIES_MAX: u32 = 5;
/// The pause after the first try; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// By how much pauses shrink when this process ends: all tries fit into what an end waits for them.
const HASTE: u32 = 10;
/// Commits of a run's history that are read at a time.
const HISTORY_PAGE: i64 = 1_000;
/// How long the end of this process waits for what is queued: people who end it are waiting.
pub(super) const FLUSH_WAIT: Duration = Duration::from_secs(5);

/// The queue, and what stands behind it.
#[derive(Debug)]
pub(super) struct Traces {
    export: Arc<dyn Export>,
    queue: Mutex<VecDeque<Ended>>,
    more: Notify,
    closing: CancellationToken,
    /// Runs without a trace since the last export that was taken.
    lost: AtomicUsize,
}

impl Traces {
    pub(super) fn new(export: Arc<dyn Export>) -> Self {
        Self {
            export,
            queue: Mutex::default(),
            more: Notify::new(),
            closing: CancellationToken::new(),
            lost: AtomicUsize::new(0),
        }
    }

    /// Notes a run that ended. Never waits: with a full queue, the run has no trace.
    pub(super) fn want(&self, ended: Ended) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() < QUEUE_MAX {
            queue.push_back(ended);
            drop(queue);
            self.more.notify_one();
        } else {
            drop(queue);
            self.lose(1, "too many runs wait for their export");
        }
    }

    /// Nothing more comes: what is queued is exported in haste.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    fn pop(&self) -> Option<Ended> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Said once until something is taken again: a receiver that is gone is not news with every run.
    fn lose(&self, runs: usize, reason: &str) {
        if self.lost.fetch_add(runs, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "traces are not exported, and dropped until that works again: {reason}; runs do not depend on it"
            );
        }
    }

    fn taken(&self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::info!("traces are exported again; {lost} runs have none");
        }
    }

    /// Sends spans, again if that may help.
    async fn send(&self, spans: Vec<Span>) -> Result<(), Unexported> {
        let mut wait = FIRST_PAUSE;
        for _ in 1..TRIES_MAX {
            match self.export.export(spans.clone()).await {
                Err(Unexported { may_pass: true, .. }) => self.wait(wait).await,
                result => return result,
            }
            wait *= 2;
        }
        self.export.export(spans).await
    }

    async fn wait(&self, wait: Duration) {
        if !self.closing.is_cancelled() {
            tokio::select! {
                () = pause(wait) => return,
                () = self.closing.cancelled() => {}
            }
        }
        pause(wait / HASTE).await;
    }
}

/// Exports whatever is queued, until the queue is closed and empty.
pub(super) async fn export(shared: Arc<Shared>) {
    let Some(traces) = &shared.traces else { return };
    // Connections of its own: commits never wait for a large run to be read.
    let store = shared.store.apart();
    loop {
        let (mut spans, mut runs) = (Vec::new(), 0);
        while runs < RUNS_AT_ONCE && spans.len() < SPANS_MAX {
            let Some(ended) = traces.pop() else { break };
            match read(&store, ended).await {
                Ok(list) => spans.extend(list),
                Err(error) => traces.lose(1, &chain(&error)),
            }
            runs += 1;
        }
        if !spans.is_empty() {
            match traces.send(spans).await {
                Ok(()) => traces.taken(),
                Err(unexported) => traces.lose(runs, &unexported.reason),
            }
        } else if runs == 0 {
            if traces.closing.is_cancelled() {
                return;
            }
            tokio::select! {
                () = traces.more.notified() => {}
                () = traces.closing.cancelled() => {}
            }
        }
    }
}

/// The trace of a run's end, as the store knows it. Nothing of a run that was removed since.
async fn read(store: &Store, ended: Ended) -> Result<Vec<Span>, StoreError> {
    let run = match store.run(ended.run).await {
        Err(StoreError::NotFound { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let (tasks, attempts) = (store.task_runs(ended.run).await?, store.attempts(ended.run).await?);
    let own = tasks.iter().filter(|row| row.element.is_none());
    let names: Vec<String> = own.map(|row| row.task.clone()).collect();
    let definition = store.definition(&run.pipeline, run.version).await?.laid_over(&names);
    let mut course = Course::until(ended.at);
    let mut from = 0;
    while !course.is_over() {
        let page = store.history(ended.run, from, HISTORY_PAGE).await?;
        let Some(last) = page.last() else { break };
        from = last.seq + 1;
        page.iter().flat_map(|commit| &commit.changes).for_each(|line| course.take(line));
    }
    let facts = Facts {
        ended,
        run: &run,
        pipeline: &definition.pipeline,
        tasks: &tasks,
        attempts: &attempts,
        course: &course,
    };
    Ok(trace(&facts, SPANS_MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use futures::future::BoxFuture;
    use jiff::Timestamp;
    use trunkline_state::ids::RunId;

    use super::*;

    /// Refuses so many exports, then takes all.
    #[derive(Debug)]
    struct Refusing {
        refusals: u32,
        may_pass: bool,
        asked: AtomicU32,
    }

    impl Export for Refusing {
        fn export(&self, _: Vec<Span>) -> BoxFuture<'_, Result<(), Unexported>> {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst);
            let refused = asked < self.refusals;
            let reason = "down".to_owned();
            let answer = if refused { Err(Unexported { reason, may_pass: self.may_pass }) } else { Ok(()) };
            Box::pin(async move { answer })
        }
    }

    fn traces(refusals: u32, may_pass: bool) -> (Traces, Arc<Refusing>) {
        let export = Arc::new(Refusing { refusals, may_pass, asked: AtomicU32::new(0) });
        let traces = Traces::new(Arc::clone(&export) as Arc<dyn Export>);
        // Pauses in haste: the tests wait for them.
        traces.close();
        (traces, export)
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_some_times() {
        let (kind, asked) = traces(2, true);
        assert_eq!(kind.send(Vec::new()).await, Ok(()));
        assert_eq!(asked.asked.load(Ordering::SeqCst), 3);
        let (gone, asked) = traces(TRIES_MAX + 1, true);
        assert!(gone.send(Vec::new()).await.is_err());
        assert_eq!(asked.asked.load(Ordering::SeqCst), TRIES_MAX);
        let (final_no, asked) = traces(1, false);
        assert!(final_no.send(Vec::new()).await.is_err());
        assert_eq!(asked.asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_full_queue_takes_nothing_more() {
        let (traces, _) = traces(0, true);
        let ended = Ended { run: RunId(uuid::Uuid::nil()), generation: 1, at: Timestamp::UNIX_EPOCH };
        for _ in 0..QUEUE_MAX + 3 {
            traces.want(ended);
        }
        assert_eq!((traces.queue.lock().unwrap().len(), traces.lost.load(Ordering::Relaxed)), (QUEUE_MAX, 3));
        traces.taken();
        assert_eq!(traces.lost.load(Ordering::Relaxed), 0);
    }
}
