//! Reading a definition, with every check that can be made before anything runs.

mod fields;
mod kinds;
mod scopes;
mod state;

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value};

use self::fields::Fields;
pub(in crate::states) use self::fields::SECONDS_MAX;
use super::{Kind, Machine, Problem, State};
use crate::states::location::Location;

/// The code of most mistakes.
pub(super) const SCHEMA: &str = "SCHEMA_VALIDATION_FAILED";
/// The code of a name that no state has, and of a state that nothing leads to.
const TRANSITION: &str = "MISSING_TRANSITION_TARGET";
/// How deep machines may be nested in branches and maps; each level is a frame of the stack.
const DEPTH_MAX: usize = 20;
/// Longest name of a state (the service's own limit).
const NAME_MAX: usize = 80;

/// The language of a state's expressions (`QueryLanguage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    JsonPath,
    Jsonata,
}

impl Language {
    /// The word of the definition.
    fn name(self) -> &'static str {
        match self {
            Self::JsonPath => "JSONPath",
            Self::Jsonata => "JSONata",
        }
    }
}

/// Reads a whole definition.
pub(super) fn machine(value: &Value) -> Result<Machine, Vec<Problem>> {
    let mut reader = Reader { problems: Vec::new(), depth: 0, language: Language::JsonPath };
    let machine = reader.machine(value, &Location::whole(), true);
    if let Some(machine) = &machine {
        reader.scopes(machine);
    }
    match machine {
        Some(machine) if reader.problems.is_empty() => Ok(machine),
        _ => Err(reader.problems),
    }
}

pub(super) struct Reader {
    problems: Vec<Problem>,
    depth: usize,
    /// The whole definition's, which every state has that names none.
    language: Language,
}

impl Reader {
    fn wrong(&mut self, location: impl Into<String>, message: impl Into<String>) {
        self.coded(SCHEMA, location, message);
    }

    fn coded(&mut self, code: &'static str, location: impl Into<String>, message: impl Into<String>) {
        let mut location = location.into();
        if location.is_empty() {
            location.push('/');
        }
        self.problems.push(Problem { code, message: message.into(), location });
    }

    fn object<'a>(&mut self, value: &'a Value, at: &Location) -> Option<&'a Map<String, Value>> {
        let map = value.as_object();
        if map.is_none() {
            self.wrong(at, "an object is expected");
        }
        map
    }

    /// Reads a machine, or the inside of a branch or a map.
    fn machine(&mut self, value: &Value, at: &Location, is_whole: bool) -> Option<Machine> {
        if self.depth >= DEPTH_MAX {
            self.wrong(at, "branches and maps are nested too deeply");
            return None;
        }
        let mut fields = Fields::new(self.object(value, at)?, at.clone(), self.language);
        fields.skip(&["Comment"]);
        let start_at = fields.required_text(self, "StartAt");
        let timeout_seconds = if is_whole {
            fields.skip(&["Version"]);
            if let Some(language) = fields.query_language(self) {
                self.language = language;
            }
            fields.whole(self, "TimeoutSeconds")
        } else {
            fields.skip(&["ProcessorConfig"]);
            None
        };
        let states = fields.take("States");
        fields.finish(self, "a state machine");
        let Some(states) = states.and_then(|states| self.object(states, &at.member("States"))) else {
            self.wrong(at, "States is missing");
            return None;
        };
        self.depth += 1;
        let mut read: IndexMap<String, State> = IndexMap::new();
        for (name, state) in states {
            let place = at.state(name);
            if name.is_empty() || name.chars().count() > NAME_MAX {
                self.wrong(&place, format!("a state's name has from 1 to {NAME_MAX} characters"));
            }
            if let Some(state) = self.state(state, &place) {
                read.insert(name.clone(), state);
            }
        }
        self.depth -= 1;
        let start_at = start_at?;
        // Mistakes inside of states would make their targets look missing.
        if read.len() == states.len() {
            self.targets(&start_at, &read, at);
        }
        Some(Machine { start_at, states: read, timeout_seconds })
    }

    /// Whether all names lead to a state, and all states are led to.
    fn targets(&mut self, start_at: &str, states: &IndexMap<String, State>, at: &Location) {
        if !states.contains_key(start_at) {
            self.coded(TRANSITION, at.member("StartAt"), format!("there is no state \"{start_at}\""));
            return;
        }
        let mut reached = IndexSet::from([start_at]);
        let mut index = 0;
        while let Some(name) = reached.get_index(index).copied() {
            index += 1;
            let Some(state) = states.get(name) else { continue };
            for target in targets_of(state) {
                if !states.contains_key(target) {
                    self.coded(TRANSITION, at.state(name), format!("there is no state \"{target}\""));
                }
                reached.insert(target);
            }
        }
        for name in states.keys().filter(|name| !reached.contains(name.as_str())) {
            self.coded(TRANSITION, at.state(name), format!("State \"{name}\" is not reachable."));
        }
    }
}

fn targets_of(state: &State) -> Vec<&str> {
    let mut targets: Vec<&str> = state.next.iter().map(String::as_str).collect();
    targets.extend(state.catch.iter().map(|catcher| catcher.next.as_str()));
    if let Kind::Choice { rules, default } = &state.kind {
        targets.extend(rules.iter().map(|rule| rule.next.as_str()));
        targets.extend(default.as_deref());
    }
    targets
}
