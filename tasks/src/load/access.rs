//! What a load needs of IAM: to read its files. The database has users and grants of its own.

use super::{Work, addresses};
use crate::{
    access::{self, Finding, Needs, Place, Statement},
    aws::address::Address,
    clients::Clients,
};

/// The addresses, each once, in their order.
fn named(work: &Work) -> Vec<Address<'_>> {
    let mut named: Vec<Address<'_>> = Vec::new();
    for text in work.tables.iter().flat_map(|table| addresses(&table.from)) {
        if let Ok(address) = Address::prefix(text, "from")
            && !named.contains(&address)
        {
            named.push(address);
        }
    }
    named
}

fn buckets<'a>(named: &[Address<'a>]) -> Vec<&'a str> {
    let mut buckets: Vec<&str> = Vec::new();
    for Address { bucket, .. } in named {
        if !buckets.contains(bucket) {
            buckets.push(bucket);
        }
    }
    buckets
}

pub(super) fn needs(work: &Work, place: &Place) -> Needs {
    let named = named(work);
    if named.is_empty() {
        return Needs::default();
    }
    let is_folder = |key: &str| key.is_empty() || key.ends_with('/');
    let objects = named.iter().map(|Address { bucket, key }| {
        place.s3(&if is_folder(key) { format!("{bucket}/{key}*") } else { format!("{bucket}/{key}") })
    });
    Needs::of(vec![
        Statement::new("s3", &["ListBucket"], buckets(&named).into_iter().map(|bucket| place.s3(bucket))),
        Statement::new("s3", &["GetObject"], objects),
    ])
}

pub(super) async fn check(clients: &Clients, work: &Work, connection: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for bucket in buckets(&named(work)) {
        findings.push(access::bucket(clients, connection, bucket).await);
    }
    findings
}
