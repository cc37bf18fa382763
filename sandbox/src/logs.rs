//! CloudWatch Logs: groups, streams and their events; also where the outputs of jobs, containers and functions land.
//!
//! [`Store`] keeps the events as lines of files that people can read; [`call`] gives it the shapes of the API.
//! Metric filters, subscriptions and Insights are not part of the sandbox.

mod api;
mod pattern;
mod store;

pub(crate) use api::call;
pub(crate) use store::Store;
