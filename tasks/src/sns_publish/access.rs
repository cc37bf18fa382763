//! What a message needs: its topic.

use crate::{
    access::{self, Finding, Needs, Place},
    clients::Clients,
    operator::Request,
};

fn topic(request: &Request) -> &str {
    request.body["Publish"]["TopicArn"].as_str().unwrap_or_default()
}

pub(super) fn needs(request: &Request) -> Needs {
    Needs::of(vec![access::topic_permissions(topic(request))])
}

pub(super) async fn check(clients: &Clients, request: &Request, place: &Place) -> Vec<Finding> {
    access::topic(clients, &request.connection, place, topic(request)).await
}
