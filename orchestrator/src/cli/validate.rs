//! `validate` and `schema`: what stands in the files, tests of pipelines among them, without a store
//! or a run.

use std::path::PathBuf;

use serde_json::json;

use super::{context::Context, exit::Exit};
use crate::{
    definition::{Diagnostics, Operators, cases::load_cases},
    project::{Project, load_paths, load_pipelines},
};

/// What `validate` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ValidateArgs {
    /// Pipeline files or folders; without any, the whole project
    paths: Vec<PathBuf>,
}

/// Checks files and shows everything that is wrong.
pub(crate) fn validate(cx: &Context, args: &ValidateArgs) -> anyhow::Result<Exit> {
    let root = cx.root()?;
    let registry = cx.registry(&root)?;
    let (project, mut diagnostics) = Project::load(&root, &cx.config.environment, &crate::config::variable);
    let loaded = if args.paths.is_empty() {
        load_pipelines(&project, &registry)
    } else {
        load_paths(&project, &args.paths, &registry)
    };
    let names: Vec<String> = loaded.pipelines.iter().map(|entry| entry.pipeline.name.to_string()).collect();
    let mut tests = Diagnostics::default();
    for entry in &loaded.pipelines {
        load_cases(entry, &project.root, &mut tests);
    }
    tests.sort();
    diagnostics.absorb(loaded.diagnostics);
    diagnostics.absorb(tests);
    let invalid = diagnostics.has_errors();
    if cx.output.json() {
        cx.output.value(&json!({ "valid": !invalid, "pipelines": names, "diagnostics": diagnostics.rows().collect::<Vec<_>>() }));
    } else {
        if !diagnostics.items.is_empty() {
            cx.output.note(diagnostics.render(cx.output.color()).trim_end());
        }
        let (errors, warnings) = diagnostics.counts();
        if invalid {
            cx.output.note(&format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")));
        } else {
            let listed = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
            cx.output.data(&format!("{} valid{listed}", counted(names.len(), "pipeline")));
        }
    }
    Ok(if invalid { Exit::Invalid } else { Exit::Done })
}

/// What `schema` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// Of tests.yaml instead
    #[arg(long)]
    tests: bool,
}

/// Prints the JSON Schema of pipeline files, or of their tests.
pub(crate) fn schema(cx: &Context, args: &SchemaArgs) -> anyhow::Result<Exit> {
    if args.tests {
        cx.output.data(&crate::definition::cases::schema::cases_schema_text());
        return Ok(Exit::Done);
    }
    let registry = cx.registry(&cx.root()?)?;
    cx.output.data(&crate::definition::schema::pipeline_schema_text(&Operators::new(&registry)));
    Ok(Exit::Done)
}

/// `1 error`, `2 errors`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
