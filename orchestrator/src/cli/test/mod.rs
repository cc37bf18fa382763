//! `test`: the cases of `tests.yaml` beside pipelines, one line each, and what differs.

mod mailbox;
mod stage;

use serde_json::json;

use super::{
    context::Context,
    exit::{Exit, Reported, refuse},
    output::{bold, dim, state},
    validate::counted,
};
use crate::{
    definition::{
        Diagnostics, Loaded, LoadedPipeline,
        cases::{CASES_FILE, Case, load_cases},
    },
    engine::rehearsal::rehearse,
    project::Project,
    service::cases::{Failed, Line, Mismatch, Seen, Verdict, compare},
};

/// What `test` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// Pipelines; without any, all that have tests
    pipelines: Vec<String>,
    /// Only cases with this in their name
    #[arg(short = 'k', long = "only", value_name = "NAME")]
    only: Option<String>,
    /// Only cases whose answers are scripted: nothing is started
    #[arg(long)]
    no_sandbox: bool,
}

/// A pipeline with its cases.
struct Suite<'a> {
    entry: &'a LoadedPipeline,
    cases: Vec<Case>,
}

/// Runs cases and says which came as expected.
pub(crate) async fn test(cx: &Context, args: &TestArgs) -> anyhow::Result<Exit> {
    let (project, loaded, registry) = cx.pipelines()?;
    let mut files = Diagnostics::default();
    let suites = suites(cx, args, &project, &loaded, &mut files)?;
    files.sort();
    if files.has_errors() {
        if cx.output.json() {
            cx.output.value(&json!({ "valid": false, "diagnostics": files.rows().collect::<Vec<_>>() }));
        }
        cx.report(&files)?;
    }
    let chosen = |case: &&Case| {
        args.only.as_ref().is_none_or(|only| case.name.value.contains(only.as_str()))
            && !(args.no_sandbox && case.sandbox)
    };
    let total: usize = suites.iter().map(|suite| suite.cases.iter().filter(chosen).count()).sum();
    if total == 0 {
        return refuse(none_chosen(args));
    }
    let mut verdicts = Vec::with_capacity(total);
    for suite in &suites {
        for case in suite.cases.iter().filter(chosen) {
            let pipeline = &suite.entry.pipeline;
            let mismatches = if case.sandbox {
                match Box::pin(stage::run_case(cx, &project, &loaded, suite.entry, case)).await {
                    Ok(seen) => compare(case, &seen),
                    Err(error) => vec![not_run(case, &error)],
                }
            } else {
                compare(case, &Seen::of_rehearsal(pipeline, rehearse(pipeline, case, &registry)))
            };
            let verdict = Verdict::of(pipeline, case, mismatches, &files);
            if !cx.output.json() {
                show(cx, &verdict);
            }
            verdicts.push(verdict);
        }
    }
    Ok(sum_up(cx, &verdicts))
}

/// The cases of the wanted pipelines. Mistakes in pipelines that nobody asked for do not matter.
fn suites<'a>(
    cx: &Context,
    args: &TestArgs,
    project: &Project,
    loaded: &'a Loaded,
    files: &mut Diagnostics,
) -> anyhow::Result<Vec<Suite<'a>>> {
    let wanted: Vec<&LoadedPipeline> = if args.pipelines.is_empty() {
        if cx.report(&loaded.diagnostics).is_err() {
            if cx.output.json() {
                cx.output.value(
                    &json!({ "valid": false, "diagnostics": loaded.diagnostics.rows().collect::<Vec<_>>() }),
                );
            }
            return Err(Reported.into());
        }
        loaded.pipelines.iter().collect()
    } else {
        args.pipelines.iter().map(|name| cx.pipeline(loaded, name)).collect::<anyhow::Result<_>>()?
    };
    let mut suites = Vec::with_capacity(wanted.len());
    for entry in wanted {
        let has_file = entry.folder.join(CASES_FILE).is_file();
        if !has_file && !args.pipelines.is_empty() {
            let name = &entry.pipeline.name;
            let folder = entry.folder.display();
            return refuse(format!("{name} has no tests: there is no {CASES_FILE} in {folder}"));
        }
        suites.push(Suite { entry, cases: load_cases(entry, &project.root, files) });
    }
    Ok(suites)
}

fn none_chosen(args: &TestArgs) -> String {
    match &args.only {
        Some(only) => format!("no case has `{only}` in its name"),
        None => format!("there are no tests: no pipeline has a {CASES_FILE} beside it with a case to run"),
    }
}

/// A case that could not be carried out at all.
fn not_run(case: &Case, error: &anyhow::Error) -> Mismatch {
    let lines = error.chain().skip(1).map(|cause| Line::Note(cause.to_string())).collect();
    Mismatch { span: case.name.span.clone(), what: format!("the case could not be run: {error}"), lines }
}

fn show(cx: &Context, verdict: &Verdict) {
    let word = if verdict.passed { state("succeeded") } else { state("failed") };
    let word = word.replace("succeeded", "ok    ").replace("failed", "FAILED");
    let mark = if verdict.sandbox { dim("  sandbox") } else { String::new() };
    cx.output.data(&format!("{word}  {}  {}{mark}", bold(&verdict.pipeline), verdict.case));
    for failed in &verdict.failures {
        cx.output.data(&failure_text(&verdict.file, failed));
    }
}

fn failure_text(file: &str, failed: &Failed) -> String {
    let mut text = format!("  {file}:{}:{}  {}", failed.line, failed.column, failed.what);
    for line in &failed.difference {
        let (label, shown) = match line {
            Line::Expected(text) => ("expected  ", text),
            Line::Seen(text) => ("seen      ", text),
            Line::Note(text) => ("          ", text),
        };
        text.push_str(&format!("\n      {label}{shown}"));
    }
    text
}

fn sum_up(cx: &Context, verdicts: &[Verdict]) -> Exit {
    let failed = verdicts.iter().filter(|verdict| !verdict.passed).count();
    let passed = verdicts.len() - failed;
    if cx.output.json() {
        cx.output.value(&json!({ "valid": true, "passed": passed, "failed": failed, "cases": verdicts }));
    } else {
        let text = if failed == 0 {
            format!("{} passed", counted(passed, "case"))
        } else {
            format!("{} passed, {failed} failed", counted(passed, "case"))
        };
        cx.output.note(&text);
    }
    if failed == 0 { Exit::Done } else { Exit::RunFailed }
}
