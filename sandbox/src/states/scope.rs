//! What the expressions of a state are evaluated on, in either query language: data, context object, variables,
//! and the two things that must be the same when an interrupted execution is continued: chance and time.
//!
//! How an expression is written and what it does with these stands with each language, never here.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::variables::Variables;

/// What an expression is evaluated on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// What `$` means in `JSONPath`, and `$states.input` in `JSONata`.
    pub input: &'a Value,
    /// What `$$` means, and `$states.context`.
    pub context: &'a Value,
    /// `$states.result`, once there is one.
    pub result: Option<&'a Value>,
    /// `$states.errorOutput`, in a catcher.
    pub error: Option<&'a Value>,
    /// The variables as they were when the state was entered.
    pub variables: &'a Variables,
    /// Where chance comes from.
    pub dice: &'a Dice,
    /// What `$now()` gives: the time of the recorded event that led here.
    pub now: Timestamp,
}

impl<'a> Scope<'a> {
    /// A scope without result and error.
    pub(super) fn new(
        input: &'a Value,
        context: &'a Value,
        variables: &'a Variables,
        dice: &'a Dice,
        now: Timestamp,
    ) -> Self {
        Self { input, context, result: None, error: None, variables, dice, now }
    }

    /// The same with other data.
    pub(super) fn on(self, input: &'a Value) -> Self {
        Self { input, ..self }
    }
}

/// Chance that gives the same throws when an interrupted execution is continued: a hash of the execution,
/// the state's visit and the number of the throw.
#[derive(Debug)]
pub(super) struct Dice {
    seed: String,
    throws: AtomicU64,
}

impl Dice {
    /// The dice of one visit of one state in one execution.
    pub(super) fn new(execution: Uuid, key: &str) -> Self {
        Self { seed: format!("{execution}/{key}"), throws: AtomicU64::new(0) }
    }

    /// Dice of its own for one field: its throws do not depend on which other fields were evaluated before.
    pub(super) fn of_field(&self, field: &str) -> Self {
        Self { seed: format!("{}/{field}", self.seed), throws: AtomicU64::new(0) }
    }

    /// Dice that always throw the same for one seed, whatever the execution.
    pub(super) fn seeded(seed: &str) -> Self {
        Self::new(Uuid::nil(), seed)
    }

    /// Sixteen bytes of chance.
    pub(super) fn bytes(&self) -> [u8; 16] {
        let throw = self.throws.fetch_add(1, Ordering::Relaxed);
        let digest = Sha256::digest(format!("{}/{throw}", self.seed).as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes
    }

    /// A number in [0, 1).
    pub(super) fn unit(&self) -> f64 {
        let mut eight = [0; 8];
        eight.copy_from_slice(&self.bytes()[..8]);
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
        let unit = (u64::from_be_bytes(eight) >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }

    /// The text of a UUID of version 4.
    pub(super) fn uuid(&self) -> String {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid().to_string()
    }
}
