//! Runs of other pipelines that ended: what is told of one, which trigger takes it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::schedule::Interval;

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEvent {
    /// Its id.
    pub run_id: Uuid,
    /// Its pipeline.
    pub pipeline: String,
    /// Its key.
    pub key: String,
    /// The generation that ended.
    pub generation: u32,
    /// How it ended.
    pub state: String,
    /// The start of what it covers, or its fire time.
    pub logical_date: Timestamp,
    /// The start of what it covers.
    #[serde(default)]
    pub interval_start: Option<Timestamp>,
    /// The end of what it covers.
    #[serde(default)]
    pub interval_end: Option<Timestamp>,
}

/// Runs of which pipeline make runs of this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSource {
    /// The other pipeline.
    pub name: String,
    /// How its run must have ended.
    pub on: RunEnd,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// It succeeded.
    #[default]
    Success,
    /// It failed.
    Failure,
    /// However.
    Done,
}

impl RunEnd {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Done];

    /// The word of the pipeline file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Done => "done",
        }
    }

    /// The states of runs that it means. A run that was cancelled is done, and did not fail by itself.
    pub fn states(self) -> &'static [&'static str] {
        match self {
            Self::Success => &["succeeded"],
            Self::Failure => &["failed"],
            Self::Done => &["succeeded", "failed", "cancelled"],
        }
    }
}

impl RunEvent {
    /// What it covered.
    pub fn interval(&self) -> Option<Interval> {
        Some(Interval { start: self.interval_start?, end: self.interval_end? })
    }

    /// What templates read of it.
    pub fn value(&self) -> Value {
        json!({
            "id": self.run_id, "name": format!("{}@{}", self.pipeline, self.key), "key": self.key,
            "generation": self.generation, "state": self.state,
        })
    }
}

impl RunSource {
    /// Whether the trigger takes a run.
    pub fn takes(&self, run: &RunEvent) -> bool {
        self.name == run.pipeline && self.on.states().contains(&run.state.as_str())
    }

    /// `facility_crawl on success`.
    pub fn label(&self) -> String {
        format!("{} on {}", self.name, self.on.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_run_ended_chooses() {
        let run = |state: &str| RunEvent {
            run_id: Uuid::nil(),
            pipeline: "crawl".into(),
            key: "2026-11-19".into(),
            generation: 1,
            state: state.into(),
            logical_date: Timestamp::UNIX_EPOCH,
            interval_start: None,
            interval_end: None,
        };
        let source = |name: &str, on| RunSource { name: name.into(), on };
        let takes =
            |on| ["succeeded", "failed", "cancelled"].map(|state| source("crawl", on).takes(&run(state)));
        assert_eq!(takes(RunEnd::Success), [true, false, false]);
        assert_eq!(takes(RunEnd::Failure), [false, true, false]);
        assert_eq!(takes(RunEnd::Done), [true, true, true]);
        assert!(!source("other", RunEnd::Done).takes(&run("succeeded")));
        assert_eq!(run("failed").value()["name"], "crawl@2026-11-19");
        assert_eq!(run("failed").interval(), None);
    }
}
