//! Trigger rules: may this task start, must it be skipped, can it not run. A new rule goes
//! here and into [`TriggerRule`], nowhere else.

use crate::{pipeline::TriggerRule, run::Upstreams};

/// What a trigger rule says of a task, given how its upstreams ended so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not decided yet.
    Wait,
    /// It may start.
    Start,
    /// It need not run.
    Skip,
    /// It cannot run because something upstream failed.
    UpstreamFailed,
}

/// Applies a rule. Pure, and monotone: once it is decided, further upstream ends change
/// nothing, because the caller acts on the first verdict that is not `Wait`.
pub fn verdict(rule: TriggerRule, up: Upstreams) -> Verdict {
    use Verdict::{Skip, Start, UpstreamFailed, Wait};
    if up.total == 0 || rule == TriggerRule::Always {
        return Start;
    }
    let all_done = up.done() == up.total;
    let when_done = |verdict| if all_done { verdict } else { Wait };
    match rule {
        TriggerRule::AllSuccess if up.failed > 0 => UpstreamFailed,
        TriggerRule::AllSuccess if up.skipped > 0 => Skip,
        TriggerRule::AllFailed if up.succeeded + up.skipped > 0 => Skip,
        TriggerRule::AllSkipped if up.succeeded + up.failed > 0 => Skip,
        TriggerRule::OneFailed if up.failed > 0 => Start,
        TriggerRule::OneFailed => when_done(Skip),
        TriggerRule::OneSuccess if up.succeeded > 0 => Start,
        TriggerRule::OneSuccess => when_done(if up.failed > 0 { UpstreamFailed } else { Skip }),
        TriggerRule::OneDone if up.succeeded + up.failed > 0 => Start,
        TriggerRule::OneDone => when_done(Skip),
        TriggerRule::NoneFailed | TriggerRule::NoneFailedMinOneSuccess if up.failed > 0 => UpstreamFailed,
        TriggerRule::NoneFailedMinOneSuccess => when_done(if up.succeeded > 0 { Start } else { Skip }),
        TriggerRule::NoneSkipped if up.skipped > 0 => Skip,
        TriggerRule::AllSuccess
        | TriggerRule::AllFailed
        | TriggerRule::AllDone
        | TriggerRule::AllSkipped
        | TriggerRule::NoneFailed
        | TriggerRule::NoneSkipped
        | TriggerRule::Always => when_done(Start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_over_two_upstreams() {
        let letter = |verdict| match verdict {
            Verdict::Wait => '.',
            Verdict::Start => 'S',
            Verdict::Skip => 'k',
            Verdict::UpstreamFailed => 'u',
        };
        // Columns: how two upstreams stand. - waiting, s succeeded, f failed, k skipped.
        let columns = ["--", "s-", "f-", "k-", "ss", "sf", "sk", "ff", "fk", "kk"];
        let mut table = format!("{:28}{}\n", "", columns.join(" "));
        for rule in TriggerRule::ALL {
            let cells: Vec<String> = columns
                .iter()
                .map(|column| {
                    let count = |wanted: char| u32::try_from(column.matches(wanted).count()).unwrap();
                    let up = Upstreams {
                        total: 2,
                        succeeded: count('s'),
                        failed: count('f'),
                        skipped: count('k'),
                    };
                    format!("{} ", letter(verdict(rule, up)))
                })
                .collect();
            table += &format!("{:28}{}\n", format!("{rule:?}"), cells.join(" ").trim_end());
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn every_rule_decides_once_all_upstreams_ended() {
        for rule in TriggerRule::ALL {
            for (succeeded, failed, skipped) in
                (0..=3).flat_map(|s| (0..=3 - s).map(move |f| (s, f, 3 - s - f)))
            {
                let up = Upstreams { total: 3, succeeded, failed, skipped };
                assert_ne!(verdict(rule, up), Verdict::Wait, "{rule:?} {up:?}");
            }
        }
    }
}
