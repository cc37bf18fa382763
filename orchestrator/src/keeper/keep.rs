//! The keeper's own life: get the lock, start what is wanted, publish it, watch over it, end when
//! nobody has needed it for a while.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::signal::unix::{Signal, SignalKind, signal};
use trunkline_postgres::{Options, Server};

use super::error::KeeperError;
use super::places::{Hold, Places, Want, is_still, open_lock, poll, try_hold};
use super::state::{Kept, KeptPostgres, KeptSandbox, publish};

/// How long a keeper outlives its last client unless told otherwise.
const LINGER: Duration = Duration::from_mins(1);
/// Between two looks at the clients; less if the time to linger is short.
const LOOK_STEP: Duration = Duration::from_secs(1);
/// Looks per time to linger, at least.
const LOOKS_PER_LINGER: u32 = 20;
/// The shortest time between two looks.
const SHORTEST_LOOK_STEP: Duration = Duration::from_millis(20);
/// How long to try for the keeper's lock: clients hold it for microseconds, another keeper for long.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
/// Between two tries for the keeper's lock.
const LOCK_STEP: Duration = Duration::from_millis(20);
/// After so many looks with Postgres up, an earlier death of it counts no more.
const LOOKS_OF_HEALTH: u32 = 60;
/// How often Postgres is started again when it keeps dying.
const RESTARTS: u32 = 5;

/// What the sandbox's start hands back.
pub struct SandboxRunning {
    /// `http://127.0.0.1:<port>`.
    pub endpoint: String,
    /// Where mails to subscribers are put.
    pub mailbox: PathBuf,
    /// Ends it.
    pub stop: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>,
}

/// Starts the sandbox on a folder, on this port if it is free. Passed in, so that the keeper does not know
/// the sandbox.
pub type SandboxStart = Arc<
    dyn Fn(
            PathBuf,
            Option<u16>,
        ) -> BoxFuture<'static, Result<SandboxRunning, Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Sync,
>;

/// What a keeper is told at its start.
pub struct KeepOptions {
    /// The project's `.trunkline` folder.
    pub dir: PathBuf,
    /// How long it outlives its last client.
    pub linger: Duration,
    /// How to start the sandbox; `None` in a program without one.
    pub sandbox: Option<SandboxStart>,
}

impl KeepOptions {
    /// For a folder, with the time to linger from `TRUNKLINE_KEEPER_LINGER` (seconds, may be a fraction).
    #[expect(clippy::disallowed_methods, reason = "the keeper is a process of its own, and this is its edge")]
    pub fn for_dir(dir: &Path, sandbox: Option<SandboxStart>) -> Self {
        let said = std::env::var_os("TRUNKLINE_KEEPER_LINGER").and_then(|value| value.into_string().ok());
        let seconds = said.and_then(|text| text.parse().ok());
        let linger = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(LINGER);
        Self { dir: dir.to_owned(), linger, sandbox }
    }
}

/// Why a keeper ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Another keeper holds this folder.
    AnotherKeeper,
    /// Nobody needed it any more.
    Unused,
    /// It was told to.
    Told,
    /// Its folder is gone.
    FolderGone,
}

/// Is the keeper of a folder until it is needed no more. Call it in a process of its own.
pub async fn keep(options: KeepOptions) -> Result<Ended, KeeperError> {
    // A session of its own: the terminal's Ctrl-C and hang-up are for the commands. It fails only if
    // this process leads one already.
    let _ = rustix::process::setsid();
    let places = Places::make(&options.dir)?;
    let Some(lock) = become_keeper(&places).await? else { return Ok(Ended::AnotherKeeper) };
    let mut keeper = Keeper::new(places, lock, options)?;
    let ended = match keeper.start_wanted(Retry::No).await {
        Ok(()) => keeper.watch().await,
        Err(error) => Err(error),
    };
    keeper.stop_all().await;
    ended
}

/// Takes the keeper's lock; `None` if another keeper has it.
async fn become_keeper(places: &Places) -> Result<Option<File>, KeeperError> {
    let path = places.keeper();
    let lock = open_lock(&path)?;
    let got =
        poll(LOCK_LIMIT, LOCK_STEP, async || Ok(try_hold(&lock, Hold::Exclusive, &path)?.then_some(())))
            .await?;
    if got.is_none() || !is_still(&path, &lock) {
        return Ok(None);
    }
    // For people who look; nothing reads it but error messages.
    std::fs::write(&path, format!("{}\n", std::process::id()))
        .map_err(KeeperError::file("writing", &path))?;
    Ok(Some(lock))
}

/// Whether what failed before is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    Yes,
    No,
}

/// What woke the keeper.
enum Event {
    Look,
    Nudged,
    Told,
    PostgresGone,
}

struct Keeper {
    places: Places,
    lock: File,
    clients: File,
    options: KeepOptions,
    kept: Kept,
    /// Holds `keeper.json` true.
    published: Option<File>,
    postgres: Option<Server>,
    sandbox: Option<SandboxRunning>,
    /// Looks in a row at which nobody was attached.
    unused: u32,
    /// Looks since Postgres was started.
    healthy: u32,
    /// Deaths of Postgres in a row.
    deaths: u32,
    nudges: Signal,
    terminations: Signal,
    interrupts: Signal,
}

impl Keeper {
    fn new(places: Places, lock: File, options: KeepOptions) -> Result<Self, KeeperError> {
        let listen = |kind| signal(kind).map_err(KeeperError::file("listening for signals in", places.dir()));
        let (nudges, terminations) = (listen(SignalKind::hangup())?, listen(SignalKind::terminate())?);
        let interrupts = listen(SignalKind::interrupt())?;
        let kept = Kept {
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            postgres: KeptPostgres::default(),
            sandbox: KeptSandbox::default(),
        };
        let clients = open_lock(&places.clients())?;
        Ok(Self {
            places,
            lock,
            clients,
            options,
            kept,
            published: None,
            postgres: None,
            sandbox: None,
            unused: 0,
            healthy: 0,
            deaths: 0,
            nudges,
            terminations,
            interrupts,
        })
    }

    /// Starts what is wanted and does not run, and publishes what there is.
    async fn start_wanted(&mut self, retry: Retry) -> Result<(), KeeperError> {
        let before = self.kept.clone();
        let may_try = |tries: u32| tries == 0 || retry == Retry::Yes;
        if self.postgres.is_none()
            && may_try(self.kept.postgres.tries)
            && self.places.is_wanted(Want::Postgres)
        {
            self.start_postgres().await;
        }
        if self.sandbox.is_none() && may_try(self.kept.sandbox.tries) && self.places.is_wanted(Want::Sandbox)
        {
            self.start_sandbox().await;
        }
        if self.published.is_none() || before != self.kept {
            // The old file is let go of only after the new one has its place.
            self.published = Some(publish(&self.places, &self.kept)?);
        }
        Ok(())
    }

    async fn start_postgres(&mut self) {
        let tries = self.kept.postgres.tries + 1;
        self.healthy = 0;
        self.kept.postgres = match trunkline_postgres::start(&Options::for_folder(self.places.dir())).await {
            Ok(server) => {
                tracing::info!(
                    pid = server.pid,
                    major = server.major,
                    adopted = server.adopted,
                    "PostgreSQL runs"
                );
                let (url, pid, major) = (Some(server.url.clone()), Some(server.pid), Some(server.major));
                self.postgres = Some(server);
                KeptPostgres { url, pid, major, failed: None, tries }
            }
            Err(error) => {
                tracing::error!(%error, "PostgreSQL could not be started");
                KeptPostgres { failed: Some(error.to_string()), tries, ..KeptPostgres::default() }
            }
        };
    }

    async fn start_sandbox(&mut self) {
        let tries = self.kept.sandbox.tries + 1;
        self.kept.sandbox = match self.sandbox_on_its_port().await {
            Ok(running) => {
                tracing::info!(endpoint = running.endpoint, "the sandbox runs");
                let (endpoint, mailbox) = (Some(running.endpoint.clone()), Some(running.mailbox.clone()));
                self.sandbox = Some(running);
                KeptSandbox { endpoint, mailbox, failed: None, tries }
            }
            Err(failed) => {
                tracing::error!(failed, "the sandbox could not be started");
                KeptSandbox { failed: Some(failed), tries, ..KeptSandbox::default() }
            }
        };
    }

    /// On the port that it had last time, so that clients which outlived a keeper find it again; on
    /// any other if that one is taken.
    async fn sandbox_on_its_port(&self) -> Result<SandboxRunning, String> {
        let start = self.options.sandbox.as_ref().ok_or("this program was built without the sandbox")?;
        let path = self.places.sandbox_port();
        let last: Option<u16> = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        let mut started = start(self.places.sandbox(), last).await;
        if started.is_err() && last.is_some() {
            started = start(self.places.sandbox(), None).await;
        }
        let running = started.map_err(|error| chain(&*error))?;
        if let Some((_, port)) = running.endpoint.trim_end_matches('/').rsplit_once(':') {
            // Only a convenience: without it the next endpoint is another one.
            let _ = std::fs::write(&path, port);
        }
        Ok(running)
    }

    async fn watch(&mut self) -> Result<Ended, KeeperError> {
        let step = (self.options.linger / LOOKS_PER_LINGER).clamp(SHORTEST_LOOK_STEP, LOOK_STEP);
        let mut looks = tokio::time::interval(step);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                _ = looks.tick() => Event::Look,
                _ = self.nudges.recv() => Event::Nudged,
                _ = self.terminations.recv() => Event::Told,
                _ = self.interrupts.recv() => Event::Told,
                () = gone(&mut self.postgres) => Event::PostgresGone,
            };
            match event {
                Event::Look => {
                    if let Some(ended) = self.look(step).await? {
                        return Ok(ended);
                    }
                }
                Event::Nudged => self.start_wanted(Retry::Yes).await?,
                Event::Told => return Ok(self.unpublished(Ended::Told)),
                Event::PostgresGone => self.restart_postgres().await?,
            }
        }
    }

    /// Looks whether it is still needed, and for new wishes.
    async fn look(&mut self, step: Duration) -> Result<Option<Ended>, KeeperError> {
        if !is_still(&self.places.keeper(), &self.lock) {
            return Ok(Some(Ended::FolderGone));
        }
        self.healthy = self.healthy.saturating_add(1);
        if self.healthy > LOOKS_OF_HEALTH {
            self.deaths = 0;
        }
        self.start_wanted(Retry::No).await?;
        let path = self.places.clients();
        if !try_hold(&self.clients, Hold::Exclusive, &path)? {
            self.unused = 0;
            return Ok(None);
        }
        // The lock is ours for this moment: nobody can attach.
        let visits = self.clients.metadata().map_err(KeeperError::file("reading", &path))?.len();
        if visits > 0 {
            self.clients.set_len(0).map_err(KeeperError::file("writing", &path))?;
            self.unused = 0;
        } else {
            self.unused = self.unused.saturating_add(1);
        }
        // One that could start nothing is of no use to anybody.
        let linger =
            if self.postgres.is_some() || self.sandbox.is_some() { self.options.linger } else { step };
        if step * self.unused >= linger {
            // Keeps the lock: whoever comes now waits until this process is gone.
            self.places.forget_wants();
            return Ok(Some(self.unpublished(Ended::Unused)));
        }
        self.clients.unlock().map_err(KeeperError::file("unlocking", &path))?;
        Ok(None)
    }

    /// Postgres ended without having been told to by this keeper.
    async fn restart_postgres(&mut self) -> Result<(), KeeperError> {
        self.deaths += 1;
        tracing::warn!(deaths = self.deaths, "PostgreSQL is gone");
        self.postgres = None;
        if self.deaths <= RESTARTS {
            self.start_wanted(Retry::Yes).await
        } else {
            let failed = format!("it ended {} times in a row; see its log", self.deaths);
            let tries = self.kept.postgres.tries;
            self.kept.postgres = KeptPostgres { failed: Some(failed), tries, ..KeptPostgres::default() };
            self.published = Some(publish(&self.places, &self.kept)?);
            Ok(())
        }
    }

    /// Takes the state file away, before anything that it names ends.
    fn unpublished(&mut self, ended: Ended) -> Ended {
        let _ = std::fs::remove_file(self.places.state());
        self.published = None;
        ended
    }

    /// Stops everything. Whatever fails here is no reason to stay.
    async fn stop_all(&mut self) {
        self.unpublished(Ended::Told);
        if let Some(sandbox) = self.sandbox.take() {
            (sandbox.stop)().await;
        }
        if let Some(server) = self.postgres.take()
            && let Err(error) = server.stop().await
        {
            tracing::error!(%error, "PostgreSQL did not stop");
        }
    }
}

/// Returns when the server is gone; never if there is none.
async fn gone(server: &mut Option<Server>) {
    match server {
        Some(server) => server.wait().await,
        None => std::future::pending().await,
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
