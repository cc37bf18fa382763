//! Where a server's files lie, and its socket.
//!
//! An ordinary user's server lives in the project: `.trunkline/postgres/`. Root's server runs as an
//! account that often cannot enter the project (think of `/root`), so its files lie in
//! `/var/lib/trunkline/<hash of the project's path>/` and `.trunkline/postgres.path` says so.
//!
//! ```text
//! data/     owned by the server's account, mode 0700
//! socket/   owned by the server's account, mode 0700: this guards the server, it asks no password
//! log       what the server says
//! lock      held by the process that owns the server
//! project   (root) whose data this is, so that a copied project does not share the original's
//! ```

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::account::{Account, is_root};
use crate::error::PostgresError;
use crate::postmaster::{self, Occupant};
use crate::settings::Options;

/// Longest socket path that all systems take (macOS: 104 with the final zero).
const LONGEST_SOCKET_PATH: usize = 103;

/// The socket's file name; the port is only a name here, none is opened.
const SOCKET_FILE: &str = ".s.PGSQL.5432";

/// More homes of one project than this mean that something makes them in vain.
const HOMES_PER_PROJECT: u32 = 100;

/// Names the home of root's server, inside `.trunkline`.
const POINTER: &str = "postgres.path";

/// The places of one server.
#[derive(Debug, Clone)]
pub struct Home {
    /// The folder of all that follows.
    pub root: PathBuf,
    /// The data folder; missing before the first start.
    pub data: PathBuf,
    /// The socket's folder.
    pub socket: PathBuf,
    /// Who owns the data.
    pub account: Account,
}

impl Home {
    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Held exclusively by the process that owns the server.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The URL of one database of this server, for this program and for psql. Everything that an
    /// environment variable could change is spelled out.
    pub fn url(&self, database: &str) -> String {
        let socket = escaped(&self.socket.to_string_lossy());
        let user = crate::settings::DATABASE;
        format!("postgresql:///{database}?host={socket}&port=5432&user={user}&sslmode=disable")
    }

    /// The major version that wrote the data, `None` before the first start.
    pub fn major(&self) -> Result<Option<u32>, PostgresError> {
        let file = self.data.join("PG_VERSION");
        match std::fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| PostgresError::Place {
                path: file,
                cause: format!("it should hold a version and holds {:?}", text.trim()),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.data.exists() => Ok(None),
            Err(source) => Err(PostgresError::File { action: "reading", path: file, source }),
        }
    }
}

/// Finds the home of the options' folder and makes its folders. Blocks.
pub fn locate(options: &Options) -> Result<Home, PostgresError> {
    std::fs::create_dir_all(&options.folder).map_err(PostgresError::file("creating", &options.folder))?;
    let folder = options.folder.canonicalize().map_err(PostgresError::file("reading", &options.folder))?;
    let in_project = folder.join("postgres");
    let owner = owner_of(&in_project.join("data"));
    let (root, owner) = if !is_root() || owner.is_some_and(|(uid, _)| uid != 0) {
        (in_project, owner)
    } else {
        let root = root_home(&folder, &options.root_base)?;
        let owner = owner_of(&root.join("data"));
        (root, owner)
    };
    let account = Account::for_server(&options.environment, owner)?;
    // Passing through is all that the server's account needs; there is nothing to list.
    make_folder(&root, if account.switch { 0o711 } else { 0o700 })?;
    let socket = socket_folder(&root, account)?;
    Ok(Home { data: root.join("data"), root, socket, account })
}

/// The data folder of the options' folder, if there is one; makes nothing.
pub fn existing_data(options: &Options) -> Option<PathBuf> {
    let folder = options.folder.canonicalize().ok()?;
    let in_project = folder.join("postgres").join("data");
    if owner_of(&in_project).is_some() {
        return Some(in_project);
    }
    let elsewhere = recorded_home(&folder.join(POINTER), &options.root_base, &folder)?.join("data");
    owner_of(&elsewhere).map(|_| elsewhere)
}

/// Owner and group of an existing folder.
fn owner_of(path: &Path) -> Option<(u32, u32)> {
    std::fs::symlink_metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_dir)
        .map(|found| (found.uid(), found.gid()))
}

/// Root's home for a project: the recorded one if it is this project's, else a new one.
fn root_home(folder: &Path, base: &Path) -> Result<PathBuf, PostgresError> {
    let pointer = folder.join(POINTER);
    make_folder(base, 0o755)?;
    // One at a time: a home that two processes made for one project would split its data.
    let lock_path = pointer.with_extension("lock");
    let lock = std::fs::File::create(&lock_path).map_err(PostgresError::file("creating", &lock_path))?;
    lock.lock().map_err(PostgresError::file("locking", &lock_path))?;
    if let Some(recorded) = recorded_home(&pointer, base, folder) {
        return Ok(recorded);
    }
    let mut abandoned: Vec<PathBuf> = Vec::new();
    for name in (1..=HOMES_PER_PROJECT).map(|number| format!("{}-{number}", short_hash(folder))) {
        let home = base.join(name);
        match std::fs::create_dir(&home) {
            Ok(()) => {
                make_folder(&home, 0o711)?;
                write(&home.join("project"), &folder.to_string_lossy())?;
                write(&pointer, &home.to_string_lossy())?;
                for old in abandoned {
                    discard(&old, folder);
                }
                return Ok(home);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => abandoned.push(home),
            Err(source) => return Err(PostgresError::File { action: "creating", path: home, source }),
        }
    }
    let cause =
        format!("it holds {HOMES_PER_PROJECT} folders of this project already; remove those not in use");
    Err(PostgresError::Place { path: base.to_owned(), cause })
}

/// Deletes what root's server keeps outside of the options' folder, for a folder that is about to be
/// deleted itself. A server that still runs keeps its files.
pub fn forget(options: &Options) {
    let Ok(folder) = options.folder.canonicalize() else { return };
    if let Some(home) = recorded_home(&folder.join(POINTER), &options.root_base, &folder) {
        discard(&home, &folder);
    }
}

/// Deletes a home that its project no longer points to: its `.trunkline` folder was deleted and made
/// again, which for everybody else deletes the data too. Not the homes of projects that were moved.
fn discard(home: &Path, folder: &Path) {
    let own =
        std::fs::read_to_string(home.join("project")).is_ok_and(|text| Path::new(text.trim()) == folder);
    if own && !matches!(postmaster::occupant(&home.join("data")), Occupant::Alive(_)) {
        tracing::info!(home = %home.display(), "removing the data of a project folder that was deleted");
        let _ = std::fs::remove_dir_all(home);
    }
}

/// The home that the pointer names, if it can be believed: a folder of root's directly in `base`, which
/// belongs to this project or to one that has been moved here.
fn recorded_home(pointer: &Path, base: &Path, folder: &Path) -> Option<PathBuf> {
    let recorded = PathBuf::from(std::fs::read_to_string(pointer).ok()?.trim());
    if recorded.parent() != Some(base) || owner_of(&recorded)?.0 != 0 {
        return None;
    }
    let mark = recorded.join("project");
    let project = PathBuf::from(std::fs::read_to_string(&mark).ok()?.trim());
    if project == folder {
        return Some(recorded);
    }
    let still_there =
        std::fs::read_to_string(project.join(POINTER)).is_ok_and(|text| Path::new(text.trim()) == recorded);
    if still_there {
        // The project was copied: its data stay with the original.
        return None;
    }
    write(&mark, &folder.to_string_lossy()).ok()?;
    Some(recorded)
}

/// The folder for the socket: beside the data if its path is short enough and the file system takes
/// sockets, else in `/tmp`.
fn socket_folder(root: &Path, account: Account) -> Result<PathBuf, PostgresError> {
    let beside = root.join("socket");
    if beside.as_os_str().len() + 1 + SOCKET_FILE.len() <= LONGEST_SOCKET_PATH {
        make_folder(&beside, 0o700)?;
        account.own_path(&beside)?;
        if takes_sockets(&beside) {
            return Ok(beside);
        }
    }
    let short = PathBuf::from(format!("/tmp/trunkline-{}-{}", account.uid, short_hash(root)));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&short);
    if made.is_ok() {
        account.own_path(&short)?;
    }
    // Anybody can make folders there: believe only our own.
    let found = std::fs::symlink_metadata(&short).map_err(PostgresError::file("creating", &short))?;
    if found.is_dir() && found.uid() == account.uid && found.permissions().mode().trailing_zeros() >= 6 {
        return Ok(short);
    }
    Err(PostgresError::Place {
        path: short,
        cause: "the socket's folder exists and is not a private folder of the server's account; remove it"
            .to_owned(),
    })
}

fn takes_sockets(folder: &Path) -> bool {
    let probe = folder.join(format!("probe-{}", std::process::id()));
    let bound = std::os::unix::net::UnixListener::bind(&probe).is_ok();
    let _ = std::fs::remove_file(&probe);
    bound
}

/// Makes a folder (and those above it) and sets the mode of that one, if it is this process's own.
fn make_folder(path: &Path, mode: u32) -> Result<(), PostgresError> {
    std::fs::create_dir_all(path).map_err(PostgresError::file("creating", path))?;
    let found = std::fs::symlink_metadata(path).map_err(PostgresError::file("reading", path))?;
    if !found.is_dir() {
        return Err(PostgresError::Place { path: path.to_owned(), cause: "it is not a folder".to_owned() });
    }
    if found.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(PostgresError::file("closing", path))
}

/// Writes a small file completely or not at all.
fn write(path: &Path, text: &str) -> Result<(), PostgresError> {
    let scratch = path.with_extension(format!("new-{}", std::process::id()));
    std::fs::write(&scratch, text).map_err(PostgresError::file("writing", &scratch))?;
    std::fs::rename(&scratch, path).map_err(PostgresError::file("writing", path))
}

/// Sixteen characters that stand for a path.
pub(crate) fn short_hash(path: &Path) -> String {
    let mut hash = hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()));
    hash.truncate(16);
    hash
}

/// Percent-encodes all but what is plain in the query of a URL.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            result.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(result, "%{byte:02X}");
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_survive_odd_folders() {
        assert_eq!(escaped("/tmp/a b&c=ü/s"), "/tmp/a%20b%26c%3D%C3%BC/s");
    }

    #[test]
    fn a_deep_project_gets_a_short_private_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("x".repeat(60)).join("y".repeat(60));
        std::fs::create_dir_all(&deep).expect("the folder");
        let socket = socket_folder(&deep, Account::own()).expect("a socket folder");
        assert!(socket.as_os_str().len() + 1 + SOCKET_FILE.len() <= LONGEST_SOCKET_PATH);
        assert_eq!(std::fs::metadata(&socket).expect("it exists").permissions().mode() & 0o777, 0o700);
        assert_eq!(socket_folder(&deep, Account::own()).expect("the same again"), socket);
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o755)).expect("opened");
        assert!(socket_folder(&deep, Account::own()).is_err());
        std::fs::remove_dir(&socket).expect("removed");
    }

    #[test]
    fn a_copied_project_does_not_share_data_and_a_moved_one_keeps_them() {
        let place = tempfile::tempdir().expect("a folder");
        let base = place.path().join("base");
        let (first, second) = (place.path().join("first"), place.path().join("second"));
        std::fs::create_dir_all(&first).expect("made");
        std::fs::create_dir_all(&second).expect("made");
        if !is_root() {
            return; // Only root has homes elsewhere.
        }
        let home = root_home(&first, &base).expect("a home");
        assert_eq!(root_home(&first, &base).expect("the same"), home);
        std::fs::copy(first.join(POINTER), second.join(POINTER)).expect("copied");
        assert_ne!(root_home(&second, &base).expect("another"), home);
        let moved = place.path().join("moved");
        std::fs::rename(&first, &moved).expect("moved");
        assert_eq!(root_home(&moved, &base).expect("the same"), home);
        std::fs::remove_file(moved.join(POINTER)).expect("deleted");
        let fresh = root_home(&moved, &base).expect("a fresh one");
        assert_ne!(fresh, home);
    }

    #[test]
    fn a_pointer_to_foreign_data_is_not_believed() {
        let place = tempfile::tempdir().expect("a folder");
        let base = place.path().join("base");
        std::fs::create_dir_all(&base).expect("made");
        let pointer = place.path().join(POINTER);
        std::fs::write(&pointer, "/var/lib/postgresql/15/main").expect("written");
        assert_eq!(recorded_home(&pointer, &base, place.path()), None);
    }
}
