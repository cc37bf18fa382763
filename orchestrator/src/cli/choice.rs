//! Which runs and which tasks a command is about, and whether a person has said yes: the switches that
//! commands share which change runs.

use trunkline_state::words::RunState;

use super::exit::refuse;
use crate::{
    definition::suggest::did_you_mean,
    service::{choose::RunsWanted, clear::ClearChoice},
};

/// Which runs.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunsArgs {
    /// The run: an id, pipeline@date or pipeline@latest; or a pipeline, with dates or a state
    #[arg(value_name = "RUN")]
    run: String,
    /// Runs of a pipeline from this date on
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// Runs of a pipeline up to this date, itself included
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
    /// And every earlier run of its pipeline
    #[arg(long)]
    past: bool,
    /// And every later run of its pipeline
    #[arg(long)]
    future: bool,
    /// Only runs in this state
    #[arg(long, value_name = "STATE", value_parser = run_state)]
    state: Option<RunState>,
}

/// Which of their tasks; none named means all.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TasksArgs {
    /// Only this task, and what did not run because of it; may be repeated
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<String>,
    /// And everything that follows
    #[arg(long)]
    downstream: bool,
    /// And everything before
    #[arg(long)]
    upstream: bool,
    /// What failed, could not run or was cancelled
    #[arg(long)]
    failed: bool,
}

/// Whether it is to be done, and why.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConsentArgs {
    /// Only show what would happen
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// Whether a person has said yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// Ask where somebody can be asked.
    Ask,
    /// It was given on the command line.
    Given,
    /// Only show.
    DryRun,
    /// It was given, and nobody waits for the run.
    GivenDetached,
}

impl RunsArgs {
    /// What was typed, for [`crate::service::choose`].
    pub(crate) fn wanted(&self) -> RunsWanted {
        RunsWanted {
            name: self.run.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            past: self.past,
            future: self.future,
            state: self.state,
        }
    }
}

impl TasksArgs {
    /// What was typed, for [`crate::service::clear`].
    pub(crate) fn choice(&self) -> ClearChoice {
        ClearChoice {
            tasks: self.tasks.clone(),
            failed: self.failed,
            downstream: self.downstream,
            upstream: self.upstream,
        }
    }
}

impl ConsentArgs {
    /// What was said; nobody waits for an answer where the command goes away at once.
    pub(crate) fn consent(&self, detach: bool) -> anyhow::Result<Consent> {
        match (self.dry_run, self.yes, detach) {
            (true, ..) => Ok(Consent::DryRun),
            (_, true, true) => Ok(Consent::GivenDetached),
            (_, true, false) => Ok(Consent::Given),
            (_, false, true) => refuse("--detach does not wait for an answer; add --yes"),
            (_, false, false) => Ok(Consent::Ask),
        }
    }
}

/// The state of a run that a word stands for.
pub(crate) fn run_state(word: &str) -> Result<RunState, String> {
    RunState::from_word(word).ok_or_else(|| {
        let words = RunState::ALL.iter().map(|state| state.word());
        did_you_mean(word, words, "the states are").unwrap_or_else(|| "it is no state of a run".to_owned())
    })
}
