//! Lines of a mail: what fits, what is left out, what a subject may contain.

use jiff::{Timestamp, Zoned};
use trunkline_state::schedule::describe_range;

use super::{NextFire, Origin, RunReport, cost_text};

/// SNS takes fewer than 100 characters.
pub const SUBJECT_LENGTH_MAX: usize = 99;

/// A mail has at most 25 lines; two of them are the subject and the empty line below it.
pub(super) const BODY_LINES_MAX: usize = 23;

/// Longer lines of an error wrap badly on a phone; addresses and commands are never cut.
pub(super) const LINE_LENGTH_MAX: usize = 200;

/// The first links are the logs; more of them would push out the error.
const LINKS_MAX: usize = 2;

/// Makes a text a subject that SNS takes: ASCII, one line, at most [`SUBJECT_LENGTH_MAX`]
/// characters, not beginning with a space. What it cannot say becomes `?`.
pub fn subject_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let joined = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let ascii: String =
        joined.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    if ascii.len() <= SUBJECT_LENGTH_MAX {
        return ascii;
    }
    let kept: String = ascii.chars().take(SUBJECT_LENGTH_MAX - 3).collect();
    format!("{}...", kept.trim_end())
}

/// `Covers   2026-11-19 00:00 to 11-20 00:00 UTC`.
pub(super) fn fact(label: &str, text: &str) -> String {
    format!("{label:<8} {text}")
}

/// What the run covers, and when it was due and ended.
pub(super) fn time_facts(report: &RunReport, ended: &str) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(interval) = report.interval {
        facts.push(fact("Covers", &describe_range(&report.zone, interval, "to")));
    }
    let local = |instant: Timestamp| instant.to_zoned(report.zone.clone());
    let (begun, done) = (local(report.origin.at()), local(report.ended_at));
    let date = if report.interval.is_some() { "%m-%d %H:%M" } else { "%Y-%m-%d %H:%M" };
    let begun_text = begun.strftime(date).to_string();
    let done_text = later(&begun, &done);
    let zone = done.strftime("%Z");
    facts.push(match &report.origin {
        Origin::Schedule { .. } => fact("Fired", &format!("{begun_text}, {ended} {done_text} {zone}")),
        Origin::Person { name, .. } if name.is_empty() => {
            fact("Started", &format!("{begun_text} by hand, {ended} {done_text} {zone}"))
        }
        Origin::Person { name, .. } => {
            fact("Started", &format!("{begun_text} by {}, {ended} {done_text} {zone}", clean(name)))
        }
    });
    facts
}

/// The clock, and the date where it is another one.
fn later(begun: &Zoned, done: &Zoned) -> String {
    let format = if begun.date() == done.date() { "%H:%M" } else { "%m-%d %H:%M" };
    done.strftime(format).to_string()
}

pub(super) fn cost_fact(report: &RunReport) -> String {
    fact("Cost", &report.cost.map_or_else(|| "unknown".to_owned(), cost_text))
}

/// `suffix` follows the time of a scheduled fire.
pub(super) fn next_fact(report: &RunReport, suffix: &str) -> String {
    let text = match report.next {
        NextFire::At(fire) => {
            let fire = fire.to_zoned(report.zone.clone());
            let this_year = report.ended_at.to_zoned(report.zone.clone()).year() == fire.year();
            let format = if this_year { "%m-%d %H:%M %Z" } else { "%Y-%m-%d %H:%M %Z" };
            format!("{}{suffix}", fire.strftime(format))
        }
        NextFire::ByHand => "no schedule, by hand only".to_owned(),
        NextFire::OnEvent => "no schedule, with the next event".to_owned(),
        NextFire::Paused => "paused, fires again after: trunkline resume ".to_owned() + &report.pipeline,
        NextFire::Unknown => "unknown".to_owned(),
    };
    fact("Next", &text)
}

/// The links and the owner.
pub(super) fn closing(report: &RunReport) -> Vec<String> {
    let owner = Some(&report.owner).filter(|owner| !owner.is_empty());
    let links = report.links.iter().take(LINKS_MAX).map(|link| (clean(&link.label), clean_whole(&link.url)));
    let entries: Vec<(String, String)> =
        links.chain(owner.map(|owner| ("Owner".to_owned(), clean(owner)))).collect();
    entries.into_iter().map(|(label, text)| format!("{label:<5} {text}")).collect()
}

/// One line: no control characters, no more than [`LINE_LENGTH_MAX`] characters.
pub(super) fn clean(text: &str) -> String {
    let line = clean_whole(text);
    if line.chars().count() <= LINE_LENGTH_MAX {
        return line;
    }
    let kept: String = line.chars().take(LINE_LENGTH_MAX - 1).collect();
    kept + "…"
}

/// One line of any length; tabs become spaces, other control characters go.
fn clean_whole(text: &str) -> String {
    let spaced = text.replace('\t', "  ");
    spaced.chars().filter(|c| !c.is_control()).collect::<String>().trim_end().to_owned()
}

/// The lines of a text, at most `room` of them (at least one): the beginning and the end,
/// because a service puts the cause first and a Python traceback puts it last.
pub(crate) fn trimmed(text: &str, room: usize, rest_command: &str) -> Vec<String> {
    let lines: Vec<String> =
        without_escapes(text).lines().map(clean).filter(|line| !line.is_empty()).collect();
    let room = room.max(1);
    if lines.len() <= room {
        return lines;
    }
    if room < 3 {
        return lines.into_iter().take(room).collect();
    }
    let tail = (room - 1) / 2;
    let head = room - 1 - tail;
    let left_out = lines.len() - head - tail;
    let mut shown = lines[..head].to_vec();
    shown.push(format!("  ({left_out} more lines: {rest_command})"));
    shown.extend_from_slice(&lines[lines.len() - tail..]);
    shown
}

/// Drops terminal colours: `ESC [ … letter`.
fn without_escapes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\u{1b}' {
            kept.push(character);
        } else if characters.clone().next() == Some('[') {
            characters.by_ref().skip(1).find(char::is_ascii_alphabetic);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_short_ascii_lines() {
        assert_eq!(subject_line("CDRs für\r\n 2026"), "CDRs f?r 2026");
        assert_eq!(subject_line("  \u{7}x"), "x");
        let long = subject_line(&"word ".repeat(40));
        assert!(long.len() <= SUBJECT_LENGTH_MAX && long.ends_with("..."), "{long}");
    }

    #[test]
    fn long_errors_keep_their_beginning_and_end() {
        let text = (1..=9).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n\n");
        assert_eq!(
            trimmed(&text, 5, "logs"),
            ["line 1", "line 2", "  (5 more lines: logs)", "line 8", "line 9"]
        );
        assert_eq!(trimmed(&text, 2, "logs"), ["line 1", "line 2"]);
        assert_eq!(trimmed(&text, 0, "logs"), ["line 1"]);
        assert_eq!(trimmed("\u{1b}[31mred\u{1b}[0m\tx\u{0}", 3, "logs"), ["red  x"]);
        assert_eq!(trimmed(&"x".repeat(500), 1, "logs")[0].chars().count(), LINE_LENGTH_MAX);
    }
}
