//! What happens while something runs: the store goes away and comes back, files change under
//! `serve --watch`, people cancel.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
    time::Duration,
};

use trunkline_postgres::testing;

use super::Project;

/// Long enough for everything here on a busy machine; only ends tests that hang.
const PATIENCE: Duration = Duration::from_mins(2);

/// `wait` says that it began, and ends when the file `go` exists.
const SLOW: &str = "
name: slow
data_interval: none
defaults: { connection: aws, retries: 0 }
tasks:
  wait:
    type: command
    poll_interval: 1s
    command: [sh, -c, 'echo 1 >> \"$0/began\"; until test -f \"$0/go\"; do sleep 0.05; done', \"@FOLDER@\"]
  after: { type: noop, depends_on: wait }
";

fn write_slow(project: &Project, text: &str) {
    let home = project.path().join("pipelines/slow");
    fs::create_dir_all(&home).unwrap();
    let text = text.replace("@FOLDER@", &project.path().display().to_string());
    fs::write(home.join("pipeline.yaml"), text).unwrap();
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !condition() {
            ticks.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, asking).await.is_ok(), "never happened: {what}");
}

/// A command in the background whose words go to a file.
struct Running {
    child: Child,
    said: std::path::PathBuf,
}

impl Running {
    fn start(project: &Project, arguments: &[&str]) -> Self {
        let said = project.path().join(format!("said-{}", arguments[0]));
        let file = fs::File::create(&said).unwrap();
        let mut command = project.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self { child: command.spawn().unwrap(), said }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    async fn says(&self, text: &str) {
        until(text, || self.said().contains(text)).await;
    }

    async fn ends(mut self) -> i32 {
        until("the command ends", || self.child.try_wait().unwrap().is_some()).await;
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // For tests that failed half-way; one that ended by itself is not there any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_when_the_store_returns() {
    let base = tempfile::Builder::new().prefix("tl-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let options = testing::options(base.path());
    let server = trunkline_postgres::start(&options).await.unwrap();
    let mut project = Project::private();
    project.store = Some(server.url.clone());
    write_slow(&project, SLOW);
    let run = Running::start(&project, &["run", "slow"]);
    until("the command began", || project.path().join("began").exists()).await;

    let url = server.url.clone();
    server.stop().await.unwrap();
    run.says("the store cannot be reached").await;
    fs::write(project.path().join("go"), "").unwrap();
    let again = trunkline_postgres::start(&options).await.unwrap();
    assert_eq!(again.url, url);
    let said = run.said.clone();
    assert_eq!(run.ends().await, 0, "{}", fs::read_to_string(said).unwrap());
    let attempts = "select count(*) from attempt";
    assert_eq!(testing::number(&url, attempts).await.unwrap(), 2, "each task was tried once");
    assert_eq!(fs::read_to_string(project.path().join("began")).unwrap().lines().count(), 1);
    again.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_watches_files_and_a_person_cancels() {
    let (project, _server) = Project::new().await;
    let serve = Running::start(&project, &["serve", "--watch"]);
    serve.says("serving").await;
    write_slow(&project, SLOW);
    until("the new file is deployed", || project.say(&["status", "--json"]).ends(0).json()["pipelines"] == 2)
        .await;
    // A broken file changes nothing and is said.
    write_slow(&project, "name: slow\ntaskss: {}\n");
    serve.says("taskss").await;
    project.say(&["runs", "--json"]).ends(0);
    write_slow(&project, SLOW);
    project.say(&["run", "slow", "--detach"]).ends(0);
    until("the command began", || project.path().join("began").exists()).await;
    project.say(&["cancel", "slow@latest", "--task", "nothing"]).ends(2).complains("nothing");
    project.say(&["resolve", "slow@latest", "wait", "--lost"]).ends(2).complains("no unconfirmed start");
    project.say(&["retry-now", "slow@latest", "wait"]).ends(2).complains("only a task that waits");
    project.say(&["cancel", "slow@latest", "--reason", "enough"]).ends(0);
    until("the run is cancelled", || {
        project.say(&["show", "slow@latest", "--json"]).ends(0).json()["state"] == "cancelled"
    })
    .await;
    let shown = project.say(&["show", "slow@latest"]).ends(0);
    assert!(shown.stdout.contains("enough"), "{}", shown.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_leave_runs_to_the_server() {
    let (project, _server) = Project::new().await;
    write_slow(&project, SLOW);
    let shown = || project.say(&["show", "slow@latest", "--json"]).ends(0).json();
    project.say(&["run", "slow", "--detach"]).ends(0).complains("no `trunkline serve` is running");
    let waiting = shown();
    assert_eq!((&waiting["state"], waiting["attempt_list"].as_array().unwrap().len()), (&"queued".into(), 0));

    let serve = Running::start(&project, &["serve"]);
    serve.says("serving").await;
    until("the server began it", || project.path().join("began").exists()).await;
    fs::write(project.path().join("go"), "").unwrap();
    until("it ended", || shown()["state"] == "succeeded").await;
    project.say(&["run", "slow"]).ends(0);
    project.say(&["clear", "slow@latest", "--yes"]).ends(0);
    let cleared = shown();
    assert_eq!((&cleared["state"], &cleared["generation"]), (&"succeeded".into(), &2.into()));
    // Whatever was begun was begun by the server: of people there is only what they wanted.
    for row in cleared["history"].as_array().unwrap() {
        let by_person = row["actor"].as_str().unwrap().starts_with("user:");
        let attempts =
            row["changes"].as_array().unwrap().iter().filter(|change| !change["attempt"].is_null());
        assert!(!by_person || attempts.count() == 0, "{row}");
    }
}
