//! Objects of S3 as streams of bytes, and which objects an address means.

use aws_sdk_s3::{Client, primitives::ByteStream};

use crate::{
    aws::{address::Address, error::Trouble},
    objects::{PAGE, Selection},
    operator::{ErrorClass, Failure},
};

/// Most objects of one table: more small files than this are better joined first.
const OBJECTS_MAX: usize = 100_000;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) bucket: String,
    pub(crate) key: String,
    /// Its size, where it was listed.
    pub(crate) bytes: Option<u64>,
}

impl File {
    /// As people write it.
    pub(crate) fn address(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    /// Its bytes.
    pub(crate) async fn open(&self, s3: &Client) -> Result<ByteStream, Failure> {
        let answer = s3.get_object().bucket(&self.bucket).key(&self.key).send().await;
        let answer = answer.map_err(|error| self.named(Trouble::from(error).into_failure()))?;
        Ok(answer.body)
    }

    /// The same failure with the address in its text.
    pub(crate) fn named(&self, failure: Failure) -> Failure {
        let message = format!("{}: {}", self.address(), failure.message);
        Failure { message, ..failure }
    }
}

/// The objects of all addresses, in the order of the addresses and, below a prefix, of the keys.
pub(crate) async fn files(s3: &Client, addresses: &[String]) -> Result<Vec<File>, Failure> {
    let mut files = Vec::with_capacity(addresses.len());
    for text in addresses {
        if !text.ends_with('/') {
            let Address { bucket, key } = Address::object(text, "from")?;
            files.push(File { bucket: bucket.to_owned(), key: key.to_owned(), bytes: None });
            continue;
        }
        let Address { bucket, key } = Address::prefix(text, "from")?;
        let selection = Selection { bucket: bucket.to_owned(), key: None, prefix: Some(key.to_owned()) };
        let mut after: Option<String> = None;
        loop {
            let page = selection.page(s3, after.as_deref(), PAGE).await?;
            after = page.last().filter(|_| page.len() == PAGE).map(|object| object.key.clone());
            let found =
                page.into_iter().filter(|object| is_data(object.key.get(key.len()..).unwrap_or_default()));
            files.extend(found.map(|object| File {
                bucket: selection.bucket.clone(),
                key: object.key,
                bytes: Some(object.bytes),
            }));
            if files.len() > OBJECTS_MAX {
                let text = format!("from: more than {OBJECTS_MAX} objects below {text}");
                return Err(Failure::new(ErrorClass::Config, text));
            }
            if after.is_none() {
                break;
            }
        }
    }
    Ok(files)
}

/// Whether a name below a prefix is one of data: a folder that a console made is an object of no bytes, and names that
/// begin with `_` or `.` are records and half-written files, to Hive, Spark, Athena and Redshift's COPY as well.
fn is_data(below: &str) -> bool {
    let is_hidden = |name: &str| name.starts_with('.') || (name.starts_with('_') && !name.contains('='));
    !below.is_empty() && !below.ends_with('/') && !below.split('/').any(is_hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_data_from_records_and_folders() {
        for data in ["a.json", "2026/11/19/part_0", "_day=1/part-0"] {
            assert!(is_data(data), "{data}");
        }
        for other in
            ["", "a/", "_extracts/1.json", "a/.part-0", "day=1/_temporary/0/part-0", "_transform.json"]
        {
            assert!(!is_data(other), "{other}");
        }
    }
}
