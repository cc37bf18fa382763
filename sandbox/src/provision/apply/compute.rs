//! Makes log groups, and what tasks, jobs and Spark runs need: clusters, queues, definitions, applications.

use serde_json::{Map, Value, json};

use super::{Change, Maker, camel};
use crate::logs;
use crate::wire::ApiError;
use crate::wire::query::Form;

/// Whether a type is made here.
pub(super) fn makes(kind: &str) -> bool {
    matches!(
        kind,
        "AWS::Logs::LogGroup"
            | "AWS::ECS::Cluster"
            | "AWS::ECS::TaskDefinition"
            | "AWS::Batch::ComputeEnvironment"
            | "AWS::Batch::JobQueue"
            | "AWS::Batch::JobDefinition"
            | "AWS::EMRServerless::Application"
    )
}

impl Maker<'_> {
    pub(super) fn compute(&self) -> Result<Change, ApiError> {
        let (services, name) = (self.services, self.resource.name.as_str());
        match self.resource.kind {
            "AWS::Logs::LogGroup" => self.log_group(),
            "AWS::ECS::Cluster" => once(services.ecs.has_cluster(name), || {
                let cx = self.cx.with_operation("ecs", "CreateCluster");
                services.ecs.call(&cx, json!({ "clusterName": name }))
            }),
            "AWS::ECS::TaskDefinition" => self.revised(services.ecs.has_family(name), || {
                let cx = self.cx.with_operation("ecs", "RegisterTaskDefinition");
                services.ecs.call(&cx, Value::Object(self.members("family")))
            }),
            "AWS::Batch::ComputeEnvironment" => once(services.batch.has_environment(name), || {
                let cx = self.cx.with_operation("batch", "CreateComputeEnvironment");
                services.batch.call(&cx, Value::Object(self.members("computeEnvironmentName")))
            }),
            "AWS::Batch::JobQueue" => once(services.batch.has_queue(name), || {
                let cx = self.cx.with_operation("batch", "CreateJobQueue");
                services.batch.call(&cx, Value::Object(self.members("jobQueueName")))
            }),
            "AWS::Batch::JobDefinition" => self.revised(services.batch.has_definition(name), || {
                let cx = self.cx.with_operation("batch", "RegisterJobDefinition");
                let mut members = self.members("jobDefinitionName");
                // The names of parameters are their author's.
                if let Some(parameters) = self.resource.properties.get("Parameters") {
                    members.insert("parameters".to_owned(), parameters.clone());
                }
                services.batch.call(&cx, Value::Object(members))
            }),
            _ => self.revised(services.emr.has_application(name), || {
                let cx = self.cx.with_operation("emr-serverless", "CreateApplication");
                let route = crate::emr::Route {
                    operation: "CreateApplication",
                    application: String::new(),
                    run: String::new(),
                };
                services.emr.call(&cx, &route, &Form::default(), Value::Object(self.members("name")))
            }),
        }
    }

    fn log_group(&self) -> Result<Change, ApiError> {
        let world = self.services.world();
        let cx = |operation: &str| self.cx.with_operation("logs", operation);
        let name = self.resource.name.as_str();
        let made = logs::call(world, &cx("CreateLogGroup"), json!({ "logGroupName": name }));
        let existed = match made {
            Ok(_) => false,
            Err(error) if error.code == "ResourceAlreadyExistsException" => true,
            Err(error) => return Err(error),
        };
        if let Some(days) = self.resource.properties.get("RetentionInDays") {
            let wish = json!({ "logGroupName": name, "retentionInDays": days });
            logs::call(world, &cx("PutRetentionPolicy"), wish)?;
        }
        Ok(if existed { Change::Unchanged } else { Change::Created })
    }

    /// For what is registered anew when it changes.
    fn revised(
        &self,
        exists: bool,
        create: impl FnOnce() -> Result<Value, ApiError>,
    ) -> Result<Change, ApiError> {
        if exists && self.same {
            return Ok(Change::Unchanged);
        }
        create().map(|_| if exists { Change::Updated } else { Change::Created })
    }

    /// The properties as the service's own calls spell them, with the physical name and the sandbox's script.
    fn members(&self, name_member: &str) -> Map<String, Value> {
        let mut properties = self.resource.properties.clone();
        properties.remove("Tags");
        let mut members = match camel(Value::Object(properties)) {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        members.insert(name_member.to_owned(), Value::from(self.resource.name.as_str()));
        if let Some((name, content)) = &self.resource.script {
            let script = json!({ "Name": name, "Content": content });
            members.insert("TrunklineSandboxScript".to_owned(), script);
        }
        members
    }
}

/// For what has nothing that a change would alter.
fn once(exists: bool, create: impl FnOnce() -> Result<Value, ApiError>) -> Result<Change, ApiError> {
    if exists {
        return Ok(Change::Unchanged);
    }
    create().map(|_| Change::Created)
}
