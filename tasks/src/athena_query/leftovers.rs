//! Data in S3 that nothing shows any more: what a replaced table had before, and what a failed
//! query left. Only what lies in a folder below `replace.location` is ever removed.

use aws_sdk_s3::{
    Client,
    types::{Delete, ObjectIdentifier},
};

use super::replace::{How, Plan};
use crate::{
    aws::{address::Address, error::Trouble},
    clients::Clients,
    objects::{PAGE, Selection},
    operator::{ErrorClass, Failure},
};

/// Pages of a thousand objects that one step removes.
const STEP_PAGES: usize = 10;

/// What may be removed once an address is no longer shown: the folder of an earlier attempt, or within it that of
/// a partition. `None` for what lies elsewhere, or holds the new data.
pub(super) fn removable(plan: &Plan, address: &str) -> Option<String> {
    let address = format!("{}/", address.trim_end_matches('/'));
    let inside = address.strip_prefix(&plan.root).filter(|inside| !inside.is_empty())?;
    let prefix = match plan.how {
        // Nothing of an earlier attempt is shown by a swapped table, so its whole folder goes.
        How::Swap => format!("{}{}/", plan.root, inside.split('/').next()?),
        How::Partition => address,
    };
    (!plan.fresh.starts_with(&prefix) && !prefix.starts_with(&plan.fresh)).then_some(prefix)
}

/// Whether nothing lies below an address.
pub(super) async fn is_empty(clients: &Clients, connection: &str, address: &str) -> Result<bool, Failure> {
    let s3 = clients.s3(connection).await?;
    Ok(selection(address)?.page(s3, None, 1).await?.is_empty())
}

/// Removes what lies below these addresses, up to a step's worth: whether it is done, and what a person should
/// know.
pub(super) async fn remove(
    clients: &Clients,
    connection: &str,
    plan: &Plan,
    addresses: &[String],
) -> Result<(bool, Vec<String>), Failure> {
    let s3 = clients.s3(connection).await?;
    let mut warnings = Vec::new();
    let mut pages = 0;
    for address in addresses {
        let selection = selection(address)?;
        loop {
            match remove_page(s3, &selection).await {
                Ok(true) => break,
                Ok(false) => pages += 1,
                // The table is replaced: that its old data stay is no reason to fail.
                Err(failure) if failure.class == ErrorClass::Config => {
                    let table = plan.name();
                    warnings.push(format!(
                        "old data of {table} could not be removed and stay: {}",
                        failure.message
                    ));
                    break;
                }
                Err(failure) => return Err(failure),
            }
            if pages >= STEP_PAGES {
                return Ok((false, Vec::new()));
            }
        }
    }
    Ok((true, warnings))
}

/// Removes what a failed query left, as far as that works.
pub(super) async fn forget(clients: &Clients, connection: &str, plan: &Plan) {
    if let Err(failure) = remove(clients, connection, plan, std::slice::from_ref(&plan.fresh)).await {
        tracing::warn!("what a failed query left at {} stays: {}", plan.fresh, failure.message);
    }
}

/// Removes one page; `true` if nothing is left.
async fn remove_page(s3: &Client, selection: &Selection) -> Result<bool, Failure> {
    let page = selection.page(s3, None, PAGE).await?;
    if page.is_empty() {
        return Ok(true);
    }
    let is_last = page.len() < PAGE;
    let keys = page.iter().map(|object| ObjectIdentifier::builder().key(&object.key).build());
    let keys = keys.collect::<Result<Vec<_>, _>>().map_err(|error| invalid(&error))?;
    let objects = Delete::builder().set_objects(Some(keys)).quiet(true).build();
    let objects = objects.map_err(|error| invalid(&error))?;
    let answer = s3.delete_objects().bucket(&selection.bucket).delete(objects).send().await;
    let answer = answer.map_err(|error| selection.named(Trouble::from(error).into_failure()))?;
    if let Some(error) = answer.errors().first() {
        let code = error.code().unwrap_or("no code");
        let class = if code == "AccessDenied" { ErrorClass::Config } else { ErrorClass::System };
        let (key, text) = (error.key().unwrap_or_default(), error.message().unwrap_or_default());
        return Err(selection.named(Failure::new(class, format!("{key}: {code}: {text}"))));
    }
    Ok(is_last)
}

fn selection(address: &str) -> Result<Selection, Failure> {
    let Address { bucket, key } = Address::prefix(address, "replace.location")?;
    Ok(Selection { bucket: bucket.to_owned(), key: None, prefix: Some(key.to_owned()) })
}

fn invalid(error: &aws_smithy_types::error::operation::BuildError) -> Failure {
    Failure::new(ErrorClass::System, format!("a request to S3 could not be built: {error}"))
}
