//! The zones of pipelines' dates, for lists that show runs of many of them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use trunkline_state::store::{Store, StoreError};

use super::views::RunView;

/// Versions that are remembered; with more, all are forgotten and read again.
const KNOWN_MAX: usize = 10_000;

/// What was asked for once. A version never changes, so that what is known of it stays true.
#[derive(Debug, Default)]
pub struct Zones {
    known: Mutex<HashMap<(String, i32), String>>,
}

impl Zones {
    /// Says of each run of a list in which zone its dates are.
    pub async fn say(&self, store: &Store, runs: &mut [RunView]) -> Result<(), StoreError> {
        for run in runs {
            run.timezone = Some(self.of(store, &run.pipeline, run.version).await?);
        }
        Ok(())
    }

    async fn of(&self, store: &Store, pipeline: &str, version: i32) -> Result<String, StoreError> {
        let key = (pipeline.to_owned(), version);
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(zone) = known().get(&key) {
            return Ok(zone.clone());
        }
        let zone = store.definition(pipeline, version).await?.pipeline.timezone.clone();
        let mut known = known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key, zone.clone());
        Ok(zone)
    }
}
