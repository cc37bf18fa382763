//! The work of one run: choosing what its script is, and running it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::record::{JobRecord, RunRecord, Script};
use super::{program, script};
use crate::catalog::file_name;
use crate::engine::Engine;
use crate::s3::parse_uri;
use crate::world::World;

/// Largest script that is read from a bucket.
const SCRIPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a run ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// As it should.
    Succeeded,
    /// With this message.
    Failed(String),
    /// Because it was asked to.
    Stopped,
    /// At its limit.
    TimedOut,
}

/// Runs the script of a run to its end. Dropping the future ends it at once.
pub(super) async fn execute(
    world: &Arc<World>,
    engine: &Arc<Engine>,
    job: &JobRecord,
    run: &RunRecord,
    stop: &CancellationToken,
) -> Outcome {
    if stop.is_cancelled() {
        return Outcome::Stopped;
    }
    let logs = match Logs::open(&world.root, &run.id) {
        Ok(logs) => logs,
        Err(error) => return Outcome::Failed(format!("cannot write the run's log: {error}")),
    };
    let source = match script_of(world, job) {
        Ok(source) => source,
        Err(message) => return Outcome::Failed(message),
    };
    let arguments = job.arguments(run);
    let is_sql = source.name.to_lowercase().ends_with(".sql");
    let result = if is_sql {
        script::run(world, engine, &source.content, &job.name, &run.id, &arguments, &logs).await
    } else {
        program::run(world, &source.content, &job.name, &run.id, &arguments, &logs).await
    };
    match result {
        Ok(()) => Outcome::Succeeded,
        Err(message) => {
            // A program has written its error itself.
            if is_sql {
                logs.error(&message);
            }
            Outcome::Failed(message)
        }
    }
}

/// The sandbox's own script, else the one that the job names on AWS.
fn script_of(world: &World, job: &JobRecord) -> Result<Script, String> {
    if let Some(script) = &job.script {
        return Ok(script.clone());
    }
    let location = job.script_location();
    let Some((bucket, key)) = parse_uri(location) else {
        return Err(format!("InvalidInputException: ScriptLocation `{location}` is not an S3 URI"));
    };
    let content = world.s3.read(bucket, key).map_err(|error| {
        format!("LAUNCH ERROR | File not found: {location} ({error}). Please refer logs for details.")
    })?;
    if content.len() > SCRIPT_BYTES_MAX {
        return Err(format!("LAUNCH ERROR | {location} is larger than {SCRIPT_BYTES_MAX} bytes"));
    }
    let content =
        String::from_utf8(content).map_err(|_| format!("LAUNCH ERROR | {location} is not UTF-8 text"))?;
    Ok(Script { name: key.to_owned(), content })
}

/// The log group of a kind of job, as the runs name it; `/output` and `/error` follow.
pub(super) fn log_group(job: &JobRecord) -> &'static str {
    if job.command_name() == "pythonshell" { "/aws-glue/python-jobs" } else { "/aws-glue/jobs" }
}

/// How long the files of a run's output and errors are now.
pub(super) fn written(root: &Path, run: &str) -> [u64; 2] {
    LOGS.map(|(file, _)| fs::metadata(log_folder(root, run).join(file)).map_or(0, |about| about.len()))
}

/// Sends to CloudWatch what a run has written since.
pub(super) fn keep_logs(world: &World, job: &JobRecord, run: &RunRecord, since: [u64; 2]) {
    for ((file, ending), from) in LOGS.into_iter().zip(since) {
        let path = log_folder(&world.root, &run.id).join(file);
        let group = format!("{}/{ending}", log_group(job));
        world.logs.append_file(&group, &run.id, &path, from, world.clock.now());
    }
}

/// Files of a run, and the ends of the names of the log groups that they go to.
const LOGS: [(&str, &str); 2] = [("stdout.log", "output"), ("stderr.log", "error")];

fn log_folder(root: &Path, run: &str) -> PathBuf {
    root.join("glue").join("logs").join(file_name(run))
}

/// The log files of a run.
#[derive(Debug, Clone)]
pub(super) struct Logs {
    folder: PathBuf,
}

impl Logs {
    fn open(root: &Path, run: &str) -> std::io::Result<Self> {
        let folder = log_folder(root, run);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// A file to append standard output to.
    pub(super) fn stdout(&self) -> std::io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.folder.join("stdout.log"))
    }

    /// A file to append errors to, and its path.
    pub(super) fn stderr(&self) -> std::io::Result<(File, PathBuf)> {
        let path = self.folder.join("stderr.log");
        Ok((OpenOptions::new().create(true).append(true).open(&path)?, path))
    }

    /// Adds a line to the errors.
    fn error(&self, text: &str) {
        if let Ok((mut file, _)) = self.stderr() {
            drop(writeln!(file, "{text}"));
        }
    }

    /// Adds a line to standard output. A log that cannot be written is no reason to fail a run.
    pub(super) fn line(&self, text: &str) {
        if let Ok(mut file) = self.stdout() {
            drop(writeln!(file, "{text}"));
        }
    }
}
