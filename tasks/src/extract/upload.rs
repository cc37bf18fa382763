//! One object of S3, written as its bytes come: in one call where it is small, in parts where it is not.

use aws_sdk_s3::{
    Client,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};

use crate::{
    aws::error::Trouble,
    operator::{ErrorClass, Failure},
};

/// A part is sent when this many bytes are there; what an upload holds in memory.
const PART_BYTES: usize = 16 * 1024 * 1024;
/// What S3 takes of parts, and with their size the largest file: 160 GB.
const PARTS_MAX: usize = 10_000;

/// An object under way.
pub(super) struct Upload<'a> {
    s3: &'a Client,
    bucket: &'a str,
    key: String,
    pub(super) buffer: Vec<u8>,
    parts: Option<Parts>,
    bytes: u64,
}

struct Parts {
    id: String,
    done: Vec<CompletedPart>,
}

impl<'a> Upload<'a> {
    /// Nothing is sent yet.
    pub(super) fn new(s3: &'a Client, bucket: &'a str, key: String) -> Self {
        Self { s3, bucket, key, buffer: Vec::new(), parts: None, bytes: 0 }
    }

    /// As people write it.
    pub(super) fn address(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    /// Sends a part where enough bytes are there.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        if self.buffer.len() < PART_BYTES {
            return Ok(());
        }
        if self.parts.is_none() {
            let made = self.s3.create_multipart_upload().bucket(self.bucket).key(&self.key).send().await;
            let made = made.map_err(|error| self.failed(error.into()))?;
            let id = made.upload_id.ok_or_else(|| self.failed(Trouble::empty("S3 gave the upload no id")))?;
            self.parts = Some(Parts { id, done: Vec::new() });
        }
        self.part().await
    }

    async fn part(&mut self) -> Result<(), Failure> {
        let bytes = std::mem::take(&mut self.buffer);
        let Some(parts) = &self.parts else { return Ok(()) };
        if parts.done.len() == PARTS_MAX {
            let limit = PARTS_MAX * PART_BYTES;
            let text = format!("{}: a file has at most {limit} bytes; read less at once", self.address());
            return Err(Failure::new(ErrorClass::Config, text));
        }
        let number = i32::try_from(parts.done.len() + 1).unwrap_or(i32::MAX);
        let id = parts.id.clone();
        self.bytes += bytes.len() as u64;
        let call = self.s3.upload_part().bucket(self.bucket).key(&self.key).upload_id(id).part_number(number);
        let answer =
            call.body(ByteStream::from(bytes)).send().await.map_err(|error| self.failed(error.into()))?;
        let done = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag).build();
        if let Some(parts) = &mut self.parts {
            parts.done.push(done);
        }
        Ok(())
    }

    /// The object is whole: it appears with all of its bytes. How many they are.
    pub(super) async fn finish(mut self) -> Result<u64, Failure> {
        if self.parts.is_some() && !self.buffer.is_empty() {
            self.part().await?;
        }
        let Some(parts) = self.parts.take() else {
            let bytes = std::mem::take(&mut self.buffer);
            let count = bytes.len() as u64;
            let put = self.s3.put_object().bucket(self.bucket).key(&self.key).body(ByteStream::from(bytes));
            put.send().await.map_err(|error| self.failed(error.into()))?;
            return Ok(count);
        };
        let all = CompletedMultipartUpload::builder().set_parts(Some(parts.done)).build();
        let call = self.s3.complete_multipart_upload().bucket(self.bucket).key(&self.key).upload_id(parts.id);
        call.multipart_upload(all).send().await.map_err(|error| self.failed(error.into()))?;
        Ok(self.bytes)
    }

    /// What was sent is thrown away; what S3 keeps of it nevertheless, the bucket's lifecycle removes.
    pub(super) async fn abort(self) {
        if let Some(parts) = self.parts {
            let call = self.s3.abort_multipart_upload().bucket(self.bucket).key(self.key).upload_id(parts.id);
            drop(call.send().await);
        }
    }

    fn failed(&self, trouble: Trouble) -> Failure {
        let failure = trouble.into_failure();
        Failure { message: format!("{}: {}", self.address(), failure.message), ..failure }
    }
}
