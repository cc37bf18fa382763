//! Operations on buckets, and listings.

use s3s::dto::{
    Bucket, BucketLocationConstraint, CommonPrefix, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
    DeleteBucketOutput, ETag, EncodingType, GetBucketLocationInput, GetBucketLocationOutput,
    GetBucketVersioningInput, GetBucketVersioningOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
    ListBucketsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object,
    ObjectStorageClass, Owner, Timestamp,
};
use s3s::{S3Request, S3Result, s3_error};

use super::Objects;
use crate::s3::listing::{self, PAGE_MAX, Page, Position, Query};
use crate::world::{ACCOUNT, REGION};

impl Objects {
    pub(super) async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<CreateBucketOutput> {
        let bucket = request.input.bucket;
        let location = format!("/{bucket}");
        // As in us-east-1, making a bucket that one owns already is no error.
        self.blocking(move |store| Ok(store.create_bucket(&bucket)?)).await?;
        Ok(CreateBucketOutput { location: Some(location) })
    }

    pub(super) async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<DeleteBucketOutput> {
        self.blocking(move |store| Ok(store.delete_bucket(&request.input.bucket)?)).await?;
        Ok(DeleteBucketOutput::default())
    }

    pub(super) async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<HeadBucketOutput> {
        self.require_bucket(request.input.bucket).await?;
        Ok(HeadBucketOutput { bucket_region: Some(REGION.to_owned()), ..HeadBucketOutput::default() })
    }

    pub(super) async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<ListBucketsOutput> {
        let mut buckets = self.blocking(|store| Ok(store.buckets()?)).await?;
        let prefix = request.input.prefix.clone().unwrap_or_default();
        buckets.retain(|(name, _)| name.starts_with(&prefix));
        let buckets = buckets
            .into_iter()
            .map(|(name, made)| Bucket {
                name: Some(name),
                creation_date: Some(Timestamp::from(std::time::SystemTime::from(made))),
                bucket_region: None,
            })
            .collect();
        Ok(ListBucketsOutput {
            buckets: Some(buckets),
            owner: Some(Owner { display_name: Some("sandbox".to_owned()), id: Some(ACCOUNT.to_owned()) }),
            prefix: request.input.prefix,
            ..ListBucketsOutput::default()
        })
    }

    pub(super) async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<GetBucketLocationOutput> {
        self.require_bucket(request.input.bucket).await?;
        // The empty constraint is how S3 says us-east-1.
        let location_constraint = Some(BucketLocationConstraint::from(String::new()));
        Ok(GetBucketLocationOutput { location_constraint })
    }

    pub(super) async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<GetBucketVersioningOutput> {
        self.require_bucket(request.input.bucket).await?;
        Ok(GetBucketVersioningOutput::default())
    }

    pub(super) async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<ListObjectsOutput> {
        let input = request.input;
        let marker = input.marker.clone().unwrap_or_default();
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            position: Position { after: marker, is_prefix: false },
            limit: limit(input.max_keys)?,
        };
        let page = self.page(&input.bucket, query).await?;
        let write = writer(input.encoding_type.as_ref());
        Ok(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(write(&input.prefix.unwrap_or_default())),
            marker: Some(write(&input.marker.unwrap_or_default())),
            delimiter: input.delimiter.as_deref().map(&write),
            max_keys: Some(input.max_keys.unwrap_or(1000)),
            is_truncated: Some(page.next.is_some()),
            next_marker: page.next.as_ref().map(|next| write(&next.after)),
            encoding_type: input.encoding_type.clone(),
            contents: contents(&page, &write, true),
            common_prefixes: common_prefixes(&page, &write),
            ..ListObjectsOutput::default()
        })
    }

    pub(super) async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<ListObjectsV2Output> {
        let input = request.input;
        let position = match &input.continuation_token {
            Some(token) => Position::from_token(token)
                .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))?,
            None => Position { after: input.start_after.clone().unwrap_or_default(), is_prefix: false },
        };
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            position,
            limit: limit(input.max_keys)?,
        };
        let page = self.page(&input.bucket, query).await?;
        let write = writer(input.encoding_type.as_ref());
        Ok(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(write(&input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.as_deref().map(&write),
            start_after: input.start_after.as_deref().map(&write),
            max_keys: Some(input.max_keys.unwrap_or(1000)),
            key_count: i32::try_from(page.len()).ok(),
            is_truncated: Some(page.next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: page.next.as_ref().map(Position::to_token),
            encoding_type: input.encoding_type.clone(),
            contents: contents(&page, &write, input.fetch_owner.unwrap_or(false)),
            common_prefixes: common_prefixes(&page, &write),
            ..ListObjectsV2Output::default()
        })
    }

    async fn page(&self, bucket: &str, query: Query) -> S3Result<Page> {
        let bucket = bucket.to_owned();
        self.blocking(move |store| Ok(listing::page(store, &bucket, &query)?)).await
    }

    async fn require_bucket(&self, bucket: String) -> S3Result<()> {
        self.blocking(move |store| Ok(store.bucket_folder(&bucket).map(drop)?)).await
    }
}

fn limit(max_keys: Option<i32>) -> S3Result<usize> {
    let Some(max_keys) = max_keys else { return Ok(PAGE_MAX) };
    usize::try_from(max_keys).map_err(|_| {
        s3_error!(InvalidArgument, "Argument maxKeys must be an integer between 0 and 2147483647")
    })
}

fn contents(page: &Page, write: &impl Fn(&str) -> String, with_owner: bool) -> Option<Vec<Object>> {
    let owner = || Owner { display_name: None, id: Some(ACCOUNT.to_owned()) };
    let objects = page.objects.iter().map(|(object, etag)| Object {
        key: Some(write(&object.key)),
        size: i64::try_from(object.size).ok(),
        last_modified: Some(Timestamp::from(std::time::SystemTime::from(object.modified))),
        e_tag: Some(ETag::Strong(etag.clone())),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        owner: with_owner.then(owner),
        ..Object::default()
    });
    (!page.objects.is_empty()).then(|| objects.collect())
}

fn common_prefixes(page: &Page, write: &impl Fn(&str) -> String) -> Option<Vec<CommonPrefix>> {
    let prefixes = page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(write(prefix)) });
    (!page.prefixes.is_empty()).then(|| prefixes.collect())
}

/// How keys are written: as they are, or percent-encoded if the client asked for it.
fn writer(encoding: Option<&EncodingType>) -> impl Fn(&str) -> String + use<> {
    let encoded = encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL);
    move |text: &str| if encoded { percent_encode(text) } else { text.to_owned() }
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&hex::encode_upper([byte]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encode;

    #[test]
    fn keys_are_encoded_byte_by_byte() {
        assert_eq!(percent_encode("a/ü b+c=d"), "a/%C3%BC%20b%2Bc%3Dd");
    }
}
