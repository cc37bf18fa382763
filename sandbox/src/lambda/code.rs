//! A function's code: unpacked once into a folder that its content names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::record::Code;
use super::{Lambda, internal, invalid};
use crate::wire::ApiError;

/// AWS's limit for a zip file that is uploaded in the call; one from S3 may have more.
const ZIP_BYTES_MAX: usize = 50 * 1024 * 1024;

/// AWS's limit for the source of an inline function.
const SOURCE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Unpacks with Python's own reader, which keeps every path inside the folder. 250 MB is AWS's limit.
const UNPACK: &str = "\
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as packed:
    if sum(entry.file_size for entry in packed.infolist()) > 250 * 1024 * 1024:
        sys.exit('Unzipped size must be smaller than 262144000 bytes')
    packed.extractall(sys.argv[2])
";

/// What a function is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// A zip file.
    Zip(Vec<u8>),
    /// The text of `index.py`, as a template may hold it.
    Inline(String),
}

impl Lambda {
    /// Keeps the code of a function.
    pub(super) async fn keep_code(&self, source: Source) -> Result<Code, ApiError> {
        let (bytes, is_zip) = match source {
            Source::Zip(bytes) if bytes.len() > ZIP_BYTES_MAX => {
                return Err(invalid(format!("Unzipped size must be smaller than {ZIP_BYTES_MAX} bytes")));
            }
            Source::Zip(bytes) => (bytes, true),
            Source::Inline(text) if text.len() > SOURCE_BYTES_MAX => {
                return Err(invalid(format!("ZipFile must be shorter than {SOURCE_BYTES_MAX} characters")));
            }
            Source::Inline(text) => (text.into_bytes(), false),
        };
        let digest = Sha256::digest(&bytes);
        let name = hex::encode(digest);
        let folder = self.folder().join("code").join(&name);
        if !folder.exists() {
            // Beside its place first, so that a folder of this name is always whole.
            let fresh = self.folder().join("code").join(format!(".{}", self.world.new_uuid()));
            fs::create_dir_all(&fresh).map_err(internal)?;
            let made = if is_zip { unpack(&fresh, &bytes).await } else { write(&fresh, &bytes) };
            if let Err(error) = made {
                drop(fs::remove_dir_all(&fresh));
                return Err(error);
            }
            if fs::rename(&fresh, &folder).is_err() && !folder.exists() {
                return Err(internal(format!("cannot make {}", folder.display())));
            }
        }
        Ok(Code { folder: name, size: bytes.len() as u64, sha256: STANDARD.encode(digest) })
    }

    /// Where a function's code lies.
    pub(super) fn code_folder(&self, code: &Code) -> PathBuf {
        self.folder().join("code").join(&code.folder)
    }
}

fn write(folder: &Path, text: &[u8]) -> Result<(), ApiError> {
    fs::write(folder.join("index.py"), text).map_err(internal)
}

async fn unpack(folder: &Path, zip: &[u8]) -> Result<(), ApiError> {
    let packed = folder.with_extension("zip");
    fs::write(&packed, zip).map_err(internal)?;
    let output = tokio::process::Command::new("python3")
        .args(["-I", "-c", UNPACK])
        .arg(&packed)
        .arg(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    drop(fs::remove_file(&packed));
    let output = output.map_err(|error| internal(format!("cannot start python3: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match said.lines().last().filter(|line| line.starts_with("Unzipped size")) {
        Some(line) => Err(invalid(line)),
        None => {
            Err(invalid("Could not unzip uploaded file. Please check your file, then try to upload again."))
        }
    }
}
