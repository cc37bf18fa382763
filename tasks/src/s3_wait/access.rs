//! What waiting for objects needs: their bucket.

use crate::{
    access::{self, Finding, Needs, Place, Statement},
    clients::Clients,
    operator::Request,
};

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let bucket = request.body["Bucket"].as_str().unwrap_or_default();
    let mut statements = vec![Statement::new("s3", &["ListBucket"], [place.s3(bucket)])];
    if let Some(key) = request.body["Key"].as_str() {
        // HEAD of an object is allowed by the right to read it.
        statements.push(Statement::new("s3", &["GetObject"], [place.s3(&format!("{bucket}/{key}"))]));
    }
    Needs::of(statements)
}

pub(super) async fn check(clients: &Clients, request: &Request) -> Vec<Finding> {
    let bucket = request.body["Bucket"].as_str().unwrap_or_default();
    vec![access::bucket(clients, &request.connection, bucket).await]
}
