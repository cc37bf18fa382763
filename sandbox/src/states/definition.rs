//! A state machine's definition: what was read of it. The reading, with every check, stands in [`read`].
//!
//! Both query languages are read into the same shapes: wherever a field can be told in either, one enum holds
//! what it may be, and the walk does not ask which language it was.
//!
//! Definitions that would mean something that the sandbox does not do (distributed maps, callbacks, unknown
//! services) are refused when the machine is made, by name and place; never approximated.

mod read;

use indexmap::IndexMap;
use serde_json::Value;

pub(super) use self::read::SECONDS_MAX;
use super::choice::Condition;
use super::integration::Integration;
use super::intrinsic::Expression;
use super::jsonata::Query;
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
    /// The variables that it assigns when it has succeeded; of a Choice state, where no rule holds.
    pub assign: Assign,
    /// The state that follows; `None` if the machine ends here.
    pub next: Option<String>,
    /// What is tried again.
    pub retry: Vec<Retrier>,
    /// What is caught.
    pub catch: Vec<Catcher>,
}

/// How data passes through a state.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Flow {
    /// `JSONPath`'s five fields.
    Paths(Box<Paths>),
    /// `JSONata`'s two.
    Queries(Box<Queries>),
}

/// The fields through which data passes in `JSONata`; what is not told is the input, and the result.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Queries {
    /// `Arguments`.
    pub arguments: Option<Template>,
    /// `Output`; of a Choice state, where no rule holds.
    pub output: Option<Template>,
}

/// The fields through which data passes in `JSONPath`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Paths {
    pub input: Selection,
    pub parameters: Option<Template>,
    pub result_selector: Option<Template>,
    pub result: Selection,
    pub output: Selection,
}

/// `Assign`: variables with what gives their values, in the order they were written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Assign {
    pub variables: Vec<(String, Template)>,
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
    Choice { rules: Vec<Rule>, default: Option<String> },
    Succeed,
    Fail { error: Words, cause: Words },
    Parallel { branches: Vec<Machine> },
    Map(Box<Map>),
    Task(Box<Task>),
}

/// A rule of a Choice state.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub condition: Condition,
    pub next: String,
    pub assign: Assign,
    /// `Output` of a rule in `JSONata`.
    pub output: Option<Template>,
}

/// How long a Wait state waits.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Until {
    Seconds(Amount),
    /// A time of RFC 3339.
    Timestamp(Words),
}

/// A whole number, or what gives one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Amount {
    Fixed(u64),
    Path(Path),
    Query(Query),
}

/// A text, what gives one, or nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Words {
    None,
    Fixed(String),
    Expression(Expression),
    Query(Query),
}

/// An inline map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Map {
    /// What is done with each item.
    pub processor: Machine,
    /// Where the list is.
    pub items: Items,
    /// What each iteration is given instead of its item.
    pub selector: Option<Template>,
    /// The most iterations at once; 0 for as many as there are.
    pub concurrency: Amount,
}

/// The list that a map goes through.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Items {
    /// The whole input.
    Input,
    /// `ItemsPath`.
    Path(Path),
    /// `Items`: a list, or an expression that gives one.
    Template(Template),
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
    pub next: String,
    pub assign: Assign,
    pub output: Caught,
}

/// What a catcher makes of the error output.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Caught {
    /// `ResultPath`: it is put into the state's input.
    Result(Selection),
    /// `Output`; the error output itself where nothing is told.
    Output(Option<Template>),
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

impl Machine {
    /// Every `Assign` of its states, their rules and their catchers, each with the name of its state; not
    /// those of the machines inside, which have scopes of their own.
    pub(super) fn assignments(&self) -> impl Iterator<Item = (&str, &Assign)> {
        self.states.iter().flat_map(|(name, state)| {
            let rules = match &state.kind {
                Kind::Choice { rules, .. } => rules.as_slice(),
                _ => &[],
            };
            let own = std::iter::once(&state.assign);
            let all = own.chain(rules.iter().map(|rule| &rule.assign));
            let all = all.chain(state.catch.iter().map(|catcher| &catcher.assign));
            all.map(move |assign| (name.as_str(), assign))
        })
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
