//! Queues that triggers read: messages received, held, deleted, and what a queue says of itself.
//!
//! Nothing is lost here: a message is deleted only when somebody says so, and whoever does has written down
//! what it told before. A message that nobody deletes comes again by itself.

mod access;
pub mod notification;

#[cfg(test)]
mod tests;

use std::time::Duration;

use aws_sdk_sqs::{
    config::Config,
    types::{
        ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageSystemAttributeName,
        QueueAttributeName,
    },
};
use aws_smithy_types::timeout::TimeoutConfig;
use serde_json::Value;

pub use self::access::{check, needs, without_redrive};
use crate::{
    aws::error::Trouble,
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure},
};

/// Messages of one call, the most that SQS takes.
pub const MESSAGES_MAX: usize = 10;

/// The longest that SQS lets a call wait for messages: the fewest calls while nothing comes.
pub const WAIT_MAX: Duration = Duration::from_secs(20);

/// The longest that an answer may take beside the wait that was asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A queue behind a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// The connection.
    pub connection: String,
    /// The queue's URL.
    pub url: String,
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The queue's id of it, the same whenever it comes.
    pub id: String,
    /// What it takes to delete it.
    pub receipt: String,
    /// Its text.
    pub body: String,
    /// How often it was received by now, this time included.
    pub times: u32,
}

/// What a queue says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Messages in it, roughly, those that are under way among them.
    pub messages: i64,
    /// Where messages go that were received too often, if anywhere.
    pub dead_letter_queue: Option<String>,
}

impl Queue {
    /// A queue by its URL or by its name, which SQS is asked about.
    pub async fn find(clients: &Clients, connection: &str, queue: &str) -> Result<Self, Failure> {
        let found = |url: String| Self { connection: connection.to_owned(), url };
        if queue.contains("://") {
            return Ok(found(queue.to_owned()));
        }
        let sqs = clients.sqs(connection, Purpose::Read).await?;
        let answer = sqs.get_queue_url().queue_name(queue).send().await;
        let answer = answer.map_err(|error| named(queue, Trouble::of(&error).into_failure()))?;
        answer
            .queue_url
            .map(found)
            .ok_or_else(|| Failure::new(ErrorClass::System, "sqs named no URL of the queue"))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        name_of(&self.url)
    }

    /// Receives up to [`MESSAGES_MAX`] messages, and waits for the first one for so long. They are hidden
    /// from others for as long as the queue says.
    pub async fn receive(&self, clients: &Clients, wait: Duration) -> Result<Vec<Message>, Failure> {
        let sqs = clients.sqs(&self.connection, Purpose::Read).await?;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(wait + ANSWER_TIMEOUT)
            .build();
        let answer = sqs
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(MESSAGES_MAX).unwrap_or(1))
            .wait_time_seconds(i32::try_from(wait.min(WAIT_MAX).as_secs()).unwrap_or(0))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .customize()
            .config_override(Config::builder().timeout_config(timeouts))
            .send()
            .await
            .map_err(|error| self.named(Trouble::of(&error).into_failure()))?;
        let count = MessageSystemAttributeName::ApproximateReceiveCount;
        let messages = answer.messages.unwrap_or_default().into_iter().filter_map(|message| {
            let times = message.attributes.as_ref().and_then(|known| known.get(&count)?.parse().ok());
            Some(Message {
                id: message.message_id?,
                receipt: message.receipt_handle?,
                body: message.body.unwrap_or_default(),
                times: times.unwrap_or(1),
            })
        });
        Ok(messages.collect())
    }

    /// Deletes messages. Whether SQS did is not certain: one that comes again is known again.
    pub async fn delete(&self, clients: &Clients, messages: &[Message]) -> Result<(), Failure> {
        let sqs = clients.sqs(&self.connection, Purpose::Read).await?;
        for some in messages.chunks(MESSAGES_MAX) {
            let entries = some.iter().enumerate().map(|(place, message)| {
                let entry = DeleteMessageBatchRequestEntry::builder();
                entry.id(place.to_string()).receipt_handle(&message.receipt).build()
            });
            let entries = entries.collect::<Result<Vec<_>, _>>().map_err(incomplete)?;
            let call = sqs.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
            call.send().await.map_err(|error| self.named(Trouble::of(&error).into_failure()))?;
        }
        Ok(())
    }

    /// Hides messages from others for so long from now on: while they wait for the store, they must not be
    /// counted as received too often.
    pub async fn hold(
        &self,
        clients: &Clients,
        messages: &[Message],
        hidden: Duration,
    ) -> Result<(), Failure> {
        let sqs = clients.sqs(&self.connection, Purpose::Read).await?;
        for some in messages.chunks(MESSAGES_MAX) {
            let entries = some.iter().enumerate().map(|(place, message)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder();
                let seconds = i32::try_from(hidden.as_secs()).unwrap_or(i32::MAX);
                entry
                    .id(place.to_string())
                    .receipt_handle(&message.receipt)
                    .visibility_timeout(seconds)
                    .build()
            });
            let entries = entries.collect::<Result<Vec<_>, _>>().map_err(incomplete)?;
            let call = sqs.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
            call.send().await.map_err(|error| self.named(Trouble::of(&error).into_failure()))?;
        }
        Ok(())
    }

    /// Asks the queue about itself.
    pub async fn about(&self, clients: &Clients) -> Result<About, Failure> {
        let sqs = clients.sqs(&self.connection, Purpose::Read).await?;
        let wanted = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::RedrivePolicy,
        ];
        let call = sqs.get_queue_attributes().queue_url(&self.url).set_attribute_names(Some(wanted.to_vec()));
        let answer = call.send().await.map_err(|error| self.named(Trouble::of(&error).into_failure()))?;
        let known = answer.attributes.unwrap_or_default();
        let number = |name: &QueueAttributeName| {
            known.get(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default()
        };
        let policy = known.get(&QueueAttributeName::RedrivePolicy);
        let policy = policy.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let target = policy.as_ref().and_then(|policy| policy.get("deadLetterTargetArn")?.as_str());
        Ok(About {
            messages: number(&wanted[0]) + number(&wanted[1]),
            dead_letter_queue: target.map(str::to_owned),
        })
    }

    /// How many messages lie in the queue that this ARN names, if that can be asked through the connection.
    pub async fn depth(clients: &Clients, connection: &str, arn: &str) -> Result<i64, Failure> {
        let mut parts = arn.splitn(6, ':').skip(4);
        let (account, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let sqs = clients.sqs(connection, Purpose::Read).await?;
        let call = sqs.get_queue_url().queue_name(name).queue_owner_aws_account_id(account);
        let answer = call.send().await.map_err(|error| named(name, Trouble::of(&error).into_failure()))?;
        let url = answer.queue_url.unwrap_or_default();
        let queue = Self { connection: connection.to_owned(), url };
        Ok(queue.about(clients).await?.messages)
    }

    fn named(&self, failure: Failure) -> Failure {
        named(self.name(), failure)
    }
}

/// The same failure with the queue in its text: SQS itself names none.
fn named(queue: &str, mut failure: Failure) -> Failure {
    failure.message = format!("queue {}: {}", name_of(queue), failure.message);
    failure
}

/// A queue's name, from its name or its URL.
pub fn name_of(queue: &str) -> &str {
    queue.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn incomplete(error: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorClass::System, format!("an entry of a batch is incomplete: {error}"))
}
