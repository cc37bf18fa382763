//! The operator `command` with real processes: this test program is its own supervisor, as the
//! orchestrator is, so it has a `main` of its own instead of the test harness's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use trunkline_tasks::{
    Clients, Options, Registry,
    clock::Clock,
    operator::{ErrorClass, Failure, Found, Handle, Intent, Outcome, PrepareContext, Request, Sent, Status},
    registry::QUARANTINE,
};
use uuid::Uuid;

/// The longest that anything here may take; only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

#[expect(clippy::print_stdout, reason = "a test program without the harness tells its results itself")]
fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if let [_, word, folder] = arguments.as_slice()
        && word == "__supervise"
    {
        return ExitCode::from(
            u8::try_from(trunkline_tasks::command::supervise(Path::new(folder))).unwrap_or(1),
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        succeeds_with_outputs().await;
        fails_with_its_last_words().await;
        a_missing_program_is_a_mistake_of_the_definition().await;
        ends_in_time_with_everything_it_started().await;
        is_cancelled().await;
        is_started_once_whoever_sends().await;
        an_abandoned_intent_never_starts().await;
        a_killed_supervisor_takes_its_command_along().await;
        another_machine_cannot_know().await;
    });
    println!("command: 9 tests passed");
    ExitCode::SUCCESS
}

/// A registry with a folder of its own, and one attempt in it.
struct Scene {
    registry: Registry,
    clients: Clients,
    folder: tempfile::TempDir,
    request: Request,
    baseline: Value,
    intent_at: Timestamp,
}

impl Scene {
    async fn new(settings: Value, limit: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = registry(folder.path().join("commands"));
        let cx = PrepareContext {
            attempt_id: Uuid::from_u128(7),
            pipeline: "p",
            run: "p@1",
            task: "t",
            environment: "local",
            connection: "aws",
            timeout: limit,
            previous: None,
            generation: 1,
        };
        let operator = registry.get("command").unwrap();
        let request = operator.prepare(&settings, &cx).unwrap();
        let clients = Clients::default();
        let baseline = operator.baseline(&clients, &request).await.unwrap();
        Self { registry, clients, folder, request, baseline, intent_at: now() }
    }

    async fn shell(line: &str) -> Self {
        Self::new(json!({ "command": line }), PATIENCE).await
    }

    fn intent(&self) -> Intent<'_> {
        Intent { request: &self.request, baseline: &self.baseline, intent_at: self.intent_at, now: now() }
    }

    fn attempt(&self) -> PathBuf {
        self.folder.path().join("commands").join(&self.request.token)
    }

    async fn send(&self) -> Sent {
        self.registry.get("command").unwrap().send(&self.clients, &self.intent()).await
    }

    async fn find(&self) -> Found {
        self.registry.get("command").unwrap().find(&self.clients, &self.intent()).await
    }

    async fn accepted(&self) -> Handle {
        match self.send().await {
            Sent::Accepted(handle) => handle,
            other => panic!("not accepted: {other:?}"),
        }
    }

    async fn poll(&self, handle: &Handle) -> Status {
        let handles = [handle.clone()];
        self.registry.get("command").unwrap().poll(&self.clients, &handles).await.remove(0)
    }

    async fn end(&self, handle: &Handle) -> Status {
        until("the command ends", async || match self.poll(handle).await {
            Status::Running { .. } => None,
            ended => Some(ended),
        })
        .await
    }

    async fn outcome(&self, handle: &Handle) -> Outcome {
        match self.end(handle).await {
            Status::Succeeded(outcome) => outcome,
            other => panic!("did not succeed: {other:?}"),
        }
    }

    async fn failure(&self, handle: &Handle) -> Failure {
        match self.end(handle).await {
            Status::Failed(failure) => failure,
            other => panic!("did not fail: {other:?}"),
        }
    }
}

fn registry(command_folder: PathBuf) -> Registry {
    let supervisor = env::current_exe().unwrap();
    let clock = Clock::system();
    Registry::standard(&Options {
        clock,
        quarantine: QUARANTINE,
        scratch_folder: command_folder.clone(),
        command_folder,
        supervisor,
    })
}

fn now() -> Timestamp {
    Clock::system().now()
}

/// Asks again and again until there is an answer, for as long as [`PATIENCE`].
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let asking = async {
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

/// The number in a file, once it is there.
async fn pid_in(path: &Path) -> Pid {
    let number = until("a process number is written", async || {
        fs::read_to_string(path).ok()?.trim().parse::<i32>().ok()
    });
    Pid::from_raw(number.await).unwrap()
}

async fn gone(pid: Pid) {
    // A process whose parent has not asked for its end yet is over, too.
    let state = |pid: Pid| fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok();
    until("the process is gone", async || {
        let zombie = state(pid).is_some_and(|stat| stat.contains(") Z "));
        (zombie || test_kill_process(pid).is_err()).then_some(())
    })
    .await;
}

async fn succeeds_with_outputs() {
    let line = "echo working; echo \"$GREETING from $TRUNKLINE_TASK\" >&2; echo '{\"rows\": 3}'";
    let scene = Scene::new(json!({ "command": line, "env": { "GREETING": 1 } }), PATIENCE).await;
    let handle = scene.accepted().await;
    let outcome = scene.outcome(&handle).await;
    assert_eq!(Value::Object(outcome.outputs), json!({ "rows": 3, "exit_code": 0 }));
    let log = scene.registry.get("command").unwrap().read_log(&handle, 0).await.unwrap();
    assert!(log.text.contains("working\n") && log.text.contains("1 from t\n"), "{}", log.text);
    assert_eq!(log.next_offset, log.text.len() as u64);
    assert_eq!(scene.find().await, Found::Found(handle), "a lost answer leads to the ended command");
}

async fn fails_with_its_last_words() {
    let scene = Scene::shell("echo column missing >&2; exit 3").await;
    let handle = scene.accepted().await;
    let failure = scene.failure(&handle).await;
    assert_eq!(failure.class, ErrorClass::Failed);
    assert_eq!(failure.message, "exit code 3\ncolumn missing");
}

async fn a_missing_program_is_a_mistake_of_the_definition() {
    let scene = Scene::new(json!({ "command": ["/no/such/program", 1] }), PATIENCE).await;
    let handle = scene.accepted().await;
    let failure = scene.failure(&handle).await;
    assert_eq!(failure.class, ErrorClass::Config);
    assert!(failure.message.contains("/no/such/program"), "{}", failure.message);
}

async fn ends_in_time_with_everything_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let line = format!("sleep 300 & echo $! > {}; wait", file.display());
    let scene = Scene::new(json!({ "command": line }), Duration::from_millis(700)).await;
    let handle = scene.accepted().await;
    let grandchild = pid_in(&file).await;
    let failure = scene.failure(&handle).await;
    assert_eq!(failure.class, ErrorClass::Timeout);
    gone(grandchild).await;
}

async fn is_cancelled() {
    let scene = Scene::shell("echo begun; sleep 300").await;
    let handle = scene.accepted().await;
    assert!(matches!(scene.poll(&handle).await, Status::Running { .. }));
    let operator = scene.registry.get("command").unwrap();
    operator.cancel(&scene.clients, &handle).await.unwrap();
    let ended = scene.end(&handle).await;
    assert!(matches!(ended, Status::Cancelled(_)), "{ended:?}");
    operator.cancel(&scene.clients, &handle).await.unwrap();
    assert_eq!(scene.poll(&handle).await, ended, "cancelling what has ended changes nothing");
}

async fn is_started_once_whoever_sends() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("starts");
    let scene = Scene::shell(&format!("echo x >> {}", file.display())).await;
    let mut sends = Vec::new();
    for _ in 0..5 {
        sends.push(scene.send());
    }
    let sent = futures::future::join_all(sends).await;
    let accepted = sent.iter().filter(|sent| matches!(sent, Sent::Accepted(_))).count();
    assert!(accepted >= 1, "{sent:?}");
    let Found::Found(handle) = scene.find().await else { panic!("not found") };
    scene.outcome(&handle).await;
    assert!(matches!(scene.send().await, Sent::Accepted(_)));
    assert_eq!(fs::read_to_string(&file).unwrap(), "x\n");
}

async fn an_abandoned_intent_never_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("starts");
    let mut scene = Scene::shell(&format!("echo x >> {}", file.display())).await;
    assert_eq!(scene.find().await, Found::ProvedAbsent);
    // A frozen replica wakes up and sends what it was about to send.
    assert!(matches!(scene.send().await, Sent::Unknown(_)));
    assert!(!file.exists() && !scene.attempt().join("started.json").exists());
    scene.intent_at = now();
    let handle = scene.accepted().await;
    scene.outcome(&handle).await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "x\n");
}

async fn a_killed_supervisor_takes_its_command_along() {
    let scene = Scene::shell("sleep 300").await;
    let handle = scene.accepted().await;
    let read = |name: &str| -> Option<Value> {
        serde_json::from_slice(&fs::read(scene.attempt().join(name)).ok()?).ok()
    };
    let number = |value: &Value| i32::try_from(value.as_i64().unwrap()).unwrap();
    let child = until("the command runs", async || read("child.json")).await;
    let supervisor = number(&read("started.json").unwrap()["supervisor"]);
    kill_process(Pid::from_raw(supervisor).unwrap(), Signal::KILL).unwrap();
    let failure = scene.failure(&handle).await;
    assert_eq!(failure.class, ErrorClass::System);
    if !child["born"].is_null() {
        gone(Pid::from_raw(number(&child["pid"])).unwrap()).await;
    }
}

async fn another_machine_cannot_know() {
    let scene = Scene::shell("true").await;
    let handle = scene.accepted().await;
    scene.outcome(&handle).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let registry = registry(elsewhere.path().to_owned());
    let operator = registry.get("command").unwrap();
    let statuses = operator.poll(&scene.clients, std::slice::from_ref(&handle)).await;
    assert!(matches!(statuses[0], Status::Unavailable(_)), "{statuses:?}");
    let found = operator.find(&scene.clients, &scene.intent()).await;
    assert!(matches!(found, Found::NotYetKnown { .. }), "{found:?}");
    let late = Intent { now: scene.intent_at + QUARANTINE, ..scene.intent() };
    assert!(matches!(operator.find(&scene.clients, &late).await, Found::Lost(_)));
}
