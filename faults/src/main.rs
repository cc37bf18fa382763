//! `trunkline-faults`: kill trials from the command line. Build the program that is tried
//! first: `cargo build -p trunkline -p trunkline-faults`.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use trunkline_faults::{Settings, TIME_RATIO, report::TrialReport, run};

/// Kills Trunkline's processes and compares the store with the sandbox's ledger.
#[derive(Debug, Parser)]
#[command(name = "trunkline-faults", version)]
struct Arguments {
    /// Seed of the first trial; each further one has the next number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many trials
    #[arg(long, default_value_t = 200)]
    trials: u64,
    /// Print one JSON document at the end instead of a line for each trial
    #[arg(long)]
    json: bool,
    /// How many `serve` processes share the store
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    /// Factor of all time-like settings
    #[arg(long, default_value_t = TIME_RATIO)]
    time_ratio: f64,
    /// Leave a task type out; may be repeated
    #[arg(long, value_name = "TYPE")]
    without: Vec<String>,
    /// The program that is tried [default: `trunkline` beside this one]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Have the sandbox hide job runs for longer than any service may: violations must be found
    #[arg(long)]
    lie: bool,
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
        seed: arguments.seed,
        trials: arguments.trials,
        replicas: usize::from(arguments.replicas),
        time_ratio: arguments.time_ratio,
        without: arguments.without,
        lie: arguments.lie,
        keep: arguments.keep,
    };
    let json = arguments.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let summary = runtime.block_on(run(&settings, |report| hear(report, json)))?;
    if let Some(folder) = &summary.folder {
        writeln!(std::io::stderr(), "the processes' logs are in {}", folder.display())?;
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

/// One line for each trial: on stdout, or where the JSON document goes there, on stderr.
fn hear(report: &TrialReport, json: bool) {
    let line = serde_json::to_string(report).unwrap_or_default();
    // Nobody to tell is no reason to stop.
    let _ = if json { writeln!(std::io::stderr(), "{line}") } else { writeln!(std::io::stdout(), "{line}") };
}
