//! The S3 operations over HTTP, as the protocol crate calls them.
//!
//! Operations that are missing here are answered as not implemented, by name.

mod bucket_calls;
mod multipart_calls;
mod notification_calls;
mod object_calls;

use std::sync::Arc;

use http::{HeaderValue, Request, Response};
use jiff::Timestamp;
use s3s::dto;
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, S3, S3Error, S3Request, S3Response, S3Result};

use super::request;
use super::store::Store;
use crate::wire::ApiError;
use crate::wire::query::Form;
use crate::wire::signature::Signature;
use crate::world::World;

/// The S3 service as the server sees it.
#[derive(Debug)]
pub(crate) struct Front {
    service: S3Service,
}

/// What the operations work on.
#[derive(Clone)]
struct Objects {
    world: Arc<World>,
}

/// Finds the bucket in host names like `bucket.localhost` and `bucket.s3.localhost`.
struct LocalHosts;

impl Front {
    /// Answers for the objects of a world.
    pub(crate) fn new(world: Arc<World>) -> Self {
        let mut builder = S3ServiceBuilder::new(Objects { world });
        builder.set_host(LocalHosts);
        Self { service: builder.build() }
    }

    /// Answers one request.
    pub(crate) async fn answer(
        &self,
        request: Request<Body>,
        signature: Option<&Signature>,
        query: &Form,
        request_id: &str,
        now: Timestamp,
    ) -> Result<Response<Body>, HttpError> {
        let prepared = request::check_expiry(signature, query, now).and_then(|()| request::unwrap(request));
        let mut response = match prepared {
            Ok(request) => self.service.call(request).await?,
            Err(error) => error_answer(&error),
        };
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("x-amz-request-id", id);
        }
        headers.insert(http::header::SERVER, HeaderValue::from_static("TrunklineSandbox"));
        Ok(response)
    }
}

/// A refusal in S3's XML.
pub(super) fn error_answer(error: &ApiError) -> Response<Body> {
    let code = s3s::S3ErrorCode::from_bytes(error.code.as_bytes())
        .unwrap_or_else(|| s3s::S3ErrorCode::Custom(error.code.to_string().into()));
    let mut xml = S3Error::with_message(code, error.message.clone());
    if let Ok(status) = http::StatusCode::from_u16(error.status) {
        xml.set_status_code(status);
    }
    xml.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

impl Front {
    /// A refusal in S3's XML, for faults that are applied around the service.
    pub(crate) fn refusal(error: &ApiError) -> Response<Body> {
        error_answer(error)
    }

    /// The bucket that a host name carries, if any.
    pub(crate) fn bucket_of_host(host: &str) -> Option<&str> {
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        let bucket = name.strip_suffix(".localhost")?;
        let bucket = bucket.strip_suffix(".s3").unwrap_or(bucket);
        // `s3.localhost` itself is a way to write the endpoint.
        (bucket != "s3").then_some(bucket)
    }
}

impl S3Host for LocalHosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let found = VirtualHost::new("localhost");
        Ok(match Front::bucket_of_host(host) {
            Some(bucket) => found.with_bucket(bucket),
            None => found,
        })
    }
}

impl Objects {
    /// Runs work that blocks where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> S3Result<T> + Send + 'static,
    ) -> S3Result<T> {
        let world = Arc::clone(&self.world);
        tokio::task::spawn_blocking(move || work(&world.s3)).await.map_err(S3Error::internal_error)?
    }
}

/// Declares which operations exist; each is one function in one of the files below this one.
macro_rules! operations {
    ($($name:ident($input:ident) -> $output:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Objects {
            $(
                async fn $name(
                    &self,
                    request: S3Request<dto::$input>,
                ) -> S3Result<S3Response<dto::$output>> {
                    self.$name(request).await.map(S3Response::new)
                }
            )*
        }
    };
}

operations! {
    create_bucket(CreateBucketInput) -> CreateBucketOutput;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    head_bucket(HeadBucketInput) -> HeadBucketOutput;
    list_buckets(ListBucketsInput) -> ListBucketsOutput;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput;
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput)
        -> GetBucketNotificationConfigurationOutput;
    put_bucket_notification_configuration(PutBucketNotificationConfigurationInput)
        -> PutBucketNotificationConfigurationOutput;
    list_objects(ListObjectsInput) -> ListObjectsOutput;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
    get_object(GetObjectInput) -> GetObjectOutput;
    head_object(HeadObjectInput) -> HeadObjectOutput;
    put_object(PutObjectInput) -> PutObjectOutput;
    copy_object(CopyObjectInput) -> CopyObjectOutput;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    upload_part(UploadPartInput) -> UploadPartOutput;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    list_parts(ListPartsInput) -> ListPartsOutput;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_in_host_names() {
        assert_eq!(Front::bucket_of_host("raw.localhost:4566"), Some("raw"));
        assert_eq!(Front::bucket_of_host("raw.data.s3.localhost"), Some("raw.data"));
        assert_eq!(Front::bucket_of_host("s3.localhost:4566"), None);
        assert_eq!(Front::bucket_of_host("localhost:4566"), None);
        assert_eq!(Front::bucket_of_host("127.0.0.1:4566"), None);
    }
}
