//! Sending notices: over SNS, for the operator `sns_publish` and for the engine's outbox, and over
//! HTTP (`target.rs`).
//!
//! Here stands what SNS takes (subject, size, attributes) and how a repeated send is told
//! apart. What a notice says, to whom and when, is decided elsewhere.
//!
//! SNS promises nothing about repeated sends to a standard topic: whoever repeats after a lost
//! answer may deliver twice. FIFO topics drop a repetition within five minutes, so an outbox
//! should repeat soon.

mod links;
mod subscribe;
mod target;

pub use links::{LINK_LIFE_MAX, Signed, check_object, sign};
pub use subscribe::{Subscribed, check_address, subscribe};
pub use target::{Message, NotTaken, Target, deliver};

use aws_sdk_sns::types::MessageAttributeValue;
use indexmap::IndexMap;

use crate::{
    aws::error::Trouble,
    clients::Clients,
    operator::{ErrorClass, Failure},
};

/// A subject must have fewer than 100 characters.
pub const SUBJECT_LENGTH_MAX: usize = 99;

/// What SNS takes in one message, with its attributes.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// The most attributes; more would be dropped by subscriptions with raw delivery to SQS.
pub const ATTRIBUTES_MAX: usize = 10;

/// Names the notice in its attributes, so that a receiver can tell a repetition.
const NOTICE_ID: &str = "trunkline-notice-id";

/// Where a message was cut.
const CUT: &str = "\n[the rest was cut: SNS takes 256 KiB]";

/// FIFO topics deliver in order within a group; notices have no order between each other but
/// in time.
const GROUP: &str = "trunkline";

/// Publishes a message and gives SNS's id of it. A failure of class
/// [`ErrorClass::Config`] will not go away by itself; every other may be repeated with the
/// same `notice_id`.
pub async fn publish(
    clients: &Clients,
    connection: &str,
    topic: &str,
    subject: Option<&str>,
    message: &str,
    attributes: &IndexMap<String, String>,
    notice_id: &str,
) -> Result<String, Failure> {
    try_publish(clients, connection, topic, subject, message, attributes, notice_id)
        .await
        .map_err(Undelivered::into_failure)
}

/// Why nothing was published, or perhaps nothing.
pub(crate) enum Undelivered {
    /// It never came to a call.
    Before(Failure),
    /// The call failed.
    Call(Trouble),
}

impl Undelivered {
    fn into_failure(self) -> Failure {
        match self {
            Self::Before(failure) => failure,
            Self::Call(trouble) => trouble.into_failure(),
        }
    }
}

pub(crate) async fn try_publish(
    clients: &Clients,
    connection: &str,
    topic: &str,
    subject: Option<&str>,
    message: &str,
    attributes: &IndexMap<String, String>,
    notice_id: &str,
) -> Result<String, Undelivered> {
    check_topic(topic).map_err(Undelivered::Before)?;
    if message.is_empty() {
        let failure = Failure::new(ErrorClass::Config, "message: SNS takes no empty message");
        return Err(Undelivered::Before(failure));
    }
    let sns = clients.sns(connection).await.map_err(Undelivered::Before)?;
    let subject = subject.map(clean_subject).filter(|subject| !subject.is_empty());
    let attributes = all_attributes(attributes, notice_id);
    let spent = subject.as_ref().map_or(0, String::len)
        + attributes.iter().map(|(name, value)| name.len() + value.len() + "String".len()).sum::<usize>();
    let mut call = sns
        .publish()
        .topic_arn(topic)
        .set_subject(subject)
        .message(fit(message, MESSAGE_BYTES_MAX.saturating_sub(spent)));
    for (name, value) in &attributes {
        let value = MessageAttributeValue::builder().data_type("String").string_value(*value).build();
        call = call.message_attributes(*name, value.map_err(|error| invalid(&error.to_string()))?);
    }
    if topic.ends_with(".fifo") {
        call = call.message_group_id(GROUP).message_deduplication_id(notice_id);
    }
    let answer = call.send().await.map_err(|error| Undelivered::Call(Trouble::from(error)))?;
    Ok(answer.message_id.unwrap_or_default())
}

fn invalid(message: &str) -> Undelivered {
    Undelivered::Before(Failure::new(ErrorClass::Config, format!("attributes: {message}")))
}

/// Whether a topic is named as SNS names topics.
pub(crate) fn check_topic(topic: &str) -> Result<(), Failure> {
    let parts: Vec<&str> = topic.split(':').collect();
    let fits = parts.len() == 6
        && parts[0] == "arn"
        && parts[2] == "sns"
        && parts[3..].iter().all(|part| !part.is_empty());
    if fits {
        return Ok(());
    }
    let message = format!("topic: `{topic}` is no ARN of a topic: write arn:aws:sns:REGION:ACCOUNT:NAME");
    Err(Failure::new(ErrorClass::Config, message))
}

/// A subject that SNS takes: ASCII, one line, no control characters, not too long, beginning
/// with a letter, a digit or a mark. Names of runs flow into it, so anything may come.
pub fn clean_subject(subject: &str) -> String {
    let mut clean = String::with_capacity(SUBJECT_LENGTH_MAX);
    for character in subject.chars() {
        let character = match character {
            '\u{2013}' | '\u{2014}' | '\u{2192}' => '-',
            '\u{2018}' | '\u{2019}' => '\'',
            '\u{201c}' | '\u{201d}' => '"',
            c if c.is_whitespace() || c.is_control() => ' ',
            c if c.is_ascii() => c,
            _ => '?',
        };
        if character != ' ' || !(clean.is_empty() || clean.ends_with(' ')) {
            clean.push(character);
        }
    }
    let clean = clean.trim_end();
    if clean.len() <= SUBJECT_LENGTH_MAX {
        return clean.to_owned();
    }
    format!("{}...", clean[..SUBJECT_LENGTH_MAX - 3].trim_end())
}

/// The attributes that go out: without empty ones, which SNS refuses, and with the id.
fn all_attributes<'a>(
    attributes: &'a IndexMap<String, String>,
    notice_id: &'a str,
) -> Vec<(&'a str, &'a str)> {
    let given = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    given
        .filter(|(name, value)| !value.is_empty() && *name != NOTICE_ID)
        .take(ATTRIBUTES_MAX - 1)
        .chain((!notice_id.is_empty()).then_some((NOTICE_ID, notice_id)))
        .collect()
}

/// The text, or as much of it as fits with the mark that something is missing.
fn fit(message: &str, bytes_max: usize) -> String {
    if message.len() <= bytes_max {
        return message.to_owned();
    }
    let mut end = bytes_max.saturating_sub(CUT.len());
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_what_sns_takes() {
        assert_eq!(clean_subject("[prod] FAILED a\r\nBcc: b@c"), "[prod] FAILED a Bcc: b@c");
        assert_eq!(clean_subject("  \u{7}caf\u{e9} \u{2014} x "), "caf? - x");
        let long = clean_subject(&"a b".repeat(100));
        assert!(long.len() <= SUBJECT_LENGTH_MAX && long.ends_with("..."), "{long}");
        for character in (0..=0x2fff).filter_map(char::from_u32) {
            let clean = clean_subject(&format!("x{character}y"));
            assert!(clean.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{character:?} gave {clean:?}");
        }
    }

    #[test]
    fn messages_are_cut_between_characters() {
        assert_eq!(fit("short", 100), "short");
        let cut = fit(&"\u{e9}".repeat(200), 101);
        assert!(cut.len() <= 101 && cut.ends_with(CUT), "{} bytes", cut.len());
    }

    #[test]
    fn topics_are_arns() {
        assert!(check_topic("arn:aws:sns:us-east-1:000000000000:etl").is_ok());
        for wrong in ["etl", "arn:aws:sqs:us-east-1:000000000000:etl", "arn:aws:sns:us-east-1::etl", ""] {
            assert!(check_topic(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn empty_attributes_are_left_out() {
        let given = IndexMap::from([("a".to_owned(), String::new()), ("b".to_owned(), "c".to_owned())]);
        assert_eq!(all_attributes(&given, "id"), [("b", "c"), (NOTICE_ID, "id")]);
    }
}
