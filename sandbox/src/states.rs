//! Step Functions: state machines in the Amazon States Language, in `JSONPath` and `JSONata`, and executions that
//! really run.
//!
//! [`States`] keeps the records and decides what may start; [`run`] walks one execution; [`journal`] is its
//! history and what it is continued from after the death of the process; [`integration`] calls the sandbox's
//! own services. What a definition may say is decided when a machine is made ([`definition`]).

mod api;
mod choice;
mod definition;
mod executions;
mod failure;
mod integration;
mod intrinsic;
mod journal;
mod jsonata;
mod location;
mod machines;
mod path;
mod record;
mod run;
mod scope;
mod template;
mod variables;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::definition::{Machine, Problem};
use self::integration::Backend;
use self::journal::Journal;
use self::record::{ExecutionRecord, MachineRecord, Status};
use self::run::{End, Run};
use crate::SandboxError;
use crate::athena::Athena;
use crate::catalog::{entries, file_name};
use crate::files::{read_json, replace_json};
use crate::glue::Glue;
use crate::sns::Sns;
use crate::wire::ApiError;
use crate::world::World;

/// How long the shutdown waits for executions to notice.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// The services that state machines call.
#[derive(Debug)]
pub(crate) struct Called {
    /// Glue.
    pub glue: Arc<Glue>,
    /// Athena.
    pub athena: Arc<Athena>,
    /// SNS.
    pub sns: Arc<Sns>,
}

/// The Step Functions service.
#[derive(Debug)]
pub(crate) struct States {
    world: Arc<World>,
    backend: Arc<Backend>,
    state: Mutex<State>,
    /// Cancelled when the sandbox stops; executions then end without a record, to be continued at the next start.
    closing: CancellationToken,
    tracker: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    /// By ARN.
    machines: BTreeMap<String, MachineRecord>,
    /// By ARN.
    executions: HashMap<String, ExecutionRecord>,
    /// ARNs in the order of their starts.
    order: Vec<String>,
    /// Executions in progress, by ARN.
    live: HashMap<String, Arc<Run>>,
}

impl States {
    /// Opens the service and continues what an earlier process left running.
    pub(crate) fn open(world: Arc<World>, called: Called) -> Result<Arc<Self>, SandboxError> {
        let mut state = State::default();
        for path in entries(&world.root.join("states").join("machines"))? {
            if let Some(machine) = read_json::<MachineRecord>(&path)? {
                state.machines.insert(machine.arn.clone(), machine);
            }
        }
        let mut executions = Vec::new();
        for folder in entries(&world.root.join("states").join("executions"))? {
            for path in
                entries(&folder)?.into_iter().filter(|path| path.extension().is_some_and(|it| it == "json"))
            {
                executions.extend(read_json::<ExecutionRecord>(&path)?);
            }
        }
        executions.sort_by(|a, b| (a.started, &a.arn).cmp(&(b.started, &b.arn)));
        let unfinished: Vec<ExecutionRecord> =
            executions.iter().filter(|execution| execution.status == Status::Running).cloned().collect();
        for execution in executions {
            state.remember(execution);
        }
        let Called { glue, athena, sns } = called;
        let backend = Arc::new(Backend { world: Arc::clone(&world), glue, athena, sns });
        let (closing, tracker) = (CancellationToken::new(), TaskTracker::new());
        let states = Arc::new(Self { world, backend, state: Mutex::new(state), closing, tracker });
        for execution in unfinished {
            tracing::info!(execution = execution.arn, "continuing an interrupted execution");
            states.begin(execution)?;
        }
        Ok(states)
    }

    /// Ends the executions in progress without recording an end, so that the next start continues them.
    pub(crate) async fn shutdown(&self) {
        self.closing.cancel();
        self.tracker.close();
        if tokio::time::timeout(SHUTDOWN_WAIT, self.tracker.wait()).await.is_err() {
            tracing::warn!("executions of state machines did not end in time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn machine_file(&self, arn: &str) -> PathBuf {
        self.world.root.join("states").join("machines").join(format!("{}.json", file_name(arn)))
    }

    fn execution_file(&self, execution: &ExecutionRecord) -> PathBuf {
        self.execution_folder(execution).join(format!("{}.json", file_name(&execution.name)))
    }

    fn journal_file(&self, execution: &ExecutionRecord) -> PathBuf {
        self.execution_folder(execution).join(format!("{}.jsonl", file_name(&execution.name)))
    }

    fn execution_folder(&self, execution: &ExecutionRecord) -> PathBuf {
        self.world.root.join("states").join("executions").join(file_name(&execution.machine_arn))
    }

    /// Walks a recorded execution in the background.
    fn begin(self: &Arc<Self>, execution: ExecutionRecord) -> Result<(), SandboxError> {
        let machine = Machine::parse(&execution.definition).map_err(|problems| SandboxError::Corrupt {
            path: self.execution_file(&execution),
            reason: Problem::worded(&problems),
        })?;
        let journal = Journal::open(&self.journal_file(&execution))?;
        let arn = execution.arn.clone();
        let stop = self.closing.child_token();
        let run = Run { backend: Arc::clone(&self.backend), journal, record: execution, machine, stop };
        let run = Arc::new(run);
        self.lock().live.insert(arn.clone(), Arc::clone(&run));
        let states = Arc::clone(self);
        self.tracker.spawn(async move {
            let end = run.perform().await;
            // When the sandbox itself ends, everything stays as it is and is continued at the next start.
            if states.closing.is_cancelled() {
                return;
            }
            match end {
                Some(end) => states.finish(&arn, &run, end),
                None => run.stop_jobs("").await,
            }
            let mut state = states.lock();
            if state.live.get(&arn).is_some_and(|live| Arc::ptr_eq(live, &run)) {
                state.live.remove(&arn);
            }
        });
        Ok(())
    }

    fn finish(&self, arn: &str, run: &Arc<Run>, end: End) {
        let ended = self.change(arn, |execution| {
            // A redrive that came meanwhile has begun another walk.
            if execution.status == Status::Running && execution.redrives == run.record.redrives {
                execution.end(end.status, end.at);
                execution.output = end.output;
                let said = |text: String| (!text.is_empty()).then_some(text);
                execution.error = end.failure.as_ref().and_then(|failure| said(failure.error.clone()));
                execution.cause = end.failure.and_then(|failure| said(failure.cause));
            }
        });
        if let Err(error) = ended {
            tracing::error!(execution = arn, %error, "the end of an execution could not be recorded");
        }
    }

    /// Changes an execution's record on disk, then in memory.
    fn change(
        &self,
        arn: &str,
        change: impl FnOnce(&mut ExecutionRecord),
    ) -> Result<ExecutionRecord, ApiError> {
        let mut state = self.lock();
        let Some(execution) = state.executions.get_mut(arn) else {
            return Err(executions::no_execution(arn));
        };
        let mut changed = execution.clone();
        change(&mut changed);
        replace_json(&self.execution_file(&changed), &changed).map_err(ApiError::internal)?;
        *execution = changed.clone();
        Ok(changed)
    }
}

impl State {
    fn remember(&mut self, execution: ExecutionRecord) {
        self.order.push(execution.arn.clone());
        self.executions.insert(execution.arn.clone(), execution);
    }

    /// Executions in progress.
    fn running(&self) -> usize {
        self.executions.values().filter(|execution| execution.status == Status::Running).count()
    }
}
