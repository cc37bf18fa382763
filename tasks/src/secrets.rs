//! Secrets by reference: from the name in a pipeline to the value in a call, and never
//! further.
//!
//! A template's `{{ secrets.token }}` becomes a **mark** in the rendered settings, and stays
//! one in everything that is stored: the request, the handle. Before the request is committed
//! the mark is *pinned* to the version that the secret has then ([`Secrets::pin`]), so that a
//! request that is sent again after a crash or a rotation is the same request. The value takes
//! the mark's place in memory, for the time of one call ([`Secrets::reveal`]), and whatever
//! comes back is searched for it ([`Secrets::conceal`]).
//!
//! The registry does all of that around every operator: an operator only says in which of its
//! settings a secret may stand ([`crate::operator::Operator::SECRETS`]).
//!
//! | file | what |
//! |---|---|
//! | `source.rs` | where a secret lies, as `trunkline.yaml` says it |
//! | `mark.rs` | the mark, and values that hold marks |
//! | `mask.rs` | finding values, and what they look like encoded, in texts and streams |
//! | `fetch.rs` | reading one from each of the five places |

mod fetch;
pub mod mark;
pub mod mask;
pub mod source;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, PoisonError, RwLock},
};

use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    clients::Clients,
    operator::{ErrorClass, Failure, Request},
};
use mark::Mark;
use mask::Mask;
use source::SecretSource;

/// Values kept in memory; above it they are read again.
const VALUES_MAX: usize = 1_000;

/// Looks up a variable of the process environment.
pub type Variables = fn(&str) -> Option<String>;

/// The secrets of one environment, with the values that were read so far.
pub struct Secrets {
    sources: IndexMap<String, SecretSource>,
    variables: Variables,
    /// By name and version: a version never changes.
    known: RwLock<HashMap<Mark, Arc<str>>>,
    mask: RwLock<Mask>,
}

/// One secret as it was read.
struct Read {
    value: String,
    /// `None` where the place keeps no versions.
    version: Option<String>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new(IndexMap::new(), |_| None)
    }
}

/// Without the values.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("sources", &self.sources).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Secrets that lie in these places. Nothing is read yet.
    pub fn new(sources: IndexMap<String, SecretSource>, variables: Variables) -> Self {
        Self { sources, variables, known: RwLock::default(), mask: RwLock::default() }
    }

    /// Reads every secret that the request names, and writes the versions that they have now
    /// into its marks.
    pub(crate) async fn pin(&self, clients: &Clients, request: &mut Request) -> Result<(), Failure> {
        let mut pins: HashMap<Mark, Mark> = HashMap::new();
        for mark in mark::marks(&request.body) {
            if mark.version.is_none() && !pins.contains_key(&mark) {
                let read = self.read(clients, &mark).await?;
                let pinned = Mark { version: read.version.clone(), ..mark.clone() };
                self.remember(&pinned, read.value);
                pins.insert(mark, pinned);
            }
        }
        if !pins.is_empty() {
            mark::replace(&mut request.body, &|mark| pins.get(mark).map(ToString::to_string));
        }
        Ok(())
    }

    /// The same value with every mark replaced by its secret. Only for the time of a call.
    pub(crate) async fn reveal(&self, clients: &Clients, value: &Value) -> Result<Value, Failure> {
        let mut values: HashMap<Mark, Arc<str>> = HashMap::new();
        for mark in mark::marks(value) {
            if let Entry::Vacant(place) = values.entry(mark) {
                let value = self.value(clients, place.key()).await?;
                place.insert(value);
            }
        }
        let mut revealed = value.clone();
        mark::replace(&mut revealed, &|mark| values.get(mark).map(|value| value.to_string()));
        Ok(revealed)
    }

    /// Replaces every secret that was read so far: by its mark where it stands as it is, by
    /// asterisks where it is encoded.
    pub(crate) fn conceal(&self, text: &str) -> Option<String> {
        self.mask.read().unwrap_or_else(PoisonError::into_inner).apply(text)
    }

    /// The same inside a value, keys of objects among it.
    pub(crate) fn conceal_value(&self, value: &mut Value) {
        let mask = self.mask.read().unwrap_or_else(PoisonError::into_inner);
        if !mask.is_empty() {
            mark::keys_and_texts(value, &mut |text| {
                if let Some(masked) = mask.apply(text) {
                    *text = masked;
                }
            });
        }
    }

    /// Whether no secret was read so far.
    pub(crate) fn is_silent(&self) -> bool {
        self.mask.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The secrets that stand in a text, for a program that is given it and must mask them
    /// itself.
    pub(crate) fn values_in(&self, text: &str) -> Vec<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut values: Vec<String> =
            known.values().filter(|value| text.contains(&***value)).map(ToString::to_string).collect();
        values.retain(|value| !value.is_empty());
        values.sort();
        values.dedup();
        values
    }

    /// The value of a secret in the version that is named, or in the newest.
    pub(crate) async fn value(&self, clients: &Clients, mark: &Mark) -> Result<Arc<str>, Failure> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(mark).cloned();
        match known {
            // What keeps no versions is read for every call.
            Some(value) if mark.version.is_some() => Ok(value),
            _ => {
                let read = self.read(clients, mark).await?;
                Ok(self.remember(mark, read.value))
            }
        }
    }

    async fn read(&self, clients: &Clients, mark: &Mark) -> Result<Read, Failure> {
        let source = self.sources.get(&mark.name).ok_or_else(|| {
            let name = &mark.name;
            Failure::new(
                ErrorClass::Config,
                format!("there is no secret `{name}` in this environment: add it under `secrets` in trunkline.yaml"),
            )
        })?;
        fetch::fetch(clients, self.variables, source, mark).await
    }

    fn remember(&self, mark: &Mark, value: String) -> Arc<str> {
        let value: Arc<str> = value.into();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= VALUES_MAX {
            known.clear();
        }
        known.insert(mark.clone(), Arc::clone(&value));
        drop(known);
        let mut mask = self.mask.write().unwrap_or_else(PoisonError::into_inner);
        mask.add(&value, &mark.to_string());
        value
    }
}

#[cfg(test)]
mod tests;
