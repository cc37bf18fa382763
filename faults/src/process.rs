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
}

impl Launcher {
    /// Starts the program; it is killed when the answer is dropped. Output is appended to the
    /// log of this name.
    pub(crate) fn start(
        &self,
        log: &str,
        store: Option<&str>,
        crash_at: Option<&str>,
        arguments: &[&str],
    ) -> anyhow::Result<Child> {
        let path = self.log(log);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
        let errors = file.try_clone().context("a log cannot be shared")?;
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.project)
            .env("TRUNKLINE_TIME_RATIO", self.time_ratio.to_string())
            // The rig's Postgres is never killed and holds nothing that anybody wants.
            .env("TRUNKLINE_LAX_DURABILITY", "1")
            .env_remove("TRUNKLINE_CRASH_AT")
            .env_remove("TRUNKLINE_ENV")
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .kill_on_drop(true);
        if let Some(store) = store {
            command.env("DATABASE_URL", store);
        }
        if let Some(spec) = crash_at {
            command.env("TRUNKLINE_CRASH_AT", spec);
        }
        command.spawn().with_context(|| format!("{} cannot be started", self.program.display()))
    }

    /// Runs the program to its end; an error shows what it said.
    pub(crate) async fn complete(
        &self,
        log: &str,
        store: Option<&str>,
        arguments: &[&str],
    ) -> anyhow::Result<()> {
        let status = self.start(log, store, None, arguments)?.wait().await?;
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

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}
