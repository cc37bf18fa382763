//! The demo's project as a place where commands run, and what can be seen of it afterwards.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use serde_json::Value;
use tokio::process::Command;
use trunkline_state::store::RunFilter;
use trunkline_tasks::postgres;

use super::TIME_RATIO;
use crate::{
    cli::{
        context::{Context, LOCAL_FOLDER, Session},
        output::dim,
    },
    keeper,
    service::{Snapshot, find, mails::Mailbox, sandbox},
};

/// How long the demo waits for something that takes seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Rows that are shown of a table.
const ROWS_MAX: usize = 20;

/// Runs whose attempts are compared with the ledger.
const RUNS_MAX: i64 = 100;

/// The project, with everything started.
pub(crate) struct Stage {
    folder: PathBuf,
    program: PathBuf,
    session: Session,
    mailbox: PathBuf,
    /// The sandbox's endpoint.
    pub(crate) endpoint: String,
}

/// The ledger of accepted starts beside the store's attempts.
pub(crate) struct Comparison {
    /// Run and task, starts, attempts.
    pub(crate) rows: Vec<(String, usize, usize)>,
    /// Markers that occur twice, and tasks with more starts than attempts.
    pub(crate) repeated: Vec<String>,
}

impl Stage {
    /// Starts the private Postgres and the sandbox.
    pub(crate) async fn open(cx: &Context, folder: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        // The first command starts the keeper, which inherits the scaled times.
        let status =
            command(&program, folder).args(["status", "--json"]).stdout(Stdio::null()).status().await?;
        anyhow::ensure!(status.success(), "the private Postgres and the sandbox did not start");
        let session = cx.open(&cx.project()?).await?;
        let endpoint = session.sandbox_endpoint().context("there is no sandbox in this program")?;
        let mailbox = session.attached.as_ref().and_then(|attached| attached.mailbox.clone());
        let mailbox = mailbox.context("the sandbox has no mailbox")?;
        Ok(Self { folder: folder.to_owned(), program, session, mailbox, endpoint })
    }

    /// Ends them.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.session.store.close().await;
        let local = self.folder.join(LOCAL_FOLDER);
        drop(self.session);
        keeper::stop(&local, true).await?;
        Ok(())
    }

    /// Runs a command that must succeed.
    pub(crate) async fn succeed(&self, cx: &Context, arguments: &[&str]) -> anyhow::Result<()> {
        let code = self.run(cx, arguments).await?;
        anyhow::ensure!(code == Some(0), "`trunkline {}` ended with {code:?}", arguments.join(" "));
        Ok(())
    }

    /// Runs a command whose run must fail.
    pub(crate) async fn fail(&self, cx: &Context, arguments: &[&str]) -> anyhow::Result<()> {
        let code = self.run(cx, arguments).await?;
        anyhow::ensure!(code == Some(1), "`trunkline {}` ended with {code:?}, not 1", arguments.join(" "));
        Ok(())
    }

    async fn run(&self, cx: &Context, arguments: &[&str]) -> anyhow::Result<Option<i32>> {
        prompt(cx, arguments);
        let status = command(&self.program, &self.folder).args(arguments).status().await?;
        Ok(status.code())
    }

    /// Replaces a text in a file of the project.
    pub(crate) fn replace(&self, file: &str, from: &str, to: &str) -> anyhow::Result<()> {
        let path = self.folder.join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("{file} cannot be read"))?;
        anyhow::ensure!(text.contains(from), "{file} does not contain `{from}`");
        std::fs::write(&path, text.replacen(from, to, 1)).with_context(|| format!("{file} cannot be written"))
    }

    /// The newest mail, as the receiver reads it: subject and text.
    pub(crate) fn newest_mail(&self) -> anyhow::Result<String> {
        let mails = Mailbox::new(&self.mailbox).messages().context("the mailbox cannot be read")?;
        let newest = mails.last().context("no mail was delivered")?;
        Ok(format!("Subject: {}\n\n{}", newest.header("Subject").unwrap_or_default(), newest.text))
    }

    /// Starts a run, kills its process as soon as the job was accepted, and waits until the
    /// store holds it for dead.
    pub(crate) async fn kill_in_mid_job(
        &self,
        cx: &Context,
        pipeline: &str,
        date: &str,
    ) -> anyhow::Result<()> {
        let before = self.starts("StartJobRun").await?.len();
        let arguments = ["run", pipeline, "--date", date];
        prompt(cx, &arguments);
        let mut child = command(&self.program, &self.folder).args(arguments).kill_on_drop(true).spawn()?;
        self.wait_until("the job was started", async || Ok(self.starts("StartJobRun").await?.len() > before))
            .await?;
        child.start_kill()?;
        child.wait().await?;
        cx.output.note(&dim("killed with SIGKILL, right after the service had accepted the job"));
        let run = find::run(&self.session.store, &format!("{pipeline}@{date}")).await?;
        self.wait_until("the store holds it for dead", async || {
            let row = self.session.store.run(run).await?;
            Ok(!row.owner_lives)
        })
        .await
    }

    async fn wait_until(
        &self,
        what: &str,
        ready: impl AsyncFn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let waiting = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                if ready().await? {
                    return Ok(());
                }
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(result) => result,
            Err(_) => anyhow::bail!("waited {} s in vain until {what}", PATIENCE.as_secs()),
        }
    }

    async fn starts(&self, operation: &str) -> anyhow::Result<Vec<Value>> {
        let path = format!("/_sandbox/ledger?operation={operation}");
        let answer = sandbox::call(&self.endpoint, "GET", &path, None).await?;
        Ok(answer.as_array().cloned().unwrap_or_default())
    }

    /// Compares the ledger with the store, over all runs of a pipeline.
    pub(crate) async fn compare(&self, pipeline: &str) -> anyhow::Result<Comparison> {
        let filter = RunFilter { pipeline: Some(pipeline.to_owned()), state: None, limit: RUNS_MAX };
        let mut attempts: BTreeMap<&str, usize> = BTreeMap::new();
        for row in self.session.store.runs(&filter).await? {
            let snapshot = Snapshot::read(&self.session.store, row.id).await?;
            for attempt in &snapshot.attempts {
                let operation =
                    if attempt.operator == "glue_crawler" { "StartCrawler" } else { "StartJobRun" };
                *attempts.entry(operation).or_default() += 1;
            }
        }
        let (mut rows, mut repeated) = (Vec::new(), Vec::new());
        for (operation, count) in attempts {
            let starts = self.starts(operation).await?;
            let mut markers: BTreeMap<String, usize> = BTreeMap::new();
            for marker in starts.iter().filter_map(|entry| entry.get("marker").and_then(Value::as_str)) {
                *markers.entry(marker.to_owned()).or_default() += 1;
            }
            repeated.extend(markers.into_iter().filter(|(_, times)| *times > 1).map(|(marker, _)| marker));
            if starts.len() > count {
                repeated.push(format!("{operation} ({} for {count} attempts)", starts.len()));
            }
            rows.push((operation.to_owned(), starts.len(), count));
        }
        Ok(Comparison { rows, repeated })
    }

    /// The rows of a query in a private database, a line each.
    pub(crate) async fn rows(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let own = self.session.private_postgres().context("there is no private Postgres")?;
        let rows =
            async { postgres::rows(&postgres::private_database(&own, database).await?, sql, ROWS_MAX).await };
        let rows = rows.await.map_err(|failure| anyhow::anyhow!(failure.message))?;
        let cell = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let line = |row: &Value| match row {
            Value::Object(row) => {
                row.values().map(|value| format!("{:<24}", cell(value))).collect::<String>()
            }
            other => cell(other),
        };
        Ok(rows.iter().map(|row| line(row).trim_end().to_owned()).collect::<Vec<_>>().join("\n"))
    }

    /// The result of the report's query, as a table.
    pub(crate) async fn report(&self) -> anyhow::Result<String> {
        let run = find::run(&self.session.store, "cdr_report@latest").await?;
        let tasks = self.session.store.task_runs(run).await?;
        let outputs = tasks.into_iter().next().and_then(|task| task.outputs).unwrap_or_default();
        let place =
            outputs.get("output_location").and_then(Value::as_str).context("the query left no result")?;
        let key = place.strip_prefix("s3://").context("the result is not in S3")?;
        let path = self.folder.join(LOCAL_FOLDER).join("sandbox/s3").join(key);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let lines = text.lines().map(|line| {
            let cells = line.split(',').map(|cell| format!("{:>10}", cell.trim_matches('"')));
            cells.collect::<String>()
        });
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }
}

/// This program, in the demo's project and nowhere else.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--project")
        .arg(folder)
        .env("TRUNKLINE_TIME_RATIO", TIME_RATIO)
        .env_remove("DATABASE_URL")
        .env_remove("TRUNKLINE_ENV");
    command
}

fn prompt(cx: &Context, arguments: &[&str]) {
    cx.output.note(&dim(&format!("$ trunkline {}", arguments.join(" "))));
}
