//! What a message needs: its queue.

use super::{name_of, queue_of};
use crate::{
    access::{Finding, Needs, Place, Statement},
    aws::error::Trouble,
    clients::{Clients, Purpose},
    operator::Request,
};

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let queue = queue_of(request);
    let mut actions = vec!["SendMessage"];
    let mut arn = place.arn("sqs", name_of(queue));
    if queue.contains("://") {
        // A URL names the account in its path: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`.
        let account = queue.trim_end_matches('/').rsplit('/').nth(1).unwrap_or(&place.account);
        arn = Place::new(&place.region, account).arn("sqs", name_of(queue));
    } else {
        actions.push("GetQueueUrl");
    }
    Needs::of(vec![Statement::new("sqs", &actions, [arn])])
}

pub(super) async fn check(clients: &Clients, request: &Request) -> Vec<Finding> {
    let queue = queue_of(request);
    let what = format!("queue {}", name_of(queue));
    let sqs = match clients.sqs(&request.connection, Purpose::Read).await {
        Ok(sqs) => sqs,
        Err(failure) => return vec![Finding::unreachable(&what, &failure)],
    };
    let answer = if queue.contains("://") {
        let names = [aws_sdk_sqs::types::QueueAttributeName::QueueArn].to_vec();
        let asked = sqs.get_queue_attributes().queue_url(queue).set_attribute_names(Some(names));
        asked.send().await.map(drop).map_err(Trouble::from)
    } else {
        sqs.get_queue_url().queue_name(queue).send().await.map(drop).map_err(Trouble::from)
    };
    vec![Finding::of(&what, "sqs:GetQueueUrl and sqs:GetQueueAttributes", &answer)]
}
