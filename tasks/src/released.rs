//! Jobs that were let go: cancelled where there is nothing outside to stop.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// Ids of jobs that were let go and whose end nobody has asked for yet. Memory is enough: a
/// replica that takes over cancels again before it polls.
#[derive(Debug, Default)]
pub(crate) struct Released(Mutex<HashSet<String>>);

impl Released {
    /// Remembers a job.
    pub(crate) fn add(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }

    /// Whether a job was let go.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Forgets a job that has ended.
    pub(crate) fn remove(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}
