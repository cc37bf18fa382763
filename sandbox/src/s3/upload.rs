//! Receives the bytes of an object or part: to memory while small, to a scratch file when large; checks what
//! the client said of them.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use tokio::io::AsyncWriteExt;

use super::chunked::Trailers;
use super::store::Store;

/// Up to this size an upload stays in memory until it is complete; then one write makes the file.
const MEMORY_MAX: usize = 1024 * 1024;

/// The header (or trailer) of each checksum, with the place of its value.
const CHECKSUMS: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-crc64nvme",
];

/// What the client said about the bytes it sends.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// `Content-MD5`, in base64.
    pub md5: Option<String>,
    /// Checksums by header name, in base64.
    checksums: Vec<(&'static str, String)>,
    /// Checksums that will follow the body.
    announced: Vec<&'static str>,
    trailers: Trailers,
}

/// Received bytes in a file of their own, which is removed unless it is moved away.
#[derive(Debug)]
pub(super) struct Received {
    /// The finished file.
    pub file: ScratchFile,
    /// MD5 in lower-case hex.
    pub md5: String,
    /// The checksums that the client asked for.
    pub checksum: Checksum,
}

/// A file in the scratch folder; removed on drop, which does nothing once it was renamed away.
#[derive(Debug)]
pub(super) struct ScratchFile(pub PathBuf);

impl Drop for ScratchFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

impl Claims {
    /// Reads the claims from a request's headers.
    pub(super) fn from_headers(headers: &HeaderMap, trailers: Option<&Trailers>) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let checksums = CHECKSUMS
            .into_iter()
            .filter_map(|name| text(name).map(|value| (name, value.to_owned())))
            .collect();
        let trailer = text("x-amz-trailer").unwrap_or_default().to_ascii_lowercase();
        let announced = CHECKSUMS
            .into_iter()
            .filter(|name| trailer.split(',').any(|announced| announced.trim() == *name))
            .collect();
        Self {
            md5: text("content-md5").map(str::to_owned),
            checksums,
            announced,
            trailers: trailers.cloned().unwrap_or_default(),
        }
    }

    fn hasher(&self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        let named = self.checksums.iter().map(|(name, _)| *name).chain(self.announced.iter().copied());
        for name in named {
            match name {
                "x-amz-checksum-crc32" => hasher.crc32 = Some(s3s::crypto::Crc32::new()),
                "x-amz-checksum-crc32c" => hasher.crc32c = Some(s3s::crypto::Crc32c::new()),
                "x-amz-checksum-sha1" => hasher.sha1 = Some(s3s::crypto::Sha1::new()),
                "x-amz-checksum-sha256" => hasher.sha256 = Some(s3s::crypto::Sha256::new()),
                _ => hasher.crc64nvme = Some(s3s::crypto::Crc64Nvme::new()),
            }
        }
        hasher
    }

    fn check(&self, md5: &[u8], checksum: &Checksum) -> S3Result<()> {
        if let Some(claimed) = &self.md5 {
            let claimed = STANDARD.decode(claimed).map_err(|_| S3Error::new(S3ErrorCode::InvalidDigest))?;
            if claimed != md5 {
                return Err(s3_error!(
                    BadDigest,
                    "The Content-MD5 you specified did not match what we received."
                ));
            }
        }
        let trailers = self.trailers.values();
        let claimed = self.checksums.iter().map(|(name, value)| (*name, value.clone()));
        let followed = self.announced.iter().filter_map(|name| {
            let value = trailers.iter().find(|(trailer, _)| trailer.eq_ignore_ascii_case(name));
            value.map(|(_, value)| (*name, value.clone()))
        });
        for (name, claimed) in claimed.chain(followed) {
            let computed = match name {
                "x-amz-checksum-crc32" => &checksum.checksum_crc32,
                "x-amz-checksum-crc32c" => &checksum.checksum_crc32c,
                "x-amz-checksum-sha1" => &checksum.checksum_sha1,
                "x-amz-checksum-sha256" => &checksum.checksum_sha256,
                _ => &checksum.checksum_crc64nvme,
            };
            if computed.as_deref() != Some(claimed.as_str()) {
                return Err(s3_error!(BadDigest, "The {name} you specified did not match what we received."));
            }
        }
        Ok(())
    }
}

/// Receives a body into a scratch file and checks it against its claims.
pub(super) async fn receive(
    store: &Store,
    body: Option<StreamingBlob>,
    length: Option<i64>,
    claims: &Claims,
) -> S3Result<Received> {
    let file = ScratchFile(store.temporary_file());
    let mut md5 = Md5::new();
    let mut hasher = claims.hasher();
    let mut small: Vec<u8> = Vec::new();
    let mut large: Option<tokio::fs::File> = None;
    let mut size: i64 = 0;
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
            md5.update(&chunk);
            hasher.update(&chunk);
            size = size.saturating_add(i64::try_from(chunk.len()).unwrap_or(i64::MAX));
            if large.is_none() && small.len() + chunk.len() > MEMORY_MAX {
                let mut spilled = tokio::fs::File::create(&file.0).await.map_err(S3Error::internal_error)?;
                spilled.write_all(&small).await.map_err(S3Error::internal_error)?;
                small = Vec::new();
                large = Some(spilled);
            }
            match &mut large {
                Some(file) => file.write_all(&chunk).await.map_err(S3Error::internal_error)?,
                None => small.extend_from_slice(&chunk),
            }
        }
    }
    match large {
        Some(mut file) => file.flush().await.map_err(S3Error::internal_error)?,
        None => tokio::fs::write(&file.0, small).await.map_err(S3Error::internal_error)?,
    }
    if length.is_some_and(|length| length != size) {
        return Err(s3_error!(
            IncompleteBody,
            "You did not provide the number of bytes specified by the Content-Length HTTP header."
        ));
    }
    let md5 = md5.finalize();
    let checksum = hasher.finalize();
    claims.check(&md5, &checksum)?;
    Ok(Received { file, md5: hex::encode(md5), checksum })
}
