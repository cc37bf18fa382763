//! The accounts of a sandbox, each with services of its own.
//!
//! Objects, mails, the ledger, the fault script and the roles are common to all accounts; everything else
//! belongs to the account that made it and is seen by no other. An access key of twelve digits names its
//! account, the credentials of an assumed role belong to the role's, and all others to the first.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use super::dispatch::Services;
use crate::SandboxError;
use crate::sts::{Caller, Sts, is_account};
use crate::wire::ApiError;
use crate::world::{ACCOUNT, ACCOUNTS_FOLDER, World};

/// Accounts beside the first one. Each costs a dozen folders and as many tables in memory; a test of many
/// accounts needs two.
const ACCOUNTS_MAX: usize = 20;

/// All accounts.
#[derive(Debug)]
pub(crate) struct Accounts {
    first: Arc<Services>,
    others: RwLock<BTreeMap<String, Arc<Services>>>,
    /// Held while an account is made.
    making: Mutex<()>,
    sts: Arc<Sts>,
}

impl Accounts {
    /// Opens the first account and those that an earlier process made.
    pub(super) async fn open(world: Arc<World>) -> Result<Self, SandboxError> {
        let sts = Arc::new(Sts::open(Arc::clone(&world))?);
        let first = Arc::new(Services::open(Arc::clone(&world), Arc::clone(&sts)).await?);
        let others = RwLock::default();
        let accounts = Self { first, others, making: Mutex::new(()), sts };
        let folder = world.root.join(ACCOUNTS_FOLDER);
        let known = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for name in known.filter_map(|entry| entry.file_name().into_string().ok()) {
            if is_account(&name) {
                accounts.make(&name).await?;
            }
        }
        Ok(accounts)
    }

    /// Who calls with this access key.
    pub(super) fn caller(&self, access_key: Option<&str>) -> Caller {
        self.sts.caller(access_key)
    }

    /// The first account.
    pub(crate) fn first(&self) -> &Arc<Services> {
        &self.first
    }

    /// The services of an account, made if it is new.
    pub(crate) async fn of(&self, account: &str) -> Result<Arc<Services>, ApiError> {
        if account == ACCOUNT {
            return Ok(Arc::clone(&self.first));
        }
        if let Some(known) = self.known(account) {
            return Ok(known);
        }
        if !is_account(account) {
            return Err(ApiError::new(400, "ValidationError", format!("`{account}` is no account number")));
        }
        self.make(account).await.map_err(ApiError::internal)
    }

    async fn make(&self, account: &str) -> Result<Arc<Services>, SandboxError> {
        let _alone = self.making.lock().await;
        if let Some(known) = self.known(account) {
            return Ok(known);
        }
        if self.others.read().unwrap_or_else(PoisonError::into_inner).len() >= ACCOUNTS_MAX {
            return Err(SandboxError::Option {
                name: "account",
                reason: "a sandbox has at most 21 accounts",
            });
        }
        let world = Arc::new(self.first.world().of_account(account)?);
        let services = Arc::new(Services::open(world, Arc::clone(&self.sts)).await?);
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        others.insert(account.to_owned(), Arc::clone(&services));
        Ok(services)
    }

    fn known(&self, account: &str) -> Option<Arc<Services>> {
        self.others.read().unwrap_or_else(PoisonError::into_inner).get(account).cloned()
    }

    /// Ends what runs in the background, in all accounts.
    pub(super) async fn shutdown(&self) {
        let others: Vec<Arc<Services>> =
            self.others.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for services in others.iter().chain([&self.first]) {
            services.shutdown().await;
        }
    }
}
