//! What a run covers that comes after runs of other pipelines: the same, where both have a data interval.

use jiff::tz::TimeZone;

use crate::{
    pipeline::Pipeline,
    schedule::{DataInterval, Interval, describe_range, parse_run_key, run_key},
};

/// The interval of the run of `pipeline` that comes after the run `key` of `upstream`, which covers `interval`, and the
/// key of that run; nothing where runs of `pipeline` cover none.
///
/// # Errors
///
/// Why no run of `pipeline` covers the same, for people.
pub fn same_interval(
    pipeline: &Pipeline,
    upstream: &str,
    key: &str,
    interval: Option<Interval>,
) -> Result<Option<(Interval, String)>, String> {
    if pipeline.data_interval == DataInterval::None {
        return Ok(None);
    }
    let name = &pipeline.name;
    let Some(interval) = interval else {
        return Err(format!(
            "{upstream}@{key} covers no data interval and {name} has one: set `data_interval: none` at {name}, or give \
             {upstream} one"
        ));
    };
    // Checked when the definition was read; UTC if the zone database lost it since.
    let zone = TimeZone::get(&pipeline.timezone).unwrap_or(TimeZone::UTC);
    let own_key = run_key(pipeline.data_interval, &zone, Some(interval), interval.start);
    let own = parse_run_key(pipeline.data_interval, &zone, &own_key).ok().and_then(|parts| parts.interval);
    if own != Some(interval) {
        return Err(format!(
            "{upstream}@{key} covers {}, which is no interval of {name}: give both the same `data_interval` and \
             `timezone`",
            describe_range(&zone, interval, "to"),
        ));
    }
    if pipeline.starts_after(interval.start) {
        return Err(format!("{name}@{own_key} lies before the start_date of {name}"));
    }
    Ok(Some((interval, own_key)))
}
