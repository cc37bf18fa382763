//! What a run is, what may happen next, and how it is stored.
//!
//! | module | what lives there |
//! |---|---|
//! | [`ids`], [`words`] | names, ids and states: one spelling each |
//! | [`pipeline`] | a validated definition |
//! | [`schedule`] | cron, time zones, data intervals; pure |
//! | [`document`] | JSON that is carried and never looked into |
//! | [`run`] | a run, its task runs and attempts, as plain data |
//! | [`machine`] | `step`: the one function that decides; pure |
//! | [`triggers`] | events that make runs: how they are known, which become runs now; pure |
//! | [`versions`] | a run on another version than it began with; pure |
//! | `store` | the only SQL of the product (feature `store`) |
//!
//! Everything but `store` compiles without sqlx and tokio (`--no-default-features`): the
//! compiler guards the purity of the core. AWS, YAML and HTTP never come here.

pub mod document;
pub mod elements;
pub mod folders;
pub mod ids;
pub mod machine;
pub mod pipeline;
pub mod run;
pub mod schedule;
#[cfg(feature = "store")]
pub mod store;
pub mod triggers;
pub mod versions;
pub mod words;
