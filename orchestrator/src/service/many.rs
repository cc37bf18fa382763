//! One command for many runs of a pipeline: what would happen to each, then each is asked; what is
//! refused is named, and the rest goes on.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::{
    ids::RunId,
    machine::Command,
    run::Run,
    store::{RunEntry, Store, StoreError},
    versions::Moved,
};

use super::{find::FindError, newest};
use crate::engine::{AskError, EngineHandle};

/// Runs that are read at a time: some thousand rows, in four statements.
pub const RUNS_READ_MAX: usize = 1_000;

/// What is asked of one run.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it is asked, or why it is not.
    pub command: Result<Command, String>,
    /// What would happen, for people.
    pub effect: String,
    /// The version that it goes on with before it is asked.
    pub moved: Option<Box<Moved>>,
}

impl From<(Command, String)> for Asked {
    fn from((command, effect): (Command, String)) -> Self {
        Self { command: Ok(command), effect, moved: None }
    }
}

/// A run, and what is asked of it.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The run.
    pub entry: RunEntry,
    /// What.
    pub asked: Asked,
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
    wish: impl Fn(Run) -> Result<Option<Asked>, FindError>,
) -> Result<Vec<Wish>, FindError> {
    let mut wishes = Vec::new();
    for portion in runs.chunks(RUNS_READ_MAX) {
        let ids: Vec<RunId> = portion.iter().map(|entry| entry.id).collect();
        let mut read: BTreeMap<RunId, Run> =
            store.read_runs(&ids).await?.into_iter().map(|run| (run.id, run)).collect();
        for entry in portion {
            let Some(run) = read.remove(&entry.id) else { continue };
            if let Some(asked) = wish(run)? {
                wishes.push(Wish { entry: entry.clone(), asked });
            }
        }
    }
    Ok(wishes)
}

/// Asks each run; in the order of the wishes, so that what is told of the first run stands first.
pub async fn ask_all(
    store: &Store,
    handle: &EngineHandle,
    (actor, now): (&str, Timestamp),
    pipeline: &str,
    wishes: &[Wish],
) -> Result<Vec<Outcome>, AskError> {
    let mut refusals: HashMap<RunId, String> = HashMap::new();
    let mut commands: Vec<(RunId, Command)> = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let (run, Asked { command, moved, .. }) = (wish.entry.id, &wish.asked);
        match command {
            Ok(command) => {
                if let Some(moved) = moved
                    && let Err(error) = newest::go(store, moved, command.reason(), actor, now).await
                {
                    refusals.insert(run, error.to_string());
                    continue;
                }
                commands.push((run, command.clone()));
            }
            Err(reason) => {
                refusals.insert(run, reason.clone());
            }
        }
    }
    let mut answers = handle.ask_many(&commands, actor).await?.into_iter();
    let outcome = |wish: &Wish| {
        let run = format!("{pipeline}@{}", wish.entry.key);
        let answer = match refusals.remove(&wish.entry.id) {
            Some(reason) => Err(AskError::Refused(reason)),
            None => answers.next().unwrap_or(Err(AskError::Unanswered)),
        };
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
            effect: wish.asked.effect.clone(),
            done: refused.is_none(),
            refused,
        })
    };
    wishes.iter().map(outcome).collect()
}
