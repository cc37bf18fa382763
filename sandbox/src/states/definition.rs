//! A state machine's definition: what was read of it. The reading, with every check, stands in [`read`].
//!
//! Definitions that would mean something that the sandbox does not do (`JSONata`, variables, distributed maps,
//! callbacks, unknown services) are refused when the machine is made, by name and place; never approximated.

mod read;

use indexmap::IndexMap;
use serde_json::Value;

use super::choice::Condition;
use super::integration::Integration;
use super::intrinsic::Expression;
use super::path::Path;
use super::template::Template;

/// The longest definition (the service's own limit).
const DEFINITION_MAX: usize = 1024 * 1024;

/// A state machine, or the inside of a branch or a map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Machine {
    /// The name of the first state.
    pub start_at: String,
    /// Every state by name.
    pub states: IndexMap<String, State>,
    /// The longest that an execution may take, in seconds.
    pub timeout_seconds: Option<u64>,
}

/// A state.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    /// What it does.
    pub kind: Kind,
    /// Where its input comes from and where its result goes.
    pub flow: Flow,
    /// The state that follows; `None` if the machine ends here.
    pub next: Option<String>,
    /// What is tried again.
    pub retry: Vec<Retrier>,
    /// What is caught.
    pub catch: Vec<Catcher>,
}

/// How data passes through a state.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Flow {
    pub input: Selection,
    pub parameters: Option<Template>,
    pub result_selector: Option<Template>,
    pub result: Selection,
    pub output: Selection,
}

/// `InputPath`, `OutputPath` and `ResultPath`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Selection {
    /// `$`, also where nothing is said.
    #[default]
    Whole,
    /// `null`.
    Nothing,
    Path(Path),
}

/// What a state does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Pass { result: Option<Value> },
    Wait(Until),
    Choice { rules: Vec<(Condition, String)>, default: Option<String> },
    Succeed,
    Fail { error: Words, cause: Words },
    Parallel { branches: Vec<Machine> },
    Map(Box<Map>),
    Task(Box<Task>),
}

/// How long a Wait state waits.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Until {
    Seconds(Amount),
    /// A text or a path to one.
    Timestamp(Words),
}

/// A number, or a path to one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Amount {
    Fixed(u64),
    Path(Path),
}

/// A text, a path or call that gives one, or nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Words {
    None,
    Fixed(String),
    Expression(Expression),
}

/// An inline map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Map {
    /// What is done with each item.
    pub processor: Machine,
    /// Where the list is.
    pub items: Option<Path>,
    /// What each iteration is given instead of its item.
    pub selector: Option<Template>,
    /// The most iterations at once; 0 for as many as there are.
    pub concurrency: Amount,
}

/// A call of a service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Task {
    /// What is called.
    pub integration: Integration,
    /// The longest that one try may take, in seconds.
    pub timeout: Option<Amount>,
}

/// One rule of `Retry`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Retrier {
    pub errors: Vec<String>,
    pub interval_seconds: u64,
    pub attempts_max: u64,
    pub backoff: f64,
    pub delay_max_seconds: Option<u64>,
    /// `JitterStrategy: FULL`.
    pub jitter: bool,
}

/// One rule of `Catch`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Catcher {
    pub errors: Vec<String>,
    pub result: Selection,
    pub next: String,
}

/// One thing that is wrong with a definition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    /// The service's code, e.g. `SCHEMA_VALIDATION_FAILED`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where, e.g. `/States/Convert/Next`.
    pub location: String,
}

impl Machine {
    /// Reads a definition, or tells everything that is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let whole = |code, message: String| vec![Problem { code, message, location: "/".to_owned() }];
        if text.len() > DEFINITION_MAX {
            let message = format!("the definition is longer than {DEFINITION_MAX} bytes");
            return Err(whole("SCHEMA_VALIDATION_FAILED", message));
        }
        let value = serde_json::from_str(text)
            .map_err(|error| whole("INVALID_JSON_DESCRIPTION", error.to_string()))?;
        read::machine(&value)
    }
}

impl Kind {
    /// The type in the definition's word, which is also the beginning of the names of its events.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "Pass",
            Self::Wait(_) => "Wait",
            Self::Choice { .. } => "Choice",
            Self::Succeed => "Succeed",
            Self::Fail { .. } => "Fail",
            Self::Parallel { .. } => "Parallel",
            Self::Map(_) => "Map",
            Self::Task(_) => "Task",
        }
    }
}

impl Problem {
    /// All problems in one text, as `CreateStateMachine` words them.
    pub(super) fn worded(problems: &[Self]) -> String {
        let one = |problem: &Self| format!("{}: {} at {}", problem.code, problem.message, problem.location);
        format!(
            "Invalid State Machine Definition: '{}'",
            problems.iter().map(one).collect::<Vec<_>>().join(", ")
        )
    }
}

#[cfg(test)]
mod tests;
