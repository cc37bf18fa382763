//! Token buckets: how many calls of one API an account and region allow, shared by all tasks
//! of this replica and divided by the replicas that live.
//!
//! Pure: time comes in as an argument. Throttling delays a call and never fails a task. What the
//! buckets did can be seen ([`Budgets::views`]): replicas write it beside their heartbeat.

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use trunkline_state::{ids::RunId, machine::AttemptKey, store::BudgetRow};
use trunkline_tasks::operator::Rate;

/// After a throttle the rate falls to this share …
const DECREASE: f64 = 0.5;
/// … but never below this one …
const SHARE_MIN: f64 = 0.05;
/// … and each call that was not throttled gives back this much.
const INCREASE: f64 = 0.02;

/// How long after its time a start that was put off may still use its token.
const BOOKED_TIME: SignedDuration = SignedDuration::from_secs(60);

/// So many starts that were put off are kept without a look.
const BOOKED_KEPT: usize = 1_024;

/// Buckets that are shown; one replica talks to some ten APIs of some accounts.
const VIEWS_MAX: usize = 100;

/// The buckets of one replica.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    /// By account and region, and API.
    buckets: HashMap<(String, String), Bucket>,
    /// Starts that were put off until their token is there.
    booked: HashMap<Start, Booking>,
    /// So many of them before those whose time is long over are thrown away.
    prune_at: usize,
}

/// The start of one attempt.
pub(super) type Start = (RunId, AttemptKey);

/// A token that a start took and cannot use yet.
#[derive(Clone, Copy, Debug)]
struct Booking {
    /// Its number among all tokens that were taken from its bucket.
    number: f64,
    /// When it was expected to be there, at the rate of that time.
    due: Timestamp,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    /// Tokens that were ever taken.
    taken: f64,
    refilled_at: Timestamp,
    /// What throttles left of the nominal rate, 1 at best.
    share: f64,
    /// Calls per second that the replicas may make together.
    nominal: f64,
    calls: u64,
    throttles: u64,
    /// When the last call of those that were allowed so far is due.
    booked_until: Timestamp,
}

impl Budgets {
    /// Takes one call's token, going into debt if there is none: the time to wait before the
    /// call, zero if it may go at once. `scope` is the account and region.
    pub(super) fn take(&mut self, scope: &str, rate: &Rate, replicas: u32, now: Timestamp) -> Duration {
        let bucket = self.refilled(scope, rate, replicas, now);
        bucket.calls += 1;
        bucket.tokens -= 1.0;
        bucket.taken += 1.0;
        let wait = bucket.until(bucket.taken, rate, replicas);
        if !wait.is_zero() {
            bucket.booked_until = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        }
        wait
    }

    /// The same for a start, which is put off if its wait is longer than `longest`. It keeps its
    /// token then: taking a second one when it comes again would put it off again and starve
    /// everybody. Its wait is counted anew, because the rate may have changed meanwhile.
    pub(super) fn turn(
        &mut self,
        start: Start,
        scope: &str,
        rate: &Rate,
        replicas: u32,
        now: Timestamp,
        longest: Duration,
    ) -> Duration {
        let kept = self.booked.remove(&start).filter(|booking| now.duration_since(booking.due) < BOOKED_TIME);
        if kept.is_none() {
            self.take(scope, rate, replicas, now);
        }
        let bucket = self.refilled(scope, rate, replicas, now);
        let number = kept.map_or(bucket.taken, |booking| booking.number);
        let wait = bucket.until(number, rate, replicas);
        if wait > longest {
            let due = now.checked_add(wait).unwrap_or(Timestamp::MAX);
            self.book(start, Booking { number, due }, now);
        }
        wait
    }

    fn refilled(&mut self, scope: &str, rate: &Rate, replicas: u32, now: Timestamp) -> &mut Bucket {
        let replicas = f64::from(replicas.max(1));
        let key = (scope.to_owned(), rate.api.to_string());
        let bucket = self.buckets.entry(key).or_insert_with(|| Bucket {
            tokens: rate.burst / replicas,
            taken: 0.0,
            refilled_at: now,
            share: 1.0,
            nominal: rate.per_second,
            calls: 0,
            throttles: 0,
            booked_until: now,
        });
        let elapsed = now.duration_since(bucket.refilled_at).as_secs_f64().max(0.0);
        let per_second = rate.per_second / replicas * bucket.share;
        bucket.tokens = (bucket.tokens + elapsed * per_second).min((rate.burst / replicas).max(1.0));
        bucket.refilled_at = now.max(bucket.refilled_at);
        bucket
    }

    fn book(&mut self, start: Start, booking: Booking, now: Timestamp) {
        if self.booked.len() >= self.prune_at.max(BOOKED_KEPT) {
            // Those that never came again were cancelled.
            self.booked.retain(|_, kept| now.duration_since(kept.due) < BOOKED_TIME);
            self.prune_at = self.booked.len() * 2;
        }
        self.booked.insert(start, booking);
    }

    /// What the buckets allow and what they did, the busiest first.
    pub(super) fn views(&self, replicas: u32, now: Timestamp) -> Vec<BudgetRow> {
        let replicas = f64::from(replicas.max(1));
        let mut views: Vec<BudgetRow> = self
            .buckets
            .iter()
            .map(|((scope, api), bucket)| BudgetRow {
                scope: scope.clone(),
                api: api.clone(),
                nominal_per_second: bucket.nominal,
                allowed_per_second: rounded(bucket.nominal / replicas * bucket.share),
                calls: bucket.calls,
                throttles: bucket.throttles,
                stretch_seconds: rounded(bucket.booked_until.duration_since(now).as_secs_f64().max(0.0)),
            })
            .collect();
        views.sort_by(|one, other| {
            other.calls.cmp(&one.calls).then_with(|| (&one.scope, &one.api).cmp(&(&other.scope, &other.api)))
        });
        views.truncate(VIEWS_MAX);
        views
    }

    /// Learns from an answer: additive increase, multiplicative decrease.
    pub(super) fn answered(&mut self, scope: &str, rate: &Rate, throttled: bool) {
        let key = (scope.to_owned(), rate.api.to_string());
        if let Some(bucket) = self.buckets.get_mut(&key) {
            bucket.throttles += u64::from(throttled);
            bucket.share = if throttled {
                (bucket.share * DECREASE).max(SHARE_MIN)
            } else {
                (bucket.share + INCREASE).min(1.0)
            };
        }
    }
}

impl Bucket {
    /// The time until the token of this number is there, at the present rate.
    fn until(&self, number: f64, rate: &Rate, replicas: u32) -> Duration {
        let per_second = rate.per_second / f64::from(replicas.max(1)) * self.share;
        let missing = (number - (self.taken + self.tokens)).max(0.0);
        Duration::try_from_secs_f64(missing / per_second.max(f64::MIN_POSITIVE)).unwrap_or(Duration::MAX)
    }
}

/// Three digits behind the point: for people, and so that nothing changes while nothing happens.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
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
        let waits: Vec<Duration> = (0..22).map(|_| budgets.take("a", &rate(), 1, at(0))).collect();
        assert!(waits[..20].iter().all(Duration::is_zero));
        assert_eq!(waits[20..], [Duration::from_millis(100), Duration::from_millis(200)]);
        assert!(budgets.take("another account", &rate(), 1, at(0)).is_zero());
    }

    #[test]
    fn what_the_buckets_did_can_be_seen() {
        let mut budgets = Budgets::default();
        for _ in 0..21 {
            budgets.take("aws/eu-west-1", &rate(), 2, at(0));
        }
        budgets.answered("aws/eu-west-1", &rate(), true);
        let views = budgets.views(2, at(0));
        assert_eq!(views.len(), 1);
        let BudgetRow { scope, api, calls, throttles, .. } = &views[0];
        assert_eq!((scope.as_str(), api.as_str()), ("aws/eu-west-1", "glue:GetJobRuns"));
        assert_eq!((*calls, *throttles), (21, 1));
        let numbers = [views[0].nominal_per_second, views[0].allowed_per_second, views[0].stretch_seconds];
        // Half of ten a second, and half of that after a throttle; eleven calls in debt at five.
        assert_eq!(format!("{numbers:?}"), "[10.0, 2.5, 2.2]");
        assert_eq!(format!("{:?}", budgets.views(2, at(5_000))[0].stretch_seconds), "0.0");
    }

    #[test]
    fn a_start_that_was_put_off_takes_one_token() {
        let mut budgets = Budgets::default();
        let second = Duration::from_secs(1);
        let start = |task| (RunId(uuid::Uuid::nil()), AttemptKey { task, number: 1 });
        let mut turn = |task, now| budgets.turn(start(task), "a", &rate(), 1, at(now), second);
        let waits: Vec<Duration> = (0..60).map(|task| turn(task, 0)).collect();
        assert_eq!([waits[19], waits[29], waits[59]], [Duration::ZERO, second, second * 4]);
        // Whoever comes again waits for the rest, however often it asks, and so does everybody else.
        assert_eq!([turn(59, 2_000), turn(59, 2_000), turn(49, 2_000)], [second * 2, second * 2, second]);
        assert_eq!(turn(59, 4_000), Duration::ZERO);
        assert_eq!(budgets.booked.len(), 28, "those that were told to wait no longer than a second are gone");
        for task in 0..5_000 {
            budgets.turn(start(task + 100), "b", &rate(), 1, at(0), Duration::ZERO);
        }
        budgets.turn(start(9_999), "b", &rate(), 1, at(9_000_000), Duration::ZERO);
        let late = budgets.turn(start(100 + 4_999), "b", &rate(), 1, at(9_000_000), second);
        assert_eq!(late, Duration::ZERO, "a token that was not fetched in time is another one");
    }

    #[test]
    fn a_start_that_was_put_off_goes_sooner_when_the_rate_recovers() {
        let mut budgets = Budgets::default();
        let (run, longest) = (RunId(uuid::Uuid::nil()), Duration::from_secs(20));
        let rate = Rate { burst: 1.0, ..rate() };
        for _ in 0..5 {
            budgets.take("a", &rate, 1, at(0));
            budgets.answered("a", &rate, true);
        }
        let start = |task| (run, AttemptKey { task, number: 1 });
        let last = (0..50).map(|task| budgets.turn(start(task), "a", &rate, 1, at(0), longest)).last();
        assert!(last.is_some_and(|wait| wait > Duration::from_secs(100)), "{last:?}");
        for _ in 0..50 {
            budgets.answered("a", &rate, false);
        }
        let then = budgets.turn(start(49), "a", &rate, 1, at(1_000), longest);
        assert!(then < Duration::from_secs(6), "{then:?}");
    }

    #[test]
    fn replicas_share_and_throttles_slow_down() {
        let mut budgets = Budgets::default();
        let at_once = (0..20).filter(|_| budgets.take("a", &rate(), 2, at(0)).is_zero()).count();
        assert_eq!(at_once, 10);
        let before = budgets.take("b", &Rate { burst: 0.0, ..rate() }, 1, at(0));
        budgets.answered("b", &rate(), true);
        let after = budgets.take("b", &Rate { burst: 0.0, ..rate() }, 1, at(0));
        assert!(after > before * 2, "{before:?} {after:?}");
    }
}
