//! Fault trials: what is left of Trunkline's promises when things break?
//!
//! A trial runs real `trunkline serve` processes on a real Postgres against a real sandbox
//! process, with a proxy on every link; lets one fault of the matrix happen; and then compares
//! the store with the sandbox's ledger. Everything that is chosen is chosen from the fault and
//! the seed; when the processes' threads run is not.
//!
//! | module | what |
//! |---|---|
//! | [`fault`] | the matrix |
//! | [`plan`] | a fault and a seed into runs and blows; pure |
//! | [`project`] | the pipelines of the trials |
//! | [`rig`] | Postgres, sandbox, links and folder that all trials share |
//! | `proxy` | a link that can be cut, go silent, lose an answer |
//! | [`trial`] | one trial: start, strike, wait, look |
//! | [`evidence`] | what store, ledger and files say afterwards |
//! | [`check`] | evidence into violations; pure |
//! | [`sandbox`] | the sandbox's own paths: ledger, fault script, provisioning |
//! | [`report`] | what the trials found; `docs/faults.md` |
//!
//! Nothing here uses the engine's code: only its program, its tables and its table of legal
//! transitions.

pub mod check;
pub mod dice;
pub mod evidence;
pub mod fault;
mod pace;
pub mod plan;
mod process;
pub mod project;
pub mod proxy;
pub mod report;
pub mod rig;
pub mod sandbox;
pub mod trial;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use crate::{
    fault::Fault,
    report::{Journal, Summary, TrialReport},
    rig::Rig,
};

/// What a series of trials needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `trunkline` program that is tried.
    pub program: PathBuf,
    /// A `trunkline` program with the sandbox, where the one that is tried has none.
    pub sandbox: Option<PathBuf>,
    /// The faults that take turns ([`Fault::round`]); none: all of them.
    pub faults: Vec<Fault>,
    /// The seed of the first trial of each fault; the next one's is one more.
    pub seed: u64,
    /// How many trials, of all faults together.
    pub trials: u64,
    /// How many `serve` processes share the store, 1 to 5; without a number, what the fault needs.
    pub replicas: Option<usize>,
    /// The one factor for every time-like setting of engine, operators and sandbox.
    pub time_ratio: f64,
    /// A mistake that is planted ([`MUTANTS`]): trials that find nothing wrong are wrong themselves.
    pub mutant: Option<String>,
    /// How many trials go on at once, each with a Postgres and a sandbox of its own.
    pub jobs: usize,
    /// End the series with the first trial that finds this invariant violated.
    pub until: Option<String>,
    /// Keep the folder with the processes' logs.
    pub keep: bool,
    /// Where each trial is written down; those that stand there are not done again.
    pub journal: Option<PathBuf>,
}

/// The factor that keeps a trial at a few seconds: a quarantine of 16 minutes becomes 5
/// seconds, a start's limit of 20 seconds 100 milliseconds.
pub const TIME_RATIO: f64 = 0.005;

/// Mistakes that can be planted, in the program, in the store or in the sandbox, each with the
/// invariant that it breaks.
pub const MUTANTS: [(&str, &str); 7] = [
    ("no_fence", "I5"),
    ("rows_unchecked", "I1"),
    ("send_for_find", "I1"),
    ("no_baseline", "I1"),
    ("rendered_again", "I1"),
    ("early_retry", "I2"),
    ("lying_service", "I1"),
];

/// Does the trials and tells each result to `hear`.
pub async fn run(settings: &Settings, mut hear: impl FnMut(&TrialReport)) -> anyhow::Result<Summary> {
    let mut summary = Summary::new(settings);
    let (mut journal, told) = Journal::open(settings.journal.as_deref())?;
    let mut series = Series { settings, next: AtomicU64::new(0), done: HashSet::new() };
    for report in told {
        series.done.insert((report.fault, report.seed));
        summary.add(report);
    }
    let (sender, mut reports) = mpsc::unbounded_channel();
    let workers: Vec<_> = (0..settings.jobs.max(1)).map(|_| work(&series, sender.clone())).collect();
    drop(sender);
    let workers = futures::future::join_all(workers);
    let listening = async {
        let mut written = Ok(());
        while let Some(report) = reports.recv().await {
            hear(&report);
            written = written.and(journal.write(&report));
            summary.add(report);
        }
        written
    };
    let (ended, written) = tokio::join!(workers, listening);
    written?;
    for folder in ended {
        summary.folders.extend(folder?);
    }
    summary.reports.sort_by_key(|report| (report.fault, report.seed));
    Ok(summary)
}

/// Which fault the trial with this number has, and how many trials had it before.
fn turn(round: &[Fault], index: u64) -> (Fault, u64) {
    let length = round.len() as u64;
    let place = usize::try_from(index % length).unwrap_or(0);
    let fault = round[place];
    let before = |faults: &[Fault]| faults.iter().filter(|other| **other == fault).count() as u64;
    (fault, index / length * before(round) + before(&round[..place]))
}

/// What the workers of a series share.
struct Series<'a> {
    settings: &'a Settings,
    /// The number of the next trial.
    next: AtomicU64,
    /// Trials of an earlier part of the series.
    done: HashSet<(Fault, u64)>,
}

/// Does one trial after the other, as long as there are any. The folder, if it is kept.
async fn work(
    Series { settings, next, done }: &Series<'_>,
    reports: mpsc::UnboundedSender<TrialReport>,
) -> anyhow::Result<Option<PathBuf>> {
    let rig = Rig::start(settings).await?;
    let round = Fault::round(if settings.faults.is_empty() { Fault::ALL } else { &settings.faults });
    let (mut keep, mut ended) = (settings.keep, Ok(()));
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= settings.trials {
            break;
        }
        let (fault, nth) = turn(&round, index);
        let seed = settings.seed.wrapping_add(nth);
        if done.contains(&(fault, seed)) {
            continue;
        }
        match trial::trial(&rig, settings, fault, seed).await {
            Ok(report) => {
                let violated = !report.violations.is_empty();
                keep |= violated && settings.mutant.is_none();
                let caught = settings.until.as_ref().is_some_and(|invariant| report.violates(invariant));
                // Whoever listened has gone only if the whole series has.
                let _ = reports.send(report);
                if caught {
                    next.store(settings.trials, Ordering::Relaxed);
                }
            }
            Err(error) => {
                ended = Err(error);
                break;
            }
        }
    }
    let folder = rig.stop(keep).await?;
    ended.map(|()| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trial_of_a_fault_has_the_next_seed() {
        let round = Fault::round(Fault::ALL);
        let length = round.len() as u64;
        let turns: Vec<(Fault, u64)> = (0..3 * length).map(|index| turn(&round, index)).collect();
        let of = |fault| turns.iter().filter(|turn| turn.0 == fault).map(|turn| turn.1).collect::<Vec<_>>();
        assert_eq!(of(Fault::F3), [0, 1, 2]);
        assert_eq!(of(Fault::F4), (0..12).collect::<Vec<_>>());
        assert_eq!(turns.iter().collect::<HashSet<_>>().len(), turns.len());
    }
}
