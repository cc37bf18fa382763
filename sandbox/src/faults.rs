//! The fault script: what shall go wrong, how often, and on which calls.
//!
//! A script is a list of [`Rule`]s, tried in order for each call; every rule that matches and is not used up
//! applies. Faults of the wire (throttling, delays, lost answers) are applied by the server around the
//! service; faults of content (lists that lag, unknown states) are asked for by the services. The script
//! survives a restart, with its counts.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::ApiError;
use crate::{SandboxError, files};

/// The longest script. Scripts are written by tests; more rules than this is a mistake.
pub(crate) const RULES_MAX: usize = 1_000;

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// Service as in the credential scope, or `*`.
    #[serde(default = "anything")]
    pub service: String,
    /// Operation in the API's own words, or `*`.
    #[serde(default = "anything")]
    pub operation: String,
    /// Matching calls that pass unharmed before the rule begins.
    #[serde(default)]
    pub skip: u64,
    /// How many calls the rule harms; unlimited if absent.
    #[serde(default)]
    pub times: Option<u64>,
    /// Chance that a matching call is harmed, 0 to 1; always if absent. The dice are seeded: the same script
    /// harms the same calls.
    #[serde(default)]
    pub probability: Option<f64>,
    /// Seed of the dice.
    #[serde(default)]
    pub seed: u64,
    /// Real milliseconds after installation during which the rule holds; for ever if absent.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// What goes wrong.
    pub kind: Kind,
    /// For `delay`: real milliseconds to wait.
    #[serde(default)]
    pub delay_ms: u64,
    /// For `delay`: wait after the service has acted instead of before.
    #[serde(default)]
    pub after: bool,
    /// For `list_lag`: what is younger than this many real milliseconds is not listed.
    #[serde(default)]
    pub lag_ms: u64,
    /// For `unknown_state`: the state to report.
    #[serde(default)]
    pub state: Option<String>,
    /// For `refuse_old_signature`: real milliseconds of age at which a signature is refused. For
    /// `short_session`: the life of the credentials that are given out. For `expire_sessions`: the age at
    /// which they are refused, whatever was said when they were given out.
    #[serde(default)]
    pub max_age_ms: u64,
    /// For the errors: HTTP status instead of the usual one.
    #[serde(default)]
    pub status: Option<u16>,
    /// For the errors: exception name instead of the usual one.
    #[serde(default)]
    pub code: Option<String>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The call is refused as one too many.
    Throttle,
    /// The answer takes longer.
    Delay,
    /// The service fails before it acted.
    ErrorBefore,
    /// The service acts, and then answers that it failed.
    ErrorAfter,
    /// The service acts, and the connection closes without an answer.
    DropAnswer,
    /// Lists do not show what is young.
    ListLag,
    /// A state that no client knows is reported.
    UnknownState,
    /// Signatures of a lower age than usual are refused.
    RefuseOldSignature,
    /// A role's credentials end sooner than was asked, and say so.
    ShortSession,
    /// A role's credentials end sooner than they say.
    ExpireSessions,
}

/// What the server must do to one call.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Wait before the service acts.
    pub delay_before: Duration,
    /// Refuse without letting the service act.
    pub refuse: Option<ApiError>,
    /// Wait after the service acted.
    pub delay_after: Duration,
    /// Answer this although the service acted.
    pub replace_answer: Option<ApiError>,
    /// Close the connection instead of answering.
    pub drop_answer: bool,
    /// A lower age limit for this call's signature.
    pub signature_age_max: Option<Duration>,
    /// An age limit for the session that signed this call.
    pub session_age_max: Option<Duration>,
}

/// The script with its counts.
#[derive(Debug)]
pub(crate) struct Faults {
    path: PathBuf,
    rules: Mutex<Vec<Installed>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Installed {
    rule: Rule,
    since: Timestamp,
    matched: u64,
    harmed: u64,
}

fn anything() -> String {
    "*".to_owned()
}

impl Faults {
    /// Reads the script that an earlier process left.
    pub(crate) fn open(path: &Path) -> Result<Self, SandboxError> {
        let rules = files::read_json(path)?.unwrap_or_default();
        Ok(Self { path: path.to_owned(), rules: Mutex::new(rules) })
    }

    /// Replaces the whole script; an empty list ends all faults.
    pub(crate) fn install(&self, rules: Vec<Rule>, now: Timestamp) -> Result<(), ApiError> {
        if rules.len() > RULES_MAX {
            return Err(ApiError::new(400, "ValidationException", format!("more than {RULES_MAX} rules")));
        }
        let installed =
            rules.into_iter().map(|rule| Installed { rule, since: now, matched: 0, harmed: 0 }).collect();
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        *rules = installed;
        files::replace_json(&self.path, &*rules).map_err(ApiError::internal)
    }

    /// The script with how often each rule matched and harmed, as JSON.
    pub(crate) fn report(&self) -> serde_json::Value {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_value(&*rules).unwrap_or_default()
    }

    /// What happens to this call.
    pub(crate) fn plan(&self, service: &str, operation: &str, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        let of_the_wire =
            |kind: Kind| !matches!(kind, Kind::ListLag | Kind::UnknownState | Kind::ShortSession);
        self.apply(service, operation, now, of_the_wire, |rule| match rule.kind {
            Kind::Throttle => plan.refuse = Some(rule.throttled(service)),
            Kind::ErrorBefore => plan.refuse = Some(rule.failed(service)),
            Kind::Delay if rule.after => plan.delay_after += Duration::from_millis(rule.delay_ms),
            Kind::Delay => plan.delay_before += Duration::from_millis(rule.delay_ms),
            Kind::ErrorAfter => plan.replace_answer = Some(rule.failed(service)),
            Kind::DropAnswer => plan.drop_answer = true,
            Kind::RefuseOldSignature => {
                plan.signature_age_max = Some(Duration::from_millis(rule.max_age_ms));
            }
            Kind::ExpireSessions => plan.session_age_max = Some(Duration::from_millis(rule.max_age_ms)),
            Kind::ListLag | Kind::UnknownState | Kind::ShortSession => {}
        });
        plan
    }

    /// The age below which this listing shall not show things, if any.
    pub(crate) fn list_lag(&self, service: &str, operation: &str, now: Timestamp) -> Option<Duration> {
        let mut lag = None;
        self.apply(
            service,
            operation,
            now,
            |kind| kind == Kind::ListLag,
            |rule| {
                lag = Some(Duration::from_millis(rule.lag_ms));
            },
        );
        lag
    }

    /// The life of the credentials that this call gives out, if the script shortens it.
    pub(crate) fn session_life(&self, service: &str, operation: &str, now: Timestamp) -> Option<Duration> {
        let mut life = None;
        self.apply(
            service,
            operation,
            now,
            |kind| kind == Kind::ShortSession,
            |rule| life = Some(Duration::from_millis(rule.max_age_ms)),
        );
        life
    }

    /// The state to report in place of the true one, if any.
    pub(crate) fn unknown_state(&self, service: &str, operation: &str, now: Timestamp) -> Option<String> {
        let mut state = None;
        self.apply(
            service,
            operation,
            now,
            |kind| kind == Kind::UnknownState,
            |rule| {
                state = Some(rule.state.clone().unwrap_or_else(|| "PONDERING".to_owned()));
            },
        );
        state
    }

    fn apply(
        &self,
        service: &str,
        operation: &str,
        now: Timestamp,
        wanted: impl Fn(Kind) -> bool,
        mut harm: impl FnMut(&Rule),
    ) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counted = false;
        for installed in rules.iter_mut().filter(|installed| wanted(installed.rule.kind)) {
            let before = installed.matched;
            if installed.strikes(service, operation, now) {
                harm(&installed.rule);
            }
            counted |= installed.matched != before && installed.rule.has_counts();
        }
        if counted {
            // A lost count only makes a fault happen once more after a crash of the sandbox.
            drop(files::replace_json(&self.path, &*rules));
        }
    }
}

impl Installed {
    fn strikes(&mut self, service: &str, operation: &str, now: Timestamp) -> bool {
        let rule = &self.rule;
        let age = now.as_millisecond().saturating_sub(self.since.as_millisecond());
        let expired = rule.for_ms.is_some_and(|limit| age > i64::try_from(limit).unwrap_or(i64::MAX));
        let used_up = rule.times.is_some_and(|times| self.harmed >= times);
        if !rule.matches(service, operation) || expired || used_up {
            return false;
        }
        self.matched += 1;
        let begun = self.matched > rule.skip;
        let unlucky = rule.probability.is_none_or(|chance| dice(rule.seed, self.matched) < chance);
        let strikes = begun && unlucky;
        self.harmed += u64::from(strikes);
        strikes
    }
}

impl Rule {
    fn matches(&self, service: &str, operation: &str) -> bool {
        let fits = |pattern: &str, name: &str| pattern == "*" || pattern == name;
        fits(&self.service, service) && fits(&self.operation, operation)
    }

    /// Whether what the rule does depends on how often it matched.
    fn has_counts(&self) -> bool {
        self.skip > 0 || self.times.is_some() || self.probability.is_some()
    }

    fn throttled(&self, service: &str) -> ApiError {
        let (status, code) = match service {
            "s3" => (503, "SlowDown"),
            "sns" | "sts" => (400, "Throttling"),
            "lambda" | "batch" => (429, "TooManyRequestsException"),
            "emr-serverless" => (429, "ThrottlingException"),
            "sqs" => (400, "RequestThrottled"),
            _ => (400, "ThrottlingException"),
        };
        self.error(status, code, "Rate exceeded")
    }

    fn failed(&self, service: &str) -> ApiError {
        let code = match service {
            "glue" => "InternalServiceException",
            "athena" | "redshift-data" => "InternalServerException",
            "ssm" => "InternalServerError",
            "secretsmanager" => "InternalServiceError",
            "s3" => "InternalError",
            "lambda" => "ServiceException",
            "ecs" | "batch" => "ServerException",
            "logs" => "ServiceUnavailableException",
            "emr-serverless" => "InternalServerException",
            "events" => "InternalException",
            _ => "InternalFailure",
        };
        self.error(500, code, "We encountered an internal error. Please try again.")
    }

    fn error(&self, status: u16, code: &'static str, message: &str) -> ApiError {
        let code = self.code.clone().map_or(code.into(), std::borrow::Cow::Owned);
        ApiError::new(self.status.unwrap_or(status), code, message)
    }
}

/// A number in [0, 1) that depends on its arguments only (the finaliser of the `SplitMix64` generator).
fn dice(seed: u64, throw: u64) -> f64 {
    let mut mixed = seed.wrapping_add(throw.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    let unit = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rules: &str) -> (tempfile::TempDir, Faults) {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::open(&folder.path().join("faults.json")).unwrap();
        faults.install(serde_json::from_str(rules).unwrap(), Timestamp::UNIX_EPOCH).unwrap();
        (folder, faults)
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn skips_then_harms_so_many_times() {
        let (_folder, faults) = faults(
            r#"[{"service":"glue","operation":"StartJobRun","skip":1,"times":2,"kind":"drop_answer"}]"#,
        );
        let dropped: Vec<bool> =
            (0..5).map(|_| faults.plan("glue", "StartJobRun", at(0)).drop_answer).collect();
        assert_eq!(dropped, [false, true, true, false, false]);
        assert!(!faults.plan("glue", "GetJobRun", at(0)).drop_answer);
    }

    #[test]
    fn ends_after_its_time() {
        let (_folder, faults) = faults(r#"[{"for_ms":100,"kind":"throttle"}]"#);
        assert_eq!(faults.plan("athena", "X", at(100)).refuse.unwrap().code, "ThrottlingException");
        assert_eq!(faults.plan("sns", "X", at(101)), Plan::default());
    }

    #[test]
    fn counts_survive_a_restart() {
        let (folder, faults) = faults(r#"[{"times":1,"kind":"error_after"}]"#);
        assert!(faults.plan("glue", "X", at(0)).replace_answer.is_some());
        let reopened = Faults::open(&folder.path().join("faults.json")).unwrap();
        assert_eq!(reopened.plan("glue", "X", at(0)), Plan::default());
    }

    #[test]
    fn content_faults_do_not_touch_the_wire() {
        let (_folder, faults) = faults(
            r#"[{"operation":"GetJobRuns","kind":"list_lag","lag_ms":500},{"kind":"unknown_state","times":1}]"#,
        );
        assert_eq!(faults.plan("glue", "GetJobRuns", at(0)), Plan::default());
        assert_eq!(faults.list_lag("glue", "GetJobRuns", at(0)), Some(Duration::from_millis(500)));
        assert_eq!(faults.unknown_state("glue", "GetJobRun", at(0)).as_deref(), Some("PONDERING"));
        assert_eq!(faults.unknown_state("glue", "GetJobRun", at(0)), None);
    }

    #[test]
    fn dice_are_fair_and_repeat() {
        let hits = (0..10_000).filter(|throw| dice(7, *throw) < 0.3).count();
        assert!((2_800..3_200).contains(&hits), "{hits}");
        assert!((dice(7, 1) - dice(7, 1)).abs() < f64::EPSILON);
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error = serde_json::from_str::<Vec<Rule>>(r#"[{"kind":"throttle","tims":1}]"#).unwrap_err();
        assert!(error.to_string().contains("tims"), "{error}");
    }
}
