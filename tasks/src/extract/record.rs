//! The record of an attempt: the object that is written last, once, and says what the attempt left.

use aws_sdk_s3::{Client, primitives::ByteStream};

use crate::{
    aws::{address::Address, error::Trouble},
    operator::{ErrorClass, Failure, Outcome},
};

/// Most bytes of a record: 200 tables with a name each stay far below.
const BYTES_MAX: usize = 1024 * 1024;

fn key(folder: &str, token: &str) -> String {
    format!("{folder}_extracts/{token}.json")
}

/// What the attempt left, if it came to its end.
pub(super) async fn read(s3: &Client, to: &str, token: &str) -> Result<Option<Outcome>, Failure> {
    let Address { bucket, key: folder } = Address::prefix(to, "to")?;
    let key = key(folder, token);
    let answer = match s3.get_object().bucket(bucket).key(&key).send().await.map_err(Trouble::from) {
        Ok(answer) => answer,
        Err(trouble) if trouble.is_not_there() && trouble.code() != "NoSuchBucket" => return Ok(None),
        Err(trouble) => return Err(trouble.into_failure()),
    };
    let broken = |text: String| Failure::new(ErrorClass::System, format!("s3://{bucket}/{key}: {text}"));
    if answer.content_length().is_some_and(|length| usize::try_from(length).unwrap_or(usize::MAX) > BYTES_MAX)
    {
        return Err(broken("it is no record of an extract".into()));
    }
    let bytes = answer.body.collect().await.map_err(|error| broken(error.to_string()))?.into_bytes();
    let outcome = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    Ok(Some(outcome))
}

/// Writes what an attempt leaves; where another try of it was faster, that one's counts.
pub(super) async fn write(s3: &Client, to: &str, token: &str, outcome: Outcome) -> Result<Outcome, Failure> {
    let Address { bucket, key: folder } = Address::prefix(to, "to")?;
    let text =
        serde_json::to_vec(&outcome).map_err(|error| Failure::new(ErrorClass::Config, error.to_string()))?;
    let put = s3
        .put_object()
        .bucket(bucket)
        .key(key(folder, token))
        .if_none_match("*")
        .content_type("application/json")
        .body(ByteStream::from(text));
    match put.send().await.map_err(Trouble::from) {
        Ok(_) => Ok(outcome),
        // Of this try's own answer that got lost, or of another try's: the same record either way.
        Err(trouble) if matches!(trouble.code(), "PreconditionFailed" | "ConditionalRequestConflict") => {
            let failure = trouble.into_failure();
            read(s3, to, token).await?.ok_or(failure)
        }
        Err(trouble) => Err(trouble.into_failure()),
    }
}
