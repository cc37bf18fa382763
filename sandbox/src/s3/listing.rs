//! Pages of a bucket's listing, with prefixes, delimiters and continuation.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::store::{ObjectMeta, Store, StoreError};
use super::walk::{Found, Walk};

/// The most entries that S3 puts on a page.
pub(super) const PAGE_MAX: usize = 1000;

/// What to list.
#[derive(Debug, Default, Clone)]
pub(super) struct Query {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys are cut after the first one of these beyond the prefix; empty for none.
    pub delimiter: String,
    /// Where to begin.
    pub position: Position,
    /// Entries wanted; more than [`PAGE_MAX`] are not given.
    pub limit: usize,
}

/// A place in a listing, just after something that was listed.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Position {
    /// The last key or common prefix listed.
    pub after: String,
    /// Whether it was a common prefix.
    pub is_prefix: bool,
}

impl Position {
    /// As an opaque token.
    pub(super) fn to_token(&self) -> String {
        let kind = if self.is_prefix { 'p' } else { 'k' };
        URL_SAFE_NO_PAD.encode(format!("{kind}{}", self.after))
    }

    /// From a token that [`to_token`](Self::to_token) made.
    pub(super) fn from_token(token: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let after = text.get(1..)?.to_owned();
        match text.as_bytes().first()? {
            b'p' => Some(Self { after, is_prefix: true }),
            b'k' => Some(Self { after, is_prefix: false }),
            _ => None,
        }
    }
}

/// One page.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The objects, in order, with their entity tags.
    pub objects: Vec<(ObjectMeta, String)>,
    /// The common prefixes, in order.
    pub prefixes: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<Position>,
}

/// Lists one page.
pub(super) fn page(store: &Store, bucket: &str, query: &Query) -> Result<Page, StoreError> {
    let limit = query.limit.min(PAGE_MAX);
    let mut page = Page::default();
    if limit == 0 {
        store.bucket_folder(bucket)?;
        return Ok(page);
    }
    let mut position = query.position.clone();
    // A marker that a client made up may be a common prefix too; it is then done with.
    if !query.delimiter.is_empty() && position.after.ends_with(&query.delimiter) {
        position.is_prefix |= position.after.len() > query.prefix.len();
    }
    loop {
        let wanted = limit + 1 - page.len();
        let found = batch(store, bucket, query, &position, wanted)?;
        let exhausted = found.len() < wanted;
        for entry in found {
            let entry = query.cut(entry);
            let here = entry.position();
            if position.is_prefix && here == position {
                continue;
            }
            if page.len() == limit {
                page.next = Some(position);
                return Ok(page);
            }
            position = here;
            match entry {
                Found::Folder(prefix) => page.prefixes.push(prefix),
                Found::Object(object) => {
                    let etag = match store.etag(bucket, &object) {
                        Ok(etag) => etag,
                        // Removed since the folder was read: a moment later it would not have been listed.
                        Err(StoreError::Files { source, .. })
                            if source.kind() == std::io::ErrorKind::NotFound =>
                        {
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    page.objects.push((object, etag));
                }
            }
        }
        if exhausted {
            return Ok(page);
        }
    }
}

fn batch(
    store: &Store,
    bucket: &str,
    query: &Query,
    position: &Position,
    wanted: usize,
) -> Result<Vec<Found>, StoreError> {
    let walk = Walk {
        prefix: query.prefix.clone(),
        after: position.after.clone(),
        after_is_folder: position.is_prefix,
        fold_folders: query.delimiter == "/",
    };
    let mut found = Vec::new();
    store.walk(bucket, &walk, wanted, &mut |entry| found.push(entry))?;
    Ok(found)
}

impl Page {
    /// Objects and common prefixes together.
    pub(super) fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }
}

impl Query {
    /// Cuts a key at the delimiter. Slashes were cut by the walk already.
    fn cut(&self, found: Found) -> Found {
        let Found::Object(object) = &found else { return found };
        if self.delimiter.is_empty() {
            return found;
        }
        let rest = object.key.get(self.prefix.len()..).unwrap_or_default();
        match rest.find(&self.delimiter) {
            Some(at) => {
                let end = self.prefix.len() + at + self.delimiter.len();
                Found::Folder(object.key[..end].to_owned())
            }
            None => found,
        }
    }
}

impl Found {
    fn position(&self) -> Position {
        match self {
            Self::Object(object) => Position { after: object.key.clone(), is_prefix: false },
            Self::Folder(prefix) => Position { after: prefix.clone(), is_prefix: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(keys: &[&str]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.create_bucket("bucket").unwrap();
        for key in keys {
            store.write("bucket", key, key.as_bytes()).unwrap();
        }
        (folder, store)
    }

    fn all(store: &Store, prefix: &str, delimiter: &str, limit: usize) -> Vec<String> {
        let mut query = Query {
            prefix: prefix.into(),
            delimiter: delimiter.into(),
            limit,
            position: Position::default(),
        };
        let mut seen = Vec::new();
        loop {
            let page = page(store, "bucket", &query).unwrap();
            assert!(page.len() <= limit);
            seen.extend(page.objects.into_iter().map(|(object, _)| object.key));
            seen.extend(page.prefixes);
            match page.next {
                Some(next) => query.position = Position::from_token(&next.to_token()).unwrap(),
                None => return seen,
            }
        }
    }

    #[test]
    fn pages_with_a_delimiter_show_each_prefix_once() {
        let (_folder, store) = filled(&["a/1", "a/2", "a/3", "b", "c/1", "c/2", "d"]);
        for limit in [1, 2, 3, 100] {
            let mut seen = all(&store, "", "/", limit);
            seen.sort();
            assert_eq!(seen, ["a/", "b", "c/", "d"], "limit {limit}");
        }
    }

    #[test]
    fn other_delimiters_work_too() {
        let (_folder, store) = filled(&["x-a-1", "x-a-2", "x-b-1", "x-c", "y"]);
        for limit in [1, 2, 100] {
            let mut seen = all(&store, "x-", "-", limit);
            seen.sort();
            assert_eq!(seen, ["x-a-", "x-b-", "x-c"], "limit {limit}");
        }
    }

    #[test]
    fn a_page_is_not_called_truncated_when_nothing_follows() {
        let (_folder, store) = filled(&["a", "b"]);
        let query = Query { limit: 2, ..Query::default() };
        assert!(page(&store, "bucket", &query).unwrap().next.is_none());
    }

    #[test]
    fn tags_are_the_md5_of_the_content() {
        let (_folder, store) = filled(&["a"]);
        let page = page(&store, "bucket", &Query { limit: 9, ..Query::default() }).unwrap();
        assert_eq!(page.objects[0].1, "0cc175b9c0f1b6a831c399e269772661");
    }

    #[test]
    fn foreign_tokens_are_refused() {
        assert_eq!(Position::from_token("!!"), None);
        assert_eq!(Position::from_token(""), None);
    }
}
