//! What a task needs: its definition and its cluster.

use super::{definition_of, last_part};
use crate::{
    access::{Finding, Needs, Place, Statement},
    aws::error::Trouble,
    clients::{Clients, Purpose},
    operator::Request,
};

fn cluster_of(request: &Request) -> &str {
    request.body["RunTask"]["cluster"].as_str().unwrap_or("default")
}

/// The definition as IAM knows it; without a revision, every one of its family.
fn definition_arn(request: &Request, place: &Place) -> String {
    let definition = definition_of(request);
    if definition.starts_with("arn:") {
        return definition.to_owned();
    }
    let revision = if definition.contains(':') { "" } else { ":*" };
    place.arn("ecs", &format!("task-definition/{definition}{revision}"))
}

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let tasks = place.arn("ecs", &format!("task/{}/*", last_part(cluster_of(request))));
    Needs {
        statements: vec![
            Statement::new("ecs", &["RunTask"], [definition_arn(request, place)]),
            Statement::new("ecs", &["DescribeTasks", "StopTask"], [tasks]),
            // It knows container instances only, and tasks of Fargate run on none.
            Statement::new("ecs", &["ListTasks"], ["*"]),
        ],
        notes: vec![format!(
            "iam:PassRole on the task role and the execution role of task definition {}, which it alone names",
            definition_of(request)
        )],
    }
}

pub(super) async fn check(clients: &Clients, request: &Request) -> Vec<Finding> {
    let cluster = format!("cluster {}", cluster_of(request));
    let definition = format!("task definition {}", definition_of(request));
    let ecs = match clients.ecs(&request.connection, Purpose::Read).await {
        Ok(ecs) => ecs,
        Err(failure) => return vec![Finding::unreachable(&definition, &failure)],
    };
    let answer = ecs.describe_clusters().clusters(cluster_of(request)).send().await.map_err(Trouble::from);
    let found = answer.as_ref().ok().map(|answer| {
        let known = answer.clusters().iter().find(|known| known.status() == Some("ACTIVE"));
        known.map_or_else(
            || Finding::wrong(format!("there is no active {cluster}")),
            |_| Finding::fine(format!("{cluster} exists")),
        )
    });
    let mut findings = vec![found.unwrap_or_else(|| Finding::of(&cluster, "ecs:DescribeClusters", &answer))];
    let answer = ecs.describe_task_definition().task_definition(definition_of(request)).send().await;
    findings.push(match answer.map_err(Trouble::from) {
        // ECS's word for a definition that is not there is its word for every mistake.
        Err(trouble) if trouble.code() == "ClientException" => {
            Finding::wrong(format!("there is no {definition}: {}", trouble.message))
        }
        answer => Finding::of(&definition, "ecs:DescribeTaskDefinition", &answer),
    });
    findings
}
