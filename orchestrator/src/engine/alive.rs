//! Being alive: the heartbeat row, and the gate that it opens for starts.

use std::{sync::Mutex, time::Duration};

/// When the last heartbeat committed, on a clock that also counts while the machine sleeps.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    committed_at: Mutex<Option<Duration>>,
}

impl Pulse {
    /// A heartbeat that was sent at `sent_at` committed.
    pub(super) fn committed(&self, sent_at: Duration) {
        *self.committed_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(sent_at);
    }

    /// How long ago that was.
    pub(super) fn age(&self) -> Option<Duration> {
        let committed = *self.committed_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        committed.map(|at| boot_time().saturating_sub(at))
    }

    /// Whether the last heartbeat is younger than `gate`. An optimisation that spares work:
    /// tokens, markers and fences are the safety argument.
    pub(super) fn is_fresh(&self, gate: Duration) -> bool {
        let committed = *self.committed_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        committed.is_some_and(|at| boot_time().saturating_sub(at) < gate)
    }
}

/// Time since boot, with sleep. Measures our own liveness, decides nothing.
#[cfg(target_os = "linux")]
pub(super) fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}

/// Elsewhere no clock that counts sleep can be had without unsafe code: the monotonic one may
/// stand still while the machine sleeps, and then tokens and fences alone keep starts single.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "the gate's own clock, at the edge")]
pub(super) fn boot_time() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

/// What tells this boot of this machine, and this process namespace, from all others; empty
/// where the system does not say.
pub(super) fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    match (boot.trim(), namespace.to_string_lossy()) {
        ("", _) => String::new(),
        (boot, namespace) => format!("{boot} {namespace}"),
    }
}

/// Whether a process of this machine exists; only asked where [`machine`] is known.
pub(super) fn is_process_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended; it only waits for its parent to notice.
    status.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
