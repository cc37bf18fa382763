//! Running a job's script as a Python program with Glue's argument convention.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process_group};

use super::execute::Logs;
use crate::catalog::file_name;
use crate::world::World;

/// The credentials of the program; the sandbox takes any.
const CREDENTIALS: &str = "sandbox";
/// How much of the end of the error output is searched for the error.
const ERROR_TAIL_BYTES: u64 = 16 * 1024;

/// Runs `python3 script.py --JOB_NAME … --key value …` to its end. Dropping the future kills its process group.
pub(super) async fn run(
    world: &Arc<World>,
    content: &str,
    job: &str,
    run: &str,
    arguments: &BTreeMap<String, String>,
    logs: &Logs,
) -> Result<(), String> {
    let folder = work_folder(&world.root, run);
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make the run's folder: {error}"))?;
    let script = folder.join("script.py");
    fs::write(&script, content).map_err(|error| format!("cannot write the script: {error}"))?;
    let stdout = logs.stdout().map_err(|error| format!("cannot open the log: {error}"))?;
    let (stderr, stderr_path) = logs.stderr().map_err(|error| format!("cannot open the log: {error}"))?;
    let before = stderr.metadata().map_or(0, |metadata| metadata.len());

    let mut command = tokio::process::Command::new("python3");
    command.arg(&script).args(["--JOB_NAME", job, "--JOB_RUN_ID", run, "--JOB_ID", job]);
    for (name, value) in arguments {
        command.arg(name).arg(value);
    }
    command
        .current_dir(&folder)
        .env("AWS_ENDPOINT_URL", world.endpoint())
        .env("AWS_ACCESS_KEY_ID", world.access_key())
        .env("AWS_SECRET_ACCESS_KEY", CREDENTIALS)
        .env("AWS_DEFAULT_REGION", crate::world::REGION)
        .env("AWS_REGION", crate::world::REGION)
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        // A group of its own, so that what the script starts dies with it.
        .process_group(0);
    let mut child = command.spawn().map_err(|error| format!("cannot start python3: {error}"))?;
    let group = Group { pid: child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) };
    group.remember(&folder);
    let status = child.wait().await.map_err(|error| format!("cannot wait for python3: {error}"))?;
    drop(group);
    drop(fs::remove_file(folder.join(PID_FILE)));
    if status.success() {
        return Ok(());
    }
    let last = last_error_line(&stderr_path, before);
    Err(last.unwrap_or_else(|| match status.code() {
        Some(code) => format!("Command failed with exit code {code}"),
        None => "Command was killed by a signal".to_owned(),
    }))
}

/// Kills what a run left running when the sandbox's process was killed.
pub(super) fn end_orphan(root: &Path, run: &str) {
    let path = work_folder(root, run).join(PID_FILE);
    let Ok(text) = fs::read_to_string(&path) else { return };
    drop(fs::remove_file(&path));
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { return };
    // The number may belong to another process by now; ours names the run in its arguments.
    let shown = std::process::Command::new("ps").args(["-o", "command=", "-p", text.trim()]).output();
    let ours = shown.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(run));
    if ours {
        kill(pid);
    }
}

const PID_FILE: &str = "pid";

fn work_folder(root: &Path, run: &str) -> PathBuf {
    root.join("glue").join("work").join(file_name(run))
}

/// Kills the process group when dropped: at the end nothing may be left, whatever ended the run.
struct Group {
    pid: Option<Pid>,
}

impl Group {
    fn remember(&self, folder: &Path) {
        if let Some(pid) = self.pid {
            // Without this file only an orphan after a crash would be missed.
            drop(fs::write(folder.join(PID_FILE), pid.as_raw_nonzero().to_string()));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            kill(pid);
        }
    }
}

/// Kills a process group; one that is gone already needs no killing.
fn kill(pid: Pid) {
    if let Err(error) = kill_process_group(pid, Signal::KILL) {
        tracing::debug!(%error, "a job's process group is gone");
    }
}

/// The last line of the error output, which is where Python names the exception.
fn last_error_line(path: &Path, from: u64) -> Option<String> {
    let mut file = fs::File::open(path).ok()?;
    let end = file.metadata().ok()?.len();
    let from = from.max(end.saturating_sub(ERROR_TAIL_BYTES));
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail).into_owned();
    tail.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}
