//! What a trial does, chosen from its fault and its seed. Pure.

mod draw;
mod people;

use serde_json::{Value, json};

use crate::{
    dice::Dice,
    fault::Fault,
    project,
    proxy::{Moment, Trick},
};

/// One trial.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What goes wrong.
    pub fault: Fault,
    /// Where everything else comes from.
    pub seed: u64,
    /// The runs that are created.
    pub runs: Vec<RunPlan>,
    /// For each replica, how its first life goes wrong by itself.
    pub lives: Vec<Life>,
    /// What is struck from outside.
    pub blows: Vec<Blow>,
    /// For each death in turn, whether a new process takes the place. The last one alive is
    /// always replaced.
    pub restarts: Vec<bool>,
    /// What people ask for meanwhile.
    pub orders: Vec<Order>,
    /// The sandbox's fault script.
    pub script: Vec<Value>,
    /// Calls that are cut off on the way to the sandbox.
    pub sandbox_tricks: Vec<Trick>,
    /// Statements that are cut off on each replica's way to Postgres.
    pub store_tricks: Vec<Trick>,
    /// Statements that are cut off on the commands' way to Postgres.
    pub command_tricks: Vec<Trick>,
    /// Postgres refuses some writes with errors that ask for another try.
    pub conflicts: bool,
    /// A schedule is due when the replicas start.
    pub schedule_due: bool,
    /// Milliseconds that a frozen process is kept beyond the moment at which others own its runs.
    pub freeze_ms: u64,
    /// The last replica starts only when another one froze.
    pub has_reserve: bool,
}

/// A run to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPlan {
    /// Its pipeline.
    pub pipeline: &'static str,
    /// Its date, which is its key.
    pub date: String,
    /// Its crawler, where its pipeline has one.
    pub crawler: Option<String>,
}

/// How a process goes wrong by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// The point at which it ends itself.
    pub crash: Option<Armed>,
    /// The point at which it freezes itself.
    pub stop: Option<Armed>,
    /// How far its clock jumps, in milliseconds, and after how many.
    pub clock_jump: Option<(i64, u64)>,
}

/// A point of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Armed {
    /// In the engine's words, e.g. `after_intent@glue_job:1`.
    pub spec: String,
    /// Whether every pass of the point lies between an intent and the commit of its handle.
    pub inside: bool,
}

/// What is struck from outside, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blow {
    /// When.
    pub when: When,
    /// What.
    pub deed: Deed,
}

/// When a blow is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So many milliseconds after the runs were asked for.
    After(u64),
    /// Once the sandbox accepted this operation in this trial.
    Accepted(&'static str),
}

/// What is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// One process, or all of them if there is none in this place.
    Kill(usize),
    /// The process that waits for the answer to a start of this type.
    KillSender(&'static str),
    /// One process is stopped, and continued later.
    Freeze(usize),
    /// One replica's link to Postgres goes silent for so many milliseconds.
    Silence {
        /// The replica.
        place: usize,
        /// How long.
        ms: u64,
        /// What becomes of its connections afterwards.
        then: Then,
    },
    /// Postgres is killed and comes back after so many milliseconds.
    KillPostgres {
        /// How long it is away.
        ms: u64,
    },
}

/// What becomes of connections that were silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// They go on as if nothing had been.
    On,
    /// They are cut.
    Cut,
    /// They stay silent for good; new ones pass.
    Forgotten,
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Milliseconds after the runs were asked for.
    pub after_ms: u64,
    /// What.
    pub verb: Verb,
    /// Milliseconds after which the command itself is killed.
    pub life_ms: Option<u64>,
    /// It waits from then on until there is something to ask for, and is left out where nothing comes.
    pub waits: bool,
}

/// A command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Clear the run of this index, whole or one task.
    Clear(usize, Option<&'static str>),
    /// Clear a task of all first runs of a pipeline.
    ClearMany(&'static str, &'static str),
    /// Cancel the run of this index.
    Cancel(usize),
    /// Cancel one task of it.
    CancelTask(usize, &'static str),
    /// Do not wait for the next try of this task.
    RetryNow(usize, &'static str),
    /// Take a person's word for a task of the run of this index.
    Mark(usize, &'static str, &'static str),
    /// The same for all first runs of a pipeline.
    MarkMany(&'static str, &'static str, &'static str),
    /// Say what became of an unconfirmed start, whichever there is.
    Resolve(Knowledge),
    /// Start nothing more of the run of this index.
    Pause(usize),
    /// Go on with it.
    Resume(usize),
    /// Run the dates of [`BACKFILLED`] of this pipeline.
    Backfill(&'static str),
    /// Deploy again.
    Deploy,
    /// A run, watched, of a date of its own.
    Run,
}

impl Verb {
    /// The command as people know it, for counts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Clear(..) => "clear",
            Self::ClearMany(..) => "clear of many",
            Self::Cancel(_) => "cancel",
            Self::CancelTask(..) => "cancel --task",
            Self::RetryNow(..) => "retry-now",
            Self::Mark(..) => "mark",
            Self::MarkMany(..) => "mark of many",
            Self::Resolve(_) => "resolve",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Backfill(_) => "backfill",
            Self::Deploy => "deploy",
            Self::Run => "run",
        }
    }
}

/// What a person finds out about an unconfirmed start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// What the service's console shows, and which of the servers still live.
    Looked,
    /// Nothing.
    Nothing,
}

/// The first and the last date of the runs that a trial begins with.
pub const FIRST_DATES: (&str, &str) = ("2026-03-01", "2026-03-02");

/// The date of the run that is watched.
pub const WATCHED_DATE: &str = "2026-03-20";

/// The first and the last date that a backfill runs.
pub const BACKFILLED: (&str, &str) = ("2026-04-01", "2026-04-03");

/// The limit of a start at ratio 1.
const START_LIMIT_MS: f64 = 20_000.0;
/// The quarantine of unconfirmed starts at ratio 1, and a little more.
const QUARANTINE_MS: f64 = 970_000.0;

impl Plan {
    /// What the trial of this fault and seed does. `replicas` overrides how many processes
    /// there are; times are those of `ratio`.
    pub fn of(fault: Fault, seed: u64, replicas: Option<usize>, ratio: f64) -> Self {
        // Different faults throw different dice for the same seed.
        let mut dice = Dice::new(seed.wrapping_mul(1_000).wrapping_add(fault as u64));
        let mut plan = draw::common(fault, seed, &mut dice);
        if let Some(count) = replicas {
            plan.set_replicas(count);
        }
        draw::of_fault(&mut plan, &mut dice, ratio);
        plan
    }

    /// The same for a planted mistake: the trial in which it does harm.
    pub fn of_mutant(mutant: &str, seed: u64, ratio: f64) -> Self {
        let fault = match mutant {
            "send_for_find" => Fault::F4,
            "no_fence" | "rows_unchecked" => Fault::F7,
            _ => Fault::F5,
        };
        let mut dice = Dice::new(seed);
        let mut plan = draw::common(fault, seed, &mut dice);
        plan.runs.truncate(2);
        draw::of_mutant(&mut plan, mutant, ratio);
        plan.restarts = vec![true];
        plan
    }

    /// How a run of this plan may end.
    pub fn outcomes(&self, pipeline: &str, key: &str) -> Vec<&'static str> {
        let mut outcomes = vec![project::outcome(pipeline)];
        let (mut cancelled, mut reopened) = (false, false);
        let concerned = |index: usize| {
            self.runs.get(index).is_some_and(|run| run.pipeline == pipeline && run.date == key)
        };
        let among = |name: &str| name == pipeline && (FIRST_DATES.0..=FIRST_DATES.1).contains(&key);
        for order in &self.orders {
            match order.verb {
                Verb::Cancel(index) if concerned(index) => cancelled = true,
                Verb::Clear(index, _) if concerned(index) => reopened = true,
                Verb::ClearMany(name, _) if among(name) => reopened = true,
                Verb::CancelTask(index, _) if concerned(index) => outcomes.push("failed"),
                Verb::Mark(index, ..) if concerned(index) => outcomes.extend(["succeeded", "failed"]),
                Verb::MarkMany(name, ..) if among(name) => outcomes.extend(["succeeded", "failed"]),
                _ => {}
            }
        }
        if cancelled {
            outcomes.push("cancelled");
        }
        // What is cleared alone runs again; what was cancelled beside it stays.
        if cancelled && reopened {
            outcomes.push("failed");
        }
        if self.is_denied() && ["fan", "line"].contains(&pipeline) {
            outcomes.push("failed");
        }
        outcomes.sort_unstable();
        outcomes.dedup();
        outcomes
    }

    /// Whether a service says that the role may not do it: a task that fails then is right.
    pub fn is_denied(&self) -> bool {
        self.script.iter().any(|rule| rule["code"] == "AccessDeniedException")
    }

    /// Whether it is the store that fails.
    pub fn is_of_the_store(&self) -> bool {
        (Fault::F9..=Fault::F14).contains(&self.fault)
    }

    fn set_replicas(&mut self, count: usize) {
        self.lives.resize_with(count, Life::default);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::TIME_RATIO;

    fn plan(fault: Fault, seed: u64) -> Plan {
        Plan::of(fault, seed, None, TIME_RATIO)
    }

    #[test]
    fn a_seed_is_a_plan() {
        for fault in Fault::ALL {
            assert_eq!(format!("{:?}", plan(*fault, 3)), format!("{:?}", plan(*fault, 3)));
        }
        assert_ne!(format!("{:?}", plan(Fault::F1, 3)), format!("{:?}", plan(Fault::F1, 4)));
    }

    #[test]
    fn every_fault_does_something_and_has_one_to_five_replicas() {
        for fault in Fault::ALL {
            for seed in 0..200 {
                let plan = plan(*fault, seed);
                assert!((1..=5).contains(&plan.lives.len()), "{plan:?}");
                let nothing = plan.lives.iter().all(|life| *life == Life::default())
                    && plan.blows.is_empty()
                    && plan.orders.is_empty()
                    && plan.script.is_empty()
                    && plan.sandbox_tricks.is_empty()
                    && plan.store_tricks.is_empty()
                    && !plan.conflicts
                    && !plan.schedule_due;
                assert!(!nothing, "{plan:?}");
            }
        }
    }

    #[test]
    fn most_points_of_kills_lie_inside_a_start() {
        let armed = |fault| (0..500).filter_map(move |seed| plan(fault, seed).lives[0].crash.clone());
        let inside = armed(Fault::F1).filter(|armed| armed.inside).count();
        assert!((300..450).contains(&inside), "{inside}");
    }

    #[test]
    fn people_ask_for_everything_there_is() {
        let verbs = (0..200).flat_map(|seed| plan(Fault::O1, seed).orders).map(|order| order.verb);
        let words: BTreeSet<&str> = verbs.map(Verb::word).collect();
        let wanted = [
            "backfill",
            "cancel",
            "cancel --task",
            "clear",
            "clear of many",
            "mark",
            "mark of many",
            "pause",
            "resolve",
            "resume",
            "retry-now",
        ];
        assert_eq!(words.into_iter().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn what_is_cancelled_may_end_as_cancelled() {
        let plan = plan(Fault::F26, 1);
        assert_eq!(plan.outcomes("long", "2026-03-05"), ["cancelled"]);
        assert_eq!(plan.outcomes("sour", "2026-03-09"), ["failed"]);
    }
}
