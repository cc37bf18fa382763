//! Local time as stretches of constant offset. All rules about clocks that jump are written
//! against these stretches, so that none of them walks a clock that goes backwards.

use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone},
};

/// Zones list transitions that change only a name or the DST flag; so many of them in a row
/// are skipped before the offset is taken as constant. Real zones have at most a handful.
const SAME_OFFSET_TRANSITIONS_MAX: usize = 64;

/// A stretch of time `[start, end)` in which a zone's offset does not change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// Its first instant and the offset that ended there; `None`: no change before it.
    pub(super) start: Option<(Timestamp, Offset)>,
    /// The first instant after it; `None`: the offset stays.
    pub(super) end: Option<Timestamp>,
    /// The offset within it.
    pub(super) offset: Offset,
}

impl Stretch {
    /// The stretch that contains the instant.
    pub(super) fn at(zone: &TimeZone, instant: Timestamp) -> Self {
        let offset = zone.to_offset(instant);
        let end = zone
            .following(instant)
            .take(SAME_OFFSET_TRANSITIONS_MAX)
            .find(|transition| transition.offset() != offset)
            .map(|transition| transition.timestamp());
        let start =
            zone.preceding(just_after(instant)).take(SAME_OFFSET_TRANSITIONS_MAX).find_map(|transition| {
                let before = zone.to_offset(just_before(transition.timestamp()));
                (before != offset).then_some((transition.timestamp(), before))
            });
        Self { start, end, offset }
    }

    /// The instant at which the stretch's clock shows `local`; may lie outside the stretch.
    pub(super) fn instant(&self, local: DateTime) -> Option<Timestamp> {
        self.offset.to_timestamp(local).ok()
    }

    /// What the stretch's clock shows at an instant.
    pub(super) fn local(&self, instant: Timestamp) -> DateTime {
        self.offset.to_datetime(instant)
    }

    /// The local times that the clock skipped on entering the stretch: `[from, until)`.
    pub(super) fn gap(&self) -> Option<(DateTime, DateTime)> {
        let (start, before) = self.start?;
        (before < self.offset).then(|| (before.to_datetime(start), self.local(start)))
    }

    /// The local times that the clock repeats on entering the stretch: `[from, until)`.
    pub(super) fn fold(&self) -> Option<(DateTime, DateTime)> {
        let (start, before) = self.start?;
        (before > self.offset).then(|| (self.local(start), before.to_datetime(start)))
    }
}

/// The first instant at which the zone's clock shows `local` or, where the clock jumps over
/// it, anything later.
pub(super) fn first_instant(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // Read with the later offset, a skipped time lies before the jump.
            let earlier = after.to_timestamp(local).ok()?;
            Stretch::at(zone, earlier).end
        }
    }
}

/// Whether the zone's clock shows `local` twice.
pub(super) fn is_repeated(zone: &TimeZone, local: DateTime) -> bool {
    matches!(zone.to_ambiguous_timestamp(local).offset(), AmbiguousOffset::Fold { .. })
}

/// The last instant before this one.
pub(super) fn just_before(instant: Timestamp) -> Timestamp {
    instant.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(instant)
}

/// The first instant after this one.
pub(super) fn just_after(instant: Timestamp) -> Timestamp {
    instant.checked_add(SignedDuration::from_nanos(1)).unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_stretch_knows_its_gap_and_its_fold() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let summer = Stretch::at(&zone, at("2026-03-08T07:00:00Z"));
        assert_eq!(summer.start.map(|(start, _)| start), Some(at("2026-03-08T07:00:00Z")));
        assert_eq!(summer.gap().map(|(from, _)| from.to_string()).as_deref(), Some("2026-03-08T02:00:00"));
        assert!(summer.fold().is_none());
        let winter = Stretch::at(&zone, summer.end.unwrap());
        assert_eq!(winter.fold().map(|(_, until)| until.to_string()).as_deref(), Some("2026-11-01T02:00:00"));
    }

    #[test]
    fn a_skipped_time_begins_where_the_clock_lands() {
        // Midnight does not exist in Havana on this day, and noon exists once.
        let zone = TimeZone::get("America/Havana").unwrap();
        let midnight = "2026-03-08T00:00:00".parse().unwrap();
        assert_eq!(first_instant(&zone, midnight), Some(at("2026-03-08T05:00:00Z")));
        assert!(!is_repeated(&zone, midnight));
        assert!(is_repeated(&zone, "2026-11-01T00:30:00".parse().unwrap()));
    }

    #[test]
    fn zones_without_transitions_are_one_stretch() {
        let stretch = Stretch::at(&TimeZone::UTC, at("2026-03-08T07:00:00Z"));
        assert!(stretch.start.is_none() && stretch.end.is_none());
    }
}
