//! What a job needs: itself, and the report that it writes.

use super::job_of;
use crate::{
    access::{self, Finding, Needs, Place, Statement},
    aws::{address::Address, error::Trouble},
    clients::{Clients, Purpose},
    operator::Request,
};

fn report(request: &Request) -> Option<Address<'_>> {
    Address::object(request.body["Report"].as_str()?, "report").ok()
}

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let job = place.arn("glue", &format!("job/{}", job_of(request)));
    let actions = ["BatchStopJobRun", "GetJob", "GetJobRun", "GetJobRuns", "StartJobRun"];
    let mut needs = Needs::of(vec![Statement::new("glue", &actions, [job])]);
    if let Some(report) = report(request) {
        let object = place.s3(&format!("{}/{}", report.bucket, report.key));
        needs.statements.push(Statement::new("s3", &["GetObject"], [object]));
    }
    needs
}

pub(super) async fn check(clients: &Clients, request: &Request) -> Vec<Finding> {
    let what = format!("Glue job {}", job_of(request));
    let glue = match clients.glue(&request.connection, Purpose::Read).await {
        Ok(glue) => glue,
        Err(failure) => return vec![Finding::unreachable(&what, &failure)],
    };
    let answer = glue.get_job().job_name(job_of(request)).send().await.map_err(Trouble::from);
    let mut findings = vec![Finding::of(&what, "glue:GetJob", &answer)];
    if let Some(report) = report(request) {
        findings.push(access::bucket(clients, &request.connection, report.bucket).await);
    }
    findings
}
