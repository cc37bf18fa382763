//! The line that says what a run covers and when it fires, the same wherever a run is shown.

use jiff::{Timestamp, Zoned, tz::TimeZone};

use super::interval::Interval;

/// `covers 2026-11-19 00:00 → 11-20 00:00 UTC, fires 11-20 09:00`; what is not known is left
/// out.
pub fn describe_interval(zone: &TimeZone, interval: Option<Interval>, fire: Option<Timestamp>) -> String {
    match (interval, fire) {
        (Some(interval), Some(fire)) => {
            let end = interval.end.to_zoned(zone.clone());
            let fire = fire.to_zoned(zone.clone());
            format!("covers {}, fires {}", describe_range(zone, interval, "→"), later(&end, &fire))
        }
        (Some(interval), None) => format!("covers {}", describe_range(zone, interval, "→")),
        (None, Some(fire)) => format!("fires {}", describe_instant(zone, fire)),
        (None, None) => "covers no interval".to_owned(),
    }
}

/// `2026-11-19 00:00 → 11-20 00:00 UTC`, with any word in place of the arrow. The zone's
/// abbreviation stands at the end, and after the start too where it differs.
pub fn describe_range(zone: &TimeZone, interval: Interval, to: &str) -> String {
    let start = interval.start.to_zoned(zone.clone());
    let end = interval.end.to_zoned(zone.clone());
    let start_zone = if label(&start) == label(&end) { String::new() } else { format!(" {}", label(&start)) };
    let end_date = if start.year() == end.year() { "%m-%d" } else { "%Y-%m-%d" };
    format!(
        "{} {}{start_zone} {to} {} {} {}",
        start.strftime("%Y-%m-%d"),
        clock(&start),
        end.strftime(end_date),
        clock(&end),
        label(&end),
    )
}

/// `2026-11-20 09:00 UTC`.
pub fn describe_instant(zone: &TimeZone, instant: Timestamp) -> String {
    let local = instant.to_zoned(zone.clone());
    format!("{} {} {}", local.strftime("%Y-%m-%d"), clock(&local), label(&local))
}

/// An instant that follows one already shown: no year and no zone where they are the same.
fn later(before: &Zoned, instant: &Zoned) -> String {
    let date = if before.year() == instant.year() { "%m-%d" } else { "%Y-%m-%d" };
    let text = format!("{} {}", instant.strftime(date), clock(instant));
    if label(before) == label(instant) { text } else { format!("{text} {}", label(instant)) }
}

/// Hours and minutes; seconds only where there are any.
fn clock(instant: &Zoned) -> String {
    let format = if instant.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
    instant.strftime(format).to_string()
}

/// The zone's abbreviation at that instant, or its offset where it has none.
fn label(instant: &Zoned) -> String {
    let name = instant.strftime("%Z").to_string();
    // Zones without letters of their own print an offset such as `-03`.
    if name.starts_with(['+', '-']) { format!("UTC{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn line(zone: &str, start: &str, end: &str, fire: &str) -> String {
        let interval = Interval { start: at(start), end: at(end) };
        describe_interval(&crate::schedule::zone(zone).unwrap(), Some(interval), Some(at(fire)))
    }

    #[test]
    fn one_line_for_every_kind() {
        insta::assert_snapshot!(
            [
                line("UTC", "2026-11-19T00:00Z", "2026-11-20T00:00Z", "2026-11-20T09:00Z"),
                line("UTC", "2026-12-31T00:00Z", "2027-01-01T00:00Z", "2027-01-01T09:00Z"),
                line("Europe/Berlin", "2026-03-28T23:00Z", "2026-03-29T22:00Z", "2026-03-30T07:00Z"),
                line("Europe/Berlin", "2026-10-25T00:00Z", "2026-10-25T01:00Z", "2026-10-25T01:10Z"),
                line("America/Sao_Paulo", "2026-11-19T03:00Z", "2026-11-20T03:00Z", "2026-11-20T09:00Z"),
                line("UTC", "2026-11-19T00:00:30Z", "2026-11-19T00:10:30Z", "2026-11-19T00:10:30Z"),
                describe_interval(&TimeZone::UTC, None, Some(at("2026-11-20T09:00Z"))),
                describe_interval(&TimeZone::UTC, None, None),
            ]
            .join("\n")
        );
    }
}
