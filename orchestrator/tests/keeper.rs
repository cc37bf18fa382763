//! Real keepers: shared, killed, replaced, and ending by themselves.
//!
//! The clients are this test process; the keeper is the program's hidden command.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use trunkline::keeper::{Attached, KeeperError, Launcher, Needs, Stopped, attach_with, status, stop};
use trunkline_postgres::testing;

/// Long enough for everything here on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
const POSTGRES: Needs = Needs { postgres: true, sandbox: false };
const BOTH: Needs = Needs { postgres: true, sandbox: true };

/// A project, which is cleaned up whatever happens.
struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// Root's server account must be able to enter.
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("tl-").tempdir_in("/tmp").expect("a folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).expect("opened");
        Self { folder }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join(".trunkline")
    }

    fn launcher(&self, linger: &str) -> Launcher {
        let given = |name: &str, value: OsString| (name.to_owned(), value);
        let binaries = chosen_binaries();
        Launcher {
            program: PathBuf::from(env!("CARGO_BIN_EXE_trunkline")),
            arguments: vec!["__keeper".to_owned()],
            environment: vec![
                given("TRUNKLINE_KEEPER_LINGER", linger.into()),
                given("TRUNKLINE_POSTGRES_BIN", binaries.unwrap_or_default()),
                given("TRUNKLINE_POSTGRES_BASE", self.folder.path().join("base").into_os_string()),
            ],
        }
    }

    async fn attach(&self, needs: Needs) -> Attached {
        match attach_with(&self.dir(), needs, self.launcher("1")).await {
            Ok(attached) => attached,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // The keeper sees that its folder is gone; killing it is for tests that failed half-way.
        let kept = status(&self.dir()).ok().and_then(|status| status.kept);
        for pid in kept.iter().flat_map(|kept| [Some(kept.pid), kept.postgres.pid]).flatten() {
            let _ = Pid::from_raw(pid).map(|pid| rustix::process::kill_process(pid, Signal::TERM));
        }
    }
}

/// `wheel` if the tests are to run on the pinned package.
#[expect(clippy::disallowed_methods, reason = "tests have no other way to be told")]
fn chosen_binaries() -> Option<OsString> {
    std::env::var_os("TRUNKLINE_TEST_POSTGRES").filter(|value| value == "wheel")
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !condition().await {
            ticks.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, asking).await.is_ok(), "never happened: {what}");
}

fn kill(pid: i32) {
    rustix::process::kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("killed");
}

/// Kills the keeper and waits until the system has let go of its locks.
async fn kill_keeper(project: &Project, pid: i32) {
    kill(pid);
    until("the keeper is dead", async || keeper_pid(&project.dir()) != Some(pid)).await;
}

/// Adds a row and says how many there are; `None` while there is no server.
async fn try_add_row(url: &str) -> Option<i64> {
    let sql = "create table if not exists seen (at timestamptz); insert into seen values (now()); \
               select count(*) from seen";
    testing::number(url, sql).await.ok()
}

async fn add_row(attached: &Attached) -> i64 {
    let url = attached.database_url.as_deref().expect("a URL");
    try_add_row(url).await.expect("a row")
}

fn keeper_pid(dir: &Path) -> Option<i32> {
    status(dir).expect("a status").kept.map(|kept| kept.pid)
}

#[tokio::test]
async fn commands_share_one_keeper_which_ends_by_itself_and_comes_back_with_the_data() {
    let project = Project::new();
    assert_eq!(status(&project.dir()).expect("a status").kept, None);
    let (first, second) = tokio::join!(project.attach(POSTGRES), project.attach(POSTGRES));
    assert_eq!(first.kept.pid, second.kept.pid);
    assert_eq!(first.database_url, second.database_url);
    assert_eq!(add_row(&first).await, 1);
    assert!(status(&project.dir()).expect("a status").in_use);
    drop(first);
    assert_eq!(add_row(&second).await, 2);
    let url = second.database_url.clone();
    drop(second);
    until("the keeper ends", async || keeper_pid(&project.dir()).is_none()).await;
    let third = project.attach(POSTGRES).await;
    assert_eq!(third.database_url, url);
    assert_eq!(add_row(&third).await, 3);
}

#[tokio::test]
async fn attaching_while_the_keeper_ends_always_yields_a_live_one() {
    let project = Project::new();
    let launcher = project.launcher("0");
    for expected in 1..=15 {
        let attached = attach_with(&project.dir(), POSTGRES, launcher.clone()).await.expect("attached");
        assert_eq!(add_row(&attached).await, expected);
    }
}

#[tokio::test]
async fn a_killed_keeper_costs_its_clients_nothing() {
    let project = Project::new();
    let attached = project.attach(POSTGRES).await;
    assert_eq!(add_row(&attached).await, 1);
    kill_keeper(&project, attached.kept.pid).await;
    assert_eq!(keeper_pid(&project.dir()), None);
    assert_eq!(add_row(&attached).await, 2);
    let next = project.attach(POSTGRES).await;
    assert_ne!(next.kept.pid, attached.kept.pid);
    assert_eq!(next.kept.postgres.pid, attached.kept.postgres.pid);
    assert_eq!(add_row(&next).await, 3);
    kill_keeper(&project, next.kept.pid).await;
    let guard = async {
        until("the guard has started a new keeper", async || keeper_pid(&project.dir()).is_some()).await;
    };
    tokio::select! { () = attached.guard() => {}, () = guard => {} }
    assert_eq!(add_row(&attached).await, 4);
}

#[tokio::test]
async fn a_killed_postgres_is_started_again() {
    let project = Project::new();
    let attached = project.attach(POSTGRES).await;
    let url = attached.database_url.clone().expect("a URL");
    for expected in 1..=3 {
        let mut rows = None;
        until("Postgres answers", async || {
            rows = try_add_row(&url).await;
            rows.is_some()
        })
        .await;
        assert_eq!(rows, Some(expected));
        let kept = status(&project.dir()).expect("a status").kept.expect("a keeper");
        kill(kept.postgres.pid.expect("a postmaster"));
        until("the keeper has another one", async || {
            let now = status(&project.dir()).expect("a status").kept.expect("a keeper");
            now.postgres.pid != kept.postgres.pid
        })
        .await;
    }
    assert_eq!(keeper_pid(&project.dir()), Some(attached.kept.pid));
}

#[tokio::test]
async fn after_a_kill_of_everything_the_next_command_finds_the_data() {
    let project = Project::new();
    for expected in 1..=3 {
        let attached = project.attach(POSTGRES).await;
        assert_eq!(add_row(&attached).await, expected);
        kill(attached.kept.postgres.pid.expect("a postmaster"));
        kill_keeper(&project, attached.kept.pid).await;
    }
}

#[tokio::test]
async fn stopping_is_refused_while_commands_are_attached_and_frees_everything() {
    let project = Project::new();
    assert_eq!(stop(&project.dir(), false).await.expect("stopped"), Stopped::NothingRan);
    let attached = project.attach(POSTGRES).await;
    let url = attached.database_url.clone().expect("a URL");
    assert!(matches!(stop(&project.dir(), false).await, Err(KeeperError::InUse)));
    drop(attached);
    assert_eq!(stop(&project.dir(), false).await.expect("stopped"), Stopped::Keeper);
    assert_eq!(try_add_row(&url).await, None);
    assert_eq!(stop(&project.dir(), false).await.expect("stopped"), Stopped::NothingRan);
    let attached = project.attach(POSTGRES).await;
    assert_eq!(stop(&project.dir(), true).await.expect("stopped"), Stopped::Keeper);
    assert!(try_add_row(&url).await.is_none());
    drop(attached);
}

#[tokio::test]
async fn a_keeper_whose_folder_is_deleted_ends() {
    let project = Project::new();
    let attached = project.attach(POSTGRES).await;
    std::fs::remove_dir_all(project.dir()).expect("deleted");
    for pid in [Some(attached.kept.pid), attached.kept.postgres.pid].into_iter().flatten() {
        until("the process is gone", async || {
            Pid::from_raw(pid).is_none_or(|pid| rustix::process::test_kill_process(pid).is_err())
        })
        .await;
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_said_to_the_command_that_asked() {
    let project = Project::new();
    let mut launcher = project.launcher("1");
    launcher.environment.push(("TRUNKLINE_POSTGRES_BIN".to_owned(), "/no/such/folder".into()));
    let error =
        attach_with(&project.dir(), POSTGRES, launcher).await.map(|_| ()).map_err(|error| error.to_string());
    let message = error.expect_err("refused");
    assert!(message.contains("/no/such/folder") && message.contains("DATABASE_URL"), "{message}");
    let launcher =
        Launcher { program: "/no/such/program".into(), arguments: Vec::new(), environment: Vec::new() };
    let error = attach_with(&project.dir(), Needs { postgres: false, sandbox: true }, launcher).await;
    assert!(matches!(error, Err(KeeperError::Launch { .. })), "{error:?}");
}

#[tokio::test]
#[cfg(feature = "sandbox")]
async fn the_sandbox_is_added_to_a_running_keeper_and_keeps_its_endpoint() {
    let project = Project::new();
    let first = project.attach(POSTGRES).await;
    assert_eq!(first.sandbox_endpoint, None);
    let second = project.attach(BOTH).await;
    assert_eq!(second.kept.pid, first.kept.pid);
    let endpoint = second.sandbox_endpoint.clone().expect("an endpoint");
    kill_keeper(&project, second.kept.pid).await;
    let third = project.attach(BOTH).await;
    assert_eq!(third.sandbox_endpoint.as_deref(), Some(endpoint.as_str()));
    assert!(third.mailbox.is_some());
}
