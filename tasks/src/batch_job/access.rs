//! What a job needs: its queue and its definition.

use super::{definition_of, queue_of};
use crate::{
    access::{Finding, Needs, Place, Statement},
    aws::error::Trouble,
    clients::{Clients, Purpose},
    operator::Request,
};

/// The definition as IAM knows it; without a revision, itself and every revision.
fn definition_arns(request: &Request, place: &Place) -> Vec<String> {
    let definition = definition_of(request);
    if definition.starts_with("arn:") {
        return vec![definition.to_owned()];
    }
    let arn = place.arn("batch", &format!("job-definition/{definition}"));
    if definition.contains(':') { vec![arn] } else { vec![format!("{arn}:*"), arn] }
}

fn queue_arn(request: &Request, place: &Place) -> String {
    match queue_of(request) {
        arn if arn.starts_with("arn:") => arn.to_owned(),
        name => place.arn("batch", &format!("job-queue/{name}")),
    }
}

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let mut submitted = definition_arns(request, place);
    submitted.push(queue_arn(request, place));
    Needs::of(vec![
        Statement::new("batch", &["SubmitJob"], submitted),
        Statement::new("batch", &["TerminateJob"], [place.arn("batch", "job/*")]),
        // They know no resources.
        Statement::new("batch", &["DescribeJobs", "ListJobs"], ["*"]),
    ])
}

pub(super) async fn check(clients: &Clients, request: &Request) -> Vec<Finding> {
    let (queue, definition) = (queue_of(request), definition_of(request));
    let what = format!("job queue {queue}");
    let batch = match clients.batch(&request.connection, Purpose::Read).await {
        Ok(batch) => batch,
        Err(failure) => return vec![Finding::unreachable(&what, &failure)],
    };
    let answer = batch.describe_job_queues().job_queues(queue).send().await.map_err(Trouble::from);
    let of_queue = match &answer {
        Ok(answer) => match answer.job_queues().first() {
            None => Finding::wrong(format!("there is no {what}")),
            Some(found) if found.state().is_some_and(|state| state.as_str() == "DISABLED") => {
                Finding::wrong(format!("{what} is disabled: it takes no jobs"))
            }
            Some(_) => Finding::fine(format!("{what} exists")),
        },
        Err(_) => Finding::of(&what, "batch:DescribeJobQueues", &answer),
    };
    let what = format!("job definition {definition}");
    let asked = batch.describe_job_definitions();
    let asked = if definition.contains(':') {
        asked.job_definitions(definition)
    } else {
        asked.job_definition_name(definition)
    };
    let answer = asked.send().await.map_err(Trouble::from);
    let of_definition = match &answer {
        Ok(answer) => {
            let active = answer.job_definitions().iter().any(|found| found.status() == Some("ACTIVE"));
            if active {
                Finding::fine(format!("{what} exists"))
            } else {
                Finding::wrong(format!("there is no active {what}"))
            }
        }
        Err(_) => Finding::of(&what, "batch:DescribeJobDefinitions", &answer),
    };
    vec![of_queue, of_definition]
}
