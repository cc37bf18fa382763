//! What a command would change in a run, without doing it: the same decision on a copy of what is stored.

use jiff::Timestamp;
use trunkline_state::{
    ids::RunId,
    machine::{self, Command},
    run::Run,
    store::{Store, StoreError},
};

/// Changes that are named; the rest is counted.
const CHANGES_SHOWN_MAX: usize = 50;

/// Why nothing can be foreseen.
#[derive(Debug, thiserror::Error)]
pub enum ForeseeError {
    /// The command would be refused, for this reason.
    #[error("{0}")]
    Refused(String),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The changes of states that a command would make at once, one line each: `convert: failed → waiting`.
pub async fn foresee(
    store: &Store,
    run: RunId,
    actor: &str,
    command: &Command,
    now: Timestamp,
) -> Result<Vec<String>, ForeseeError> {
    foresee_on(store.read_run(run).await?, actor, command, now)
}

/// The same of a run in hand.
pub fn foresee_on(
    mut copy: Run,
    actor: &str,
    command: &Command,
    now: Timestamp,
) -> Result<Vec<String>, ForeseeError> {
    let delta = machine::ask(&mut copy, actor, command, now)
        .map_err(|refusal| ForeseeError::Refused(refusal.to_string()))?;
    let mut lines: Vec<String> = delta
        .transitions
        .iter()
        .map(|change| {
            let task = change.task.map(|task| copy.task_name(task));
            let subject = match (task, change.attempt) {
                (None, _) => "the run".to_owned(),
                (Some(task), None) => task.into_owned(),
                (Some(task), Some(number)) => format!("{task} #{number}"),
            };
            match &change.from {
                Some(from) if *from != change.to => format!("{subject}: {from} → {}", change.to),
                _ => format!("{subject}: {}", change.to),
            }
        })
        .collect();
    if let Some(more) = lines.len().checked_sub(CHANGES_SHOWN_MAX).filter(|more| *more > 0) {
        lines.truncate(CHANGES_SHOWN_MAX);
        lines.push(format!("and {more} more"));
    }
    Ok(lines)
}
