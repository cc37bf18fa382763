//! The states, with one spelling for Rust, SQL, JSON and people.
//!
//! The words are interface: they are stored, printed and scripted against, and never change.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every state, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stored and printed word.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The state that this word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

states! {
    /// The state of a run.
    RunState {
        /// Waits for its place: `max_active_runs`, `concurrency_group`, a paused pipeline.
        Queued = "queued",
        /// Its tasks move.
        Running = "running",
        /// A person stopped new starts; what runs outside goes on and is watched.
        Paused = "paused",
        /// A person or `run_timeout` ended it; external jobs are being stopped.
        Cancelling = "cancelling",
        /// Every task ended, none failed.
        Succeeded = "succeeded",
        /// At least one task failed or could not run because one failed.
        Failed = "failed",
        /// It was cancelled before it could succeed.
        Cancelled = "cancelled",
    }
}

states! {
    /// The state of one task in one run.
    TaskState {
        /// Upstreams are not settled.
        Waiting = "waiting",
        /// It may start; no attempt exists yet.
        Queued = "queued",
        /// An attempt is live.
        Running = "running",
        /// The last attempt failed; the next one waits for its time.
        Retrying = "retrying",
        /// Its live attempt waits for a person's word.
        AwaitingApproval = "awaiting_approval",
        /// Ended well.
        Succeeded = "succeeded",
        /// Ended badly, no retries left.
        Failed = "failed",
        /// Its trigger rule says that it need not run.
        Skipped = "skipped",
        /// It cannot run because something upstream failed.
        UpstreamFailed = "upstream_failed",
        /// It was cancelled, alone or with its run.
        Cancelled = "cancelled",
    }
}

states! {
    /// The state of one try.
    AttemptState {
        /// The intent is committed; the answer to the start is not.
        Starting = "starting",
        /// The external job is known and was not seen to end.
        Running = "running",
        /// The start can be neither confirmed nor refuted yet ("start unconfirmed").
        Unknown = "unknown",
        /// The external job was asked to stop; a poll must confirm it.
        Cancelling = "cancelling",
        /// Ended well.
        Succeeded = "succeeded",
        /// Ended badly.
        Failed = "failed",
        /// Stopped by us because it took too long.
        TimedOut = "timed_out",
        /// Stopped.
        Cancelled = "cancelled",
        /// Nobody can tell how it ended ("outcome unknown").
        Lost = "lost",
    }
}

impl RunState {
    /// Whether only a person's clear can change it again.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether it takes a place of `max_active_runs`.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Cancelling)
    }
}

impl TaskState {
    /// Whether an attempt is live.
    pub fn has_attempt(self) -> bool {
        matches!(self, Self::Running | Self::AwaitingApproval)
    }

    /// Whether only a clear can change it again.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Skipped | Self::UpstreamFailed | Self::Cancelled
        )
    }

    /// Whether it makes its run fail.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::UpstreamFailed)
    }
}

impl AttemptState {
    /// Whether it never changes again.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Starting | Self::Running | Self::Unknown | Self::Cancelling)
    }

    /// How people read it where the word alone would puzzle them.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Unknown => "start unconfirmed",
            Self::Lost => "outcome unknown",
            other => other.word(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for state in RunState::ALL {
            assert_eq!(RunState::from_word(state.word()), Some(*state));
        }
        for state in TaskState::ALL {
            assert_eq!(TaskState::from_word(state.word()), Some(*state));
        }
        for state in AttemptState::ALL {
            assert_eq!(AttemptState::from_word(state.word()), Some(*state));
        }
        assert_eq!(RunState::from_word("done"), None);
    }
}
