//! The running of a job: its script out of its bucket, as a program.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Emr;
use super::record::{JobRun, State};
use crate::containers;
use crate::process::{self, Program};
use crate::s3::parse_uri;

/// How long a job waits before it runs, before scaling.
const START_UP: Duration = Duration::from_millis(250);

/// The limit of a job that names none, in minutes, as on AWS. Zero means none.
const TIMEOUT_MINUTES: u64 = 720;

/// Where outputs go that are sent to CloudWatch without the name of a group.
const GROUP: &str = "/aws/emr-serverless";

/// Largest script that is read from a bucket.
const SCRIPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest text of `stateDetails`.
const DETAILS_MAX: usize = 256;

impl Emr {
    /// Runs a recorded job in the background.
    pub(super) fn start(self: &Arc<Self>, id: String) {
        let emr = Arc::clone(self);
        self.background.start(id.clone(), |stop| async move {
            if let Err(error) = emr.perform(&id, &stop).await {
                tracing::error!(run = id, %error, "a job run could not be recorded");
            }
        });
    }

    /// Continues a run that the last process left.
    pub(super) fn resume(self: &Arc<Self>, run: &JobRun) {
        process::end_orphan(&self.work_folder(run));
        tracing::info!(run = run.id, "running an interrupted job run again");
        self.start(run.id.clone());
    }

    async fn perform(&self, id: &str, stop: &CancellationToken) -> std::io::Result<()> {
        let Some(run) = self.runs.get(id) else { return Ok(()) };
        let minutes = run.request.get("executionTimeoutMinutes").and_then(Value::as_u64);
        let minutes = match minutes.unwrap_or(TIMEOUT_MINUTES) {
            0 => u64::from(u32::MAX),
            minutes => minutes,
        };
        let limit = self.world.scaled(Duration::from_secs(minutes * 60));
        let ended = if run.state == State::Cancelling {
            None
        } else {
            tokio::select! {
                ended = self.run_script(&run) => Some(ended),
                () = stop.cancelled() => None,
                () = self.world.pause(limit) => Some(Err("Job run exceeded its execution timeout".to_owned())),
            }
        };
        // When the sandbox itself ends, the record stays as it is and the job is run again at the next start.
        if self.background.is_closing() {
            return Ok(());
        }
        self.keep_logs(&run);
        let now = self.world.clock.now();
        let changed = self.runs.change(id, |run| {
            (run.state, run.details) = match ended {
                None => (State::Cancelled, "Job run was cancelled".to_owned()),
                Some(Ok(())) => (State::Success, String::new()),
                Some(Err(message)) => (State::Failed, message.chars().take(DETAILS_MAX).collect()),
            };
            run.updated = now;
            run.ended = Some(now);
        });
        changed.map(drop)
    }

    async fn run_script(&self, run: &JobRun) -> Result<(), String> {
        self.world.pause(self.world.scaled(START_UP)).await;
        let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
        let now = self.world.clock.now();
        let begun = self.runs.change(&run.id, |run| {
            if run.state != State::Cancelling {
                run.state = State::Running;
                run.started = Some(now);
                run.updated = now;
            }
        });
        begun.map_err(|error| error.to_string())?;
        let spark = run.request.get("jobDriver").and_then(|driver| driver.get("sparkSubmit"));
        let spark = spark.unwrap_or(&Value::Null);
        let entry = spark.get("entryPoint").and_then(Value::as_str).unwrap_or_default();
        let content = self.script(entry)?;
        let fail = |error: std::io::Error| format!("the run's folder: {error}");
        let (folder, logs) = (self.work_folder(run), self.log_folder(run));
        fs::create_dir_all(&folder).and_then(|()| fs::create_dir_all(&logs)).map_err(fail)?;
        let script = folder.join(entry.rsplit('/').next().unwrap_or("script.py"));
        fs::write(&script, content).map_err(fail)?;
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let mut command = vec!["python3".into(), script.into()];
        command.extend(containers::texts(spark, "entryPointArguments").into_iter().map(Into::into));
        let program = Program {
            command,
            current: folder.clone(),
            folder,
            environment: vec![("PYTHONUNBUFFERED".to_owned(), "1".to_owned())],
            stdout: open(&logs.join("stdout.log")).map_err(fail)?,
            stderr: open(&logs.join("stderr.log")).map_err(fail)?,
        };
        let status = process::run(&self.world, program).await.map_err(|error| format!("python3: {error}"))?;
        if status.success() {
            return Ok(());
        }
        Err(format!(
            "Job failed, please check complete logs in configured logging destination. ExitCode: {}. Last few exceptions: {}",
            process::exit_code(status),
            last_line(&logs.join("stderr.log")).unwrap_or_default()
        ))
    }

    fn script(&self, entry: &str) -> Result<Vec<u8>, String> {
        let (bucket, key) =
            parse_uri(entry).filter(|(_, key)| key.to_lowercase().ends_with(".py")).ok_or_else(|| {
                format!("the sandbox runs Python scripts in S3 (s3://bucket/key.py), not `{entry}`")
            })?;
        let content = self.world.s3.read(bucket, key).map_err(|error| {
            format!(
                "Job failed, please check complete logs. ExitCode: 1. File {entry} does not exist ({error})"
            )
        })?;
        if content.len() > SCRIPT_BYTES_MAX {
            return Err(format!("{entry} is larger than {SCRIPT_BYTES_MAX} bytes"));
        }
        Ok(content)
    }

    /// Sends the outputs to CloudWatch if the job asks for it.
    fn keep_logs(&self, run: &JobRun) {
        let monitoring =
            run.request.get("configurationOverrides").and_then(|found| found.get("monitoringConfiguration"));
        let Some(wish) = monitoring.and_then(|found| found.get("cloudWatchLoggingConfiguration")) else {
            return;
        };
        if wish.get("enabled").and_then(Value::as_bool) != Some(true) {
            return;
        }
        let text = |member: &str| wish.get(member).and_then(Value::as_str);
        let prefix = text("logStreamNamePrefix").map(|prefix| format!("{prefix}/")).unwrap_or_default();
        let now = self.world.clock.now();
        for kind in ["stdout", "stderr"] {
            let (application, id) = (&run.application, &run.id);
            let stream = format!("{prefix}applications/{application}/jobs/{id}/SPARK_DRIVER/{kind}");
            let file = self.log_folder(run).join(format!("{kind}.log"));
            self.world.logs.append_file(text("logGroupName").unwrap_or(GROUP), &stream, &file, 0, now);
        }
    }

    fn work_folder(&self, run: &JobRun) -> PathBuf {
        self.world.root.join("emr-serverless").join("work").join(&run.id)
    }

    fn log_folder(&self, run: &JobRun) -> PathBuf {
        self.world.root.join("emr-serverless").join("logs").join(&run.id)
    }
}

/// The last line that says something, which is where Python names the exception.
fn last_line(path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}
