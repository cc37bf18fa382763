//! The real binary in a project of its own: what people type, what they read, what it ends
//! with. The store is a database of the tests' shared Postgres; one test uses the project's
//! private one.

#[path = "cli/while_running.rs"]
mod while_running;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;
use trunkline_postgres::testing;

const PROJECT: &str = "
pipelines: pipelines
environments:
  local:
    connections: { aws: { type: aws, region: us-east-1 } }
    vars: {}
";

/// `check` fails until the file `good` exists.
const DAILY: &str = "
name: daily
schedule: \"0 9 * * *\"
data_interval: day
start_date: 2026-01-01
params:
  workers: { type: integer, default: 10, minimum: 2 }
defaults: { connection: aws, retries: 0 }
tasks:
  first: { type: noop }
  check:
    type: command
    depends_on: first
    command: [sh, -c, 'echo looking for {{ ds }}; test -f \"$0\" || { echo \"there is no file good\" >&2; exit 3; }; echo \"{\\\"rows\\\": 7}\"', \"@FOLDER@/good\"]
  last: { type: noop, depends_on: check }
";

struct Project {
    folder: TempDir,
    store: Option<String>,
}

struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Project {
    /// With a database of its own on the shared server.
    async fn new() -> (Self, testing::TestServer) {
        let server = testing::shared().await.unwrap();
        let store = server.database("cli").await.unwrap();
        (Self { store: Some(store), ..Self::private() }, server)
    }

    /// With a private Postgres.
    fn private() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipelines = folder.path().join("pipelines/daily");
        fs::create_dir_all(&pipelines).unwrap();
        fs::write(folder.path().join("trunkline.yaml"), PROJECT).unwrap();
        let text = DAILY.replace("@FOLDER@", &folder.path().display().to_string());
        fs::write(pipelines.join("pipeline.yaml"), text).unwrap();
        Self { folder, store: None }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_remove("DATABASE_URL")
            .env_remove("TRUNKLINE_ENV")
            .env("TRUNKLINE_LAX_DURABILITY", "1")
            .env("TRUNKLINE_TIME_RATIO", "0.2")
            .env("TRUNKLINE_KEEPER_LINGER", "2")
            .env("NO_COLOR", "1")
            .env("USER", "tester");
        if let Some(store) = &self.store {
            command.env("DATABASE_URL", store);
        }
        command
    }

    fn say(&self, arguments: &[&str]) -> Said {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        Said {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    fn make_good(&self) {
        fs::write(self.path().join("good"), "").unwrap();
    }
}

impl Said {
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    #[track_caller]
    fn complains(&self, text: &str) {
        assert!(self.stderr.contains(text), "`{text}` is not in:\n{}", self.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_fails_is_explained_and_cleared() {
    let (project, _server) = Project::new().await;
    let failed = project.say(&["run", "daily", "--date", "2026-11-19"]).ends(1);
    failed.complains("covers 2026-11-19 00:00 → 11-20 00:00 UTC, fires 11-20 09:00");
    failed.complains("trunkline clear daily@2026-11-19 --failed");
    assert!(failed.stdout.contains("daily@2026-11-19 failed"), "{}", failed.stdout);

    let runs = project.say(&["runs", "--json"]).ends(0).json();
    assert_eq!(
        (runs[0]["run"].as_str(), runs[0]["state"].as_str()),
        (Some("daily@2026-11-19"), Some("failed"))
    );
    assert_eq!(runs[0]["created_by"], "user:tester");

    let why = project.say(&["why", "daily@2026-11-19"]).ends(0);
    assert!(why.stdout.contains("check of daily@2026-11-19 failed after 1 attempt"), "{}", why.stdout);
    let why = project.say(&["why", "daily@2026-11-19", "last"]).ends(0);
    assert!(why.stdout.contains("did not run because of check (failed) before it"), "{}", why.stdout);
    let logs = project.say(&["logs", "daily@2026-11-19", "check"]).ends(0);
    assert!(logs.stdout.contains("looking for 2026-11-19"), "{}", logs.stdout);

    let dry = project.say(&["clear", "daily@2026-11-19", "--failed", "--dry-run"]).ends(0);
    assert!(dry.stdout.contains("2 tasks run again: check, last"), "{}", dry.stdout);
    project.say(&["clear", "daily@2026-11-19", "--failed"]).ends(2).complains("--yes");
    project.make_good();
    let cleared = project.say(&["clear", "daily@2026-11-19", "--failed", "--yes"]).ends(0);
    assert!(cleared.stdout.contains("daily@2026-11-19 succeeded"), "{}", cleared.stdout);
    cleared.complains("rows=7");

    let shown = project.say(&["show", "daily@latest", "--json"]).ends(0).json();
    assert_eq!(shown["generation"], 2);
    assert_eq!(shown["attempt_list"].as_array().unwrap().len(), 4);
    project.say(&["show", "daily@2026-11-19"]).ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_of_a_date_is_refused_with_the_command_that_helps() {
    let (project, _server) = Project::new().await;
    project.make_good();
    project.say(&["run", "daily", "--date", "2026-11-19", "--json"]).ends(0);
    let again = project.say(&["run", "daily", "--date", "2026-11-19", "-p", "workers=3"]).ends(2);
    again.complains("daily@2026-11-19 exists already: it succeeded");
    again.complains("trunkline clear daily@2026-11-19");
    assert_eq!(project.say(&["runs", "--json"]).ends(0).json().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_named_with_a_suggestion() {
    let (project, _server) = Project::new().await;
    project.say(&["run", "dialy"]).ends(2).complains("there is no pipeline `dialy`; did you mean `daily`?");
    project.say(&["plan", "daily", "-p", "worker=3"]).ends(2).complains("did you mean `workers`?");
    project.say(&["plan", "daily", "-p", "workers=1"]).ends(2).complains("must be at least 2");
    project.say(&["plan", "daily", "--date", "19.11.2026"]).ends(2).complains("--date `19.11.2026`");
    project.say(&["plan", "daily", "--date", "2025-12-31"]).ends(2).complains("start_date 2026-01-01");
    project.say(&["show", "nothing@2026-11-19"]).ends(2).complains("there is no pipeline `nothing`");
    project.say(&["show", "?"]).ends(2).complains("names no run");
    project.say(&["runs", "--state", "fialed"]).ends(2).complains("did you mean `failed`?");
    project.say(&["deploy", "--env", "prdo"]).ends(2);
    project.say(&["frobnicate"]).ends(2);
    project.say(&["deploy"]).ends(0);
    project.say(&["show", "daily@2026-11-19"]).ends(2).complains("the newest are none yet");
}

#[test]
fn a_store_that_cannot_be_reached_is_said_and_ends_with_3() {
    let mut project = Project::private();
    project.store = Some("postgres://nobody:very-secret@127.0.0.1:9/none".to_owned());
    let said = project.say(&["runs"]).ends(3);
    said.complains("the store at 127.0.0.1:9/none cannot be reached");
    said.complains("refused");
    assert!(!said.stderr.contains("very-secret"), "{}", said.stderr);
    assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
    project.store = Some("mysql://localhost/x".to_owned());
    project.say(&["runs"]).ends(2).complains("not a Postgres URL");
}

#[test]
fn definitions_are_checked_without_a_store() {
    let project = Project::private();
    let valid = project.say(&["validate"]).ends(0);
    assert_eq!(valid.stdout.trim(), "1 pipeline valid: daily");
    let plan = project.say(&["plan", "daily", "--date", "2026-11-19", "--json"]).ends(0).json();
    assert_eq!(plan["tasks"].as_array().unwrap().len(), 3);
    assert!(plan["covers"].as_str().unwrap().starts_with("covers 2026-11-19"));
    project.say(&["graph", "daily"]).ends(0);
    for format in ["svg", "mermaid", "dot"] {
        assert!(project.say(&["graph", "daily", "--format", format]).ends(0).stdout.contains("check"));
    }
    assert!(project.say(&["schema"]).ends(0).json().is_object());
    fs::write(project.path().join("pipelines/daily/pipeline.yaml"), "name: daily\ntaskss: {}\n").unwrap();
    project.say(&["validate"]).ends(2).complains("pipelines/daily/pipeline.yaml:2:1");
    let rows = project.say(&["validate", "--json"]).ends(2).json();
    assert_eq!(rows["valid"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_holds_new_runs_back() {
    let (project, _server) = Project::new().await;
    project.make_good();
    project.say(&["deploy"]).ends(0);
    assert_eq!(project.say(&["pause", "daily"]).ends(0).stdout.trim(), "daily is paused");
    assert_eq!(project.say(&["pause", "daily"]).ends(0).stdout.trim(), "daily is already paused");
    project.say(&["run", "daily", "--date", "2026-11-18", "--detach"]).ends(0);
    let why = project.say(&["why", "daily@2026-11-18"]).ends(0);
    assert!(why.stdout.contains("pipeline daily is paused"), "{}", why.stdout);
    project.say(&["resume", "daily"]).ends(0);
    let carried = project.say(&["run", "daily", "--date", "2026-11-18"]).ends(0);
    carried.complains("nobody works on it: carrying it on");
    project.say(&["cancel", "daily@2026-11-18"]).ends(2).complains("has already ended");
}

#[test]
fn a_project_of_ones_own_runs_on_its_private_postgres() {
    let project = Project::private();
    project.make_good();
    project.say(&["run", "daily", "--date", "2026-11-19"]).ends(0);
    let status = project.say(&["status", "--json"]).ends(0).json();
    assert_eq!(status["store"]["private"], true);
    assert!(status["store"]["url"].as_str().unwrap().starts_with("postgresql:///"), "{status}");
    assert_eq!(status["pipelines"], 1);
    assert!(status["replicas"].as_array().unwrap().is_empty(), "{status}");
    assert_eq!(project.say(&["runs", "--json"]).ends(0).json().as_array().unwrap().len(), 1);
    project.say(&["stop"]).ends(0);
    assert_eq!(project.say(&["stop"]).ends(0).stdout.trim(), "nothing ran");
}

#[test]
fn a_new_project_validates() {
    let folder = tempfile::tempdir().unwrap();
    let project = Project { folder, store: None };
    for example in ["hello", "daily-cdr-etl"] {
        project.say(&["init", example, "--example", example]).ends(0);
        let inside = project.path().join(example).display().to_string();
        project.say(&["--project", &inside, "validate"]).ends(0);
        project.say(&["init", example]).ends(2).complains("is a project already");
    }
}
