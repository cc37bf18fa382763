//! `schedule`, `timezone`, `dst`, `start_date`, `data_interval`, `catchup` and `deadline`, and whether
//! they go together.

use std::time::Duration;

use jiff::{Timestamp, civil};
use trunkline_state::{
    pipeline::{Catchup, Overlap},
    schedule::{Calendar, CalendarError, DataInterval, Deadline, DstRule, interval_of_fire},
};

use super::{
    lower::Timing,
    reader::{Keys, Reader, shorten},
    suggest::nearest,
    tree::{Entry, Mapping},
};

/// Step Functions keeps names of executions for 90 days, and Glue lists runs for as long: a new run of a
/// forgotten date would make the same names, and find those jobs instead of starting its own.
pub const RETENTION_MIN: Duration = Duration::from_hours(100 * 24);

/// The keys of a deadline.
pub(super) const DEADLINE_KEYS: [&str; 2] = ["by", "after"];

/// Fires that are looked at to see whether two of them cover the same interval.
const FIRES_LOOKED_AT: usize = 8;

/// Reads the keys that say when a pipeline runs.
pub(super) fn read_timing(reader: &mut Reader, top: &Mapping) -> Timing {
    let timezone =
        top.get("timezone").and_then(|entry| zone(reader, entry)).unwrap_or_else(|| "UTC".to_owned());
    let dst = top.get("dst").and_then(|entry| {
        reader.word(entry, &[("skip", DstRule::Skip), ("run_at_gap_end", DstRule::RunAtGapEnd)])
    });
    let schedule = top.get("schedule");
    let calendar = schedule.and_then(|entry| calendar(reader, entry, &timezone, dst.unwrap_or_default()));
    let interval_entry = top.get("data_interval");
    let data_interval =
        interval_entry.and_then(|entry| interval(reader, entry)).unwrap_or(DataInterval::None);
    let words = [("none", Catchup::None), ("last", Catchup::Last), ("all", Catchup::All)];
    let catchup = top.get("catchup").and_then(|entry| reader.word(entry, &words));
    if let (Some(entry), Some(Catchup::All), DataInterval::None) =
        (top.get("catchup"), catchup, data_interval)
        && interval_entry
            .is_none_or(|entry| entry.value.as_scalar().is_some_and(|scalar| scalar.text == "none"))
    {
        let diagnostic = reader
            .error(&entry.value.span, "`catchup: all` needs a data interval")
            .label("a missed fire without an interval cannot be told from the next one")
            .help("set `data_interval` (e.g. day), or write catchup: last");
        reader.report(diagnostic);
    }
    if let (Some(entry), Some(calendar)) = (interval_entry, &calendar) {
        check_fires(reader, entry, calendar, data_interval);
    }
    let words =
        [("queue", Overlap::Queue), ("skip", Overlap::Skip), ("cancel_running", Overlap::CancelRunning)];
    let overlap = top.get("overlap").and_then(|entry| reader.word(entry, &words));
    let deadline = top.get("deadline").and_then(|entry| deadline(reader, entry, schedule.is_some()));
    Timing {
        calendar,
        timezone,
        deadline,
        start_date: top.get("start_date").and_then(|entry| date(reader, entry)),
        data_interval,
        catchup: catchup.unwrap_or(Catchup::Last),
        overlap: overlap.unwrap_or_default(),
    }
}

/// `retention`, in a pipeline or in the project file.
pub(crate) fn retention(reader: &mut Reader, entry: &Entry) -> Option<Duration> {
    let kept = reader.positive_duration(entry)?;
    if kept >= RETENTION_MIN {
        return Some(kept);
    }
    let days = RETENTION_MIN.as_secs() / 86_400;
    let diagnostic = reader
        .error(&entry.value.span, format!("`retention` must be at least {days}d"))
        .label("too short")
        .help("AWS knows a run's jobs by their names for 90 days; a run of the same date would find them");
    reader.report(diagnostic);
    None
}

/// `deadline: { by: "11:00" }` or `{ after: 2h }`.
fn deadline(reader: &mut Reader, entry: &Entry, has_schedule: bool) -> Option<Deadline> {
    let mapping = reader.mapping(&entry.value, "deadline")?;
    reader.check_keys(mapping, Keys { of: "a deadline", known: &DEADLINE_KEYS, later: &[] });
    if !has_schedule {
        let diagnostic = reader
            .error(&entry.key_span, "a deadline needs `schedule`")
            .label("counted from the fires of the schedule")
            .help("a limit for runs that somebody starts is `run_timeout`");
        reader.report(diagnostic);
    }
    match (mapping.get("by"), mapping.get("after")) {
        (Some(by), None) => {
            let text = reader.text(by)?;
            let time = (text.len() == 5).then(|| text.parse::<civil::Time>().ok()).flatten();
            if time.is_none() {
                let message = format!("`by` must be a time of the day, not `{}`", shorten(&text));
                let help = "write it as \"11:00\", in the pipeline's time zone";
                let diagnostic = reader.error(&by.value.span, message).label("expected HH:MM").help(help);
                reader.report(diagnostic);
            }
            time.map(Deadline::By)
        }
        (None, Some(after)) => reader.positive_duration(after).map(Deadline::After),
        _ => {
            let diagnostic = reader
                .error(&entry.value.span, "a deadline has either `by` or `after`")
                .label("one of them")
                .help("write deadline: { by: \"11:00\" } or deadline: { after: 2h }");
            reader.report(diagnostic);
            None
        }
    }
}

fn calendar(reader: &mut Reader, entry: &Entry, timezone: &str, dst: DstRule) -> Option<Calendar> {
    let text = reader.text(entry)?;
    match Calendar::parse(&text, timezone, dst) {
        Ok(calendar) => Some(calendar),
        // Reported at `timezone`.
        Err(CalendarError::Zone { .. }) => None,
        Err(error) => {
            let diagnostic = reader
                .error(&entry.value.span, error.to_string())
                .label("schedule")
                .help("five fields such as \"0 9 * * *\", or cron(0 9 * * ? *), or rate(10 minutes)");
            reader.report(diagnostic);
            None
        }
    }
}

fn interval(reader: &mut Reader, entry: &Entry) -> Option<DataInterval> {
    let text = reader.text(entry)?;
    match text.parse() {
        Ok(interval) => Some(interval),
        Err(error) => {
            let words = ["hour", "day", "week", "month", "none"];
            let help = nearest(&text, words).map(|word| format!("did you mean `{word}`?"));
            let error: trunkline_state::schedule::DataIntervalError = error;
            let diagnostic =
                reader.error(&entry.value.span, error.to_string()).label("data interval").help_maybe(help);
            reader.report(diagnostic);
            None
        }
    }
}

fn zone(reader: &mut Reader, entry: &Entry) -> Option<String> {
    let text = reader.text(entry)?;
    let Err(error) = trunkline_state::schedule::zone(&text) else { return Some(text) };
    let (message, help) = match error {
        CalendarError::Zone { name, hint } => (format!("there is no time zone `{name}`"), Some(hint)),
        other => (other.to_string(), None),
    };
    let diagnostic = reader.error(&entry.value.span, message).label("unknown zone").help_maybe(help);
    reader.report(diagnostic);
    None
}

fn date(reader: &mut Reader, entry: &Entry) -> Option<civil::Date> {
    let text = reader.text(entry)?;
    if let (10, Ok(date)) = (text.len(), text.parse()) {
        return Some(date);
    }
    let diagnostic = reader
        .error(&entry.value.span, format!("`{}` must be a date, not `{}`", entry.key, shorten(&text)))
        .label("expected a date")
        .help("write it as 2026-11-01");
    reader.report(diagnostic);
    None
}

/// Two fires for one interval: the second run would be the first one again.
fn check_fires(reader: &mut Reader, entry: &Entry, calendar: &Calendar, interval: DataInterval) {
    let mut fire = Timestamp::UNIX_EPOCH;
    let mut before = None;
    for _ in 0..FIRES_LOOKED_AT {
        let Some(next) = calendar.next_after(fire) else { return };
        let covered = interval_of_fire(interval, calendar.zone(), next);
        if covered.is_some() && covered == before {
            let diagnostic = reader
                .error(&entry.value.span, "the schedule fires more than once for one data interval")
                .label("shorter than the pauses between fires, or `none`")
                .help("only the first fire of an interval starts a run; choose a shorter `data_interval`, or none")
                .warning();
            return reader.report(diagnostic);
        }
        before = covered;
        fire = next;
    }
}
