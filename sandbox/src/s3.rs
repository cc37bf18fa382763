//! S3 on a folder: every object is an ordinary file, so that people and other programs can read it in place.
//!
//! [`Store`] is the plain interface for the other services; [`protocol`] answers HTTP. Nothing here knows
//! about tables, jobs or notices.

mod about;
mod chunked;
mod conditions;
mod keys;
mod listing;
mod multipart;
mod notifications;
mod protocol;
mod request;
mod store;
mod upload;
mod walk;

pub(crate) use notifications::Listener;
pub(crate) use protocol::Front;
pub(crate) use request::operation_name;
pub(crate) use store::{ObjectMeta, Store, StoreError};

/// Splits `s3://bucket/key` into bucket and key; the key may be empty.
pub(crate) fn parse_uri(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("s3://").or_else(|| uri.strip_prefix("s3a://"))?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    (!bucket.is_empty()).then_some((bucket, key))
}

#[cfg(test)]
mod tests {
    use super::parse_uri;

    #[test]
    fn splits_uris() {
        assert_eq!(parse_uri("s3://b/k/l"), Some(("b", "k/l")));
        assert_eq!(parse_uri("s3://b"), Some(("b", "")));
        assert_eq!(parse_uri("s3:///k"), None);
        assert_eq!(parse_uri("/b/k"), None);
    }
}
