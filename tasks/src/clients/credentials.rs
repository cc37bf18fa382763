//! The credentials of one connection: obtained once, shared by all of its clients, renewed in
//! time, and thrown away when a service says that they have ended.
//!
//! How credentials are obtained is the SDK's: a profile, the environment, a role. Here is only
//! when. A run waits for days, a session lives an hour, so every client asks here for each call.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, future},
};
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime_api::client::{
    connector_metadata::ConnectorMetadata,
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use tokio::sync::Mutex;

/// Credentials that name no end are asked for again after this time, as the SDK does: a profile
/// may have changed.
const ENDLESS_LIFE: Duration = Duration::from_secs(15 * 60);

/// After this share of their life credentials are renewed; until their end the old ones serve
/// if that fails.
const RENEWED_AFTER: f64 = 2.0 / 3.0;

/// Answers about ended credentials that come within this time of a renewal speak of the old
/// ones: many calls are under way at once, and each would renew them again.
const RENEWAL_PAUSE: Duration = Duration::from_millis(500);

/// How services say that credentials have ended, wherever it stands in the answer.
const ENDED: &[u8] = b"ExpiredToken";

/// The shared credentials of one connection.
#[derive(Clone, Debug)]
pub(super) struct Kept(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: SharedCredentialsProvider,
    time: SharedTimeSource,
    /// Held while credentials are obtained, so that a hundred calls obtain them once.
    obtaining: Mutex<()>,
    known: RwLock<Option<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    credentials: Credentials,
    obtained: SystemTime,
    renew_at: SystemTime,
}

impl Kept {
    /// Keeps what `source` gives.
    pub(super) fn new(source: SharedCredentialsProvider, time: SharedTimeSource) -> Self {
        let (obtaining, known) = (Mutex::default(), RwLock::default());
        Self(Arc::new(Shared { source, time, obtaining, known }))
    }

    /// Throws the credentials away, because a service refused them.
    fn ended(&self) {
        let now = self.0.time.now();
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = |known: &Known| now.duration_since(known.obtained).is_ok_and(|age| age < RENEWAL_PAUSE);
        if !known.as_ref().is_some_and(fresh) {
            *known = None;
        }
    }

    fn known(&self) -> Option<Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn current(&self) -> provider::Result {
        let good = |known: &Known| self.0.time.now() < known.renew_at;
        if let Some(known) = self.known().filter(good) {
            return Ok(known.credentials);
        }
        let _alone = self.0.obtaining.lock().await;
        let known = self.known();
        if let Some(known) = known.clone().filter(good) {
            return Ok(known.credentials);
        }
        let now = self.0.time.now();
        match self.0.source.provide_credentials().await {
            Ok(credentials) => {
                let end = credentials.expiry().unwrap_or(now + ENDLESS_LIFE);
                let life = end.duration_since(now).unwrap_or_default();
                let renew_at = now + life.mul_f64(RENEWED_AFTER);
                let renewed = Known { credentials: credentials.clone(), obtained: now, renew_at };
                *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Some(renewed);
                Ok(credentials)
            }
            Err(error) => match known {
                Some(known) if known.credentials.expiry().is_none_or(|end| now < end) => {
                    tracing::warn!("credentials could not be renewed yet: {error}");
                    Ok(known.credentials)
                }
                _ => Err(error),
            },
        }
    }
}

impl ProvideCredentials for Kept {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.current())
    }
}

/// An HTTP client that notices in any service's answer that the credentials have ended. Every
/// client of a connection calls through it, so no operator has to think of it.
#[derive(Debug)]
pub(super) struct Noticing {
    inner: SharedHttpClient,
    kept: Kept,
}

impl Noticing {
    pub(super) fn new(inner: SharedHttpClient, kept: Kept) -> Self {
        Self { inner, kept }
    }
}

impl HttpClient for Noticing {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        noticing(inner, &self.kept)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

/// A connector that notices the same.
pub(super) fn noticing(inner: SharedHttpConnector, kept: &Kept) -> SharedHttpConnector {
    SharedHttpConnector::new(NoticingConnector { inner, kept: kept.clone() })
}

#[derive(Debug)]
struct NoticingConnector {
    inner: SharedHttpConnector,
    kept: Kept,
}

impl HttpConnector for NoticingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.inner.call(request);
        let kept = self.kept.clone();
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            // Services refuse with one of these two; their refusals are short.
            if matches!(answer.status().as_u16(), 400 | 403) {
                notice(&mut answer, &kept).await?;
            }
            Ok(answer)
        })
    }
}

async fn notice(answer: &mut HttpResponse, kept: &Kept) -> Result<(), ConnectorError> {
    let body = std::mem::replace(answer.body_mut(), SdkBody::empty());
    let bytes = ByteStream::new(body).collect().await.map_err(|error| ConnectorError::io(error.into()))?;
    let bytes = bytes.into_bytes();
    let in_header = |name| answer.headers().get(name).is_some_and(|text: &str| holds(text.as_bytes(), ENDED));
    if in_header("x-amzn-errortype") || holds(&bytes, ENDED) {
        kept.ended();
    }
    *answer.body_mut() = SdkBody::from(bytes);
    Ok(())
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use aws_credential_types::provider::error::CredentialsError;
    use aws_smithy_async::time::TimeSource;

    use super::*;

    /// A time that tests move.
    #[derive(Clone, Debug, Default)]
    struct Hand(Arc<AtomicU64>);

    impl TimeSource for Hand {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    /// Gives credentials of a minute; from the third on it fails.
    #[derive(Debug)]
    struct Source(Hand, Arc<AtomicU64>);

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let count = self.1.fetch_add(1, Ordering::SeqCst) + 1;
            future::ProvideCredentials::ready(if count > 2 {
                Err(CredentialsError::provider_error("no"))
            } else {
                let end = self.0.now() + Duration::from_secs(60);
                Ok(Credentials::new(format!("key-{count}"), "s", None, Some(end), "test"))
            })
        }
    }

    #[tokio::test]
    async fn credentials_are_renewed_before_their_end_and_when_refused() {
        let (hand, count) = (Hand::default(), Arc::default());
        let source = SharedCredentialsProvider::new(Source(hand.clone(), Arc::clone(&count)));
        let kept = Kept::new(source, SharedTimeSource::new(hand.clone()));
        let at = |seconds: u64| hand.0.store(seconds * 1000, Ordering::SeqCst);
        let key = || async { kept.current().await.map(|credentials| credentials.access_key_id().to_owned()) };
        assert_eq!(key().await.unwrap(), "key-1");
        at(39);
        assert_eq!(key().await.unwrap(), "key-1");
        // Refused long before their end; refusals that come right after the renewal are of the
        // old ones.
        kept.ended();
        assert_eq!(key().await.unwrap(), "key-2");
        kept.ended();
        assert_eq!(key().await.unwrap(), "key-2");
        // A renewal that fails: what is there serves until its end, and not longer.
        at(39 + 45);
        assert_eq!(key().await.unwrap(), "key-2");
        assert_eq!(count.load(Ordering::SeqCst), 3);
        at(39 + 61);
        assert!(key().await.is_err());
    }
}
