//! What every service of the sandbox shares: the folder, the clock, the ledger, the fault script, the objects.
//!
//! Passed as `Arc<World>`. Services keep their own state; nothing of one service's rules lives here. The only
//! readings of the real clock, the only random numbers and the only sleeps of this crate are in this file.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::faults::Faults;
use crate::ledger::Ledger;
use crate::logs;
use crate::mailbox::Mailbox;
use crate::s3::Store;
use crate::{Options, SandboxError};

/// The account of everybody who names no other. Twelve zeros cannot be mistaken for a real account.
pub(crate) const ACCOUNT: &str = "000000000000";

/// Where the folders of other accounts lie, below the sandbox's own.
pub(crate) const ACCOUNTS_FOLDER: &str = "accounts";

/// The region of resources that are made without a signed request (by provisioning).
pub(crate) const REGION: &str = "us-east-1";

/// What the options fix for the life of the process.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Real duration per nominal duration of simulated waits.
    pub time_scale: f64,
    /// Age at which signed requests are refused.
    pub signature_age_max: Duration,
}

/// The wall clock, as a value that is passed on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock;

impl Clock {
    /// The time now.
    #[expect(clippy::disallowed_methods, reason = "the one reading of the wall clock in this crate")]
    #[expect(clippy::unused_self, reason = "time comes from a clock that was passed in")]
    pub(crate) fn now(self) -> Timestamp {
        Timestamp::now()
    }
}

/// Everything the services share.
#[derive(Debug)]
pub(crate) struct World {
    /// The folder of the account: the sandbox's own for [`ACCOUNT`].
    pub root: PathBuf,
    /// The account whose things these are.
    pub account: Arc<str>,
    /// The wall clock.
    pub clock: Clock,
    /// Fixed settings.
    pub settings: Settings,
    /// Accepted starts and the count of calls.
    pub ledger: Arc<Ledger>,
    /// The fault script.
    pub faults: Arc<Faults>,
    /// The objects of all buckets: their names are one space for all accounts, as on AWS, and every account
    /// reads every bucket.
    pub s3: Arc<Store>,
    /// What CloudWatch Logs holds.
    pub logs: logs::Store,
    /// Delivered mail.
    pub mailbox: Arc<Mailbox>,
    endpoint: String,
    /// Held as long as the world exists; the kernel releases it when the process dies, however it dies.
    lock: Arc<File>,
}

impl World {
    /// Opens (or makes) the folder and reads what the previous process left there.
    pub(crate) fn open(options: Options, endpoint: String) -> Result<Self, SandboxError> {
        if !(options.time_scale.is_finite() && options.time_scale > 0.0) {
            return Err(SandboxError::Option { name: "time_scale", reason: "must be positive and finite" });
        }
        let root = options.root;
        std::fs::create_dir_all(&root).map_err(|error| SandboxError::files("make", &root, error))?;
        // Subprocesses run in folders of their own, so every path they are given must be absolute.
        let root = root.canonicalize().map_err(|error| SandboxError::files("resolve", &root, error))?;
        let lock = take_lock(&root)?;
        let clock = Clock;
        Ok(Self {
            account: ACCOUNT.into(),
            ledger: Arc::new(Ledger::open(&root.join("ledger.jsonl"))?),
            faults: Arc::new(Faults::open(&root.join("faults.json"))?),
            s3: Arc::new(Store::open(&root)?),
            logs: logs::Store::open(root.join("cloudwatch"))?,
            mailbox: Arc::new(Mailbox::open(&root.join("mailbox"))?),
            settings: Settings {
                time_scale: options.time_scale,
                signature_age_max: options.signature_age_max,
            },
            clock,
            root,
            endpoint,
            lock: Arc::new(lock),
        })
    }

    /// The same sandbox as another account sees it: what is common to all is shared, the rest lies in a folder
    /// of the account's own.
    pub(crate) fn of_account(&self, account: &str) -> Result<Self, SandboxError> {
        let root = self.root.join(ACCOUNTS_FOLDER).join(account);
        std::fs::create_dir_all(&root).map_err(|error| SandboxError::files("make", &root, error))?;
        let logs = logs::Store::open(root.join("cloudwatch"))?;
        Ok(Self {
            root,
            logs,
            account: account.into(),
            clock: self.clock,
            settings: self.settings.clone(),
            ledger: Arc::clone(&self.ledger),
            faults: Arc::clone(&self.faults),
            s3: Arc::clone(&self.s3),
            mailbox: Arc::clone(&self.mailbox),
            endpoint: self.endpoint.clone(),
            lock: Arc::clone(&self.lock),
        })
    }

    /// The access key with which programs that the sandbox starts belong to the account.
    pub(crate) fn access_key(&self) -> &str {
        if &*self.account == ACCOUNT { "sandbox" } else { &self.account }
    }

    /// The URL of this sandbox, for subprocesses and presigned links.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A new random id.
    #[expect(clippy::disallowed_methods, reason = "the one source of random ids in this crate")]
    #[expect(clippy::unused_self, reason = "ids come from the world, so that callers cannot make their own")]
    pub(crate) fn new_uuid(&self) -> Uuid {
        Uuid::new_v4()
    }

    /// The real duration of a simulated wait.
    pub(crate) fn scaled(&self, nominal: Duration) -> Duration {
        nominal.mul_f64(self.settings.time_scale)
    }

    /// Waits for a real duration.
    #[expect(clippy::disallowed_methods, reason = "simulated delays are what a sandbox is for")]
    pub(crate) async fn pause(&self, real: Duration) {
        tokio::time::sleep(real).await;
    }
}

fn take_lock(root: &Path) -> Result<File, SandboxError> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|error| SandboxError::files("open", &path, error))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SandboxError::Busy { root: root.to_owned() }),
        Err(error) => Err(SandboxError::files("lock", &path, error.into())),
    }
}
