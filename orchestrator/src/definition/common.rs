//! The keys that all tasks share, as they stand at a task, in a pipeline's `defaults` and in
//! the project's `defaults`: one reader for the three places, one order of precedence.

use std::{ops::Range, time::Duration};

use trunkline_state::pipeline::{RetryPolicy, TriggerRule};

use super::{
    reader::{Keys, Reader},
    tree::{Entry, Node},
};

/// Keys of `defaults`.
pub const DEFAULT_KEYS: [&str; 9] = [
    "connection",
    "retries",
    "retry_delay",
    "retry_backoff",
    "max_retry_delay",
    "retry_on",
    "timeout",
    "poll_interval",
    "trigger_rule",
];
/// Common keys that are planned for tasks and `defaults`.
pub const LATER_TASK_KEYS: [&str; 5] = ["deadline", "on_retry", "on_failure", "on_success", "idempotent"];

/// The connection where nothing names one.
pub const CONNECTION: &str = "aws";
/// Retries where nothing names them: a repetition is the author's decision.
pub const RETRIES: u32 = 0;
/// The pause before the first repetition where nothing names it.
pub const RETRY_DELAY: Duration = Duration::from_mins(1);
/// The factor between pauses where nothing names it.
pub const RETRY_BACKOFF: f64 = 2.0;
/// The longest pause where nothing names it.
pub const RETRY_DELAY_MAX: Duration = Duration::from_hours(1);
/// The ceiling of the poll interval where nothing names it.
pub const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// More repetitions only hide a mistake.
pub const RETRIES_MAX: u32 = 100;
/// The largest factor between pauses.
pub const RETRY_BACKOFF_MAX: f64 = 100.0;

/// The classes that may be repeated: the words of `tasks::ErrorClass` without those whose
/// repetition nobody can want.
pub const RETRY_CLASSES: [&str; 7] =
    ["throttled", "capacity", "system", "failed", "timeout", "config", "lost"];

/// What one place says about the shared keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Common {
    /// `connection`, with its place in the file of whoever says it.
    pub connection: Option<(String, Range<usize>)>,
    /// `retries`
    pub retries: Option<u32>,
    /// `retry_delay`
    pub retry_delay: Option<Duration>,
    /// `retry_backoff`
    pub retry_backoff: Option<f64>,
    /// `max_retry_delay`
    pub max_retry_delay: Option<Duration>,
    /// `retry_on`
    pub retry_on: Option<Vec<String>>,
    /// `timeout`
    pub timeout: Option<Duration>,
    /// `poll_interval`
    pub poll_interval: Option<Duration>,
    /// `trigger_rule`
    pub trigger_rule: Option<TriggerRule>,
}

impl Common {
    /// Takes the entry if it is one of [`DEFAULT_KEYS`].
    pub(crate) fn read(&mut self, reader: &mut Reader, entry: &Entry) -> bool {
        match entry.key.as_str() {
            "connection" => {
                self.connection = reader.text(entry).map(|name| (name, entry.value.span.clone()));
            }
            "retries" => self.retries = reader.integer(entry, 0..=RETRIES_MAX),
            "retry_delay" => self.retry_delay = reader.duration(entry),
            "retry_backoff" => self.retry_backoff = backoff(reader, entry),
            "max_retry_delay" => self.max_retry_delay = reader.positive_duration(entry),
            "retry_on" => self.retry_on = Some(retry_on(reader, entry)),
            "timeout" => self.timeout = reader.positive_duration(entry),
            "poll_interval" => self.poll_interval = reader.positive_duration(entry),
            "trigger_rule" => self.trigger_rule = reader.word(entry, &trigger_rules()),
            _ => return false,
        }
        true
    }

    /// The keys of a `defaults` mapping.
    pub(crate) fn defaults(reader: &mut Reader, node: &Node) -> Self {
        let mut common = Self::default();
        let Some(mapping) = reader.mapping(node, "defaults") else { return common };
        let keys = Keys { of: "`defaults`", known: &DEFAULT_KEYS, later: &LATER_TASK_KEYS };
        for entry in &mapping.entries {
            if !common.read(reader, entry) {
                reader.unknown_key(entry, keys);
            }
        }
        common
    }

    /// These, and where they say nothing, the others.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            connection: self.connection.or_else(|| other.connection.clone()),
            retries: self.retries.or(other.retries),
            retry_delay: self.retry_delay.or(other.retry_delay),
            retry_backoff: self.retry_backoff.or(other.retry_backoff),
            max_retry_delay: self.max_retry_delay.or(other.max_retry_delay),
            retry_on: self.retry_on.or_else(|| other.retry_on.clone()),
            timeout: self.timeout.or(other.timeout),
            poll_interval: self.poll_interval.or(other.poll_interval),
            trigger_rule: self.trigger_rule.or(other.trigger_rule),
        }
    }

    /// The retry policy, with what holds where nothing is said.
    pub fn retry_policy(&self) -> RetryPolicy {
        let delay = self.retry_delay.unwrap_or(RETRY_DELAY);
        RetryPolicy {
            retries: self.retries.unwrap_or(RETRIES),
            delay,
            backoff: self.retry_backoff.unwrap_or(RETRY_BACKOFF),
            delay_max: self.max_retry_delay.unwrap_or(RETRY_DELAY_MAX).max(delay),
            retry_on: self.retry_on.clone().unwrap_or_default(),
        }
    }
}

/// The words of trigger rules, as serde writes them.
pub(super) fn trigger_rules() -> Vec<(&'static str, TriggerRule)> {
    TriggerRule::ALL.iter().map(|rule| (trigger_word(*rule), *rule)).collect()
}

/// The word of a trigger rule.
pub fn trigger_word(rule: TriggerRule) -> &'static str {
    match rule {
        TriggerRule::AllSuccess => "all_success",
        TriggerRule::AllFailed => "all_failed",
        TriggerRule::AllDone => "all_done",
        TriggerRule::AllSkipped => "all_skipped",
        TriggerRule::OneFailed => "one_failed",
        TriggerRule::OneSuccess => "one_success",
        TriggerRule::OneDone => "one_done",
        TriggerRule::NoneFailed => "none_failed",
        TriggerRule::NoneFailedMinOneSuccess => "none_failed_min_one_success",
        TriggerRule::NoneSkipped => "none_skipped",
        TriggerRule::Always => "always",
    }
}

fn backoff(reader: &mut Reader, entry: &Entry) -> Option<f64> {
    let value = reader.number(entry)?;
    if (1.0..=RETRY_BACKOFF_MAX).contains(&value) {
        return Some(value);
    }
    let message = format!("`retry_backoff` must be from 1 to {RETRY_BACKOFF_MAX}, not {value}");
    let help = "each pause is so many times as long as the one before; 1 keeps them equal";
    let diagnostic = reader.error(&entry.value.span, message).label("out of bounds").help(help);
    reader.report(diagnostic);
    None
}

fn retry_on(reader: &mut Reader, entry: &Entry) -> Vec<String> {
    let mut classes = Vec::new();
    for (class, span) in reader.texts(entry) {
        if RETRY_CLASSES.contains(&class.as_str()) {
            classes.push(class);
            continue;
        }
        let help = super::suggest::did_you_mean(&class, RETRY_CLASSES, "the classes are");
        let message = format!("there is no error class `{}`", super::reader::shorten(&class));
        let diagnostic = reader.error(&span, message).label("unknown class").help_maybe(help);
        reader.report(diagnostic);
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigger_words_are_the_words_of_serde() {
        for (word, rule) in trigger_rules() {
            assert_eq!(serde_json::to_value(rule).unwrap(), serde_json::json!(word));
        }
    }
}
