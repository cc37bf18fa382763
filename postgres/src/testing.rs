//! One throw-away server for all tests of a user: started by whichever test process needs it first,
//! shared by all, gone soon after the last. Never for data that anybody wants: `fsync` is off and
//! the folder is deleted.
//!
//! Every holder keeps a shared lock on one file for as long as its process lives. A watcher (a small
//! Python process: tests need Python anyway, and a test binary cannot leave anything behind that
//! runs Rust) waits for the exclusive lock, lingers, and if then still nobody holds the file, ends
//! the server and deletes its folder while it has the lock. A test that comes at that moment waits
//! for the lock and then starts a new server.
//!
//! `TRUNKLINE_TEST_POSTGRES` = `installed` or `wheel` says whose binaries; each has a server of its own.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Row};
use tokio::sync::Mutex;

use crate::error::PostgresError;
use crate::home::locate;
use crate::patience::poll;
use crate::postmaster::{self, Occupant};
use crate::server::{connect_to, create_database, start};
use crate::settings::{BinaryChoice, Durability, Options};

/// Many test processes with a pool each; a backend that idles costs little.
const CONNECTIONS: u16 = 400;
/// How long to wait for another process to start or end the server.
const PATIENCE: Duration = Duration::from_mins(3);
/// Between two looks at a lock.
const STEP: Duration = Duration::from_millis(20);
/// How long the server outlives its last holder (seconds): `cargo test` runs one binary after the other.
const LINGER_SECONDS: u32 = 15;
/// How often a database name may be taken already before that is an error.
const NAME_TRIES: u32 = 1000;
/// Longest part of a database's name that the caller chooses; Postgres allows 63 bytes in all.
const HINT_LIMIT: usize = 40;

/// Ends the server of folder 1 (data folder 2) when nobody has held its lock for a while (3).
const WATCHER: &str = r"
import fcntl, os, shutil, signal, sys, time
folder, data, linger = sys.argv[1], sys.argv[2], float(sys.argv[3])
os.setsid()
lock = os.open(folder + '/holders.lock', os.O_RDWR)
while True:
    fcntl.flock(lock, fcntl.LOCK_EX)
    fcntl.flock(lock, fcntl.LOCK_UN)
    time.sleep(linger)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except BlockingIOError:
        pass
def server():
    try:
        pid = int(open(data + '/postmaster.pid').readline())
        os.kill(pid, 0)
        return pid
    except (OSError, ValueError):
        return None
for step in range(600):
    pid = server()
    if pid is None:
        break
    if step % 100 == 0:
        os.kill(pid, (signal.SIGINT, signal.SIGQUIT)[step >= 200])
    time.sleep(0.05)
for name in ('ready', 'server', 'root'):
    path = folder + '/' + name
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.exists(path):
        os.unlink(path)
";

/// A handle on the shared server; clones are cheap. Keep one for as long as its databases are used.
#[derive(Debug, Clone)]
pub struct TestServer {
    url: String,
    holder: Arc<File>,
}

/// The server of this process, once it has one.
static SHARED: Mutex<Option<TestServer>> = Mutex::const_new(None);
/// Numbers this process's databases.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The shared server; starts it if nobody has. Fails if there are no Postgres binaries.
pub async fn shared() -> Result<TestServer, PostgresError> {
    let mut shared = SHARED.lock().await;
    if let Some(server) = &*shared {
        return Ok(server.clone());
    }
    let server = hold().await?;
    *shared = Some(server.clone());
    Ok(server)
}

impl TestServer {
    /// Makes a fresh, empty database and returns its URL. `name_hint` becomes part of its name.
    pub async fn database(&self, name_hint: &str) -> Result<String, PostgresError> {
        let hint: String = name_hint
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' })
            .take(HINT_LIMIT)
            .collect();
        let refused =
            |source| PostgresError::Refused { action: format!("create a database for {name_hint}"), source };
        let mut connection = connect_to(&self.url).await.map_err(refused)?;
        let mut last = sqlx::Error::PoolTimedOut;
        for _ in 0..NAME_TRIES {
            let name = format!("t_{hint}_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            match create_database(&mut connection, &name).await {
                Ok(()) => {
                    let _ = connection.close().await;
                    return Ok(self.url.replacen(":///postgres?", &format!(":///{name}?"), 1));
                }
                // 42P04: left by an earlier process with this id.
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => {
                    last = sqlx::Error::Database(error);
                }
                Err(error) => return Err(refused(error)),
            }
        }
        Err(refused(last))
    }

    /// The URL of the server's maintenance database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether this process still keeps the server alive; true for the life of a handle.
    pub fn is_held(&self) -> bool {
        self.holder.metadata().is_ok()
    }
}

/// Runs statements and returns the number that the last one selects; for tests that have no driver of
/// their own (psql is not everywhere).
pub async fn number(url: &str, statements: &str) -> Result<i64, PostgresError> {
    let refused = |source| PostgresError::Refused { action: format!("run {statements}"), source };
    let mut connection = connect_to(url).await.map_err(refused)?;
    let rows = sqlx::raw_sql(AssertSqlSafe(statements)).fetch_all(&mut connection).await.map_err(refused)?;
    let last = rows.last().ok_or_else(|| refused(sqlx::Error::RowNotFound))?;
    let number = last.try_get(0).map_err(refused)?;
    let _ = connection.close().await;
    Ok(number)
}

/// Options for a server that one test has for itself, in `folder`: `fsync` off, binaries as
/// `TRUNKLINE_TEST_POSTGRES` says. As root, `folder` must be open to other accounts (mode 0711 is enough).
pub fn options(folder: &Path) -> Options {
    let mut options = Options::for_folder(&folder.join("server"));
    options.durability = Durability::TestsOnly;
    options.root_base = folder.join("root");
    match binaries_name() {
        "installed" => options.binaries = BinaryChoice::Installed,
        "wheel" => options.binaries = BinaryChoice::Wheel,
        _ => {}
    }
    options
}

/// Which binaries the environment asks for.
#[expect(clippy::disallowed_methods, reason = "tests have no other way to be told")]
fn binaries_name() -> &'static str {
    match std::env::var_os("TRUNKLINE_TEST_POSTGRES").as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("installed") => "installed",
        Some("wheel") => "wheel",
        _ => "any",
    }
}

async fn hold() -> Result<TestServer, PostgresError> {
    let folder = private_folder(binaries_name())?;
    let holder = open(&folder.join("holders.lock"))?;
    waited(&folder, poll(PATIENCE, STEP, async || holder.try_lock_shared().is_ok().then_some(())).await)?;
    // From here on nobody ends the server; only who starts it must be settled.
    let starting = open(&folder.join("start.lock"))?;
    waited(&folder, poll(PATIENCE, STEP, async || starting.try_lock().is_ok().then_some(())).await)?;
    let holder = Arc::new(holder);
    if let Ok(url) = std::fs::read_to_string(folder.join("ready"))
        && let Ok(connection) = connect_to(&url).await
    {
        let _ = connection.close().await;
        return Ok(TestServer { url, holder });
    }
    let url = begin(&folder).await?;
    Ok(TestServer { url, holder })
}

/// Starts a server in an emptied folder, and its watcher. The caller holds both locks.
async fn begin(folder: &Path) -> Result<String, PostgresError> {
    let mut options = options(folder);
    options.connections = CONNECTIONS;
    empty(folder, &options)?;
    let server = start(&options).await?;
    let url = server.database_url("postgres");
    watch(folder, server.data())?;
    server.leave_running();
    let scratch = folder.join("ready.new");
    std::fs::write(&scratch, &url).map_err(PostgresError::file("writing", &scratch))?;
    std::fs::rename(&scratch, folder.join("ready")).map_err(PostgresError::file("writing", folder))?;
    Ok(url)
}

/// Removes what an earlier server left, unless it still runs: without `fsync`, data that outlived a
/// reboot cannot be trusted.
fn empty(folder: &Path, options: &Options) -> Result<(), PostgresError> {
    let home = locate(options)?;
    if matches!(postmaster::occupant(&home.data), Occupant::Alive(_)) {
        return Ok(());
    }
    for place in [folder.join("server"), folder.join("root")] {
        match std::fs::remove_dir_all(&place) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(PostgresError::File { action: "removing", path: place, source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn watch(folder: &Path, data: &Path) -> Result<(), PostgresError> {
    Command::new("python3")
        .args(["-c", WATCHER])
        .arg(folder)
        .arg(data)
        .arg(LINGER_SECONDS.to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(|_| ())
        .map_err(|error| PostgresError::Program {
            program: "python3",
            place: folder.to_owned(),
            cause: format!("the test server's watcher could not be started: {error}"),
        })
}

/// A folder of this user's own in `/tmp`: short, for the socket, and open to root's server account.
fn private_folder(name: &str) -> Result<PathBuf, PostgresError> {
    let uid = rustix::process::geteuid().as_raw();
    let folder = PathBuf::from(format!("/tmp/trunkline-test-{uid}-{name}"));
    let mode = if uid == 0 { 0o711 } else { 0o700 };
    if std::fs::DirBuilder::new().mode(mode).create(&folder).is_ok() {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&folder, mode).map_err(PostgresError::file("opening", &folder))?;
    }
    let found = std::fs::symlink_metadata(&folder).map_err(PostgresError::file("creating", &folder))?;
    if !found.is_dir() || found.uid() != uid || found.permissions().mode() & 0o066 != 0 {
        let cause = "it exists and is not a private folder of this user; remove it".to_owned();
        return Err(PostgresError::Place { path: folder, cause });
    }
    Ok(folder)
}

fn open(path: &Path) -> Result<File, PostgresError> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(PostgresError::file("opening", path))
}

fn waited(folder: &Path, locked: Option<()>) -> Result<(), PostgresError> {
    locked.ok_or_else(|| PostgresError::InUse { home: folder.to_owned() })
}
