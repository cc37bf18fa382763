//! Everything about one run at one moment, as people look at it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::Value;
use trunkline_state::{
    ids::RunId,
    pipeline::Task,
    run::{Definition, Installation, Run, TaskRun, Trigger},
    schedule::{Interval, describe_instant, describe_interval},
    store::{AttemptRow, RunRow, Store, StoreError, TaskRow},
    words::{RunState, TaskState},
};
use uuid::Uuid;

use super::find::zone_of;

/// Runs whose median is the usual duration.
const USUAL_SAMPLE: i64 = 20;

/// A run with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The run.
    pub run: RunRow,
    /// Its tasks, by position.
    pub tasks: Vec<TaskRow>,
    /// Every attempt, by task and number.
    pub attempts: Vec<AttemptRow>,
    /// The version that it runs.
    pub definition: Arc<Definition>,
    /// How long its tasks usually take, and the whole run under an empty name.
    pub usual: Arc<HashMap<String, Duration>>,
    /// What its trigger told, if events made it.
    pub told: Option<Value>,
}

impl Snapshot {
    /// Reads everything.
    pub async fn read(store: &Store, id: RunId) -> Result<Self, StoreError> {
        let run = store.run(id).await?;
        let usual = store.usual_durations(&run.pipeline, USUAL_SAMPLE).await?;
        let (tasks, attempts) = (store.task_runs(id).await?, store.attempts(id).await?);
        let definition = definition_of(store, &run, &tasks).await?;
        let by_event = [Trigger::S3, Trigger::Pipeline, Trigger::Dataset].map(Trigger::word);
        let by_event = by_event.contains(&run.trigger.as_str());
        let told = if by_event { store.told(id).await? } else { None };
        Ok(Self { run, tasks, attempts, definition, usual: Arc::new(usual.into_iter().collect()), told })
    }

    /// Reads what may have changed; the usual durations stay as they are.
    /// Nothing more than the run is read if nothing was committed since.
    pub async fn refresh(&mut self, store: &Store) -> Result<bool, StoreError> {
        let run = store.run(self.run.id).await?;
        let changed = run.event_seq != self.run.event_seq;
        self.run = run;
        if changed {
            self.tasks = store.task_runs(self.run.id).await?;
            self.attempts = store.attempts(self.run.id).await?;
        }
        if self.run.version != self.definition.version {
            self.definition = definition_of(store, &self.run, &self.tasks).await?;
        }
        Ok(changed)
    }

    /// `daily_cdr_etl@2026-11-19`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.run.pipeline, self.run.key)
    }

    /// The pipeline's zone.
    pub fn zone(&self) -> TimeZone {
        zone_of(&self.definition.pipeline)
    }

    /// What it covers.
    pub fn interval(&self) -> Option<Interval> {
        Some(Interval { start: self.run.interval_start?, end: self.run.interval_end? })
    }

    /// `covers … → …, fires …`.
    pub fn covers(&self) -> String {
        let zone = self.zone();
        match self.interval() {
            Some(interval) => describe_interval(&zone, Some(interval), self.run.fire_at),
            None => format!("logical date {}", describe_instant(&zone, self.run.logical_date)),
        }
    }

    /// Its state.
    pub fn state(&self) -> Option<RunState> {
        RunState::from_word(&self.run.state)
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.state().is_some_and(RunState::is_terminal)
    }

    /// What the pipeline says of the task run in a row; of an element, what it says of its task.
    pub fn task_of(&self, row: &TaskRow) -> Option<&Task> {
        let home = row.element.as_ref().map_or(row.position, |element| element.of);
        self.definition.pipeline.tasks.get(home)
    }

    /// The rows of the pipeline's own tasks, without elements of mapped ones.
    pub fn own_tasks(&self) -> impl Iterator<Item = &TaskRow> {
        self.tasks.iter().filter(|row| row.element.is_none())
    }

    /// The rows of a mapped task's present elements.
    pub fn elements(&self, task: usize) -> impl Iterator<Item = &TaskRow> {
        let count = self.tasks.get(task).and_then(|row| row.elements).unwrap_or(0);
        self.tasks.iter().filter(move |row| {
            row.element.as_ref().is_some_and(|element| element.of == task && element.index < count)
        })
    }

    /// The newest attempt of a task.
    pub fn newest_attempt(&self, task: usize) -> Option<&AttemptRow> {
        // Asked for each task run of a view: by their order, not by reading all of them each time.
        let end = self.attempts.partition_point(|attempt| attempt.position <= task);
        self.attempts[..end].last().filter(|attempt| attempt.position == task)
    }

    /// How long the run has taken in this generation, so far.
    pub fn elapsed(&self, now: Timestamp) -> Option<Duration> {
        between(self.run.started_at, self.run.ended_at.unwrap_or(now))
    }

    /// How long a task has taken in this generation, so far.
    pub fn task_elapsed(&self, task: usize, now: Timestamp) -> Option<Duration> {
        let row = self.tasks.get(task)?;
        between(row.started_at, row.ended_at.unwrap_or(now))
    }

    /// The run as the state machine knows it, as far as looking ahead needs it: states, not
    /// attempts.
    pub fn as_run(&self) -> Run {
        let mut run = Run::new(
            self.run.id,
            Arc::clone(&self.definition),
            Installation { id: Uuid::nil(), incarnation: 1 },
            self.run.key.clone(),
            self.run.logical_date,
            self.interval(),
            self.run.fire_at,
            self.run.params.as_object().cloned().unwrap_or_default(),
            Trigger::Manual,
            self.run.created_at,
        );
        run.state = self.state().unwrap_or(RunState::Queued);
        for row in &self.tasks {
            if row.position == run.tasks.len() {
                run.tasks.push(TaskRun::new(row.generation));
            }
            let Some(task) = run.tasks.get_mut(row.position) else { continue };
            task.state = TaskState::from_word(&row.state).unwrap_or(task.state);
            task.element = row.element.clone().map(Box::new);
            task.elements = row.elements;
        }
        run.recount();
        run
    }
}

/// The version that a run runs, laid over its tasks.
async fn definition_of(
    store: &Store,
    run: &RunRow,
    tasks: &[TaskRow],
) -> Result<Arc<Definition>, StoreError> {
    let own = tasks.iter().filter(|row| row.element.is_none());
    let names: Vec<String> = own.map(|row| row.task.clone()).collect();
    Ok(store.definition(&run.pipeline, run.version).await?.laid_over(&names))
}

/// A duration that is never negative, whatever two clocks said.
pub(crate) fn between(from: Option<Timestamp>, to: Timestamp) -> Option<Duration> {
    let elapsed: SignedDuration = to.duration_since(from?);
    Some(Duration::try_from(elapsed).unwrap_or_default())
}

/// `850 ms`, `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`: two figures are enough for people.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3_600 => with_rest(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => with_rest(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => with_rest(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

fn with_rest(whole: u64, unit: &str, rest: u64, rest_unit: &str) -> String {
    if rest == 0 { format!("{whole} {unit}") } else { format!("{whole} {unit} {rest} {rest_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_figures() {
        let text = |seconds| duration_text(Duration::from_secs(seconds));
        assert_eq!(duration_text(Duration::from_millis(850)), "850 ms");
        assert_eq!(
            (text(12).as_str(), text(60).as_str(), text(185).as_str()),
            ("12 s", "1 min", "3 min 5 s")
        );
        assert_eq!((text(7_860).as_str(), text(273_600).as_str()), ("2 h 11 min", "3 d 4 h"));
    }
}
