//! The present and fresh ids, as values that are passed in.
//!
//! Only [`SystemClock`] and [`RandomIds`] touch the machine; everything else asks what it was
//! given, so that tests decide what time it is and which ids are drawn. Nothing here waits.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha512};
use trunkline_state::ids::{ReplicaId, RunId};
use uuid::Uuid;

/// Answers what time it is.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The present.
    fn now(&self) -> Timestamp;
}

/// A clock that many parts of a process look at.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The machine's clock, set wrong by somebody after a while; for fault trials.
#[derive(Clone, Copy, Debug)]
pub struct JumpingClock {
    by: SignedDuration,
    at: Timestamp,
}

impl JumpingClock {
    /// A clock that is right for `after` from now on, and wrong by `by` then.
    pub fn new(by: SignedDuration, after: SignedDuration) -> Self {
        Self { by, at: SystemClock.now().checked_add(after).unwrap_or(Timestamp::MAX) }
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now();
        if now < self.at { now } else { now.checked_add(self.by).unwrap_or(now) }
    }
}

/// A clock that stands still until it is moved; for tests.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows this instant.
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Sets it to another instant.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Moves it on; at the end of time it stops.
    pub fn advance(&self, by: SignedDuration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.checked_add(by).unwrap_or(Timestamp::MAX);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operators' view of the same clock.
pub fn for_operators(clock: &SharedClock) -> trunkline_tasks::clock::Clock {
    let clock = Arc::clone(clock);
    trunkline_tasks::clock::Clock::from_fn(move || clock.now())
}

/// Draws ids.
pub trait Ids: fmt::Debug + Send + Sync {
    /// The id of a new run: a UUIDv7, so that ids sort by creation.
    fn run_id(&self, now: Timestamp) -> RunId;
    /// The id of this process on a store.
    fn replica_id(&self) -> ReplicaId;
    /// Forty bytes of which at least 300 bits nobody can guess: the id and the secret of a token.
    fn secret(&self) -> [u8; 40];
}

/// A source of ids that many parts of a process draw from.
pub type SharedIds = Arc<dyn Ids>;

/// Ids that nobody can guess and that never repeat.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    #[expect(clippy::disallowed_methods, reason = "the one place of this crate that draws random numbers")]
    fn run_id(&self, now: Timestamp) -> RunId {
        // Only the time part is ours: the random part comes from a version 4 id.
        RunId(version_7(now, Uuid::new_v4().as_u128()))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place of this crate that draws random numbers")]
    fn replica_id(&self) -> ReplicaId {
        ReplicaId(Uuid::new_v4())
    }

    #[expect(clippy::disallowed_methods, reason = "the one place of this crate that draws random numbers")]
    fn secret(&self) -> [u8; 40] {
        // Hashed together, so that the fixed bits of the ids are nowhere in particular.
        digest([Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()])
    }
}

/// Ids that are the same for the same seed; for tests and trials.
#[derive(Debug)]
pub struct SeededIds {
    seed: u64,
    drawn: AtomicU64,
}

impl SeededIds {
    /// Ids that follow from this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }

    fn next(&self) -> u128 {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        Uuid::new_v5(&Uuid::from_u128(u128::from(self.seed)), &number.to_be_bytes()).as_u128()
    }
}

impl Ids for SeededIds {
    fn run_id(&self, now: Timestamp) -> RunId {
        RunId(version_7(now, self.next()))
    }

    fn replica_id(&self) -> ReplicaId {
        ReplicaId(uuid::Builder::from_u128(self.next()).with_version(uuid::Version::Random).into_uuid())
    }

    fn secret(&self) -> [u8; 40] {
        digest([(); 3].map(|()| Uuid::from_u128(self.next())))
    }
}

fn digest(drawn: [Uuid; 3]) -> [u8; 40] {
    let mut hash = Sha512::new();
    for id in drawn {
        hash.update(id.as_bytes());
    }
    let mut bytes = [0; 40];
    bytes.copy_from_slice(&hash.finalize()[..40]);
    bytes
}

/// A UUIDv7 of an instant; times before 1970 count as 1970.
fn version_7(now: Timestamp, random: u128) -> Uuid {
    let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&random.to_be_bytes()[6..]);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_sort_by_time_and_repeat_for_a_seed() {
        let (one, two) = (SeededIds::new(7), SeededIds::new(7));
        let early = Timestamp::from_second(1_700_000_000).unwrap();
        let late = early + SignedDuration::from_millis(1);
        let first = one.run_id(early);
        assert_eq!(first, two.run_id(early));
        assert!(first < one.run_id(late));
        assert_ne!(one.run_id(late), one.run_id(late));
        assert_eq!(first.0.get_version_num(), 7);
        assert_eq!(RandomIds.run_id(early).0.get_version_num(), 7);
        assert_eq!(one.replica_id().0.get_version_num(), 4);
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        clock.advance(SignedDuration::from_secs(3));
        assert_eq!(clock.now().as_second(), 3);
        clock.set(Timestamp::MAX);
        clock.advance(SignedDuration::from_secs(1));
        assert_eq!(clock.now(), Timestamp::MAX);
    }
}
