//! Transformations that run in this process: begun by the first question about them, ended by an answer, a stop, or
//! when nobody asks any more.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_s3::Client;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use trunkline_query::{
    EngineError, folders,
    transform::{Report, TransformError, Transformation, run},
    write::WrittenFile,
};

use super::{
    TransformConfig,
    place::{Folder, New},
    read,
    source::{Fetch, Objects},
    transformation,
};
use crate::{
    clients::Clients,
    load::{
        addresses,
        files::{File, files},
    },
    operator::{ErrorClass, Failure, Handle, Outcome},
    released::Released,
    scratch::Scratch,
};

/// Transformations that run at the same time; others wait. Each takes a core and [`MEMORY_BYTES`].
const AT_ONCE: usize = 2;
/// What the queries of one transformation hold in memory; more is spilled to disk.
const MEMORY_BYTES: usize = 256 * 1024 * 1024;
/// Threads of one transformation that compute.
const THREADS: usize = 2;
/// A job that nobody asks about for so long was taken over by another replica, or its run is gone.
const FORGOTTEN: SignedDuration = SignedDuration::from_mins(10);
/// Files that are named in the outputs; of more, the folder is.
const FILES_NAMED_MAX: usize = 1_000;

/// All jobs of this process.
#[derive(Debug)]
pub(super) struct Jobs {
    known: Mutex<HashMap<String, Job>>,
    released: Released,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Job {
    work: JoinHandle<Result<Outcome, Failure>>,
    stop: CancellationToken,
    asked_at: Timestamp,
}

impl Default for Jobs {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        Self { known: Mutex::default(), released: Released::default(), room }
    }
}

impl Jobs {
    /// What a job left, if it has ended. One that is not known here begins.
    pub(super) async fn ask(
        &self,
        clients: &Clients,
        handle: &Handle,
        scratch: &Path,
        now: Timestamp,
    ) -> Result<Option<Outcome>, Failure> {
        let job = {
            let mut jobs = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.retain(|id, job| {
                let forgotten = *id != handle.id && now.duration_since(job.asked_at) > FORGOTTEN;
                if forgotten {
                    job.stop.cancel();
                }
                !forgotten
            });
            match jobs.get_mut(&handle.id) {
                Some(job) if job.work.is_finished() => jobs.remove(&handle.id),
                Some(job) => {
                    job.asked_at = now;
                    return Ok(None);
                }
                None => None,
            }
        };
        if let Some(job) = job {
            self.released.remove(&handle.id);
            let left = job.work.await;
            let broken =
                |error| Failure::new(ErrorClass::System, format!("the transformation broke: {error}"));
            return left.map_err(broken)?.map(Some);
        }
        let config = read(&handle.detail)?;
        let s3 = clients.s3(&handle.connection).await?.clone();
        if self.released.contains(&handle.id) {
            // What has ended already cannot be stopped.
            let outcome = ended(&s3, &config, &handle.id).await?;
            self.released.remove(&handle.id);
            return outcome.map_or_else(|| Err(stopped()), |outcome| Ok(Some(outcome)));
        }
        let stop = CancellationToken::new();
        let work = Work {
            s3,
            config,
            token: handle.id.clone(),
            scratch: scratch.to_owned(),
            room: Arc::clone(&self.room),
            stop: stop.clone(),
        };
        let job = Job { work: tokio::spawn(work.run()), stop, asked_at: now };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(handle.id.clone(), job);
        Ok(None)
    }

    /// Stops a job, unless it is replacing files already.
    pub(super) fn cancel(&self, id: &str) {
        match self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            Some(job) => job.stop.cancel(),
            None => self.released.add(id),
        }
    }
}

fn stopped() -> Failure {
    Failure::new(ErrorClass::Cancelled, "stopped before any file was replaced")
}

/// What an attempt left, if it came to its end: the record of its last folder says so.
async fn ended(s3: &Client, config: &TransformConfig, token: &str) -> Result<Option<Outcome>, Failure> {
    let last = config.outputs.values().last().map(|output| output.to.as_str()).unwrap_or_default();
    Folder::new(s3, last)?.ended(token).await
}

/// One job.
struct Work {
    s3: Client,
    config: TransformConfig,
    token: String,
    scratch: PathBuf,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Work {
    async fn run(self) -> Result<Outcome, Failure> {
        if let Some(outcome) = ended(&self.s3, &self.config, &self.token).await? {
            return Ok(outcome);
        }
        let Some(room) = self.stop.run_until_cancelled(self.room.acquire()).await else {
            return Err(stopped());
        };
        let local = |error: std::io::Error| {
            Failure::new(ErrorClass::System, format!("{}: {error}", self.scratch.display()))
        };
        let scratch = Scratch::new(&self.scratch, &self.token).map_err(local)?;
        let inputs = self.inputs().await?;
        let names = |at: usize| inputs[at].iter().map(File::address).collect();
        let transformation = transformation(&self.config, names);
        let counts: Vec<usize> = inputs.iter().map(Vec::len).collect();
        let source = Objects::new(self.s3.clone(), inputs, &scratch.path);
        let report = compute(transformation, source, scratch.path.clone(), self.stop.clone()).await?;
        drop(room);
        if self.stop.is_cancelled() {
            return Err(stopped());
        }
        self.leave(&report, &counts).await
    }

    async fn inputs(&self) -> Result<Vec<Vec<File>>, Failure> {
        let mut inputs = Vec::with_capacity(self.config.inputs.len());
        for (name, input) in &self.config.inputs {
            let found = files(&self.s3, addresses(&input.from)).await;
            inputs.push(found.map_err(|failure| {
                let message = format!("inputs.{name}.{}", failure.message);
                Failure { message, ..failure }
            })?);
        }
        Ok(inputs)
    }

    /// Replaces the folders, one after the other. The last one's record says what all of them are.
    async fn leave(&self, report: &Report, files: &[usize]) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        let records: Map<String, Value> =
            self.config.inputs.keys().cloned().zip(report.records.iter().map(|count| json!(count))).collect();
        outcome.outputs.insert("records".into(), Value::Object(records));
        for ((name, input), count) in self.config.inputs.iter().zip(files) {
            if *count == 0 && !addresses(&input.from).is_empty() {
                outcome.warnings.push(format!("inputs.{name}: there is no object to read"));
            }
        }
        let rejected = self.rejected(report, &mut outcome)?;
        if let Some(folder) = &self.config.rejected {
            Folder::new(&self.s3, folder)?.replace(&self.token, &rejected, None).await?;
        }
        let count = self.config.outputs.len();
        let mut new = Vec::with_capacity(count);
        for ((name, output), written) in self.config.outputs.iter().zip(&report.outputs) {
            let files = named(&output.partition_by, written, output.format.extension());
            let folder = Folder::new(&self.s3, &output.to)?;
            let rows: usize = written.iter().map(|file| file.rows).sum();
            let mut left = json!({ "rows": rows, "to": output.to });
            if files.len() <= FILES_NAMED_MAX {
                left["files"] = files.iter().map(|file| folder.address(&file.name)).collect();
            } else {
                outcome.warnings.push(format!(
                    "outputs.{name}: {} files, too many to be named in the outputs; read the folder",
                    files.len()
                ));
            }
            outcome.outputs.insert(name.clone(), left);
            new.push((folder, files));
        }
        for (at, (folder, files)) in new.iter().enumerate() {
            let outcome = (at + 1 == count).then(|| outcome.clone());
            folder.replace(&self.token, files, outcome).await?;
        }
        Ok(outcome)
    }

    /// The file of records that did not fit, and what is said of them.
    fn rejected(&self, report: &Report, outcome: &mut Outcome) -> Result<Vec<New>, Failure> {
        let Some(folder) = &self.config.rejected else { return Ok(Vec::new()) };
        let count = report.rejected.as_ref().map_or(0, |rejected| rejected.count);
        outcome.outputs.insert("rejected".into(), json!(count));
        let Some(rejected) = &report.rejected else {
            outcome.outputs.insert("rejected_files".into(), json!([]));
            return Ok(Vec::new());
        };
        let example = &rejected.example;
        if let Some(most) = self.config.rejected_max
            && count > most
        {
            let text = format!(
                "{count} records do not fit, and rejected_max is {most}; nothing was replaced. {example}"
            );
            return Err(Failure::new(ErrorClass::Failed, text));
        }
        let file = New { name: "part-00000.json".to_owned(), path: rejected.path.clone() };
        let address = Folder::new(&self.s3, folder)?.address(&file.name);
        outcome.warnings.push(format!("{count} records do not fit and are in {address}. {example}"));
        outcome.outputs.insert("rejected_files".into(), json!([address]));
        Ok(vec![file])
    }
}

/// Runs the engine on threads of its own: it computes for minutes where others want to answer.
async fn compute(
    transformation: Transformation,
    source: Objects,
    scratch: PathBuf,
    stop: CancellationToken,
) -> Result<Report, Failure> {
    let broken = |error: &dyn std::fmt::Display| {
        Failure::new(ErrorClass::System, format!("the transformation broke: {error}"))
    };
    // A server that is told to end drops this future, and waits for its threads.
    let stops = stop.clone().drop_guard();
    let computing = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).build();
        let runtime = runtime.map_err(|error| broken(&error))?;
        let source = Arc::new(source);
        let running = run(&transformation, source, &scratch, MEMORY_BYTES);
        match runtime.block_on(stop.run_until_cancelled(running)) {
            Some(report) => report.map_err(failure),
            None => Err(stopped()),
        }
    });
    let computed = computing.await;
    stops.disarm();
    computed.map_err(|error| broken(&error))?
}

/// What a mistake of the engine's means for a task.
pub(super) fn failure(error: TransformError) -> Failure {
    let class = match &error {
        TransformError::Source(inner) => {
            return match inner.downcast_ref::<Fetch>() {
                Some(fetch) => fetch.0.clone(),
                None => Failure::new(ErrorClass::System, error.to_string()),
            };
        }
        TransformError::Record(_) => ErrorClass::Failed,
        TransformError::Input { .. } => ErrorClass::Config,
        TransformError::Output { error, .. } => match error {
            EngineError::Execution(_) | EngineError::BadData(_) => ErrorClass::Failed,
            EngineError::Internal(_) => ErrorClass::System,
            _ => ErrorClass::Config,
        },
        TransformError::Internal(_) => ErrorClass::System,
    };
    Failure::new(class, error.to_string())
}

/// Files with their names in the folder, counted within each partition.
fn named(keys: &[String], written: &[WrittenFile], extension: &str) -> Vec<New> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let name = |file: &WrittenFile| {
        let folders = keys.iter().zip(&file.values);
        let folder: String =
            folders.map(|(key, value)| format!("{}/", folders::folder(key, value.as_deref()))).collect();
        let number = counts.entry(folder.clone()).or_default();
        let name = format!("{folder}part-{number:05}.{extension}");
        *number += 1;
        New { name, path: file.path.clone() }
    };
    written.iter().map(name).collect()
}
