//! Whether a failure is repeated, and after which pause. Pure: jitter is a hash of the attempt.

use std::time::Duration;

use uuid::Uuid;

use crate::{pipeline::RetryPolicy, run::Failure};

/// Classes that repeating cannot help, unless `retry_on` names them.
const NOT_REPEATED: [&str; 3] = ["config", "cancelled", "lost"];

/// Pauses differ by up to this share of their length, so that many tasks that failed together
/// do not come back together.
const JITTER: f64 = 0.1;

/// Whether another try is due after `tries` tries of this generation.
pub fn is_repeated(policy: &RetryPolicy, tries: u32, failure: &Failure) -> bool {
    if tries > policy.retries {
        return false;
    }
    if policy.retry_on.is_empty() {
        !NOT_REPEATED.contains(&failure.class.as_str())
    } else {
        policy.retry_on.contains(&failure.class)
    }
}

/// The pause after the `tries`-th try: `delay × backoff^(tries−1)`, at most `delay_max`, with
/// jitter drawn from the attempt's identity.
pub fn pause(policy: &RetryPolicy, tries: u32, attempt: Uuid) -> Duration {
    let exponent = i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX);
    let unbounded = policy.delay.as_secs_f64() * policy.backoff.max(1.0).powi(exponent);
    let bounded = unbounded.min(policy.delay_max.as_secs_f64()).max(0.0);
    let (high, _) = attempt.as_u64_pair();
    #[expect(clippy::cast_precision_loss, reason = "a share between 0 and 1 needs no 64 bits")]
    let share = high as f64 / u64::MAX as f64;
    Duration::try_from_secs_f64(bounded * (1.0 + JITTER * (2.0 * share - 1.0))).unwrap_or(policy.delay_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            retries: 2,
            delay: Duration::from_secs(60),
            backoff: 2.0,
            delay_max: Duration::from_secs(600),
            retry_on: Vec::new(),
        }
    }

    #[test]
    fn pauses_grow_and_stop_growing() {
        let pauses: Vec<u64> = (1..=6)
            .map(|tries| pause(&policy(), tries, Uuid::from_u64_pair(u64::MAX / 2, 0)).as_secs())
            .collect();
        assert_eq!(
            pauses,
            [60, 120, 240, 480, 600, 600].map(|s: u64| s.saturating_sub(u64::from(pauses[0] < 60)))
        );
        let earliest = pause(&policy(), 1, Uuid::nil());
        let latest = pause(&policy(), 1, Uuid::max());
        assert_eq!((earliest.as_secs(), latest.as_secs()), (54, 66));
    }

    #[test]
    fn only_what_may_help_is_repeated() {
        let failure = |class| Failure::new(class, "");
        assert!(is_repeated(&policy(), 1, &failure("failed")));
        assert!(is_repeated(&policy(), 2, &failure("timeout")));
        assert!(!is_repeated(&policy(), 3, &failure("failed")));
        assert!(!is_repeated(&policy(), 1, &failure("config")));
        let only_timeouts = RetryPolicy { retry_on: vec!["timeout".into()], ..policy() };
        assert!(!is_repeated(&only_timeouts, 1, &failure("failed")));
        assert!(is_repeated(&only_timeouts, 1, &failure("timeout")));
    }
}
