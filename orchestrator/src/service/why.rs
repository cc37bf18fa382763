//! One sentence: why a run or a task is not further than it is, and what would help.
//!
//! Pure over what was read ([`Situation`]); nothing here decides anything about runs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, tz::TimeZone};
use trunkline_state::{
    machine::rules::{Verdict, verdict},
    pipeline::Task,
    run::Upstreams,
    schedule::describe_instant,
    store::{AttemptRow, LiveReplica, PastRow, PipelineRow, RunFilter, RunRow, Store, StoreError, TaskRow},
    words::{AttemptState, RunState, TaskState},
};

use super::{
    elements::standing,
    snapshot::{Snapshot, duration_text},
    views::{PoolView, TurnView},
};
use crate::definition::common::trigger_word;

/// Live runs that are looked at to find out who holds a place.
const LIVE_RUNS_MAX: i64 = 200;

/// Names in one sentence; the rest is counted.
const NAMED_MAX: usize = 3;

/// Everything that the answer may depend on.
#[derive(Clone, Debug)]
pub struct Situation {
    /// The run.
    pub snapshot: Snapshot,
    /// Its pipeline as it is now.
    pub pipeline: Option<PipelineRow>,
    /// Runs of its pipeline or group that hold a place, itself not among them.
    pub holders: Vec<RunRow>,
    /// The pools that its ready tasks wait for, and who is in them.
    pub pools: Vec<PoolView>,
    /// Of its ready tasks that depend on their past, by position: what they wait for.
    pub pasts: BTreeMap<usize, PastRow>,
    /// The replicas that live.
    pub replicas: Vec<LiveReplica>,
    /// The present.
    pub now: Timestamp,
}

impl Situation {
    /// Reads it.
    pub async fn read(store: &Store, snapshot: Snapshot, now: Timestamp) -> Result<Self, StoreError> {
        let pipelines = store.pipelines().await?;
        let pipeline = pipelines.iter().find(|row| row.name == snapshot.run.pipeline).cloned();
        let group = pipeline.as_ref().and_then(|row| row.concurrency_group.clone());
        let rivals = |name: &str| {
            name == snapshot.run.pipeline
                || (group.is_some()
                    && pipelines.iter().any(|row| row.name == name && row.concurrency_group == group))
        };
        let mut holders = Vec::new();
        if snapshot.state() == Some(RunState::Queued) {
            for state in [RunState::Running, RunState::Paused, RunState::Cancelling, RunState::Queued] {
                let filter =
                    RunFilter { pipeline: None, state: Some(state.word().to_owned()), limit: LIVE_RUNS_MAX };
                let rows = store.runs(&filter).await?;
                holders.extend(
                    rows.into_iter()
                        .filter(|row| row.has_place && row.id != snapshot.run.id && rivals(&row.pipeline)),
                );
            }
        }
        let pools = wanted_pools(store, &snapshot).await?;
        let pasts = troubled_pasts(store, &snapshot).await?;
        let replicas = store.live_replicas().await?;
        Ok(Self { snapshot, pipeline, holders, pools, pasts, replicas, now })
    }

    /// Why the run is not further.
    pub fn run(&self) -> String {
        let (label, run) = (self.snapshot.label(), &self.snapshot.run);
        match self.snapshot.state() {
            Some(RunState::Queued) => format!("{label} is queued: {}", self.queued()),
            Some(RunState::Paused) => {
                format!("{label} is paused: nothing new starts until `trunkline resume {label}`")
            }
            Some(RunState::Cancelling) => {
                format!(
                    "{label} is being cancelled: it waits until {} confirmed to have stopped",
                    self.open_tasks()
                )
            }
            Some(RunState::Running) => match self.nobody_works() {
                Some(reason) => format!("{label} is running, but {reason}"),
                None => self.running(),
            },
            Some(RunState::Failed) => match self.first_failed() {
                Some(position) => self.task(position),
                None => format!("{label} failed{}", said(run.cancel_reason.as_deref())),
            },
            Some(RunState::Cancelled) => {
                format!("{label} was cancelled{}", said(run.cancel_reason.as_deref()))
            }
            Some(RunState::Succeeded) => {
                let took = self.snapshot.elapsed(self.now).map(duration_text);
                format!("{label} succeeded{}", took.map(|text| format!(" after {text}")).unwrap_or_default())
            }
            None => format!("{label} is {}", run.state),
        }
    }

    /// Why a task is not further.
    pub fn task(&self, position: usize) -> String {
        let Some(row) = self.snapshot.tasks.get(position) else {
            return format!("{} has no task at position {position}", self.snapshot.label());
        };
        let (name, label) = (&row.task, self.snapshot.label());
        let reason = match TaskState::from_word(&row.state) {
            Some(TaskState::Waiting) if row.element.is_some() => self.waiting_element(row),
            Some(TaskState::Waiting) => self.waiting(position),
            Some(TaskState::Queued) if self.snapshot.state() == Some(RunState::Paused) => {
                format!("is ready, but the run is paused: `trunkline resume {label}`")
            }
            Some(TaskState::Queued) => match self.nobody_works() {
                Some(reason) => format!("is ready, but {reason}"),
                None => self.ready(row),
            },
            Some(TaskState::Running) if row.elements.is_some() => self.running_elements(position),
            Some(TaskState::Running) => self.attempt(position, row),
            Some(TaskState::Retrying) => self.retrying(row),
            Some(TaskState::AwaitingApproval) => self.asked(position, row),
            Some(TaskState::Failed) if row.elements.is_some() => format!("failed: {}", failure(row)),
            Some(TaskState::Failed) => format!("failed after {}: {}", tries(row), failure(row)),
            Some(TaskState::UpstreamFailed) => {
                let names = self.upstreams(position, TaskState::is_failure);
                format!("did not run because of {names} before it")
            }
            Some(TaskState::Skipped) => self.skipped(position),
            Some(TaskState::Cancelled) => {
                format!("was cancelled{}", said(self.snapshot.run.cancel_reason.as_deref()))
            }
            Some(TaskState::Succeeded) => {
                let took = self.snapshot.task_elapsed(position, self.now).map(duration_text);
                format!("succeeded{}", took.map(|text| format!(" after {text}")).unwrap_or_default())
            }
            None => format!("is {}", row.state),
        };
        format!("{name} of {label} {reason}")
    }

    /// What a ready task of a run that somebody works on waits for.
    fn ready(&self, row: &TaskRow) -> String {
        let about_to_start = || "is ready and is about to be started".to_owned();
        if let Some(PastRow { run, state }) = self.pasts.get(&row.position) {
            let help = match TaskState::from_word(state) {
                Some(state) if state.is_terminal() => {
                    format!(
                        "; `trunkline clear {run} --task {0}`, or `mark {run} succeeded --task {0}`",
                        row.task
                    )
                }
                _ => String::new(),
            };
            return format!("is ready and depends on its past: {} of {run} is {state}{help}", row.task);
        }
        let takes_slots = |task: &&Task| task.for_each.is_none() || row.element.is_some();
        let task = self.snapshot.task_of(row).filter(takes_slots);
        let Some(wanted) = task.and_then(|task| task.pool.as_ref()) else { return about_to_start() };
        let Some(pool) = self.pools.iter().find(|pool| pool.pool == wanted.name) else {
            return format!("is ready, but the store knows no pool `{}`: `trunkline deploy`", wanted.name);
        };
        let turns = pool.turns.as_deref().unwrap_or_default();
        let is_own = |turn: &&TurnView| turn.task == row.task && turn.run == self.snapshot.label();
        if turns.iter().any(|turn| is_own(&turn) && turn.granted_at.is_some()) {
            return about_to_start();
        }
        if pool.slots == 0 {
            return format!("is ready, but pool `{}` has no slots: nothing that needs it starts", pool.pool);
        }
        let holders = turns.iter().filter(|turn| turn.granted_at.is_some());
        let holders: Vec<String> = holders.map(|turn| format!("{} of {}", turn.task, turn.run)).collect();
        let before = turns.iter().filter(|turn| turn.granted_at.is_none()).take_while(|turn| !is_own(turn));
        let before = match before.count() {
            0 => "it is the next".to_owned(),
            count => format!("{count} wait before it"),
        };
        let has = if holders.len() == 1 { "has" } else { "have" };
        format!(
            "is ready and waits for pool `{}`: {} of {} slots are taken, {} {has} them, and {before}",
            pool.pool,
            pool.taken,
            pool.slots,
            listed(&holders)
        )
    }

    fn queued(&self) -> String {
        let Some(pipeline) = &self.pipeline else { return "its pipeline is gone".to_owned() };
        if pipeline.paused {
            let who = pipeline.switched_by.as_ref().map(|actor| match &pipeline.switch_reason {
                Some(reason) => format!(" by {actor}: {reason}"),
                None => format!(" by {actor}"),
            });
            let who = who.unwrap_or_default();
            return format!("pipeline {0} is paused{who}; `trunkline resume {0}`", pipeline.name);
        }
        let names: Vec<String> =
            self.holders.iter().map(|row| format!("{}@{}", row.pipeline, row.key)).collect();
        let own = self.holders.iter().filter(|row| row.pipeline == pipeline.name).count();
        if own > 0 && pipeline.active_runs >= pipeline.max_active_runs {
            let limit = pipeline.max_active_runs;
            return format!("max_active_runs is {limit}, and {} active", are(&names));
        }
        match &pipeline.concurrency_group {
            Some(group) if !self.holders.is_empty() => {
                format!("concurrency_group `{group}` lets one run at a time, and {} active", are(&names))
            }
            _ => self.nobody_works().unwrap_or_else(|| "it is about to start".to_owned()),
        }
    }

    fn running(&self) -> String {
        let order = [
            TaskState::AwaitingApproval,
            TaskState::Running,
            TaskState::Retrying,
            TaskState::Queued,
            TaskState::Waiting,
        ];
        for state in order {
            let found: Vec<usize> = self
                .snapshot
                .own_tasks()
                .filter(|row| row.state == state.word())
                .map(|row| row.position)
                .collect();
            if let Some(first) = found.first() {
                let more = if found.len() > 1 {
                    format!(" (and {} more {state})", found.len() - 1)
                } else {
                    String::new()
                };
                return format!("{}{more}", self.task(*first));
            }
        }
        format!("{} is about to end", self.snapshot.label())
    }

    /// Why nobody moves a live run, if nobody does.
    fn nobody_works(&self) -> Option<String> {
        let run = &self.snapshot.run;
        if run.owner.is_some() && run.owner_lives {
            return None;
        }
        let serves = self.replicas.iter().any(|replica| replica.role == "serve");
        Some(match (run.owner, serves) {
            (_, true) => {
                "nobody works on it at this moment: a live `trunkline serve` takes it within seconds"
                    .to_owned()
            }
            (Some(_), false) => {
                "the process that worked on it died: start `trunkline serve`, which finds its jobs again"
                    .to_owned()
            }
            (None, false) => "nobody works on it: start `trunkline serve`".to_owned(),
        })
    }

    fn waiting(&self, position: usize) -> String {
        let names = self.upstreams(position, |state| !state.is_terminal());
        if names.is_empty() { "is about to start".to_owned() } else { format!("waits for {names}") }
    }

    fn running_elements(&self, position: usize) -> String {
        let standing = standing(&self.snapshot.as_run(), position).unwrap_or_default();
        let trouble = self.snapshot.elements(position).find(|row| {
            matches!(
                TaskState::from_word(&row.state),
                Some(TaskState::AwaitingApproval | TaskState::Retrying)
            )
        });
        let trouble = trouble.map(|row| format!("; {}", self.task(row.position))).unwrap_or_default();
        format!("runs over its list: {standing}{trouble}")
    }

    fn waiting_element(&self, row: &TaskRow) -> String {
        let for_each = self.snapshot.task_of(row).and_then(|task| task.for_each.as_ref());
        let most = for_each.map_or(0, |for_each| for_each.max_parallel);
        format!("waits for its turn: max_parallel is {most}")
    }

    fn skipped(&self, position: usize) -> String {
        let Some(task) = self.snapshot.definition.pipeline.tasks.get(position) else {
            return "was skipped".to_owned();
        };
        let count = |wanted: fn(TaskState) -> bool| {
            let states = task.depends_on.iter().filter_map(|&upstream| self.snapshot.tasks.get(upstream));
            let states = states.filter_map(|row| TaskState::from_word(&row.state));
            u32::try_from(states.filter(|state| wanted(*state)).count()).unwrap_or(u32::MAX)
        };
        let upstreams = Upstreams {
            total: u32::try_from(task.depends_on.len()).unwrap_or(u32::MAX),
            succeeded: count(|state| state == TaskState::Succeeded),
            failed: count(|state| state.is_failure() || state == TaskState::Cancelled),
            skipped: count(|state| state == TaskState::Skipped),
        };
        match &task.when {
            Some(when) if verdict(task.trigger_rule, upstreams) == Verdict::Start => {
                format!("was skipped: its `when` says no: {when}")
            }
            None if task.for_each.is_some() && verdict(task.trigger_rule, upstreams) == Verdict::Start => {
                "was skipped: its `for_each` gave no elements".to_owned()
            }
            _ => format!("was skipped: its trigger_rule `{}` was not met", trigger_word(task.trigger_rule)),
        }
    }

    fn attempt(&self, position: usize, row: &TaskRow) -> String {
        let Some(attempt) = self.snapshot.newest_attempt(position) else {
            return "is about to be started".to_owned();
        };
        let zone = self.snapshot.zone();
        let note = attempt.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
        match AttemptState::from_word(&attempt.state) {
            Some(AttemptState::Starting) => match attempt.deferred_until {
                Some(until) => {
                    format!("has not started yet; it is tried again at {}{note}", clock(&zone, until))
                }
                None => format!("is being started since {}{note}", clock(&zone, attempt.intent_at)),
            },
            Some(AttemptState::Unknown) => {
                let label = self.snapshot.label();
                format!(
                    "has an unconfirmed start of {}{note}; it is looked for until there is proof, or say what you \
                     know: `trunkline resolve {label} {} --sent {} --handle ID | --not-started | --lost`",
                    clock(&zone, attempt.intent_at),
                    row.task,
                    attempt.intent_at
                )
            }
            Some(AttemptState::Cancelling) => {
                format!("is being stopped: waiting for the service to confirm{}", job(attempt))
            }
            _ => {
                let elapsed =
                    self.snapshot.task_elapsed(position, self.now).map(duration_text).unwrap_or_default();
                let usual = self.snapshot.usual.get(&row.task);
                let usual =
                    usual.map(|usual| format!(", usually {}", duration_text(*usual))).unwrap_or_default();
                format!("runs for {elapsed}{usual}{}", job(attempt))
            }
        }
    }

    fn retrying(&self, row: &TaskRow) -> String {
        let label = self.snapshot.label();
        let zone = self.snapshot.zone();
        let at = row.retry_at.map(|at| format!(" at {}", clock(&zone, at))).unwrap_or_default();
        format!(
            "failed in attempt {} and is tried again{at}: {}; `trunkline retry-now {label} {}` does not wait",
            row.attempts,
            failure(row),
            row.task
        )
    }

    /// What a person is asked, and how to answer.
    fn asked(&self, position: usize, row: &TaskRow) -> String {
        let (label, zone) = (self.snapshot.label(), self.snapshot.zone());
        let Some(attempt) = self.snapshot.newest_attempt(position) else {
            return "waits for a person".to_owned();
        };
        let request: serde_json::Value = attempt.request.read().unwrap_or_default();
        let message = request.pointer("/body/message").and_then(serde_json::Value::as_str);
        format!(
            "waits for a person until {}: {} Answer with `trunkline approve {label} {}`, or with --reject",
            clock(&zone, attempt.deadline_at),
            message.unwrap_or_default(),
            row.task
        )
    }

    fn upstreams(&self, position: usize, wanted: impl Fn(TaskState) -> bool) -> String {
        let Some(task) = self.snapshot.definition.pipeline.tasks.get(position) else { return String::new() };
        let mut names = Vec::new();
        for &upstream in &task.depends_on {
            let Some(row) = self.snapshot.tasks.get(upstream) else { continue };
            if TaskState::from_word(&row.state).is_some_and(&wanted) {
                names.push(format!("{} ({})", row.task, row.state));
            }
        }
        listed(&names)
    }

    fn open_tasks(&self) -> String {
        let open: Vec<String> = self
            .snapshot
            .own_tasks()
            .filter(|row| TaskState::from_word(&row.state).is_some_and(|state| !state.is_terminal()))
            .map(|row| row.task.clone())
            .collect();
        are(&open)
    }

    fn first_failed(&self) -> Option<usize> {
        let with = |state: TaskState| self.snapshot.own_tasks().find(move |row| row.state == state.word());
        with(TaskState::Failed).or_else(|| with(TaskState::Cancelled)).map(|row| row.position)
    }
}

/// What the ready tasks of a run wait for that depend on their past.
async fn troubled_pasts(store: &Store, snapshot: &Snapshot) -> Result<BTreeMap<usize, PastRow>, StoreError> {
    let mut pasts = BTreeMap::new();
    for row in snapshot.own_tasks().filter(|row| row.state == TaskState::Queued.word()) {
        if snapshot.task_of(row).is_some_and(|task| task.depends_on_past)
            && let Some(past) = store.troubled_past(snapshot.run.id, row.position).await?
        {
            pasts.insert(row.position, past);
        }
    }
    Ok(pasts)
}

/// The pools that ready tasks of a run need, and who is in them.
async fn wanted_pools(store: &Store, snapshot: &Snapshot) -> Result<Vec<PoolView>, StoreError> {
    let ready = snapshot.tasks.iter().filter(|row| row.state == TaskState::Queued.word());
    let uses = ready.filter_map(|row| snapshot.task_of(row)?.pool.as_ref());
    let wanted: BTreeSet<&str> = uses.map(|pool| pool.name.as_str()).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut pools = Vec::new();
    for row in store.pools().await?.into_iter().filter(|row| wanted.contains(row.name.as_str())) {
        let turns = store.pool_turns(&row.name).await?;
        pools.push(PoolView::new(row, Some(turns)));
    }
    Ok(pools)
}

fn clock(zone: &TimeZone, instant: Timestamp) -> String {
    describe_instant(zone, instant)
}

fn job(attempt: &AttemptRow) -> String {
    attempt.external_id.as_deref().map(|id| format!(" as {id}")).unwrap_or_default()
}

fn said(reason: Option<&str>) -> String {
    reason.map(|reason| format!(", {reason}")).unwrap_or_default()
}

fn tries(row: &TaskRow) -> String {
    if row.tries == 1 { "1 attempt".to_owned() } else { format!("{} attempts", row.tries) }
}

/// The first line of the service's own words.
fn failure(row: &TaskRow) -> String {
    let message = row.failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
    let first = message.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown reason");
    first.trim().to_owned()
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX { format!("{shown} and {} more", names.len() - NAMED_MAX) } else { shown }
}

fn are(names: &[String]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", listed(names))
}
