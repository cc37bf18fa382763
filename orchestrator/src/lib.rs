//! Trunkline, the program: command line, definitions, engine, service.
//!
//! | module | what lives there |
//! |---|---|
//! | [`cli`] | the commands: what people type and read |
//! | [`api`] | the same over HTTP, for programs |
//! | [`service`] | what the commands do, without how it looks |
//! | [`engine`] | one replica: owns runs and advances them |
//! | [`definition`], [`project`] | YAML into validated pipelines, environments |
//! | [`keeper`] | the background process with the private Postgres and the sandbox |
//! | [`message`], [`graph`] | mails and pictures, as pure text |
//! | [`trace`] | a run that ended as OpenTelemetry's spans |
//! | [`generate`] | made-up source data |
//! | [`clock`], [`config`] | the present, ids and settings, as values |
//!
//! What a run is and what may happen to it is decided in `trunkline-state`; how external jobs
//! are started, in `trunkline-tasks`. No SQL and no AWS SDK here.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod definition;
pub mod engine;
#[doc(hidden)]
pub mod fuzzing;
pub mod generate;
pub mod graph;
pub mod keeper;
pub mod message;
pub mod project;
pub mod service;
pub mod trace;

/// What the program allocates with: it gives pages back after a burst of starts, where the
/// system's own keeps them (measured: `docs/decisions/0009-allocator.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
