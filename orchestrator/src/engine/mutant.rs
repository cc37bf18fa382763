//! Planted mistakes, so that the fault rig can show that it would find them. Each removes one
//! rule that the safety argument rests on.
//!
//! They exist in debug builds only, and there only in a process that was started with
//! `TRUNKLINE_MUTANT`: a release build refuses the variable and holds none of this.

use std::sync::OnceLock;

/// Rules that can be broken.
pub const MUTANTS: [&str; 5] = [
    // What was there before an intent is not remembered.
    "no_baseline",
    // A stored request is not sent as it was stored but rendered again.
    "rendered_again",
    // A write that the fence refused counts as written.
    "rows_unchecked",
    // An unconfirmed start is sent again instead of being looked for.
    "send_for_find",
    // A start without an answer counts as failed: the next attempt may come.
    "early_retry",
];

/// Why no mistake was planted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MutantError {
    /// There is no such mistake.
    #[error("TRUNKLINE_MUTANT is `{0}`; it must be one of {MUTANTS:?}")]
    Unknown(String),
    /// Nobody tries this build.
    #[error("TRUNKLINE_MUTANT is set, and a release build knows no mutants; unset it")]
    Release,
}

static PLANTED: OnceLock<String> = OnceLock::new();

/// Plants a mistake; without a name nothing changes.
pub fn plant(name: Option<&str>) -> Result<(), MutantError> {
    let Some(name) = name else { return Ok(()) };
    if !cfg!(debug_assertions) {
        return Err(MutantError::Release);
    }
    if !MUTANTS.contains(&name) {
        return Err(MutantError::Unknown(name.to_owned()));
    }
    tracing::warn!("a mistake is planted: {name}");
    let _ = PLANTED.set(name.to_owned());
    Ok(())
}

/// Whether this mistake is to be made.
pub(super) fn is_planted(name: &str) -> bool {
    cfg!(debug_assertions) && PLANTED.get().is_some_and(|planted| planted == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_mistakes_can_be_planted() {
        assert_eq!(plant(None), Ok(()));
        assert!(plant(Some("no_such")).is_err());
        assert!(MUTANTS.iter().all(|name| !is_planted(name)));
    }
}
