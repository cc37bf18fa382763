//! One call as a process: what it is given, what it answers, what it wrote into its log.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Lambda;
use super::record::Function;

/// How long Python may take to start before the function's own limit begins, and to end after it. The process
/// keeps the limit itself; this only ends one that cannot.
const START_MAX: Duration = Duration::from_secs(30);

/// The longest answer that is read: AWS's limit for a response.
pub(super) const RESPONSE_MAX: u64 = 6 * 1024 * 1024 + 100;

/// The credentials of the process; the sandbox takes any.
const CREDENTIALS: &str = "sandbox";

/// The file that names the process of a call under way.
const PID_FILE: &str = "pid";

/// A call to be made.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub function: Function,
    pub request_id: String,
    pub payload: String,
    pub client_context: Option<Value>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Ended {
    /// The response as JSON, or the error as AWS shapes it.
    pub result: Result<String, Value>,
    /// Everything that was written, with AWS's lines around it.
    pub log: Vec<u8>,
}

/// What the process leaves behind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Response(String),
    Error(Value),
}

impl Lambda {
    /// Runs a call to its end. Dropping the future kills its process group.
    pub(super) async fn run(&self, call: &Call) -> std::io::Result<Ended> {
        let function = &call.function;
        let folder = self.folder().join("work").join(&call.request_id);
        fs::create_dir_all(&folder)?;
        let logs = self.folder().join("logs").join(&function.name);
        fs::create_dir_all(&logs)?;
        let stamp = self.world.clock.now().strftime("%Y%m%dT%H%M%S").to_string();
        let log_path = logs.join(format!("{stamp}-{}.log", call.request_id));
        let log = File::create(&log_path)?;
        let code = self.code_folder(&function.code);
        let (asked, answered) = (folder.join("call.json"), folder.join("answer.json"));
        // A scale above one slows everything down; the limit never shrinks below its real length.
        let limit = Duration::from_secs(function.timeout).mul_f64(self.world.settings.time_scale.max(1.0));
        let told = json!({
            "function_name": function.name,
            "arn": function.arn(),
            "handler": function.handler,
            "memory": function.memory,
            "timeout": limit.as_secs_f64(),
            "request_id": call.request_id,
            "payload": call.payload,
            "client_context": call.client_context,
            "code": code,
        });
        fs::write(&asked, told.to_string())?;
        let mut command = tokio::process::Command::new("python3");
        command.arg(self.folder().join("bootstrap.py")).arg(&asked).arg(&answered);
        self.set_environment(&mut command, call, &code);
        command.current_dir(&code).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A group of its own, so that what the function starts dies with it.
        command.process_group(0);
        let begun = self.world.clock.now();
        let mut child = command.spawn()?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        group.remember(&folder);
        let ended = tokio::time::timeout(limit + START_MAX, child.wait()).await;
        drop(group);
        let milliseconds = self.world.clock.now().as_millisecond() - begun.as_millisecond();
        let result = match ended {
            Err(_) => Err(timed_out(call, limit)),
            Ok(status) => match read_answer(&answered) {
                Some(Told::Response(response)) => Ok(response),
                Some(Told::Error(error)) => Err(error),
                None => Err(died(call, status?)),
            },
        };
        drop(fs::remove_dir_all(&folder));
        let log = framed(call, &fs::read(&log_path).unwrap_or_default(), milliseconds);
        // The file is for people; the call is answered also without it.
        drop(fs::write(&log_path, &log));
        Ok(Ended { result, log })
    }

    fn set_environment(&self, command: &mut tokio::process::Command, call: &Call, code: &Path) {
        let function = &call.function;
        command
            .env("AWS_ENDPOINT_URL", self.world.endpoint())
            .env("AWS_ACCESS_KEY_ID", self.world.access_key())
            .env("AWS_SECRET_ACCESS_KEY", CREDENTIALS)
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(&function.variables)
            // AWS reserves these; a function's own variables cannot change them.
            .env("AWS_REGION", &function.region)
            .env("AWS_DEFAULT_REGION", &function.region)
            .env("AWS_LAMBDA_FUNCTION_NAME", &function.name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory.to_string())
            .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", function.name))
            .env("AWS_LAMBDA_LOG_STREAM_NAME", &call.request_id)
            .env("AWS_EXECUTION_ENV", format!("AWS_Lambda_{}", function.runtime))
            .env("LAMBDA_TASK_ROOT", code)
            .env("_HANDLER", &function.handler);
    }
}

/// Kills what calls left running when the sandbox's process was killed.
pub(super) fn end_orphans(work: &Path) {
    let Ok(folders) = fs::read_dir(work) else { return };
    for folder in folders.flatten().map(|entry| entry.path()) {
        let text = fs::read_to_string(folder.join(PID_FILE)).unwrap_or_default();
        let id = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) {
            // The number may belong to another process by now; ours names the call in its arguments.
            let shown = std::process::Command::new("ps").args(["-o", "command=", "-p", text.trim()]).output();
            if shown.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&id)) {
                kill(pid);
            }
        }
        drop(fs::remove_dir_all(&folder));
    }
}

/// Kills the process group when dropped: at the end nothing may be left, whatever ended the call.
struct Group(Option<Pid>);

impl Group {
    fn remember(&self, folder: &Path) {
        if let Some(pid) = self.0 {
            // Without this file only an orphan after a crash would be missed.
            drop(fs::write(folder.join(PID_FILE), pid.as_raw_nonzero().to_string()));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            kill(pid);
        }
    }
}

fn kill(pid: Pid) {
    if let Err(error) = kill_process_group(pid, Signal::KILL) {
        tracing::debug!(%error, "a call's process group is gone");
    }
}

fn read_answer(path: &Path) -> Option<Told> {
    // A response at the limit is a little longer in its wrapping, and each of its bytes may be escaped.
    if fs::metadata(path).ok()?.len() > RESPONSE_MAX * 2 {
        let message =
            format!("Response payload size exceeded maximum allowed payload size ({RESPONSE_MAX} bytes).");
        let error = json!({ "errorType": "Function.ResponseSizeTooLarge", "errorMessage": message });
        return Some(Told::Error(error));
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn timed_out(call: &Call, limit: Duration) -> Value {
    let (id, seconds) = (&call.request_id, limit.as_secs_f64());
    let message = format!("RequestId: {id} Error: Task timed out after {seconds:.2} seconds");
    json!({ "errorType": "Sandbox.Timedout", "errorMessage": message })
}

fn died(call: &Call, status: std::process::ExitStatus) -> Value {
    let how = status.code().map_or_else(|| "signal: killed".to_owned(), |code| format!("exit status {code}"));
    let message = format!("RequestId: {} Error: Runtime exited with error: {how}", call.request_id);
    json!({ "errorType": "Runtime.ExitError", "errorMessage": message })
}

/// The log with the lines that Lambda writes around each call.
fn framed(call: &Call, written: &[u8], milliseconds: i64) -> Vec<u8> {
    let (id, memory) = (&call.request_id, call.function.memory);
    let mut log = format!("START RequestId: {id} Version: $LATEST\n").into_bytes();
    log.extend_from_slice(written);
    if !log.ends_with(b"\n") {
        log.push(b'\n');
    }
    let end = format!(
        "END RequestId: {id}\nREPORT RequestId: {id}\tDuration: {milliseconds} ms\tBilled Duration: {milliseconds} ms\tMemory Size: {memory} MB\n"
    );
    log.extend_from_slice(end.as_bytes());
    log
}
