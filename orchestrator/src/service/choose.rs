//! Which runs a person means: one by its name, or many of one pipeline by date and state.

use jiff::Timestamp;
use trunkline_state::{
    ids::RunId,
    schedule::{self, Interval, SelectError},
    store::{RunEntry, RunRange, Store, StoreError},
    words::RunState,
};

use super::find::{self, FindError, zone_of};

/// More runs than these are several commands: each is looked at before anybody says yes.
pub const RUNS_MAX: usize = 10_000;

/// What a person typed.
#[derive(Clone, Debug, Default)]
pub struct RunsWanted {
    /// A run, or with a date or a state a pipeline.
    pub name: String,
    /// `--from`: whose logical date lies in this date or later.
    pub from: Option<String>,
    /// `--to`: whose logical date lies in this date or before.
    pub to: Option<String>,
    /// `--past`: and every earlier one of its pipeline.
    pub past: bool,
    /// `--future`: and every later one of its pipeline.
    pub future: bool,
    /// `--state`: only those.
    pub state: Option<RunState>,
}

/// What that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// One run, named.
    One(RunId),
    /// Runs of one pipeline, oldest first; perhaps none.
    Many {
        /// The pipeline.
        pipeline: String,
        /// The runs.
        runs: Vec<RunEntry>,
    },
}

/// Why it means nothing.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// The name.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A date.
    #[error("--{flag}: {source}")]
    Date {
        /// The flag.
        flag: &'static str,
        /// What is wrong with it.
        source: SelectError,
    },
    /// The range ends before it begins.
    #[error("--from {from} lies after --to {to}; the first date comes first")]
    Backwards {
        /// The first date.
        from: String,
        /// The last date.
        to: String,
    },
    /// A range of no pipeline.
    #[error("--{flag} needs {wanted}, and `{name}` is {found}")]
    Form {
        /// The flag.
        flag: &'static str,
        /// What it goes with.
        wanted: &'static str,
        /// What was typed.
        name: String,
        /// What that is.
        found: &'static str,
    },
    /// Too many.
    #[error("more than {RUNS_MAX} runs match; name a narrower range with --from and --to")]
    TooMany,
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunsWanted {
    /// Whether the name is a run's: `pipeline@key` or an id.
    fn names_run(&self) -> bool {
        self.name.contains('@') || self.name.parse::<uuid::Uuid>().is_ok()
    }

    /// Whether one run is meant, not a range or those in a state.
    pub fn is_one(&self) -> bool {
        let ranged = self.from.is_some() || self.to.is_some() || self.past || self.future;
        !ranged && (self.state.is_none() || self.names_run())
    }
}

/// The runs that are meant.
pub async fn runs(store: &Store, wanted: &RunsWanted) -> Result<Chosen, ChooseError> {
    let name = &wanted.name;
    let form = |flag, wanted, found| ChooseError::Form { flag, wanted, name: name.clone(), found };
    let ranged = [(wanted.from.is_some(), "from"), (wanted.to.is_some(), "to")];
    let ranged = ranged.into_iter().find_map(|(given, flag)| given.then_some(flag));
    let sided = [(wanted.past, "past"), (wanted.future, "future")];
    let sided = sided.into_iter().find_map(|(given, flag)| given.then_some(flag));
    if wanted.is_one() {
        return Ok(Chosen::One(find::run(store, name).await?));
    }
    let is_run = wanted.names_run();
    let (pipeline, range) = match (is_run, ranged, sided) {
        (true, Some(flag), _) => return Err(form(flag, "a pipeline", "a run")),
        (false, _, Some(flag)) => return Err(form(flag, "a run", "no run")),
        (true, None, _) => {
            let row = store.run(find::run(store, name).await?).await?;
            let from = (!wanted.past).then_some(row.logical_date);
            let until = (!wanted.future).then(|| after(row.logical_date));
            (row.pipeline, RunRange { from, until, state: wanted.state })
        }
        (false, _, None) => {
            let row = find::pipeline(store, name).await?;
            let definition = store.definition(&row.name, row.version).await?;
            let (from, until) = dates(wanted, &zone_of(&definition.pipeline))?;
            (row.name, RunRange { from, until, state: wanted.state })
        }
    };
    let limit = i64::try_from(RUNS_MAX).unwrap_or(i64::MAX);
    let runs = store.runs_between(&pipeline, &range, limit.saturating_add(1)).await?;
    if runs.len() > RUNS_MAX { Err(ChooseError::TooMany) } else { Ok(Chosen::Many { pipeline, runs }) }
}

/// The instants that `--from` and `--to` mean: the beginning of the first date, the end of the last.
fn dates(
    wanted: &RunsWanted,
    zone: &jiff::tz::TimeZone,
) -> Result<(Option<Timestamp>, Option<Timestamp>), ChooseError> {
    let read = |flag: &'static str, text: &Option<String>| -> Result<Option<Interval>, ChooseError> {
        let read = |text: &String| schedule::stretch(text, zone);
        text.as_ref().map(read).transpose().map_err(|source| ChooseError::Date { flag, source })
    };
    let (from, to) = (read("from", &wanted.from)?, read("to", &wanted.to)?);
    if let (Some(first), Some(last)) = (from, to)
        && first.start >= last.end
    {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        return Err(ChooseError::Backwards { from: text(&wanted.from), to: text(&wanted.to) });
    }
    Ok((from.map(|first| first.start), to.map(|last| last.end)))
}

/// The least later instant that the store tells apart.
pub(super) fn after(instant: Timestamp) -> Timestamp {
    instant.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(Timestamp::MAX)
}
