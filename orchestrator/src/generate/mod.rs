//! Made-up source data in the shape that the shipped pipelines read: `trunkline generate`.
//!
//! Pure and seeded: the same spec gives the same bytes on every machine, so a test that
//! failed on someone's laptop fails on every laptop. Here live what every kind of data
//! shares: the object, the chance, the writing into a folder. Nothing here talks to S3;
//! whoever wants the objects in a bucket iterates and puts them there.

pub mod cdr;
pub mod contacts;
pub mod events;
pub mod facility;
pub mod orders;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// One object of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Where it stands in the bucket; `/` between the parts, none in front.
    pub key: String,
    /// What it holds.
    pub body: Vec<u8>,
}

/// What was written, for the line that people read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Objects.
    pub objects: u64,
    /// The sum of their sizes, in bytes.
    pub bytes: u64,
}

/// Why nothing, or not everything, was generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The spec asks for something outside the limits.
    #[error("{0}")]
    Spec(String),
    /// A file could not be written.
    #[error("cannot write {}: {source}; check that the folder is writable and the disk not full", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes the objects below `folder`, one file each, with the key as the path; files that
/// are already there are replaced.
pub fn write_to_folder(
    objects: impl Iterator<Item = Object>,
    folder: &Path,
) -> Result<Written, GenerateError> {
    let mut written = Written::default();
    let mut made = PathBuf::new();
    for object in objects {
        let path = folder.join(&object.key);
        let parent = path.parent().unwrap_or(folder);
        // Neighbours mostly share a folder; asking the system each time would cost more
        // than writing the file.
        if parent != made {
            fs::create_dir_all(parent)
                .map_err(|source| GenerateError::Write { path: parent.to_owned(), source })?;
            parent.clone_into(&mut made);
        }
        fs::write(&path, &object.body)
            .map_err(|source| GenerateError::Write { path: path.clone(), source })?;
        written.objects += 1;
        written.bytes += object.body.len() as u64;
    }
    Ok(written)
}

/// Chance that is the same everywhere: splitmix64, whose constants are published and whose
/// output does not depend on a library's version, as that of `rand`'s generators may.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The chance of one object: depends on the seed and its number only, so that a larger
    /// `count` adds objects and changes none.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut outer = Self(seed);
        let mut inner = Self(outer.bits() ^ number);
        Self(inner.bits())
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to `limit - 1`; 0 when `limit` is 0. The bias of the remainder is
    /// below one in 10^14 for the limits used here.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits().checked_rem(limit).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A random UUID (version 4) in lower case.
    pub fn uuid(&mut self) -> String {
        let bits = (u128::from(self.bits()) << 64) | u128::from(self.bits());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_splitmix64() {
        // The first outputs for seed 0, as published with the algorithm.
        let mut random = Random(0);
        assert_eq!(random.bits(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.bits(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn ranges_include_both_ends() {
        let mut random = Random::new(7, 7);
        let drawn: Vec<u64> = (0..200).map(|_| random.between(3, 5)).collect();
        assert!([3, 4, 5].iter().all(|number| drawn.contains(number)));
        assert!(drawn.iter().all(|number| (3..=5).contains(number)));
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn a_folder_receives_every_object_under_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let objects = vec![
            Object { key: "a/b/one".to_owned(), body: b"1".to_vec() },
            Object { key: "a/c".to_owned(), body: b"23".to_vec() },
        ];
        let written = write_to_folder(objects.into_iter(), folder.path()).unwrap();
        assert_eq!(written, Written { objects: 2, bytes: 3 });
        assert_eq!(fs::read(folder.path().join("a/b/one")).unwrap(), b"1");
        assert_eq!(fs::read(folder.path().join("a/c")).unwrap(), b"23");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let object = Object { key: "a/b".to_owned(), body: Vec::new() };
        let error = write_to_folder(std::iter::once(object), &file).unwrap_err();
        assert!(error.to_string().contains("file/a"), "{error}");
    }
}
