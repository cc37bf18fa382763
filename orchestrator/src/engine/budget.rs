//! Token buckets: how many calls of one API an account and region allow, shared by all tasks
//! of this replica and divided by the replicas that live.
//!
//! Pure: time comes in as an argument. Throttling delays a call and never fails a task.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use trunkline_tasks::operator::Rate;

/// After a throttle the rate falls to this share …
const DECREASE: f64 = 0.5;
/// … but never below this one …
const SHARE_MIN: f64 = 0.05;
/// … and each call that was not throttled gives back this much.
const INCREASE: f64 = 0.02;

/// The buckets of one replica.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    buckets: HashMap<String, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    refilled_at: Timestamp,
    /// What throttles left of the nominal rate, 1 at best.
    share: f64,
}

impl Budgets {
    /// Takes one call's token, going into debt if there is none: the time to wait before the
    /// call, zero if it may go at once. Nothing is taken if that is longer than `longest`, because
    /// the call will not be made then: whoever comes back would otherwise meet a debt that grew by
    /// its own asking, for ever. `scope` is the account and region.
    pub(super) fn take(
        &mut self,
        scope: &str,
        rate: &Rate,
        replicas: u32,
        now: Timestamp,
        longest: Duration,
    ) -> Duration {
        let replicas = f64::from(replicas.max(1));
        let bucket = self.buckets.entry(format!("{scope} {}", rate.api)).or_insert_with(|| Bucket {
            tokens: rate.burst / replicas,
            refilled_at: now,
            share: 1.0,
        });
        let per_second = (rate.per_second / replicas * bucket.share).max(f64::MIN_POSITIVE);
        let elapsed = now.duration_since(bucket.refilled_at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + elapsed * per_second).min((rate.burst / replicas).max(1.0));
        bucket.refilled_at = now.max(bucket.refilled_at);
        let debt = 1.0 - bucket.tokens;
        let wait = Duration::try_from_secs_f64(debt.max(0.0) / per_second).unwrap_or(Duration::MAX);
        if wait <= longest {
            bucket.tokens -= 1.0;
        }
        wait
    }

    /// Learns from an answer: additive increase, multiplicative decrease.
    pub(super) fn answered(&mut self, scope: &str, rate: &Rate, throttled: bool) {
        if let Some(bucket) = self.buckets.get_mut(&format!("{scope} {}", rate.api)) {
            bucket.share = if throttled {
                (bucket.share * DECREASE).max(SHARE_MIN)
            } else {
                (bucket.share + INCREASE).min(1.0)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate() -> Rate {
        Rate { api: "glue:GetJobRuns".into(), per_second: 10.0, burst: 20.0 }
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_rules() {
        let mut budgets = Budgets::default();
        let waits: Vec<Duration> =
            (0..22).map(|_| budgets.take("a", &rate(), 1, at(0), Duration::MAX)).collect();
        assert!(waits[..20].iter().all(Duration::is_zero));
        assert_eq!(waits[20..], [Duration::from_millis(100), Duration::from_millis(200)]);
        assert!(budgets.take("another account", &rate(), 1, at(0), Duration::MAX).is_zero());
    }

    #[test]
    fn replicas_share_and_throttles_slow_down() {
        let mut budgets = Budgets::default();
        let at_once =
            (0..20).filter(|_| budgets.take("a", &rate(), 2, at(0), Duration::MAX).is_zero()).count();
        assert_eq!(at_once, 10);
        let before = budgets.take("b", &Rate { burst: 0.0, ..rate() }, 1, at(0), Duration::MAX);
        budgets.answered("b", &rate(), true);
        let after = budgets.take("b", &Rate { burst: 0.0, ..rate() }, 1, at(0), Duration::MAX);
        assert!(after > before * 2, "{before:?} {after:?}");
    }

    #[test]
    fn whoever_is_put_back_makes_nobody_wait_longer() {
        let mut budgets = Budgets::default();
        let second = Duration::from_secs(1);
        let mut ask = |now| budgets.take("a", &rate(), 1, at(now), second);
        // 20 at once, 10 within a second; the rest are put back however often they ask.
        let waits: Vec<Duration> = (0..300).map(|_| ask(0)).collect();
        assert_eq!(waits.iter().filter(|wait| **wait <= second).count(), 30);
        // When their time has come they go, as many as the rate allows.
        let after = (0..270).map(|_| ask(1_100)).filter(|wait| *wait <= second).count();
        assert_eq!(after, 11);
    }
}
