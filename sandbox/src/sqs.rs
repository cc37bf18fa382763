//! SQS: standard and FIFO queues with visibility, long polling and dead-letter queues.
//!
//! Each queue is a folder with a record, each message a file in it, so that accepted messages outlive the
//! process. Permissions, encryption and tags have no meaning here; attributes that would change what is
//! delivered and are not known are refused by name.

mod api;
mod attributes;
mod messages;
mod queue;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use self::queue::{Message, Queue};
use crate::wire::{ApiError, CallContext};
use crate::world::{REGION, World};
use crate::{SandboxError, catalog, files};

/// The service.
#[derive(Debug)]
pub(crate) struct Sqs {
    world: Arc<World>,
    queues: Mutex<BTreeMap<String, Queue>>,
}

impl Sqs {
    /// Reads queues and messages.
    pub(crate) fn open(world: Arc<World>) -> Result<Self, SandboxError> {
        let mut queues = BTreeMap::new();
        for folder in catalog::entries(&world.root.join("sqs"))? {
            let Some(mut queue) = files::read_json::<Queue>(&folder.join("queue.json"))? else { continue };
            for path in catalog::entries(&folder.join("messages"))? {
                // Others are half-written, and were never accepted.
                if path.extension().is_some_and(|ending| ending == "json")
                    && let Some(message) = files::read_json::<Message>(&path)?
                {
                    // A message that was accepted just before the record was written.
                    queue.sequence = queue.sequence.max(message.number);
                    queue.messages.insert(message.number, message);
                }
            }
            queues.insert(queue.name.clone(), queue);
        }
        Ok(Self { world, queues: Mutex::new(queues) })
    }

    /// Answers one call.
    pub(crate) async fn call(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        match cx.operation.as_str() {
            "CreateQueue" => self.create_queue(cx, body),
            "DeleteQueue" => self.delete_queue(body),
            "GetQueueUrl" => self.get_queue_url(body),
            "ListQueues" => Ok(self.list_queues(body)),
            "GetQueueAttributes" => self.get_queue_attributes(cx, body),
            "SetQueueAttributes" => self.set_queue_attributes(cx, body),
            "PurgeQueue" => self.purge_queue(cx, body),
            "SendMessage" => self.send_message(cx, body),
            "SendMessageBatch" => self.send_message_batch(cx, body),
            "ReceiveMessage" => self.receive_message(body).await,
            "DeleteMessage" => self.delete_message(body),
            "DeleteMessageBatch" => self.delete_message_batch(body),
            "ChangeMessageVisibility" => self.change_message_visibility(body),
            "ChangeMessageVisibilityBatch" => self.change_message_visibility_batch(body),
            _ => Err(ApiError::unknown_operation(cx)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, queue: &str) -> PathBuf {
        self.world.root.join("sqs").join(catalog::file_name(queue))
    }

    fn message_file(&self, queue: &str, number: u64) -> PathBuf {
        self.folder(queue).join("messages").join(format!("{number:020}.json"))
    }

    fn keep_queue(&self, queue: &Queue) -> Result<(), ApiError> {
        files::replace_json(&self.folder(&queue.name).join("queue.json"), queue).map_err(internal)
    }

    fn keep_message(&self, queue: &str, message: &Message) -> Result<(), ApiError> {
        files::replace_json(&self.message_file(queue, message.number), message).map_err(internal)
    }

    fn forget_message(&self, queue: &str, number: u64) -> Result<(), ApiError> {
        match fs::remove_file(self.message_file(queue, number)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(internal(error)),
            _ => Ok(()),
        }
    }

    fn url(&self, queue: &str) -> String {
        format!("{}/{}/{queue}", self.world.endpoint(), self.world.account)
    }
}

/// A queue's ARN. Queues of all regions are one space of names here.
pub(crate) fn arn(account: &str, queue: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{account}:{queue}")
}

/// A queue's name from its ARN.
pub(crate) fn name_of_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let is_sqs = parts.next() == Some("arn") && parts.nth(1) == Some("sqs");
    parts.nth(2).filter(|name| is_sqs && !name.is_empty())
}

/// The account of a queue from its ARN.
pub(crate) fn account_of_arn(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty())
}

/// The name of the queue that a request is about.
fn named(body: &Value) -> Result<&str, ApiError> {
    let url = text(body, "QueueUrl").ok_or_else(|| missing("QueueUrl"))?;
    Ok(url.trim_end_matches('/').rsplit('/').next().unwrap_or_default())
}

fn text<'a>(body: &'a Value, member: &str) -> Option<&'a str> {
    body.get(member)?.as_str()
}

fn missing(member: &str) -> ApiError {
    ApiError::new(400, "ValidationException", format!("The request must contain the parameter {member}."))
}

fn no_queue() -> ApiError {
    ApiError::new(400, "QueueDoesNotExist", "The specified queue does not exist.")
}

/// The sandbox itself failed.
fn internal(reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(500, "InternalFailure", reason.to_string())
}

/// Answers of a batch: what each entry came to.
fn batch(results: Vec<(String, Result<Value, ApiError>)>) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, result) in results {
        match result {
            Ok(mut told) => {
                told["Id"] = json!(id);
                successful.push(told);
            }
            Err(error) => failed.push(json!({
                "Id": id, "SenderFault": error.status < 500, "Code": error.code, "Message": error.message,
            })),
        }
    }
    json!({ "Successful": successful, "Failed": failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_name_queues() {
        assert_eq!(name_of_arn(&arn("000000000000", "orders.fifo")), Some("orders.fifo"));
        assert_eq!(name_of_arn("arn:aws:sns:us-east-1:000000000000:t"), None);
        assert_eq!(name_of_arn("orders"), None);
        assert_eq!(account_of_arn(&arn("000000000000", "orders")), Some("000000000000"));
    }
}
