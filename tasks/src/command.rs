//! `command`: a program on the machine of the orchestrator.
//!
//! **Safe start**: each attempt has a folder of its own, named by its id, and a supervisor
//! process that outlives the orchestrator. The supervisor runs the command only if it holds the
//! folder's lock and the command was never started before, and it writes that down first:
//! whoever starts supervisors for an attempt, and how often, one command runs. After a crash the
//! folder tells whether it runs, how it ended, and what it printed.
//!
//! What can stay open: a replica on another machine does not see the folder. A start that it
//! finds there unconfirmed ends as `lost` after the quarantine; a running command is waited for
//! until its time is over.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use indexmap::IndexMap;
use jiff::Timestamp;
use rustix::process::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command as Process,
    time::timeout,
};

use crate::{
    aws::{later, next_look, scaled},
    clients::Clients,
    clock::Clock,
    operator::{
        ErrorClass, Failure, Found, Handle, Intent, LogChunk, Operator, Outcome, PrepareContext, Request,
        Sent, Status,
    },
    registry::Options,
    scalar::Scalar,
};

mod folder;
pub(crate) mod output;
mod supervise;

#[cfg(test)]
mod tests;

pub use supervise::supervise;

use folder::{Abandoned, Child, Ended, Folder, How, Launch, Secret};

/// How long a new supervisor may take until it says that it runs the command.
const START_WAIT: Duration = Duration::from_secs(10);

/// A command without a `timeout` ends after a day.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How much of a failed command's output becomes part of its error.
const TAIL_BYTES: usize = 4 * 1024;

/// Variables of the orchestrator that are none of a command's business: they lead to its store.
const WITHHELD: [&str; 4] = ["DATABASE_URL", "PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE"];

/// The operator.
#[derive(Clone, Debug)]
pub struct Command {
    clock: Clock,
    quarantine: Duration,
    root: PathBuf,
    supervisor: PathBuf,
}

/// Settings of a `command` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// A program with its arguments as a list, or a line for `/bin/sh`.
    pub command: CommandLine,
    /// Environment variables, laid over those of the orchestrator. Here, and not in `command`,
    /// is the place of `{{ secrets.… }}`: arguments are shown to everybody on the machine. What
    /// the command prints is searched for them.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub env: IndexMap<String, Scalar>,
    /// The folder to run in; without one, the folder in which the orchestrator was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// What to run.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum CommandLine {
    /// For the shell.
    Shell(String),
    /// A program with its arguments, as they are.
    Arguments(Vec<Scalar>),
}

/// What a handle says.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Detail {
    /// The identity of the folder of folders.
    root: String,
    attempt: String,
    since: Timestamp,
    timeout_milliseconds: u64,
}

impl Command {
    /// Takes the folder and the supervisor of the options.
    pub fn new(options: &Options) -> Self {
        Self {
            clock: options.clock.clone(),
            quarantine: options.quarantine,
            root: options.command_folder.clone(),
            supervisor: options.supervisor.clone(),
        }
    }

    fn folder(&self, attempt: &str) -> Folder {
        Folder::new(self.root.join(attempt))
    }

    /// The attempt's folder and what its handle says, if it is a folder of this machine.
    fn own(&self, handle: &Handle) -> Option<(Folder, Detail)> {
        let detail: Detail = serde_json::from_value(handle.detail.clone()).ok()?;
        let own = folder::identity(&self.root).ok()? == detail.root;
        own.then(|| (self.folder(&detail.attempt), detail))
    }

    fn status(&self, handle: &Handle) -> Status {
        let Some((folder, detail)) = self.own(handle) else { return self.elsewhere(handle) };
        if let Some(ended) = folder.read::<Ended>("ended.json") {
            return read_end(&folder, ended);
        }
        match folder.try_lock() {
            Ok(None) => self.running(&detail),
            Ok(Some(_lock)) => match folder.read::<Ended>("ended.json") {
                Some(ended) => read_end(&folder, ended),
                None => orphaned(&folder),
            },
            Err(error) => {
                Status::Unavailable(Failure::new(ErrorClass::System, format!("{}: {error}", handle.id)))
            }
        }
    }

    /// Asking costs nothing here, so a short command is asked about soon and a long one less
    /// and less often.
    fn running(&self, detail: &Detail) -> Status {
        let now = self.clock.now();
        let age = Duration::try_from(now.duration_since(detail.since)).unwrap_or_default();
        let pause = (age / 8).clamp(Duration::from_millis(50), Duration::from_secs(2));
        Status::Running { remote_state: "RUNNING".to_owned(), poll_at: Some(later(now, pause)) }
    }

    fn elsewhere(&self, handle: &Handle) -> Status {
        let Ok(detail) = serde_json::from_value::<Detail>(handle.detail.clone()) else {
            return Status::Gone(Failure::new(ErrorClass::Lost, "the stored handle names no command"));
        };
        let limit = Duration::from_millis(detail.timeout_milliseconds).saturating_add(self.quarantine);
        if self.clock.now() < later(detail.since, limit) {
            let text = "the command runs on another machine, whose orchestrator is not there";
            return Status::Unavailable(Failure::new(ErrorClass::System, text));
        }
        let text =
            "the command ran on another machine; its time is over, and how it ended is known only there";
        Status::Gone(Failure::new(ErrorClass::Lost, text))
    }

    /// Prepares the folder and starts a supervisor on it.
    fn spawn(&self, clients: &Clients, intent: &Intent<'_>) -> io::Result<tokio::process::Child> {
        let request = intent.request;
        let folder = self.folder(&request.token);
        fs::create_dir_all(folder.path())?;
        let (launch, secret) = launch(clients, intent);
        folder.write("command.json", &launch)?;
        let mut process = Process::new(&self.supervisor);
        process
            .arg("__supervise")
            .arg(folder.path())
            .stdin(if launch.secret { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.path().join("supervisor.log"))?)
            .kill_on_drop(false);
        for name in WITHHELD {
            process.env_remove(name);
        }
        let mut supervisor = process.spawn()?;
        if let Some(mut pipe) = supervisor.stdin.take() {
            let secret = serde_json::to_vec(&secret)?;
            tokio::spawn(async move {
                // One that does not read it has ended, or has nothing to start.
                let _ = pipe.write_all(&secret).await;
            });
        }
        Ok(supervisor)
    }

    /// Waits until the command was started or cannot have been.
    async fn await_start(&self, mut supervisor: tokio::process::Child, intent: &Intent<'_>) -> Sent {
        let folder = self.folder(&intent.request.token);
        let mut line = String::new();
        let said = match supervisor.stdout.take() {
            Some(out) => timeout(START_WAIT, BufReader::new(out).read_line(&mut line)).await,
            None => Ok(Ok(0)),
        };
        if line.trim() == supervise::STARTED || folder.has("started.json") {
            return match self.handle(intent) {
                Ok(handle) => Sent::Accepted(handle),
                Err(error) => Sent::Unknown(broken(&error)),
            };
        }
        if said.is_err() {
            return Sent::Unknown(Failure::new(ErrorClass::System, "the supervisor has not answered yet"));
        }
        // It ended without having started anything, or another one holds the lock.
        let log = fs::read_to_string(folder.path().join("supervisor.log")).unwrap_or_default();
        let text = format!("the supervisor did not start the command: {}", log.trim());
        Sent::Unknown(Failure::new(ErrorClass::System, text))
    }

    fn handle(&self, intent: &Intent<'_>) -> io::Result<Handle> {
        let attempt = intent.request.token.clone();
        let detail = Detail {
            root: folder::identity(&self.root)?,
            attempt: attempt.clone(),
            since: intent.intent_at,
            timeout_milliseconds: intent.request.body["timeout_milliseconds"].as_u64().unwrap_or(0),
        };
        Ok(Handle {
            connection: intent.request.connection.clone(),
            id: attempt,
            detail: serde_json::to_value(detail)?,
        })
    }

    fn look(&self, intent: &Intent<'_>) -> io::Result<Found> {
        let root = folder::identity(&self.root)?;
        if intent.baseline["root"].as_str().is_some_and(|there| there != root) {
            return Ok(self.look_elsewhere(intent));
        }
        let folder = self.folder(&intent.request.token);
        fs::create_dir_all(folder.path())?;
        let Some(_lock) = folder.try_lock()? else {
            if folder.has("started.json") {
                return self.handle(intent).map(Found::Found);
            }
            return Ok(Found::NotYetKnown {
                again_at: later(intent.now, Duration::from_millis(200)),
                reason: "a supervisor is about to start the command".to_owned(),
            });
        };
        if folder.has("started.json") {
            return self.handle(intent).map(Found::Found);
        }
        // Under the lock: a frozen replica that wakes up and starts a supervisor for this
        // intent finds the mark. A new intent of the same attempt is younger than it.
        folder.write("abandoned.json", &Abandoned { intent_at: intent.intent_at })?;
        Ok(Found::ProvedAbsent)
    }

    fn look_elsewhere(&self, intent: &Intent<'_>) -> Found {
        match next_look(intent, self.quarantine) {
            Some(again_at) => Found::NotYetKnown {
                again_at,
                reason: "it was to be started on another machine, which has to tell".to_owned(),
            },
            None => Found::Lost(Failure::new(
                ErrorClass::Lost,
                "it was to be started on another machine, and nobody there has told whether it was",
            )),
        }
    }
}

impl Operator for Command {
    const TYPE: &'static str = "command";
    const EXAMPLE: &'static str = "\
type: command
command: [python3, jobs/check.py, --date, \"2026-11-19\"]
env: { MODE: strict }
timeout: 10m
";
    const SECRETS: &'static [&'static str] = &["env"];
    const GUARANTEE: &'static str = "A supervisor process with a folder for each attempt runs the command at \
         most once and outlives the orchestrator, on the same machine.";
    type Config = CommandConfig;

    fn default_timeout(&self) -> Duration {
        DEFAULT_TIMEOUT
    }

    fn needs_baseline(&self) -> bool {
        true
    }

    fn prepare(&self, config: &CommandConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let argv: Vec<&str> = match &config.command {
            CommandLine::Shell(line) => vec!["/bin/sh", "-c", line],
            CommandLine::Arguments(words) => words.iter().map(|word| word.0.as_str()).collect(),
        };
        let is_blank = match &config.command {
            CommandLine::Shell(line) => line.trim().is_empty(),
            CommandLine::Arguments(words) => words.first().is_none_or(|word| word.0.trim().is_empty()),
        };
        if is_blank {
            return Err(Failure::new(ErrorClass::Config, "command: there is nothing to run"));
        }
        let zero = |text: &str| text.contains('\0');
        let in_env = |(name, value): (&String, &Scalar)| {
            name.is_empty() || name.contains('=') || zero(name) || zero(&value.0)
        };
        if argv.iter().any(|word| zero(word)) || config.env.iter().any(in_env) {
            let text = "command, env: no zero bytes, and names of variables have no `=`";
            return Err(Failure::new(ErrorClass::Config, text));
        }
        let mut env: IndexMap<&str, &str> = IndexMap::from([
            ("TRUNKLINE_PIPELINE", cx.pipeline),
            ("TRUNKLINE_RUN", cx.run),
            ("TRUNKLINE_TASK", cx.task),
            ("TRUNKLINE_ENVIRONMENT", cx.environment),
        ]);
        env.extend(config.env.iter().map(|(name, value)| (name.as_str(), value.0.as_str())));
        let body = json!({
            "argv": argv,
            "env": env,
            "cwd": config.cwd,
            "timeout_milliseconds": u64::try_from(cx.timeout.as_millis()).unwrap_or(u64::MAX),
        });
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    async fn baseline(&self, _: &Clients, _: &Request) -> Result<Value, Failure> {
        let root = folder::identity(&self.root).map_err(|error| broken(&error))?;
        Ok(json!({ "root": root }))
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        match self.spawn(clients, intent) {
            Ok(supervisor) => self.await_start(supervisor, intent).await,
            Err(error) => Sent::Refused(broken(&error)),
        }
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        self.look(intent).unwrap_or_else(|error| Found::NotYetKnown {
            again_at: later(intent.now, scaled(Duration::from_secs(60), self.quarantine)),
            reason: broken(&error).message,
        })
    }

    async fn poll(&self, _: &Clients, handles: &[Handle]) -> Vec<Status> {
        handles.iter().map(|handle| self.status(handle)).collect()
    }

    async fn cancel(&self, _: &Clients, handle: &Handle) -> Result<(), Failure> {
        match self.own(handle) {
            Some((folder, _)) if folder.path().exists() => {
                folder.touch("cancel").map_err(|error| broken(&error))
            }
            Some(_) => Ok(()),
            None => {
                let text = "the command runs on another machine, where only an orchestrator can stop it";
                Err(Failure::new(ErrorClass::System, text))
            }
        }
    }

    fn batch_size(&self) -> usize {
        64
    }

    async fn read_log(&self, handle: &Handle, offset: u64) -> Option<LogChunk> {
        let (folder, _) = self.own(handle)?;
        output::read(&folder.output(), offset)
    }
}

/// What the folder tells the supervisor, and what only a pipe tells it.
fn launch(clients: &Clients, intent: &Intent<'_>) -> (Launch, Secret) {
    let body = &intent.request.body;
    let mut env: IndexMap<String, String> = clients.environment(&intent.request.connection);
    env.insert("TRUNKLINE_ATTEMPT".to_owned(), intent.request.token.clone());
    let own: IndexMap<String, String> = serde_json::from_value(body["env"].clone()).unwrap_or_default();
    let mut secret = Secret::default();
    for (name, value) in own {
        let values = clients.secrets().values_in(&value);
        if values.is_empty() {
            env.insert(name, value);
        } else {
            // A variable of this name from elsewhere must not stand beside it.
            env.shift_remove(&name);
            secret.env.insert(name, value);
            secret.mask.extend(values);
        }
    }
    let launch = Launch {
        secret: !secret.env.is_empty(),
        argv: serde_json::from_value(body["argv"].clone()).unwrap_or_default(),
        env,
        cwd: body["cwd"].as_str().map(PathBuf::from),
        timeout_milliseconds: body["timeout_milliseconds"].as_u64().unwrap_or(0),
        intent_at: intent.intent_at,
    };
    (launch, secret)
}

fn broken(error: &io::Error) -> Failure {
    let fix = match error.kind() {
        ErrorKind::NotFound => " (is the program where it was when it was started?)",
        ErrorKind::PermissionDenied => " (may this user write to the folder of commands?)",
        _ => "",
    };
    Failure::new(ErrorClass::System, format!("the command's supervisor cannot work: {error}{fix}"))
}

fn read_end(folder: &Folder, ended: Ended) -> Status {
    let failure = |class, text: String| {
        let tail = output::tail(&folder.output(), TAIL_BYTES);
        let tail = tail.trim_end();
        let message = if tail.is_empty() { text } else { format!("{text}\n{tail}") };
        Failure::new(class, message)
    };
    let result = match (ended.exit_code, ended.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    };
    match ended.how {
        How::Exited if ended.exit_code == Some(0) => {
            let mut outcome = Outcome { outputs: ended.outputs, ..Outcome::default() };
            outcome.outputs.insert("exit_code".into(), Value::from(0));
            Status::Succeeded(outcome)
        }
        How::Exited => Status::Failed(failure(ErrorClass::Failed, result.clone()).with_code(result)),
        How::TimedOut => {
            Status::Failed(failure(ErrorClass::Timeout, format!("stopped at its time limit, {result}")))
        }
        How::Cancelled => Status::Cancelled(failure(ErrorClass::Cancelled, format!("stopped, {result}"))),
        How::NotRun => Status::Failed(failure(ErrorClass::Config, ended.message)),
    }
}

/// The supervisor is gone and has written no end: the machine or somebody killed it. The
/// command must not go on unwatched.
fn orphaned(folder: &Folder) -> Status {
    if let Some(child) = folder.read::<Child>("child.json")
        && child.born.is_some()
        && folder::born(child.pid) == child.born
    {
        supervise::signal_group(child.pid, Signal::KILL);
    }
    let tail = output::tail(&folder.output(), TAIL_BYTES);
    let text =
        format!("the command was ended together with its machine or its supervisor\n{}", tail.trim_end());
    Status::Failed(Failure::new(ErrorClass::System, text.trim_end()))
}
