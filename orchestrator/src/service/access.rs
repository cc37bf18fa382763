//! What a pipeline needs of its accounts: whether all that it names is there, whether its roles may do what they
//! must, and the policy that allows exactly that. Nothing is started.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use trunkline_state::{elements::ElementName, machine::NoticeOutcome, pipeline::Pipeline, run::Run};
use trunkline_tasks::{
    access::{self, Finding, Needs, Place, Statement, Verdict},
    clients::Clients,
    operator::Request,
    queue,
    registry::Registry,
};

use super::{
    plan::{Unprepared, imagined, listed, prepared},
    request::Wanted,
};
use crate::{definition::Templates, engine::prepare::render_context};

/// What one look found, and for which task.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The pipeline.
    pub pipeline: String,
    /// The task, a notice, or the permissions of a connection.
    pub part: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found, for people.
    pub text: String,
}

/// A policy, and what it cannot say.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The document as IAM takes it.
    pub document: Value,
    /// What is needed beside it, or not known, for people.
    pub notes: Vec<String>,
}

/// A part of a pipeline that calls AWS.
enum Part {
    Task {
        name: String,
        operator: String,
        request: Request,
    },
    Notice {
        name: String,
        connection: String,
        topic: String,
    },
    /// A queue that the server reads.
    Queue {
        connection: String,
        queue: String,
    },
    /// An object that a notice links to.
    Object {
        name: String,
        connection: String,
        object: String,
    },
    /// Nobody can say what it would call.
    Unknown {
        name: String,
        connection: String,
        finding: Finding,
    },
}

impl Part {
    fn name(&self) -> &str {
        match self {
            Self::Queue { .. } => "trigger",
            Self::Task { name, .. }
            | Self::Notice { name, .. }
            | Self::Object { name, .. }
            | Self::Unknown { name, .. } => name,
        }
    }

    fn connection(&self) -> &str {
        match self {
            Self::Task { request, .. } => &request.connection,
            Self::Notice { connection, .. }
            | Self::Queue { connection, .. }
            | Self::Object { connection, .. }
            | Self::Unknown { connection, .. } => connection,
        }
    }
}

/// Looks at everything that a pipeline names, and asks whether its roles may do what it needs.
pub async fn check(
    pipeline: &Pipeline,
    wanted: &Wanted,
    registry: &Registry,
    clients: &Clients,
    now: Timestamp,
) -> Vec<Checked> {
    let parts = parts(pipeline, wanted, registry, now);
    let places = places(clients, &parts).await;
    let mut checked = Vec::new();
    let mut say = |part: &str, finding: Finding| {
        let (pipeline, part) = (pipeline.name.to_string(), part.to_owned());
        checked.push(Checked { pipeline, part, verdict: finding.verdict, text: finding.text });
    };
    let mut statements: BTreeMap<&str, Vec<Statement>> = BTreeMap::new();
    for part in &parts {
        let place = match (&places[part.connection()], part) {
            (_, Part::Unknown { finding, .. }) => {
                say(part.name(), finding.clone());
                continue;
            }
            (Err(_), Part::Task { operator, request, .. }) if is_local(registry, operator, request) => {
                continue;
            }
            (Err(reason), _) => {
                say(part.name(), Finding::not_checked(reason.clone()));
                continue;
            }
            (Ok(place), _) => place,
        };
        let of_connection = statements.entry(part.connection()).or_default();
        match part {
            Part::Task { operator, request, .. } => {
                let Some(operator) = registry.get(operator) else { continue };
                for finding in operator.check(clients, request, place).await {
                    say(part.name(), finding);
                }
                match operator.needs(request, place) {
                    Some(needs) => of_connection.extend(needs.statements),
                    None => say(part.name(), Finding::not_checked(unstated(operator.type_name()))),
                }
            }
            Part::Notice { connection, topic, .. } => {
                for finding in access::topic(clients, connection, place, topic).await {
                    say(part.name(), finding);
                }
                of_connection.push(access::topic_permissions(topic));
            }
            Part::Queue { connection, queue } => {
                for finding in queue::check(clients, connection, queue).await {
                    say(part.name(), finding);
                }
                of_connection.extend(queue::needs(place, queue));
            }
            Part::Object { object, .. } => of_connection.extend(access::object_permissions(place, object)),
            Part::Unknown { .. } => {}
        }
    }
    for (connection, statements) in statements {
        let merged = merged(&statements);
        for finding in access::simulate(clients, connection, &merged).await {
            say(&format!("permissions of connection {connection}"), finding);
        }
    }
    checked
}

/// The least policy that a pipeline's calls through one connection need.
pub async fn policy(
    pipeline: &Pipeline,
    wanted: &Wanted,
    registry: &Registry,
    clients: &Clients,
    connection: &str,
    now: Timestamp,
) -> Result<Policy, String> {
    let parts = parts(pipeline, wanted, registry, now);
    let place = Place::of(clients, connection).await.map_err(|failure| {
        format!("the account behind connection `{connection}` cannot be asked for: {}", failure.message)
    })?;
    let (mut statements, mut notes) = (Vec::new(), Vec::new());
    for part in parts.iter().filter(|part| part.connection() == connection) {
        match part {
            Part::Task { name, operator, request } => {
                let needs = registry.get(operator).and_then(|operator| operator.needs(request, &place));
                match needs {
                    Some(needs) => {
                        statements.extend(needs.statements);
                        notes.extend(needs.notes.into_iter().map(|note| format!("{name}: {note}")));
                    }
                    None => notes.push(format!("{name}: {}", unstated(operator))),
                }
            }
            Part::Notice { topic, .. } => statements.push(access::topic_permissions(topic)),
            Part::Queue { queue, .. } => statements.extend(queue::needs(&place, queue)),
            Part::Object { object, .. } => statements.extend(access::object_permissions(&place, object)),
            Part::Unknown { name, finding, .. } => notes.push(format!("{name}: {}", finding.text)),
        }
    }
    let statements: Vec<Value> = merged(&statements)
        .iter()
        .map(|one| json!({ "Effect": "Allow", "Action": one.actions, "Resource": one.resources }))
        .collect();
    Ok(Policy { document: json!({ "Version": "2012-10-17", "Statement": statements }), notes })
}

/// Whether a task needs nothing of any account, such as one that sleeps.
fn is_local(registry: &Registry, operator: &str, request: &Request) -> bool {
    let nowhere = Place::new("", "");
    registry.get(operator).and_then(|operator| operator.needs(request, &nowhere)) == Some(Needs::default())
}

/// The queues that a pipeline's triggers read, with the connections that lead there.
fn queues(pipeline: &Pipeline) -> impl Iterator<Item = (&str, &str)> {
    pipeline.triggers.iter().filter_map(trunkline_state::triggers::EventTrigger::queue)
}

/// The connections that a pipeline's tasks, triggers and notices use, each once.
pub fn connections(pipeline: &Pipeline) -> Vec<String> {
    let tasks = pipeline.tasks.iter().map(|task| task.connection.clone());
    let to_topics =
        pipeline.all_notices().filter(|notice| notice.topic().is_some() || !notice.links.is_empty());
    let notices = to_topics.map(|notice| notice.connection.clone());
    let queues = queues(pipeline).map(|(connection, _)| connection.to_owned());
    let all: BTreeSet<String> = tasks.chain(notices).chain(queues).collect();
    all.into_iter().filter(|name| pipeline.connections.contains_key(name)).collect()
}

fn unstated(operator: &str) -> String {
    format!(
        "what a task of type {operator} calls is not known, so its permissions are neither checked nor listed"
    )
}

async fn places(clients: &Clients, parts: &[Part]) -> BTreeMap<String, Result<Place, String>> {
    let mut places = BTreeMap::new();
    for part in parts {
        let connection = part.connection();
        if !places.contains_key(connection) {
            let place = Place::of(clients, connection).await.map_err(|failure| {
                format!("nothing can be asked through connection `{connection}`: {}", failure.message)
            });
            places.insert(connection.to_owned(), place);
        }
    }
    places
}

fn parts(pipeline: &Pipeline, wanted: &Wanted, registry: &Registry, now: Timestamp) -> Vec<Part> {
    let run = imagined(pipeline, wanted, now);
    let templates = Templates::for_pipeline(pipeline);
    let mut parts: Vec<Part> = Vec::new();
    for task in &pipeline.tasks {
        let name = task.name.to_string();
        let Some(operator) = registry.get(&task.operator) else {
            let finding = Finding::wrong(format!("this binary has no task type `{}`", task.operator));
            parts.push(Part::Unknown { name, connection: task.connection.clone(), finding });
            continue;
        };
        let connection = task.connection.clone();
        let unknown = |reason| {
            let finding = match reason {
                Unprepared::Later => Finding::not_checked(
                    "needs outputs of earlier tasks, so what it names is known only in a run",
                ),
                Unprepared::Wrong(text) => Finding::wrong(text),
            };
            Part::Unknown { name: name.clone(), connection: connection.clone(), finding }
        };
        let items = match listed(task, &run, &templates) {
            Ok(items) => items,
            Err(reason) => {
                parts.push(unknown(reason));
                continue;
            }
        };
        for (index, item) in (0_u32..).zip(items) {
            let name = match &item {
                Some(_) => ElementName { task: &name, index }.to_string(),
                None => name.clone(),
            };
            parts.push(match prepared(task, &run, item.map(|item| (index, item)), &templates, operator) {
                Ok(request) => Part::Task { name, operator: task.operator.clone(), request },
                Err(reason) => unknown(reason),
            });
        }
    }
    parts.extend(notices(pipeline, &run, &templates));
    let read: BTreeSet<(&str, &str)> = queues(pipeline).collect();
    parts.extend(read.into_iter().map(|(connection, queue)| Part::Queue {
        connection: connection.to_owned(),
        queue: queue.to_owned(),
    }));
    parts
}

/// The topics that a pipeline's notices go to, each once with the connection that it is reached by.
pub fn topics(pipeline: &Pipeline, wanted: &Wanted, now: Timestamp) -> Result<Vec<(String, String)>, String> {
    let run = imagined(pipeline, wanted, now);
    let parts = notices(pipeline, &run, &Templates::for_pipeline(pipeline)).into_iter();
    let topics = parts.filter_map(|part| match part {
        Part::Notice { connection, topic, .. } => Some(Ok((connection, topic))),
        Part::Object { .. } | Part::Queue { .. } => None,
        part => {
            Some(Err(format!("{}, {}: the topic cannot be told without a run", pipeline.name, part.name())))
        }
    });
    topics.collect()
}

/// The topics of a pipeline's notices, each once.
fn notices(pipeline: &Pipeline, run: &Run, templates: &Templates) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut seen = BTreeSet::new();
    let all = NoticeOutcome::ALL.into_iter();
    for (list, notice) in all.flat_map(|list| pipeline.notices(list).iter().map(move |one| (list, one))) {
        let (name, connection) = (list.key(), notice.connection.clone());
        for link in &notice.links {
            let (name, connection) = (name.clone(), connection.clone());
            match templates.render_text(&link.s3, &render_context(run, None)) {
                Ok(object) => parts.push(Part::Object { name, connection, object }),
                Err(error) => {
                    let finding = Finding::not_checked(format!("its link cannot be rendered: {error}"));
                    parts.push(Part::Unknown { name, connection, finding });
                }
            }
        }
        // What goes elsewhere needs nothing of an account.
        let Some(topic) = notice.topic() else { continue };
        match templates.render_text(topic, &render_context(run, None)) {
            Ok(topic) if seen.insert((connection.clone(), topic.clone())) => {
                parts.push(Part::Notice { name, connection, topic });
            }
            Ok(_) => {}
            Err(error) => {
                let finding = Finding::not_checked(format!("its topic cannot be rendered: {error}"));
                parts.push(Part::Unknown { name, connection, finding });
            }
        }
    }
    parts
}

/// The same permissions in as few statements as possible: neither more nor less is allowed.
fn merged(statements: &[Statement]) -> Vec<Statement> {
    let mut by_resources: BTreeMap<BTreeSet<&str>, BTreeSet<&str>> = BTreeMap::new();
    for statement in statements {
        let resources = statement.resources.iter().map(String::as_str).collect();
        let actions = by_resources.entry(resources).or_default();
        actions.extend(statement.actions.iter().map(AsRef::as_ref));
    }
    let mut by_actions: BTreeMap<BTreeSet<&str>, BTreeSet<&str>> = BTreeMap::new();
    for (resources, actions) in by_resources {
        by_actions.entry(actions).or_default().extend(resources);
    }
    by_actions
        .into_iter()
        .map(|(actions, resources)| Statement {
            actions: actions.into_iter().map(|action| action.to_owned().into()).collect(),
            resources: resources.into_iter().map(str::to_owned).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_allows_neither_more_nor_less() {
        let statements = [
            Statement::new("s3", &["GetObject"], ["a"]),
            Statement::new("s3", &["PutObject"], ["a"]),
            Statement::new("s3", &["GetObject", "PutObject"], ["b"]),
            Statement::new("s3", &["GetObject"], ["c"]),
        ];
        assert_eq!(
            merged(&statements),
            [
                Statement::new("s3", &["GetObject"], ["c"]),
                Statement::new("s3", &["GetObject", "PutObject"], ["a", "b"]),
            ]
        );
    }
}
