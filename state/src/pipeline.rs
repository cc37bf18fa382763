//! A pipeline as a validated value: what `orchestrator::definition` builds from YAML, what
//! the store keeps as a version, and what [`crate::machine`] decides by.
//!
//! Templates stay unrendered here: `settings`, `subject` and the like hold text as written,
//! because their values are known only when a run needs them. Nothing here parses YAML.

use std::time::Duration;

use indexmap::IndexMap;
use jiff::{Timestamp, civil};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    ids::{PipelineName, TaskName},
    machine::NoticeOutcome,
    schedule::{Calendar, DataInterval, Deadline},
    triggers::EventTrigger,
};

/// A validated pipeline. Its tasks stand in topological order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Its name, unique in the store.
    pub name: PipelineName,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Who is asked when it fails.
    #[serde(default)]
    pub owner: String,
    /// Free labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The environment that it was resolved for.
    pub environment: String,
    /// When it fires, in which zone, with which rule for DST; without one, only by hand
    /// and by `triggers`.
    #[serde(default)]
    pub calendar: Option<Calendar>,
    /// The zone in which dates are read and printed (`timezone`, an IANA name).
    pub timezone: String,
    /// No interval before this local date.
    #[serde(default)]
    pub start_date: Option<civil::Date>,
    /// Events that make runs beside the calendar.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<EventTrigger>,
    /// What a run covers.
    pub data_interval: DataInterval,
    /// What happens to fires that were missed.
    pub catchup: Catchup,
    /// What happens to a fire while another run is live.
    #[serde(default, skip_serializing_if = "Overlap::is_queue")]
    pub overlap: Overlap,
    /// How many of its runs may be active at once.
    pub max_active_runs: u32,
    /// Whole runs of one group exclude each other.
    #[serde(default)]
    pub concurrency_group: Option<String>,
    /// The limit of a whole run.
    #[serde(default)]
    pub run_timeout: Option<Duration>,
    /// How long its ended runs are kept; without one, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    /// The parameters that a run may be given.
    #[serde(default)]
    pub params: IndexMap<String, Param>,
    /// The environment's `vars`, as they were when the version was made.
    #[serde(default)]
    pub vars: IndexMap<String, Value>,
    /// The environment's connections by name, as `tasks` reads them; never secrets.
    #[serde(default)]
    pub connections: IndexMap<String, Value>,
    /// Where the secrets that its tasks name lie, as `tasks` reads it: references, never values.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub secrets: IndexMap<String, Value>,
    /// The pools that its tasks take slots of, with their sizes in the environment.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub pools: IndexMap<String, u32>,
    /// The tasks, upstream before downstream.
    pub tasks: Vec<Task>,
    /// Sent when a run succeeded.
    #[serde(default)]
    pub on_success: Vec<Notice>,
    /// Sent when a run failed.
    #[serde(default)]
    pub on_failure: Vec<Notice>,
    /// Until when a run that its schedule fired should be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// Sent when a run is not done by its deadline, or was never made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_late: Vec<Notice>,
    /// Sent when a run succeeded after people had been told that it is late or failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_recovery: Vec<Notice>,
    /// Sent when a run succeeded with warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_warning: Vec<Notice>,
    /// Sent when a task failed and is tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_retry: Vec<Notice>,
}

/// One node of the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its name.
    pub name: TaskName,
    /// Which operator, e.g. `glue_job`.
    #[serde(rename = "type")]
    pub operator: String,
    /// The operator's settings with templates unrendered; `file:` references already read.
    pub settings: Value,
    /// Positions in [`Pipeline::tasks`]; each is smaller than the task's own.
    #[serde(default)]
    pub depends_on: Vec<usize>,
    /// When it may start, given the states of its upstreams.
    pub trigger_rule: TriggerRule,
    /// A template of true or false: whether it runs at all, once its trigger rule lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Runs once for each element of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// The connection that it uses.
    pub connection: String,
    /// How failures are repeated.
    pub retry: RetryPolicy,
    /// The limit of one attempt; never infinite.
    pub timeout: Duration,
    /// The ceiling of the adaptive poll interval.
    pub poll_interval: Duration,
    /// What each of its attempts takes of a pool while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolUse>,
    /// Whether it waits until it succeeded, or was skipped, in the run before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub depends_on_past: bool,
    /// The datasets that it updates when it succeeds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outlets: Vec<String>,
}

/// What an attempt takes of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolUse {
    /// Which pool.
    pub name: String,
    /// How many of its slots.
    pub slots: u32,
    /// Each point is worth a minute of waiting: who waits in a pool comes in the order of when it
    /// came, less its priority in minutes. So nobody waits for ever, whatever comes after.
    #[serde(default)]
    pub priority: i32,
}

/// What a mapped task runs over, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForEach {
    /// The list, or a template of it.
    pub items: Value,
    /// So many elements may be under way at once.
    pub max_parallel: u32,
    /// So many elements may fail without failing the task.
    #[serde(default)]
    pub tolerated_failures: u32,
    /// What a list without elements means.
    pub on_empty: OnEmpty,
}

/// What a list without elements means for its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnEmpty {
    /// It succeeds with a warning; its outputs are an empty array.
    Warn,
    /// It fails.
    Fail,
    /// It is skipped.
    Skip,
}

/// How failures are repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub retries: u32,
    /// The pause before the first repetition.
    pub delay: Duration,
    /// The factor between one pause and the next.
    pub backoff: f64,
    /// No pause is longer.
    pub delay_max: Duration,
    /// Only these classes are repeated (words of `tasks::ErrorClass`); empty: every class but
    /// `config`, `cancelled` and `lost`.
    #[serde(default)]
    pub retry_on: Vec<String>,
}

/// What happens to fires that were missed while nothing was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Catchup {
    /// They are forgotten.
    None,
    /// The last one runs.
    Last,
    /// Each one runs, oldest first.
    All,
}

/// What happens to a fire of the schedule while another run of the pipeline is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Its run waits for a place.
    #[default]
    Queue,
    /// It makes no run.
    Skip,
    /// The other one is cancelled.
    CancelRunning,
}

impl Overlap {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_queue(&self) -> bool {
        *self == Self::Queue
    }
}

/// When a task may start, given the states of its upstreams. The names are Airflow's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerRule {
    /// All succeeded.
    AllSuccess,
    /// All failed or could not run because of a failure upstream.
    AllFailed,
    /// All ended, however.
    AllDone,
    /// All were skipped.
    AllSkipped,
    /// At least one failed; does not wait for the rest.
    OneFailed,
    /// At least one succeeded; does not wait for the rest.
    OneSuccess,
    /// At least one succeeded or failed; does not wait for the rest.
    OneDone,
    /// None failed: each succeeded or was skipped.
    NoneFailed,
    /// None failed, and at least one succeeded.
    NoneFailedMinOneSuccess,
    /// None was skipped.
    NoneSkipped,
    /// Whatever the upstreams do, at once.
    Always,
}

/// A parameter of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ParamType,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Its value when the run names none; without one the run must.
    #[serde(default)]
    pub default: Option<Value>,
    /// Smallest number.
    #[serde(default)]
    pub minimum: Option<f64>,
    /// Largest number.
    #[serde(default)]
    pub maximum: Option<f64>,
    /// The allowed values.
    #[serde(default, rename = "enum")]
    pub choices: Vec<Value>,
    /// A regular expression for strings is not offered; `enum` covers what pipelines need.
    #[serde(default)]
    pub max_length: Option<u32>,
}

/// The types of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A date, `2026-11-19`.
    Date,
    /// A list of anything.
    Array,
}

/// A message about a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Where it goes.
    #[serde(flatten)]
    pub target: NoticeTarget,
    /// The connection that it is sent through, where it goes to a topic.
    pub connection: String,
    /// The subject, as a template; without one, the default.
    #[serde(default)]
    pub subject: Option<String>,
    /// The text, as a template; without one, the default.
    #[serde(default)]
    pub message: Option<String>,
    /// Of `on_warning`: only where there are so many warnings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_count: Option<u32>,
    /// Of a webhook: further headers, as templates.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub headers: IndexMap<String, String>,
    /// Of a webhook: what its body is signed with, as a template that names a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_with: Option<String>,
    /// Objects that it links to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<NoticeLink>,
}

/// An object that a notice links to; the link is signed when the notice is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeLink {
    /// What is there, in a few words.
    pub label: String,
    /// The object, `s3://bucket/key`, as a template.
    pub s3: String,
    /// How long the link is wanted to be good.
    pub expires: Duration,
}

impl NoticeLink {
    /// The name under which templates read it: `Daily report` is `links.daily_report`.
    pub fn name(&self) -> String {
        let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        self.label.chars().map(word).collect()
    }
}

/// Where a notice goes, each as a template. Stored under the key that the pipeline file has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeTarget {
    /// To a topic of SNS, by its ARN.
    Sns(String),
    /// To a server that takes a POST of JSON, by its URL.
    Webhook(String),
    /// To a chat that takes what Slack's incoming webhooks take, by its URL.
    Slack(String),
}

impl Notice {
    /// A notice to a topic, in the standard words.
    pub fn to_topic(topic: impl Into<String>, connection: impl Into<String>) -> Self {
        Self {
            target: NoticeTarget::Sns(topic.into()),
            connection: connection.into(),
            subject: None,
            message: None,
            min_count: None,
            headers: IndexMap::new(),
            signed_with: None,
            links: Vec::new(),
        }
    }

    /// The topic, where it goes to one.
    pub fn topic(&self) -> Option<&String> {
        match &self.target {
            NoticeTarget::Sns(topic) => Some(topic),
            NoticeTarget::Webhook(_) | NoticeTarget::Slack(_) => None,
        }
    }

    /// Every text of it that may be a template.
    pub fn texts(&self) -> impl Iterator<Item = &String> {
        let (NoticeTarget::Sns(to) | NoticeTarget::Webhook(to) | NoticeTarget::Slack(to)) = &self.target;
        let own = [Some(to), self.subject.as_ref(), self.message.as_ref(), self.signed_with.as_ref()];
        let objects = self.links.iter().map(|link| &link.s3);
        own.into_iter().flatten().chain(self.headers.values()).chain(objects)
    }
}

impl Pipeline {
    /// The content hash that names a version: equal definitions are one version.
    pub fn content_hash(&self) -> [u8; 32] {
        let canonical = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(&canonical).into()
    }

    /// The notices for an outcome.
    pub fn notices(&self, outcome: NoticeOutcome) -> &[Notice] {
        match outcome {
            NoticeOutcome::Success => &self.on_success,
            NoticeOutcome::Failure => &self.on_failure,
            NoticeOutcome::Late => &self.on_late,
            NoticeOutcome::Recovery => &self.on_recovery,
            NoticeOutcome::Warning => &self.on_warning,
            NoticeOutcome::Retry => &self.on_retry,
        }
    }

    /// Every notice, whatever for.
    pub fn all_notices(&self) -> impl Iterator<Item = &Notice> {
        NoticeOutcome::ALL.into_iter().flat_map(|outcome| self.notices(outcome))
    }

    /// The task with this name and its position.
    pub fn task(&self, name: &str) -> Option<(usize, &Task)> {
        self.tasks.iter().enumerate().find(|(_, task)| task.name.as_str() == name)
    }

    /// For each task, the positions of the tasks that depend on it.
    pub fn downstream(&self) -> Vec<Vec<usize>> {
        let mut downstream = vec![Vec::new(); self.tasks.len()];
        for (position, task) in self.tasks.iter().enumerate() {
            for &upstream in &task.depends_on {
                downstream[upstream].push(position);
            }
        }
        downstream
    }

    /// Whether `moment` lies before `start_date` in the pipeline's zone.
    pub fn starts_after(&self, moment: Timestamp) -> bool {
        let Some(start) = self.start_date else { return false };
        let Ok(zone) = jiff::tz::TimeZone::get(&self.timezone) else { return false };
        moment.to_zoned(zone).date() < start
    }
}

impl TriggerRule {
    /// Every rule, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::AllSuccess,
        Self::AllFailed,
        Self::AllDone,
        Self::AllSkipped,
        Self::OneFailed,
        Self::OneSuccess,
        Self::OneDone,
        Self::NoneFailed,
        Self::NoneFailedMinOneSuccess,
        Self::NoneSkipped,
        Self::Always,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_to_a_topic_is_stored_as_ever() {
        // Versions are named by their content: another form would make every pipeline a new one.
        let stored = r#"{"sns":"arn","connection":"aws","subject":null,"message":null}"#;
        let notice = Notice::to_topic("arn", "aws");
        assert_eq!(serde_json::to_string(&notice).unwrap(), stored);
        assert_eq!(serde_json::from_str::<Notice>(stored).unwrap(), notice);
    }

    #[test]
    fn other_targets_come_back_as_they_went() {
        let link = NoticeLink {
            label: "Daily report".to_owned(),
            s3: "s3://b/{{ ds }}".to_owned(),
            expires: Duration::from_secs(60),
        };
        assert_eq!(link.name(), "daily_report");
        let notice = Notice {
            target: NoticeTarget::Webhook("{{ secrets.hook }}".to_owned()),
            headers: IndexMap::from([("A".to_owned(), "b".to_owned())]),
            signed_with: Some("{{ secrets.key }}".to_owned()),
            links: vec![link],
            ..Notice::to_topic("", "aws")
        };
        let stored = serde_json::to_value(&notice).unwrap();
        assert_eq!(stored["webhook"], "{{ secrets.hook }}");
        assert_eq!(serde_json::from_value::<Notice>(stored).unwrap(), notice);
        assert_eq!(notice.texts().count(), 4);
    }
}
