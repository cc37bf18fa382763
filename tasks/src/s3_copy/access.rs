//! What copying needs: to read what is copied, and to write where it goes.

use super::plan_of;
use crate::{
    access::{self, Finding, Needs, Place, Statement},
    clients::Clients,
    operator::Request,
};

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let Ok(plan) = plan_of(&request.body) else { return Needs::default() };
    let objects = |bucket: &str, key: Option<&str>, prefix: &str| match key {
        Some(key) => place.s3(&format!("{bucket}/{key}")),
        None => place.s3(&format!("{bucket}/{prefix}*")),
    };
    let from = &plan.from;
    let read = objects(&from.bucket, from.key.as_deref(), from.prefix.as_deref().unwrap_or_default());
    let write = objects(&plan.to_bucket, from.key.is_some().then_some(plan.to_key.as_str()), &plan.to_key);
    let mut buckets = vec![place.s3(&from.bucket), place.s3(&plan.to_bucket)];
    buckets.dedup();
    Needs::of(vec![
        Statement::new("s3", &["ListBucket"], buckets),
        Statement::new("s3", &["GetObject", "GetObjectTagging"], [read]),
        Statement::new("s3", &["GetObject", "PutObject", "PutObjectTagging"], [write]),
    ])
}

pub(super) async fn check(clients: &Clients, request: &Request) -> Vec<Finding> {
    let Ok(plan) = plan_of(&request.body) else { return Vec::new() };
    let mut buckets = vec![plan.from.bucket.as_str(), plan.to_bucket.as_str()];
    buckets.dedup();
    let mut findings = Vec::new();
    for bucket in buckets {
        findings.push(access::bucket(clients, &request.connection, bucket).await);
    }
    findings
}
