//! Until when a run that its schedule fired should be done.

use std::time::Duration;

use jiff::{Timestamp, civil::Time};
use serde::{Deserialize, Serialize};

use super::{calendar::Calendar, local::just_before};

/// Until when a run should be done, counted from its fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deadline {
    /// The first such time of the local clock after the fire.
    By(Time),
    /// So long after the fire.
    After(Duration),
}

impl Deadline {
    /// The instant that it means for a fire. A local time that the clock skips is where the clock
    /// goes on; one that it repeats, the first.
    pub fn of(self, calendar: &Calendar, fire: Timestamp) -> Timestamp {
        match self {
            Self::After(span) => fire.checked_add(span).unwrap_or(Timestamp::MAX),
            Self::By(time) => {
                let local = fire.to_zoned(calendar.zone().clone());
                let mut date = local.date();
                // Today's or tomorrow's; a zone may drop a whole date.
                for _ in 0..3 {
                    let by = date.to_datetime(time).to_zoned(calendar.zone().clone());
                    match by.map(|by| by.timestamp()) {
                        Ok(by) if by > fire => return by,
                        _ => date = date.tomorrow().unwrap_or(date),
                    }
                }
                Timestamp::MAX
            }
        }
    }
}

/// What is late: the newest fire whose deadline has passed, and how many before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The fire.
    pub fire: Timestamp,
    /// Its deadline.
    pub due: Timestamp,
    /// Fires before it whose deadlines passed since the last look as well.
    pub before: usize,
}

/// The fires after `decided` whose deadlines have passed at `now`, and when to look again. Of a long
/// outage only the last [`LOOKED_AT_MAX`] are counted.
pub fn passed_deadlines(
    deadline: Deadline,
    calendar: &Calendar,
    decided: Timestamp,
    now: Timestamp,
) -> (Option<Passed>, Option<Timestamp>) {
    // Deadlines grow with their fires: the newest passed one lies among the last before `now`.
    let mut newest = None;
    let mut before = 0;
    let mut fire = calendar.previous_before(now);
    let mut next = calendar.next_after(just_before(now));
    for _ in 0..LOOKED_AT_MAX {
        let Some(candidate) = fire.filter(|candidate| *candidate > decided) else { break };
        let due = deadline.of(calendar, candidate);
        match newest {
            _ if due > now => next = Some(candidate),
            None => newest = Some(Passed { fire: candidate, due, before: 0 }),
            Some(_) => before += 1,
        }
        fire = calendar.previous_before(candidate);
    }
    let again = next.map(|fire| deadline.of(calendar, fire));
    (newest.map(|newest| Passed { before, ..newest }), again)
}

/// Fires that one look goes back over.
pub const LOOKED_AT_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::DstRule;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn calendar(cron: &str, zone: &str) -> Calendar {
        Calendar::parse(cron, zone, DstRule::default()).unwrap()
    }

    fn by(text: &str) -> Deadline {
        Deadline::By(text.parse().unwrap())
    }

    #[test]
    fn the_first_such_time_after_the_fire() {
        let berlin = calendar("0 9 * * *", "Europe/Berlin");
        assert_eq!(by("11:00").of(&berlin, at("2026-11-20T08:00Z")), at("2026-11-20T10:00Z"));
        assert_eq!(by("07:00").of(&berlin, at("2026-11-20T08:00Z")), at("2026-11-21T06:00Z"));
        assert_eq!(by("09:00").of(&berlin, at("2026-11-20T08:00Z")), at("2026-11-21T08:00Z"));
        let after = Deadline::After(Duration::from_secs(7_200));
        assert_eq!(after.of(&berlin, at("2026-11-20T08:00Z")), at("2026-11-20T10:00Z"));
        // 02:30 does not exist on 2026-03-29, and exists twice on 2026-10-25.
        assert_eq!(by("02:30").of(&berlin, at("2026-03-28T22:00Z")), at("2026-03-29T01:30Z"));
        assert_eq!(by("02:30").of(&berlin, at("2026-10-24T22:00Z")), at("2026-10-25T00:30Z"));
    }

    #[test]
    fn one_look_finds_the_newest_and_counts_the_rest() {
        let daily = calendar("0 9 * * *", "UTC");
        let look = |decided, now| passed_deadlines(by("11:00"), &daily, at(decided), at(now));
        let passed = |fire, due, before| Some(Passed { fire: at(fire), due: at(due), before });
        let nothing = look("2026-11-19T09:00Z", "2026-11-20T10:59Z");
        assert_eq!(nothing, (None, Some(at("2026-11-20T11:00Z"))));
        let late = look("2026-11-19T09:00Z", "2026-11-20T11:00Z");
        assert_eq!(
            late,
            (passed("2026-11-20T09:00Z", "2026-11-20T11:00Z", 0), Some(at("2026-11-21T11:00Z")))
        );
        let told = look("2026-11-20T09:00Z", "2026-11-20T11:30Z");
        assert_eq!(told, (None, Some(at("2026-11-21T11:00Z"))));
        let outage = look("2026-11-16T09:00Z", "2026-11-20T12:00Z");
        assert_eq!(outage.0, passed("2026-11-20T09:00Z", "2026-11-20T11:00Z", 3));
        // Deadlines of several fires may lie ahead at once.
        let hourly = calendar("0 * * * *", "UTC");
        let after = Deadline::After(Duration::from_secs(2 * 3_600 + 60));
        let (late, again) =
            passed_deadlines(after, &hourly, at("2026-11-20T05:00Z"), at("2026-11-20T09:30Z"));
        assert_eq!(late.unwrap().fire, at("2026-11-20T07:00Z"));
        assert_eq!((late.unwrap().before, again), (1, Some(at("2026-11-20T10:01Z"))));
    }
}
