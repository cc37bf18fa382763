//! What a clear would run again, before anybody says yes.

use std::{collections::BTreeSet, sync::Arc};

use trunkline_state::{
    machine::{Command, Refusal, clear_set},
    run::{Definition, Run},
    words::{RunState, TaskState},
};

use super::{
    elements::{Named, named},
    find::{FindError, task},
    many::Asked,
    newest::{moved, with_added},
};

/// Which tasks of a run a person means. Nothing chosen means every task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClearChoice {
    /// `--task`.
    pub tasks: Vec<String>,
    /// `--failed`: what failed, could not run or was cancelled.
    pub failed: bool,
    /// `--downstream`: and everything that follows.
    pub downstream: bool,
    /// `--upstream`: and everything before.
    pub upstream: bool,
}

/// What a clear would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearPreview {
    /// The tasks to name in the command, by position.
    pub selected: Vec<usize>,
    /// The tasks that run again: those, and what follows them by itself.
    pub cleared: Vec<usize>,
}

/// What a clear of this choice would do to a run as it stands.
pub fn preview(run: &Run, choice: &ClearChoice) -> Result<ClearPreview, FindError> {
    let selected: Vec<usize> = selected(run, choice)?.into_iter().collect();
    let cleared = clear_set(run, &selected).into_iter().collect();
    Ok(ClearPreview { selected, cleared })
}

/// What clearing one of many runs means, on the newest version where that is wanted. Runs that have not
/// started have nothing to clear.
pub fn wish(
    run: Run,
    newest: Option<&Arc<Definition>>,
    choice: &ClearChoice,
    reason: Option<String>,
) -> Result<Option<Asked>, FindError> {
    let Some(newest) = newest.filter(|newest| newest.version != run.definition.version) else {
        return Ok(wish_on(&run, choice, reason)?.map(Asked::from));
    };
    if preview(&run, choice)?.cleared.is_empty() || run.state == RunState::Queued {
        return Ok(None);
    }
    let moved = match moved(run, newest) {
        Ok(Some(moved)) => moved,
        Ok(None) => return Ok(None),
        Err(Refusal(reason)) => {
            return Ok(Some(Asked { effect: reason.clone(), command: Err(reason), moved: None }));
        }
    };
    let wish = wish_on(&moved.run, &with_added(choice, &moved), reason)?;
    Ok(wish.map(|(command, effect)| {
        let (from, to) = (moved.before.definition.version, newest.version);
        let effect = format!("version {from} → {to}; {effect}");
        Asked { command: Ok(command), effect, moved: Some(Box::new(moved)) }
    }))
}

/// What clearing a run means on the version that it is on.
fn wish_on(
    run: &Run,
    choice: &ClearChoice,
    reason: Option<String>,
) -> Result<Option<(Command, String)>, FindError> {
    let preview = preview(run, choice)?;
    if preview.cleared.is_empty() || run.state == RunState::Queued {
        return Ok(None);
    }
    let effect = if (0..run.own_tasks().len()).all(|task| preview.selected.contains(&task)) {
        "runs again, whole".to_owned()
    } else {
        let Named { count, words } = named(run, &preview.cleared);
        let tasks = if count == 1 { "task" } else { "tasks" };
        format!("{count} {tasks}: {words}")
    };
    let command = Command::Clear { tasks: preview.selected, generation: Some(run.generation), reason };
    Ok(Some((command, effect)))
}

/// The tasks of a choice, by position.
pub(super) fn selected(run: &Run, choice: &ClearChoice) -> Result<BTreeSet<usize>, FindError> {
    let mut selected = BTreeSet::new();
    for name in &choice.tasks {
        selected.insert(task(run, name)?);
    }
    if choice.failed {
        let broken =
            |state| matches!(state, TaskState::Failed | TaskState::UpstreamFailed | TaskState::Cancelled);
        // Of a mapped task those elements, and the task itself where none of them is to blame.
        let to_blame =
            |position: usize| !run.elements(position).iter().any(|element| broken(run.tasks[*element].state));
        let wanted = |position: &usize| broken(run.tasks[*position].state) && to_blame(*position);
        selected.extend(run.present().filter(wanted));
    }
    if choice.tasks.is_empty() && !choice.failed {
        selected.extend(0..run.own_tasks().len());
    }
    let chosen: Vec<usize> = selected.iter().map(|position| run.home(*position)).collect();
    if choice.downstream {
        spread(&chosen, |position| run.definition.downstream[position].as_slice(), &mut selected);
    }
    if choice.upstream {
        spread(&chosen, |position| run.task(position).depends_on.as_slice(), &mut selected);
    }
    Ok(selected)
}

fn spread<'a>(from: &[usize], next: impl Fn(usize) -> &'a [usize], into: &mut BTreeSet<usize>) {
    let mut open = from.to_vec();
    while let Some(position) = open.pop() {
        for &neighbour in next(position) {
            if into.insert(neighbour) {
                open.push(neighbour);
            }
        }
    }
}
