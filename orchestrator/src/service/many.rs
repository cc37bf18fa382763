//! One command for many runs of a pipeline: what would happen to each, then each is asked; what is
//! refused is named, and the rest goes on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::{
    ids::RunId,
    machine::Command,
    run::Run,
    store::{RunEntry, Store, StoreError},
};

use super::find::FindError;
use crate::engine::{AskError, EngineHandle};

/// Runs that are read at a time: some thousand rows, in four statements.
pub const RUNS_READ_MAX: usize = 1_000;

/// What is asked of one run.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The run.
    pub entry: RunEntry,
    /// What it is asked.
    pub command: Command,
    /// What would happen, for people.
    pub effect: String,
}

/// What became of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// `pipeline@key`.
    pub run: String,
    /// Its state before.
    pub state: String,
    /// What happens.
    pub effect: String,
    /// Whether it was done.
    pub done: bool,
    /// Why not.
    pub refused: Option<String>,
}

/// Makes a wish of each run that `wish` has one for.
pub async fn wishes(
    store: &Store,
    runs: &[RunEntry],
    wish: impl Fn(&Run) -> Result<Option<(Command, String)>, FindError>,
) -> Result<Vec<Wish>, FindError> {
    let mut wishes = Vec::new();
    for portion in runs.chunks(RUNS_READ_MAX) {
        let ids: Vec<RunId> = portion.iter().map(|entry| entry.id).collect();
        let read: BTreeMap<RunId, Run> =
            store.read_runs(&ids).await?.into_iter().map(|run| (run.id, run)).collect();
        for entry in portion {
            let Some(run) = read.get(&entry.id) else { continue };
            if let Some((command, effect)) = wish(run)? {
                wishes.push(Wish { entry: entry.clone(), command, effect });
            }
        }
    }
    Ok(wishes)
}

/// Asks each run; in the order of the wishes, so that what is told of the first run stands first.
pub async fn ask_all(
    handle: &EngineHandle,
    actor: &str,
    pipeline: &str,
    wishes: &[Wish],
) -> Result<Vec<Outcome>, AskError> {
    let commands: Vec<(RunId, Command)> =
        wishes.iter().map(|wish| (wish.entry.id, wish.command.clone())).collect();
    let answers = handle.ask_many(&commands, actor).await?;
    let outcome = |(wish, answer): (&Wish, Result<(), AskError>)| {
        let run = format!("{pipeline}@{}", wish.entry.key);
        let refused = match answer {
            Ok(()) => None,
            Err(AskError::Refused(reason)) => Some(reason),
            Err(AskError::Store(StoreError::NotFound { what })) => Some(format!("there is no {what}")),
            // The others were asked all the same: what became of them is told.
            Err(AskError::Unanswered) => Some(format!("{run}: {}", AskError::Unanswered)),
            Err(error) => return Err(error),
        };
        Ok(Outcome {
            run,
            state: wish.entry.state.word().to_owned(),
            effect: wish.effect.clone(),
            done: refused.is_none(),
            refused,
        })
    };
    wishes.iter().zip(answers).map(outcome).collect()
}
