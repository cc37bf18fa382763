//! Names and ids as types: what a name may look like is decided here and nowhere else.

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest name of a pipeline or a task: fits a file name, an SNS subject and a column.
pub const NAME_LENGTH_MAX: usize = 128;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than [`NAME_LENGTH_MAX`].
    #[error("a name has at most {NAME_LENGTH_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// A character outside the alphabet, or a bad first one.
    #[error("a name starts with a letter and has only a-z, 0-9 and _; `{0}` does not fit")]
    Character(char),
}

fn check_name(text: &str) -> Result<(), NameError> {
    let mut characters = text.chars();
    let first = characters.next().ok_or(NameError::Empty)?;
    if text.len() > NAME_LENGTH_MAX {
        return Err(NameError::TooLong(text.chars().count()));
    }
    if !first.is_ascii_lowercase() {
        return Err(NameError::Character(first));
    }
    match characters.find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')) {
        Some(odd) => Err(NameError::Character(odd)),
        None => Ok(()),
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text and takes it as a name.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check_name(&text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type! {
    /// The name of a pipeline.
    PipelineName
}
name_type! {
    /// The name of a task within its pipeline.
    TaskName
}

/// The id of a run: a UUIDv7, so that ids sort by creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a replica: one process of ours on one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaId(pub Uuid);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of an attempt, computed and never drawn: a replayed decision or a restored
/// database arrives at the same tokens and re-attaches instead of starting again.
///
/// `UUIDv5(installation, "incarnation/pipeline/run key/task/number")`.
pub fn attempt_id(
    installation: Uuid,
    incarnation: i32,
    pipeline: &PipelineName,
    run_key: &str,
    task: &str,
    number: u32,
) -> Uuid {
    let name = format!("{incarnation}\u{1f}{pipeline}\u{1f}{run_key}\u{1f}{task}\u{1f}{number}");
    Uuid::new_v5(&installation, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(PipelineName::new("daily_cdr_etl").is_ok());
        assert_eq!(PipelineName::new(""), Err(NameError::Empty));
        assert_eq!(PipelineName::new("Daily"), Err(NameError::Character('D')));
        assert_eq!(PipelineName::new("a/b"), Err(NameError::Character('/')));
        assert_eq!(PipelineName::new("a".repeat(129)), Err(NameError::TooLong(129)));
    }

    #[test]
    fn attempts_of_different_parts_never_share_an_id() {
        let installation = Uuid::from_u128(7);
        let id = |pipeline: &str, task: &str, number| {
            attempt_id(installation, 1, &PipelineName::new(pipeline).unwrap(), "2026-11-19", task, number)
        };
        assert_eq!(id("a", "b", 1), id("a", "b", 1));
        assert_ne!(id("a", "b", 1), id("a", "b", 2));
        assert_ne!(id("a", "bc", 1), id("ab", "c", 1));
    }
}
