//! How data passes through a state: what a path selects, where a result is put.

use serde_json::{Value, json};

use crate::states::definition::Selection;
use crate::states::failure::Failure;

/// The longest input or output of a state and of an execution, in bytes (the service's own limit).
pub(in crate::states) const DATA_MAX: usize = 262_144;

/// What `InputPath` or `OutputPath` selects.
pub(super) fn select(
    field: &str,
    selection: &Selection,
    document: &Value,
    context: &Value,
) -> Result<Value, Failure> {
    match selection {
        Selection::Whole => Ok(document.clone()),
        Selection::Nothing => Ok(json!({})),
        Selection::Path(path) => {
            path.get(document, context).ok_or_else(|| Failure::missing(field, path, document))
        }
    }
}

/// The raw input with the result put where `ResultPath` says.
pub(super) fn keep_result(selection: &Selection, raw: &Value, result: Value) -> Result<Value, Failure> {
    match selection {
        selection if selection.is_whole() => Ok(result),
        Selection::Path(path) => path.put(raw.clone(), result).ok_or_else(|| {
            let cause = format!("Unable to apply ResultPath '{path}' to the state's input");
            Failure::new("States.ResultPathMatchFailure", cause)
        }),
        _ => Ok(raw.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::path::Path;

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
        let error = select("InputPath", &missing, &json!({ "a": 1 }), &json!({})).unwrap_err();
        assert_eq!(error.error, "States.Runtime");
        assert!(error.cause.contains("InputPath") && error.cause.contains("$.b"), "{}", error.cause);
        assert_eq!(select("InputPath", &Selection::Nothing, &json!(1), &json!({})), Ok(json!({})));
    }
}
