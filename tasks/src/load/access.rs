//! What a load needs of IAM: to read its files. The database has users and grants of its own.

use super::{Work, addresses};
use crate::{
    access::{self, Finding, Needs, Place, Statement},
    aws::address::Address,
    clients::Clients,
};

/// The addresses, each once, in their order.
pub(crate) fn named<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<Address<'a>> {
    let mut named: Vec<Address<'_>> = Vec::new();
    for text in texts {
        if let Ok(address) = Address::prefix(text, "from")
            && !named.contains(&address)
        {
            named.push(address);
        }
    }
    named
}

/// Their buckets, each once.
pub(crate) fn buckets<'a>(named: &[Address<'a>]) -> Vec<&'a str> {
    let mut buckets: Vec<&str> = Vec::new();
    for Address { bucket, .. } in named {
        if !buckets.contains(bucket) {
            buckets.push(bucket);
        }
    }
    buckets
}

/// What looking for them takes.
pub(crate) fn listing(named: &[Address<'_>], place: &Place) -> Option<Statement> {
    let buckets = buckets(named).into_iter().map(|bucket| place.s3(bucket));
    (!named.is_empty()).then(|| Statement::new("s3", &["ListBucket"], buckets))
}

/// What reading them takes.
pub(crate) fn reading(named: &[Address<'_>], place: &Place) -> Option<Statement> {
    let is_folder = |key: &str| key.is_empty() || key.ends_with('/');
    let objects = named.iter().map(|Address { bucket, key }| {
        place.s3(&if is_folder(key) { format!("{bucket}/{key}*") } else { format!("{bucket}/{key}") })
    });
    (!named.is_empty()).then(|| Statement::new("s3", &["GetObject"], objects))
}

fn of_work(work: &Work) -> Vec<Address<'_>> {
    named(work.tables.iter().flat_map(|table| addresses(&table.from)))
}

pub(super) fn needs(work: &Work, place: &Place) -> Needs {
    let named = of_work(work);
    Needs::of(listing(&named, place).into_iter().chain(reading(&named, place)).collect())
}

pub(super) async fn check(clients: &Clients, work: &Work, connection: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for bucket in buckets(&of_work(work)) {
        findings.push(access::bucket(clients, connection, bucket).await);
    }
    findings
}
