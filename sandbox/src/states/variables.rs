//! The variables of a workflow (`Assign`): their names, their values in one scope, the service's limits.
//! <https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html>
//!
//! A branch or an iteration begins with a copy of what is around it and keeps what it assigns to itself. That no
//! inner scope assigns to a variable of an outer one is checked when the machine is made, in the definition.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::failure::Failure;

/// The largest value of one variable in bytes of JSON (the service's own limit).
const VARIABLE_MAX: usize = 256 * 1024;
/// The most that one `Assign` may assign, in bytes of JSON (the service's own limit).
const ASSIGN_MAX: usize = 256 * 1024;
/// The most that all variables may hold that a state can see, in bytes of JSON: the service's own limit of an
/// execution. Branches that run at the same time are each held to it, not their sum.
const VARIABLES_MAX: usize = 10 * 1024 * 1024;
/// The longest name in characters (the service's own limit).
const NAME_MAX: usize = 80;
/// The variable that the service keeps for itself.
pub(super) const RESERVED: &str = "states";

/// The variables that a state can see.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Variables {
    values: BTreeMap<String, Arc<Variable>>,
}

/// A value with its size, which is asked for at every assignment.
#[derive(Debug, PartialEq)]
struct Variable {
    value: Value,
    bytes: usize,
}

impl Variable {
    fn new(value: Value) -> Self {
        let bytes = value.to_string().len();
        Self { value, bytes }
    }
}

impl Variables {
    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name).map(|variable| &variable.value)
    }

    /// The variables after an `Assign`, or the limit that it breaks (`States.DataLimitExceeded`).
    pub(super) fn with(&self, assigned: &Map<String, Value>) -> Result<Self, Failure> {
        let too_large = |what: String| Failure::new("States.DataLimitExceeded", what);
        let mut changed = self.clone();
        let mut sum = 0;
        for (name, value) in assigned {
            let variable = Variable::new(value.clone());
            if variable.bytes > VARIABLE_MAX {
                return Err(too_large(format!("The variable '{name}' has more than {VARIABLE_MAX} bytes")));
            }
            sum += variable.bytes;
            changed.values.insert(name.clone(), Arc::new(variable));
        }
        if sum > ASSIGN_MAX {
            return Err(too_large(format!("The variables of one Assign have more than {ASSIGN_MAX} bytes")));
        }
        if changed.values.values().map(|variable| variable.bytes).sum::<usize>() > VARIABLES_MAX {
            return Err(too_large(format!(
                "The variables of the execution have more than {VARIABLES_MAX} bytes"
            )));
        }
        Ok(changed)
    }
}

/// What is wrong with the name of a variable, if anything is.
pub(super) fn wrong_name(name: &str) -> Option<String> {
    let mut characters = name.chars();
    let begins = characters.next().is_some_and(begins_name);
    if !begins || !characters.all(continues_name) {
        return Some(format!(
            "`{name}` is no name of a variable: a letter, then letters, digits and underscores"
        ));
    }
    if name.chars().count() > NAME_MAX {
        return Some(format!("the name of a variable has at most {NAME_MAX} characters"));
    }
    (name == RESERVED).then(|| format!("the variable ${RESERVED} is reserved"))
}

/// Whether a name may begin with this character (`ID_Start` of Unicode's annex 31).
pub(super) fn begins_name(character: char) -> bool {
    character.is_alphabetic()
}

/// Whether a name may go on with this character (`ID_Continue`, without its marks and rarer connectors).
pub(super) fn continues_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assigned(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn an_assignment_changes_a_copy() {
        let before = Variables::default().with(&assigned(&json!({ "x": 1, "y": [2] }))).unwrap();
        let after = before.with(&assigned(&json!({ "x": null }))).unwrap();
        assert_eq!((before.get("x"), before.get("z")), (Some(&json!(1)), None));
        assert_eq!((after.get("x"), after.get("y")), (Some(&Value::Null), Some(&json!([2]))));
    }

    #[test]
    fn the_limits_of_the_service_are_kept() {
        let text = |bytes: usize| Value::from("x".repeat(bytes - 2));
        let mut variables = Variables::default();
        let mut limit = |assign: Value| match variables.with(&assigned(&assign)) {
            Ok(changed) => {
                variables = changed;
                String::new()
            }
            Err(failure) => failure.cause,
        };
        assert!(limit(json!({ "x": text(VARIABLE_MAX + 1) })).contains("'x' has more than 262144 bytes"));
        assert!(limit(json!({ "x": text(VARIABLE_MAX), "y": 1 })).contains("of one Assign"));
        for number in 0..40 {
            assert_eq!(limit(json!({ format!("v{number}"): text(VARIABLE_MAX) })), "", "{number}");
        }
        assert!(limit(json!({ "more": 1 })).contains("of the execution have more than 10485760"));
        assert_eq!(limit(json!({ "v7": 1 })), "", "what is replaced does not count");
    }

    #[test]
    fn names_are_identifiers() {
        for name in ["x", "größe", "a_1", "变量"] {
            assert_eq!(wrong_name(name), None, "{name}");
        }
        for (name, words) in [
            ("", "no name"),
            ("1a", "no name"),
            ("_a", "no name"),
            ("a.b", "no name"),
            ("a[0]", "no name"),
            ("states", "reserved"),
            (&"a".repeat(81), "at most 80"),
        ] {
            assert!(wrong_name(name).is_some_and(|told| told.contains(words)), "{name}");
        }
    }
}
