//! Datasets: names of what tasks write. How a name is written, what is told of an update, which trigger takes it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::schedule::Interval;

/// Names that one task may update, and that one trigger may wait for: what a person can still read as a list.
pub const DATASETS_MAX: usize = 100;

/// The longest name: it is part of keys of the store, whose index takes no rows of any length.
pub const DATASET_BYTES_MAX: usize = 512;

/// Names that a label holds before it only counts the rest.
const LABEL_NAMES_MAX: usize = 3;

/// A task succeeded, and so updated a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetEvent {
    /// The dataset.
    pub dataset: String,
    /// The pipeline of the task.
    pub pipeline: String,
    /// Its run.
    pub run_id: Uuid,
    /// The run's key.
    pub key: String,
    /// The task.
    pub task: String,
    /// The generation in which it succeeded.
    pub generation: u32,
    /// When.
    pub at: Timestamp,
    /// The start of what the run covers.
    #[serde(default)]
    pub interval_start: Option<Timestamp>,
    /// The end of what the run covers.
    #[serde(default)]
    pub interval_end: Option<Timestamp>,
}

/// Updates of which datasets make a run. Their names are those of [`dataset_name`], each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetSource {
    /// Of all of them, since the run before.
    All(Vec<String>),
    /// Of any.
    Any(Vec<String>),
}

/// Why a text is no name of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetNameError {
    /// Nothing is left of it.
    #[error("it is empty")]
    Empty,
    /// It is longer than [`DATASET_BYTES_MAX`].
    #[error("it is longer than {DATASET_BYTES_MAX} bytes")]
    TooLong,
    /// A URI with a space or a control character, or without anything behind its scheme.
    #[error("a URI is scheme://place, without spaces")]
    Uri,
    /// A plain name with other characters.
    #[error("a name that is no URI holds only a-z, 0-9 and the characters _ . : / -")]
    Plain,
}

/// The name as it is compared and stored: without space around it, and in a URI with scheme and host (the bucket)
/// in lower case. What follows stays as it is, also a `/` at its end.
pub fn dataset_name(text: &str) -> Result<String, DatasetNameError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(DatasetNameError::Empty);
    }
    if text.len() > DATASET_BYTES_MAX {
        return Err(DatasetNameError::TooLong);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ['_', '.', ':', '/', '-'].contains(&c);
        return if text.chars().all(plain) { Ok(text.to_owned()) } else { Err(DatasetNameError::Plain) };
    };
    let of_scheme = |c: char| c.is_ascii_alphanumeric() || ['+', '.', '-'].contains(&c);
    let sound = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(of_scheme);
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !sound || host.is_empty() || rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(DatasetNameError::Uri);
    }
    Ok(format!("{}://{}{path}", scheme.to_ascii_lowercase(), host.to_ascii_lowercase()))
}

impl DatasetEvent {
    /// What the run covered.
    pub fn interval(&self) -> Option<Interval> {
        Some(Interval { start: self.interval_start?, end: self.interval_end? })
    }

    /// `pipeline@key`.
    pub fn run(&self) -> String {
        format!("{}@{}", self.pipeline, self.key)
    }

    /// What templates read of it.
    pub fn value(&self) -> Value {
        json!({
            "name": self.dataset, "run": self.run(), "task": self.task, "pipeline": self.pipeline, "key": self.key,
            "at": self.at, "data_interval_start": self.interval_start, "data_interval_end": self.interval_end,
        })
    }
}

impl DatasetSource {
    /// The datasets, in the order in which they were written.
    pub fn names(&self) -> &[String] {
        match self {
            Self::All(names) | Self::Any(names) => names,
        }
    }

    /// How many different ones must have been updated.
    pub fn needed(&self) -> usize {
        match self {
            Self::All(names) => names.len(),
            Self::Any(_) => 1,
        }
    }

    /// Whether the trigger takes an update.
    pub fn takes(&self, update: &DatasetEvent) -> bool {
        self.names().contains(&update.dataset)
    }

    /// The datasets that a run still waits for, once these were updated.
    pub fn missing(&self, updated: &BTreeSet<&str>) -> Vec<&str> {
        match self {
            Self::All(names) => {
                names.iter().map(String::as_str).filter(|name| !updated.contains(name)).collect()
            }
            Self::Any(_) => Vec::new(),
        }
    }

    /// In the order of the names, then of time: what a run is told.
    pub fn sort(&self, updates: &mut [DatasetEvent]) {
        let place = |update: &DatasetEvent| self.names().iter().position(|name| *name == update.dataset);
        updates.sort_by(|one, other| {
            let key = |update: &DatasetEvent| (place(update), update.interval_start, update.at);
            key(one).cmp(&key(other)).then_with(|| one.run_id.cmp(&other.run_id))
        });
    }

    /// `s3://b/one/ and s3://b/two/`, `any of a, b, c and 4 more`.
    pub fn label(&self) -> String {
        let names = self.names();
        let shown = names.iter().take(LABEL_NAMES_MAX).map(String::as_str).collect::<Vec<_>>();
        let more = names.len() - shown.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        match self {
            Self::All(_) => format!("{}{more}", shown.join(" and ")),
            Self::Any(_) => format!("any of {}{more}", shown.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_they_are_stored() {
        for (text, name) in [
            ("s3://bucket/folder/", "s3://bucket/folder/"),
            (" S3://Bucket/Folder/a=1 ", "s3://bucket/Folder/a=1"),
            ("s3://bucket", "s3://bucket"),
            ("dwh.facility:rows/day_1-x", "dwh.facility:rows/day_1-x"),
        ] {
            let read = dataset_name(text);
            assert_eq!(read.as_deref(), Ok(name));
            assert_eq!(dataset_name(name), read, "once is enough");
        }
        let long = "a".repeat(DATASET_BYTES_MAX + 1);
        for (text, error) in [
            ("  ", DatasetNameError::Empty),
            (long.as_str(), DatasetNameError::TooLong),
            ("s3:///folder", DatasetNameError::Uri),
            ("s3://b/with space", DatasetNameError::Uri),
            ("3s://b", DatasetNameError::Uri),
            ("Facility", DatasetNameError::Plain),
            ("two words", DatasetNameError::Plain),
        ] {
            assert_eq!(dataset_name(text), Err(error), "{text}");
        }
    }

    fn update(dataset: &str, second: i64) -> DatasetEvent {
        DatasetEvent {
            dataset: dataset.into(),
            pipeline: "p".into(),
            run_id: Uuid::nil(),
            key: "k".into(),
            task: "t".into(),
            generation: 1,
            at: Timestamp::from_second(second).unwrap(),
            interval_start: None,
            interval_end: None,
        }
    }

    #[test]
    fn all_wait_for_each_and_any_for_none() {
        let names = || vec!["b".to_owned(), "a".to_owned()];
        let (all, any) = (DatasetSource::All(names()), DatasetSource::Any(names()));
        assert!(all.takes(&update("a", 0)) && any.takes(&update("b", 0)) && !all.takes(&update("c", 0)));
        assert_eq!((all.needed(), any.needed()), (2, 1));
        assert_eq!(all.missing(&BTreeSet::from(["a"])), ["b"]);
        assert!(any.missing(&BTreeSet::new()).is_empty());
        assert_eq!((all.label(), any.label()), ("b and a".to_owned(), "any of b, a".to_owned()));
        let many = (0..5).map(|number| number.to_string()).collect();
        assert_eq!(DatasetSource::Any(many).label(), "any of 0, 1, 2 and 2 more");
        let mut updates = [update("a", 1), update("b", 3), update("b", 2)];
        all.sort(&mut updates);
        assert_eq!(updates, [update("b", 2), update("b", 3), update("a", 1)]);
        assert_eq!(updates[0].value()["run"], "p@k");
    }
}
