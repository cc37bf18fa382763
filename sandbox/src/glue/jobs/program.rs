//! Running a job's script as a Python program with Glue's argument convention.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::execute::Logs;
use crate::catalog::file_name;
use crate::process::{self, Program};
use crate::world::World;

/// How much of the end of the error output is searched for the error.
const ERROR_TAIL_BYTES: u64 = 16 * 1024;

/// Runs `python3 script.py --JOB_NAME … --key value …` to its end. Dropping the future kills its process group.
pub(super) async fn run(
    world: &World,
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
    let mut command: Vec<OsString> = vec!["python3".into(), script.into()];
    command.extend(["--JOB_NAME", job, "--JOB_RUN_ID", run, "--JOB_ID", job].map(OsString::from));
    for (name, value) in arguments {
        command.extend([name.into(), value.into()]);
    }
    let program =
        Program { command, current: folder.clone(), folder, environment: Vec::new(), stdout, stderr };
    let status =
        process::run(world, program).await.map_err(|error| format!("cannot run python3: {error}"))?;
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
    process::end_orphan(&work_folder(root, run));
}

fn work_folder(root: &Path, run: &str) -> PathBuf {
    root.join("glue").join("work").join(file_name(run))
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
