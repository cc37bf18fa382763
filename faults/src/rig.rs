//! What all trials of a series share: a folder, one Postgres, one sandbox process, a proxy on
//! every link, and a database with the pipelines deployed that each trial gets a copy of.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::process::Child;
use trunkline_postgres::Server;

use crate::{
    Settings, pace,
    process::{self, CANARY, Launcher},
    project,
    proxy::{Proxy, Upstream},
    sandbox::Sandbox,
};

/// How long the sandbox may take to answer at first; it is a debug build on a busy machine.
const SANDBOX_WAIT: Duration = Duration::from_mins(1);
/// The signature age that the sandbox has at ratio 1.
const SIGNATURE_AGE_MAX: Duration = Duration::from_mins(15);
/// Connections of five replicas with their pools, commands and the rig.
const CONNECTIONS: u16 = 200;
/// The database with the pipelines deployed.
const PATTERN: &str = "faults_pattern";
/// How often a copy is tried: somebody's last connection to the pattern may still be closing.
const COPY_TRIES: u32 = 500;
/// Most `serve` processes of a trial; each has a link of its own to Postgres.
pub const REPLICAS_MAX: usize = 5;

/// What all trials share.
pub struct Rig {
    pub(crate) launcher: Launcher,
    pub(crate) sandbox: Sandbox,
    /// One line per start of a `command` task: the attempt's id.
    pub(crate) starts: PathBuf,
    /// Everybody's way to the sandbox.
    pub(crate) sandbox_link: Proxy,
    /// Each replica's way to Postgres.
    pub(crate) store_links: Vec<Proxy>,
    /// The commands' way to Postgres.
    pub(crate) command_link: Proxy,
    /// Where Postgres' own socket is, and as whom one connects.
    socket: PgConnectOptions,
    options: trunkline_postgres::settings::Options,
    server: tokio::sync::Mutex<Option<Server>>,
    folder: tempfile::TempDir,
    sandbox_process: Child,
}

impl Rig {
    /// Starts Postgres and the sandbox and deploys the pipelines.
    pub(crate) async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("trunkline-faults-").tempdir()?;
        // As root, Postgres runs as somebody else and must be able to reach its own folder.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))?;
        let launcher = Launcher {
            program: program(&settings.program)?,
            project: folder.path().join("project"),
            logs: folder.path().join("logs"),
            time_ratio: settings.time_ratio,
            mutant: settings.mutant.clone(),
        };
        fs::create_dir_all(&launcher.project)?;
        fs::create_dir_all(&launcher.logs)?;
        let starts = folder.path().join("starts");
        let sandbox_program = program(settings.sandbox.as_ref().unwrap_or(&settings.program))?;
        let outside = Launcher { program: sandbox_program, ..launcher.clone() };
        let (sandbox, sandbox_process) = start_sandbox(&outside, settings.time_ratio).await?;
        let sandbox_link = Proxy::start(Upstream::Sandbox(sandbox.authority.clone())).await?;
        project::write(&launcher.project, &format!("http://127.0.0.1:{}", sandbox_link.port), &starts)?;
        sandbox.provision(project::TEMPLATE, &launcher.project).await?;
        let mut options = trunkline_postgres::testing::options(&folder.path().join("postgres"));
        options.root_base = folder.path().join("root");
        options.connections = CONNECTIONS;
        let server = trunkline_postgres::start(&options).await?;
        let socket = PgConnectOptions::from_str(&server.url)?;
        let place = socket.get_socket().context("the rig's Postgres has no socket")?.join(".s.PGSQL.5432");
        let mut store_links = Vec::new();
        for _ in 0..REPLICAS_MAX {
            store_links.push(Proxy::start(Upstream::Store(place.clone())).await?);
        }
        let command_link = Proxy::start(Upstream::Store(place)).await?;
        let server = tokio::sync::Mutex::new(Some(server));
        let rig = Self {
            launcher,
            sandbox,
            starts,
            sandbox_link,
            store_links,
            command_link,
            socket,
            options,
            server,
            folder,
            sandbox_process,
        };
        if let Err(error) = rig.deploy().await {
            rig.stop(false).await?;
            return Err(error);
        }
        Ok(rig)
    }

    /// The URL of a database for programs, through a proxy. The password is looked at by nobody
    /// and must be shown by nobody.
    pub(crate) fn url_through(&self, link: &Proxy, database: &str) -> String {
        let user = self.socket.get_username();
        format!("postgresql://{user}:{CANARY}@127.0.0.1:{}/{database}?sslmode=disable", link.port)
    }

    /// How the rig itself reaches a database.
    pub(crate) fn direct(&self, database: &str) -> PgConnectOptions {
        self.socket.clone().database(database)
    }

    async fn deploy(&self) -> anyhow::Result<()> {
        self.create(&format!("create database {PATTERN}")).await?;
        let url = self.url_through(&self.command_link, PATTERN);
        self.launcher.complete("deploy", &[("DATABASE_URL", &url)], &["deploy"]).await
    }

    /// Makes a database with the pipelines deployed.
    pub(crate) async fn database(&self, name: &str) -> anyhow::Result<()> {
        self.create(&format!("create database {name} template {PATTERN}")).await?;
        // Tokens and markers are made of the installation's id: a copy with the same id would
        // rightly find the jobs of the trial before.
        self.execute(name, "update installation set installation_id = gen_random_uuid()").await
    }

    /// Does something in a database.
    pub(crate) async fn execute(&self, database: &str, statements: &str) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect_with(&self.direct(database)).await?;
        // Statements of this crate only: nothing to escape.
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Kills Postgres as `kill -9` of its postmaster does, waits, and starts it again. From when
    /// until when it was away.
    pub(crate) async fn kill_postgres(
        &self,
        away: Duration,
    ) -> anyhow::Result<(jiff::Timestamp, jiff::Timestamp)> {
        let mut slot = self.server.lock().await;
        let mut server = slot.take().context("Postgres is not there")?;
        let pid = u32::try_from(server.pid).unwrap_or(0);
        process::signal(pid, rustix::process::Signal::KILL);
        server.wait().await;
        drop(server);
        let gone = pace::wall();
        let since = pace::now();
        while since.elapsed() < away {
            pace::step().await;
        }
        let back = pace::wall();
        *slot = Some(trunkline_postgres::start(&self.options).await?);
        Ok((gone, back))
    }

    /// Removes a database, whoever is connected.
    pub(crate) async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        self.create(&format!("drop database {name} with (force)")).await
    }

    async fn create(&self, statement: &str) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            let mut connection = PgConnection::connect_with(&self.socket).await?;
            // Names come from this file and numbers: nothing to escape.
            let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await;
            let _ = connection.close().await;
            tries += 1;
            match done {
                Ok(_) => return Ok(()),
                Err(error) if tries >= COPY_TRIES => {
                    return Err(error).with_context(|| format!("cannot do `{statement}`"));
                }
                Err(_) => pace::step().await,
            }
        }
    }

    /// Ends everything; keeps the folder with the logs if asked to.
    pub(crate) async fn stop(self, keep: bool) -> anyhow::Result<Option<PathBuf>> {
        let Self { server, folder, mut sandbox_process, .. } = self;
        let _ = sandbox_process.kill().await;
        if let Some(server) = server.into_inner() {
            server.stop().await?;
        }
        Ok(keep.then(|| folder.keep()))
    }
}

fn program(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| {
        format!("there is no program {}; build it with `cargo build -p trunkline`", path.display())
    })
}

async fn start_sandbox(launcher: &Launcher, ratio: f64) -> anyhow::Result<(Sandbox, Child)> {
    let root = launcher.logs.with_file_name("sandbox");
    let port_file = launcher.logs.with_file_name("sandbox-port");
    let age = SIGNATURE_AGE_MAX.mul_f64(ratio).as_millis().to_string();
    let (root, file, ratio) = (root.to_string_lossy(), port_file.to_string_lossy(), ratio.to_string());
    let arguments = [
        "__sandbox",
        "--root",
        &root,
        "--port-file",
        &file,
        "--time-scale",
        &ratio,
        "--signature-age-max-ms",
        &age,
    ];
    let mut child = launcher.start("sandbox", &[], &arguments)?;
    let began = pace::now();
    loop {
        if let Ok(port) = fs::read_to_string(&port_file) {
            return Ok((Sandbox { authority: format!("127.0.0.1:{}", port.trim()) }, child));
        }
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("the sandbox ended with {status}: {}", launcher.tail("sandbox"));
        }
        anyhow::ensure!(
            began.elapsed() < SANDBOX_WAIT,
            "the sandbox did not answer: {}",
            launcher.tail("sandbox")
        );
        pace::step().await;
    }
}
