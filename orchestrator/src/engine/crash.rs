//! Dying on purpose: named points at which a fault trial may end this process as `kill -9` would,
//! or freeze it as a machine that stops for a while would.
//!
//! Nothing happens unless [`arm`] was called, and only a process that was started with
//! `TRUNKLINE_CRASH_AT` or `TRUNKLINE_STOP_AT` calls it. A spec is `POINT`, `POINT:NTH` or
//! `POINT@TYPE:NTH`: the process ends (or stops, until somebody sends it SIGCONT) when it passes
//! the point for the nth time, counting only tasks of that type. Nothing is cleaned up and
//! nobody is told; that is what is tried.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// The points, in the order in which a start passes them; the last one is passed by messages of queues.
pub const POINTS: [&str; 9] = [
    "before_commit",
    "after_commit",
    "after_intent",
    "after_send",
    "before_find",
    "after_find",
    "before_notice",
    "after_notice",
    "before_delete",
];

/// Why a spec makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{variable} is `{spec}`; it must be POINT, POINT:NTH or POINT@TYPE:NTH with a point of {POINTS:?}")]
pub struct CrashSpecError {
    variable: &'static str,
    spec: String,
}

/// What happens at an armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The process ends.
    Kill,
    /// The process stops until it is continued from outside.
    Stop,
}

#[derive(Debug, PartialEq, Eq)]
struct Spec {
    point: String,
    operator: Option<String>,
    nth: u32,
}

/// A point where something happens, and how often it was passed.
#[derive(Debug)]
struct Armed {
    spec: Spec,
    passed: AtomicU32,
}

/// Set once, before the engine starts; a process has one death and one stop.
static KILL: OnceLock<Armed> = OnceLock::new();
static STOP: OnceLock<Armed> = OnceLock::new();

/// Makes this process end or stop at a point; without a spec nothing changes.
pub fn arm(blow: Blow, spec: Option<&str>) -> Result<(), CrashSpecError> {
    let (slot, variable) = match blow {
        Blow::Kill => (&KILL, "TRUNKLINE_CRASH_AT"),
        Blow::Stop => (&STOP, "TRUNKLINE_STOP_AT"),
    };
    if let Some(text) = spec {
        let spec = parse(text).ok_or_else(|| CrashSpecError { variable, spec: text.to_owned() })?;
        tracing::warn!("armed: {blow:?} at {text}");
        // A second engine of one process keeps the first one's point.
        let _ = slot.set(Armed { spec, passed: AtomicU32::new(0) });
    }
    Ok(())
}

/// Ends or stops the process if it was told so. `operator` is empty where no task is concerned.
pub(super) fn point(name: &str, operator: &str) {
    // The same signals that a trial or the kernel would send.
    if STOP.get().is_some_and(|armed| armed.is_due(name, operator)) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }
    if KILL.get().is_some_and(|armed| armed.is_due(name, operator)) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}

impl Armed {
    fn is_due(&self, name: &str, operator: &str) -> bool {
        self.spec.concerns(name, operator) && self.passed.fetch_add(1, Ordering::SeqCst) + 1 == self.spec.nth
    }
}

impl Spec {
    fn concerns(&self, name: &str, operator: &str) -> bool {
        self.point == name && self.operator.as_deref().is_none_or(|wanted| wanted == operator)
    }
}

fn parse(text: &str) -> Option<Spec> {
    let (place, nth) = match text.rsplit_once(':') {
        Some((place, nth)) => (place, nth.parse().ok().filter(|nth| *nth > 0)?),
        None => (text, 1),
    };
    let (point, operator) = match place.split_once('@') {
        Some((point, operator)) => (point, Some(operator.to_owned())),
        None => (place, None),
    };
    POINTS.contains(&point).then(|| Spec { point: point.to_owned(), operator, nth })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read() {
        let spec = parse("after_intent@glue_job:3").unwrap();
        assert_eq!(
            (spec.point.as_str(), spec.operator.as_deref(), spec.nth),
            ("after_intent", Some("glue_job"), 3)
        );
        assert_eq!(parse("before_commit").unwrap().nth, 1);
        for wrong in ["", "nowhere", "after_send:0", "after_send:x"] {
            let error = arm(Blow::Stop, Some(wrong)).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("TRUNKLINE_STOP_AT is `{wrong}`; it must be POINT")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_point_concerns_its_type_only() {
        let spec = parse("after_send@athena_query").unwrap();
        assert!(spec.concerns("after_send", "athena_query"));
        assert!(!spec.concerns("after_send", "glue_job"));
        assert!(!spec.concerns("after_intent", "athena_query"));
        assert!(parse("after_commit").unwrap().concerns("after_commit", ""));
    }
}
