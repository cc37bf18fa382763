//! What the kernel says about a process: memory and time. Linux only, as the budgets are.

use std::fs;

use anyhow::{Context, Result};

/// Ticks per second of the times in `/proc/PID/stat`; fixed on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident memory in MB.
pub fn resident_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("no such process")?;
    let kilobytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok())
        .context("/proc names no resident memory")?;
    Ok(kilobytes / 1e3)
}

/// Seconds of processor time so far, user and system.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("no such process")?;
    // The program's name may hold anything, so fields count from its closing parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |position: usize| fields.get(position).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("/proc names no times")?;
    Ok((user + system) / TICKS_PER_SECOND)
}
