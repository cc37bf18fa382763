//! Durations, sizes and costs as people write them.

use std::time::Duration;

use super::RunCost;

/// `45 s`, `21 min`, `1 h 12 min`, `2 d 3 h`: two units at most, rounded down.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min"),
        3_600..86_400 => two_units(hours, "h", minutes % 60, "min"),
        _ => two_units(days, "d", hours % 24, "h"),
    }
}

fn two_units(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

/// `4.1 DPU-hours, 12.4 GB scanned`; `none` where nothing was billed.
pub fn cost_text(cost: RunCost) -> String {
    let compute = cost.dpu_seconds.map(|seconds| format!("{} DPU-hours", figure(seconds / 3_600.0)));
    let scanned = cost.bytes_scanned.map(|bytes| format!("{} scanned", bytes_text(bytes)));
    let processors = cost.vcpu_hours.map(|hours| format!("{} vCPU-hours", figure(hours)));
    let memory = cost.memory_gb_hours.map(|hours| format!("{} GB-hours of memory", figure(hours)));
    let parts: Vec<String> = compute.into_iter().chain(processors).chain(memory).chain(scanned).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// `512 B`, `12.4 GB`: powers of 1000, as the services bill.
pub fn bytes_text(bytes: u64) -> String {
    let units = [(1_000_000_000_000_u64, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        // Tenths by whole numbers: floats would lose bytes that nobody reads anyway.
        Some((size, unit)) => format!("{}.{} {unit}", bytes / size, bytes % size / (size / 10)),
        None => format!("{bytes} B"),
    }
}

/// One decimal, and two where the first would be zero.
fn figure(value: f64) -> String {
    if value == 0.0 || value >= 0.1 {
        format!("{value:.1}")
    } else if value >= 0.005 {
        format!("{value:.2}")
    } else {
        "under 0.01".to_owned()
    }
}

/// `1,234,567`.
pub fn count_text(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let shown = [0, 59, 60, 1_290, 3_600, 4_320, 86_400, 183_600].map(|seconds| {
            let text = duration_text(Duration::from_secs(seconds));
            format!("{seconds}: {text}")
        });
        let expected =
            "0: 0 s|59: 59 s|60: 1 min|1290: 21 min|3600: 1 h|4320: 1 h 12 min|86400: 1 d|183600: 2 d 3 h";
        assert_eq!(shown.join("|"), expected);
    }

    #[test]
    fn costs_are_in_the_services_units() {
        let cost = |dpu_seconds, bytes_scanned| {
            cost_text(RunCost { dpu_seconds, bytes_scanned, ..RunCost::default() })
        };
        assert_eq!(cost(Some(14_760.0), None), "4.1 DPU-hours");
        assert_eq!(cost(Some(90.0), Some(12_430_000_000)), "0.03 DPU-hours, 12.4 GB scanned");
        assert_eq!(cost(Some(1.0), Some(999)), "under 0.01 DPU-hours, 999 B scanned");
        assert_eq!(cost(None, None), "none");
        let spark = RunCost { vcpu_hours: Some(1.5), memory_gb_hours: Some(6.0), ..RunCost::default() };
        assert_eq!(cost_text(spark), "1.5 vCPU-hours, 6.0 GB-hours of memory");
    }

    #[test]
    fn counts_are_grouped() {
        let shown = [0, 999, 1_000, 60_000, 1_234_567].map(count_text);
        assert_eq!(shown.join(" "), "0 999 1,000 60,000 1,234,567");
    }
}
