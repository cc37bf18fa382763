//! How often somebody may try to sign in: after a few failures in a row each further one makes the wait twice as
//! long. Counted by whoever tries and as whom, so that nobody can lock somebody else out from elsewhere.
//!
//! Pure but for its own memory: what time it is, the caller says.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

/// Failures that cost nothing: a slip, the password of before, caps lock.
const FREE: u32 = 5;
/// The wait after the first failure too many.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(15);
/// The longest wait; so long after the last failure everything is forgotten.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(15);
/// So many are remembered: with more somebody tries all names there are, and the oldest give way.
const REMEMBERED_MAX: usize = 10_000;

/// Who failed lately.
#[derive(Debug, Default)]
pub struct Throttle(HashMap<String, Failures>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl Throttle {
    /// How long `key` has to wait before it may try again; `None` if it need not.
    pub fn wait(&self, key: &str, now: Timestamp) -> Option<SignedDuration> {
        let failures = self.0.get(key)?;
        let over = failures.count.checked_sub(FREE)?;
        let doubled =
            FIRST_WAIT.checked_mul(1_i32.checked_shl(over.min(16)).unwrap_or(1)).unwrap_or(LONGEST_WAIT);
        let left = doubled.min(LONGEST_WAIT) - now.duration_since(failures.last);
        left.is_positive().then_some(left)
    }

    /// Notes a failure.
    pub fn failed(&mut self, key: &str, now: Timestamp) {
        self.0.retain(|_, failures| now.duration_since(failures.last) < LONGEST_WAIT);
        if self.0.len() >= REMEMBERED_MAX
            && let Some(oldest) =
                self.0.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| key.clone())
        {
            self.0.remove(&oldest);
        }
        let failures = self.0.entry(key.to_owned()).or_insert(Failures { count: 0, last: now });
        *failures = Failures { count: failures.count.saturating_add(1), last: now };
    }

    /// Forgets the failures of whoever got in.
    pub fn succeeded(&mut self, key: &str) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_forgotten() {
        let start = Timestamp::constant(1_800_000_000, 0);
        let after = |seconds| start + SignedDuration::from_secs(seconds);
        let mut throttle = Throttle::default();
        for _ in 0..4 {
            throttle.failed("ana", start);
        }
        assert_eq!(throttle.wait("ana", start), None);
        throttle.failed("ana", start);
        assert_eq!(throttle.wait("ana", after(5)), Some(SignedDuration::from_secs(10)));
        assert_eq!(throttle.wait("ana", after(15)), None);
        throttle.failed("ana", after(15));
        assert_eq!(throttle.wait("ana", after(15)), Some(SignedDuration::from_secs(30)));
        assert_eq!(throttle.wait("bob", after(15)), None, "somebody else");
        for _ in 0..100 {
            throttle.failed("ana", after(15));
        }
        assert_eq!(throttle.wait("ana", after(15)), Some(LONGEST_WAIT));
        throttle.failed("bob", after(15 * 60 + 15));
        assert_eq!(throttle.0.len(), 1, "ana's were long ago");
        throttle.succeeded("bob");
        assert!(throttle.0.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        let now = Timestamp::constant(1_800_000_000, 0);
        for number in 0..REMEMBERED_MAX + 10 {
            throttle.failed(&number.to_string(), now);
        }
        assert_eq!(throttle.0.len(), REMEMBERED_MAX);
    }
}
