//! The tasks of a pipeline and their order, as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::pipeline::{Pipeline, Task};

use crate::definition::common::trigger_word;

/// A task in a graph.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GraphTask {
    /// Its name.
    pub task: String,
    /// Its type.
    #[serde(rename = "type")]
    pub operator: String,
    /// The tasks that it follows.
    pub depends_on: Vec<String>,
    /// When it starts, given those.
    pub trigger_rule: String,
}

impl GraphTask {
    /// The tasks of a pipeline, upstream before downstream.
    pub fn all(pipeline: &Pipeline) -> Vec<Self> {
        let tasks = &pipeline.tasks;
        let one = |task: &Task| Self {
            task: task.name.to_string(),
            operator: task.operator.clone(),
            depends_on: task.depends_on.iter().map(|&upstream| tasks[upstream].name.to_string()).collect(),
            trigger_rule: trigger_word(task.trigger_rule).to_owned(),
        };
        tasks.iter().map(one).collect()
    }
}
