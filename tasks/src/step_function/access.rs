//! What an execution needs: its state machine.

use super::{address, machine_of};
use crate::{
    access::{Finding, Needs, Place, Statement},
    aws::error::Trouble,
    clients::{Clients, Purpose},
    operator::Request,
};

/// The machine's ARN without version or alias.
fn arn(request: &Request, place: &Place) -> String {
    let machine = machine_of(request);
    if machine.starts_with("arn:") {
        address::unqualified(machine).to_owned()
    } else {
        place.arn("states", &format!("stateMachine:{machine}"))
    }
}

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let machine = arn(request, place);
    let executions = format!("{}:*", machine.replacen(":stateMachine:", ":execution:", 1));
    let mut of_executions = vec!["DescribeExecution", "GetExecutionHistory", "StopExecution"];
    if request.body["Redrive"] == true {
        of_executions.push("RedriveExecution");
    }
    let mut starts = vec![machine.clone()];
    if machine_of(request).starts_with("arn:") && machine_of(request) != machine {
        starts.push(machine_of(request).to_owned());
    }
    let mut statements = vec![
        Statement::new("states", &["StartExecution"], starts),
        Statement::new("states", &["DescribeStateMachine", "ListExecutions"], [machine]),
        Statement::new("states", &of_executions, [executions]),
    ];
    if !machine_of(request).starts_with("arn:") {
        statements.push(Statement::new("sts", &["GetCallerIdentity"], ["*"]));
    }
    Needs::of(statements)
}

pub(super) async fn check(clients: &Clients, request: &Request, place: &Place) -> Vec<Finding> {
    let machine = arn(request, place);
    if let Some(finding) = place.region_of_arn(&machine) {
        return vec![finding];
    }
    let what = format!("state machine {}", address::short(&machine));
    let step_functions = match clients.step_functions(&request.connection, Purpose::Read).await {
        Ok(step_functions) => step_functions,
        Err(failure) => return vec![Finding::unreachable(&what, &failure)],
    };
    let answer = step_functions.describe_state_machine().state_machine_arn(&machine).send().await;
    if let Ok(answer) = &answer
        && answer.r#type().as_str() == "EXPRESS"
        && request.body["Idempotent"] != true
    {
        return vec![Finding::wrong(super::refused_express(request).message)];
    }
    vec![Finding::of(&what, "states:DescribeStateMachine", &answer.map_err(Trouble::from))]
}
