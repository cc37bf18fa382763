//! As whom the server runs. Postgres refuses to run as root, so root's server gets an unprivileged
//! account; everybody else's runs as themselves. Accounts are looked up, never made.

use std::path::PathBuf;
use std::process::Command;

use crate::error::PostgresError;
use crate::settings::Environment;

/// Tried in this order when root named none: the account that packages make for Postgres, then the
/// one that every system has.
const DEFAULT_ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// Who owns the data and runs the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// This process is root and must become that account to run the server.
    pub switch: bool,
}

impl Account {
    /// The user of this process, as itself.
    pub fn own() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            switch: false,
        }
    }

    /// The account for a server that this process starts. `owner` is the owner of data that is
    /// already there: it decides, because nobody else could read them.
    pub fn for_server(environment: &Environment, owner: Option<(u32, u32)>) -> Result<Self, PostgresError> {
        if !is_root() {
            return Ok(Self::own());
        }
        if let Some((uid, gid)) = owner.filter(|(uid, _)| *uid != 0) {
            return Self { uid, gid, switch: true }.proved(&format!("with user id {uid}"));
        }
        if let Some(name) = &environment.user {
            let found = look_up(name).ok_or_else(|| unusable(name, "there is no such account"))?;
            return found.proved(name);
        }
        let mut last = None;
        for name in DEFAULT_ACCOUNTS {
            match look_up(name).map(|found| found.proved(name)) {
                Some(Ok(found)) => return Ok(found),
                Some(Err(error)) => last = Some(error),
                None => {}
            }
        }
        Err(last.unwrap_or_else(|| unusable("postgres or nobody", "there is no such account")))
    }

    /// Itself, if a program can really be run as this account: containers and user namespaces
    /// often have a root that cannot become anybody else.
    fn proved(self, name: &str) -> Result<Self, PostgresError> {
        use std::os::unix::process::CommandExt;
        if self.uid == 0 {
            return Err(unusable(name, "it is root"));
        }
        let tried = Command::new("true").uid(self.uid).gid(self.gid).current_dir("/").status();
        match tried {
            Ok(status) if status.success() => Ok(self),
            Ok(status) => Err(unusable(name, &format!("a program run as it ended with {status}"))),
            Err(error) => Err(unusable(name, &format!("this root may not become it ({error})"))),
        }
    }

    /// Gives a file or folder to the account, when this process is root.
    pub(crate) fn own_path(self, path: &std::path::Path) -> Result<(), PostgresError> {
        if !self.switch {
            return Ok(());
        }
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
            .map_err(PostgresError::file("giving away", path))
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Asks the system, so that accounts of any name service are found.
fn look_up(name: &str) -> Option<Account> {
    if name.is_empty() || name.starts_with('-') {
        return None;
    }
    let ask = |flag: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, name]).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok().filter(|_| output.status.success())
    };
    Some(Account { uid: ask("-u")?, gid: ask("-g")?, switch: true })
}

fn unusable(name: &str, cause: &str) -> PostgresError {
    PostgresError::Account { name: name.to_owned(), cause: cause.to_owned() }
}

/// Some unprivileged user id that the system knows by name; for programs that insist on one.
pub(crate) fn any_known_uid() -> Option<u32> {
    look_up("nobody").map(|account| account.uid).or_else(|| {
        let table = std::fs::read_to_string(PathBuf::from("/etc/passwd")).ok()?;
        table.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).find(|uid| *uid != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_options_or_unknown_are_not_accounts() {
        assert_eq!(look_up("-u"), None);
        assert_eq!(look_up("no-such-account-here"), None);
    }

    #[test]
    fn root_runs_the_server_as_somebody_else_and_others_as_themselves() {
        let account = Account::for_server(&Environment::default(), None).expect("an account");
        assert_eq!(account.switch, is_root());
        assert_ne!(account.uid, 0);
    }
}
