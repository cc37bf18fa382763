//! What a pipeline needs in the sandbox: its `aws.yaml`, applied when it or a file beside it
//! changed. On an account the same template goes through CloudFormation, never from here.
//!
//! A pipeline that reaches into several accounts has a template for each: `aws.yaml` for the
//! account of its own, `aws.events.yaml` for the account of connection `events`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::sandbox::{SandboxCallError, call};

/// The template's name in a pipeline's folder.
pub const TEMPLATE_FILE: &str = "aws.yaml";

/// Folders that hold data rather than definitions: a change in them provisions nothing.
const DATA_FOLDERS: [&str; 2] = ["sample", "data"];

/// How deep below a pipeline's folder scripts may lie.
const FOLDER_DEPTH_MAX: usize = 4;

/// Larger files are data.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provisioned {
    /// The folder has no template.
    NoTemplate,
    /// The sandbox has it already.
    Unchanged,
    /// It was created or updated.
    Applied,
}

/// One template of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The connection that it is for; `None` for the account of the pipeline's own.
    pub connection: Option<String>,
    /// The account that it is made in; `None` for the sandbox's first.
    pub account: Option<String>,
}

impl Template {
    /// Its file in the pipeline's folder.
    pub fn file(&self) -> String {
        match &self.connection {
            Some(connection) => format!("aws.{connection}.yaml"),
            None => TEMPLATE_FILE.to_owned(),
        }
    }
}

/// Applies a template in `folder` to the sandbox, unless `records` says that exactly this
/// was applied before. `records` lies beside the sandbox's own data, so that both go together.
pub async fn provision(
    endpoint: &str,
    folder: &Path,
    wanted: &Template,
    parameters: &IndexMap<String, Value>,
    records: &Path,
) -> Result<Provisioned, SandboxCallError> {
    let template = folder.join(wanted.file());
    let text = match fs::read_to_string(&template) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Provisioned::NoTemplate),
        Err(source) => return Err(unreadable(&template, source)),
    };
    let folder = folder.canonicalize().map_err(|source| unreadable(folder, source))?;
    let print = fingerprint(&folder, parameters).map_err(|source| unreadable(&folder, source))?;
    let mut place = Sha256::new();
    place.update(folder.as_os_str().as_encoded_bytes());
    for part in [&wanted.connection, &wanted.account].into_iter().flatten() {
        place.update([0]);
        place.update(part);
    }
    let record = records.join(format!("{}.sha256", hex::encode(&place.finalize()[..8])));
    if fs::read_to_string(&record).is_ok_and(|known| known == print) {
        return Ok(Provisioned::Unchanged);
    }
    let mut wish = json!({ "template": text, "parameters": parameters, "folder": folder });
    if let Some(connection) = &wanted.connection {
        let own = folder.file_name().unwrap_or_default().to_string_lossy();
        wish["stack"] = json!(format!("{own}-{connection}"));
    }
    if let Some(account) = &wanted.account {
        wish["account"] = json!(account);
    }
    call(endpoint, "POST", "/_sandbox/provision", Some(&wish)).await?;
    // Without the record the next run applies the same template again, which changes nothing.
    let _ = fs::create_dir_all(records).and_then(|()| fs::write(&record, print));
    Ok(Provisioned::Applied)
}

fn unreadable(path: &Path, source: io::Error) -> SandboxCallError {
    SandboxCallError::File { path: path.display().to_string(), source }
}

/// Changes with every file that may matter, and with the parameters.
fn fingerprint(folder: &Path, parameters: &IndexMap<String, Value>) -> io::Result<String> {
    let mut files = Vec::new();
    collect(folder, 0, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(parameters).unwrap_or_default());
    for file in files {
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(Sha256::digest(fs::read(&file)?));
    }
    Ok(hex::encode(hash.finalize()))
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type()?;
        if name.starts_with('.') {
            continue;
        }
        if kind.is_dir() && depth < FOLDER_DEPTH_MAX && !DATA_FOLDERS.contains(&&*name) {
            collect(&entry.path(), depth + 1, files)?;
        } else if kind.is_file() && entry.metadata()?.len() <= FILE_BYTES_MAX {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_count_and_samples_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir_all(path.join("sql")).unwrap();
        fs::create_dir_all(path.join("sample/json")).unwrap();
        fs::write(path.join("aws.yaml"), "Resources: {}").unwrap();
        let none = IndexMap::new();
        let first = fingerprint(path, &none).unwrap();
        fs::write(path.join("sample/json/a"), "{}").unwrap();
        assert_eq!(fingerprint(path, &none).unwrap(), first);
        fs::write(path.join("sql/a.sql"), "select 1").unwrap();
        let second = fingerprint(path, &none).unwrap();
        assert_ne!(second, first);
        let parameters = IndexMap::from([("Bucket".to_owned(), json!("b"))]);
        assert_ne!(fingerprint(path, &parameters).unwrap(), second);
    }

    #[tokio::test]
    async fn a_folder_without_template_needs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let done = provision(
            "http://127.0.0.1:1",
            folder.path(),
            &Template::default(),
            &IndexMap::new(),
            folder.path(),
        )
        .await;
        assert_eq!(done.unwrap(), Provisioned::NoTemplate);
    }
}
