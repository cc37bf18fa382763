//! From what a person types to a run, a pipeline or a task, with suggestions for slips.

use jiff::tz::TimeZone;
use trunkline_state::{
    elements::ElementName,
    ids::RunId,
    pipeline::Pipeline,
    run::Run,
    schedule::{self, parse_run_key, run_key},
    store::{PipelineRow, RunFilter, Store, StoreError},
};
use uuid::Uuid;

use super::views::PoolView;
use crate::definition::suggest::did_you_mean;

/// The word for the newest run of a pipeline.
const LATEST: &str = "latest";

/// So many runs are named where none fits.
const NAMED_MAX: i64 = 3;

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is no such pipeline.
    #[error("there is no pipeline `{name}`; {help}")]
    Pipeline {
        /// The word.
        name: String,
        /// What to do instead.
        help: String,
    },
    /// There is no such run.
    #[error("there is no run `{text}`; {help}")]
    Run {
        /// The words.
        text: String,
        /// What to do instead.
        help: String,
    },
    /// There is no such task.
    #[error("{pipeline} has no task `{task}`; {help}")]
    Task {
        /// The pipeline.
        pipeline: String,
        /// The word.
        task: String,
        /// What to do instead.
        help: String,
    },
    /// There is no such pool.
    #[error("there is no pool `{name}`; {help}")]
    Pool {
        /// The word.
        name: String,
        /// What to do instead.
        help: String,
    },
    /// The pipeline has no such version.
    #[error("{pipeline} has no version {version}; its current one is {current}")]
    Version {
        /// The pipeline.
        pipeline: String,
        /// The number.
        version: i32,
        /// The number that is current.
        current: i32,
    },
    /// The run's newest generation no longer has this task.
    #[error("{run} has no task {task} in this generation")]
    Element {
        /// The run.
        run: String,
        /// The task.
        task: String,
    },
    /// It names no run at all.
    #[error("`{0}` names no run; write a run id, or pipeline@date such as daily_cdr_etl@2026-11-19")]
    Form(String),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a text names a run rather than a pipeline.
pub fn names_run(text: &str) -> bool {
    text.contains('@') || text.parse::<Uuid>().is_ok()
}

/// The run that a text names: an id, `pipeline@key`, `pipeline@date` or `pipeline@latest`.
pub async fn run(store: &Store, text: &str) -> Result<RunId, FindError> {
    if let Ok(id) = text.parse::<Uuid>() {
        return match store.run(RunId(id)).await {
            Ok(row) => Ok(row.id),
            Err(StoreError::NotFound { .. }) => Err(FindError::Run {
                text: text.to_owned(),
                help: "list them with `trunkline runs`".to_owned(),
            }),
            Err(error) => Err(error.into()),
        };
    }
    let Some((name, key)) = text.split_once('@') else {
        return match pipeline(store, text).await {
            Ok(row) => Err(FindError::Run {
                text: text.to_owned(),
                help: format!("name one of its runs, e.g. {}", some_runs(store, &row.name).await?),
            }),
            Err(FindError::Pipeline { .. }) => Err(FindError::Form(text.to_owned())),
            Err(other) => Err(other),
        };
    };
    let row = pipeline(store, name).await?;
    if key == LATEST {
        let filter = RunFilter { pipeline: Some(row.name.clone()), state: None, limit: 1 };
        if let Some(newest) = store.runs(&filter).await?.first() {
            return Ok(newest.id);
        }
    }
    if let Some(id) = store.run_with_key(&row.name, key).await? {
        return Ok(id);
    }
    let definition = store.definition(&row.name, row.version).await?;
    let help = match canonical_key(&definition.pipeline, key) {
        Ok(canonical) => match store.run_with_key(&row.name, &canonical).await? {
            Some(id) => return Ok(id),
            None => format!("the newest are {}", some_runs(store, &row.name).await?),
        },
        Err(reason) => reason,
    };
    Err(FindError::Run { text: text.to_owned(), help })
}

/// The pipeline of this name in the store, removed or not.
pub async fn pipeline(store: &Store, name: &str) -> Result<PipelineRow, FindError> {
    let mut rows = store.pipelines().await?;
    if let Some(position) = rows.iter().position(|row| row.name == name) {
        return Ok(rows.swap_remove(position));
    }
    Err(unknown_pipeline(name, rows.iter().map(|row| row.name.as_str()), "the store knows"))
}

/// The pool of this name, with who has slots of it and who waits.
pub async fn pool(store: &Store, name: &str) -> Result<PoolView, FindError> {
    let pools = store.pools().await?;
    if let Some(row) = pools.iter().find(|row| row.name == name) {
        let turns = store.pool_turns(name).await?;
        return Ok(PoolView::new(row.clone(), Some(turns)));
    }
    let help = did_you_mean(name, pools.iter().map(|row| row.name.as_str()), "the store knows");
    let help = help.unwrap_or_else(|| "the store knows none".to_owned());
    Err(FindError::Pool { name: name.to_owned(), help })
}

/// The refusal for a pipeline that is not among `known`.
pub fn unknown_pipeline<'a>(
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    place: &str,
) -> FindError {
    let help = did_you_mean(name, known, place);
    FindError::Pipeline { name: name.to_owned(), help: help.unwrap_or_else(|| format!("{place} none")) }
}

/// The position of a task, or of an element such as `convert[17]`.
pub fn task(run: &Run, name: &str) -> Result<usize, FindError> {
    let pipeline = &run.definition.pipeline;
    let element = ElementName::parse(name);
    let known = pipeline.task(element.map_or(name, |element| element.task)).map(|(position, _)| position);
    if let (Some(position), Some(element)) = (known, element) {
        let elements = run.elements(position);
        return elements.get(element.index as usize).copied().ok_or_else(|| FindError::Task {
            pipeline: run.label(),
            task: name.to_owned(),
            help: match elements.len() {
                0 => format!("{} has no elements", element.task),
                count => format!("{0} has {count} elements, {0}[0] to {0}[{1}]", element.task, count - 1),
            },
        });
    }
    if let Some(position) = known {
        return Ok(position);
    }
    let names = pipeline.tasks.iter().map(|task| task.name.as_str());
    let help = did_you_mean(name, names, "its tasks are").unwrap_or_else(|| "it has no tasks".to_owned());
    Err(FindError::Task { pipeline: pipeline.name.to_string(), task: name.to_owned(), help })
}

/// The zone of a pipeline; a zone that this machine does not know reads as UTC.
pub fn zone_of(pipeline: &Pipeline) -> TimeZone {
    schedule::zone(&pipeline.timezone).unwrap_or(TimeZone::UTC)
}

fn canonical_key(pipeline: &Pipeline, text: &str) -> Result<String, String> {
    let zone = zone_of(pipeline);
    let parts = parse_run_key(pipeline.data_interval, &zone, text).map_err(|error| error.to_string())?;
    Ok(run_key(pipeline.data_interval, &zone, parts.interval, parts.logical_date))
}

async fn some_runs(store: &Store, pipeline: &str) -> Result<String, StoreError> {
    let filter = RunFilter { pipeline: Some(pipeline.to_owned()), state: None, limit: NAMED_MAX };
    let labels: Vec<String> =
        store.runs(&filter).await?.into_iter().map(|row| format!("{}@{}", row.pipeline, row.key)).collect();
    Ok(if labels.is_empty() { "none yet".to_owned() } else { labels.join(", ") })
}
