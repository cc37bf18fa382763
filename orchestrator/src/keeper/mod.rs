//! The keeper: one background process per project that owns what all commands of the project share,
//! the private Postgres and the sandbox.
//!
//! It is started by whichever command needs it first ([`attach`]), outlives each of them, and ends by
//! itself a while after the last. No scheduling happens here, and nothing is decided about runs: a
//! keeper that is killed costs a moment, never data.
//!
//! # Protocol
//!
//! All of it lies in the project's `.trunkline` folder and rests on `flock`, which the kernel
//! releases when a process ends, however it ends.
//!
//! | file | who locks it | meaning |
//! |---|---|---|
//! | `clients.lock` | every attached client, shared; the keeper, exclusively, to end | somebody needs the keeper |
//! | `keeper.lock` | the keeper, exclusively, for its whole life | there is one keeper at most |
//! | `keeper.json` | the keeper, exclusively, from before the file has its name | what it says is true |
//! | `keeper.wants/` | nobody | `postgres`, `sandbox`: what clients asked for |
//!
//! *A state file is true exactly as long as its writer holds it.* The keeper locks the file under a
//! scratch name and renames it; so whoever opens `keeper.json` and can lock it knows that its writer
//! is dead, whatever process has got its id since.
//!
//! **Attaching**: (1) lock `clients.lock` shared; from here on no keeper that has not yet decided to end will
//! end. (2) Write down what is wanted. (3) Read `keeper.json`: if it is true and has what is wanted,
//! done; if it is true and lacks something, send SIGHUP and look again. (4) Otherwise, if `keeper.lock` is free,
//! start a keeper; look again. Of several keepers that start at once one gets `keeper.lock`, the others end quietly.
//!
//! **Ending**: the keeper tries `clients.lock` exclusively from time to time and lets go again. Clients that came and
//! went in between have left a byte in it. When nobody has been there for the time to linger, it keeps the
//! lock, takes `keeper.json` away, stops everything and exits; a client that comes now waits in step 1 until that
//! is done, and then starts a new keeper. There is no moment at which a client can hold an address
//! whose keeper has decided to end.
//!
//! **Crashes**: if the keeper is killed, its Postgres goes on serving the attached clients; the next
//! keeper adopts it, or starts a new one on the same data and the same URL. If Postgres is killed, the
//! keeper starts it again. SIGTERM ends the keeper at once, whoever is attached.

mod attach;
mod error;
mod keep;
mod places;
mod state;

pub use attach::{Attached, Launcher, Needs, Status, Stopped, attach, attach_with, forget, status, stop};
pub use error::KeeperError;
pub use keep::{Ended, KeepOptions, SandboxRunning, SandboxStart, keep};
pub use state::{Kept, KeptPostgres, KeptSandbox};
