//! The one mail about many runs that failed shortly after one another.

use super::{
    Mail, attributes, environment_flag,
    lines::{BODY_LINES_MAX, clean, fact, subject_line},
};

/// Runs that are named; the rest is counted.
const RUNS_SHOWN_MAX: usize = 10;

/// What a mail says about a crowd of failures.
#[derive(Clone, Debug)]
pub struct CrowdReport {
    /// The environment, e.g. `prod`.
    pub environment: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// Whether keys of its runs are dates, of which commands take a range.
    pub has_dates: bool,
    /// The keys of the runs, earliest first, each with what went wrong.
    pub failed: Vec<(String, String)>,
    /// Who is asked; may be empty.
    pub owner: String,
}

/// The mail about runs that failed shortly after one another.
pub fn crowd_mail(report: &CrowdReport) -> Mail {
    let CrowdReport { pipeline, failed, .. } = report;
    let flag = environment_flag(&report.environment);
    let count = failed.len();
    let ends =
        failed.first().zip(failed.last()).map(|((first, _), (last, _))| (first.as_str(), last.as_str()));
    let (first, last) = ends.unwrap_or_default();
    let subject = format!("[{}] {count} FAILED: {pipeline} {first} to {last}", report.environment);
    let mut lines = vec![
        format!(
            "{count} more runs of {pipeline} failed shortly after others; this is the one mail about them."
        ),
        String::new(),
    ];
    let shown = failed.iter().take(RUNS_SHOWN_MAX).enumerate();
    lines.extend(shown.map(|(position, (key, error))| {
        clean(&fact(if position == 0 { "Failed" } else { "" }, &format!("{key}  {error}")))
    }));
    if let Some(rest) = count.checked_sub(RUNS_SHOWN_MAX).filter(|rest| *rest > 0) {
        lines.push(fact("", &format!("and {rest} more")));
    }
    lines.push(String::new());
    if report.has_dates {
        lines.push("Fix, then:".to_owned());
        lines.push(format!(
            "  trunkline clear {pipeline} --from {first} --to {last} --state failed --failed{flag}"
        ));
    }
    lines.push(format!("Details  trunkline runs {pipeline} --state failed{flag}"));
    if !report.owner.is_empty() {
        lines.push(clean(&format!("Owner {}", report.owner)));
    }
    debug_assert!(lines.len() <= BODY_LINES_MAX, "the limits above add up to less");
    Mail {
        subject: subject_line(&subject),
        body: lines.join("\n") + "\n",
        attributes: attributes(pipeline, &report.environment, &report.owner, "error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_behind_a_warehouse_that_is_down() {
        let failed = (1..=30).map(|day| (format!("2026-10-{day:02}"), "load: connection refused".to_owned()));
        let report = CrowdReport {
            environment: "prod".to_owned(),
            pipeline: "daily_cdr_etl".to_owned(),
            has_dates: true,
            failed: failed.collect(),
            owner: "telephony-data".to_owned(),
        };
        let mail = crowd_mail(&report);
        assert!(mail.body.lines().count() <= BODY_LINES_MAX, "{}", mail.body);
        insta::assert_snapshot!(format!("Subject: {}\n\n{}", mail.subject, mail.body), @r"
        Subject: [prod] 30 FAILED: daily_cdr_etl 2026-10-01 to 2026-10-30

        30 more runs of daily_cdr_etl failed shortly after others; this is the one mail about them.

        Failed   2026-10-01  load: connection refused
                 2026-10-02  load: connection refused
                 2026-10-03  load: connection refused
                 2026-10-04  load: connection refused
                 2026-10-05  load: connection refused
                 2026-10-06  load: connection refused
                 2026-10-07  load: connection refused
                 2026-10-08  load: connection refused
                 2026-10-09  load: connection refused
                 2026-10-10  load: connection refused
                 and 20 more

        Fix, then:
          trunkline clear daily_cdr_etl --from 2026-10-01 --to 2026-10-30 --state failed --failed --env prod
        Details  trunkline runs daily_cdr_etl --state failed --env prod
        Owner telephony-data
        ");
    }
}
