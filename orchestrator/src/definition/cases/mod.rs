//! `tests.yaml` beside a pipeline: named cases, each a run with what it is given and what must
//! come of it.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the values |
//! | `read.rs` | a file into cases, and the run that a case means |
//! | `answers.rs` | what the services answer in a case |
//! | `expect.rs` | what must come of it |
//! | `schema.rs` | the same for editors |
//!
//! Reading and checking only: cases are run by [`crate::engine::rehearsal`] and the command
//! `test`, and compared in [`crate::service::cases`].

mod answers;
mod expect;
mod read;
pub mod schema;

use std::{collections::BTreeMap, ops::Range, path::PathBuf, time::Duration};

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::{Map, Value};
use trunkline_state::{
    machine::NoticeOutcome,
    run::{Failure, Trigger},
    schedule::Selected,
    words::{RunState, TaskState},
};

pub use read::{CASES_FILE, load_cases, load_cases_text};

use super::diagnostic::SourceId;

/// A value with its place in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Range<usize>,
}

impl<T> Placed<T> {
    /// A value at a place.
    pub(crate) fn new(value: T, span: &Range<usize>) -> Self {
        Self { value, span: span.clone() }
    }
}

/// One named case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: Placed<String>,
    /// Its file.
    pub source: SourceId,
    /// The run that it is about.
    pub selected: Selected,
    /// What makes the run: a person, or the schedule where the case names a fire.
    pub trigger: Trigger,
    /// The present when the run is made: its fire, or the end of what it covers.
    pub now: Timestamp,
    /// The run's parameters, complete and checked.
    pub params: Map<String, Value>,
    /// Vars that take the place of the environment's.
    pub vars: IndexMap<String, Value>,
    /// Whether it really executes, on a sandbox of its own.
    pub sandbox: bool,
    /// What lies in the sandbox's buckets and in private databases before the run begins.
    pub files: Vec<Given>,
    /// What the services answer, by the task's position; a task without a script succeeds.
    pub answers: BTreeMap<usize, Script>,
    /// What must come of it.
    pub expect: Expectation,
}

/// Objects for a bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// Where.
    pub place: Place,
    /// What is put there.
    pub content: Content,
}

/// The word before the name of a database of the private Postgres: `private:warehouse`.
pub const PRIVATE: &str = "private:";

/// Where something lies before a run begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// In a bucket; for a folder the key is what its files' keys begin with.
    Bucket {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// In this database of the private Postgres: the content is a script of SQL.
    Database(String),
}

/// What is put into a bucket or a database.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// This text, as one object.
    Text(String),
    /// A file, as one object; or every file of a folder, under its relative path.
    Path(PathBuf),
}

/// The answers that one task's attempts get.
#[derive(Clone, Debug, PartialEq)]
pub enum Script {
    /// Every attempt the same.
    Each(Answer),
    /// The first attempt the first one, and so on; later attempts succeed.
    InTurn(Vec<Answer>),
}

impl Script {
    /// What the attempt with this number, from 1, is answered.
    pub fn answer(&self, number: u32) -> Answer {
        match self {
            Self::Each(answer) => answer.clone(),
            Self::InTurn(answers) => {
                let position = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
                answers.get(position).cloned().unwrap_or_default()
            }
        }
    }
}

/// What the service makes of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// How often it says "not now" before it takes the start.
    pub throttled: u32,
    /// How long the job takes.
    pub takes: Duration,
    /// The job's id, for messages; one is made up without.
    pub id: Option<String>,
    /// How it ends.
    pub ending: Ending,
}

/// How long a job takes where its answer does not say.
pub const TAKES: Duration = Duration::from_mins(1);

impl Default for Answer {
    fn default() -> Self {
        Self { throttled: 0, takes: TAKES, id: None, ending: Ending::default() }
    }
}

/// How one attempt ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// The job succeeds, or a person says yes.
    Succeeds {
        /// What it leaves for later tasks.
        outputs: Map<String, Value>,
        /// What it warns of.
        warnings: Vec<String>,
        /// What it costs, in the services' units.
        cost: Map<String, Value>,
    },
    /// The job runs and fails.
    Fails(Failure),
    /// The service does not take the start.
    Refused(Failure),
    /// Nobody can ever tell.
    Lost(Failure),
    /// A person says no.
    Rejected,
}

impl Default for Ending {
    fn default() -> Self {
        Self::Succeeds { outputs: Map::new(), warnings: Vec::new(), cost: Map::new() }
    }
}

/// What must come of a case; what is not named may be anything.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// How the run ends.
    pub run: Placed<RunState>,
    /// The run's key.
    pub key: Option<Placed<String>>,
    /// Words of the line that says what the run covers.
    pub covers: Option<Placed<String>>,
    /// Of single tasks.
    pub tasks: Vec<ExpectedTask>,
    /// Every notice that is sent, none besides.
    pub notices: Option<Placed<Vec<ExpectedNotice>>>,
    /// What queries give afterwards, on the sandbox.
    pub queries: Vec<ExpectedRows>,
}

/// What is expected of one task.
#[derive(Clone, Debug, Default)]
pub struct ExpectedTask {
    /// Its name.
    pub name: String,
    /// Its position.
    pub task: usize,
    /// How it ends.
    pub state: Option<Placed<TaskState>>,
    /// How many attempts it had.
    pub attempts: Option<Placed<u32>>,
    /// Words of its failure's message.
    pub error: Option<Placed<String>>,
    /// Its failure's class.
    pub class: Option<Placed<String>>,
    /// At least this is in its last request.
    pub request: Option<Placed<Value>>,
    /// Its last request, whole.
    pub request_exactly: Option<Placed<Value>>,
    /// At least this is in its outputs.
    pub outputs: Option<Placed<Value>>,
    /// Its outputs, whole.
    pub outputs_exactly: Option<Placed<Value>>,
    /// Words of each of its warnings, in order, none besides.
    pub warnings: Option<Placed<Vec<String>>>,
}

/// A notice that must be sent.
#[derive(Clone, Debug)]
pub struct ExpectedNotice {
    /// Where it stands.
    pub span: Range<usize>,
    /// How many such; 1 unless said.
    pub count: u32,
    /// Its list.
    pub on: Option<NoticeOutcome>,
    /// Where it goes.
    pub to: Option<String>,
    /// Its subject, whole.
    pub subject: Option<String>,
    /// Words that are in its text.
    pub contains: Vec<String>,
    /// Words that are not in it.
    pub lacks: Vec<String>,
}

/// A query and its rows.
#[derive(Clone, Debug)]
pub struct ExpectedRows {
    /// Where it stands.
    pub span: Range<usize>,
    /// The statement, for the sandbox's Athena or a private database.
    pub sql: String,
    /// The database that unqualified names mean; `private:name` is one of the private Postgres, which is asked then.
    pub database: Option<String>,
    /// The rows, each as a list of its columns' values or by the columns' names.
    pub rows: Vec<Value>,
}
