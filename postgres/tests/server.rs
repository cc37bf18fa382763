//! Real servers: started, killed, adopted, and started as other users.
//!
//! `TRUNKLINE_TEST_POSTGRES` = `installed` or `wheel` chooses the binaries for all of them.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal};
use sqlx::{Connection, PgConnection};
use trunkline_postgres::{PostgresError, Server, postmaster, start, testing};

/// Set for the copy of this program that runs as another user.
const AS_OTHER_USER: &str = "TRUNKLINE_TEST_AS_OTHER_USER";

/// A folder that root's server account can enter.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("tl-").tempdir_in("/tmp").expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).expect("opened");
    folder
}

async fn started(folder: &Path) -> Server {
    match start(&testing::options(folder)).await {
        Ok(server) => server,
        Err(error) => panic!("{error}"),
    }
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("a connection")
}

/// Adds a row and says how many there are.
async fn add_row(url: &str) -> i64 {
    let mut connection = connect(url).await;
    for statement in ["create table if not exists seen (at timestamptz)", "insert into seen values (now())"] {
        sqlx::query(statement).execute(&mut connection).await.expect("executed");
    }
    sqlx::query_scalar("select count(*) from seen").fetch_one(&mut connection).await.expect("counted")
}

fn kill(pid: i32) {
    rustix::process::kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("killed");
}

#[tokio::test]
async fn a_server_keeps_its_data_and_url_over_stop_and_start() {
    let folder = folder();
    let first = started(folder.path()).await;
    let url = first.url.clone();
    assert_eq!(add_row(&url).await, 1);
    first.stop().await.expect("stopped");
    assert!(PgConnection::connect(&url).await.is_err());
    let second = started(folder.path()).await;
    assert_eq!((second.url.as_str(), second.adopted), (url.as_str(), false));
    assert_eq!(add_row(&url).await, 2);
    second.stop().await.expect("stopped");
}

#[tokio::test]
async fn no_network_port_is_open_and_the_socket_is_private() {
    let folder = folder();
    let server = started(folder.path()).await;
    let mut connection = connect(&server.url).await;
    let mut shown = Vec::new();
    for setting in
        ["show listen_addresses", "show unix_socket_permissions", "show max_connections", "show timezone"]
    {
        let value: String = sqlx::query_scalar(setting).fetch_one(&mut connection).await.expect("shown");
        shown.push(value);
    }
    assert_eq!(shown, ["", "0700", "100", "UTC"]);
    connection.close().await.expect("closed");
    server.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_killed_postmaster_is_noticed_and_a_new_one_starts_at_once() {
    let folder = folder();
    let mut server = started(folder.path()).await;
    let open = connect(&server.url).await;
    for expected in 1..=3 {
        assert_eq!(add_row(&server.url).await, expected);
        // The kill leaves a zombie, a pid file, sockets and, for a moment, backends.
        kill(server.pid);
        server.wait().await;
        drop(server);
        server = started(folder.path()).await;
        assert!(!server.adopted);
    }
    assert_eq!(add_row(&server.url).await, 4);
    drop(open);
    server.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_server_left_behind_is_adopted_and_can_be_stopped() {
    let folder = folder();
    let server = started(folder.path()).await;
    let (pid, url) = (server.pid, server.url.clone());
    assert_eq!(add_row(&url).await, 1);
    server.leave_running();
    let mut adopted = started(folder.path()).await;
    assert!(adopted.adopted);
    assert_eq!((adopted.pid, adopted.url.as_str()), (pid, url.as_str()));
    kill(pid);
    adopted.wait().await;
    drop(adopted);
    let third = started(folder.path()).await;
    assert_eq!(add_row(&third.url).await, 2);
    third.leave_running();
    let fourth = started(folder.path()).await;
    let pid = fourth.pid;
    let data = fourth.data().to_owned();
    fourth.stop().await.expect("stopped");
    assert!(!postmaster::is_server_of(pid, &data));
}

#[tokio::test]
async fn a_pid_file_that_names_an_unrelated_live_process_is_no_obstacle() {
    let folder = folder();
    let server = started(folder.path()).await;
    let data = server.data().to_owned();
    let account =
        std::fs::metadata(&data).map(|found| std::os::unix::fs::MetadataExt::uid(&found)).expect("read");
    let pid_file = std::fs::read_to_string(data.join("postmaster.pid")).expect("read");
    assert_eq!(add_row(&server.url).await, 1);
    server.stop().await.expect("stopped");
    // Of the same user, so that Postgres would believe it to be a postmaster.
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(account);
    }
    let mut unrelated = command.spawn().expect("a process");
    let stale = pid_file.replacen(pid_file.lines().next().expect("a pid"), &unrelated.id().to_string(), 1);
    std::fs::write(data.join("postmaster.pid"), stale).expect("written");
    let server = started(folder.path()).await;
    assert_eq!(add_row(&server.url).await, 2);
    server.stop().await.expect("stopped");
    unrelated.kill().expect("killed");
    unrelated.wait().expect("reaped");
}

#[tokio::test]
async fn one_owner_at_a_time() {
    let folder = folder();
    let server = started(folder.path()).await;
    let second = start(&testing::options(folder.path())).await;
    assert!(matches!(second, Err(PostgresError::InUse { .. })), "{second:?}");
    server.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_folder_too_deep_for_a_socket_works() {
    let folder = folder();
    let deep = folder.path().join("a folder with spaces, \"quotes\" & more".repeat(4));
    std::fs::create_dir_all(&deep).expect("made");
    let server = started(&deep).await;
    assert_eq!(add_row(&server.url).await, 1);
    server.stop().await.expect("stopped");
}

#[tokio::test]
async fn data_of_a_version_without_binaries_are_refused_and_untouched() {
    let folder = folder();
    let server = started(folder.path()).await;
    let version_file = server.data().join("PG_VERSION");
    server.stop().await.expect("stopped");
    std::fs::write(&version_file, "13\n").expect("written");
    let error = start(&testing::options(folder.path())).await.map(|_| ()).map_err(|error| error.to_string());
    let message = error.expect_err("refused");
    assert!(
        message.contains("written by PostgreSQL 13") && message.contains("TRUNKLINE_POSTGRES_BIN"),
        "{message}"
    );
}

#[tokio::test]
async fn test_databases_are_fresh_and_share_one_server() {
    let server = testing::shared().await.expect("a server");
    let (one, two) =
        (server.database("Fresh one!").await.expect("made"), server.database("x").await.expect("made"));
    assert_ne!(one, two);
    assert_eq!(add_row(&one).await, 1);
    assert_eq!(add_row(&two).await, 1);
    let again = testing::shared().await.expect("a server");
    assert_eq!(again.url(), server.url());
}

/// The body of the tests below: a cycle of everything, as whoever runs it.
#[tokio::test]
async fn life_of_a_server() {
    let folder = folder();
    let server = started(folder.path()).await;
    assert_eq!(add_row(&server.url).await, 1);
    kill(server.pid);
    drop(server);
    let server = started(folder.path()).await;
    assert_eq!(add_row(&server.url).await, 2);
    if is_as_other_user() {
        assert!(!rustix::process::geteuid().is_root());
        assert!(
            server.data().starts_with(folder.path().join("server").join("postgres")),
            "{:?}",
            server.data()
        );
    }
    server.stop().await.expect("stopped");
}

#[expect(clippy::disallowed_methods, reason = "how the copy of this program is told what it is")]
fn is_as_other_user() -> bool {
    std::env::var_os(AS_OTHER_USER).is_some()
}

/// Runs `life_of_a_server` as another user; only root can.
fn life_as(uid: u32) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder();
    let program: PathBuf = folder.path().join("test");
    std::fs::copy(std::env::current_exe().expect("this program"), &program).expect("copied");
    let output = Command::new(&program)
        .args(["--exact", "life_of_a_server", "--nocapture"])
        .uid(uid)
        .gid(uid)
        .current_dir("/tmp")
        .env("HOME", folder.path())
        .env(AS_OTHER_USER, "1")
        .output()
        .expect("run");
    let words = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&words));
}

#[test]
fn an_ordinary_user_has_a_server() {
    life_as(65534);
}

#[test]
fn a_user_without_a_name_has_a_server() {
    life_as(54321);
}
