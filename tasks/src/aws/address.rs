//! Addresses in S3, as people write them: `s3://bucket/key`.

use crate::operator::{ErrorClass, Failure};

/// A bucket and what stands behind the slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
}

impl<'a> Address<'a> {
    /// The address of an object. `setting` is named in the complaint.
    pub(crate) fn object(text: &'a str, setting: &str) -> Result<Self, Failure> {
        split(text).filter(|address| !address.key.is_empty() && !address.key.ends_with('/')).ok_or_else(
            || wrong(format!("{setting}: `{text}` is no address of an object: write s3://bucket/key")),
        )
    }

    /// The address of everything that begins with it; the whole bucket where no key is given.
    pub(crate) fn prefix(text: &'a str, setting: &str) -> Result<Self, Failure> {
        split(text).ok_or_else(|| {
            wrong(format!("{setting}: `{text}` is no address of a prefix: write s3://bucket/folder/"))
        })
    }
}

fn split(text: &str) -> Option<Address<'_>> {
    let (bucket, key) = text.strip_prefix("s3://")?.split_once('/')?;
    (!bucket.is_empty()).then_some(Address { bucket, key })
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let object = |text| Address::object(text, "report");
        assert_eq!(object("s3://b/k/l.json").unwrap(), Address { bucket: "b", key: "k/l.json" });
        for wrong in ["s3://b", "s3://b/", "s3://b/k/", "b/k", "s3:///k"] {
            assert!(object(wrong).unwrap_err().message.starts_with("report: `"), "{wrong}");
        }
        let prefix = |text| Address::prefix(text, "prefix");
        assert_eq!(prefix("s3://b/k/").unwrap(), Address { bucket: "b", key: "k/" });
        assert_eq!(prefix("s3://b/").unwrap(), Address { bucket: "b", key: "" });
        assert!(prefix("s3://b").is_err());
    }
}
