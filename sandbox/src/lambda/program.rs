//! One call as a process: what it is given, what it answers, what it wrote into its log.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Lambda;
use super::record::Function;
use crate::process::{self, Program};

/// How long Python may take to start before the function's own limit begins, and to end after it. The process
/// keeps the limit itself; this only ends one that cannot.
const START_MAX: Duration = Duration::from_secs(30);

/// The longest answer that is read: AWS's limit for a response.
pub(super) const RESPONSE_MAX: u64 = 6 * 1024 * 1024 + 100;

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
        let stream = stream_name(self, call);
        let told = json!({
            "log_stream": stream,
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
        let script = self.folder().join("bootstrap.py");
        let program = Program {
            command: vec!["python3".into(), script.into(), asked.into(), answered.clone().into()],
            environment: environment(call, &code, &stream),
            current: code,
            folder: folder.clone(),
            stdout: log.try_clone()?,
            stderr: log,
        };
        let begun = self.world.clock.now();
        let ended = tokio::time::timeout(limit + START_MAX, process::run(&self.world, program)).await;
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
        self.world.logs.append(&log_group(function), &stream, &log, self.world.clock.now());
        // The file is for people; the call is answered also without it.
        drop(fs::write(&log_path, &log));
        Ok(Ended { result, log })
    }
}

fn environment(call: &Call, code: &Path, stream: &str) -> Vec<(String, String)> {
    let function = &call.function;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut all = vec![pair("PYTHONUNBUFFERED", "1"), pair("PYTHONDONTWRITEBYTECODE", "1")];
    all.extend(function.variables.clone());
    // AWS reserves these; a function's own variables cannot change them.
    all.extend([
        pair("AWS_REGION", &function.region),
        pair("AWS_DEFAULT_REGION", &function.region),
        pair("AWS_LAMBDA_FUNCTION_NAME", &function.name),
        pair("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        pair("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &function.memory.to_string()),
        pair("AWS_LAMBDA_LOG_GROUP_NAME", &log_group(function)),
        pair("AWS_LAMBDA_LOG_STREAM_NAME", stream),
        pair("AWS_EXECUTION_ENV", &format!("AWS_Lambda_{}", function.runtime)),
        pair("LAMBDA_TASK_ROOT", &code.to_string_lossy()),
        pair("_HANDLER", &function.handler),
    ]);
    all
}

/// Kills what calls left running when the sandbox's process was killed.
pub(super) fn end_orphans(work: &Path) {
    let Ok(folders) = fs::read_dir(work) else { return };
    for folder in folders.flatten().map(|entry| entry.path()) {
        process::end_orphan(&folder);
        drop(fs::remove_dir_all(&folder));
    }
}

fn log_group(function: &Function) -> String {
    format!("/aws/lambda/{}", function.name)
}

/// As on AWS a stream belongs to an instance of the function; here each call has its own, named by its id.
fn stream_name(lambda: &Lambda, call: &Call) -> String {
    let day = lambda.world.clock.now().strftime("%Y/%m/%d").to_string();
    format!("{day}/[$LATEST]{}", call.request_id.replace('-', ""))
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
