//! Tasks by runs: what the grid shows. One letter for each task of a run, as the run's own row keeps them,
//! brought into one order whichever version a run is of.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use trunkline_state::{
    ids::RunId,
    pipeline::Pipeline,
    store::{GridMark, PipelineRow, RunRow, Store, StoreError},
};

/// Marks of one answer; a grid full of them says no more than one that is half full.
const MARKS_MAX: i64 = 20_000;
/// The letter of a task that a run does not have.
const ABSENT: char = ' ';

/// The states of a pipeline's tasks in some of its runs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GridView {
    /// The pipeline.
    pub pipeline: String,
    /// Its current version.
    pub version: i32,
    /// Its tasks, upstream before downstream; behind them those that only other versions have.
    pub tasks: Vec<GridTask>,
    /// The runs, the newest logical date first.
    pub runs: Vec<GridRun>,
    /// Where older runs begin; none where there are none.
    pub next: Option<String>,
}

/// A row of the grid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GridTask {
    /// Its name.
    pub task: String,
    /// Its type; empty where the current version does not have it.
    #[serde(rename = "type")]
    pub operator: String,
}

/// A column of the grid.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GridRun {
    /// Its id.
    pub id: String,
    /// `pipeline@key`.
    pub run: String,
    /// Its key.
    pub run_key: String,
    /// Its state.
    pub state: String,
    /// What made it.
    pub trigger: String,
    /// Its version.
    pub version: i32,
    /// Its generation.
    pub generation: u32,
    /// The start of its interval, or its fire time.
    pub logical_date: Timestamp,
    /// When it got its place, in this generation.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// One letter for each task, by `tasks`: `w`aiting, `q`ueued, `r`unning, re`t`rying, `a`waiting approval,
    /// `s`ucceeded, `f`ailed, s`k`ipped, `u`pstream failed, `c`ancelled; a space where the run has no such task.
    pub states: String,
    /// What stands out.
    pub marks: Vec<GridMarkView>,
}

/// What stands out about a task run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GridMarkView {
    /// Its place in `tasks`.
    pub task: usize,
    /// Attempts over all generations.
    pub attempts: u32,
    /// Whether it warned of something.
    pub warned: bool,
    /// Whether its start can be neither confirmed nor refuted.
    pub unconfirmed: bool,
}

impl GridView {
    /// Reads the grid of some runs of a pipeline.
    pub async fn read(store: &Store, pipeline: &PipelineRow, runs: &[RunRow]) -> Result<Self, StoreError> {
        let current = store.definition(&pipeline.name, pipeline.version).await?;
        let mut names: HashMap<i32, Vec<String>> = HashMap::new();
        names.insert(pipeline.version, names_of(&current.pipeline));
        for run in runs {
            if let Entry::Vacant(place) = names.entry(run.version) {
                let definition = store.definition(&run.pipeline, run.version).await?;
                place.insert(names_of(&definition.pipeline));
            }
        }
        let ids: Vec<RunId> = runs.iter().map(|run| run.id).collect();
        let marks = store.grid_marks(&ids, MARKS_MAX).await?;
        Ok(Self::of(pipeline, &current.pipeline, &names, runs, &marks))
    }

    /// Brings states and marks into one order.
    fn of(
        row: &PipelineRow,
        current: &Pipeline,
        names: &HashMap<i32, Vec<String>>,
        runs: &[RunRow],
        marks: &[GridMark],
    ) -> Self {
        let operator = |task: &trunkline_state::pipeline::Task| task.operator.clone();
        let own = current.tasks.iter().map(|task| (task.name.to_string(), operator(task)));
        let tasks = rows(own, runs.iter().filter_map(|run| names.get(&run.version)));
        let places: HashMap<&str, usize> =
            tasks.iter().enumerate().map(|(place, task)| (task.task.as_str(), place)).collect();
        let no_names = Vec::new();
        let runs = runs
            .iter()
            .map(|run| {
                let names = names.get(&run.version).unwrap_or(&no_names);
                let place = |position: usize| places.get(names.get(position)?.as_str()).copied();
                let marks = marks.iter().filter(|mark| mark.run == run.id);
                column(run, tasks.len(), place, marks)
            })
            .collect();
        Self { pipeline: row.name.clone(), version: row.version, tasks, runs, next: None }
    }
}

fn names_of(pipeline: &Pipeline) -> Vec<String> {
    pipeline.tasks.iter().map(|task| task.name.to_string()).collect()
}

/// The current version's tasks, then those of other versions, each once.
fn rows<'a>(
    own: impl Iterator<Item = (String, String)>,
    others: impl Iterator<Item = &'a Vec<String>>,
) -> Vec<GridTask> {
    let mut tasks: Vec<GridTask> = own.map(|(task, operator)| GridTask { task, operator }).collect();
    let mut known: HashSet<String> = tasks.iter().map(|task| task.task.clone()).collect();
    for name in others.flatten() {
        if known.insert(name.clone()) {
            tasks.push(GridTask { task: name.clone(), operator: String::new() });
        }
    }
    tasks
}

fn column<'a>(
    run: &RunRow,
    tasks: usize,
    place: impl Fn(usize) -> Option<usize>,
    marks: impl Iterator<Item = &'a GridMark>,
) -> GridRun {
    let mut states = vec![ABSENT; tasks];
    for (position, letter) in run.task_states.iter().enumerate() {
        if let Some(place) = place(position) {
            states[place] = char::from(*letter);
        }
    }
    let mark = |mark: &GridMark| {
        Some(GridMarkView {
            task: place(mark.position)?,
            attempts: mark.attempts,
            warned: mark.warned,
            unconfirmed: mark.unconfirmed,
        })
    };
    GridRun {
        id: run.id.to_string(),
        run: format!("{}@{}", run.pipeline, run.key),
        run_key: run.key.clone(),
        state: run.state.clone(),
        trigger: run.trigger.clone(),
        version: run.version,
        generation: run.generation,
        logical_date: run.logical_date,
        started_at: run.started_at,
        ended_at: run.ended_at,
        states: states.into_iter().collect(),
        marks: marks.filter_map(mark).collect(),
    }
}
