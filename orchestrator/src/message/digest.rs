//! The one mail about a backfill, instead of one for each of its runs.

use std::time::Duration;

use super::{
    Mail,
    amounts::duration_text,
    attributes, environment_flag,
    lines::{BODY_LINES_MAX, clean, fact, subject_line},
};

/// Dates that are named; the rest is counted.
const DATES_SHOWN_MAX: usize = 10;

/// What a mail says about a backfill.
#[derive(Clone, Debug)]
pub struct DigestReport {
    /// The backfill's id.
    pub id: String,
    /// The environment, e.g. `prod`.
    pub environment: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The oldest date.
    pub first: String,
    /// The newest date.
    pub last: String,
    /// Who asked for it, and why.
    pub asked: String,
    /// From the question to the end.
    pub took: Duration,
    /// Dates that ran and succeeded.
    pub succeeded: usize,
    /// Dates that were left alone.
    pub left: usize,
    /// Dates that ran and did not succeed, oldest first, each with what went wrong.
    pub failed: Vec<(String, String)>,
    /// Who is asked; may be empty.
    pub owner: String,
}

/// The mail about a backfill that is done.
pub fn digest_mail(report: &DigestReport) -> Mail {
    let DigestReport { pipeline, first, last, .. } = report;
    let flag = environment_flag(&report.environment);
    let range = if first == last { first.clone() } else { format!("{first} to {last}") };
    let bad = report.failed.len();
    let outcome = if bad == 0 { "OK".to_owned() } else { format!("{bad} FAILED") };
    let subject = format!("[{}] {outcome}: backfill {pipeline} {range}", report.environment);
    let mut lines = vec![format!("The backfill of {pipeline}, {range}, is done."), String::new()];
    lines.push(fact(
        "Dates",
        &format!("{} succeeded, {bad} did not, {} left alone", report.succeeded, report.left),
    ));
    lines.push(fact("Took", &duration_text(report.took)));
    lines.push(clean(&fact("Asked by", &report.asked)));
    let shown = report.failed.iter().take(DATES_SHOWN_MAX).enumerate();
    lines.extend(shown.map(|(position, (date, error))| {
        clean(&fact(if position == 0 { "Failed" } else { "" }, &format!("{date}  {error}")))
    }));
    if let Some(rest) = bad.checked_sub(DATES_SHOWN_MAX).filter(|rest| *rest > 0) {
        lines.push(fact("", &format!("and {rest} more")));
    }
    lines.push(String::new());
    if bad > 0 {
        lines.push("Fix, then:".to_owned());
        lines.push(format!(
            "  trunkline backfill {pipeline} --from {first} --to {last} --reprocess failed{flag}"
        ));
    }
    lines.push(format!("Details  trunkline backfills {}{flag}", report.id));
    if !report.owner.is_empty() {
        lines.push(clean(&format!("Owner {}", report.owner)));
    }
    debug_assert!(lines.len() <= BODY_LINES_MAX, "the limits above add up to less");
    let severity = if bad == 0 { "info" } else { "error" };
    Mail {
        subject: subject_line(&subject),
        body: lines.join("\n") + "\n",
        attributes: attributes(pipeline, &report.environment, &report.owner, severity),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_with_three_bad_days() {
        let report = DigestReport {
            id: "0190d2a1".to_owned(),
            environment: "prod".to_owned(),
            pipeline: "daily_cdr_etl".to_owned(),
            first: "2026-10-01".to_owned(),
            last: "2026-10-31".to_owned(),
            asked: "user:ada, new columns".to_owned(),
            took: Duration::from_mins(95),
            succeeded: 26,
            left: 2,
            failed: ["2026-10-04", "2026-10-09", "2026-10-30"]
                .map(|date| (date.to_owned(), "convert: Column 'x' does not exist".to_owned()))
                .to_vec(),
            owner: "telephony-data".to_owned(),
        };
        let shown = |report: &DigestReport| {
            let mail = digest_mail(report);
            assert!(mail.body.lines().count() <= BODY_LINES_MAX, "{}", mail.body);
            format!("Subject: {}\n\n{}", mail.subject, mail.body)
        };
        insta::assert_snapshot!(shown(&report));
        let many = (1..=40).map(|day| (format!("day {day}"), "convert: broke".to_owned())).collect();
        insta::assert_snapshot!(shown(&DigestReport { failed: many, ..report }));
    }
}
