//! `graph`: a pipeline as a picture or as text; as JSON what the API says of it, without a version.

use serde_json::json;

use super::{context::Context, exit::Exit};
use crate::{
    graph::{GraphFormat, render},
    service::views::GraphTask,
};

/// What `graph` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct GraphArgs {
    /// The pipeline
    pipeline: String,
    /// How
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The forms of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For the terminal
    Text,
    /// A picture
    Svg,
    /// For Markdown
    Mermaid,
    /// For Graphviz
    Dot,
}

/// Draws a pipeline.
pub(crate) fn graph(cx: &Context, args: &GraphArgs) -> anyhow::Result<Exit> {
    let (_, loaded, _) = cx.pipelines()?;
    let pipeline = &cx.pipeline(&loaded, &args.pipeline)?.pipeline;
    if cx.output.json() {
        let (name, tasks) = (pipeline.name.as_str(), GraphTask::all(pipeline));
        cx.output.value(&json!({ "pipeline": name, "tasks": tasks }));
        return Ok(Exit::Done);
    }
    let format = match args.format {
        Format::Text => GraphFormat::Text,
        Format::Svg => GraphFormat::Svg,
        Format::Mermaid => GraphFormat::Mermaid,
        Format::Dot => GraphFormat::Dot,
    };
    cx.output.data(&render(pipeline, format)?);
    Ok(Exit::Done)
}
