//! Kill trials in the test suite: twenty of the two hundred that `trunkline-faults` does.
//! Real `serve` processes on a real Postgres, killed at points that the seed chooses; then
//! the store is compared with the sandbox's ledger.

#![cfg(feature = "sandbox")]

use std::path::PathBuf;

use trunkline_faults::{Settings, TIME_RATIO, run};

/// The series of the test suite. Another one is `trunkline-faults --seed S`.
const SEED: u64 = 1;
/// Twenty, so that the suite stays a matter of minutes.
const TRIALS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_starts_twice() {
    let settings = Settings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_trunkline")),
        seed: SEED,
        trials: TRIALS,
        replicas: 2,
        time_ratio: TIME_RATIO,
        without: Vec::new(),
        lie: false,
        keep: false,
    };
    let mut violations = Vec::new();
    let hear = |report: &trunkline_faults::report::TrialReport| {
        let seed = report.seed;
        violations.extend(
            report.violations.iter().map(|text| format!("seed {seed}: {text}; kills {:?}", report.kills)),
        );
    };
    let summary = run(&settings, hear).await.unwrap();
    assert!(violations.is_empty(), "{}\n{}", summary.line(), violations.join("\n"));
    assert_eq!(summary.trials, 20, "{}", summary.line());
    // A rig that kills nobody proves nothing.
    assert!(summary.kills >= 20 && summary.inside_start * 2 >= summary.kills, "{}", summary.line());
}
