//! What deleting needs: to list and to delete.

use crate::{
    access::{self, Finding, Needs, Place, Statement},
    clients::Clients,
    operator::Request,
};

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let text = |name: &str| request.body[name].as_str();
    let bucket = text("Bucket").unwrap_or_default();
    let objects = match text("Key") {
        Some(key) => place.s3(&format!("{bucket}/{key}")),
        None => place.s3(&format!("{bucket}/{}*", text("Prefix").unwrap_or_default())),
    };
    let mut actions = vec!["DeleteObject"];
    if text("Key").is_some() {
        actions.push("GetObject");
    }
    Needs::of(vec![
        Statement::new("s3", &["ListBucket"], [place.s3(bucket)]),
        Statement::new("s3", &actions, [objects]),
    ])
}

pub(super) async fn check(clients: &Clients, request: &Request) -> Vec<Finding> {
    let bucket = request.body["Bucket"].as_str().unwrap_or_default();
    vec![access::bucket(clients, &request.connection, bucket).await]
}
