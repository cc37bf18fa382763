//! The text of the mails about runs: plain data in, subject and body out.
//!
//! Nothing here reads the store, a clock or a template, and nothing here sends. What is not
//! proved is printed as "unknown": a mail at 03:00 must not guess.
//!
//! - [`failure_mail`], [`success_mail`], [`retry_mail`], [`late_mail`]: the default mails;
//!   [`digest_mail`]: one for a backfill.
//! - [`subject_line`]: makes any text a subject that SNS takes, also a rendered template.

mod amounts;
mod crowd;
mod digest;
mod failure;
mod late;
pub(crate) mod lines;
mod retry;
mod success;

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use trunkline_state::schedule::Interval;

pub use amounts::{bytes_text, cost_text, count_text, duration_text};
pub use crowd::{CrowdReport, crowd_mail};
pub use digest::{DigestReport, digest_mail};
pub use failure::{ExternalState, FailedTask, FailureDetail, FailureKind, LastSuccess, failure_mail};
pub use late::{LateReport, late_mail};
pub use lines::{SUBJECT_LENGTH_MAX, subject_line};
pub use retry::retry_mail;
pub use success::{OutputValue, SuccessDetail, recovery_mail, success_mail};

/// What stands in a part of a page's path as it is.
pub(crate) const IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@').remove(b':');

/// The page of a run, on the server that shows pages.
pub(crate) fn run_page(run: &str) -> String {
    format!("/runs/{}", utf8_percent_encode(run, IN_PATH))
}

/// A mail as it goes into the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// ASCII without control characters, at most [`SUBJECT_LENGTH_MAX`].
    pub subject: String,
    /// Plain text, lines ended by `\n`.
    pub body: String,
    /// Message attributes by which a subscription filters: `pipeline`, `env`, `owner`,
    /// `severity`; none of them empty.
    pub attributes: Vec<(&'static str, String)>,
}

/// What any mail about a run says.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The environment, e.g. `prod`.
    pub environment: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The run's key, e.g. `2026-11-19`.
    pub label: String,
    /// The pipeline's zone; all times are shown in it.
    pub zone: TimeZone,
    /// What the run covers.
    pub interval: Option<Interval>,
    /// What made it, and when.
    pub origin: Origin,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How long its runs usually take; `None` if too few have succeeded to say.
    pub usual: Option<Duration>,
    /// What it cost so far; `None` if a service has not said.
    pub cost: Option<RunCost>,
    /// When it runs next.
    pub next: NextFire,
    /// Where to look: logs first. Only the first few are printed.
    pub links: Vec<Link>,
    /// Who is asked; may be empty.
    pub owner: String,
}

impl RunReport {
    /// The run as commands take it: `daily_cdr_etl@2026-11-19`.
    pub fn run(&self) -> String {
        format!("{}@{}", self.pipeline, self.label)
    }

    /// ` --env prod`; nothing for `local`, which every command means by itself.
    pub(crate) fn environment_flag(&self) -> String {
        environment_flag(&self.environment)
    }

    fn attributes(&self, severity: &str) -> Vec<(&'static str, String)> {
        attributes(&self.pipeline, &self.environment, &self.owner, severity)
    }
}

/// How a command names an environment: ` --env prod`, and nothing for `local`.
fn environment_flag(environment: &str) -> String {
    if environment == "local" { String::new() } else { format!(" --env {environment}") }
}

/// The message attributes of a mail, without those that are empty.
fn attributes(pipeline: &str, environment: &str, owner: &str, severity: &str) -> Vec<(&'static str, String)> {
    [("pipeline", pipeline), ("env", environment), ("owner", owner), ("severity", severity)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

/// What made a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its schedule, at this fire.
    Schedule {
        /// The fire.
        fire: Timestamp,
    },
    /// A person, or an event.
    Person {
        /// Who, or which trigger; may be empty where nobody can tell.
        name: String,
        /// When.
        at: Timestamp,
    },
}

impl Origin {
    /// When the run was due or asked for.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Schedule { fire } => *fire,
            Self::Person { at, .. } => *at,
        }
    }
}

/// When a pipeline runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextFire {
    /// At this fire; a failed run does not keep it from firing.
    At(Timestamp),
    /// It has no schedule, or the schedule is over.
    ByHand,
    /// It has no schedule: events make its runs.
    OnEvent,
    /// It is paused.
    Paused,
    /// Nobody can tell.
    Unknown,
}

/// The cost of a run in the units in which the services bill.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunCost {
    /// Glue: DPU-seconds.
    pub dpu_seconds: Option<f64>,
    /// Athena: bytes scanned.
    pub bytes_scanned: Option<u64>,
    /// EMR Serverless: hours of virtual CPUs.
    pub vcpu_hours: Option<f64>,
    /// EMR Serverless: gigabytes of memory times hours.
    pub memory_gb_hours: Option<f64>,
}

/// A place to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What is there, one word: `Logs`, `Job`, `Query`.
    pub label: String,
    /// Its address.
    pub url: String,
}
