//! What reading a queue needs: the queue itself, one for messages that cannot be read, permissions.

use super::{Queue, name_of};
use crate::{
    access::{Finding, Place, Statement},
    clients::Clients,
    operator::ErrorClass,
};

/// What a server that reads the queue must be allowed.
pub fn needs(place: &Place, queue: &str) -> Vec<Statement> {
    let mut actions =
        vec!["ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes"];
    let mut at = place.clone();
    if queue.contains("://") {
        // A URL names the account in its path: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`.
        if let Some(account) = queue.trim_end_matches('/').rsplit('/').nth(1) {
            at = Place::new(&place.region, account);
        }
    } else {
        actions.push("GetQueueUrl");
    }
    vec![Statement::new("sqs", &actions, [at.arn("sqs", name_of(queue))])]
}

/// Whether the queue is there, and has a place for messages that cannot be read.
pub async fn check(clients: &Clients, connection: &str, queue: &str) -> Vec<Finding> {
    let what = format!("queue {}", name_of(queue));
    let asked = match Queue::find(clients, connection, queue).await {
        Ok(found) => found.about(clients).await,
        Err(failure) => Err(failure),
    };
    match asked {
        Ok(about) if about.dead_letter_queue.is_some() => vec![Finding::fine(format!("{what} exists"))],
        Ok(_) => vec![Finding::wrong(without_redrive(name_of(queue)))],
        Err(failure) if failure.class == ErrorClass::Config || failure.class == ErrorClass::Failed => {
            vec![Finding::wrong(failure.message)]
        }
        Err(failure) => vec![Finding::unreachable(&what, &failure)],
    }
}

/// What is said of a queue without a redrive policy.
pub fn without_redrive(name: &str) -> String {
    format!(
        "queue {name} has no redrive policy: a message that cannot be read would come again for as long as the \
         queue keeps it; give it a dead-letter queue (RedrivePolicy with deadLetterTargetArn and maxReceiveCount)"
    )
}
