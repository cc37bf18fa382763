//! Fault trials in the test suite: one of each fault of the matrix, and every planted mistake.
//! Real `serve` processes on a real Postgres; then the store is compared with the sandbox's
//! ledger. The long series is `trunkline-faults`.

#![cfg(feature = "sandbox")]

use std::path::PathBuf;

use trunkline_faults::{MUTANTS, Settings, TIME_RATIO, fault::Fault, report::Summary, run};

/// The series of the test suite. Another one is `trunkline-faults --seed S`.
const SEED: u64 = 1;
/// Trials in which a planted mistake must be found; most are found by the first.
const MUTANT_TRIALS: u64 = 12;

fn settings(trials: u64) -> Settings {
    Settings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_trunkline")),
        sandbox: None,
        faults: Vec::new(),
        seed: SEED,
        trials,
        replicas: None,
        time_ratio: TIME_RATIO,
        mutant: None,
        jobs: 2,
        until: None,
        keep: false,
        journal: None,
    }
}

fn violations(summary: &Summary) -> Vec<String> {
    let of = |report: &trunkline_faults::report::TrialReport| {
        let (fault, seed) = (report.fault.word(), report.seed);
        let told = |text: &String| format!("--fault {fault} --seed {seed}: {text}; hits {:?}", report.hits);
        report.violations.iter().map(told).collect::<Vec<_>>()
    };
    summary.reports.iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_starts_twice() {
    let summary = run(&settings(Fault::ALL.len() as u64), |_| {}).await.unwrap();
    let violations = violations(&summary);
    assert!(violations.is_empty(), "{}\n{}", summary.line(), violations.join("\n"));
    assert_eq!(summary.trials, Fault::ALL.len(), "{}", summary.line());
    // A rig that hits nothing proves nothing.
    assert!(summary.hits >= 20 && summary.trials_inside_start >= 8, "{}", summary.line());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_planted_mistake_is_found() {
    for (mutant, invariant) in MUTANTS {
        let settings = Settings {
            mutant: Some(mutant.to_owned()),
            until: Some(invariant.to_owned()),
            jobs: 1,
            ..settings(MUTANT_TRIALS)
        };
        let summary = run(&settings, |_| {}).await.unwrap();
        let found = violations(&summary);
        let caught = found.iter().any(|text| text.contains(&format!(": {invariant}: ")));
        assert!(caught, "{mutant} must break {invariant}: {}\n{}", summary.line(), found.join("\n"));
    }
}
