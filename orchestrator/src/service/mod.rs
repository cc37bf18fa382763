//! What the commands do, without how it looks: plain functions over the store, the project
//! and the engine. The API uses the same ones.
//!
//! | file | what |
//! |---|---|
//! | `find.rs` | from what a person types to a run or a pipeline, with suggestions |
//! | `request.rs` | from `--date` and `-p` to the run that is wanted |
//! | `choose.rs` | one run, or many of a pipeline by date and state |
//! | `backfill.rs` | which dates a backfill runs |
//! | `clear.rs`, `mark.rs` | what a clear would run again, what a mark would change |
//! | `newest.rs` | a run on the newest version instead of its own |
//! | `many.rs` | one command for many runs |
//! | `mails.rs` | the sandbox's mailbox as people read it |
//! | `foresee.rs` | what a command would change, without doing it |
//! | `trigger.rs` | a run of what is deployed, asked for once however often it is sent |
//! | `triggers.rs` | what waits for pipelines that events make runs of |
//! | `token.rs` | tokens of the API: made, read, compared |
//! | `rights.rs`, `account.rs` | what somebody may do, and where; what accounts may be |
//! | `sign_in.rs` | what a browser's cookie and the link that signs it in hold |
//! | `provider.rs` | an OpenID provider: whom it says that somebody is |
//! | `password.rs`, `throttle.rs` | passwords and their hashes; how often one may be tried |
//! | `grid.rs` | tasks by runs: the states of many runs at a glance |
//! | `snapshot.rs` | everything about one run at one moment |
//! | `views.rs` | the same as JSON |
//! | `pipelines.rs` | pipelines at a glance, one with what its version says |
//! | `source.rs` | the YAML of a version: its warnings, the lines of a task |
//! | `console.rs`, `cost.rs` | a service's own page of an attempt; what attempts cost |
//! | `zones.rs` | the zones of the runs of a list |
//! | `why.rs` | one sentence: why is it not further |
//! | `cases/` | what came of a case of `tests.yaml`, against what must come of it |
//! | `plan.rs` | the exact requests that a run would make |
//! | `access.rs` | what a pipeline needs of its accounts: is it there, is it allowed, the policy |
//! | `elements.rs` | how the elements of mapped tasks stand, in words |
//! | `deploy.rs` | what a deploy changes, and for which live runs; the deploy itself |
//! | `receive.rs` | definitions that a client sent, as this server's project has them |
//! | `resolve.rs` | the handle of a job that a person found |
//! | `ledger.rs` | what the sandbox accepted twice |
//! | `sandbox.rs`, `provision.rs` | the sandbox's own paths, and what a pipeline needs there |
//!
//! No SQL, no terminal, no reading of the process environment.

pub mod access;
pub mod account;
pub mod backfill;
pub mod cases;
pub mod choose;
pub mod clear;
pub mod console;
pub mod cost;
pub mod deploy;
pub mod elements;
pub mod find;
pub mod foresee;
pub mod grid;
pub mod ledger;
pub mod mails;
pub mod many;
pub mod mark;
pub mod newest;
pub mod password;
pub mod pipelines;
pub mod plan;
pub mod provider;
pub mod provision;
pub mod receive;
pub mod request;
pub mod resolve;
pub mod rights;
pub mod sandbox;
pub mod sign_in;
pub mod snapshot;
pub mod source;
pub mod throttle;
pub mod token;
pub mod trigger;
pub mod triggers;
pub mod views;
pub mod why;
pub mod zones;

pub use self::{find::FindError, sandbox::SandboxCallError, snapshot::Snapshot};
