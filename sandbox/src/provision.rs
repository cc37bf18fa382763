//! Provisioning: makes what a pipeline's `CloudFormation` template describes.
//!
//! One template serves both worlds, so nothing is understood differently here: resource types, properties and
//! functions that this module does not know are refused by name and line, all of them at once, before anything
//! is made. Provisioning again changes what changed and leaves the rest alone; nothing is ever deleted.
//!
//! Two additions below a resource's `Metadata.Trunkline`, which `CloudFormation` ignores: `Sandbox.Script` on a Glue
//! job names the file that the sandbox runs in place of the job's `PySpark` script, and `Upload` on a bucket or
//! job lists files that are put into S3.

mod apply;
mod functions;
mod resources;
mod shape;
mod template;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use self::apply::Applied;
use self::functions::Evaluator;
use self::template::Template;
use crate::server::dispatch::Services;
use crate::wire::{ApiError, CallContext};

/// The caller under which provisioning calls the services.
pub(crate) const CALLER: &str = "provision";

/// The longest template: `CloudFormation`'s own limit for templates in S3.
const TEMPLATE_MAX: usize = 1024 * 1024;

/// What to provision.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// The template's text.
    template: String,
    /// Values of parameters; the rest take their defaults.
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
    /// The pipeline's folder, for scripts and uploads.
    #[serde(default)]
    folder: Option<PathBuf>,
    /// The stack's name; the folder's name if absent.
    #[serde(default)]
    stack: Option<String>,
    /// The account to make everything in; the sandbox's first one if absent.
    #[serde(default)]
    account: Option<String>,
}

impl Wish {
    /// The account to make everything in.
    pub(crate) fn account(&self) -> &str {
        self.account.as_deref().unwrap_or(crate::world::ACCOUNT)
    }
}

/// One thing that is wrong with a template.
#[derive(Debug, Clone, PartialEq)]
struct Problem {
    line: usize,
    message: String,
}

impl Problem {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// Makes or updates everything in a template; the answer lists each resource with what was done to it.
pub(crate) async fn provision(services: &Services, cx: &CallContext, wish: Wish) -> Result<Value, ApiError> {
    // Two templates at once could take each other's half-made resources for their own.
    let _alone = services.provisioning.lock().await;
    if wish.template.len() > TEMPLATE_MAX {
        return Err(refusal(&[Problem::new(1, format!("the template is longer than {TEMPLATE_MAX} bytes"))]));
    }
    let stack = stack_name(wish.stack.as_deref(), wish.folder.as_deref());
    let template = Template::parse(&wish.template).map_err(|problems| refusal(&problems))?;
    let parameters = template.parameters(&wish.parameters).map_err(|problems| refusal(&problems))?;
    let evaluator = Evaluator::new(&template, parameters, &stack, cx);
    let planned = resources::plan(&template, &evaluator, wish.folder.as_deref());
    let planned = planned.map_err(|problems| refusal(&problems))?;
    let outputs = evaluator.outputs().map_err(|problems| refusal(&problems))?;
    let record = services.world().root.join("provision").join(format!("{stack}.json"));
    let mut applied = Applied::open(record)?;
    let mut report = Vec::new();
    for resource in &planned {
        let change = applied.apply(services, cx, resource).await?;
        report.push(json!({
            "logical_id": resource.logical_id,
            "type": resource.kind,
            "name": resource.name,
            "change": change,
        }));
    }
    for resource in &planned {
        Applied::connect(services, cx, resource)?;
    }
    Ok(json!({ "stack": stack, "resources": report, "outputs": outputs }))
}

fn refusal(problems: &[Problem]) -> ApiError {
    let mut problems = problems.to_vec();
    problems.sort_by_key(|problem| problem.line);
    let lines = problems.iter().map(|problem| format!("line {}: {}", problem.line, problem.message));
    ApiError::new(400, "TemplateError", lines.collect::<Vec<_>>().join("\n"))
}

/// A stack's name from what the caller says, or from the folder's; of letters, digits and hyphens.
fn stack_name(stack: Option<&str>, folder: Option<&Path>) -> String {
    let folder = folder.and_then(Path::file_name).and_then(|name| name.to_str());
    let name = stack.or(folder).unwrap_or("stack");
    let clean: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
    clean.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_named_after_their_folder() {
        assert_eq!(stack_name(None, Some(Path::new("p/daily_cdr_etl"))), "daily-cdr-etl");
        assert_eq!(stack_name(Some("mine"), Some(Path::new("p/x"))), "mine");
        assert_eq!(stack_name(Some("../x"), None), "x");
    }

    #[test]
    fn problems_are_told_in_order_of_lines() {
        let error = refusal(&[Problem::new(9, "b"), Problem::new(2, "a")]);
        assert_eq!(error.message, "line 2: a\nline 9: b");
    }
}
