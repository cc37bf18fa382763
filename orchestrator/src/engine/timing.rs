//! Every time-like setting of the engine, in one place, so that fault trials can scale all of
//! them by one ratio and none by itself.

use std::time::Duration;

/// How often and how long the engine waits for what.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// A replica shows that it lives.
    pub heartbeat_every: Duration,
    /// A replica without a heartbeat for so long is dead for the others.
    pub dead_after: Duration,
    /// The longest that a start call ordinarily takes. A start is sent only if the last
    /// heartbeat committed less than `dead_after − start_limit` ago. Operators whose call is
    /// the whole job wait longer for the answer: see [`Timing::limit_of`].
    pub start_limit: Duration,
    /// A replica looks for work that no hint told it of. With the heartbeat, an idle replica
    /// sends less than one statement in two seconds.
    pub look_every: Duration,
    /// The shortest interval between two polls of one job.
    pub poll_min: Duration,
    /// The first pause after a throttled or refused-for-now start; doubles up to
    /// `defer_max`.
    pub defer_min: Duration,
    /// The longest such pause.
    pub defer_max: Duration,
    /// A taken notice that nobody reported on is sent again.
    pub parcel_hold: Duration,
    /// The pause before a queued run asks again for its place, where nobody else would.
    pub place_retry: Duration,
    /// A start that would have to wait longer for its budget is put back: its intent, and the
    /// time that it is signed with, would grow old.
    pub budget_wait_max: Duration,
    /// The pause before a look outside that was throttled is tried again.
    pub look_retry: Duration,
    /// The first pause after a notice that could not be sent; FIFO topics drop a repetition
    /// within five minutes, so it comes soon. Doubles up to `notice_retry_max`.
    pub notice_retry: Duration,
    /// The longest such pause.
    pub notice_retry_max: Duration,
    /// Failures of one pipeline are counted over so long, before they are told together.
    pub crowd_window: Duration,
    /// Failures that are told together wait so long for each other.
    pub crowd_pause: Duration,
    /// The pause before a store that cannot be reached is tried again.
    pub store_retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_every: Duration::from_secs(5),
            dead_after: trunkline_state::store::DEAD_AFTER,
            start_limit: trunkline_tasks::clients::START_TIMEOUT,
            look_every: Duration::from_secs(5),
            poll_min: Duration::from_millis(250),
            defer_min: Duration::from_secs(1),
            defer_max: Duration::from_secs(60),
            parcel_hold: Duration::from_secs(60),
            place_retry: Duration::from_secs(1),
            budget_wait_max: trunkline_tasks::clients::START_TIMEOUT,
            look_retry: Duration::from_secs(2),
            notice_retry: Duration::from_secs(5),
            notice_retry_max: Duration::from_secs(3600),
            crowd_window: Duration::from_secs(600),
            crowd_pause: Duration::from_secs(60),
            store_retry: Duration::from_millis(500),
        }
    }
}

impl Timing {
    /// The same proportions, `ratio` times as long; for trials. Ratios between settings, which
    /// the safety argument rests on, stay as they are.
    #[must_use]
    pub fn scaled(&self, ratio: f64) -> Self {
        let scale = |duration: Duration| duration.mul_f64(ratio);
        Self {
            heartbeat_every: scale(self.heartbeat_every),
            dead_after: scale(self.dead_after),
            start_limit: scale(self.start_limit),
            look_every: scale(self.look_every),
            poll_min: scale(self.poll_min).max(Duration::from_millis(20)),
            defer_min: scale(self.defer_min),
            defer_max: scale(self.defer_max),
            parcel_hold: scale(self.parcel_hold),
            place_retry: scale(self.place_retry),
            budget_wait_max: scale(self.budget_wait_max),
            look_retry: scale(self.look_retry),
            notice_retry: scale(self.notice_retry),
            notice_retry_max: scale(self.notice_retry_max),
            crowd_window: scale(self.crowd_window),
            crowd_pause: scale(self.crowd_pause),
            store_retry: scale(self.store_retry),
        }
    }

    /// How long to wait for the answer of a start whose operator allows it so much. The gate is
    /// the same for all: it is about the moment at which a call goes out, which even a long
    /// call does at once. While its answer is waited for, heartbeats go on; should they stop,
    /// the next owner looks for the job, and the fence refuses what the answer would change.
    pub fn limit_of(&self, allowed: Duration) -> Duration {
        let usual = trunkline_tasks::clients::START_TIMEOUT;
        self.start_limit.mul_f64(allowed.as_secs_f64() / usual.as_secs_f64())
    }

    /// How old the last heartbeat may be for a start to be sent.
    pub fn start_gate(&self) -> Duration {
        self.dead_after.saturating_sub(self.start_limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_call_is_waited_for_and_goes_out_under_the_same_gate() {
        let timing = Timing::default();
        let (usual, quarter) = (timing.start_limit, Duration::from_secs(15 * 60));
        assert_eq!(timing.limit_of(usual), usual);
        assert_eq!(timing.limit_of(quarter), quarter);
        assert_eq!(timing.start_gate() + usual, timing.dead_after);
        assert_eq!(timing.scaled(0.1).limit_of(quarter), quarter / 10);
    }
}
