//! How data passes through a state, in either query language: what its work is given, what its result becomes.

use serde_json::{Value, json};

use crate::states::definition::{Caught, Flow, Selection};
use crate::states::failure::Failure;
use crate::states::scope::Scope;
use crate::states::template::Template;

/// The longest input or output of a state and of an execution, in bytes (the service's own limit).
pub(in crate::states) const DATA_MAX: usize = 262_144;

impl Flow {
    /// What the work is given. `scope` holds the raw input.
    pub(super) fn given(&self, scope: Scope<'_>) -> Result<Value, Failure> {
        match self {
            Self::Paths(paths) => {
                let input = select("InputPath", &paths.input, scope)?;
                paths
                    .parameters
                    .as_ref()
                    .map_or(Ok(input.clone()), |template| template.fill(scope.on(&input)))
            }
            Self::Queries(queries) => {
                let arguments = queries.arguments.as_ref();
                arguments.map_or_else(|| Ok(scope.input.clone()), |template| template.fill(scope))
            }
        }
    }

    /// What fields are evaluated on once there is something else than the input: in paths `$` is that value,
    /// be it what the work is given or its result; `$states.input` is always the raw input.
    pub(super) fn scope_on<'a>(&self, scope: Scope<'a>, value: &'a Value) -> Scope<'a> {
        match self {
            Self::Paths(_) => scope.on(value),
            Self::Queries(_) => scope,
        }
    }

    /// `Output` of the state.
    pub(super) fn written_output(&self) -> Option<&Template> {
        match self {
            Self::Paths(_) => None,
            Self::Queries(queries) => queries.output.as_ref(),
        }
    }

    /// What the state gives. `written` is the `Output` that holds; `scope` has the raw input and the result.
    pub(super) fn output(
        &self,
        written: Option<&Template>,
        scope: Scope<'_>,
        result: &Value,
    ) -> Result<Value, Failure> {
        match self {
            Self::Paths(paths) => {
                let selected = match &paths.result_selector {
                    Some(template) => template.fill(scope.on(result))?,
                    None => result.clone(),
                };
                let kept = keep_result(&paths.result, scope.input, selected)?;
                select("OutputPath", &paths.output, scope.on(&kept))
            }
            Self::Queries(_) => written.map_or_else(|| Ok(result.clone()), |template| template.fill(scope)),
        }
    }
}

impl Caught {
    /// What the catcher's `Assign` is evaluated on: in paths, `$` is the error output.
    pub(super) fn scope_on<'a>(&self, scope: Scope<'a>, error: &'a Value) -> Scope<'a> {
        match self {
            Self::Result(_) => scope.on(error),
            Self::Output(_) => scope,
        }
    }

    /// What the next state is given. `scope` has the raw input and the error output.
    pub(super) fn output(&self, scope: Scope<'_>, error: &Value) -> Result<Value, Failure> {
        match self {
            Self::Result(selection) => keep_result(selection, scope.input, error.clone()),
            Self::Output(None) => Ok(error.clone()),
            Self::Output(Some(template)) => template.fill(scope),
        }
    }
}

/// What `InputPath` or `OutputPath` selects of the scope's input.
fn select(field: &str, selection: &Selection, scope: Scope<'_>) -> Result<Value, Failure> {
    match selection {
        Selection::Whole => Ok(scope.input.clone()),
        Selection::Nothing => Ok(json!({})),
        Selection::Path(path) => path.get(scope).ok_or_else(|| Failure::missing(field, path, scope.input)),
    }
}

/// The raw input with the result put where `ResultPath` says.
fn keep_result(selection: &Selection, raw: &Value, result: Value) -> Result<Value, Failure> {
    match selection {
        Selection::Whole => Ok(result),
        Selection::Nothing => Ok(raw.clone()),
        Selection::Path(path) => path.put(raw.clone(), result).ok_or_else(|| {
            let cause = format!("Unable to apply ResultPath '{path}' to the state's input");
            Failure::new("States.ResultPathMatchFailure", cause)
        }),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::states::path::Path;
    use crate::states::scope::Dice;
    use crate::states::variables::Variables;

    #[test]
    fn results_are_put_where_they_belong() {
        let raw = json!({ "a": 1 });
        let at = |path: &str| Selection::Path(Path::parse(path).unwrap());
        assert_eq!(keep_result(&Selection::Whole, &raw, json!(2)), Ok(json!(2)));
        assert_eq!(keep_result(&Selection::Nothing, &raw, json!(2)), Ok(json!({ "a": 1 })));
        assert_eq!(keep_result(&at("$.b"), &raw, json!(2)), Ok(json!({ "a": 1, "b": 2 })));
        let wrong = keep_result(&at("$.a.b"), &raw, json!(2)).unwrap_err();
        assert_eq!(wrong.error, "States.ResultPathMatchFailure");
    }

    #[test]
    fn what_selects_nothing_is_a_mistake() {
        let missing = Selection::Path(Path::parse("$.b").unwrap());
        let (input, context, variables) = (json!({ "a": 1 }), json!({}), Variables::default());
        let dice = Dice::seeded("t");
        let scope = Scope::new(&input, &context, &variables, &dice, Timestamp::UNIX_EPOCH);
        let error = select("InputPath", &missing, scope).unwrap_err();
        assert_eq!(error.error, "States.Runtime");
        assert!(error.cause.contains("InputPath") && error.cause.contains("$.b"), "{}", error.cause);
        assert_eq!(select("InputPath", &Selection::Nothing, scope), Ok(json!({})));
    }
}
