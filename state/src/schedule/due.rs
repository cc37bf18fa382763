//! What to start now: the fires since the last one that was decided, by the catch-up rule.

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::{
    calendar::Calendar,
    interval::{DataInterval, Interval, interval_of_fire},
    local::{first_instant, just_after, just_before},
};
use crate::pipeline::Catchup;

/// A fire this late still counts as on time for `catchup: none`: a replica that dies is
/// replaced within 45 s, a restart with a new version takes a minute or two.
pub const ON_TIME_GRACE: SignedDuration = SignedDuration::from_mins(5);

/// A scheduled fire and what its run covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fire {
    /// When it was due.
    pub fire: Timestamp,
    /// What its run covers; none for `data_interval: none`.
    pub interval: Option<Interval>,
}

/// What to start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The runs to create, oldest first.
    pub fires: Vec<Fire>,
    /// All fires up to here are decided; store it with the runs and pass it next time. The
    /// next wake-up is at `calendar.next_after(watermark)`.
    pub watermark: Timestamp,
}

/// The fires to start at `now`, given that all up to `last_fired` are decided; at most `limit`
/// of them (call again while the watermark lies behind `now` by a fire).
///
/// - `none`: those at most [`ON_TIME_GRACE`] late; older ones are forgotten.
/// - `last`: the last one.
/// - `all`: each one.
///
/// A pipeline that was never scheduled (`last_fired` is `None`) begins at `now`; with `all`
/// and a start date, at that date. Nothing whose interval begins before the start date fires.
/// Where several fires share an interval, the first one runs: a run key exists once.
pub fn due_fires(
    calendar: &Calendar,
    catchup: Catchup,
    kind: DataInterval,
    start_date: Option<Date>,
    last_fired: Option<Timestamp>,
    now: Timestamp,
    limit: usize,
) -> Due {
    let earliest = start_date.and_then(|date| first_instant(calendar.zone(), date.at(0, 0, 0, 0)));
    let decided = match (last_fired, catchup, earliest) {
        (Some(last_fired), ..) => last_fired,
        (None, Catchup::All, Some(earliest)) => just_before(earliest).min(now),
        (None, ..) => now,
    };
    let search = Search { calendar, kind, earliest };
    let last_due = calendar.previous_before(just_after(now)).filter(|fire| *fire > decided);
    let Some(last_due) = last_due else { return Due { fires: Vec::new(), watermark: decided } };
    match catchup {
        Catchup::All => {
            // Fires before the start date are not worth a look each.
            let from = earliest.map_or(decided, |earliest| decided.max(just_before(earliest)));
            search.all(from, last_due, limit)
        }
        Catchup::Last => {
            // A fire that repeats an interval stands for the first fire of that interval.
            let first = search.first_of_interval(last_due);
            let fires = first.filter(|fire| fire.fire > decided).into_iter().collect();
            Due { fires, watermark: last_due }
        }
        Catchup::None => {
            let on_time = now.checked_sub(ON_TIME_GRACE).unwrap_or(decided);
            search.all(decided.max(just_before(on_time)), last_due, limit)
        }
    }
}

struct Search<'a> {
    calendar: &'a Calendar,
    kind: DataInterval,
    earliest: Option<Timestamp>,
}

impl Search<'_> {
    /// The fires in `(from, until]`.
    fn all(&self, from: Timestamp, until: Timestamp, limit: usize) -> Due {
        let mut fires: Vec<Fire> = Vec::new();
        let mut watermark = from.min(until);
        let mut before = self.calendar.previous_before(just_after(from)).and_then(|fire| self.interval(fire));
        while fires.len() < limit {
            let Some(fire) = self.calendar.next_after(watermark).filter(|fire| *fire <= until) else {
                return Due { fires, watermark: until };
            };
            watermark = fire;
            let interval = self.interval(fire);
            let repeated = interval.is_some() && interval == before;
            before = interval;
            if !repeated && self.begins_in_time(fire, interval) {
                fires.push(Fire { fire, interval });
            }
        }
        Due { fires, watermark }
    }

    /// The first fire with the same interval as this one.
    fn first_of_interval(&self, fire: Timestamp) -> Option<Fire> {
        let interval = self.interval(fire);
        let first = match (self.kind, interval) {
            (DataInterval::None | DataInterval::Span(_), _) | (_, None) => fire,
            (_, Some(interval)) => self.calendar.next_after(just_before(interval.end))?,
        };
        self.begins_in_time(first, interval).then_some(Fire { fire: first, interval })
    }

    fn interval(&self, fire: Timestamp) -> Option<Interval> {
        interval_of_fire(self.kind, self.calendar.zone(), fire)
    }

    fn begins_in_time(&self, fire: Timestamp, interval: Option<Interval>) -> bool {
        let start = interval.map_or(fire, |interval| interval.start);
        self.earliest.is_none_or(|earliest| start >= earliest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::DstRule;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    struct Case {
        cron: &'static str,
        catchup: Catchup,
        kind: &'static str,
        start_date: Option<&'static str>,
        last_fired: Option<&'static str>,
        limit: usize,
    }

    const DAILY: Case = Case {
        cron: "0 9 * * *",
        catchup: Catchup::Last,
        kind: "day",
        start_date: None,
        last_fired: Some("2026-11-15T09:00Z"),
        limit: 100,
    };

    impl Case {
        /// The dates of the fires, and the watermark.
        fn at(&self, now: &str) -> (Vec<String>, String) {
            let calendar = Calendar::parse(self.cron, "UTC", DstRule::default()).unwrap();
            let start_date = self.start_date.map(|date| date.parse().unwrap());
            let last_fired = self.last_fired.map(at);
            let kind = self.kind.parse().unwrap();
            let due = due_fires(&calendar, self.catchup, kind, start_date, last_fired, at(now), self.limit);
            let shown = due.fires.iter().map(|fire| fire.fire.strftime("%m-%dT%H:%M").to_string());
            (shown.collect(), due.watermark.strftime("%m-%dT%H:%M").to_string())
        }
    }

    fn fires(dates: &[&str], watermark: &str) -> (Vec<String>, String) {
        (dates.iter().map(ToString::to_string).collect(), watermark.to_owned())
    }

    #[test]
    fn what_was_missed_runs_once_by_default() {
        assert_eq!(DAILY.at("2026-11-20T12:00Z"), fires(&["11-20T09:00"], "11-20T09:00"));
        assert_eq!(DAILY.at("2026-11-16T08:59:59Z"), fires(&[], "11-15T09:00"));
        assert_eq!(DAILY.at("2026-11-16T09:00Z"), fires(&["11-16T09:00"], "11-16T09:00"));
    }

    #[test]
    fn without_catchup_only_what_is_on_time_runs() {
        let none = Case { catchup: Catchup::None, ..DAILY };
        assert_eq!(none.at("2026-11-20T12:00Z"), fires(&[], "11-20T09:00"));
        assert_eq!(none.at("2026-11-20T09:04Z"), fires(&["11-20T09:00"], "11-20T09:00"));
        let minutely = Case { cron: "* * * * *", kind: "none", ..none };
        assert_eq!(minutely.at("2026-11-20T09:04:30Z").0.len(), 5);
    }

    #[test]
    fn all_missed_fires_run_oldest_first_and_in_portions() {
        let all = Case { catchup: Catchup::All, limit: 2, ..DAILY };
        assert_eq!(all.at("2026-11-20T12:00Z"), fires(&["11-16T09:00", "11-17T09:00"], "11-17T09:00"));
        let rest = Case { last_fired: Some("2026-11-17T09:00Z"), limit: 9, ..all };
        assert_eq!(
            rest.at("2026-11-20T12:00Z"),
            fires(&["11-18T09:00", "11-19T09:00", "11-20T09:00"], "11-20T09:00")
        );
    }

    #[test]
    fn a_new_pipeline_begins_now_or_at_its_start_date() {
        let new = Case { last_fired: None, start_date: Some("2026-11-18"), ..DAILY };
        assert_eq!(new.at("2026-11-20T12:00Z"), fires(&[], "11-20T12:00"));
        let all = Case { catchup: Catchup::All, ..new };
        // The fire of the 18th covers the 17th, which lies before the start date.
        assert_eq!(all.at("2026-11-20T12:00Z"), fires(&["11-19T09:00", "11-20T09:00"], "11-20T09:00"));
        let ahead = Case { start_date: Some("2026-12-01"), ..all };
        assert_eq!(ahead.at("2026-11-20T12:00Z"), fires(&[], "11-20T12:00"));
        let decided = Case { start_date: Some("2026-12-01"), ..DAILY };
        assert_eq!(decided.at("2026-11-20T12:00Z"), fires(&[], "11-20T09:00"));
    }

    #[test]
    fn fires_that_share_an_interval_run_once() {
        let often = Case { cron: "0 */6 * * *", catchup: Catchup::All, ..DAILY };
        assert_eq!(often.at("2026-11-17T20:00Z"), fires(&["11-16T00:00", "11-17T00:00"], "11-17T18:00"));
        let last = Case { catchup: Catchup::Last, ..often };
        assert_eq!(last.at("2026-11-17T20:00Z"), fires(&["11-17T00:00"], "11-17T18:00"));
        let decided = Case { last_fired: Some("2026-11-17T00:00Z"), ..last };
        assert_eq!(decided.at("2026-11-17T20:00Z"), fires(&[], "11-17T18:00"));
    }

    #[test]
    fn a_long_outage_costs_little() {
        let minutely =
            Case { cron: "* * * * *", kind: "10m", last_fired: Some("2016-01-01T00:00Z"), ..DAILY };
        assert_eq!(minutely.at("2026-11-20T12:00Z"), fires(&["11-20T12:00"], "11-20T12:00"));
    }

    #[test]
    fn a_clock_that_went_back_repeats_nothing() {
        assert_eq!(DAILY.at("2026-11-10T12:00Z"), fires(&[], "11-15T09:00"));
    }
}
