//! `graph`: a pipeline as a picture or as text.

use super::{context::Context, exit::Exit};
use crate::graph::{GraphFormat, render};

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
    let format = match args.format {
        Format::Text => GraphFormat::Text,
        Format::Svg => GraphFormat::Svg,
        Format::Mermaid => GraphFormat::Mermaid,
        Format::Dot => GraphFormat::Dot,
    };
    cx.output.data(&render(pipeline, format)?);
    Ok(Exit::Done)
}
