//! Starting and killing the program that is tried.

use std::{fs::OpenOptions, path::PathBuf, process::Stdio};

use anyhow::Context as _;
use tokio::process::{Child, Command};

/// What all processes of the rig have in common.
#[derive(Clone, Debug)]
pub(crate) struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// The project, in which they run.
    pub project: PathBuf,
    /// Where their output goes.
    pub logs: PathBuf,
    /// The factor for time-like settings.
    pub time_ratio: f64,
    /// The mistake that is planted.
    pub mutant: Option<String>,
}

/// A secret in every process: it must be found nowhere afterwards.
pub(crate) const CANARY: &str = "canary-7c1e0d52b6f94a3f";

/// Mistakes that are planted outside of the program: in the store, or in the sandbox.
const OUTSIDE: [&str; 2] = ["no_fence", "lying_service"];

impl Launcher {
    /// Starts the program with these variables; it is killed when the answer is dropped. Output
    /// is appended to the log of this name.
    pub(crate) fn start(
        &self,
        log: &str,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> anyhow::Result<Child> {
        let path = self.log(log);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
        let errors = file.try_clone().context("a log cannot be shared")?;
        let mut command = Command::new(&self.program);
        for name in ["TRUNKLINE_CRASH_AT", "TRUNKLINE_STOP_AT", "TRUNKLINE_CLOCK_JUMP", "TRUNKLINE_ENV"] {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(&self.project)
            .env("TRUNKLINE_TIME_RATIO", self.time_ratio.to_string())
            // A trial's Postgres may be killed; the machine it runs on is not.
            .env("TRUNKLINE_LAX_DURABILITY", "1")
            .env_remove("DATABASE_URL")
            // Nothing may ever write this anywhere.
            .env("AWS_SECRET_ACCESS_KEY", CANARY)
            .env("AWS_SESSION_TOKEN", CANARY)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .kill_on_drop(true);
        if let Some(mutant) = self.mutant.as_deref().filter(|mutant| !OUTSIDE.contains(mutant)) {
            command.env("TRUNKLINE_MUTANT", mutant);
        }
        command.spawn().with_context(|| format!("{} cannot be started", self.program.display()))
    }

    /// Runs the program to its end; an error shows what it said.
    pub(crate) async fn complete(
        &self,
        log: &str,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> anyhow::Result<()> {
        let status = self.start(log, variables, arguments)?.wait().await?;
        if status.success() {
            return Ok(());
        }
        anyhow::bail!("`trunkline {}` ended with {status}: {}", arguments.join(" "), self.tail(log))
    }

    /// The end of a log, on one line.
    pub(crate) fn tail(&self, log: &str) -> String {
        /// Enough for an error with its causes.
        const TAIL_LINES: usize = 6;
        let text = std::fs::read_to_string(self.log(log)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ")
    }

    /// The logs with this beginning that hold a text, by name.
    pub(crate) fn logs_with(&self, beginning: &str, text: &str) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(&self.logs) else { return Vec::new() };
        let names = folder.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let holds = |name: &String| {
            let content = std::fs::read(self.logs.join(name)).unwrap_or_default();
            name.starts_with(beginning) && String::from_utf8_lossy(&content).contains(text)
        };
        names.filter(holds).collect()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

/// Whether a process stands still because it was told to.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// Sends a signal to a process of ours.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, signal);
    }
}
