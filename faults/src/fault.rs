//! The fault matrix: what goes wrong in a trial, by the numbers under which it is documented.

use serde::{Deserialize, Serialize};

macro_rules! faults {
    ($($name:ident = $title:literal),* $(,)?) => {
        /// A line of the matrix.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
        #[expect(missing_docs, reason = "each is a number, and `title` says what it stands for")]
        pub enum Fault { $($name),* }

        impl Fault {
            /// Every line, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its number, e.g. `F7`.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// What goes wrong.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

faults! {
    F1 = "kill -9 at a named point, one replica, started again",
    F2 = "kill -9 at a named point, three replicas, another takes over",
    F3 = "kill -9 at random times, again and again",
    F4 = "crash between the service's accept and its answer",
    F5 = "answer lost: connection cut before or after accept",
    F6 = "5xx after accept, and 5xx without accept",
    F7 = "a replica frozen past its dead limit around a start, then continued (zombie)",
    F8 = "a zombie frozen between the gate and the send for longer than a signature lives",
    F9 = "kill -9 of Postgres under load, started again",
    F10 = "Postgres away for ten minutes (scaled)",
    F11 = "outcome of a commit unknown: the answer to it is lost",
    F12 = "half-open link to Postgres",
    F13 = "connection cut at BEGIN and COMMIT of a transaction",
    F14 = "deadlocks, serialisation failures and lock timeouts",
    F17 = "clock of one replica jumps by up to an hour (scaled)",
    F21 = "five replicas race for one fire of a schedule, and for its tasks",
    F23 = "throttle storm: 95 % of all calls refused for ten minutes (scaled)",
    F24 = "a slow service; one that accepts and never answers",
    F25 = "lists that lag, states that flap, states that nobody knows",
    F26 = "cancel racing start, end, crash and zombie",
    F27 = "credentials expire or a role is denied in mid-run",
    F28 = "clear and retry racing ends and crashes",
    F30 = "SNS away; crash around a publish",
    O1 = "people who clear, mark, cancel, pause, resume, retry, resolve and backfill, racing ends, crashes and zombies",
}

impl Fault {
    /// How often it comes in a round of trials. Faults that strike between an intent and the
    /// commit of its handle come more often: that is where a second start would come from.
    fn weight(self) -> usize {
        match self {
            Self::F1 | Self::F4 => 4,
            Self::F2 | Self::F5 | Self::F6 => 3,
            Self::F24 | Self::F25 | Self::O1 => 2,
            _ => 1,
        }
    }

    /// One round: all of them once, then those again that come more often.
    pub fn round(faults: &[Self]) -> Vec<Self> {
        let most = faults.iter().map(|fault| fault.weight()).max().unwrap_or(0);
        let turn = |turn: usize| faults.iter().copied().filter(move |fault| fault.weight() > turn);
        (0..most).flat_map(turn).collect()
    }

    /// The line with this number.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.word().eq_ignore_ascii_case(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_begins_with_each_fault_once_and_most_of_it_strikes_starts() {
        let round = Fault::round(Fault::ALL);
        assert_eq!(&round[..Fault::ALL.len()], Fault::ALL);
        assert_eq!(round.iter().filter(|fault| **fault == Fault::F4).count(), 4);
        assert_eq!(Fault::round(&[Fault::F3, Fault::F5]), [Fault::F3, Fault::F5, Fault::F5, Fault::F5]);
    }

    #[test]
    fn a_number_is_a_line() {
        assert_eq!(Fault::from_word("f7"), Some(Fault::F7));
        assert_eq!(Fault::from_word("F99"), None);
        assert!(Fault::ALL.is_sorted());
    }
}
