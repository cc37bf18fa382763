//! The form for a run: a date and the params, with what the run would cover and ask for before it starts.

use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;
use trunkline_state::pipeline::{Param, ParamType, Pipeline};

use super::{
    super::problem::{Kind, Problem},
    Visit, assets,
    shell::{self, Nav},
};
use crate::service::find;

#[derive(Clone, Deserialize)]
pub(super) struct NamePath {
    pipeline: String,
}

#[derive(Deserialize)]
pub(super) struct NoQuery {}

/// The form.
pub(super) async fn show(visit: Visit<NamePath, NoQuery>) -> Result<Response, Problem> {
    let row = find::pipeline(&visit.store, &visit.path.pipeline).await?;
    if !visit.operates_in(&row.folder) {
        return Err(Problem::new(Kind::Forbidden, "you may look at this pipeline, and start no runs of it"));
    }
    let definition = visit.store.definition(&row.name, row.version).await?;
    let pipeline = &definition.pipeline;
    let here = format!("/pipelines/{}", row.name);
    let body = html! {
        p.trail { a href=(here) { (row.name) } }
        h1 { "Run " (row.name) }
        form.start #start data-pipeline=(format!("/api/v1{here}")) {
            (date(pipeline))
            @for (name, param) in &pipeline.params { (field(name, param)) }
            div.preview #preview aria-live="polite" {}
            div.actions {
                button.primary type="submit" { "Start" }
                a.button href=(here) { "Back" }
            }
        }
        details #requests hidden { summary { "The exact requests" } div {} }
        script type="module" src=(assets::address("start.js")) {}
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), &format!("Run {}", row.name), Nav::Pipelines, None, &body))
}

fn date(pipeline: &Pipeline) -> Markup {
    html! {
        div.field {
            label for="date" { "Date" }
            input #date name="date" placeholder="2026-11-19; empty for the last complete interval" autocomplete="off" spellcheck="false" aria-describedby="date-about";
            p.muted #date-about { "The run covers the " (pipeline.data_interval) " that holds this date, in " (pipeline.timezone) "." }
        }
    }
}

/// A field for a parameter.
pub(super) fn field(name: &str, param: &Param) -> Markup {
    let id = format!("param-{name}");
    let kind = match param.kind {
        ParamType::String => "string",
        ParamType::Integer => "integer",
        ParamType::Number => "number",
        ParamType::Boolean => "boolean",
        ParamType::Date => "date",
        ParamType::Array => "array",
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let default = param.default.as_ref().map(text).unwrap_or_default();
    let choices: Vec<String> = match param.kind {
        ParamType::Boolean if param.choices.is_empty() => vec!["true".to_owned(), "false".to_owned()],
        _ => param.choices.iter().map(text).collect(),
    };
    html! {
        div.field {
            label for=(id) { (name) @if param.default.is_none() { span.none { " required" } } }
            @if !choices.is_empty() {
                select id=(id) data-param=(name) data-kind=(kind) data-default=(default) {
                    @if param.default.is_none() { option value="" { "" } }
                    @for choice in choices { option value=(choice) selected[choice == default] { (choice) } }
                }
            } @else if param.kind == ParamType::Array {
                textarea id=(id) data-param=(name) data-kind=(kind) data-default=(default) rows="4" spellcheck="false" { (default) }
            } @else {
                input id=(id) data-param=(name) data-kind=(kind) data-default=(default) value=(default) autocomplete="off" spellcheck="false";
            }
            @if !param.description.is_empty() { p.muted { (param.description) } }
        }
    }
}
