//! The resource types that can be made: their properties, their names, what refers to them.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Problem;
use super::functions::Evaluator;
use super::shape::{self, Field, Shape};
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

/// How a type is made. The order of [`KINDS`] is the order in which resources are made.
struct Kind {
    name: &'static str,
    /// The property that holds the physical name.
    name_property: &'static [&'static str],
    properties: &'static [Field],
}

const TEXTS: Shape = Shape::List(&Shape::Text);

const KINDS: [Kind; 22] = [
    Kind {
        name: "AWS::S3::Bucket",
        name_property: &["BucketName"],
        // What is allowed and how it is stored has no meaning here; what changes behaviour is not in the list.
        properties: &[
            ("BucketName", Shape::Text),
            ("BucketEncryption", Shape::Any),
            ("LifecycleConfiguration", Shape::Any),
            ("OwnershipControls", Shape::Any),
            ("PublicAccessBlockConfiguration", Shape::Any),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::S3::BucketPolicy",
        name_property: &["Bucket"],
        properties: &[("Bucket", Shape::Text), ("PolicyDocument", Shape::Any)],
    },
    Kind {
        name: "AWS::IAM::Role",
        name_property: &["RoleName"],
        properties: &[
            ("RoleName", Shape::Text),
            ("AssumeRolePolicyDocument", Shape::Any),
            ("Description", Shape::Text),
            ("ManagedPolicyArns", TEXTS),
            ("MaxSessionDuration", Shape::Whole),
            ("Path", Shape::Text),
            ("PermissionsBoundary", Shape::Text),
            ("Policies", Shape::Any),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::IAM::Policy",
        name_property: &["PolicyName"],
        properties: &[
            ("PolicyName", Shape::Text),
            ("PolicyDocument", Shape::Any),
            ("Groups", TEXTS),
            ("Roles", TEXTS),
            ("Users", TEXTS),
        ],
    },
    Kind {
        name: "AWS::SecretsManager::Secret",
        name_property: &["Name"],
        properties: &[
            ("Name", Shape::Text),
            ("Description", Shape::Text),
            ("KmsKeyId", Shape::Text),
            ("SecretString", Shape::Text),
            (
                "GenerateSecretString",
                Shape::Fields(&[
                    ("ExcludeCharacters", Shape::Text),
                    ("ExcludePunctuation", Shape::Flag),
                    ("GenerateStringKey", Shape::Text),
                    ("PasswordLength", Shape::Whole),
                    ("SecretStringTemplate", Shape::Text),
                ]),
            ),
            ("Tags", Shape::Any),
        ],
    },
    // CloudFormation makes no parameters of type SecureString, so neither does this.
    Kind {
        name: "AWS::SSM::Parameter",
        name_property: &["Name"],
        properties: &[
            ("Name", Shape::Text),
            ("AllowedPattern", Shape::Text),
            ("DataType", Shape::Text),
            ("Description", Shape::Text),
            ("Tier", Shape::Text),
            ("Type", Shape::Text),
            ("Value", Shape::Text),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Glue::Database",
        name_property: &["DatabaseInput", "Name"],
        properties: &[
            ("CatalogId", Shape::Text),
            ("DatabaseName", Shape::Text),
            (
                "DatabaseInput",
                Shape::Fields(&[
                    ("Name", Shape::Text),
                    ("Description", Shape::Text),
                    ("LocationUri", Shape::Text),
                    ("Parameters", Shape::Texts),
                ]),
            ),
        ],
    },
    Kind {
        name: "AWS::Glue::Crawler",
        name_property: &["Name"],
        properties: &[
            ("Name", Shape::Text),
            ("Role", Shape::Text),
            ("DatabaseName", Shape::Text),
            ("Description", Shape::Text),
            ("TablePrefix", Shape::Text),
            ("Classifiers", TEXTS),
            ("Configuration", Shape::Text),
            ("RecrawlPolicy", Shape::Fields(&[("RecrawlBehavior", Shape::Text)])),
            (
                "SchemaChangePolicy",
                Shape::Fields(&[("UpdateBehavior", Shape::Text), ("DeleteBehavior", Shape::Text)]),
            ),
            (
                "Targets",
                Shape::Fields(&[(
                    "S3Targets",
                    Shape::List(&Shape::Fields(&[
                        ("Path", Shape::Text),
                        ("Exclusions", TEXTS),
                        ("SampleSize", Shape::Whole),
                    ])),
                )]),
            ),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Glue::Job",
        name_property: &["Name"],
        properties: &[
            ("Name", Shape::Text),
            ("Role", Shape::Text),
            ("Description", Shape::Text),
            (
                "Command",
                Shape::Fields(&[
                    ("Name", Shape::Text),
                    ("PythonVersion", Shape::Text),
                    ("Runtime", Shape::Text),
                    ("ScriptLocation", Shape::Text),
                ]),
            ),
            ("DefaultArguments", Shape::Texts),
            ("NonOverridableArguments", Shape::Texts),
            ("ExecutionClass", Shape::Text),
            ("ExecutionProperty", Shape::Fields(&[("MaxConcurrentRuns", Shape::Whole)])),
            ("GlueVersion", Shape::Text),
            ("JobMode", Shape::Text),
            ("JobRunQueuingEnabled", Shape::Flag),
            ("LogUri", Shape::Text),
            ("MaxCapacity", Shape::Fraction),
            ("MaxRetries", Shape::Whole),
            ("NotificationProperty", Shape::Fields(&[("NotifyDelayAfter", Shape::Whole)])),
            ("NumberOfWorkers", Shape::Whole),
            ("Timeout", Shape::Whole),
            ("WorkerType", Shape::Text),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Athena::WorkGroup",
        name_property: &["Name"],
        properties: &[
            ("Name", Shape::Text),
            ("Description", Shape::Text),
            ("State", Shape::Text),
            ("RecursiveDeleteOption", Shape::Flag),
            (
                "WorkGroupConfiguration",
                Shape::Fields(&[
                    ("BytesScannedCutoffPerQuery", Shape::Whole),
                    ("EnforceWorkGroupConfiguration", Shape::Flag),
                    ("EngineVersion", Shape::Fields(&[("SelectedEngineVersion", Shape::Text)])),
                    ("PublishCloudWatchMetricsEnabled", Shape::Flag),
                    ("RequesterPaysEnabled", Shape::Flag),
                    (
                        "ResultConfiguration",
                        Shape::Fields(&[
                            ("OutputLocation", Shape::Text),
                            ("ExpectedBucketOwner", Shape::Text),
                            (
                                "EncryptionConfiguration",
                                Shape::Fields(&[("EncryptionOption", Shape::Text), ("KmsKey", Shape::Text)]),
                            ),
                        ]),
                    ),
                ]),
            ),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::RedshiftServerless::Namespace",
        name_property: &["NamespaceName"],
        properties: &[
            ("NamespaceName", Shape::Text),
            ("DbName", Shape::Text),
            ("AdminUsername", Shape::Text),
            ("AdminUserPassword", Shape::Text),
            ("ManageAdminPassword", Shape::Flag),
            ("AdminPasswordSecretKmsKeyId", Shape::Text),
            ("DefaultIamRoleArn", Shape::Text),
            ("IamRoles", TEXTS),
            ("KmsKeyId", Shape::Text),
            ("LogExports", TEXTS),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::RedshiftServerless::Workgroup",
        name_property: &["WorkgroupName"],
        properties: &[
            ("WorkgroupName", Shape::Text),
            ("NamespaceName", Shape::Text),
            ("BaseCapacity", Shape::Whole),
            ("MaxCapacity", Shape::Whole),
            ("ConfigParameters", Shape::Any),
            ("EnhancedVpcRouting", Shape::Flag),
            ("Port", Shape::Whole),
            ("PubliclyAccessible", Shape::Flag),
            ("SecurityGroupIds", TEXTS),
            ("SubnetIds", TEXTS),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Redshift::Cluster",
        name_property: &["ClusterIdentifier"],
        properties: &[
            ("ClusterIdentifier", Shape::Text),
            ("DBName", Shape::Text),
            ("ClusterType", Shape::Text),
            ("NodeType", Shape::Text),
            ("NumberOfNodes", Shape::Whole),
            ("MasterUsername", Shape::Text),
            ("MasterUserPassword", Shape::Text),
            ("ManageMasterPassword", Shape::Flag),
            ("AutomatedSnapshotRetentionPeriod", Shape::Whole),
            ("ClusterParameterGroupName", Shape::Text),
            ("ClusterSubnetGroupName", Shape::Text),
            ("Encrypted", Shape::Flag),
            ("EnhancedVpcRouting", Shape::Flag),
            ("IamRoles", TEXTS),
            ("KmsKeyId", Shape::Text),
            ("Port", Shape::Whole),
            ("PreferredMaintenanceWindow", Shape::Text),
            ("PubliclyAccessible", Shape::Flag),
            ("VpcSecurityGroupIds", TEXTS),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Lambda::Function",
        name_property: &["FunctionName"],
        properties: &[
            ("FunctionName", Shape::Text),
            (
                "Code",
                Shape::Fields(&[("ZipFile", Shape::Text), ("S3Bucket", Shape::Text), ("S3Key", Shape::Text)]),
            ),
            ("Architectures", TEXTS),
            ("Description", Shape::Text),
            ("Environment", Shape::Fields(&[("Variables", Shape::Texts)])),
            ("EphemeralStorage", Shape::Any),
            ("Handler", Shape::Text),
            ("KmsKeyArn", Shape::Text),
            ("LoggingConfig", Shape::Any),
            ("MemorySize", Shape::Whole),
            ("PackageType", Shape::Text),
            ("Role", Shape::Text),
            ("Runtime", Shape::Text),
            ("Timeout", Shape::Whole),
            ("TracingConfig", Shape::Any),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Lambda::Permission",
        name_property: &[],
        properties: &[
            ("Action", Shape::Text),
            ("FunctionName", Shape::Text),
            ("Principal", Shape::Text),
            ("SourceAccount", Shape::Text),
            ("SourceArn", Shape::Text),
        ],
    },
    // Before the topics, which may deliver to them. A queue comes after its dead-letter queue if the template
    // has them in that order; a queue may also name one that is not there yet.
    Kind {
        name: "AWS::SQS::Queue",
        name_property: &["QueueName"],
        properties: &[
            ("QueueName", Shape::Text),
            ("ContentBasedDeduplication", Shape::Flag),
            ("DelaySeconds", Shape::Whole),
            ("FifoQueue", Shape::Flag),
            ("KmsDataKeyReusePeriodSeconds", Shape::Whole),
            ("KmsMasterKeyId", Shape::Text),
            ("MaximumMessageSize", Shape::Whole),
            ("MessageRetentionPeriod", Shape::Whole),
            ("ReceiveMessageWaitTimeSeconds", Shape::Whole),
            (
                "RedrivePolicy",
                Shape::Fields(&[("deadLetterTargetArn", Shape::Text), ("maxReceiveCount", Shape::Whole)]),
            ),
            ("SqsManagedSseEnabled", Shape::Flag),
            ("VisibilityTimeout", Shape::Whole),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::SQS::QueuePolicy",
        name_property: &[],
        properties: &[("Queues", TEXTS), ("PolicyDocument", Shape::Any)],
    },
    Kind {
        name: "AWS::Events::EventBus",
        name_property: &["Name"],
        properties: &[("Name", Shape::Text), ("Description", Shape::Text), ("Tags", Shape::Any)],
    },
    Kind {
        name: "AWS::SNS::Topic",
        name_property: &["TopicName"],
        properties: &[
            ("TopicName", Shape::Text),
            ("DisplayName", Shape::Text),
            ("FifoTopic", Shape::Flag),
            ("ContentBasedDeduplication", Shape::Flag),
            ("KmsMasterKeyId", Shape::Text),
            (
                "Subscription",
                Shape::List(&Shape::Fields(&[("Protocol", Shape::Text), ("Endpoint", Shape::Text)])),
            ),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::SNS::TopicPolicy",
        name_property: &[],
        properties: &[("Topics", TEXTS), ("PolicyDocument", Shape::Any)],
    },
    Kind {
        name: "AWS::SNS::Subscription",
        name_property: &["Endpoint"],
        properties: &[("TopicArn", Shape::Text), ("Protocol", Shape::Text), ("Endpoint", Shape::Text)],
    },
    Kind {
        name: "AWS::StepFunctions::StateMachine",
        name_property: &["StateMachineName"],
        properties: &[
            ("StateMachineName", Shape::Text),
            ("StateMachineType", Shape::Text),
            ("Definition", Shape::Any),
            ("DefinitionString", Shape::Text),
            ("DefinitionSubstitutions", Shape::Texts),
            ("RoleArn", Shape::Text),
            ("LoggingConfiguration", Shape::Any),
            ("TracingConfiguration", Shape::Any),
            ("EncryptionConfiguration", Shape::Any),
            ("Tags", Shape::Any),
        ],
    },
];

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
                "Sandbox" if self.kind == "AWS::Glue::Job" => self.read_script(node, folder)?,
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
