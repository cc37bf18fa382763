//! The table of legal transitions. The machine checks every change against it, a test
//! enumerates it, and the same test writes `docs/state-machine.md`.

use crate::words::{AttemptState as A, RunState as R, TaskState as T};

/// A change that the table does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "illegal transition of {what}: {from} to {to}; this is a bug in Trunkline, the run was left as it is"
)]
pub struct IllegalTransition {
    /// What would have changed.
    pub what: String,
    /// Its state.
    pub from: String,
    /// The state it may not take.
    pub to: String,
}

/// Whether a run may go from one state to another.
pub fn run_may(from: R, to: R) -> bool {
    matches!(
        (from, to),
        (R::Queued, R::Running | R::Cancelled)
            | (R::Running, R::Paused | R::Cancelling | R::Succeeded | R::Failed)
            | (R::Paused, R::Running | R::Cancelling | R::Succeeded | R::Failed)
            | (R::Cancelling, R::Succeeded | R::Failed | R::Cancelled)
            // Only a clear reopens.
            | (R::Succeeded | R::Failed | R::Cancelled, R::Queued)
    )
}

/// Whether a task run may go from one state to another.
pub fn task_may(from: T, to: T) -> bool {
    matches!(
        (from, to),
        (T::Waiting, T::Queued | T::Skipped | T::UpstreamFailed | T::Cancelled)
            // A person's word for how it ended.
            | (T::Waiting, T::Succeeded | T::Failed)
            // Skipped: its `when` says no.
            | (T::Queued, T::Running | T::Retrying | T::Failed | T::Skipped | T::Cancelled | T::Waiting)
            | (T::Running, T::Succeeded | T::Failed | T::Retrying | T::Cancelled | T::AwaitingApproval)
            | (T::AwaitingApproval, T::Succeeded | T::Failed | T::Retrying | T::Cancelled)
            | (T::Retrying, T::Queued | T::Cancelled | T::Waiting)
            // Only a clear reopens.
            | (T::Succeeded | T::Failed | T::Skipped | T::UpstreamFailed | T::Cancelled, T::Waiting)
    )
}

/// Whether an attempt may go from one state to another; `None` is its beginning.
pub fn attempt_may(from: Option<A>, to: A) -> bool {
    matches!(
        (from, to),
        // A request that could not be made is an attempt that failed at once.
        (None, A::Starting | A::Failed)
            // Renewed: known not to have started, sent again.
            | (Some(A::Starting), A::Starting)
            | (Some(A::Unknown), A::Starting)
            | (
                Some(A::Starting | A::Unknown),
                A::Unknown | A::Running | A::Cancelling | A::Succeeded | A::Failed | A::TimedOut | A::Cancelled | A::Lost
            )
            | (
                Some(A::Running),
                A::Cancelling | A::Succeeded | A::Failed | A::TimedOut | A::Cancelled | A::Lost
            )
            | (Some(A::Cancelling), A::Succeeded | A::Failed | A::TimedOut | A::Cancelled | A::Lost)
    )
}
