//! What a run needs: its application, the role that it runs as, and its script.

use super::application_of;
use crate::{
    access::{self, Finding, Needs, Place, Statement},
    aws::{address::Address, error::Trouble},
    clients::{Clients, Purpose},
    operator::Request,
};

fn call(request: &Request) -> &serde_json::Value {
    &request.body["StartJobRun"]
}

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let application = place.arn("emr-serverless", &format!("/applications/{}", application_of(request)));
    let runs = format!("{application}/jobruns/*");
    let mut statements = vec![
        Statement::new("emr-serverless", &["ListJobRuns", "StartJobRun"], [application]),
        Statement::new("emr-serverless", &["CancelJobRun", "GetJobRun"], [runs]),
    ];
    if let Some(role) = call(request)["executionRoleArn"].as_str() {
        statements.push(Statement::new("iam", &["PassRole"], [role]));
    }
    Needs::of(statements)
}

pub(super) async fn check(clients: &Clients, request: &Request) -> Vec<Finding> {
    let what = format!("EMR Serverless application {}", application_of(request));
    let emr = match clients.emr_serverless(&request.connection, Purpose::Read).await {
        Ok(emr) => emr,
        Err(failure) => return vec![Finding::unreachable(&what, &failure)],
    };
    let answer = emr.get_application().application_id(application_of(request)).send().await;
    let answer = answer.map_err(Trouble::from);
    let state =
        answer.as_ref().ok().and_then(|answer| answer.application()).map(|found| found.state().as_str());
    let mut findings = vec![match state {
        Some("TERMINATED") => Finding::wrong(format!("{what} is terminated")),
        _ => Finding::of(&what, "emr-serverless:GetApplication", &answer),
    }];
    let entry = call(request)["jobDriver"]["sparkSubmit"]["entryPoint"].as_str().unwrap_or_default();
    if let Ok(script) = Address::object(entry, "entry_point") {
        findings.push(access::bucket(clients, &request.connection, script.bucket).await);
    }
    findings
}
