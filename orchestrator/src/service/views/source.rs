//! Where a task of a run stands in its version's YAML, as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DiagnosticView;

/// Where a task stands in the YAML of the version that its run uses, and what was said of it in this run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TaskSourceView {
    /// `pipeline@key`.
    pub run: String,
    /// The task, or one of its elements.
    pub task: String,
    /// The pipeline.
    pub pipeline: String,
    /// The version that the run uses.
    pub version: i32,
    /// The task's first line, from 1; none where the YAML has no such task.
    pub first_line: Option<usize>,
    /// Its last line.
    pub last_line: Option<usize>,
    /// The field that the failure is about, where it says so: `arguments.--date`.
    pub field: Option<String>,
    /// Why it failed and what it warned of, each at the line that it is about.
    pub said: Vec<DiagnosticView>,
}

impl TaskSourceView {
    /// The line to look at: the field's, where the failure names one.
    pub fn line(&self) -> Option<usize> {
        self.said.iter().find_map(|said| said.line).or(self.first_line)
    }

    /// Whether a line is one of the task's.
    pub fn holds(&self, line: usize) -> bool {
        let (first, last) = (self.first_line.unwrap_or(usize::MAX), self.last_line.unwrap_or(0));
        (first..=last).contains(&line)
    }
}
