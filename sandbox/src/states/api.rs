//! Which operation is whose, and the rules for names and ARNs that all of them share.

use std::sync::Arc;

use serde_json::Value;

use super::States;
use crate::wire::{ApiError, CallContext};

/// Longest name of a machine or an execution (the service's own limit).
const NAME_MAX: usize = 80;

/// What names cannot hold, beside white space and control characters.
const FORBIDDEN: &str = "<>{}[]?*\"#%\\^|~`$&,;:/";

impl States {
    /// Answers one call.
    pub(crate) fn call(self: &Arc<Self>, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        match cx.operation.as_str() {
            "CreateStateMachine" => self.create_machine(cx, body),
            "UpdateStateMachine" => self.update_machine(cx, body),
            "DeleteStateMachine" => self.delete_machine(body),
            "DescribeStateMachine" => self.describe_machine(body),
            "ListStateMachines" => self.list_machines(body),
            "ValidateStateMachineDefinition" => Self::validate_definition(body),
            "StartExecution" => self.start_execution(cx, body),
            "DescribeExecution" => self.describe_execution(cx, body),
            "ListExecutions" => self.list_executions(cx, body),
            "GetExecutionHistory" => self.get_history(body),
            "StopExecution" => self.stop_execution(cx, body),
            "RedriveExecution" => self.redrive_execution(cx, body),
            _ => Err(ApiError::unknown_operation(cx)),
        }
    }
}

/// Whether a name may be one.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    let legal = |c: char| !c.is_whitespace() && !c.is_control() && !FORBIDDEN.contains(c);
    if (1..=NAME_MAX).contains(&name.chars().count()) && name.chars().all(legal) {
        return Ok(());
    }
    Err(ApiError::new(400, "InvalidName", format!("Invalid Name: '{name}'")))
}

/// An error of a request that makes no sense.
pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "ValidationException", message)
}

/// Whether a text is the ARN of something of this kind: `stateMachine`, `execution`.
pub(super) fn check_arn(arn: &str, kind: &str) -> Result<(), ApiError> {
    let parts: Vec<&str> = arn.split(':').collect();
    let least = if kind == "stateMachine" { 7 } else { 8 };
    let fits = |found: &str| found == kind || (kind == "execution" && found == "express");
    if parts.len() >= least && parts[0] == "arn" && parts[2] == "states" && fits(parts[5]) {
        return Ok(());
    }
    Err(ApiError::new(400, "InvalidArn", format!("Invalid Arn: '{arn}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_arns_are_checked() {
        assert!(check_name("etl-2026_11.19").is_ok());
        for wrong in ["", "a b", "a/b", "a:b", &"x".repeat(81)] {
            assert_eq!(check_name(wrong).unwrap_err().code, "InvalidName", "{wrong}");
        }
        assert!(check_arn("arn:aws:states:us-east-1:000000000000:stateMachine:m", "stateMachine").is_ok());
        assert!(check_arn("arn:aws:states:us-east-1:000000000000:execution:m:e", "execution").is_ok());
        assert!(check_arn("arn:aws:states:us-east-1:000000000000:execution:m", "execution").is_err());
        assert!(check_arn("m", "stateMachine").is_err());
    }
}
