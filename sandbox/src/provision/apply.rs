//! Makes planned resources through the services' own calls, so that provisioning can do nothing that a client
//! could not.

mod compute;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::resources::Planned;
use crate::lambda::Source;
use crate::redshift::warehouse::Provisioned;
use crate::s3::{Listener, StoreError};
use crate::server::dispatch::Services;
use crate::wire::query::Form;
use crate::wire::{ApiError, CallContext};
use crate::{files, sns::Sns};

/// What was made of a stack before, by logical id.
#[derive(Debug)]
pub(super) struct Applied {
    path: PathBuf,
    made: BTreeMap<String, Made>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Made {
    kind: String,
    name: String,
    fingerprint: String,
}

/// What was done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// It was not there.
    Created,
    /// It was there and different.
    Updated,
    /// It was there and the same.
    Unchanged,
    /// It has no meaning in the sandbox (policies of services).
    Recorded,
}

impl Applied {
    /// Reads the record of a stack.
    pub(super) fn open(path: PathBuf) -> Result<Self, ApiError> {
        let made = files::read_json(&path).map_err(ApiError::internal)?.unwrap_or_default();
        Ok(Self { path, made })
    }

    /// Tells buckets whose queues hear of their objects. After everything else: the queues must be there.
    pub(super) fn connect(services: &Services, cx: &CallContext, resource: &Planned) -> Result<(), ApiError> {
        let Some(wanted) = resource.properties.get("NotificationConfiguration") else { return Ok(()) };
        let queues = wanted.get("QueueConfigurations").and_then(Value::as_array);
        let listeners: Vec<Listener> =
            queues.into_iter().flatten().enumerate().map(|(place, queue)| listener(queue, place)).collect();
        let notifications = services.world().s3.notifications();
        if notifications.of(&resource.name) == listeners {
            return Ok(());
        }
        notifications.put(&resource.name, listeners, true, cx.now).map_err(|error| {
            let id = &resource.logical_id;
            let ApiError { status, code, message } = error;
            ApiError::new(status, code, format!("resource {id}: NotificationConfiguration: {message}"))
        })
    }

    /// Makes or updates one resource and records it.
    pub(super) async fn apply(
        &mut self,
        services: &Services,
        cx: &CallContext,
        resource: &Planned,
    ) -> Result<Change, ApiError> {
        let made = Made {
            kind: resource.kind.to_owned(),
            name: resource.name.clone(),
            fingerprint: resource.fingerprint(),
        };
        let same = self.made.get(&resource.logical_id) == Some(&made);
        let maker = Maker { services, cx, resource, same };
        let change = maker.make().await.map_err(|error| {
            let ApiError { status, code, message } = error;
            let id = &resource.logical_id;
            ApiError::new(
                status,
                code,
                format!("resource {id} ({} {}): {message}", resource.kind, resource.name),
            )
        })?;
        if !same {
            self.made.insert(resource.logical_id.clone(), made);
            files::replace_json(&self.path, &self.made).map_err(ApiError::internal)?;
        }
        Ok(change)
    }
}

struct Maker<'a> {
    services: &'a Services,
    cx: &'a CallContext,
    resource: &'a Planned,
    /// Whether the resource was made from exactly this plan before.
    same: bool,
}

impl Maker<'_> {
    async fn make(&self) -> Result<Change, ApiError> {
        let change = match self.resource.kind {
            "AWS::S3::Bucket" => self.bucket(),
            "AWS::IAM::Role" => self.role(),
            "AWS::SecretsManager::Secret" => self.secret(),
            "AWS::SSM::Parameter" => self.parameter(),
            "AWS::Glue::Database" => self.database().await,
            "AWS::Glue::Crawler" => self.crawler().await,
            "AWS::Glue::Job" => self.job().await,
            "AWS::Athena::WorkGroup" => self.workgroup().await,
            "AWS::Lambda::Function" => self.function().await,
            "AWS::SQS::Queue" => self.queue().await,
            "AWS::Events::EventBus" => self.event_bus(),
            kind if compute::makes(kind) => self.compute(),
            "AWS::RedshiftServerless::Namespace"
            | "AWS::RedshiftServerless::Workgroup"
            | "AWS::Redshift::Cluster" => self.warehouse(),
            "AWS::IAM::Policy" => self.policy(),
            "AWS::SNS::Topic" => self.topic(),
            "AWS::StepFunctions::StateMachine" => self.state_machine(),
            "AWS::SNS::Subscription" => {
                let topic = self.resource.text("TopicArn").unwrap_or_default();
                self.subscribe(topic, &Value::Object(self.resource.properties.clone()))?;
                Ok(if self.same { Change::Unchanged } else { Change::Created })
            }
            _ => Ok(Change::Recorded),
        }?;
        self.upload()?;
        Ok(change)
    }

    /// Adds a policy to the roles that it names; users and groups are no part of the sandbox.
    fn policy(&self) -> Result<Change, ApiError> {
        let properties = &self.resource.properties;
        let document = properties.get("PolicyDocument").cloned().unwrap_or_default();
        for role in properties.get("Roles").and_then(Value::as_array).into_iter().flatten() {
            let role = role.as_str().unwrap_or_default();
            self.services.iam.put_policy(role, &self.resource.name, document.clone())?;
        }
        Ok(Change::Recorded)
    }

    fn bucket(&self) -> Result<Change, ApiError> {
        let created = self
            .services
            .world()
            .s3
            .create_bucket(&self.resource.name)
            .map_err(|error| store_error(&error))?;
        Ok(if created { Change::Created } else { Change::Unchanged })
    }

    fn role(&self) -> Result<Change, ApiError> {
        self.services.iam.put_role(&self.resource.name, &self.resource.properties)?;
        let trust = self.resource.properties.get("AssumeRolePolicyDocument").cloned().unwrap_or_default();
        let changed = self.services.sts.put_role(&self.cx.account, &self.resource.name, &trust)?;
        Ok(match (changed, self.same) {
            (false, _) => Change::Unchanged,
            (true, false) => Change::Created,
            (true, true) => Change::Updated,
        })
    }

    /// A generated secret is drawn once; a text is put again when the template changes it.
    fn secret(&self) -> Result<Change, ApiError> {
        let (secrets, name) = (&self.services.secrets, &self.resource.name);
        let call = |operation: &str, body: Value| {
            secrets.call(&self.cx.with_operation("secretsmanager", operation), &body)
        };
        let text = |property: &str| self.resource.properties.get(property).cloned();
        let value = match (text("SecretString"), text("GenerateSecretString")) {
            (Some(value), None) => Some(value),
            (None, Some(wish)) => Some(secrets.generate(&wish)?.into()),
            (None, None) => None,
            (Some(_), Some(_)) => {
                let message = "give either SecretString or GenerateSecretString";
                return Err(ApiError::new(400, "ValidationError", message));
            }
        };
        if !secrets.has(name) {
            let mut wish = json!({ "Name": name });
            if let Some(value) = value {
                wish["SecretString"] = value;
            }
            for property in ["Description", "KmsKeyId"] {
                if let Some(value) = text(property) {
                    wish[property] = value;
                }
            }
            return call("CreateSecret", wish).map(|_| Change::Created);
        }
        match text("SecretString").filter(|_| !self.same) {
            Some(value) => {
                call("PutSecretValue", json!({ "SecretId": name, "SecretString": value }))?;
                Ok(Change::Updated)
            }
            None => Ok(Change::Unchanged),
        }
    }

    fn parameter(&self) -> Result<Change, ApiError> {
        let (parameters, name) = (&self.services.parameters, &self.resource.name);
        let exists = parameters.has(name);
        if exists && self.same {
            return Ok(Change::Unchanged);
        }
        let mut wish = Value::Object(self.named("Name"));
        wish["Overwrite"] = exists.into();
        parameters.call(&self.cx.with_operation("ssm", "PutParameter"), &wish)?;
        Ok(if exists { Change::Updated } else { Change::Created })
    }

    /// Puts files that changed, and files that are gone.
    fn upload(&self) -> Result<(), ApiError> {
        let store = &self.services.world().s3;
        for upload in &self.resource.uploads {
            let present =
                || store.read(&upload.bucket, &upload.key).is_ok_and(|content| content == upload.content);
            if !(self.same && present()) {
                store
                    .write(&upload.bucket, &upload.key, &upload.content)
                    .map_err(|error| store_error(&error))?;
            }
        }
        Ok(())
    }

    async fn database(&self) -> Result<Change, ApiError> {
        let mut input = match self.resource.properties.get("DatabaseInput") {
            Some(Value::Object(input)) => input.clone(),
            _ => Map::new(),
        };
        input.insert("Name".to_owned(), Value::from(self.resource.name.as_str()));
        let name = &self.resource.name;
        let create = json!({ "DatabaseInput": input });
        let update = json!({ "Name": name, "DatabaseInput": input });
        self.in_glue("Database", json!({ "Name": name }), create, update).await
    }

    async fn crawler(&self) -> Result<Change, ApiError> {
        let crawler = Value::Object(self.named("Name"));
        let get = json!({ "Name": self.resource.name });
        self.in_glue("Crawler", get, crawler.clone(), crawler).await
    }

    async fn job(&self) -> Result<Change, ApiError> {
        let mut create = self.named("Name");
        let mut update = create.clone();
        update.remove("Name");
        let mut update = Map::from_iter([
            ("JobName".to_owned(), Value::from(self.resource.name.as_str())),
            ("JobUpdate".to_owned(), Value::Object(update)),
        ]);
        if let Some((name, content)) = &self.resource.script {
            let script = json!({ "Name": name, "Content": content });
            create.insert("TrunklineSandboxScript".to_owned(), script.clone());
            update.insert("TrunklineSandboxScript".to_owned(), script);
        }
        let get = json!({ "JobName": self.resource.name });
        self.in_glue("Job", get, Value::Object(create), Value::Object(update)).await
    }

    async fn workgroup(&self) -> Result<Change, ApiError> {
        let name = &self.resource.name;
        let property = |property: &str| self.resource.properties.get(property).cloned();
        let mut create = Map::from_iter([("Name".to_owned(), Value::from(name.as_str()))]);
        let mut update = Map::from_iter([("WorkGroup".to_owned(), Value::from(name.as_str()))]);
        if let Some(description) = property("Description") {
            create.insert("Description".to_owned(), description.clone());
            update.insert("Description".to_owned(), description);
        }
        if let Some(state) = property("State") {
            update.insert("State".to_owned(), state);
        }
        if let Some(configuration) = property("WorkGroupConfiguration") {
            create.insert("Configuration".to_owned(), configuration.clone());
            update.insert("ConfigurationUpdates".to_owned(), configuration_updates(configuration));
        }
        let athena = |operation: &'static str, body: Value| async move {
            let cx = self.cx.with_operation("athena", operation);
            self.services.athena.call(&cx, operation, body).await
        };
        match athena("GetWorkGroup", json!({ "WorkGroup": name })).await {
            Ok(_) if self.same => Ok(Change::Unchanged),
            Ok(_) => athena("UpdateWorkGroup", Value::Object(update)).await.map(|_| Change::Updated),
            Err(error) if error.code == "InvalidRequestException" => {
                athena("CreateWorkGroup", Value::Object(create)).await?;
                if update.contains_key("State") {
                    athena("UpdateWorkGroup", Value::Object(update)).await?;
                }
                Ok(Change::Created)
            }
            Err(error) => Err(error),
        }
    }

    fn state_machine(&self) -> Result<Change, ApiError> {
        let name = &self.resource.name;
        let arn = format!("arn:aws:states:{}:{}:stateMachine:{name}", self.cx.region, self.cx.account);
        let states = |operation: &str, body: Value| {
            self.services.states.call(&self.cx.with_operation("states", operation), body)
        };
        let mut body = Map::from_iter([("definition".to_owned(), self.definition()?.into())]);
        let renamed = [
            ("RoleArn", "roleArn"),
            ("LoggingConfiguration", "loggingConfiguration"),
            ("TracingConfiguration", "tracingConfiguration"),
            ("EncryptionConfiguration", "encryptionConfiguration"),
        ];
        for (property, member) in renamed {
            if let Some(value) = self.resource.properties.get(property) {
                body.insert(member.to_owned(), camel(value.clone()));
            }
        }
        match states("DescribeStateMachine", json!({ "stateMachineArn": arn })) {
            Ok(_) if self.same => Ok(Change::Unchanged),
            Ok(_) => {
                body.insert("stateMachineArn".to_owned(), arn.into());
                states("UpdateStateMachine", Value::Object(body)).map(|_| Change::Updated)
            }
            Err(error) if error.code == "StateMachineDoesNotExist" => {
                body.insert("name".to_owned(), name.as_str().into());
                body.insert(
                    "type".to_owned(),
                    self.resource.text("StateMachineType").unwrap_or("STANDARD").into(),
                );
                states("CreateStateMachine", Value::Object(body)).map(|_| Change::Created)
            }
            Err(error) => Err(error),
        }
    }

    /// A state machine's definition as a text, with the substitutions made.
    fn definition(&self) -> Result<String, ApiError> {
        let properties = &self.resource.properties;
        let mut text = match (properties.get("DefinitionString"), properties.get("Definition")) {
            (Some(text), None) => plain_text(text),
            (None, Some(definition)) => definition.to_string(),
            _ => {
                let message = "exactly one of Definition and DefinitionString is needed";
                return Err(ApiError::new(400, "ValidationError", message));
            }
        };
        let substitutions = properties.get("DefinitionSubstitutions").and_then(Value::as_object);
        for (name, value) in substitutions.into_iter().flatten() {
            text = text.replace(&format!("${{{name}}}"), &plain_text(value));
        }
        Ok(text)
    }

    /// The sandbox has no calls to make these: they only have to be there.
    fn warehouse(&self) -> Result<Change, ApiError> {
        let (made, name) = (&self.services.redshift.warehouses, &self.resource.name);
        let done = match self.resource.kind {
            "AWS::RedshiftServerless::Namespace" => made.put_namespace(name, self.resource.text("DbName")),
            "AWS::RedshiftServerless::Workgroup" => {
                made.put_workgroup(name, self.resource.text("NamespaceName"))
            }
            _ => made.put_cluster(name, self.resource.text("DBName")),
        }?;
        Ok(match done {
            Provisioned::Created => Change::Created,
            Provisioned::Updated => Change::Updated,
            Provisioned::Unchanged => Change::Unchanged,
        })
    }

    fn topic(&self) -> Result<Change, ApiError> {
        let arn = format!("arn:aws:sns:{}:{}:{}", self.cx.region, self.cx.account, self.resource.name);
        let exists = self.sns("GetTopicAttributes", vec![("TopicArn", arn.clone())]).is_ok();
        let mut pairs = vec![("Name".to_owned(), self.resource.name.clone())];
        let names = ["DisplayName", "FifoTopic", "ContentBasedDeduplication", "KmsMasterKeyId"];
        let attributes: Vec<(&str, String)> = names
            .into_iter()
            .filter_map(|name| Some((name, plain_text(self.resource.properties.get(name)?))))
            .collect();
        if exists {
            for (name, value) in attributes.iter().filter(|(name, _)| !self.same && *name != "FifoTopic") {
                let pairs = vec![
                    ("TopicArn", arn.clone()),
                    ("AttributeName", (*name).to_owned()),
                    ("AttributeValue", value.clone()),
                ];
                self.sns("SetTopicAttributes", pairs)?;
            }
        } else {
            for (index, (name, value)) in attributes.iter().enumerate() {
                let entry = index + 1;
                pairs.push((format!("Attributes.entry.{entry}.key"), (*name).to_owned()));
                pairs.push((format!("Attributes.entry.{entry}.value"), value.clone()));
            }
            let cx = self.cx.with_operation("sns", "CreateTopic");
            self.services.sns.call(&cx, &Form::from_pairs(pairs))?;
        }
        let inline = self.resource.properties.get("Subscription").and_then(Value::as_array);
        for subscription in inline.into_iter().flatten() {
            self.subscribe(&arn, subscription)?;
        }
        Ok(match (exists, self.same) {
            (false, _) => Change::Created,
            (true, true) => Change::Unchanged,
            (true, false) => Change::Updated,
        })
    }

    /// Subscribing again is no error and makes no second subscription.
    fn subscribe(&self, topic: &str, subscription: &Value) -> Result<(), ApiError> {
        let text = |name: &str| subscription.get(name).map(plain_text).unwrap_or_default();
        let pairs = vec![
            ("TopicArn", topic.to_owned()),
            ("Protocol", text("Protocol")),
            ("Endpoint", text("Endpoint")),
        ];
        self.sns("Subscribe", pairs)
    }

    fn sns(&self, operation: &str, pairs: Vec<(&str, String)>) -> Result<(), ApiError> {
        let sns: &Sns = &self.services.sns;
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        sns.call(&self.cx.with_operation("sns", operation), &Form::from_pairs(pairs)).map(drop)
    }

    async fn in_glue(
        &self,
        noun: &str,
        get: Value,
        create: Value,
        update: Value,
    ) -> Result<Change, ApiError> {
        match self.glue(&format!("Get{noun}"), get).await {
            Ok(_) if self.same => Ok(Change::Unchanged),
            Ok(_) => self.glue(&format!("Update{noun}"), update).await.map(|_| Change::Updated),
            Err(error) if error.code == "EntityNotFoundException" => {
                self.glue(&format!("Create{noun}"), create).await.map(|_| Change::Created)
            }
            Err(error) => Err(error),
        }
    }

    #[expect(clippy::unused_async, reason = "every service is asked alike")]
    async fn glue(&self, operation: &str, body: Value) -> Result<Value, ApiError> {
        let cx = self.cx.with_operation("glue", operation);
        self.services.glue.call(&cx, operation, body)
    }

    /// The properties with the physical name, without what the API calls differently.
    fn named(&self, name_property: &str) -> Map<String, Value> {
        let mut properties = self.resource.properties.clone();
        properties.insert(name_property.to_owned(), Value::from(self.resource.name.as_str()));
        properties.remove("Tags");
        properties
    }
}

/// `CloudFormation`'s configuration of a workgroup as `UpdateWorkGroup` wants it.
fn configuration_updates(configuration: Value) -> Value {
    let Value::Object(mut members) = configuration else { return configuration };
    if let Some(results) = members.remove("ResultConfiguration") {
        members.insert("ResultConfigurationUpdates".to_owned(), results);
    }
    Value::Object(members)
}

/// Members as the Step Functions API spells them: `CloudFormation` begins them with a capital.
fn camel(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let small = |name: String| {
                let mut letters = name.chars();
                letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
            };
            Value::Object(members.into_iter().map(|(name, value)| (small(name), camel(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(camel).collect(),
        other => other,
    }
}

/// Properties of a function that its own calls name otherwise, or do not know.
const OTHERWISE: [(&str, Option<&str>); 3] =
    [("KmsKeyArn", Some("KMSKeyArn")), ("Code", None), ("FunctionName", None)];

impl Maker<'_> {
    async fn function(&self) -> Result<Change, ApiError> {
        let lambda = &self.services.lambda;
        let name = &self.resource.name;
        let mut wish = self.named("FunctionName");
        let code = wish.get("Code").cloned().unwrap_or_default();
        for (name, other) in OTHERWISE {
            if let (Some(value), Some(other)) = (wish.remove(name), other) {
                wish.insert(other.to_owned(), value);
            }
        }
        // In a template, `ZipFile` is the source itself.
        let source = match code.get("ZipFile").and_then(Value::as_str) {
            Some(text) => Source::Inline(text.to_owned()),
            None => lambda.source(&code)?,
        };
        if !lambda.has(name) {
            wish.insert("FunctionName".to_owned(), Value::from(name.as_str()));
            let cx = self.cx.with_operation("lambda", "CreateFunction");
            return lambda.create(&cx, &wish, source).await.map(|_| Change::Created);
        }
        if self.same && code.get("S3Key").is_none() {
            return Ok(Change::Unchanged);
        }
        lambda.reconfigure(&self.cx.with_operation("lambda", "UpdateFunctionConfiguration"), name, &wish)?;
        lambda.replace_code(&self.cx.with_operation("lambda", "UpdateFunctionCode"), name, source).await?;
        Ok(if self.same { Change::Unchanged } else { Change::Updated })
    }

    async fn queue(&self) -> Result<Change, ApiError> {
        let name = &self.resource.name;
        let mut attributes = self.named("QueueName");
        attributes.remove("QueueName");
        for value in attributes.values_mut() {
            *value = Value::from(plain_text(value));
        }
        let sqs = |operation: &'static str, body: Value| async move {
            self.services.sqs.call(&self.cx.with_operation("sqs", operation), &body).await
        };
        if !self.services.sqs.has(name) {
            let wish = json!({ "QueueName": name, "Attributes": attributes });
            return sqs("CreateQueue", wish).await.map(|_| Change::Created);
        }
        if self.same {
            return Ok(Change::Unchanged);
        }
        sqs("SetQueueAttributes", json!({ "QueueUrl": name, "Attributes": attributes })).await?;
        Ok(Change::Updated)
    }

    fn event_bus(&self) -> Result<Change, ApiError> {
        let name = &self.resource.name;
        if self.services.events.has(name) {
            return Ok(Change::Unchanged);
        }
        let wish = Value::Object(self.named("Name"));
        let cx = self.cx.with_operation("events", "CreateEventBus");
        self.services.events.call(&cx, &wish).map(|_| Change::Created)
    }
}

fn listener(queue: &Value, place: usize) -> Listener {
    let text = |name: &str| queue.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let rules = queue.pointer("/Filter/S3Key/Rules").and_then(Value::as_array);
    let rule = |wanted: &str| {
        let found = rules.into_iter().flatten().find(|rule| {
            rule.get("Name").and_then(Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case(wanted))
        });
        found.and_then(|rule| rule.get("Value")?.as_str()).unwrap_or_default().to_owned()
    };
    Listener {
        id: format!("queue-{place}"),
        queue: text("Queue"),
        events: vec![text("Event")],
        prefix: rule("prefix"),
        suffix: rule("suffix"),
    }
}

fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn store_error(error: &StoreError) -> ApiError {
    let status = if matches!(error, StoreError::Files { .. }) { 500 } else { 400 };
    ApiError::new(status, "BucketError", error.to_string())
}
