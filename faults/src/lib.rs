//! Kill trials: what is left of Trunkline's promises when its processes are killed?
//!
//! A trial runs real `trunkline serve` processes on a real Postgres against a real sandbox
//! process, kills them, and then compares the store with the sandbox's ledger. Everything
//! that is chosen is chosen from the trial's seed; when the processes' threads run is not.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | a seed into runs and blows; pure |
//! | [`project`] | the pipelines of the trials |
//! | [`rig`] | Postgres, sandbox and folder that all trials share |
//! | [`trial`] | one trial: start, strike, wait, look |
//! | [`evidence`] | what store, ledger and files say afterwards |
//! | [`check`] | evidence into violations; pure |
//! | [`report`] | what the trials found |
//!
//! Nothing here uses the engine's code: only its program, its tables and its table of legal
//! transitions.

pub mod check;
pub mod dice;
pub mod evidence;
mod pace;
pub mod plan;
mod process;
pub mod project;
pub mod report;
pub mod rig;
mod sandbox;
pub mod trial;

use std::path::PathBuf;

use crate::{
    report::{Summary, TrialReport},
    rig::Rig,
};

/// What a series of trials needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `trunkline` program that is tried.
    pub program: PathBuf,
    /// The seed of the first trial; the next one's is one more.
    pub seed: u64,
    /// How many trials.
    pub trials: u64,
    /// How many `serve` processes share the store, 1 to 5.
    pub replicas: usize,
    /// The one factor for every time-like setting of engine, operators and sandbox.
    pub time_ratio: f64,
    /// Task types that are left out.
    pub without: Vec<String>,
    /// The sandbox hides young job runs for longer than the quarantine, which no service may:
    /// starts are then repeated, and trials that find nothing wrong are wrong themselves.
    pub lie: bool,
    /// Keep the folder with the processes' logs.
    pub keep: bool,
}

/// The factor that keeps a trial at a few seconds: a quarantine of 16 minutes becomes 5
/// seconds, a start's limit of 20 seconds 100 milliseconds.
pub const TIME_RATIO: f64 = 0.005;

/// Does the trials one after the other and tells each result to `hear`.
pub async fn run(settings: &Settings, mut hear: impl FnMut(&TrialReport)) -> anyhow::Result<Summary> {
    let rig = Rig::start(settings).await?;
    let mut summary = Summary::new(settings);
    let mut ended = Ok(());
    for index in 0..settings.trials {
        match trial::trial(&rig, settings, settings.seed.wrapping_add(index)).await {
            Ok(report) => {
                hear(&report);
                summary.add(report);
            }
            Err(error) => {
                ended = Err(error);
                break;
            }
        }
    }
    summary.folder = rig.stop(settings.keep || summary.violations > 0).await?;
    ended.map(|()| summary)
}
