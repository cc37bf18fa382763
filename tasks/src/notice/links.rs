//! Links to objects in S3 for people who have no account: signed when a notice is sent, good for a
//! while, and no longer than the credentials that signed them.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::presigning::PresigningConfig;
use jiff::Timestamp;

use crate::{
    aws::{address::Address, error::Trouble},
    clients::Clients,
    operator::{ErrorClass, Failure},
};

/// The longest that a signature of S3 is good.
pub const LINK_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A link, and until when it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The address; whoever has it reads the object.
    pub url: String,
    /// The end of the signature, or of the credentials if that is earlier.
    pub until: Timestamp,
    /// Whether the credentials end before the life that was asked for.
    pub shortened: bool,
}

/// Whether a text is the address of an object.
pub fn check_object(address: &str) -> Result<(), Failure> {
    Address::object(address, "s3").map(|_| ())
}

/// Signs a link to `s3://bucket/key`. Asks nothing of S3: a link to what is not there leads nowhere.
pub async fn sign(
    clients: &Clients,
    connection: &str,
    address: &str,
    life: Duration,
    now: Timestamp,
) -> Result<Signed, Failure> {
    let Address { bucket, key } = Address::object(address, "s3")?;
    let wanted = life.clamp(Duration::from_secs(1), LINK_LIFE_MAX);
    let end = clients.credentials_end(connection).await?;
    let start = SystemTime::from(now);
    let left = end.map(|end| end.duration_since(start).unwrap_or_default());
    let (life, shortened) = match left {
        Some(left) if left < wanted => (left, true),
        _ => (wanted, false),
    };
    if life.is_zero() {
        let message = format!("the credentials of connection `{connection}` have ended");
        return Err(Failure::new(ErrorClass::System, message));
    }
    let config = PresigningConfig::builder().start_time(start).expires_in(life).build();
    let config = config.map_err(|error| Failure::new(ErrorClass::Config, error.to_string()))?;
    let s3 = clients.s3(connection).await?;
    let presigned = s3.get_object().bucket(bucket).key(key).presigned(config).await;
    let presigned = presigned.map_err(|error| Trouble::from(error).into_failure())?;
    let until = now.checked_add(life).unwrap_or(Timestamp::MAX);
    Ok(Signed { url: presigned.uri().to_owned(), until, shortened })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::double::clients_of;

    #[tokio::test]
    async fn a_link_is_signed_for_its_life() {
        let clients = clients_of("http://127.0.0.1:9");
        let now: Timestamp = "2026-11-19T09:00:00Z".parse().unwrap();
        let day = Duration::from_secs(86_400);
        let signed = sign(&clients, "aws", "s3://reports/a b/2026.csv", day, now).await.unwrap();
        assert!(signed.url.starts_with("http://127.0.0.1:9/reports/a%20b/2026.csv?"), "{}", signed.url);
        for part in ["X-Amz-Expires=86400", "X-Amz-Date=20261119T090000Z", "X-Amz-Signature="] {
            assert!(signed.url.contains(part), "{part}: {}", signed.url);
        }
        assert_eq!((signed.until.to_string().as_str(), signed.shortened), ("2026-11-20T09:00:00Z", false));
        let longest = sign(&clients, "aws", "s3://reports/a", day * 30, now).await.unwrap();
        assert!(longest.url.contains("X-Amz-Expires=604800"), "{}", longest.url);
        assert!(sign(&clients, "aws", "s3://reports/", day, now).await.is_err());
    }
}
