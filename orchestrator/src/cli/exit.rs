//! How a command ends: 0 done, 1 the run failed, 2 invalid usage or definition, 3 the store
//! or server cannot be reached. Scripts depend on these numbers.

use std::process::ExitCode;

use trunkline_state::store::StoreError;

use super::server::ServerError;
use crate::{
    engine::{AskError, EngineError},
    keeper::KeeperError,
    service::{FindError, SandboxCallError, newest::MoveError},
};

/// How a command ended that did what it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done,
    /// It did, and the run failed or was cancelled.
    RunFailed,
    /// It did not; everything was said already.
    Invalid,
}

/// A person asked for something that cannot be done; says what to do instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub String);

/// Everything was said already: ends a command with code 2.
#[derive(Debug, thiserror::Error)]
#[error("the definition is invalid")]
pub(crate) struct Reported;

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::RunFailed => Self::from(1),
            Exit::Invalid => Self::from(2),
        }
    }
}

/// Refuses with a text.
pub(crate) fn refuse<T>(text: impl Into<String>) -> anyhow::Result<T> {
    Err(Refused(text.into()).into())
}

/// The code for a command that gave up.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    if error.chain().any(is_unreachable) { 3 } else { 2 }
}

/// Errors that show another one's words as their own hide it from the chain: looked into.
fn is_unreachable(cause: &(dyn std::error::Error + 'static)) -> bool {
    let store = match (
        cause.downcast_ref::<StoreError>(),
        cause.downcast_ref::<EngineError>(),
        cause.downcast_ref::<AskError>(),
        cause.downcast_ref::<FindError>(),
    ) {
        (Some(store), ..) => Some(store),
        (_, Some(EngineError::Store(store)), ..) => Some(store),
        (_, _, Some(AskError::Store(store)), _) => Some(store),
        (.., Some(FindError::Store(store))) => Some(store),
        (_, _, Some(AskError::Unanswered), _) => return true,
        _ => match cause.downcast_ref::<MoveError>() {
            Some(MoveError::Store(store) | MoveError::Find(FindError::Store(store))) => Some(store),
            _ => None,
        },
    };
    store.is_some_and(StoreError::is_unreachable)
        || cause.is::<KeeperError>()
        || cause.downcast_ref::<ServerError>().is_some_and(ServerError::is_unreachable)
        || cause.downcast_ref::<SandboxCallError>().is_some_and(SandboxCallError::is_unreachable)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn what_cannot_be_reached_is_three_whatever_stands_around_it() {
        let keeper: anyhow::Error = KeeperError::InUse.into();
        assert_eq!(code_of(&keeper.context("while starting")), 3);
        let refused: anyhow::Result<()> = refuse("no such run");
        assert_eq!(code_of(&refused.context("while looking").unwrap_err()), 2);
    }
}
