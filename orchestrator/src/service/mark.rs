//! What marking tasks as succeeded or failed would change, before anybody says yes.

use trunkline_state::{
    machine::{Mark, clear_set},
    run::Run,
};

use super::{
    clear::{ClearChoice, selected},
    find::FindError,
};

/// What a mark would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkPreview {
    /// The tasks whose state changes, by position.
    pub changed: Vec<usize>,
    /// The tasks that run because of it: those that did not run because of the changed ones.
    pub follow: Vec<usize>,
}

/// What marking this choice of tasks would do to a run as it stands.
pub fn preview(run: &Run, choice: &ClearChoice, mark: Mark) -> Result<MarkPreview, FindError> {
    let mut changed: Vec<usize> = selected(run, choice)?.into_iter().collect();
    changed.retain(|task| run.tasks[*task].state != mark.state());
    // A mapped task goes on with its other elements: no news.
    let is_news = |task: &usize| !changed.iter().any(|one| one == task || run.home(*one) == *task);
    let follow = clear_set(run, &changed).into_iter().filter(is_news).collect();
    Ok(MarkPreview { changed, follow })
}
