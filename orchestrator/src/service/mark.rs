//! What marking tasks as succeeded or failed would change, before anybody says yes.

use trunkline_state::{
    machine::{Command, Mark, clear_set},
    run::Run,
};

use super::{
    clear::{ClearChoice, selected},
    elements::named,
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

/// What marking one of many runs means; nothing where no task would change.
pub fn wish(
    run: &Run,
    choice: &ClearChoice,
    mark: Mark,
    reason: Option<String>,
) -> Result<Option<(Command, String)>, FindError> {
    let preview = preview(run, choice, mark)?;
    if preview.changed.is_empty() {
        return Ok(None);
    }
    let effect = described(run, &preview, mark);
    Ok(Some((Command::Mark { tasks: preview.changed, mark, reason }, effect)))
}

/// `convert counts as succeeded; crawl_processed follows`.
pub fn described(run: &Run, preview: &MarkPreview, mark: Mark) -> String {
    let names = |positions: &[usize]| named(run, positions).words;
    let verb = if preview.changed.len() == 1 { "counts" } else { "count" };
    let changed = format!("{} {verb} as {}", names(&preview.changed), mark.word());
    if preview.follow.is_empty() {
        return changed;
    }
    let verb = if preview.follow.len() == 1 { "follows" } else { "follow" };
    format!("{changed}; {} {verb}", names(&preview.follow))
}
