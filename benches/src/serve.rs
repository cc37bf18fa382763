//! The program itself: how soon `serve` works, and what it costs while it has nothing to do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sqlx::{Connection, PgConnection};
use tokio::process::{Child, Command};

use crate::{
    process,
    stage::{Stage, now, tick},
    table::Table,
};

/// Starts measured; the median counts.
const STARTS: usize = 5;
/// How long an idle server is looked at.
const WINDOW: Duration = Duration::from_secs(60);
/// Before that: what a start does only once, and until the server has counted it, which it does for
/// sessions that have nothing to do ten seconds later.
const SETTLING: Duration = Duration::from_secs(15);
/// The longest that a start may take here at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the store; small against the budget of a start.
const LOOK: Duration = Duration::from_millis(2);

/// The pipeline whose first task is waited for.
const FIRST: &str = "name: first\ndata_interval: none\ntasks: { only: { type: noop } }\n";

/// A project on the stage's Postgres.
pub struct Project {
    program: PathBuf,
    folder: tempfile::TempDir,
    url: String,
}

/// Adds both rows.
pub async fn measure(stage: &Stage, effort: f64, table: &mut Table) -> Result<()> {
    let project = Project::new(&stage.url, &[("first".to_owned(), FIRST.to_owned())])?;
    let mut connection = PgConnection::connect(&stage.url).await?;
    project.call(&["deploy"]).await?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(project.first_task(&mut connection).await?);
    }
    times.sort_unstable();
    let median = times[STARTS / 2].as_secs_f64();
    table.add(
        "`serve` start → first task done, Postgres up",
        format!("{median:.2} s"),
        "≤ 0.5 s",
        Some(median <= 0.5),
    );

    let server = project.serve()?;
    let pid = server.id().context("serve ended")?;
    // Its transactions would be counted as the server's.
    stage.set("autovacuum", Some("off")).await?;
    tick(SETTLING).await;
    let (cpu, begin, statements) = (process::cpu_seconds(pid)?, now(), transactions(&mut connection).await?);
    tick(WINDOW.mul_f64(effort)).await;
    let seconds = now().duration_since(begin).as_secs_f64();
    let core_share = (process::cpu_seconds(pid)? - cpu) / seconds;
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let per_second = (transactions(&mut connection).await? - statements - 2) as f64 / seconds;
    let resident = process::resident_mb(pid)?;
    end(server).await?;
    stage.set("autovacuum", None).await?;
    table.add(
        "`serve`, idle",
        format!(
            "{resident:.0} MB, {:.2} % of a core, {:.2} statements per 2 s",
            core_share * 100.0,
            per_second * 2.0
        ),
        "≤ 40 MB, ≤ 0.2 %, ≤ 1 per 2 s",
        Some(resident <= 40.0 && core_share <= 0.002 && per_second <= 0.5),
    );
    Ok(())
}

impl Project {
    /// With these pipelines: name and file.
    pub fn new(url: &str, pipelines: &[(String, String)]) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("trunkline");
        ensure!(program.is_file(), "{} is missing: run scripts/bench, which builds it", program.display());
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("trunkline.yaml"), "environments:\n  local: {}\n")?;
        fs::create_dir_all(folder.path().join("pipelines"))?;
        for (name, text) in pipelines {
            let home = folder.path().join("pipelines").join(name);
            fs::create_dir_all(&home)?;
            fs::write(home.join("pipeline.yaml"), text)?;
        }
        Ok(Self { program, folder, url: url.to_owned() })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.folder.path() as &Path)
            .env("DATABASE_URL", &self.url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Calls the program, which must end well.
    pub async fn call(&self, arguments: &[&str]) -> Result<()> {
        let output = self.command(arguments).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "trunkline {} failed:\n{said}", arguments.join(" "));
        Ok(())
    }

    /// Starts a server.
    pub fn serve(&self) -> Result<Child> {
        Ok(self.command(&["serve"]).stderr(Stdio::null()).spawn()?)
    }

    /// Starts a server whose API listens there.
    pub fn serve_at(&self, address: &str) -> Result<Child> {
        Ok(self.command(&["serve", "--bind", address]).stderr(Stdio::null()).spawn()?)
    }

    /// What a server of this project leaves for clients on this machine.
    pub fn token(&self) -> Option<String> {
        let text = fs::read_to_string(self.folder.path().join(".trunkline").join("api-token")).ok()?;
        Some(text.trim().to_owned())
    }

    /// From the start of the process until the task of a run that waits for a server is done.
    async fn first_task(&self, connection: &mut PgConnection) -> Result<Duration> {
        // A run of a paused pipeline gets no place: it is there when the server comes.
        self.call(&["pause", "first"]).await?;
        self.call(&["run", "first", "--detach"]).await?;
        self.call(&["resume", "first"]).await?;
        ensure!(open_runs(connection).await? == 1, "the run did not wait for the server");
        let begin = now();
        let server = self.serve()?;
        while open_runs(connection).await? > 0 {
            ensure!(Duration::try_from(now().duration_since(begin))? < PATIENCE, "serve did not start");
            tick(LOOK).await;
        }
        let took = Duration::try_from(now().duration_since(begin))?;
        end(server).await?;
        Ok(took)
    }
}

/// Kills a server.
pub async fn end(mut server: Child) -> Result<()> {
    server.kill().await.context("serve could not be ended")
}

async fn open_runs(connection: &mut PgConnection) -> Result<i64> {
    Ok(sqlx::query_scalar("select count(*) from run where pipeline = 'first' and ended_at is null")
        .fetch_one(connection)
        .await?)
}

/// Transactions of the database so far; an idle server sends one statement in each.
async fn transactions(connection: &mut PgConnection) -> Result<i64> {
    sqlx::query("select pg_stat_clear_snapshot()").execute(&mut *connection).await?;
    Ok(sqlx::query_scalar(
        "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()",
    )
    .fetch_one(connection)
    .await?)
}
