//! What a request needs before it can work: things that must exist, and permissions.
//!
//! Here live the values in which operators say so ([`Finding`], [`Statement`]), the addresses that IAM knows
//! things by ([`Place`]), and the question whether the connection's own role may do what the statements say.
//! What a request names is each operator's own business.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
    aws::error::Trouble,
    clients::Clients,
    operator::{ErrorClass, Failure},
};

/// Pages of one simulation; a statement has a few actions on a few resources.
const PAGES_MAX: usize = 20;

/// What stands in for a `*` within a resource, because IAM simulates on things and not on patterns.
const ANY_NAME: &str = "trunkline-check";

/// Where a connection leads, as ARNs name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: &'static str,
    /// The region.
    pub region: String,
    /// The account number.
    pub account: String,
}

/// Actions that must be allowed on resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// `service:Action`, sorted.
    pub actions: Vec<Cow<'static, str>>,
    /// ARNs, which may hold `*`; `*` alone where the actions know no resources.
    pub resources: Vec<String>,
}

/// What a request needs to be allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// What can be said exactly.
    pub statements: Vec<Statement>,
    /// What is needed beside it and cannot be told from the request, for people.
    pub notes: Vec<String>,
}

/// What a look at one thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// What was looked at and what came of it, for people.
    pub text: String,
}

/// The verdict of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it must be.
    Fine,
    /// A run would fail.
    Wrong,
    /// Nobody can tell from here.
    NotChecked,
}

impl Place {
    /// The place of a region and an account.
    pub fn new(region: impl Into<String>, account: impl Into<String>) -> Self {
        let region = region.into();
        let partition = if region.starts_with("cn-") {
            "aws-cn"
        } else if region.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        };
        Self { partition, region, account: account.into() }
    }

    /// The place that a connection leads to, asked of STS.
    pub async fn of(clients: &Clients, connection: &str) -> Result<Self, Failure> {
        Ok(Self::new(clients.region_of(connection).await?, clients.account(connection).await?))
    }

    /// The ARN of a thing in this region and account.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{}:{}:{resource}", self.partition, self.region, self.account)
    }

    /// The ARN of a bucket, or of objects in one.
    pub fn s3(&self, path: &str) -> String {
        format!("arn:{}:s3:::{path}", self.partition)
    }

    /// What is wrong with an ARN that a task names, if it lies in another region than its connection.
    pub(crate) fn region_of_arn(&self, arn: &str) -> Option<Finding> {
        let region = arn.split(':').nth(3).filter(|region| arn.starts_with("arn:") && !region.is_empty())?;
        (region != self.region).then(|| {
            Finding::wrong(format!("{arn} lies in {region}, and the connection leads to {}", self.region))
        })
    }
}

impl Statement {
    /// Actions of one service on resources.
    pub fn new(
        service: &str,
        actions: &[&str],
        resources: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let mut actions: Vec<_> =
            actions.iter().map(|action| Cow::Owned(format!("{service}:{action}"))).collect();
        actions.sort_unstable();
        Self { actions, resources: resources.into_iter().map(Into::into).collect() }
    }
}

impl Needs {
    /// These statements, and nothing beside them.
    pub fn of(statements: Vec<Statement>) -> Self {
        Self { statements, notes: Vec::new() }
    }
}

impl Finding {
    pub(crate) fn fine(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fine, text: text.into() }
    }

    /// Something that a run would fail at.
    pub fn wrong(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Wrong, text: text.into() }
    }

    /// Something that nobody looked at, and why.
    pub fn not_checked(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotChecked, text: text.into() }
    }

    /// What describing a thing says about it: there, not there, or no answer. `described` is the call in IAM's
    /// words.
    pub(crate) fn of<T>(what: &str, described: &str, answer: &Result<T, Trouble>) -> Self {
        match answer {
            Ok(_) => Self::fine(format!("{what} exists")),
            Err(trouble) if is_missing(trouble) => {
                Self::wrong(format!("there is no {what}: {}", trouble.message))
            }
            Err(trouble) if is_denied(trouble) => Self::not_checked(format!(
                "{what} cannot be looked at (allow {described} to check it): {}",
                trouble.message
            )),
            Err(trouble) => Self::not_checked(format!("{what} cannot be looked at: {}", trouble.message)),
        }
    }

    /// The connection itself cannot be used.
    pub(crate) fn unreachable(what: &str, failure: &Failure) -> Self {
        Self::not_checked(format!("{what} cannot be looked at: {}", failure.message))
    }
}

fn is_missing(trouble: &Trouble) -> bool {
    trouble.is_not_there()
        || matches!(
            trouble.code(),
            "NoSuchBucket"
                | "QueueDoesNotExist"
                | "AWS.SimpleQueueService.NonExistentQueue"
                | "StateMachineDoesNotExist"
                | "EntityNotFoundException"
        )
}

fn is_denied(trouble: &Trouble) -> bool {
    trouble.code().starts_with("AccessDenied")
        || matches!(trouble.code(), "Forbidden" | "AuthorizationError" | "UnauthorizedOperation")
}

/// Whether the role of a connection may do what statements say. Answers only what it may not, and what could not
/// be found out.
pub async fn simulate(clients: &Clients, connection: &str, statements: &[Statement]) -> Vec<Finding> {
    let principal = match principal(clients, connection).await {
        Ok(principal) => principal,
        Err(failure) => return vec![Finding::not_checked(format!("permissions: {}", failure.message))],
    };
    let mut findings = Vec::new();
    let mut allowed = 0;
    for statement in statements {
        match denied(clients, connection, &principal, statement).await {
            Ok(denied) if denied.is_empty() => allowed += statement.actions.len(),
            Ok(denied) => findings.extend(denied),
            Err(failure) => {
                findings.push(Finding::not_checked(format!(
                    "whether {principal} may do this cannot be asked (allow iam:SimulatePrincipalPolicy to check \
                     permissions): {}",
                    failure.message
                )));
                return findings;
            }
        }
    }
    if findings.is_empty() && allowed > 0 {
        findings.push(Finding::fine(format!("{principal} may do all {allowed} actions that it needs")));
    }
    findings
}

/// The ARN of the identity behind a connection, of a role's session the role's.
async fn principal(clients: &Clients, connection: &str) -> Result<String, Failure> {
    let arn = clients.identity(connection).await?;
    if arn.ends_with(":root") {
        let text = "the connection uses the account's root, which no policy limits; use a role";
        return Err(Failure::new(ErrorClass::Config, text));
    }
    // `arn:aws:sts::1:assumed-role/NAME/SESSION`. A role's path is not in it; roles for services rarely have one.
    let Some((head, rest)) = arn.split_once(":assumed-role/") else { return Ok(arn) };
    let name = rest.split('/').next().unwrap_or(rest);
    Ok(format!("{}:role/{name}", head.replacen(":sts:", ":iam:", 1)))
}

async fn denied(
    clients: &Clients,
    connection: &str,
    principal: &str,
    statement: &Statement,
) -> Result<Vec<Finding>, Failure> {
    let asked = |resource: &String| match resource.as_str() {
        "*" => "*".to_owned(),
        other => other.replace('*', ANY_NAME),
    };
    let resources: Vec<String> = statement.resources.iter().map(asked).collect();
    let mut findings = Vec::new();
    let mut marker = None;
    for _ in 0..PAGES_MAX {
        let parameters = simulation_of(principal, statement, &resources, marker.take());
        let answer: Simulation =
            clients.iam_call(connection, &parameters).await.map_err(Trouble::into_failure)?;
        let page = answer.simulate_principal_policy_result;
        for result in page.evaluation_results.member {
            let action = &result.eval_action_name;
            let mut say = |decision: &str, resource: &str| match decision {
                "allowed" => {}
                "explicitDeny" => findings.push(Finding::wrong(format!(
                    "{principal} is denied {action} on {resource} by a policy that says Deny"
                ))),
                _ => findings
                    .push(Finding::wrong(format!("{principal} is not allowed {action} on {resource}"))),
            };
            let specific = &result.resource_specific_results.member;
            if specific.is_empty() {
                say(&result.eval_decision, result.eval_resource_name.as_deref().unwrap_or("*"));
            }
            for one in specific {
                say(&one.eval_resource_decision, &one.eval_resource_name);
            }
        }
        marker = page.marker.filter(|_| page.is_truncated);
        if marker.is_none() {
            return Ok(findings);
        }
    }
    Err(Failure::new(ErrorClass::System, "the simulation has more pages than are read"))
}

/// The form of one question to IAM.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>
fn simulation_of(
    principal: &str,
    statement: &Statement,
    resources: &[String],
    marker: Option<String>,
) -> Vec<(String, String)> {
    let mut parameters: Vec<(String, String)> =
        [("Action", "SimulatePrincipalPolicy"), ("Version", "2010-05-08"), ("PolicySourceArn", principal)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let numbered = |list: &str, at: usize| format!("{list}.member.{}", at + 1);
    let actions = statement.actions.iter().enumerate();
    parameters.extend(actions.map(|(at, action)| (numbered("ActionNames", at), action.to_string())));
    let resources = resources.iter().enumerate();
    parameters.extend(resources.map(|(at, resource)| (numbered("ResourceArns", at), resource.clone())));
    parameters.extend(marker.map(|marker| ("Marker".to_owned(), marker)));
    parameters
}

/// What IAM answers, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Simulation {
    simulate_principal_policy_result: Page,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    evaluation_results: Members<Evaluation>,
    #[serde(default)]
    is_truncated: bool,
    marker: Option<String>,
}

#[derive(Deserialize)]
struct Members<T> {
    #[serde(default = "Vec::new")]
    member: Vec<T>,
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self { member: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Evaluation {
    eval_action_name: String,
    eval_resource_name: Option<String>,
    eval_decision: String,
    #[serde(default)]
    resource_specific_results: Members<OneResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneResource {
    eval_resource_name: String,
    eval_resource_decision: String,
}

/// Whether a bucket is there.
pub(crate) async fn bucket(clients: &Clients, connection: &str, name: &str) -> Finding {
    let what = format!("bucket {name}");
    let s3 = match clients.s3(connection).await {
        Ok(s3) => s3,
        Err(failure) => return Finding::unreachable(&what, &failure),
    };
    let answer = s3.head_bucket().bucket(name).send().await.map_err(Trouble::from);
    Finding::of(&what, "s3:ListBucket", &answer)
}

/// Whether a topic is there.
pub async fn topic(clients: &Clients, connection: &str, place: &Place, arn: &str) -> Vec<Finding> {
    let what = format!("topic {arn}");
    if let Err(failure) = crate::notice::check_topic(arn) {
        return vec![Finding::wrong(failure.message)];
    }
    if let Some(finding) = place.region_of_arn(arn) {
        return vec![finding];
    }
    let sns = match clients.sns(connection).await {
        Ok(sns) => sns,
        Err(failure) => return vec![Finding::unreachable(&what, &failure)],
    };
    let answer = sns.get_topic_attributes().topic_arn(arn).send().await.map_err(Trouble::from);
    vec![Finding::of(&what, "sns:GetTopicAttributes", &answer)]
}

/// What publishing to a topic needs.
pub fn topic_permissions(arn: &str) -> Statement {
    Statement::new("sns", &["Publish"], [arn])
}

/// What a link to an object needs of whoever signs it; nothing where it is no object.
pub fn object_permissions(place: &Place, address: &str) -> Option<Statement> {
    let path = address.strip_prefix("s3://")?;
    Some(Statement::new("s3", &["GetObject"], [place.s3(path)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_is_read_as_iam_writes_it() {
        let answer = r#"<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">
          <SimulatePrincipalPolicyResult>
            <IsTruncated>true</IsTruncated>
            <EvaluationResults>
              <member>
                <MatchedStatements><member><SourcePolicyId>p</SourcePolicyId></member></MatchedStatements>
                <MissingContextValues/>
                <EvalResourceName>*</EvalResourceName>
                <EvalDecision>allowed</EvalDecision>
                <EvalActionName>glue:GetJob</EvalActionName>
              </member>
              <member>
                <EvalActionName>glue:StartJobRun</EvalActionName>
                <EvalDecision>implicitDeny</EvalDecision>
                <ResourceSpecificResults>
                  <member>
                    <EvalResourceName>arn:a</EvalResourceName>
                    <EvalResourceDecision>explicitDeny</EvalResourceDecision>
                  </member>
                </ResourceSpecificResults>
              </member>
            </EvaluationResults>
            <Marker>next</Marker>
          </SimulatePrincipalPolicyResult>
          <ResponseMetadata><RequestId>1cdb5b0a</RequestId></ResponseMetadata>
        </SimulatePrincipalPolicyResponse>"#;
        let page = quick_xml::de::from_str::<Simulation>(answer).unwrap().simulate_principal_policy_result;
        let [allowed, denied] = page.evaluation_results.member.as_slice() else { panic!() };
        assert_eq!(
            (allowed.eval_decision.as_str(), allowed.resource_specific_results.member.len()),
            ("allowed", 0)
        );
        assert_eq!(denied.resource_specific_results.member[0].eval_resource_decision, "explicitDeny");
        assert_eq!((page.is_truncated, page.marker.as_deref()), (true, Some("next")));
        let empty = "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult/></SimulatePrincipalPolicyResponse>";
        assert!(quick_xml::de::from_str::<Simulation>(empty).is_ok());
    }

    #[test]
    fn places_name_things_as_iam_does() {
        let place = Place::new("eu-central-1", "123456789012");
        assert_eq!(place.arn("glue", "job/etl"), "arn:aws:glue:eu-central-1:123456789012:job/etl");
        assert_eq!(Place::new("cn-north-1", "1").s3("b/*"), "arn:aws-cn:s3:::b/*");
        let foreign = place.region_of_arn("arn:aws:sns:us-east-1:1:t").unwrap();
        assert_eq!(foreign.verdict, Verdict::Wrong);
        assert!(foreign.text.contains("lies in us-east-1"), "{}", foreign.text);
        for fine in ["arn:aws:sns:eu-central-1:1:t", "arn:aws:s3:::b", "t"] {
            assert_eq!(place.region_of_arn(fine), None, "{fine}");
        }
    }
}
