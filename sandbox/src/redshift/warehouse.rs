//! Which workgroups and clusters there are, and the databases in them. Provisioning makes them; statements to others
//! are refused as the service does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::api::invalid;
use crate::SandboxError;
use crate::files::{read_json, replace_json};
use crate::wire::ApiError;

/// The database of a namespace or cluster that names none (the service's own default).
const DEFAULT_DATABASE: &str = "dev";

/// How much of a readable name `PostgreSQL` has room for beside the hash (63 bytes in all).
const READABLE_MAX: usize = 48;

/// Everything that was provisioned.
#[derive(Debug)]
pub(crate) struct Warehouses {
    path: PathBuf,
    made: Mutex<Made>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Made {
    /// The database of each namespace.
    namespaces: BTreeMap<String, String>,
    /// The namespace of each workgroup.
    workgroups: BTreeMap<String, String>,
    /// The database of each cluster.
    clusters: BTreeMap<String, String>,
}

/// Where statements of a request run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The cluster, if it is one.
    pub cluster: Option<String>,
    /// The workgroup, if it is one.
    pub workgroup: Option<String>,
    /// Who owns the data: a namespace or a cluster.
    owner: String,
    /// The database that exists.
    database: String,
}

/// What provisioning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provisioned {
    /// It was not there.
    Created,
    /// It was there and different.
    Updated,
    /// It was there.
    Unchanged,
}

impl Warehouses {
    /// Reads what an earlier process left.
    pub(super) fn open(path: PathBuf) -> Result<Self, SandboxError> {
        let made = read_json(&path)?.unwrap_or_default();
        Ok(Self { path, made: Mutex::new(made) })
    }

    /// Makes a namespace.
    pub(crate) fn put_namespace(&self, name: &str, database: Option<&str>) -> Result<Provisioned, ApiError> {
        self.put(|made| &mut made.namespaces, name, database.unwrap_or(DEFAULT_DATABASE))
    }

    /// Makes a cluster.
    pub(crate) fn put_cluster(&self, name: &str, database: Option<&str>) -> Result<Provisioned, ApiError> {
        self.put(|made| &mut made.clusters, name, database.unwrap_or(DEFAULT_DATABASE))
    }

    /// Makes a workgroup of a namespace.
    pub(crate) fn put_workgroup(&self, name: &str, namespace: Option<&str>) -> Result<Provisioned, ApiError> {
        let Some(namespace) = namespace else {
            return Err(invalid("a workgroup needs NamespaceName"));
        };
        if !self.lock().namespaces.contains_key(namespace) {
            return Err(ApiError::new(
                400,
                "ResourceNotFoundException",
                format!("namespace {namespace} was not found: put it into the template"),
            ));
        }
        self.put(|made| &mut made.workgroups, name, namespace)
    }

    /// The cluster or workgroup that a request names.
    pub(super) fn target(&self, cluster: Option<&str>, workgroup: Option<&str>) -> Result<Target, ApiError> {
        let made = self.lock();
        match (cluster, workgroup) {
            (None, None) => Err(invalid("Either ClusterIdentifier or WorkgroupName needs to be specified.")),
            (Some(_), Some(_)) => {
                Err(invalid("Only one of ClusterIdentifier and WorkgroupName can be specified."))
            }
            (Some(name), None) => {
                let database = made.clusters.get(name).ok_or_else(|| absent("cluster", name))?;
                Ok(Target {
                    cluster: Some(name.to_owned()),
                    workgroup: None,
                    owner: format!("cluster {name}"),
                    database: database.clone(),
                })
            }
            (None, Some(asked)) => {
                // Of an ARN, what follows the last slash.
                let name = asked.rsplit('/').next().unwrap_or(asked);
                let namespace = made.workgroups.get(name).ok_or_else(|| absent("workgroup", name))?;
                let database =
                    made.namespaces.get(namespace).ok_or_else(|| absent("namespace", namespace))?;
                Ok(Target {
                    cluster: None,
                    workgroup: Some(name.to_owned()),
                    owner: format!("namespace {namespace}"),
                    database: database.clone(),
                })
            }
        }
    }

    fn put(
        &self,
        kind: impl Fn(&mut Made) -> &mut BTreeMap<String, String>,
        name: &str,
        value: &str,
    ) -> Result<Provisioned, ApiError> {
        let mut made = self.lock();
        let mut changed = made.clone();
        let before = kind(&mut changed).insert(name.to_owned(), value.to_owned());
        let done = match before {
            None => Provisioned::Created,
            Some(before) if before == value => return Ok(Provisioned::Unchanged),
            Some(_) => Provisioned::Updated,
        };
        replace_json(&self.path, &changed).map_err(ApiError::internal)?;
        *made = changed;
        Ok(done)
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    /// The databases that can be asked.
    pub(super) fn databases(&self) -> [&str; 1] {
        [&self.database]
    }

    /// The name of the cluster or workgroup.
    pub(super) fn name(&self) -> &str {
        self.cluster.as_deref().or(self.workgroup.as_deref()).unwrap_or_default()
    }

    /// Where a database lies in `PostgreSQL`; the error is the service's for a database that does not exist.
    pub(super) fn place_of(&self, database: &str) -> Result<String, String> {
        if database != self.database {
            return Err(format!("FATAL: database \"{database}\" does not exist"));
        }
        let whole = format!("{} {database}", self.owner);
        let readable: String = whole
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .take(READABLE_MAX)
            .collect();
        // Names that read alike must not share their data.
        let mut hash = hex::encode(Sha256::digest(whole.as_bytes()));
        hash.truncate(8);
        Ok(format!("{readable}_{hash}"))
    }
}

fn absent(kind: &str, name: &str) -> ApiError {
    invalid(format!(
        "Redshift endpoint doesn't exist in this region. (The sandbox has no {kind} {name}: put it into the template.)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.json");
        let made = Warehouses::open(path.clone()).unwrap();
        assert!(made.put_workgroup("reports", Some("n")).is_err(), "no workgroup without its namespace");
        assert_eq!(made.put_namespace("n", Some("sales")).unwrap(), Provisioned::Created);
        assert_eq!(made.put_workgroup("reports", Some("n")).unwrap(), Provisioned::Created);
        assert_eq!(made.put_workgroup("reports", Some("n")).unwrap(), Provisioned::Unchanged);
        assert_eq!(made.put_cluster("c", None).unwrap(), Provisioned::Created);
        let made = Warehouses::open(path).unwrap();
        let arn = "arn:aws:redshift-serverless:us-east-1:000000000000:workgroup/reports";
        assert_eq!(made.target(None, Some(arn)).unwrap(), made.target(None, Some("reports")).unwrap());
        let target = made.target(None, Some("reports")).unwrap();
        assert!(target.place_of("sales").unwrap().starts_with("namespace_n_sales_"));
        assert_eq!(target.place_of("dev").unwrap_err(), "FATAL: database \"dev\" does not exist");
        assert!(made.target(Some("c"), None).unwrap().place_of("dev").is_ok());
        for (cluster, workgroup) in
            [(None, None), (Some("c"), Some("reports")), (Some("x"), None), (None, Some("x"))]
        {
            assert_eq!(made.target(cluster, workgroup).unwrap_err().code, "ValidationException");
        }
    }

    #[test]
    fn long_names_stay_apart() {
        let target = |owner: &str| Target {
            cluster: None,
            workgroup: None,
            owner: owner.to_owned(),
            database: "d".repeat(60),
        };
        let place = |owner: &str| target(owner).place_of(&"d".repeat(60)).unwrap();
        assert!(place(&"o".repeat(60)).len() <= 63);
        assert_ne!(place(&format!("{}1", "o".repeat(60))), place(&format!("{}2", "o".repeat(60))));
        assert_ne!(place("a-b"), place("a_b"));
    }
}
