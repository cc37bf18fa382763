//! A command's side: have a keeper, ask what there is, end it.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use trunkline_postgres::{Environment, Options};

use super::error::KeeperError;
use super::places::{Hold, Places, Want, open_lock, poll, try_hold};
use super::state::{Kept, read};

/// How long a keeper may take to get ready: Postgres may have to make its data folder and to recover.
const READY_LIMIT: Duration = Duration::from_mins(3);
/// How long an ending keeper may take: a clean stop of Postgres.
const END_LIMIT: Duration = Duration::from_mins(1);
/// Between two looks at the keeper.
const STEP: Duration = Duration::from_millis(20);
/// Between two looks at a keeper by a client that has been attached for long.
const GUARD_STEP: Duration = Duration::from_secs(2);
/// How much of the keeper's log (bytes) an error message may show.
const LOG_SHOWN: u64 = 2000;

/// What a command needs of its keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// The private Postgres.
    pub postgres: bool,
    /// The sandbox.
    pub sandbox: bool,
}

/// How a keeper is started.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The program; it must call [`super::keep`] when run as `<program> <arguments> --dir <folder>`.
    pub program: PathBuf,
    /// What makes it a keeper.
    pub arguments: Vec<String>,
    /// Environment variables for it, over this process's own; of one name, the last counts.
    pub environment: Vec<(String, OsString)>,
}

impl Launcher {
    /// This program with its hidden command.
    pub fn this_program() -> Result<Self, KeeperError> {
        let program =
            std::env::current_exe().map_err(KeeperError::file("finding", Path::new("this program")))?;
        Ok(Self { program, arguments: vec!["__keeper".to_owned()], environment: Vec::new() })
    }

    /// The Postgres that a keeper started so will use.
    #[expect(clippy::disallowed_methods, reason = "a keeper inherits this process's environment")]
    fn postgres_options(&self, places: &Places) -> Options {
        let given = |name: &str| {
            self.environment.iter().rfind(|(given, _)| given == name).map(|(_, value)| value.clone())
        };
        let environment = Environment::of(|name| given(name).or_else(|| std::env::var_os(name)));
        Options::with(places.dir(), environment)
    }
}

/// A hold on the keeper: while it lives, the keeper does not end by itself.
#[derive(Debug)]
pub struct Attached {
    /// The private Postgres, if it was asked for; works with psql.
    pub database_url: Option<String>,
    /// `http://127.0.0.1:<port>`, if the sandbox was asked for.
    pub sandbox_endpoint: Option<String>,
    /// Where the sandbox puts mails, if it was asked for.
    pub mailbox: Option<PathBuf>,
    /// All that the keeper said.
    pub kept: Kept,
    places: Places,
    needs: Needs,
    launcher: Launcher,
    _client: File,
}

impl Attached {
    /// For a command that lives long: sees to it that there is a keeper, starting a new one if it was
    /// killed. Never returns; spawn it or select on it. Addresses stay the same over a keeper's death
    /// unless another program has taken the sandbox's port.
    pub async fn guard(&self) {
        let mut looks = tokio::time::interval(GUARD_STEP);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if matches!(read(&self.places), Ok(Some(_))) {
                continue;
            }
            match reach(&self.places, self.needs, &self.launcher).await {
                Ok(kept) if kept.sandbox.endpoint != self.sandbox_endpoint && self.needs.sandbox => {
                    let (now, before) = (kept.sandbox.endpoint, &self.sandbox_endpoint);
                    tracing::warn!(
                        ?now,
                        ?before,
                        "the sandbox has another address: start this command again"
                    );
                }
                Ok(_) => tracing::info!("the background process had gone and is back"),
                Err(error) => tracing::warn!(%error, "the background process is gone"),
            }
        }
    }
}

/// Attaches to the keeper of a `.trunkline` folder, starting it if needed. Once this returned, all
/// that was asked for accepts connections, for as long as the result lives.
pub async fn attach(dir: &Path, needs: Needs) -> Result<Attached, KeeperError> {
    attach_with(dir, needs, Launcher::this_program()?).await
}

/// As [`attach`], with another program as keeper.
pub async fn attach_with(dir: &Path, needs: Needs, launcher: Launcher) -> Result<Attached, KeeperError> {
    let places = Places::make(dir)?;
    let client = be_client(&places).await?;
    for (needed, want) in [(needs.postgres, Want::Postgres), (needs.sandbox, Want::Sandbox)] {
        if needed {
            places.ask_for(want)?;
        }
    }
    let kept = reach(&places, needs, &launcher).await?;
    Ok(Attached {
        database_url: kept.postgres.url.clone().filter(|_| needs.postgres),
        sandbox_endpoint: kept.sandbox.endpoint.clone().filter(|_| needs.sandbox),
        mailbox: kept.sandbox.mailbox.clone().filter(|_| needs.sandbox),
        kept,
        places,
        needs,
        launcher,
        _client: client,
    })
}

/// Takes the clients' lock; waits for a keeper that is ending.
async fn be_client(places: &Places) -> Result<File, KeeperError> {
    let path = places.clients();
    let client = open_lock(&path)?;
    let held =
        poll(END_LIMIT, STEP, async || Ok(try_hold(&client, Hold::Shared, &path)?.then_some(()))).await?;
    held.ok_or_else(|| not_ready(places, END_LIMIT))?;
    // A visit, in case it is over before the keeper looks.
    std::io::Write::write_all(&mut &client, b".").map_err(KeeperError::file("writing", &path))?;
    Ok(client)
}

/// Looks at the keeper until it has what is needed, starting it and asking it as necessary. The
/// caller holds the clients' lock.
async fn reach(places: &Places, needs: Needs, launcher: &Launcher) -> Result<Kept, KeeperError> {
    let mut child: Option<(Child, u64)> = None;
    // The keeper that was asked, and how often it had tried then.
    let mut asked: Option<(i32, [u32; 2])> = None;
    let reached = poll(READY_LIMIT, STEP, async || {
        if let Some(kept) = read(places)? {
            let mut before = [0, 0];
            if let Some((pid, tries)) = asked
                && pid == kept.pid
            {
                before = tries;
            } else if child.is_none() && !is_complete(&kept, needs) {
                // An older keeper that lacks something: what failed before we asked does not count.
                before = [kept.postgres.tries, kept.sandbox.tries];
                asked = Some((kept.pid, before));
                Pid::from_raw(kept.pid).map(|pid| rustix::process::kill_process(pid, Signal::HUP));
            }
            return verdict(kept, needs, before);
        }
        if let Some((process, written)) = &mut child {
            match process.try_wait() {
                Ok(None) => return Ok(None),
                Ok(Some(status)) if !status.success() => {
                    let cause = format!("{} ({status})", log_since(places, *written));
                    return Err(KeeperError::Launch { cause, log: places.log() });
                }
                // It left the place to another keeper.
                _ => child = None,
            }
        }
        if is_free(places)? {
            if needs.postgres {
                // Here, where the user reads what is said: a download, or that there is nothing to use.
                trunkline_postgres::server::prepare(&launcher.postgres_options(places)).await?;
            }
            child = Some(launch(places, launcher)?);
        }
        Ok(None)
    })
    .await?;
    reached.ok_or_else(|| not_ready(places, READY_LIMIT))
}

fn is_complete(kept: &Kept, needs: Needs) -> bool {
    (!needs.postgres || kept.postgres.url.is_some()) && (!needs.sandbox || kept.sandbox.endpoint.is_some())
}

/// What a keeper's state means to a client whose wishes it has seen after `before` tries.
fn verdict(kept: Kept, needs: Needs, before: [u32; 2]) -> Result<Option<Kept>, KeeperError> {
    if is_complete(&kept, needs) {
        return Ok(Some(kept));
    }
    let (postgres, sandbox) = (&kept.postgres, &kept.sandbox);
    let services = [
        (needs.postgres, "private PostgreSQL", &postgres.failed, postgres.tries > before[0]),
        (needs.sandbox, "sandbox", &sandbox.failed, sandbox.tries > before[1]),
    ];
    for (needed, what, failed, tried) in services {
        if let Some(cause) = failed.as_ref().filter(|_| needed && tried) {
            return Err(KeeperError::Service { what, cause: cause.clone() });
        }
    }
    Ok(None)
}

/// Whether there is no keeper, not even one that is starting or ending.
fn is_free(places: &Places) -> Result<bool, KeeperError> {
    let path = places.keeper();
    // Shared, so that clients which look at the same moment do not take each other for a keeper.
    try_hold(&open_lock(&path)?, Hold::Shared, &path)
}

/// Starts a keeper, and says how long its log was before.
fn launch(places: &Places, launcher: &Launcher) -> Result<(Child, u64), KeeperError> {
    let log = places.open_log()?;
    let written = log.metadata().map_err(KeeperError::file("reading", &places.log()))?.len();
    let copy = log.try_clone().map_err(KeeperError::file("opening", &places.log()))?;
    let mut command = Command::new(&launcher.program);
    command.args(&launcher.arguments).arg("--dir").arg(places.dir()).current_dir(places.dir());
    command.stdin(Stdio::null()).stdout(Stdio::from(copy)).stderr(Stdio::from(log));
    for (name, _) in std::env::vars_os() {
        // The sandbox runs the project's scripts: it must not hand them the account's credentials,
        // nor may what one command was told about its database hold for all.
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("AWS_") || name.starts_with("PG") || name == "DATABASE_URL")
        {
            command.env_remove(name);
        }
    }
    command.envs(launcher.environment.iter().map(|(name, value)| (name, value)));
    let child = command.spawn().map_err(|error| KeeperError::Launch {
        cause: format!("{}: {error}", launcher.program.display()),
        log: places.log(),
    })?;
    Ok((child, written))
}

fn not_ready(places: &Places, limit: Duration) -> KeeperError {
    let said = std::fs::read_to_string(places.keeper()).unwrap_or_default();
    let pid = if said.trim().is_empty() { "unknown".to_owned() } else { said.trim().to_owned() };
    KeeperError::NotReady { pid, seconds: limit.as_secs(), log: places.log() }
}

/// The end of what a keeper logged after `written` bytes, on one line.
fn log_since(places: &Places, written: u64) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut log = File::open(places.log())?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(written.max(length.saturating_sub(LOG_SHOWN))))?;
        let mut bytes = Vec::new();
        log.take(LOG_SHOWN).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "it ended without a word".to_owned() } else { lines.join("; ") }
}

/// What there is in a project, without starting anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What the keeper offers, if one lives.
    pub kept: Option<Kept>,
    /// Some command is attached.
    pub in_use: bool,
}

/// Looks at the keeper of a `.trunkline` folder; starts nothing and makes nothing.
pub fn status(dir: &Path) -> Result<Status, KeeperError> {
    let Some(places) = Places::existing(dir) else { return Ok(Status { kept: None, in_use: false }) };
    let path = places.clients();
    let in_use = match File::open(&path) {
        // Exclusively for a moment: a client that attaches just now tries again.
        Ok(file) => !try_hold(&file, Hold::Exclusive, &path)?,
        Err(_) => false,
    };
    Ok(Status { kept: read(&places)?, in_use })
}

/// What [`stop`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing ran.
    NothingRan,
    /// The keeper has ended, and with it Postgres and the sandbox.
    Keeper,
    /// A Postgres that a killed keeper had left behind has ended.
    LeftBehind,
}

/// Deletes what the private Postgres of a folder keeps outside of it (root's does), for a folder that
/// is about to be deleted itself. Everything must have ended.
pub fn forget(dir: &Path) {
    let Some(places) = Places::existing(dir) else { return };
    for folder in [places.dir().to_owned(), places.sandbox().join("redshift")] {
        trunkline_postgres::home::forget(&Options::for_folder(&folder));
    }
}

/// Ends the keeper and all that it keeps. Refused while commands are attached, unless `force`.
pub async fn stop(dir: &Path, force: bool) -> Result<Stopped, KeeperError> {
    let Some(places) = Places::existing(dir) else { return Ok(Stopped::NothingRan) };
    // Held until the end, so that nobody attaches to what is ending.
    let clients = open_lock(&places.clients())?;
    if !try_hold(&clients, Hold::Exclusive, &places.clients())? && !force {
        return Err(KeeperError::InUse);
    }
    let free = poll(END_LIMIT, STEP, async || {
        // One that is starting can be told once it says its id.
        if let Some(kept) = read(&places)? {
            Pid::from_raw(kept.pid).map(|pid| rustix::process::kill_process(pid, Signal::TERM));
            return Ok(Some(Some(kept.pid)));
        }
        Ok(is_free(&places)?.then_some(None))
    })
    .await?
    .ok_or_else(|| not_ready(&places, END_LIMIT))?;
    let Some(pid) = free else {
        let mut left_behind = false;
        // The store's, and the one that the sandbox runs for Redshift.
        for folder in [places.dir().to_owned(), places.sandbox().join("redshift")] {
            let options = Options::for_folder(&folder);
            left_behind |= trunkline_postgres::server::stop_left_behind(&options).await?;
        }
        return Ok(if left_behind { Stopped::LeftBehind } else { Stopped::NothingRan });
    };
    let ended = poll(END_LIMIT, STEP, async || Ok(is_free(&places)?.then_some(()))).await?;
    places.forget_wants();
    ended.map(|()| Stopped::Keeper).ok_or(KeeperError::NotStopped {
        pid,
        seconds: END_LIMIT.as_secs(),
        log: places.log(),
    })
}
