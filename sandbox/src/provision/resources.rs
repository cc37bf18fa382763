//! The resource types that can be made: their properties, their names, what refers to them.

mod kinds;

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use self::kinds::{KINDS, Kind};
use super::Problem;
use super::functions::Evaluator;
use super::shape::{self, Shape};
use super::template::{Resource, Template};
use super::yaml::{Content, Node};

/// The longest script that a job runs from its record.
const SCRIPT_MAX: u64 = 1024 * 1024;

/// The longest file that a template uploads.
const UPLOAD_MAX: u64 = 256 * 1024 * 1024;

/// A resource with everything evaluated, ready to be made.
#[derive(Debug)]
pub(super) struct Planned {
    /// Its name in the template.
    pub logical_id: String,
    /// Its type.
    pub kind: &'static str,
    /// Its physical name (for a subscription, its endpoint).
    pub name: String,
    /// Its properties as the service's own calls take them.
    pub properties: Map<String, Value>,
    /// The script that the sandbox runs for a job: name and content.
    pub script: Option<(String, String)>,
    /// Files to put into S3.
    pub uploads: Vec<Upload>,
}

/// A file to put into S3.
#[derive(Debug)]
pub(super) struct Upload {
    /// Its content.
    pub content: Vec<u8>,
    /// Where it goes.
    pub bucket: String,
    /// Where it goes.
    pub key: String,
}

/// Types whose work on AWS the sandbox can replace with a script.
const TAKE_A_SCRIPT: [&str; 3] = ["AWS::Glue::Job", "AWS::ECS::TaskDefinition", "AWS::Batch::JobDefinition"];

/// Evaluates all wanted resources, in the order in which they are to be made.
pub(super) fn plan(
    template: &Template,
    evaluator: &Evaluator<'_>,
    folder: Option<&Path>,
) -> Result<Vec<Planned>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut planned = Vec::new();
    for resource in template.resources()? {
        let Some(order) = KINDS.iter().position(|kind| kind.name == resource.kind) else {
            problems.push(Problem::new(
                resource.node.line,
                format!(
                    "resource {}: {} is not supported by the sandbox",
                    resource.logical_id, resource.kind
                ),
            ));
            continue;
        };
        match evaluator.is_wanted(resource.node) {
            Ok(false) => {}
            Ok(true) => match plan_one(&KINDS[order], &resource, evaluator, folder, &mut problems) {
                Ok(one) => planned.push((order, one)),
                Err(problem) => problems.push(problem),
            },
            Err(problem) => problems.push(problem),
        }
    }
    planned.sort_by_key(|(order, _)| *order);
    let planned = planned.into_iter().map(|(_, one)| one).collect();
    if problems.is_empty() { Ok(planned) } else { Err(problems) }
}

/// What `Ref` gives.
pub(super) fn reference(evaluator: &Evaluator<'_>, resource: &Resource<'_>) -> Result<String, Problem> {
    let name = physical_name(evaluator, resource)?;
    match resource.kind {
        "AWS::SNS::Topic" => Ok(arn(evaluator, "sns", &name)),
        "AWS::StepFunctions::StateMachine" => Ok(state_machine_arn(evaluator, &name)),
        "AWS::SQS::Queue" => Ok(queue_url(evaluator, &name)),
        // Without a revision, which is not known yet: the newest is meant.
        "AWS::ECS::TaskDefinition" => Ok(arn(evaluator, "ecs", &format!("task-definition/{name}"))),
        "AWS::Batch::ComputeEnvironment" => {
            Ok(arn(evaluator, "batch", &format!("compute-environment/{name}")))
        }
        "AWS::Batch::JobQueue" => Ok(arn(evaluator, "batch", &format!("job-queue/{name}"))),
        "AWS::Batch::JobDefinition" => Ok(arn(evaluator, "batch", &format!("job-definition/{name}"))),
        "AWS::EMRServerless::Application" => Ok(crate::emr::application_id(&name)),
        "AWS::SecretsManager::Secret" => {
            Ok(crate::secrets::arn(evaluator.region(), evaluator.account(), &name))
        }
        "AWS::SNS::Subscription"
        | "AWS::IAM::Policy"
        | "AWS::Lambda::Permission"
        | "AWS::S3::BucketPolicy"
        | "AWS::SNS::TopicPolicy"
        | "AWS::SQS::QueuePolicy" => Err(Problem::new(
            resource.node.line,
            format!("Ref of {} is not supported by the sandbox", resource.kind),
        )),
        _ => Ok(name),
    }
}

/// What `Fn::GetAtt` gives; `None` for attributes that are not known.
pub(super) fn attribute(
    evaluator: &Evaluator<'_>,
    resource: &Resource<'_>,
    attribute: &str,
) -> Result<Option<String>, Problem> {
    let name = physical_name(evaluator, resource)?;
    let account = evaluator.account();
    Ok(match (resource.kind, attribute) {
        ("AWS::S3::Bucket", "Arn") => Some(format!("arn:aws:s3:::{name}")),
        ("AWS::S3::Bucket", "DomainName") => Some(format!("{name}.s3.amazonaws.com")),
        ("AWS::S3::Bucket", "RegionalDomainName") => {
            Some(format!("{name}.s3.{}.amazonaws.com", evaluator.region()))
        }
        ("AWS::IAM::Role", "Arn") => Some(format!("arn:aws:iam::{account}:role/{name}")),
        ("AWS::SNS::Topic", "TopicArn") => Some(arn(evaluator, "sns", &name)),
        ("AWS::SNS::Topic", "TopicName") => Some(name),
        ("AWS::StepFunctions::StateMachine", "Arn") => Some(state_machine_arn(evaluator, &name)),
        ("AWS::StepFunctions::StateMachine", "Name") => Some(name),
        ("AWS::Lambda::Function", "Arn") => Some(arn(evaluator, "lambda", &format!("function:{name}"))),
        ("AWS::SecretsManager::Secret", "Id") => {
            Some(crate::secrets::arn(evaluator.region(), account, &name))
        }
        ("AWS::SQS::Queue", "Arn") => Some(arn(evaluator, "sqs", &name)),
        ("AWS::SQS::Queue", "QueueName") => Some(name),
        ("AWS::SQS::Queue", "QueueUrl") => Some(queue_url(evaluator, &name)),
        ("AWS::Events::EventBus", "Arn") => Some(crate::events::arn(account, &name)),
        ("AWS::Events::EventBus", "Name") => Some(name),
        ("AWS::Logs::LogGroup", "Arn") => Some(arn(evaluator, "logs", &format!("log-group:{name}:*"))),
        ("AWS::ECS::Cluster", "Arn") => Some(arn(evaluator, "ecs", &format!("cluster/{name}"))),
        ("AWS::ECS::TaskDefinition", "TaskDefinitionArn")
        | ("AWS::Batch::ComputeEnvironment", "ComputeEnvironmentArn")
        | ("AWS::Batch::JobQueue", "JobQueueArn")
        | ("AWS::EMRServerless::Application", "ApplicationId") => Some(reference(evaluator, resource)?),
        ("AWS::EMRServerless::Application", "Arn") => {
            let id = crate::emr::application_id(&name);
            Some(arn(evaluator, "emr-serverless", &format!("/applications/{id}")))
        }
        ("AWS::RedshiftServerless::Workgroup", "Workgroup.WorkgroupName")
        | ("AWS::RedshiftServerless::Namespace", "Namespace.NamespaceName") => Some(name),
        ("AWS::RedshiftServerless::Workgroup", "Workgroup.WorkgroupArn") => {
            Some(arn(evaluator, "redshift-serverless", &format!("workgroup/{name}")))
        }
        _ => None,
    })
}

fn arn(evaluator: &Evaluator<'_>, service: &str, name: &str) -> String {
    format!("arn:aws:{service}:{}:{}:{name}", evaluator.region(), evaluator.account())
}

fn state_machine_arn(evaluator: &Evaluator<'_>, name: &str) -> String {
    arn(evaluator, "states", &format!("stateMachine:{name}"))
}

/// A queue's URL as it reads on AWS: the same at every start of the sandbox, whose services know a queue by the
/// URL's last part alone.
fn queue_url(evaluator: &Evaluator<'_>, name: &str) -> String {
    format!("https://sqs.{}.amazonaws.com/{}/{name}", evaluator.region(), evaluator.account())
}

fn physical_name(evaluator: &Evaluator<'_>, resource: &Resource<'_>) -> Result<String, Problem> {
    let kind = KINDS.iter().find(|kind| kind.name == resource.kind);
    let written = kind.and_then(|kind| {
        let mut path = vec!["Properties"];
        path.extend(kind.name_property);
        resource.node.path(&path).filter(|_| !kind.name_property.is_empty())
    });
    if let Some(node) = written {
        return evaluator.text(node);
    }
    let name = format!("{}-{}", evaluator.stack(), resource.logical_id);
    Ok(match resource.kind {
        "AWS::S3::Bucket" => name.to_lowercase().chars().take(63).collect(),
        "AWS::Glue::Database" => name.to_lowercase().replace('-', "_"),
        "AWS::SQS::Queue" if is_fifo(resource) => format!("{name}.fifo"),
        kind if kind.starts_with("AWS::Redshift") => name.to_lowercase(),
        _ => name,
    })
}

/// Whether a queue's template says so; its name must then end accordingly.
fn is_fifo(resource: &Resource<'_>) -> bool {
    let flag = resource.node.path(&["Properties", "FifoQueue"]).and_then(Node::as_text);
    flag.is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

fn plan_one(
    kind: &'static Kind,
    resource: &Resource<'_>,
    evaluator: &Evaluator<'_>,
    folder: Option<&Path>,
    problems: &mut Vec<Problem>,
) -> Result<Planned, Problem> {
    let name = physical_name(evaluator, resource)?;
    let empty = Node { line: resource.node.line, content: Content::Map(Vec::new()) };
    let properties = evaluator.evaluate(resource.node.get("Properties").unwrap_or(&empty))?;
    let shape = Shape::Fields(kind.properties);
    let value = shape::typed(&properties, shape, resource.logical_id, problems);
    let properties = match value {
        Value::Object(properties) => properties,
        _ => Map::new(),
    };
    if let Some(definition) = resource.node.path(&["Properties", "Definition"]) {
        tell_nulls(definition, problems);
    }
    let mut planned = Planned {
        logical_id: resource.logical_id.to_owned(),
        kind: kind.name,
        name,
        properties,
        script: None,
        uploads: Vec::new(),
    };
    if let Some(metadata) = resource.node.path(&["Metadata", "Trunkline"]) {
        planned.read_metadata(&evaluator.evaluate(metadata)?, folder)?;
    }
    Ok(planned)
}

/// A definition of a state machine may say `ResultPath: null`, but `CloudFormation` takes no null.
fn tell_nulls(node: &Node, problems: &mut Vec<Problem>) {
    match &node.content {
        Content::Nothing => {
            let message =
                "Definition: CloudFormation takes no null; write the definition as DefinitionString";
            problems.push(Problem::new(node.line, message));
        }
        Content::List(items) => items.iter().for_each(|item| tell_nulls(item, problems)),
        Content::Map(pairs) => pairs.iter().for_each(|(_, value)| tell_nulls(value, problems)),
        Content::Text { .. } => {}
    }
}

impl Planned {
    /// A digest of everything that making this resource depends on.
    pub(super) fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        let mut part = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        part(self.name.as_bytes());
        part(Value::Object(self.properties.clone()).to_string().as_bytes());
        if let Some((name, content)) = &self.script {
            part(name.as_bytes());
            part(content.as_bytes());
        }
        for upload in &self.uploads {
            part(upload.bucket.as_bytes());
            part(upload.key.as_bytes());
            part(&upload.content);
        }
        hex::encode(digest.finalize())
    }

    /// A property's text.
    pub(super) fn text(&self, property: &str) -> Option<&str> {
        self.properties.get(property)?.as_str()
    }

    fn read_metadata(&mut self, metadata: &Node, folder: Option<&Path>) -> Result<(), Problem> {
        for (name, node) in metadata.pairs("Metadata.Trunkline")? {
            match name.as_str() {
                "Sandbox" if TAKE_A_SCRIPT.contains(&self.kind) => self.read_script(node, folder)?,
                "Upload" if matches!(self.kind, "AWS::Glue::Job" | "AWS::S3::Bucket") => {
                    let Content::List(items) = &node.content else {
                        return Err(Problem::new(node.line, "Upload must be a list"));
                    };
                    for item in items {
                        let upload = self.read_upload(item, folder)?;
                        self.uploads.push(upload);
                    }
                }
                _ => {
                    let kind = self.kind;
                    return Err(Problem::new(
                        node.line,
                        format!("Metadata.Trunkline.{name} is not known for {kind}"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn read_script(&mut self, node: &Node, folder: Option<&Path>) -> Result<(), Problem> {
        for (name, value) in node.pairs("Metadata.Trunkline.Sandbox")? {
            let path = value.as_text().filter(|_| name == "Script").ok_or_else(|| {
                Problem::new(
                    value.line,
                    "Metadata.Trunkline.Sandbox takes one key, Script, with a file's path",
                )
            })?;
            let content = read_file(folder, path, SCRIPT_MAX, value.line)?;
            let content = String::from_utf8(content)
                .map_err(|_| Problem::new(value.line, format!("script {path} is not UTF-8 text")))?;
            self.script = Some((path.to_owned(), content));
        }
        Ok(())
    }

    /// Reads `- path` (to the same key of the bucket, or to the job's script location) or
    /// `- {File: path, To: s3://bucket/key}`.
    fn read_upload(&self, node: &Node, folder: Option<&Path>) -> Result<Upload, Problem> {
        let line = node.line;
        let file = node.as_text().or_else(|| node.get("File").and_then(Node::as_text));
        let file = file
            .ok_or_else(|| Problem::new(line, "an upload is a path, or {File: path, To: s3://bucket/key}"))?;
        let script_location = || self.properties.get("Command")?.get("ScriptLocation")?.as_str();
        let target = match node.get("To").and_then(Node::as_text) {
            Some(target) => target.to_owned(),
            None if self.kind == "AWS::S3::Bucket" => format!("s3://{}/{file}", self.name),
            None => script_location()
                .map(str::to_owned)
                .ok_or_else(|| Problem::new(line, "the job has no ScriptLocation to upload to"))?,
        };
        let (bucket, key) = crate::s3::parse_uri(&target)
            .filter(|(_, key)| !key.is_empty())
            .ok_or_else(|| Problem::new(line, format!("{target} is not of the form s3://bucket/key")))?;
        let content = read_file(folder, file, UPLOAD_MAX, line)?;
        Ok(Upload { content, bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

/// Reads a file that must lie in the pipeline's folder.
fn read_file(folder: Option<&Path>, path: &str, limit: u64, line: usize) -> Result<Vec<u8>, Problem> {
    let fail = |reason: &str| Problem::new(line, format!("file {path}: {reason}"));
    let folder = folder.ok_or_else(|| fail("no folder was given to find it in"))?;
    let folder = folder.canonicalize().map_err(|error| fail(&error.to_string()))?;
    let file = folder.join(path).canonicalize().map_err(|error| fail(&error.to_string()))?;
    if !file.starts_with(&folder) {
        return Err(fail("lies outside the pipeline's folder"));
    }
    let size = fs::metadata(&file).map_err(|error| fail(&error.to_string()))?.len();
    if size > limit {
        return Err(fail(&format!("is larger than {limit} bytes")));
    }
    fs::read(&file).map_err(|error| fail(&error.to_string()))
}

#[cfg(test)]
mod tests;
