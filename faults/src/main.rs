//! `trunkline-faults`: fault trials from the command line. Build the program that is tried
//! first: `cargo build -p trunkline -p trunkline-faults`.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use trunkline_faults::{
    MUTANTS, Settings, TIME_RATIO,
    fault::Fault,
    report::{TrialReport, document},
    run,
};

/// Breaks what Trunkline stands on and compares the store with the sandbox's ledger.
#[derive(Debug, Parser)]
#[command(name = "trunkline-faults", version)]
struct Arguments {
    /// A fault of the matrix, e.g. F7; may be repeated [default: all, in turns]
    #[arg(long, value_name = "NUMBER", value_parser = fault)]
    fault: Vec<Fault>,
    /// Seed of the first trial of each fault; each further one has the next number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many trials, of all faults together
    #[arg(long, default_value_t = 370)]
    trials: u64,
    /// Print one JSON document at the end instead of a line for each trial
    #[arg(long)]
    json: bool,
    /// Write what was found as a document, e.g. docs/faults.md
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// How many `serve` processes share the store [default: what the fault needs]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: Option<u8>,
    /// Factor of all time-like settings
    #[arg(long, default_value_t = TIME_RATIO)]
    time_ratio: f64,
    /// The program that is tried [default: `trunkline` beside this one]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// A program with the sandbox, where the one that is tried was built without [default: that one]
    #[arg(long, value_name = "FILE")]
    sandbox: Option<PathBuf>,
    /// Trials that go on at once, each with a Postgres and a sandbox of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// Plant a mistake: violations must be found
    #[arg(long, value_name = "MISTAKE", value_parser = MUTANTS.map(|(name, _)| name))]
    mutant: Option<String>,
    /// Write each trial down, and do none that stands there already: a series of hours may be interrupted
    #[arg(long, value_name = "FILE", conflicts_with = "mutant")]
    journal: Option<PathBuf>,
    /// Keep the folder with the processes' logs
    #[arg(long)]
    keep: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let program = match arguments.program {
        Some(program) => program,
        None => std::env::current_exe()
            .context("the path of this program is not known")?
            .with_file_name("trunkline"),
    };
    let settings = Settings {
        program,
        sandbox: arguments.sandbox,
        faults: arguments.fault,
        seed: arguments.seed,
        trials: arguments.trials,
        replicas: arguments.replicas.map(usize::from),
        time_ratio: arguments.time_ratio,
        mutant: arguments.mutant,
        jobs: usize::from(arguments.jobs),
        until: None,
        keep: arguments.keep,
        journal: arguments.journal,
    };
    let json = arguments.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let summary = runtime.block_on(run(&settings, |report| hear(report, json)))?;
    for folder in &summary.folders {
        writeln!(std::io::stderr(), "the processes' logs are in {}", folder.display())?;
    }
    if let Some(path) = &arguments.report {
        std::fs::write(path, document(&summary, path))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &summary)?;
        writeln!(out)?;
        writeln!(std::io::stderr(), "{}", summary.line())?;
    } else {
        writeln!(out, "{}", summary.line())?;
    }
    Ok(if summary.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fault(word: &str) -> Result<Fault, String> {
    Fault::from_word(word).ok_or_else(|| {
        let known: Vec<&str> = Fault::ALL.iter().map(|fault| fault.word()).collect();
        format!("there is no fault {word}; the matrix has {}", known.join(", "))
    })
}

/// One line for each trial: on stdout, or where the JSON document goes there, on stderr.
fn hear(report: &TrialReport, json: bool) {
    let line = serde_json::to_string(report).unwrap_or_default();
    // Nobody to tell is no reason to stop.
    let _ = if json { writeln!(std::io::stderr(), "{line}") } else { writeln!(std::io::stdout(), "{line}") };
}
