//! Programs of this machine that stand for a service's work: Glue scripts, Lambda calls, containers, Spark jobs.
//!
//! One way to start them for all services: a process group of its own, the sandbox as the AWS that the program
//! sees, output into files, and nothing left over, whether the work ends, is dropped, or the sandbox itself is
//! killed. What a program is told and what its end means is each service's business.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::world::World;

/// The secret of the programs' credentials; the sandbox takes any.
const CREDENTIALS: &str = "sandbox";

/// The file that names the process group of a program under way.
const PID_FILE: &str = "pid";

/// The empty file that a program has as its standard input, with a lock that lives as long as any process of the
/// program's group: how an orphan is told from a stranger that was given its number.
const ALIVE_FILE: &str = "alive";

/// What the sandbox runs in place of something that it cannot run: the script of a job on AWS, an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Script {
    /// Path in the pipeline's folder; its ending says what it is.
    pub name: String,
    /// The text.
    pub content: String,
}

impl Script {
    /// The last part of its path.
    pub(crate) fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or("script.py")
    }

    /// How it is run, once it lies at this path.
    pub(crate) fn command(&self, path: &Path) -> Vec<OsString> {
        let interpreter = if self.name.to_lowercase().ends_with(".sh") { "sh" } else { "python3" };
        vec![interpreter.into(), path.into()]
    }
}

/// A program to be run.
#[derive(Debug)]
pub(crate) struct Program {
    /// What is run, and its arguments; the first is looked for in the `PATH`.
    pub command: Vec<OsString>,
    /// Where it runs.
    pub current: PathBuf,
    /// The folder of this one execution, in which its traces are kept while it runs.
    pub folder: PathBuf,
    /// Variables beside those that name the sandbox.
    pub environment: Vec<(String, String)>,
    /// Where its output goes.
    pub stdout: File,
    /// Where its errors go.
    pub stderr: File,
}

/// Runs a program to its end. Dropping the future kills its process group.
pub(crate) async fn run(world: &World, program: Program) -> io::Result<ExitStatus> {
    fs::create_dir_all(&program.folder)?;
    let alive = locked(&program.folder.join(ALIVE_FILE))?;
    let Some((first, arguments)) = program.command.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no command to run"));
    };
    let mut command = tokio::process::Command::new(first);
    command
        .args(arguments)
        .current_dir(&program.current)
        .env("AWS_ENDPOINT_URL", world.endpoint())
        .env("AWS_ACCESS_KEY_ID", world.access_key())
        .env("AWS_SECRET_ACCESS_KEY", CREDENTIALS)
        .env("AWS_DEFAULT_REGION", crate::world::REGION)
        .env("AWS_REGION", crate::world::REGION)
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
        .envs(program.environment)
        .stdin(alive)
        .stdout(Stdio::from(program.stdout))
        .stderr(Stdio::from(program.stderr))
        // A group of its own, so that what the program starts dies with it.
        .process_group(0);
    let mut child = command.spawn()?;
    drop(command);
    let group = Group { pid: child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) };
    group.remember(&program.folder);
    let status = child.wait().await?;
    drop(group);
    drop(fs::remove_file(program.folder.join(PID_FILE)));
    Ok(status)
}

/// Kills what an execution left running when the sandbox's process was killed.
pub(crate) fn end_orphan(folder: &Path) {
    let path = folder.join(PID_FILE);
    let Ok(text) = fs::read_to_string(&path) else { return };
    drop(fs::remove_file(&path));
    let lives = File::open(folder.join(ALIVE_FILE))
        .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err());
    if let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw)
        && lives
    {
        kill(pid);
    }
}

/// The code that a container runtime tells: 128 and the signal's number where a signal ended the program.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn locked(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
    // Nobody else holds it: each execution has a folder of its own, and orphans were ended.
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        tracing::debug!(%error, path = %path.display(), "an execution's lock is held already");
    }
    Ok(file)
}

/// Kills the process group when dropped: at the end nothing may be left, whatever ended the work.
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
        tracing::debug!(%error, "a program's process group is gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_is_killed_and_a_stranger_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let spawn = |stdin: Stdio| {
            use std::os::unix::process::CommandExt as _;
            std::process::Command::new("sleep").arg("60").stdin(stdin).process_group(0).spawn().unwrap()
        };
        let mut orphan = spawn(Stdio::from(locked(&folder.path().join(ALIVE_FILE)).unwrap()));
        fs::write(folder.path().join(PID_FILE), orphan.id().to_string()).unwrap();
        end_orphan(folder.path());
        assert_eq!(exit_code(orphan.wait().unwrap()), 128 + 9);
        assert!(!folder.path().join(PID_FILE).exists());

        let mut stranger = spawn(Stdio::null());
        fs::write(folder.path().join(PID_FILE), stranger.id().to_string()).unwrap();
        end_orphan(folder.path());
        assert!(stranger.try_wait().unwrap().is_none(), "its number was given to another process");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
