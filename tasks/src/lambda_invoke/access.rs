//! What a call needs: its function.

use super::function_of;
use crate::{
    access::{Finding, Needs, Place, Statement},
    aws::error::Trouble,
    clients::Clients,
    operator::Request,
};

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let function = function_of(request);
    let arn = if function.starts_with("arn:") {
        function.to_owned()
    } else {
        place.arn("lambda", &format!("function:{function}"))
    };
    let mut arns = vec![arn.clone()];
    if let Some(qualifier) = request.body["Invoke"]["Qualifier"].as_str() {
        arns = vec![format!("{arn}:{qualifier}")];
    }
    Needs::of(vec![Statement::new("lambda", &["InvokeFunction"], arns)])
}

pub(super) async fn check(clients: &Clients, request: &Request, place: &Place) -> Vec<Finding> {
    let function = function_of(request);
    if let Some(finding) = place.region_of_arn(function) {
        return vec![finding];
    }
    let what = format!("Lambda function {function}");
    let lambda = match clients.lambda(&request.connection).await {
        Ok(lambda) => lambda,
        Err(failure) => return vec![Finding::unreachable(&what, &failure)],
    };
    let qualifier = request.body["Invoke"]["Qualifier"].as_str().map(str::to_owned);
    let answer = lambda.get_function_configuration().function_name(function).set_qualifier(qualifier);
    let answer = answer.send().await.map_err(Trouble::from);
    vec![Finding::of(&what, "lambda:GetFunctionConfiguration", &answer)]
}
