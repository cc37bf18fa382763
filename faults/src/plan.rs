//! What a trial does, chosen from its seed. Pure.

use crate::{dice::Dice, project};

/// One trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// The runs that are created.
    pub runs: Vec<RunPlan>,
    /// For each replica, the point at which its first life ends, if one is armed.
    pub armed: Vec<Armed>,
    /// What is struck from outside.
    pub blow: Blow,
    /// For each death in turn, whether a new process takes the place. The last one alive is
    /// always replaced.
    pub restarts: Vec<bool>,
    /// A command that is killed after so many milliseconds.
    pub victim: Victim,
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

/// A point of the engine at which a process ends itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Armed {
    /// In the engine's words, e.g. `after_intent@glue_job:1`.
    pub spec: String,
    /// Whether every pass of the point lies between an intent and the commit of its handle.
    pub inside: bool,
}

/// What is struck from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Nothing more.
    None,
    /// The sandbox holds an answer back; the process that waits for it is killed.
    Held {
        /// The service.
        service: &'static str,
        /// The start whose answer is held.
        operation: &'static str,
        /// Whether the answer never comes, even if the process lived.
        dropped: bool,
    },
    /// A process is killed at some time.
    Random {
        /// After so many milliseconds.
        after_ms: u64,
        /// Which replica; all of them if it is none of them.
        replica: usize,
    },
}

/// A command that is killed on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// None.
    None,
    /// A `run`, watched, of a date of its own.
    Run {
        /// Milliseconds that it lives.
        after_ms: u64,
    },
    /// A `clear` of the first run after it ended.
    Clear {
        /// Milliseconds that it lives.
        after_ms: u64,
    },
}

/// The date of the victim's own run.
pub const VICTIM_DATE: &str = "2026-03-20";

/// Points inside a start: the intent is committed, the handle is not.
const INSIDE: [&str; 2] = ["after_intent", "after_send"];
/// The other points.
const ELSEWHERE: [&str; 6] =
    ["before_commit", "after_commit", "before_find", "after_find", "before_notice", "after_notice"];
/// Starts whose answers the sandbox can hold back.
const STARTS: [(&str, &str, &str); 3] = [
    ("glue_job", "glue", "StartJobRun"),
    ("glue_crawler", "glue", "StartCrawler"),
    ("athena_query", "athena", "StartQueryExecution"),
];
/// Commits among which one is chosen to die at; a run makes about so many.
const COMMITS: u64 = 12;

impl Plan {
    /// What the trial of this seed does with so many replicas, without some task types.
    pub fn of(seed: u64, replicas: usize, without: &[String]) -> Self {
        let mut dice = Dice::new(seed);
        let kinds: Vec<&str> = project::EXTERNAL.into_iter().filter(|kind| !is_out(without, kind)).collect();
        let runs = runs(&mut dice);
        let armed = (0..replicas).map(|_| armed(&mut dice, &kinds)).collect();
        let blow = blow(&mut dice, replicas, without);
        let restarts = (0..16).map(|_| dice.percent(50)).collect();
        let victim = match dice.between(0, 100) {
            0..20 => Victim::Run { after_ms: dice.between(20, 900) },
            20..35 => Victim::Clear { after_ms: dice.between(20, 700) },
            _ => Victim::None,
        };
        Self { seed, runs, armed, blow, restarts, victim }
    }
}

fn is_out(without: &[String], kind: &str) -> bool {
    without.iter().any(|word| word == kind)
}

fn runs(dice: &mut Dice) -> Vec<RunPlan> {
    let run = |pipeline, day: u32, crawler: Option<&str>| RunPlan {
        pipeline,
        date: format!("2026-03-{day:02}"),
        crawler: crawler.map(str::to_owned),
    };
    let mut runs = vec![run("line", 1, Some(project::CRAWLERS[0])), run("fan", 1, None)];
    match dice.between(0, 3) {
        0 => runs.push(run("line", 2, Some(project::CRAWLERS[1]))),
        1 => runs.extend([run("chain", 1, None), run("chain", 2, None)]),
        _ => runs.push(run("sour", 1, None)),
    }
    runs
}

fn armed(dice: &mut Dice, kinds: &[&str]) -> Armed {
    if dice.percent(75) {
        let point = dice.pick(&INSIDE).copied().unwrap_or("after_intent");
        let spec = match dice.pick(kinds) {
            Some(kind) if dice.percent(60) => format!("{point}@{kind}:1"),
            // Any type, noops and sleeps among them: those are starts as well.
            _ => format!("{point}:{}", dice.between(1, 4)),
        };
        return Armed { spec, inside: true };
    }
    let point = dice.pick(&ELSEWHERE).copied().unwrap_or("before_commit");
    let nth = if point.ends_with("commit") { dice.between(1, COMMITS) } else { 1 };
    Armed { spec: format!("{point}:{nth}"), inside: false }
}

fn blow(dice: &mut Dice, replicas: usize, without: &[String]) -> Blow {
    let starts: Vec<_> = STARTS.into_iter().filter(|(kind, ..)| !is_out(without, kind)).collect();
    match (dice.between(0, 100), dice.pick(&starts)) {
        (0..55, Some((_, service, operation))) => {
            Blow::Held { service, operation, dropped: dice.percent(40) }
        }
        (0..80, _) => Blow::Random {
            after_ms: dice.between(200, 2_000),
            replica: usize::try_from(dice.between(0, replicas as u64 + 1)).unwrap_or(0),
        },
        _ => Blow::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(Plan::of(3, 2, &[]), Plan::of(3, 2, &[]));
        assert_ne!(Plan::of(3, 2, &[]), Plan::of(4, 2, &[]));
    }

    #[test]
    fn most_points_lie_inside_a_start() {
        let inside =
            (0..500).flat_map(|seed| Plan::of(seed, 2, &[]).armed).filter(|armed| armed.inside).count();
        assert!((700..800).contains(&inside), "{inside}");
    }

    #[test]
    fn what_is_left_out_is_not_struck() {
        let without = vec!["athena_query".to_owned()];
        for seed in 0..300 {
            let plan = Plan::of(seed, 2, &without);
            assert!(!matches!(plan.blow, Blow::Held { service: "athena", .. }));
            assert!(plan.armed.iter().all(|armed| !armed.spec.contains("athena")), "{plan:?}");
        }
    }
}
