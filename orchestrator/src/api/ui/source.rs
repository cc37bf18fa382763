//! The YAML of a pipeline's versions. Beside its lines stands what deserves a look there and, for who comes from a
//! task run, why that failed.

use axum::response::Response;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    super::{
        pipelines::{self, PageQuery, PipelinePath, VersionPath},
        problem::Problem,
        routes::Nothing,
        runs::{self, TaskPath},
    },
    Visit,
    pipeline::{NamePath, Tab, detail, page},
    words,
};
use crate::{
    definition::Severity,
    service::views::{DiagnosticView, TaskSourceView},
};

#[derive(Deserialize)]
pub(super) struct SourceQuery {
    version: Option<i32>,
    /// The task run whose lines are marked.
    run: Option<String>,
    task: Option<String>,
}

/// Where the source of a task run is shown, at the line that it is about.
pub(super) fn address(of: &TaskSourceView) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("version", &of.version.to_string());
    query.append_pair("run", &of.run).append_pair("task", &of.task);
    let line = of.line().map(|line| format!("#L{line}")).unwrap_or_default();
    format!("/pipelines/{}/source?{}{line}", of.pipeline, query.finish())
}

/// The page.
pub(super) async fn show(visit: Visit<NamePath, SourceQuery>) -> Result<Response, Problem> {
    let of = detail(&visit).await?;
    let name = of.pipeline.pipeline.clone();
    let SourceQuery { version, run, task } = &visit.query;
    let marked = match run.clone().zip(task.clone()) {
        Some((run, task)) => Some(runs::task_source(visit.ask(TaskPath { run, task }, Nothing {})).await?),
        None => None,
    };
    let version = version.or(marked.as_ref().map(|marked| marked.version)).unwrap_or(of.pipeline.version);
    // Its lines are those of this very text.
    let marked = marked.filter(|marked| marked.pipeline == name && marked.version == version);
    let query = PageQuery { cursor: None, limit: None };
    let versions = pipelines::versions(visit.ask(PipelinePath { pipeline: name.clone() }, query)).await?;
    let path = VersionPath { pipeline: name.clone(), version };
    let shown = pipelines::version(visit.ask(path, Nothing {})).await?;
    let said: Vec<&DiagnosticView> =
        marked.iter().flat_map(|marked| &marked.said).chain(&shown.warnings).collect();
    let content = html! {
        nav.choices aria-label="Version" {
            @for one in &versions.items {
                a href=(format!("/pipelines/{name}/source?version={}", one.version))
                    aria-current=[(one.version == version).then_some("true")] title=(one.created_by) { "v" (one.version) }
            }
        }
        p.muted { "Version " (version) ", deployed " (words::moment(shown.created_at, &TimeZone::UTC)) " by " (shown.created_by) }
        @if let Some(marked) = &marked { (about(marked)) }
        // What has no line, and lines that the text does not have.
        @for one in said.iter().filter(|one| one.line.is_none()) { p { (note(one)) } }
        pre.source tabindex="0" {
            @for (index, line) in shown.source.lines().enumerate() {
                (line_of(index + 1, line, marked.as_ref(), &said))
            }
        }
    };
    Ok(page(&visit, &of, Tab::Source, &content))
}

/// Which lines are marked, and whence somebody came.
fn about(marked: &TaskSourceView) -> Markup {
    let task =
        html! { a href=(words::task_page(&marked.run, &marked.task)) { (marked.task) " of " (marked.run) } };
    html! {
        p.marked-lines {
            @match (marked.first_line, marked.last_line) {
                (Some(first), Some(last)) => {
                    (task) " stands in "
                    a href=(format!("#L{first}")) { @if first == last { "line " (first) } @else { "lines " (first) " to " (last) } }
                    @if let Some(field) = &marked.field { "; it failed over " code { (field) } }
                    "."
                },
                _ => { (task) " does not stand in this version." },
            }
        }
    }
}

fn line_of(number: usize, line: &str, marked: Option<&TaskSourceView>, said: &[&DiagnosticView]) -> Markup {
    let here = || said.iter().filter(move |one| one.line == Some(number));
    let worst = if here().any(|one| one.severity == Severity::Error) { "error" } else { "warning" };
    html! {
        code id=(format!("L{number}")) data-task[marked.is_some_and(|marked| marked.holds(number))]
            data-said=[here().next().is_some().then_some(worst)] { (line) "\n" }
        @for one in here() { (note(one)) }
    }
}

/// What is said of a line: a sign, a word, and the words themselves.
fn note(of: &DiagnosticView) -> Markup {
    let (sign, word) = match of.severity {
        Severity::Error => ("✕", "error"),
        Severity::Warning => ("!", "warning"),
    };
    html! {
        span.note data-said=(word) {
            b { i aria-hidden="true" { (sign) } " " (word) } " " (of.message)
            @if let Some(help) = &of.help { span.none { " · " (words::sentence(help)) } }
        }
    }
}
