//! What a copy needs of IAM: the Data API, to list the files, to write the lists. COPY itself reads with a role of its
//! own, of which only a person can say what it may.

use super::plan::Work;
use crate::{
    access::{self, Finding, Needs, Place, Statement},
    aws::address::Address,
    clients::Clients,
    load::access::{buckets, listing, named, reading},
    operator::Request,
    redshift,
};

fn sources(work: &Work) -> Vec<Address<'_>> {
    named(work.tables.iter().flat_map(|table| &table.from))
}

pub(super) fn needs(request: &Request, work: &Work, place: &Place) -> Needs {
    let mut needs = redshift::access::needs(request, place);
    needs.statements.extend(listing(&sources(work), place));
    // Of the rest only COPY sees more than the name.
    let sized = work.tables.iter().filter(|table| table.with_sizes).flat_map(|table| &table.from);
    needs.statements.extend(reading(&named(sized), place));
    if let Ok(Address { bucket, key }) = Address::prefix(&work.manifests, "manifests") {
        let lists = place.s3(&format!("{bucket}/{key}*"));
        needs.statements.push(Statement::new("s3", &["GetObject", "PutObject"], [lists]));
    }
    let mut all: Vec<String> = sources(work).iter().map(|source| source.bucket.to_owned()).collect();
    all.extend(Address::prefix(&work.manifests, "manifests").map(|address| address.bucket.to_owned()));
    all.sort_unstable();
    all.dedup();
    needs.notes.push(format!(
        "COPY reads with {}, which has to be attached to the warehouse and needs s3:GetObject and s3:ListBucket on {}",
        work.roles,
        all.join(", ")
    ));
    needs
}

pub(super) async fn check(clients: &Clients, request: &Request, work: &Work) -> Vec<Finding> {
    let mut findings = redshift::access::check(clients, request).await;
    let mut all = sources(work);
    all.extend(Address::prefix(&work.manifests, "manifests"));
    for bucket in buckets(&all) {
        findings.push(access::bucket(clients, &request.connection, bucket).await);
    }
    findings
}
