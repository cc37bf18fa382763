//! `trunkline graph`: a pipeline's tasks and their order as text, Mermaid, DOT or SVG; and as a part of a page.
//!
//! Pure text from a validated [`Pipeline`]. What a page says of a task is given to it: states of runs are
//! never read here.

mod layers;
mod notation;
pub(crate) mod svg;
mod text;

use std::{fmt, str::FromStr};

use trunkline_state::pipeline::{Pipeline, Task, TriggerRule};

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphFormat {
    /// For a terminal.
    Text,
    /// A picture; follows the reader's light or dark mode.
    Svg,
    /// For Markdown pages.
    Mermaid,
    /// For Graphviz.
    Dot,
}

/// What a page says of a task, and where its box leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The state's word, for the page's styles; empty where there is none.
    pub state: String,
    /// Its sign.
    pub sign: &'static str,
    /// The line below the name, behind the sign; empty for the type of the task.
    pub note: String,
    /// The address of the task's page.
    pub link: String,
}

/// Why no graph is drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Too large for a picture that anybody could read.
    #[error(
        "a graph of {tasks} tasks with {bends} bends of its edges is too large for a picture \
         (at most {} and {}); use `--format text` or `--format dot`",
        layers::TASKS_MAX,
        layers::BENDS_MAX
    )]
    TooLarge {
        /// The pipeline's tasks.
        tasks: usize,
        /// Points at which edges pass a column of tasks.
        bends: usize,
    },
    /// An unknown format.
    #[error("`{0}` is not a format; use text, svg, mermaid or dot")]
    Format(String),
}

/// Draws a pipeline's graph.
pub fn render(pipeline: &Pipeline, format: GraphFormat) -> Result<String, GraphError> {
    match format {
        GraphFormat::Text => Ok(text::render(pipeline)),
        GraphFormat::Svg => svg::render(pipeline),
        GraphFormat::Mermaid => Ok(notation::mermaid(pipeline)),
        GraphFormat::Dot => Ok(notation::dot(pipeline)),
    }
}

/// Draws a pipeline's graph as a part of a page.
pub fn part(pipeline: &Pipeline, mark: impl Fn(usize) -> Mark) -> Result<String, GraphError> {
    svg::part(pipeline, mark)
}

impl GraphFormat {
    /// Every format, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Text, Self::Svg, Self::Mermaid, Self::Dot];

    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Svg => "svg",
            Self::Mermaid => "mermaid",
            Self::Dot => "dot",
        }
    }
}

impl fmt::Display for GraphFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for GraphFormat {
    type Err = GraphError;

    fn from_str(text: &str) -> Result<Self, GraphError> {
        let known = Self::ALL.into_iter().find(|format| format.word() == text);
        known.ok_or_else(|| GraphError::Format(text.chars().take(20).collect()))
    }
}

/// The trigger rule as its YAML word, where it is not the default.
fn rule_word(task: &Task) -> Option<String> {
    if task.trigger_rule == TriggerRule::AllSuccess {
        return None;
    }
    let word = serde_json::to_value(task.trigger_rule).ok()?;
    word.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipeline of tasks `(name, type, upstreams)`.
    pub(super) fn pipeline(tasks: &[(&str, &str, &[usize])]) -> Pipeline {
        let tasks: Vec<_> = tasks
            .iter()
            .map(|(name, operator, depends_on)| {
                serde_json::json!({
                    "name": name, "type": operator, "settings": {}, "depends_on": depends_on,
                    "trigger_rule": if *name == "notify" { "all_done" } else { "all_success" },
                    "connection": "aws", "timeout": {"secs": 60, "nanos": 0}, "poll_interval": {"secs": 5, "nanos": 0},
                    "retry": {"retries": 0, "delay": {"secs": 1, "nanos": 0}, "backoff": 1.0,
                              "delay_max": {"secs": 1, "nanos": 0}},
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "name": "sample", "environment": "local", "timezone": "UTC", "data_interval": "day",
            "catchup": "last", "max_active_runs": 1, "tasks": tasks,
        }))
        .unwrap()
    }

    pub(super) fn line() -> Pipeline {
        pipeline(&[
            ("crawl_raw", "glue_crawler", &[]),
            ("convert", "glue_job", &[0]),
            ("crawl_processed", "glue_crawler", &[1]),
        ])
    }

    /// Two sources, a fan, a long edge and a join.
    pub(super) fn web() -> Pipeline {
        pipeline(&[
            ("extract", "glue_job", &[]),
            ("load_customers", "athena_query", &[0]),
            ("load_orders", "athena_query", &[0]),
            ("rates", "command", &[]),
            ("load_items", "athena_query", &[0]),
            ("join_all", "athena_query", &[1, 2, 4, 3]),
            ("export", "command", &[5]),
            ("notify", "sns_publish", &[0, 6]),
        ])
    }

    #[test]
    fn formats_have_words() {
        for format in GraphFormat::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        let refused = "png".parse::<GraphFormat>().unwrap_err();
        assert_eq!(refused.to_string(), "`png` is not a format; use text, svg, mermaid or dot");
    }

    #[test]
    fn a_line_and_a_web_in_every_format() {
        for (name, pipeline) in [("line", line()), ("web", web())] {
            for format in GraphFormat::ALL {
                insta::assert_snapshot!(format!("{name}_{format}"), render(&pipeline, format).unwrap());
            }
        }
    }

    #[test]
    fn large_graphs_are_text_and_refused_as_pictures() {
        let names: Vec<String> = (0..5_000).map(|n| format!("task_{n}")).collect();
        let upstreams: Vec<Vec<usize>> =
            (0..5_000).map(|n: usize| (n.saturating_sub(9)..n).collect()).collect();
        let tasks: Vec<(&str, &str, &[usize])> =
            names.iter().zip(&upstreams).map(|(name, up)| (name.as_str(), "noop", up.as_slice())).collect();
        let pipeline = pipeline(&tasks);
        assert!(matches!(
            render(&pipeline, GraphFormat::Svg),
            Err(GraphError::TooLarge { tasks: 5_000, .. })
        ));
        assert_eq!(render(&pipeline, GraphFormat::Text).unwrap().lines().count(), 5_002);
    }

    #[test]
    fn an_empty_pipeline_is_no_problem() {
        for format in GraphFormat::ALL {
            assert!(!render(&pipeline(&[]), format).unwrap().is_empty());
        }
    }
}
