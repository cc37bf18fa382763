//! What a transformation needs of IAM: to read its inputs, and to write its folders.

use super::TransformConfig;
use crate::{
    access::{self, Finding, Needs, Place, Statement},
    aws::address::Address,
    clients::Clients,
    load::{
        access::{buckets, listing, named, reading},
        addresses,
    },
};

fn inputs(config: &TransformConfig) -> Vec<Address<'_>> {
    named(config.inputs.values().flat_map(|input| addresses(&input.from)))
}

fn folders(config: &TransformConfig) -> Vec<Address<'_>> {
    named(config.outputs.values().map(|output| &output.to).chain(&config.rejected))
}

pub(super) fn needs(config: &TransformConfig, place: &Place) -> Needs {
    let inputs = inputs(config);
    let mut statements: Vec<Statement> =
        listing(&inputs, place).into_iter().chain(reading(&inputs, place)).collect();
    let folders =
        folders(config).into_iter().map(|Address { bucket, key }| place.s3(&format!("{bucket}/{key}*")));
    statements.push(Statement::new("s3", &["DeleteObject", "GetObject", "PutObject"], folders));
    Needs::of(statements)
}

pub(super) async fn check(clients: &Clients, config: &TransformConfig, connection: &str) -> Vec<Finding> {
    let (mut all, folders) = (inputs(config), folders(config));
    all.extend(folders);
    let mut findings = Vec::new();
    for bucket in buckets(&all) {
        findings.push(access::bucket(clients, connection, bucket).await);
    }
    findings
}
