//! Stub.
pub mod definition;
pub mod project;
