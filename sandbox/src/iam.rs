//! IAM, as far as a question about permissions needs it: roles with their policies, and what these allow.
//!
//! The sandbox itself refuses nobody: every call is answered whoever makes it. But what an account would say can be
//! asked here before a pipeline is taken there, and is answered by evaluating the policies.

mod policy;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
#[cfg(test)]
use serde_json::json;
use serde_json::{Map, Value};

use self::policy::{Decision, Document};
use crate::wire::query::{Form, Xml};
use crate::wire::{ApiError, CallContext};
use crate::world::{ACCOUNT, World};
use crate::{SandboxError, files};

/// Most actions times resources of one simulation (the service's own limits are of the same order).
const PAIRS_MAX: usize = 10_000;

/// Longest policy document, with room above the service's own 10,240 characters for a role.
const DOCUMENT_MAX: usize = 128 * 1024;

/// The policies of AWS that are known here, with what they allow.
const ADMINISTRATOR: &str = "arn:aws:iam::aws:policy/AdministratorAccess";

/// The identity of calls that assumed no role: it owns the sandbox.
const OWNER: &str = "user/sandbox";

/// The service.
#[derive(Debug)]
pub(crate) struct Iam {
    path: PathBuf,
    roles: Mutex<BTreeMap<String, Role>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Role {
    /// Documents by their policies' names.
    policies: BTreeMap<String, Value>,
    /// ARNs of policies that are kept elsewhere.
    managed: Vec<String>,
}

impl Iam {
    /// Reads the roles that an earlier process recorded.
    pub(crate) fn open(world: &Arc<World>) -> Result<Self, SandboxError> {
        let path = world.root.join("iam/roles.json");
        let roles = files::read_json(&path)?.unwrap_or_default();
        Ok(Self { path, roles: Mutex::new(roles) })
    }

    /// Answers one call.
    pub(crate) fn call(&self, cx: &CallContext, form: &Form) -> Result<Xml, ApiError> {
        match cx.operation.as_str() {
            "PutRolePolicy" => {
                let text = form.required("PolicyDocument")?;
                let document = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
                self.put_policy(form.required("RoleName")?, form.required("PolicyName")?, document)?;
                Ok(Xml::default())
            }
            "SimulatePrincipalPolicy" => self.simulate(form),
            _ => Err(ApiError::new(
                400,
                "InvalidAction",
                format!("Could not find operation {} for version 2010-05-08 in the sandbox", cx.operation),
            )),
        }
    }

    /// Records a role of a template, with the properties that say what it may do.
    pub(crate) fn put_role(&self, name: &str, properties: &Map<String, Value>) -> Result<(), ApiError> {
        let mut policies = BTreeMap::new();
        for policy in properties.get("Policies").and_then(Value::as_array).into_iter().flatten() {
            let name = policy["PolicyName"].as_str().unwrap_or_default().to_owned();
            let document = policy["PolicyDocument"].clone();
            Document::read(&document).map_err(|reason| malformed(&format!("{name}: {reason}")))?;
            policies.insert(name, document);
        }
        let arns = properties.get("ManagedPolicyArns").and_then(Value::as_array).into_iter().flatten();
        let managed = arns.filter_map(Value::as_str).map(str::to_owned).collect();
        let mut roles = self.lock();
        roles.insert(name.to_owned(), Role { policies, managed });
        self.save(&roles)
    }

    /// Adds a policy to a role.
    pub(crate) fn put_policy(&self, role: &str, name: &str, document: Value) -> Result<(), ApiError> {
        if document.to_string().len() > DOCUMENT_MAX {
            return Err(ApiError::new(
                409,
                "LimitExceeded",
                format!("{name} is longer than {DOCUMENT_MAX} bytes"),
            ));
        }
        Document::read(&document).map_err(|reason| malformed(&reason))?;
        let mut roles = self.lock();
        let found = roles.get_mut(role).ok_or_else(|| no_role(role))?;
        found.policies.insert(name.to_owned(), document);
        self.save(&roles)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Role>> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, roles: &BTreeMap<String, Role>) -> Result<(), ApiError> {
        files::replace_json(&self.path, roles).map_err(ApiError::internal)
    }

    fn simulate(&self, form: &Form) -> Result<Xml, ApiError> {
        let documents = self.documents_of(form.required("PolicySourceArn")?)?;
        let texts = |name: &str| -> Vec<String> {
            form.list(name).iter().filter_map(|one| one.get("").map(str::to_owned)).collect()
        };
        let (actions, mut resources) = (texts("ActionNames"), texts("ResourceArns"));
        if resources.is_empty() {
            resources.push("*".to_owned());
        }
        if actions.is_empty() || actions.len() * resources.len() > PAIRS_MAX {
            let text = format!("from 1 to {PAIRS_MAX} pairs of actions and resources can be simulated");
            return Err(ApiError::new(400, "ValidationError", text));
        }
        if let Some(wrong) =
            actions.iter().find(|action| !action.contains(':') || action.contains(['*', '?']))
        {
            let text = format!("Invalid Action Name: {wrong}");
            return Err(ApiError::new(400, "InvalidInput", text));
        }
        let mut xml = Xml::default();
        xml.nest("EvaluationResults", |xml| {
            for action in &actions {
                let decide = |resource: &String| {
                    (resource.clone(), policy::decide(documents.as_deref(), action, resource))
                };
                let each: Vec<_> = resources.iter().map(decide).collect();
                xml.nest("member", |xml| write_result(xml, action, &each));
            }
        });
        xml.leaf("IsTruncated", "false");
        Ok(xml)
    }

    /// The policies of an identity; `None` of the sandbox's owner, who may do everything.
    fn documents_of(&self, arn: &str) -> Result<Option<Vec<Document>>, ApiError> {
        let prefix = format!("arn:aws:iam::{ACCOUNT}:");
        let Some(identity) = arn.strip_prefix(&prefix) else {
            return Err(ApiError::new(400, "InvalidInput", format!("Invalid Entity Arn: {arn}")));
        };
        if identity == OWNER {
            return Ok(None);
        }
        let name = identity.strip_prefix("role/").and_then(|path| path.rsplit('/').next());
        let Some(name) = name else {
            let text = format!("The user with name {identity} cannot be found.");
            return Err(ApiError::new(404, "NoSuchEntity", text));
        };
        let roles = self.lock();
        let role = roles.get(name).ok_or_else(|| no_role(name))?;
        if role.managed.iter().any(|policy| policy == ADMINISTRATOR) {
            return Ok(None);
        }
        if let Some(unknown) = role.managed.first() {
            let text = format!("the sandbox does not know what the policy {unknown} of role {name} allows");
            return Err(ApiError::new(500, "PolicyEvaluation", text));
        }
        let documents = role.policies.values().map(Document::read).collect::<Result<_, _>>();
        documents.map(Some).map_err(|reason| malformed(&reason))
    }
}

fn write_result(xml: &mut Xml, action: &str, each: &[(String, Decision)]) {
    let decisions = || each.iter().map(|(_, decision)| *decision);
    // Of an action as a whole: what the worst of its resources says.
    let whole = decisions().max().unwrap_or(Decision::Implicit);
    xml.leaf("EvalActionName", action);
    xml.leaf("EvalResourceName", each.first().map_or("*", |(resource, _)| resource));
    xml.leaf("EvalDecision", whole.word());
    xml.nest("MatchedStatements", |_| {});
    xml.nest("MissingContextValues", |_| {});
    xml.nest("ResourceSpecificResults", |xml| {
        for (resource, decision) in each {
            xml.nest("member", |xml| {
                xml.leaf("EvalResourceName", resource);
                xml.leaf("EvalResourceDecision", decision.word());
                xml.nest("MatchedStatements", |_| {});
                xml.nest("MissingContextValues", |_| {});
            });
        }
    });
}

fn no_role(name: &str) -> ApiError {
    ApiError::new(404, "NoSuchEntity", format!("The role with name {name} cannot be found."))
}

fn malformed(reason: &str) -> ApiError {
    ApiError::new(400, "MalformedPolicyDocument", reason)
}

/// The shape of a statement in JSON, for the tests of this module and its parts.
#[cfg(test)]
fn allow(actions: &Value, resources: &Value) -> Value {
    json!({ "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": resources }] })
}
