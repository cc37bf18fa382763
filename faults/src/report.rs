//! What the trials found.

use serde::Serialize;

use crate::Settings;

/// One death of a process.
#[derive(Clone, Debug, Serialize)]
pub struct Kill {
    /// Which process: `serve 0`, `run`, `clear`.
    pub process: String,
    /// Where: a point of the engine, a held answer, or just some time.
    pub at: String,
    /// Whether an intent was committed whose handle was not, and this process was to send it.
    pub inside_start: bool,
    /// The live attempts at that moment, e.g. `glue_job starting 1, noop running 1`.
    pub attempts: String,
}

/// One trial.
#[derive(Clone, Debug, Serialize)]
pub struct TrialReport {
    /// The seed that repeats it.
    pub seed: u64,
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
    /// Who died where.
    pub kills: Vec<Kill>,
    /// What was wrong.
    pub violations: Vec<String>,
}

/// A series of trials.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The first seed.
    pub seed: u64,
    /// Processes that shared the store.
    pub replicas: usize,
    /// The factor of all time-like settings.
    pub time_ratio: f64,
    /// Task types that were left out.
    pub without: Vec<String>,
    /// Trials that were completed.
    pub trials: usize,
    /// Violations in all of them.
    pub violations: usize,
    /// Deaths.
    pub kills: usize,
    /// Deaths inside a start.
    pub inside_start: usize,
    /// Accepted starts.
    pub starts: usize,
    /// Starts that were found again.
    pub reattached: usize,
    /// Notices published more than once.
    pub repeated_notices: usize,
    /// The sum of the trials' durations.
    pub seconds: f64,
    /// The folder with the processes' logs, if it was kept: asked for, or violations were found.
    pub folder: Option<std::path::PathBuf>,
    /// Each trial.
    pub reports: Vec<TrialReport>,
}

impl Summary {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            seed: settings.seed,
            replicas: settings.replicas,
            time_ratio: settings.time_ratio,
            without: settings.without.clone(),
            trials: 0,
            violations: 0,
            kills: 0,
            inside_start: 0,
            starts: 0,
            reattached: 0,
            repeated_notices: 0,
            seconds: 0.0,
            folder: None,
            reports: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, report: TrialReport) {
        self.trials += 1;
        self.violations += report.violations.len();
        self.kills += report.kills.len();
        self.inside_start += report.kills.iter().filter(|kill| kill.inside_start).count();
        self.starts += report.starts;
        self.reattached += report.reattached;
        self.repeated_notices += report.repeated_notices;
        self.seconds += report.seconds;
        self.reports.push(report);
    }

    /// The last line of the output.
    pub fn line(&self) -> String {
        format!(
            "{} trials, {} violations, {} kills, {} inside a start",
            self.trials, self.violations, self.kills, self.inside_start
        )
    }
}
