//! What all trials of a series share: a folder, one Postgres, one sandbox process, and a
//! database with the pipelines deployed that each trial gets a copy of.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::process::Child;
use trunkline_postgres::Server;

use crate::{Settings, pace, process::Launcher, project, sandbox::Sandbox};

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

/// What all trials share.
pub struct Rig {
    pub(crate) launcher: Launcher,
    pub(crate) sandbox: Sandbox,
    /// One line per start of a `command` task: the attempt's id.
    pub(crate) starts: PathBuf,
    server: Server,
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
            program: settings.program.canonicalize().with_context(|| {
                format!(
                    "there is no program {}; build it with `cargo build -p trunkline`",
                    settings.program.display()
                )
            })?,
            project: folder.path().join("project"),
            logs: folder.path().join("logs"),
            time_ratio: settings.time_ratio,
        };
        fs::create_dir_all(&launcher.project)?;
        fs::create_dir_all(&launcher.logs)?;
        let starts = folder.path().join("starts");
        let (sandbox, sandbox_process) = start_sandbox(&launcher, settings.time_ratio).await?;
        project::write(&launcher.project, &sandbox.endpoint(), &starts, &settings.without)?;
        sandbox.provision(project::TEMPLATE, &launcher.project).await?;
        let mut options = trunkline_postgres::testing::options(&folder.path().join("postgres"));
        options.root_base = folder.path().join("root");
        options.connections = CONNECTIONS;
        let server = trunkline_postgres::start(&options).await?;
        let rig = Self { launcher, sandbox, starts, server, folder, sandbox_process };
        if let Err(error) = rig.deploy().await {
            rig.stop(false).await?;
            return Err(error);
        }
        Ok(rig)
    }

    async fn deploy(&self) -> anyhow::Result<()> {
        self.create(&format!("create database {PATTERN}")).await?;
        let pattern = self.server.database_url(PATTERN);
        self.launcher.complete("deploy", Some(&pattern), &["deploy"]).await
    }

    /// A database of its own with the pipelines deployed: its URL.
    pub(crate) async fn database(&self, name: &str) -> anyhow::Result<String> {
        self.create(&format!("create database {name} template {PATTERN}")).await?;
        let url = self.server.database_url(name);
        let mut connection = PgConnection::connect(&url).await?;
        // Tokens and markers are made of the installation's id: a copy with the same id would
        // rightly find the jobs of the trial before.
        sqlx::query("update installation set installation_id = gen_random_uuid()")
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        Ok(url)
    }

    /// Removes a database, whoever is connected.
    pub(crate) async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        self.create(&format!("drop database {name} with (force)")).await
    }

    async fn create(&self, statement: &str) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            let mut connection = PgConnection::connect(&self.server.url).await?;
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
        server.stop().await?;
        Ok(keep.then(|| folder.keep()))
    }
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
    let mut child = launcher.start("sandbox", None, None, &arguments)?;
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
