//! Operations on multipart uploads.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyPartResult, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    ETag, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput,
    MultipartUpload, Part as PartDto, Timestamp, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3Error, S3Request, S3Result, s3_error};

use super::Objects;
use crate::s3::about::{self, About};
use crate::s3::chunked::Trailers;
use crate::s3::conditions::Conditions;
use crate::s3::multipart::{PART_NUMBER_MAX, Upload};
use crate::s3::notifications::Made;
use crate::s3::upload::{self, Claims, ScratchFile};

impl Objects {
    pub(super) async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let input = request.input;
        let upload = Upload {
            id: self.world.new_uuid().simple().to_string(),
            bucket: input.bucket,
            key: input.key,
            initiated: self.world.clock.now(),
            about: About {
                content_type: input.content_type,
                content_encoding: input.content_encoding,
                content_disposition: input.content_disposition,
                content_language: input.content_language,
                cache_control: input.cache_control,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
                ..About::default()
            },
        };
        let output = CreateMultipartUploadOutput {
            bucket: Some(upload.bucket.clone()),
            key: Some(upload.key.clone()),
            upload_id: Some(upload.id.clone()),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..CreateMultipartUploadOutput::default()
        };
        self.blocking(move |store| {
            store.bucket_folder(&upload.bucket)?;
            Ok(upload.begin(store)?)
        })
        .await?;
        Ok(output)
    }

    pub(super) async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<UploadPartOutput> {
        let claims = Claims::from_headers(&request.headers, request.extensions.get::<Trailers>());
        let input = request.input;
        check_number(input.part_number)?;
        let received = upload::receive(self.store(), input.body, input.content_length, &claims).await?;
        let file = received.file;
        let target = PartTarget::new(input.bucket, input.key, input.upload_id, input.part_number);
        self.blocking(move |store| target.adopt(store, &file)).await?;
        Ok(UploadPartOutput {
            e_tag: Some(ETag::Strong(received.md5)),
            checksum_crc32: received.checksum.checksum_crc32,
            checksum_crc32c: received.checksum.checksum_crc32c,
            checksum_crc64nvme: received.checksum.checksum_crc64nvme,
            checksum_sha1: received.checksum.checksum_sha1,
            checksum_sha256: received.checksum.checksum_sha256,
            ..UploadPartOutput::default()
        })
    }

    pub(super) async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<UploadPartCopyOutput> {
        let input = request.input;
        check_number(input.part_number)?;
        let (mut file, size) = self.open_source(&input.copy_source).await?;
        let (start, end) = match &input.copy_source_range {
            Some(range) => copy_range(range, size)?,
            None => (0, size),
        };
        let target = PartTarget::new(input.bucket, input.key, input.upload_id, input.part_number);
        let now = self.world.clock.now();
        self.blocking(move |store| {
            let part = ScratchFile(store.temporary_file());
            let mut output = File::create(&part.0).map_err(S3Error::internal_error)?;
            file.seek(SeekFrom::Start(start)).map_err(S3Error::internal_error)?;
            std::io::copy(&mut file.take(end - start), &mut output).map_err(S3Error::internal_error)?;
            let md5 = about::md5_of_file(&part.0).map_err(S3Error::internal_error)?;
            target.adopt(store, &part)?;
            Ok(UploadPartCopyOutput {
                copy_part_result: Some(CopyPartResult {
                    e_tag: Some(ETag::Strong(md5)),
                    last_modified: Some(Timestamp::from(std::time::SystemTime::from(now))),
                    ..CopyPartResult::default()
                }),
                ..UploadPartCopyOutput::default()
            })
        })
        .await
    }

    pub(super) async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let input = request.input;
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let wanted: Vec<(i32, Option<String>)> = parts
            .into_iter()
            .map(|part| (part.part_number.unwrap_or_default(), part.e_tag.map(ETag::into_value)))
            .collect();
        let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
        let (upload, joined) = self
            .blocking(move |store| {
                let upload = Upload::find(store, &id, &bucket, &key)?;
                let joined = upload.join(store, &wanted)?;
                Ok((upload, joined))
            })
            .await?;
        let conditions = Conditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            ..Conditions::default()
        };
        let (bucket, key) = (input.bucket, input.key);
        let target = (bucket.clone(), key.clone());
        let etag = self.place(target, joined.file, joined.about, conditions, Made::Multipart).await?;
        self.blocking(move |store| Ok(upload.end(store)?)).await?;
        Ok(CompleteMultipartUploadOutput {
            location: Some(format!("{}/{bucket}/{key}", self.world.endpoint())),
            bucket: Some(bucket),
            key: Some(key),
            e_tag: Some(ETag::Strong(etag)),
            ..CompleteMultipartUploadOutput::default()
        })
    }

    pub(super) async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<AbortMultipartUploadOutput> {
        let input = request.input;
        self.blocking(move |store| {
            let upload = Upload::find(store, &input.upload_id, &input.bucket, &input.key)?;
            Ok(upload.end(store)?)
        })
        .await?;
        Ok(AbortMultipartUploadOutput::default())
    }

    pub(super) async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<ListPartsOutput> {
        let input = request.input;
        let after = input.part_number_marker.unwrap_or(0);
        let max_parts = input.max_parts.unwrap_or(1000).clamp(1, 1000);
        let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
        let mut parts =
            self.blocking(move |store| Ok(Upload::find(store, &id, &bucket, &key)?.parts(store)?)).await?;
        parts.retain(|part| part.number > after);
        let page = usize::try_from(max_parts).unwrap_or(1000);
        let is_truncated = parts.len() > page;
        parts.truncate(page);
        let next = parts.last().map(|part| part.number);
        let parts = parts
            .into_iter()
            .map(|part| PartDto {
                part_number: Some(part.number),
                e_tag: Some(ETag::Strong(part.md5)),
                size: i64::try_from(part.size).ok(),
                last_modified: part.modified.map(Timestamp::from),
                ..PartDto::default()
            })
            .collect();
        Ok(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: Some(max_parts),
            is_truncated: Some(is_truncated),
            part_number_marker: Some(after),
            next_part_number_marker: next.filter(|_| is_truncated),
            parts: Some(parts),
            ..ListPartsOutput::default()
        })
    }

    pub(super) async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<ListMultipartUploadsOutput> {
        let input = request.input;
        let bucket = input.bucket.clone();
        let mut uploads = self
            .blocking(move |store| {
                store.bucket_folder(&bucket)?;
                Ok(Upload::all(store, &bucket)?)
            })
            .await?;
        let prefix = input.prefix.clone().unwrap_or_default();
        uploads.retain(|upload| upload.key.starts_with(&prefix));
        let uploads = uploads
            .into_iter()
            .map(|upload| MultipartUpload {
                key: Some(upload.key),
                upload_id: Some(upload.id),
                initiated: Some(Timestamp::from(std::time::SystemTime::from(upload.initiated))),
                ..MultipartUpload::default()
            })
            .collect();
        Ok(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix,
            is_truncated: Some(false),
            uploads: Some(uploads),
            ..ListMultipartUploadsOutput::default()
        })
    }
}

/// Where an arriving part goes.
struct PartTarget {
    bucket: String,
    key: String,
    upload_id: String,
    number: i32,
}

impl PartTarget {
    fn new(bucket: String, key: String, upload_id: String, number: i32) -> Self {
        Self { bucket, key, upload_id, number }
    }

    fn adopt(&self, store: &crate::s3::Store, file: &ScratchFile) -> S3Result<()> {
        let upload = Upload::find(store, &self.upload_id, &self.bucket, &self.key)?;
        std::fs::rename(&file.0, upload.part_path(store, self.number)).map_err(S3Error::internal_error)
    }
}

fn check_number(number: i32) -> S3Result<()> {
    if (1..=PART_NUMBER_MAX).contains(&number) {
        return Ok(());
    }
    Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"))
}

/// Reads `bytes=first-last`.
fn copy_range(range: &str, size: u64) -> S3Result<(u64, u64)> {
    let parse = || {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?.checked_add(1)?))
    };
    match parse() {
        Some((start, end)) if start < end && end <= size => Ok((start, end)),
        _ => Err(s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy"
        )),
    }
}
