//! The private Postgres: find or fetch its binaries, make a data folder, start it on a Unix
//! socket, share it, stop it.
//!
//! This crate knows a folder and a server, and nothing of pipelines, runs or schemas; no SQL of
//! the store will ever stand here. It opens no network port and reads no password.
//!
//! | module | what |
//! |---|---|
//! | [`settings`] | what a caller chooses; the only place that reads the process environment |
//! | [`binaries`], [`wheel`] | which `postgres` and `initdb` to use |
//! | [`account`] | as whom the server runs (never as root) |
//! | [`home`] | where its data and its socket lie |
//! | [`cluster`] | `initdb` |
//! | [`postmaster`] | is the server that a pid file names alive? |
//! | [`server`] | start, adopt, wait, stop |
//! | [`testing`] | one throw-away server for all test processes of a user |

pub mod account;
pub mod binaries;
pub mod cluster;
pub mod error;
pub mod home;
mod patience;
pub mod postmaster;
pub mod server;
pub mod settings;
pub mod testing;
pub mod wheel;

pub use binaries::{Binaries, find_binaries};
pub use error::PostgresError;
pub use server::{Server, start};
pub use settings::{BinaryChoice, Durability, Environment, Options};
