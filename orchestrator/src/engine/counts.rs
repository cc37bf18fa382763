//! What this replica did since it began, for whoever measures it. Numbers only: nothing decides by them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// The counters of one engine.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) starts: AtomicU64,
    pub(super) polls: AtomicU64,
    pub(super) polled: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) commit_failures: AtomicU64,
    pub(super) notices_sent: AtomicU64,
    pub(super) notices_failed: AtomicU64,
    pub(super) waiting: Arc<AtomicUsize>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountsView {
    /// Starts that were sent to a service.
    pub starts: u64,
    /// Questions to services about jobs.
    pub polls: u64,
    /// Jobs that those were about.
    pub polled: u64,
    /// Group commits that succeeded.
    pub commits: u64,
    /// Group commits that did not.
    pub commit_failures: u64,
    /// Notices that were sent.
    pub notices_sent: u64,
    /// Tries to send a notice that failed.
    pub notices_failed: u64,
    /// External jobs that are watched.
    pub waiting: usize,
}

/// One more.
pub(super) fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(u64::try_from(number).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Counts {
    pub(super) fn view(&self) -> CountsView {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CountsView {
            starts: read(&self.starts),
            polls: read(&self.polls),
            polled: read(&self.polled),
            commits: read(&self.commits),
            commit_failures: read(&self.commit_failures),
            notices_sent: read(&self.notices_sent),
            notices_failed: read(&self.notices_failed),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }
}

/// Counts one watched job for as long as it exists.
#[derive(Debug)]
pub(super) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    pub(super) fn new(counts: &Counts) -> Self {
        counts.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&counts.waiting))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
