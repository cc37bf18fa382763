//! The supervisor: a process of its own for each command, which outlives the orchestrator.
//!
//! It is started as `PROGRAM __supervise DIR`, runs the command of `DIR/command.json` once,
//! keeps its output, ends it in time and writes down how it ended. It never starts a command
//! that was started before: the lock and `started.json` decide, whoever calls it how often.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    folder::{Abandoned, Child, Ended, Folder, How, Launch, Secret, born},
    output::Writer,
};
use crate::{
    operator::Outputs,
    secrets::mask::{Mask, Stream},
};

/// What the supervisor says on its standard output when the command is about to be run.
pub(super) const STARTED: &str = "started";

/// How long a command may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// How long output is still read after the command has ended: a process that it left behind
/// may hold the pipe open for ever.
const DRAIN: Duration = Duration::from_secs(2);

/// How often the supervisor looks for a request to stop.
const LOOK: Duration = Duration::from_millis(200);

/// The longest that secrets are waited for, and the most that is read of them. Who starts a
/// supervisor writes them at once.
const SECRET_WAIT: Duration = Duration::from_secs(10);
const SECRET_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The longest last line that is read as outputs.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Runs the command of an attempt's folder. Gives the exit code of the supervisor itself: 0 if
/// it ran the command, however that ended; 3 if there was nothing to do; 1 if it could not
/// keep its books. To be called with no runtime running, in a process that does nothing else.
pub fn supervise(folder: &Path) -> i32 {
    // Out of the terminal's and the caller's group: their end must not be the command's.
    let _ = rustix::process::setsid();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    match runtime.block_on(run(&Folder::new(folder))) {
        Ok(true) => 0,
        Ok(false) => 3,
        Err(error) => complain(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the supervisor has no other place to say why it cannot work")]
fn complain(error: &io::Error) -> i32 {
    eprintln!("supervisor: {error}");
    1
}

/// Whether the command was run.
async fn run(folder: &Folder) -> io::Result<bool> {
    let Some(_lock) = folder.try_lock()? else { return Ok(false) };
    let launch: Launch = folder.read("command.json").ok_or(io::ErrorKind::NotFound)?;
    let given_up =
        folder.read::<Abandoned>("abandoned.json").is_some_and(|mark| mark.intent_at >= launch.intent_at);
    if given_up || folder.has("started.json") {
        return Ok(false);
    }
    // Before the mark that the command was started: whoever died while writing them has started
    // nothing, and another supervisor may come.
    let secret = if launch.secret { read_secret().await? } else { Secret::default() };
    folder.write("started.json", &json!({ "supervisor": std::process::id() }))?;
    announce();
    let ended = match run_command(folder, &launch, &secret).await {
        Ok(ended) => ended,
        Err(error) => Ended {
            how: How::NotRun,
            exit_code: None,
            signal: None,
            message: format!("`{}` could not be run: {error}", launch.argv.join(" ")),
            outputs: Outputs::new(),
        },
    };
    folder.write("ended.json", &ended)?;
    Ok(true)
}

/// Tells the one who waits, if anybody still does.
fn announce() {
    let mut out = io::stdout();
    let _ = writeln!(out, "{STARTED}").and_then(|()| out.flush());
}

async fn run_command(folder: &Folder, launch: &Launch, secret: &Secret) -> io::Result<Ended> {
    let (program, arguments) = launch.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(&launch.env)
        .envs(&secret.env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(cwd) = &launch.cwd {
        command.current_dir(cwd);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let writer = Arc::new(Mutex::new(Writer::new(folder.output())?));
    let mut child = command.spawn()?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    folder.write("child.json", &Child { pid, born: born(pid) })?;
    let mask = Mask::of(&secret.mask);
    let stdout = child.stdout.take().map(|pipe| tokio::spawn(copy(pipe, mask.clone(), Arc::clone(&writer))));
    let stderr = child.stderr.take().map(|pipe| tokio::spawn(copy(pipe, mask, writer)));

    let limit = Duration::from_millis(launch.timeout_milliseconds);
    let (how, status) = tokio::select! {
        status = timeout(limit, child.wait()) => match status {
            Ok(status) => (How::Exited, status?),
            Err(_) => (How::TimedOut, stop(pid, &mut child).await?),
        },
        () = asked_to_stop(folder) => (How::Cancelled, stop(pid, &mut child).await?),
        _ = terminate.recv() => (How::Cancelled, stop(pid, &mut child).await?),
    };
    // Whatever the command left behind in its group ends with it.
    signal_group(pid, Signal::KILL);
    let last_line = drained(stdout).await;
    drained(stderr).await;
    Ok(ended(how, status, &last_line))
}

fn ended(how: How, status: ExitStatus, last_line: &[u8]) -> Ended {
    use std::os::unix::process::ExitStatusExt as _;
    let outputs = match serde_json::from_slice::<Value>(last_line) {
        Ok(Value::Object(outputs)) => outputs,
        _ => Outputs::new(),
    };
    Ended { how, exit_code: status.code(), signal: status.signal(), message: String::new(), outputs }
}

/// Returns when the operator asks.
async fn asked_to_stop(folder: &Folder) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if folder.has("cancel") {
            return;
        }
    }
}

/// Asks the command's whole group to end, and ends it if it does not.
async fn stop(pid: i32, child: &mut tokio::process::Child) -> io::Result<ExitStatus> {
    signal_group(pid, Signal::TERM);
    if let Ok(status) = timeout(GRACE, child.wait()).await {
        return status;
    }
    signal_group(pid, Signal::KILL);
    child.wait().await
}

/// Sends a signal to a group; one that is gone has what it needs.
pub(super) fn signal_group(pid: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(pid).filter(|_| pid > 1) {
        let _ = kill_process_group(group, signal);
    }
}

/// Reads the secrets from the pipe that this process was started with.
async fn read_secret() -> io::Result<Secret> {
    let mut bytes = Vec::new();
    let mut pipe = tokio::io::stdin().take(SECRET_BYTES_MAX);
    timeout(SECRET_WAIT, pipe.read_to_end(&mut bytes)).await??;
    // Without the reader's words, which may quote them.
    serde_json::from_slice(&bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the secrets of the command did not come"))
}

/// Copies a pipe to the output, masked, and gives its last line.
async fn copy(mut pipe: impl AsyncRead + Unpin, mask: Mask, writer: Arc<Mutex<Writer>>) -> Vec<u8> {
    let mut lines = LastLine::default();
    let mut stream = Stream::new(mask);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = pipe.read(&mut buffer).await.unwrap_or_default();
        let piece = if count == 0 { stream.finish() } else { stream.push(&buffer[..count]) };
        lines.push(&piece);
        // A full disk must not stop the command: its output is lost, its result is not.
        let _ = writer.lock().unwrap_or_else(PoisonError::into_inner).write(&piece);
        if count == 0 {
            return lines.last();
        }
    }
}

async fn drained(copying: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    match copying {
        Some(copying) => timeout(DRAIN, copying).await.ok().and_then(Result::ok).unwrap_or_default(),
        None => Vec::new(),
    }
}

/// Remembers the last line that is not empty.
#[derive(Default)]
struct LastLine {
    line: Vec<u8>,
    current: Vec<u8>,
    too_long: bool,
}

impl LastLine {
    fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.too_long |= self.current.len() + part.len() > LINE_BYTES_MAX;
            if !self.too_long {
                self.current.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.current);
        let line = line.trim_ascii();
        if std::mem::take(&mut self.too_long) {
            self.line.clear();
        } else if !line.is_empty() {
            self.line = line.to_vec();
        }
    }

    fn last(mut self) -> Vec<u8> {
        self.end_line();
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_last_that_says_something() {
        let mut lines = LastLine::default();
        lines.push(b"a\n{\"x\"");
        lines.push(b": 1}\n\n  \n");
        assert_eq!(lines.last(), b"{\"x\": 1}");
        let mut lines = LastLine::default();
        lines.push(b"{}\n");
        lines.push(&b"y".repeat(LINE_BYTES_MAX + 1));
        assert!(lines.last().is_empty());
    }
}
