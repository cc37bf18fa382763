//! What the trials found.

mod document;
mod journal;

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

pub use self::document::document;
pub(crate) use self::journal::Journal;
use crate::{Settings, fault::Fault};

/// One thing that went wrong, as planned.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Hit {
    /// Who or what: `serve 0`, `clear`, `Postgres`, `link to the sandbox`.
    pub process: String,
    /// How: killed, frozen, silent, cut.
    pub how: Cow<'static, str>,
    /// Where: a point of the engine, an operation, or just some time.
    pub at: String,
    /// Whether an intent was committed whose handle was not, and this concerned who was to send it.
    pub inside_start: bool,
    /// The live attempts at that moment, e.g. `glue_job starting 1, noop running 1`.
    pub attempts: String,
}

/// What became of one kind of command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Carried {
    /// It is in the history.
    pub done: usize,
    /// It was refused with a reason, or had nothing to do.
    pub refused: usize,
    /// It was killed before it did anything.
    pub cut_off: usize,
}

/// One trial.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TrialReport {
    /// What went wrong.
    pub fault: Fault,
    /// With the fault, what repeats it.
    pub seed: u64,
    /// Processes that shared the store.
    pub replicas: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Runs that existed in the end.
    pub runs: usize,
    /// Attempts that existed in the end.
    pub attempts: usize,
    /// Starts that the sandbox accepted, and starts of commands.
    pub starts: usize,
    /// Starts that were found again instead of being repeated.
    pub reattached: usize,
    /// Notices that were published more than once, which a death may cause.
    pub repeated_notices: usize,
    /// What people asked for, and how often it was carried out.
    #[serde(default)]
    pub operations: BTreeMap<String, Carried>,
    /// What went wrong where.
    pub hits: Vec<Hit>,
    /// What was violated.
    pub violations: Vec<String>,
}

impl TrialReport {
    /// Whether an invariant is among what was violated.
    pub(crate) fn violates(&self, invariant: &str) -> bool {
        self.violations.iter().any(|text| text.starts_with(&format!("{invariant}: ")))
    }
}

/// A series of trials.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The first seed.
    pub seed: u64,
    /// The factor of all time-like settings.
    pub time_ratio: f64,
    /// Trials that were completed.
    pub trials: usize,
    /// Violations in all of them.
    pub violations: usize,
    /// Blows that hit.
    pub hits: usize,
    /// Processes killed.
    pub kills: usize,
    /// Blows inside a start.
    pub inside_start: usize,
    /// Trials with a blow inside a start.
    pub trials_inside_start: usize,
    /// Accepted starts.
    pub starts: usize,
    /// Starts that were found again.
    pub reattached: usize,
    /// Notices published more than once.
    pub repeated_notices: usize,
    /// The sum of the trials' durations.
    pub seconds: f64,
    /// The folders with the processes' logs, if they were kept: asked for, or violations were found.
    pub folders: Vec<std::path::PathBuf>,
    /// Each trial.
    pub reports: Vec<TrialReport>,
}

impl Summary {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            seed: settings.seed,
            time_ratio: settings.time_ratio,
            trials: 0,
            violations: 0,
            hits: 0,
            kills: 0,
            inside_start: 0,
            trials_inside_start: 0,
            starts: 0,
            reattached: 0,
            repeated_notices: 0,
            seconds: 0.0,
            folders: Vec::new(),
            reports: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, report: TrialReport) {
        self.trials += 1;
        self.violations += report.violations.len();
        self.hits += report.hits.len();
        self.kills += report.hits.iter().filter(|hit| hit.how == "killed").count();
        let inside = report.hits.iter().filter(|hit| hit.inside_start).count();
        self.inside_start += inside;
        self.trials_inside_start += usize::from(inside > 0);
        self.starts += report.starts;
        self.reattached += report.reattached;
        self.repeated_notices += report.repeated_notices;
        self.seconds += report.seconds;
        self.reports.push(report);
    }

    /// The last line of the output.
    pub fn line(&self) -> String {
        format!(
            "{} trials, {} violations, {} hits ({} kills), {} trials hit inside a start",
            self.trials, self.violations, self.hits, self.kills, self.trials_inside_start
        )
    }
}
