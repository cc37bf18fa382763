//! The fires after and before an instant, over clock changes.
//!
//! The search runs along the time line, one stretch of constant offset after the other, and
//! asks the expression only for local times within it; so it cannot go backwards.

use jiff::{SignedDuration, Timestamp, ToSpan, civil::DateTime};

use super::{
    calendar::{Calendar, DstRule},
    expression::{CivilRule, Rule},
    local::{Stretch, just_after, just_before},
};

/// How far a fire is looked for. Leap days at a century's end are 8 years apart, and
/// `cron(…)` may name a year up to 2199.
const SEARCH: SignedDuration = SignedDuration::from_hours(230 * 366 * 24);

/// No local time differs from UTC by more than this (offsets end at ±26 h).
const OFFSET_BOUND: SignedDuration = SignedDuration::from_hours(48);

impl Calendar {
    /// The first fire strictly after the instant; `None` if there is none within two centuries.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every { seconds } => multiple(after, *seconds, 1),
            Rule::Cron(rule) => self.next_local(rule, after),
        }
    }

    /// The last fire strictly before the instant; `None` if there is none within two centuries.
    pub fn previous_before(&self, before: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every { seconds } => {
                let last = multiple(just_before(before), *seconds, 0)?;
                (last < before).then_some(last)
            }
            Rule::Cron(rule) => self.previous_local(rule, before),
        }
    }

    fn next_local(&self, rule: &CivilRule, after: Timestamp) -> Option<Timestamp> {
        let horizon = after.checked_add(SEARCH).unwrap_or(Timestamp::MAX);
        let mut position = after;
        while position <= horizon {
            let stretch = Stretch::at(&self.zone, position);
            if let Some((start, _)) = stretch.start
                && start > after
                && self.fires_at_gap_end(rule, &stretch)
            {
                return Some(start);
            }
            let from = first_local(rule, &stretch, after)?;
            let found = rule.first_from(from)?;
            let instant = stretch.instant(found)?;
            match stretch.end {
                Some(end) if instant >= end => {
                    position = end.max(utc(found)?.checked_sub(OFFSET_BOUND).ok()?);
                }
                _ => return Some(instant),
            }
        }
        None
    }

    fn previous_local(&self, rule: &CivilRule, before: Timestamp) -> Option<Timestamp> {
        let horizon = before.checked_sub(SEARCH).unwrap_or(Timestamp::MIN);
        let mut position = just_before(before);
        while position >= horizon {
            let stretch = Stretch::at(&self.zone, position);
            let until = floor_second(stretch.local(position))?;
            let found = rule.last_until(until);
            let Some((start, _)) = stretch.start else { return stretch.instant(found?) };
            let earliest = earliest_local(rule, &stretch).unwrap_or(stretch.local(start));
            if let Some(found) = found
                && found >= earliest
            {
                return stretch.instant(found);
            }
            if self.fires_at_gap_end(rule, &stretch) {
                return Some(start);
            }
            let jump = match found {
                // Times that the clock repeats may still match before the change.
                _ if stretch.fold().is_some() => None,
                Some(found) => utc(found)?.checked_add(OFFSET_BOUND).ok(),
                None => return None,
            };
            position = jump.map_or(just_before(start), |jump| jump.min(just_before(start)));
        }
        None
    }

    /// Whether a local time that the clock skipped on entering the stretch fires at its start.
    fn fires_at_gap_end(&self, rule: &CivilRule, stretch: &Stretch) -> bool {
        if self.dst() == DstRule::Skip || rule.every_hour {
            return false;
        }
        let Some((from, until)) = stretch.gap() else { return false };
        rule.first_from(from).is_some_and(|skipped| skipped < until)
    }
}

/// The first local time of the stretch that may match after the instant.
fn first_local(rule: &CivilRule, stretch: &Stretch, after: Timestamp) -> Option<DateTime> {
    let past = floor_second(stretch.local(after))?.checked_add(1.second()).ok();
    let start = stretch.start.map(|(start, _)| stretch.local(start));
    let entered = match stretch.start {
        Some((begin, _)) if begin > after => start,
        _ => past,
    };
    entered.max(earliest_local(rule, stretch))
}

/// Where the clock repeats local times, fixed times have fired the first time already.
fn earliest_local(rule: &CivilRule, stretch: &Stretch) -> Option<DateTime> {
    if rule.repeats { None } else { stretch.fold().map(|(_, until)| until) }
}

fn floor_second(local: DateTime) -> Option<DateTime> {
    local.with().subsec_nanosecond(0).build().ok()
}

fn utc(local: DateTime) -> Option<Timestamp> {
    jiff::tz::Offset::UTC.to_timestamp(local).ok()
}

/// The multiple of `seconds` since the epoch at or before the instant, and `steps` further.
fn multiple(instant: Timestamp, seconds: i64, steps: i64) -> Option<Timestamp> {
    let nanoseconds = instant.as_nanosecond();
    let count = nanoseconds.div_euclid(i128::from(seconds) * 1_000_000_000);
    let count = i64::try_from(count).ok()?.checked_add(steps)?;
    Timestamp::from_second(count.checked_mul(seconds)?).ok()
}

/// The fires within `[from, until)`, at most `limit`.
pub(super) fn fires_between(
    calendar: &Calendar,
    from: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Vec<Timestamp> {
    let mut fires = Vec::new();
    let mut position = just_before(from);
    while fires.len() < limit {
        match calendar.next_after(position) {
            Some(fire) if fire < until => {
                fires.push(fire);
                position = fire;
            }
            _ => break,
        }
    }
    debug_assert!(fires.iter().all(|fire| just_after(*fire) > from));
    fires
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(text: &str, zone: &str) -> Calendar {
        Calendar::parse(text, zone, DstRule::RunAtGapEnd).unwrap()
    }

    /// The fires from midnight UTC of a date on, as local times with offsets.
    fn fires(calendar: &Calendar, from: &str, count: usize) -> String {
        let from: Timestamp = format!("{from}T00:00Z").parse().unwrap();
        let fires = fires_between(calendar, from, Timestamp::MAX, count);
        let shown =
            fires.iter().map(|fire| fire.to_zoned(calendar.zone().clone()).strftime("%m-%d %H:%M%:z"));
        shown.map(|shown| shown.to_string()).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn clock_changes_in_new_york() {
        let lines = [
            ("30 2 * * *", "2026-03-07", 3),
            ("0,30 2 * * *", "2026-03-08", 3),
            ("0 * * * *", "2026-03-08", 9),
            ("30 * * * *", "2026-03-08", 9),
            ("*/20 2 * * *", "2026-03-08", 3),
            ("30 1 * * *", "2026-11-01", 2),
            ("0 * * * *", "2026-11-01", 9),
            ("*/20 1 * * *", "2026-11-01", 7),
            ("0 0-3 * * *", "2026-11-01", 5),
        ];
        let shown = lines.map(|(text, from, count)| {
            format!("{text}: {}", fires(&calendar(text, "America/New_York"), from, count))
        });
        let skip = Calendar::parse("30 2 * * *", "America/New_York", DstRule::Skip).unwrap();
        insta::assert_snapshot!(shown.join("\n") + "\nskip 30 2: " + &fires(&skip, "2026-03-07", 3));
    }

    #[test]
    fn every_notation_fires_where_it_says() {
        let shown = [
            "0 9 * * *",
            "0 9 * * 1-5",
            "0 9 1 * MON",
            "0 9 L * *",
            "0 9 LW * *",
            "0 9 * * 5L",
            "0 9 * * 2#1",
            "@daily",
            "@weekly",
            "@quarterly",
            "0 0 29 2 *",
            "cron(0 9 * * ? *)",
            "cron(0 9 ? * 2 *)",
            "cron(0 9 ? * MON-FRI *)",
            "cron(0/15 8 ? * SAT *)",
            "cron(0 12 2 * ? *)",
            "cron(0 9 15W * ? *)",
            "cron(0 9 ? * 6L *)",
            "cron(0 9 ? * 2#1 *)",
            "cron(0 0 1/5 * ? *)",
            "cron(0 9 1 1 ? 2030-2031)",
            "cron(0 /6 ? * * *)",
            "rate(1 minute)",
            "rate(6 hours)",
            "rate(7 days)",
        ]
        .map(|text| {
            let calendar = calendar(text, "UTC");
            let from: Timestamp = "2026-11-19T10:07:30Z".parse().unwrap();
            let fires = fires_between(&calendar, from, Timestamp::MAX, 3);
            let shown: Vec<_> =
                fires.iter().map(|fire| fire.strftime("%Y-%m-%d %a %H:%M").to_string()).collect();
            format!("{text} [{}]: {}", calendar.describe(), shown.join(", "))
        });
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn before_and_after_are_strict() {
        for text in ["0 9 * * *", "rate(10 minutes)", "*/5 * * * *"] {
            let calendar = calendar(text, "UTC");
            let fire = calendar.next_after("2026-11-19T08:59:59.999Z".parse().unwrap()).unwrap();
            assert_eq!(fire.to_string(), "2026-11-19T09:00:00Z");
            assert!(calendar.next_after(fire).unwrap() > fire);
            assert!(calendar.previous_before(fire).unwrap() < fire);
            assert_eq!(calendar.next_after(just_before(fire)), Some(fire));
            assert_eq!(calendar.previous_before(just_after(fire)), Some(fire));
        }
    }

    #[test]
    fn years_that_are_over_have_no_next_fire() {
        let calendar = calendar("cron(0 9 1 1 ? 2020)", "Europe/Berlin");
        let now = "2026-11-19T00:00Z".parse().unwrap();
        assert_eq!(calendar.next_after(now), None);
        assert_eq!(
            calendar.previous_before(now).map(|fire| fire.to_string()).as_deref(),
            Some("2020-01-01T08:00:00Z")
        );
    }
}
