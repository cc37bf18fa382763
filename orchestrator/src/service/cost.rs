//! What attempts cost, in the units in which the services bill. Never in money: prices differ by account and region.

use serde_json::Value;

use super::views::AttemptView;

/// Cost of a run in the units in which the services bill, over every attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunCost {
    /// Glue.
    pub dpu_seconds: f64,
    /// Athena.
    pub bytes_scanned: u64,
    /// EMR Serverless.
    pub vcpu_hours: f64,
}

/// What all attempts of a run cost.
pub fn cost(attempts: &[AttemptView]) -> RunCost {
    let mut total = RunCost::default();
    for attempt in attempts {
        let Some(cost) = attempt.result.as_ref().and_then(|result| result.get("cost")) else { continue };
        total.dpu_seconds += cost.get("dpu_seconds").and_then(Value::as_f64).unwrap_or(0.0);
        total.vcpu_hours += cost.get("vcpu_hours").and_then(Value::as_f64).unwrap_or(0.0);
        total.bytes_scanned += cost.get("bytes_scanned").and_then(Value::as_u64).unwrap_or(0);
    }
    total
}

/// `4.1 DPU-hours, 1.2 GB scanned`; none if nothing is known.
pub fn cost_text(cost: RunCost) -> Option<String> {
    let mut parts = Vec::new();
    if cost.dpu_seconds > 0.0 {
        parts.push(if cost.dpu_seconds < 360.0 {
            format!("{:.0} DPU-seconds", cost.dpu_seconds)
        } else {
            format!("{:.1} DPU-hours", cost.dpu_seconds / 3_600.0)
        });
    }
    if cost.vcpu_hours > 0.0 {
        parts.push(format!("{:.2} vCPU-hours", cost.vcpu_hours));
    }
    if cost.bytes_scanned > 0 {
        parts.push(format!("{} scanned", bytes_text(cost.bytes_scanned)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `1.2 GB`; decimal, as the services bill.
pub fn bytes_text(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"];
    let mut value = bytes;
    let mut rest = 0;
    let mut unit = 0;
    while value >= 1_000 && unit + 1 < units.len() {
        (rest, value, unit) = (value % 1_000, value / 1_000, unit + 1);
    }
    if unit == 0 { format!("{value} bytes") } else { format!("{value}.{} {}", rest / 100, units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_reads_like_a_bill() {
        assert_eq!(cost_text(RunCost::default()), None);
        let cost = RunCost { dpu_seconds: 14_760.0, bytes_scanned: 1_234_567_890, vcpu_hours: 0.0 };
        assert_eq!(cost_text(cost).as_deref(), Some("4.1 DPU-hours, 1.2 GB scanned"));
        let small = RunCost { dpu_seconds: 12.4, bytes_scanned: 999, vcpu_hours: 0.25 };
        assert_eq!(cost_text(small).as_deref(), Some("12 DPU-seconds, 0.25 vCPU-hours, 999 bytes scanned"));
    }
}
