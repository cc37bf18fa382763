//! Starting, adopting, watching and stopping one server.
//!
//! Whoever calls [`start`] owns the server's home by an exclusive lock until the [`Server`] is
//! dropped. Dropping it does not stop the server: one that survives its owner (killed with kill -9,
//! say) goes on serving, and the next owner adopts it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::Child;

use crate::account::is_root;
use crate::binaries::{Binaries, find_binaries};
use crate::cluster::{self, command_as};
use crate::error::PostgresError;
use crate::home::{self, Home};
use crate::patience::poll;
use crate::postmaster::{self, Ending, Occupant};
use crate::settings::{DATABASE, Durability, Options};

/// How long a start may take. Recovery after a crash replays at most a few checkpoints' worth of log.
const READY_LIMIT: Duration = Duration::from_mins(2);
/// How long an adopted server may take to answer before it is replaced.
const ADOPT_LIMIT: Duration = Duration::from_secs(20);
/// One try to connect; on a local socket the answer comes at once or not at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at a server that starts or ends.
const STEP: Duration = Duration::from_millis(20);
/// Between two looks at an adopted server, whose end nobody announces.
const ADOPTED_STEP: Duration = Duration::from_millis(500);
/// A clean end: disconnecting everybody and one checkpoint.
const FAST_LIMIT: Duration = Duration::from_secs(30);
/// An immediate end.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(10);
/// How long another owner may take to let go of the home.
const LOCK_LIMIT: Duration = Duration::from_secs(10);
/// How often a start is repeated while remains of a killed server are still going away.
const START_TRIES: u32 = 20;
/// Between such tries.
const START_PAUSE: Duration = Duration::from_millis(500);
/// A log longer than this (bytes) is set aside at the next start; at most two are kept.
const LOG_LIMIT: u64 = 10 << 20;
/// How much of the log's end (bytes) an error message may show.
const LOG_SHOWN: u64 = 2000;

/// A running server that this process owns.
#[derive(Debug)]
pub struct Server {
    /// The project's database; works with psql.
    pub url: String,
    /// The postmaster's process id.
    pub pid: i32,
    /// Major version, for example 15.
    pub major: u32,
    /// It was running already, left behind by an owner that died.
    pub adopted: bool,
    home: Home,
    child: Option<Child>,
    _owned: File,
}

impl Server {
    /// The URL of another database of this server, which need not exist.
    pub fn database_url(&self, database: &str) -> String {
        self.home.url(database)
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.home.data
    }

    /// Returns when the server is gone, whatever ended it.
    pub async fn wait(&mut self) {
        if let Some(child) = &mut self.child {
            // An error means that the system lost sight of the child: as good as gone.
            let _ = child.wait().await;
            return;
        }
        let mut ticks = tokio::time::interval(ADOPTED_STEP);
        while postmaster::is_server_of(self.pid, &self.home.data) {
            ticks.tick().await;
        }
    }

    /// Ends the server: cleanly, or at once if that takes too long.
    pub async fn stop(mut self) -> Result<(), PostgresError> {
        end(self.pid, &self.home, self.child.as_mut()).await?;
        clear_sockets(&self.home);
        if !self.home.socket.starts_with(&self.home.root) {
            // In a public folder: leave nothing behind.
            let _ = std::fs::remove_dir(&self.home.socket);
        }
        Ok(())
    }

    /// Lets go of the server without stopping it.
    pub fn leave_running(self) {}
}

/// Starts the server of the options' folder, or adopts it if it runs; makes the data folder and the
/// database if they are missing. Once this returned, the database accepts connections.
pub async fn start(options: &Options) -> Result<Server, PostgresError> {
    let home = blocking({
        let options = options.clone();
        move || home::locate(&options)
    })
    .await?;
    let owned = own(&home).await?;
    if let Some((pid, major)) = adopt(&home).await? {
        ensure_database(&home).await?;
        return Ok(Server {
            url: home.url(DATABASE),
            pid,
            major,
            adopted: true,
            home,
            child: None,
            _owned: owned,
        });
    }
    let binaries = binaries_for(&home, options).await?;
    if home.major()?.is_none() {
        cluster::create(&home, &binaries, options.durability, &options.environment).await?;
    }
    let (child, pid) = launch(&home, &binaries, options).await?;
    ensure_database(&home).await?;
    let url = home.url(DATABASE);
    Ok(Server { url, pid, major: binaries.major, adopted: false, home, child: Some(child), _owned: owned })
}

/// Makes sure that [`start`] will find binaries, fetching them if needed, and says their version.
/// For a process that will have somebody else start the server, but has the user's ear.
pub async fn prepare(options: &Options) -> Result<u32, PostgresError> {
    let home = blocking({
        let options = options.clone();
        move || home::locate(&options)
    })
    .await?;
    Ok(binaries_for(&home, options).await?.major)
}

/// Ends a server that an owner left behind when it died. `false`: there was none.
pub async fn stop_left_behind(options: &Options) -> Result<bool, PostgresError> {
    let alive = home::existing_data(options).map(|data| postmaster::occupant(&data));
    if !matches!(alive, Some(Occupant::Alive(_))) {
        return Ok(false);
    }
    // Taking it over first makes sure that it has no owner.
    start(options).await?.stop().await?;
    Ok(true)
}

async fn binaries_for(home: &Home, options: &Options) -> Result<Binaries, PostgresError> {
    let major = home.major()?;
    let (choice, environment) = (options.binaries.clone(), options.environment.clone());
    let found = blocking(move || find_binaries(&choice, major, &environment, is_root())).await;
    match (found, major) {
        (Err(PostgresError::NoBinaries { looked, .. }), Some(major)) => {
            Err(PostgresError::OtherMajor { data: home.data.clone(), major, looked })
        }
        (found, _) => found,
    }
}

/// Runs file and process work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PostgresError> + Send + 'static,
) -> Result<T, PostgresError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Takes the home's lock.
async fn own(home: &Home) -> Result<File, PostgresError> {
    let path = home.lock();
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(PostgresError::file("opening", &path))?;
    poll(LOCK_LIMIT, STEP, async || file.try_lock().is_ok().then_some(()))
        .await
        .ok_or_else(|| PostgresError::InUse { home: home.root.clone() })?;
    Ok(file)
}

/// The pid and version of a server that already runs here and answers. One that runs and does not
/// answer is ended.
async fn adopt(home: &Home) -> Result<Option<(i32, u32)>, PostgresError> {
    let Occupant::Alive(pid) = postmaster::occupant(&home.data) else { return Ok(None) };
    let answers = poll(ADOPT_LIMIT, STEP, async || match connect(home, "postgres").await {
        Ok(connection) => Some(connection.close().await.is_ok()),
        Err(_) => (!postmaster::is_server_of(pid, &home.data)).then_some(false),
    })
    .await;
    if answers == Some(true) {
        let major = home.major()?.unwrap_or_default();
        tracing::info!(pid, data = %home.data.display(), "adopted a running PostgreSQL");
        return Ok(Some((pid, major)));
    }
    tracing::warn!(pid, data = %home.data.display(), "replacing a PostgreSQL that does not answer");
    end(pid, home, None).await?;
    Ok(None)
}

/// Ends a postmaster and waits for it.
async fn end(pid: i32, home: &Home, mut child: Option<&mut Child>) -> Result<(), PostgresError> {
    for (ending, limit) in [(Ending::Fast, FAST_LIMIT), (Ending::Immediate, IMMEDIATE_LIMIT)] {
        // A child's id is its own until it is waited for; any other may be somebody else's by now.
        let lives = child.is_some() || postmaster::is_server_of(pid, &home.data);
        if !lives || !postmaster::ask_to_end(pid, ending) {
            return Ok(());
        }
        let gone = match &mut child {
            Some(child) => tokio::time::timeout(limit, child.wait()).await.ok().map(|_| ()),
            None => {
                poll(limit, STEP, async || (!postmaster::is_server_of(pid, &home.data)).then_some(())).await
            }
        };
        if gone.is_some() {
            return Ok(());
        }
    }
    Err(PostgresError::NotStopped { pid, seconds: (FAST_LIMIT + IMMEDIATE_LIMIT).as_secs() })
}

/// What became of one try to start.
enum Launch {
    Ready(Child, i32),
    /// Remains of a killed server are in the way, which go away by themselves.
    TryAgain(String),
}

async fn launch(home: &Home, binaries: &Binaries, options: &Options) -> Result<(Child, i32), PostgresError> {
    let mut pauses = tokio::time::interval(START_PAUSE);
    let mut last = String::new();
    for _ in 0..START_TRIES {
        pauses.tick().await;
        match launch_once(home, binaries, options).await? {
            Launch::Ready(child, pid) => return Ok((child, pid)),
            Launch::TryAgain(cause) => last = cause,
        }
    }
    Err(PostgresError::Program { program: "postgres", place: home.data.clone(), cause: last })
}

async fn launch_once(home: &Home, binaries: &Binaries, options: &Options) -> Result<Launch, PostgresError> {
    let log = open_log(home)?;
    let written = log.metadata().map_err(PostgresError::file("reading", &home.log()))?.len();
    clear_sockets(home);
    let mut child = server_command(home, binaries, options, log)?.spawn().map_err(|error| {
        failed(home, format!("{} could not be run: {error}", binaries.program("postgres").display()))
    })?;
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .ok_or_else(|| failed(home, "it ended at once".to_owned()))?;
    let ready = poll(READY_LIMIT, STEP, async || {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(Err(status));
        }
        let connection = connect(home, "postgres").await.ok()?;
        let _ = connection.close().await;
        Some(Ok(()))
    })
    .await;
    match ready {
        Some(Ok(())) => Ok(Launch::Ready(child, pid)),
        Some(Err(status)) => {
            let words = log_since(home, written);
            let passing = words.contains("already exists") || words.contains("is still in use");
            let cause = format!("{words} ({status})");
            if passing { Ok(Launch::TryAgain(cause)) } else { Err(failed(home, cause)) }
        }
        None => {
            end(pid, home, Some(&mut child)).await?;
            let log = log_since(home, written);
            Err(PostgresError::NotReady { data: home.data.clone(), seconds: READY_LIMIT.as_secs(), log })
        }
    }
}

fn failed(home: &Home, cause: String) -> PostgresError {
    PostgresError::Program { program: "postgres", place: home.data.clone(), cause }
}

fn server_command(
    home: &Home,
    binaries: &Binaries,
    options: &Options,
    log: File,
) -> Result<tokio::process::Command, PostgresError> {
    let mut command = command_as(&binaries.program("postgres"), binaries, home.account, &options.environment);
    command.arg("-D").arg(&home.data);
    let sockets = home.socket.to_string_lossy().replace('"', "\"\"");
    let mut settings = vec![
        ("listen_addresses", String::new()),
        ("port", "5432".to_owned()),
        ("unix_socket_directories", format!("\"{sockets}\"")),
        ("unix_socket_permissions", "0700".to_owned()),
        ("max_connections", options.connections.to_string()),
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("cluster_name", DATABASE.to_owned()),
    ];
    if options.durability == Durability::TestsOnly {
        settings.extend(["fsync", "full_page_writes"].map(|name| (name, "off".to_owned())));
    }
    for (name, value) in settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    if let Occupant::Stale(pid) = postmaster::occupant(&home.data) {
        // Postgres takes its grandparent's id in a pid file for its own: so it overwrites a file
        // that names this process, and nothing has to be deleted behind its back.
        command.env("PG_GRANDPARENT_PID", pid.to_string());
    }
    let copy = log.try_clone().map_err(PostgresError::file("opening", &home.log()))?;
    command.stdout(Stdio::from(copy)).stderr(Stdio::from(log));
    Ok(command)
}

/// Removes what a killed server left in the socket's folder. The caller owns the home and has seen
/// that no server lives.
fn clear_sockets(home: &Home) {
    for name in [".s.PGSQL.5432", ".s.PGSQL.5432.lock"] {
        let _ = std::fs::remove_file(home.socket.join(name));
    }
}

fn open_log(home: &Home) -> Result<File, PostgresError> {
    let path = home.log();
    if std::fs::metadata(&path).is_ok_and(|found| found.len() > LOG_LIMIT) {
        std::fs::rename(&path, path.with_extension("1"))
            .map_err(PostgresError::file("setting aside", &path))?;
    }
    OpenOptions::new().create(true).append(true).open(&path).map_err(PostgresError::file("opening", &path))
}

/// The end of what was logged after `written` bytes, on one line.
fn log_since(home: &Home, written: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut log = File::open(home.log())?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(written.max(length.saturating_sub(LOG_SHOWN))))?;
        let mut bytes = Vec::new();
        log.take(LOG_SHOWN).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "nothing was logged".to_owned() } else { lines.join("; ") }
}

async fn connect(home: &Home, database: &str) -> Result<PgConnection, sqlx::Error> {
    connect_to(&home.url(database)).await
}

/// One connection, or an error within [`CONNECT_LIMIT`].
pub(crate) async fn connect_to(url: &str) -> Result<PgConnection, sqlx::Error> {
    tokio::time::timeout(CONNECT_LIMIT, PgConnection::connect(url))
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)?
}

async fn ensure_database(home: &Home) -> Result<(), PostgresError> {
    let refused =
        |source| PostgresError::Refused { action: format!("create the database {DATABASE}"), source };
    let mut connection = connect(home, "postgres").await.map_err(refused)?;
    let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(DATABASE)
        .fetch_one(&mut connection)
        .await
        .map_err(refused)?;
    if !there {
        create_database(&mut connection, DATABASE).await.map_err(refused)?;
    }
    let _ = connection.close().await;
    Ok(())
}

/// `name` consists of letters, digits and underscores.
pub(crate) async fn create_database(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    debug_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    sqlx::query(AssertSqlSafe(format!("create database \"{name}\""))).execute(connection).await.map(|_| ())
}
