//! TLS of the server's own: its certificate and key, read anew when their files change. What is said over it
//! is the accept loop's business.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at: whoever renews certificates does so weeks before they end.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Bytes of either file; a chain of four certificates has under ten thousand.
const FILE_MAX: u64 = 1024 * 1024;
/// What is offered, the preferred one first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];
/// The name of HTTP/2 among protocols over TLS.
pub(super) const HTTP_2: &[u8] = b"h2";

/// Where certificate and key lie, in PEM form.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("{path} cannot be read: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file of something else.
    #[error("{path} is no {what} in PEM form; it begins with `-----BEGIN {begins}-----`")]
    Form {
        /// Which.
        path: String,
        /// What it should hold.
        what: &'static str,
        /// How that begins.
        begins: &'static str,
    },
    /// They do not go together, most likely.
    #[error("{certificate} and {key} are no pair that a server can use: {source}")]
    Pair {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// Certificate and key of this moment.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// The files' bytes, to see a change.
    read: [Vec<u8>; 2],
}

impl Tls {
    /// Reads certificate and key.
    pub fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let read = files.bytes()?;
        let config = Arc::new(files.config(&read)?);
        Ok(Self { files, current: RwLock::new(Current { config, read }) })
    }

    /// What begins a connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current.config))
    }

    /// Takes what the files hold now. Connections that there are go on with what they began with. Files that
    /// are no good, such as half of a new pair, change nothing.
    fn renew(&self) -> Result<bool, TlsError> {
        let read = self.files.bytes()?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).read == read {
            return Ok(false);
        }
        let config = Arc::new(self.files.config(&read)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current { config, read };
        Ok(true)
    }

    /// Looks at the files from time to time, until told to end.
    pub(super) async fn follow(self: Arc<Self>, ending: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = ending.cancelled() => return,
            }
            match self.renew() {
                Ok(true) => tracing::info!("new certificate from {}", self.files.certificate.display()),
                Ok(false) => {}
                Err(error) => tracing::warn!("the certificate of before stays: {error}"),
            }
        }
    }
}

impl TlsFiles {
    fn bytes(&self) -> Result<[Vec<u8>; 2], TlsError> {
        Ok([bytes(&self.certificate)?, bytes(&self.key)?])
    }

    fn config(&self, [certificate, key]: &[Vec<u8>; 2]) -> Result<ServerConfig, TlsError> {
        let form =
            |path: &Path, what, begins| TlsError::Form { path: path.display().to_string(), what, begins };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| form(&self.certificate, "certificate", "CERTIFICATE"))?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| form(&self.key, "private key", "PRIVATE KEY"))?;
        let pair = |source| TlsError::Pair {
            certificate: self.certificate.display().to_string(),
            key: self.key.display().to_string(),
            source,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(pair)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    use io::Read as _;
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| TlsError::File { path: path.display().to_string(), source })
}
