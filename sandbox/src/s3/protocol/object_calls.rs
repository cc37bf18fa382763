//! Operations on objects.

use std::fs::{File, Metadata};

use s3s::dto::{
    ContentType, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, GetObjectInput,
    GetObjectOutput, GetObjectTaggingInput, GetObjectTaggingOutput, HeadObjectInput, HeadObjectOutput,
    MetadataDirective, PutObjectInput, PutObjectOutput, Range, StreamingBlob, Timestamp, TimestampFormat,
};
use s3s::{Body, S3Error, S3Request, S3Result, s3_error};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::Objects;
use crate::s3::about::About;
use crate::s3::chunked::Trailers;
use crate::s3::conditions::{Conditions, Unchanged};
use crate::s3::notifications::Made;
use crate::s3::store::{Store, StoreError};
use crate::s3::upload::{self, Claims, ScratchFile};

/// Up to this size an object is read whole and sent from memory.
const MEMORY_MAX: u64 = 1024 * 1024;

/// Piece in which a larger object is read.
const READ_PIECE: usize = 256 * 1024;

/// What an object is when nobody said what it is.
const CONTENT_TYPE: &str = "binary/octet-stream";

/// The most keys of one `DeleteObjects`.
const DELETE_MAX: usize = 1000;

/// An object that is open for reading, with what is known about it.
struct Opened {
    file: File,
    metadata: Metadata,
    about: About,
}

/// The part of an object that was asked for.
struct Slice {
    start: u64,
    length: u64,
    content_range: Option<String>,
}

impl Objects {
    pub(super) async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<GetObjectOutput> {
        let input = request.input;
        let conditions = Conditions {
            if_match: input.if_match.clone(),
            if_none_match: input.if_none_match.clone(),
            if_modified_since: input.if_modified_since.clone(),
            if_unmodified_since: input.if_unmodified_since.clone(),
        };
        let opened = self.open(input.bucket.clone(), input.key.clone()).await?;
        conditions.check_read(&opened.about.etag, &opened.metadata, Unchanged::NotModified)?;
        let slice = slice(input.range, opened.metadata.len())?;
        let about = opened.about;
        let body = stream(opened.file, &slice).await?;
        Ok(GetObjectOutput {
            body: Some(body),
            content_length: i64::try_from(slice.length).ok(),
            content_range: slice.content_range,
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(ETag::Strong(about.etag.clone())),
            last_modified: opened.metadata.modified().ok().map(Timestamp::from),
            metadata: about.user_metadata(),
            content_type: Some(input.response_content_type.unwrap_or_else(|| content_type(&about))),
            content_encoding: input.response_content_encoding.or(about.content_encoding),
            content_disposition: input.response_content_disposition.or(about.content_disposition),
            content_language: input.response_content_language.or(about.content_language),
            cache_control: input.response_cache_control.or(about.cache_control),
            expires: input.response_expires.or_else(|| about.expires.as_deref().and_then(parse_expires)),
            website_redirect_location: about.website_redirect,
            ..GetObjectOutput::default()
        })
    }

    pub(super) async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<HeadObjectOutput> {
        let input = request.input;
        let conditions = Conditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        let Opened { metadata, about, .. } = self.open(input.bucket, input.key).await?;
        conditions.check_read(&about.etag, &metadata, Unchanged::NotModified)?;
        let slice = slice(input.range, metadata.len())?;
        Ok(HeadObjectOutput {
            content_length: i64::try_from(slice.length).ok(),
            content_range: slice.content_range,
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(ETag::Strong(about.etag.clone())),
            last_modified: metadata.modified().ok().map(Timestamp::from),
            metadata: about.user_metadata(),
            content_type: Some(content_type(&about)),
            content_encoding: about.content_encoding,
            content_disposition: about.content_disposition,
            content_language: about.content_language,
            cache_control: about.cache_control,
            expires: about.expires.as_deref().and_then(parse_expires),
            website_redirect_location: about.website_redirect,
            ..HeadObjectOutput::default()
        })
    }

    pub(super) async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<PutObjectOutput> {
        let claims = Claims::from_headers(&request.headers, request.extensions.get::<Trailers>());
        let input = request.input;
        let conditions = Conditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            ..Conditions::default()
        };
        let about = About {
            etag: String::new(),
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            content_disposition: input.content_disposition,
            content_language: input.content_language,
            cache_control: input.cache_control,
            expires: input.expires.as_ref().and_then(format_expires),
            website_redirect: input.website_redirect_location,
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
        };
        let length = input.content_length;
        let received = upload::receive(self.store(), input.body, length, &claims).await?;
        let about = About { etag: received.md5, ..about };
        let file = received.file;
        let etag = self.place((input.bucket, input.key), file, about, conditions, Made::Put).await?;
        Ok(PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_crc32: received.checksum.checksum_crc32,
            checksum_crc32c: received.checksum.checksum_crc32c,
            checksum_crc64nvme: received.checksum.checksum_crc64nvme,
            checksum_sha1: received.checksum.checksum_sha1,
            checksum_sha256: received.checksum.checksum_sha256,
            ..PutObjectOutput::default()
        })
    }

    pub(super) async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<CopyObjectOutput> {
        let input = request.input;
        let (bucket, key) = source(&input.copy_source)?;
        let conditions = Conditions {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since,
            if_unmodified_since: input.copy_source_if_unmodified_since,
        };
        let replaces =
            input.metadata_directive.as_ref().is_some_and(|it| it.as_str() == MetadataDirective::REPLACE);
        if bucket == input.bucket && key == input.key && !replaces {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."
            ));
        }
        let opened = self.open(bucket, key).await?;
        conditions.check_read(&opened.about.etag, &opened.metadata, Unchanged::PreconditionFailed)?;
        let mut about = opened.about;
        if replaces {
            about = About {
                etag: about.etag,
                content_type: input.content_type,
                content_encoding: input.content_encoding,
                content_disposition: input.content_disposition,
                content_language: input.content_language,
                cache_control: input.cache_control,
                expires: input.expires.as_ref().and_then(format_expires),
                website_redirect: input.website_redirect_location,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            };
        }
        // A copy is one upload, so its tag is that of its content, also where the source had parts.
        about.etag.clear();
        let copy = self.copy_to_scratch(opened.file).await?;
        let modified = std::fs::metadata(&copy.0).and_then(|metadata| metadata.modified()).ok();
        let target = (input.bucket, input.key);
        let etag = self.place(target, copy, about, Conditions::default(), Made::Copy).await?;
        Ok(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: Some(ETag::Strong(etag)),
                last_modified: modified.map(Timestamp::from),
                ..CopyObjectResult::default()
            }),
            ..CopyObjectOutput::default()
        })
    }

    pub(super) async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<DeleteObjectOutput> {
        let input = request.input;
        self.blocking(move |store| Ok(store.delete(&input.bucket, &input.key)?)).await?;
        Ok(DeleteObjectOutput::default())
    }

    pub(super) async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<DeleteObjectsOutput> {
        let input = request.input;
        if input.delete.objects.len() > DELETE_MAX {
            return Err(s3_error!(MalformedXML, "at most {DELETE_MAX} keys may be deleted in one request"));
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        self.blocking(move |store| {
            store.bucket_folder(&input.bucket)?;
            let mut deleted = Vec::new();
            let mut errors = Vec::new();
            for object in input.delete.objects {
                match store.delete(&input.bucket, &object.key) {
                    Ok(()) => {
                        deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
                    }
                    Err(error) => errors.push(s3s::dto::Error {
                        code: Some("InternalError".to_owned()),
                        message: Some(error.to_string()),
                        key: Some(object.key),
                        version_id: None,
                    }),
                }
            }
            Ok(DeleteObjectsOutput {
                deleted: (!quiet && !deleted.is_empty()).then_some(deleted),
                errors: (!errors.is_empty()).then_some(errors),
                ..DeleteObjectsOutput::default()
            })
        })
        .await
    }

    pub(super) async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<GetObjectTaggingOutput> {
        let input = request.input;
        self.blocking(move |store| Ok(store.find(&input.bucket, &input.key).map(drop)?)).await?;
        // Tags cannot be put here, so there are none.
        Ok(GetObjectTaggingOutput { tag_set: Vec::new(), version_id: None })
    }

    pub(super) fn store(&self) -> &Store {
        &self.world.s3
    }

    async fn open(&self, bucket: String, key: String) -> S3Result<Opened> {
        self.blocking(move |store| open(store, &bucket, &key)).await
    }

    /// Opens a copy source for reading from its start.
    pub(super) async fn open_source(&self, copy_source: &CopySource) -> S3Result<(File, u64)> {
        let (bucket, key) = source(copy_source)?;
        let opened = self.open(bucket, key).await?;
        Ok((opened.file, opened.metadata.len()))
    }

    async fn copy_to_scratch(&self, mut file: File) -> S3Result<ScratchFile> {
        self.blocking(move |store| {
            let copy = ScratchFile(store.temporary_file());
            let mut output = File::create(&copy.0).map_err(S3Error::internal_error)?;
            std::io::copy(&mut file, &mut output).map_err(S3Error::internal_error)?;
            Ok(copy)
        })
        .await
    }

    /// Moves a scratch file into place if the conditions hold; gives the entity tag.
    pub(super) async fn place(
        &self,
        (bucket, key): (String, String),
        file: ScratchFile,
        about: About,
        conditions: Conditions,
        made: Made,
    ) -> S3Result<String> {
        self.blocking(move |store| {
            let place = || store.place(&bucket, &key, &file.0, about, made);
            let placed = if conditions.any() {
                store.exclusively(|| {
                    let present = match store.find(&bucket, &key) {
                        Ok((path, metadata)) => Some(store.about(&bucket, &key, &path, &metadata)?.etag),
                        Err(StoreError::NoSuchKey { .. }) => None,
                        Err(error) => return Err(error),
                    };
                    if conditions.allow_write(present.as_deref()) {
                        place()
                    } else {
                        Err(StoreError::Precondition)
                    }
                })
            } else {
                place()
            };
            Ok(placed?.etag)
        })
        .await
    }
}

fn open(store: &Store, bucket: &str, key: &str) -> S3Result<Opened> {
    let (path, _) = store.find(bucket, key)?;
    // From here on the open file is meant, even if the object is replaced meanwhile.
    let file = File::open(&path).map_err(S3Error::internal_error)?;
    let metadata = file.metadata().map_err(S3Error::internal_error)?;
    let about = store.about(bucket, key, &path, &metadata)?;
    Ok(Opened { file, metadata, about })
}

fn source(copy_source: &CopySource) -> S3Result<(String, String)> {
    match copy_source {
        CopySource::Bucket { bucket, key, .. } => Ok((bucket.to_string(), key.to_string())),
        _ => Err(s3_error!(NotImplemented, "copies from access points are not implemented in the sandbox")),
    }
}

fn content_type(about: &About) -> ContentType {
    about.content_type.clone().unwrap_or_else(|| CONTENT_TYPE.to_owned())
}

fn slice(range: Option<Range>, size: u64) -> S3Result<Slice> {
    let Some(range) = range else {
        return Ok(Slice { start: 0, length: size, content_range: None });
    };
    let wanted = range.check(size)?;
    let (start, end) = (wanted.start, wanted.end);
    let content_range = Some(format!("bytes {start}-{}/{size}", end.saturating_sub(1)));
    Ok(Slice { start, length: end - start, content_range })
}

async fn stream(file: File, slice: &Slice) -> S3Result<StreamingBlob> {
    let mut file = tokio::fs::File::from_std(file);
    if slice.start > 0 {
        file.seek(std::io::SeekFrom::Start(slice.start)).await.map_err(S3Error::internal_error)?;
    }
    let mut piece = file.take(slice.length);
    if slice.length > MEMORY_MAX {
        return Ok(StreamingBlob::wrap(ReaderStream::with_capacity(piece, READ_PIECE)));
    }
    let mut content = Vec::with_capacity(usize::try_from(slice.length).unwrap_or_default());
    piece.read_to_end(&mut content).await.map_err(S3Error::internal_error)?;
    Ok(StreamingBlob::from(Body::from(content)))
}

fn format_expires(at: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    at.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

fn parse_expires(text: &str) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::HttpDate, text).ok()
}
