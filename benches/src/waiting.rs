//! A hundred thousand external jobs that take their time. Measured in a process of its own,
//! so that nothing else is in its memory.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use trunkline_tasks::{
    clients::Clients,
    operator::{Call, Failure, Found, Handle, Intent, Operator, PrepareContext, Rate, Request, Sent, Status},
};

use crate::{
    process,
    stage::{Stage, now, operators, request, tick},
    table::Table,
};

/// Jobs, as runs of the largest pipeline that a file may define.
const RUNS: usize = 20;
const TASKS: usize = 5_000;
/// Statuses of one call, and statuses per second that the service allows.
const BATCH: usize = 50;
const STATUSES_PER_SECOND: f64 = 1_000.0;
/// How long is looked, after the first round of questions.
const WINDOW: Duration = Duration::from_secs(60);
/// A server tells what its sessions wrote with this delay at most.
const STATISTICS_LAG: Duration = Duration::from_secs(12);
/// The longest that starting and asking once may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the process of its own measured.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    resident_mb: f64,
    core_share: f64,
    batch_fill: f64,
    statuses_per_second: f64,
    rows_written: i64,
}

/// A job that never ends; counts the questions.
#[derive(Debug, Default)]
pub struct Waiting {
    calls: Arc<AtomicU64>,
    statuses: Arc<AtomicU64>,
}

/// No settings.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitingConfig {}

impl Operator for Waiting {
    const TYPE: &'static str = "waiting";
    const EXAMPLE: &'static str = "type: waiting\n";
    const GUARANTEE: &'static str = "Nothing is started.";
    type Config = WaitingConfig;

    fn default_timeout(&self) -> Duration {
        Duration::from_secs(86_400)
    }

    /// As large as a real request: a Glue job with its arguments and marker.
    fn prepare(&self, _: &WaitingConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let id = cx.attempt_id.to_string();
        let body = json!({ "StartJobRun": { "JobName": "cdr_etl", "NumberOfWorkers": 10, "Arguments": {
            "--date": "2026-11-19", "--trunkline-attempt": id } } });
        Ok(Request { token: id, connection: cx.connection.to_owned(), body })
    }

    async fn send(&self, _: &Clients, intent: &Intent<'_>) -> Sent {
        let id = format!("jr_{}", intent.request.token);
        Sent::Accepted(Handle { connection: "aws".into(), id, detail: json!({ "job": "cdr_etl" }) })
    }

    async fn find(&self, _: &Clients, _: &Intent<'_>) -> Found {
        Found::ProvedAbsent
    }

    async fn poll(&self, _: &Clients, handles: &[Handle]) -> Vec<Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.statuses.fetch_add(handles.len() as u64, Ordering::Relaxed);
        handles.iter().map(|_| Status::Running { remote_state: "RUNNING".into(), poll_at: None }).collect()
    }

    async fn cancel(&self, _: &Clients, _: &Handle) -> Result<(), Failure> {
        Ok(())
    }

    fn batch_size(&self) -> usize {
        BATCH
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        #[expect(clippy::cast_precision_loss, reason = "fifty")]
        let per_second = STATUSES_PER_SECOND / BATCH as f64;
        let rate = Rate { api: "bench:Poll".into(), per_second, burst: per_second };
        (call == Call::Read).then_some(rate)
    }
}

/// Starts this program again for the measurement alone, and adds its row.
pub async fn measure(stage: &Stage, effort: f64, table: &mut Table) -> Result<()> {
    let output = tokio::process::Command::new(std::env::current_exe()?)
        .args(["--store", &stage.url, "--effort", &effort.to_string(), "--inside-waiting"])
        .stderr(Stdio::inherit())
        .output()
        .await?;
    ensure!(output.status.success(), "the measurement of waiting jobs failed: {}", output.status);
    let found: Measured = serde_json::from_slice(&output.stdout).context("no measurement was printed")?;
    let met = found.resident_mb <= 300.0
        && found.core_share <= 0.05
        && found.batch_fill >= 0.9
        && found.rows_written == 0;
    table.add(
        "100,000 waiting jobs",
        format!(
            "{:.0} MB, {:.1} % of a core, {:.0} statuses/s in batches {:.0} % full, {} rows written but heartbeats",
            found.resident_mb,
            found.core_share * 100.0,
            found.statuses_per_second,
            found.batch_fill * 100.0,
            found.rows_written
        ),
        "≤ 300 MB, ≤ 5 %, ≥ 90 % full, none",
        Some(met),
    );
    Ok(())
}

/// The measurement itself, in a process that does nothing else.
pub async fn inside(stage: &Stage, effort: f64) -> Result<Value> {
    let waiting = Waiting::default();
    let (calls, statuses) = (Arc::clone(&waiting.calls), Arc::clone(&waiting.statuses));
    let mut registry = operators();
    registry.insert(waiting);
    let definition = stage.deploy("waiting", TASKS, "waiting", |_| vec![]).await?;
    let engine = stage.engine(registry).await?;
    for number in 0..RUNS {
        engine.handle().create(request(&definition, format!("waiting-{number}"))).await?;
    }
    let mut connection = PgConnection::connect(&stage.url).await?;
    let begin = now();
    let everything = u64::try_from(RUNS * TASKS)?;
    while statuses.load(Ordering::Relaxed) < everything || running(&mut connection).await? < RUNS * TASKS {
        ensure!(
            Duration::try_from(now().duration_since(begin))? < PATIENCE,
            "the jobs did not start in time"
        );
        tick(Duration::from_millis(500)).await;
    }
    tick(STATISTICS_LAG).await;

    let pid = std::process::id();
    let written_before = rows_written(&mut connection).await?;
    let (calls_before, statuses_before) = (calls.load(Ordering::Relaxed), statuses.load(Ordering::Relaxed));
    let (cpu_before, begin) = (process::cpu_seconds(pid)?, now());
    tick(WINDOW.mul_f64(effort)).await;
    let seconds = now().duration_since(begin).as_secs_f64();
    let core_share = (process::cpu_seconds(pid)? - cpu_before) / seconds;
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let (asked, told) = (
        (calls.load(Ordering::Relaxed) - calls_before) as f64,
        (statuses.load(Ordering::Relaxed) - statuses_before) as f64,
    );
    let resident_mb = process::resident_mb(pid)?;
    tick(STATISTICS_LAG).await;
    let rows_written = rows_written(&mut connection).await? - written_before;
    #[expect(clippy::cast_precision_loss, reason = "fifty")]
    let batch_fill = told / asked.max(1.0) / BATCH as f64;
    let statuses_per_second = told / seconds;
    // Killed rather than shut down: giving a hundred thousand jobs back is not measured here.
    let measured = Measured { resident_mb, core_share, batch_fill, statuses_per_second, rows_written };
    Ok(serde_json::to_value(measured)?)
}

async fn running(connection: &mut PgConnection) -> Result<usize> {
    let count: i64 = sqlx::query_scalar("select count(*) from attempt where state = 'running'")
        .fetch_one(connection)
        .await?;
    Ok(usize::try_from(count)?)
}

/// Rows that were ever inserted, changed or deleted, but for the heartbeats.
async fn rows_written(connection: &mut PgConnection) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint from pg_stat_user_tables where relname <> 'replica'",
    )
    .fetch_one(connection)
    .await?)
}
