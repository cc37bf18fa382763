//! Partitions of the table that is replaced: which there are, pointing them to the new data,
//! dropping those that the new data do not have.

use std::collections::HashMap;

use aws_sdk_glue::{
    Client,
    types::{
        BatchUpdatePartitionRequestEntry, ErrorDetail, Partition, PartitionInput, PartitionValueList,
        StorageDescriptor,
    },
};

use super::{
    replace::Plan,
    repoint::{ATTEMPT, is_below, refused},
};
use crate::{
    aws::error::Trouble,
    operator::{ErrorClass, Failure},
};

/// Most partitions of a table that is swapped: what Glue lists in a minute.
const PARTITIONS_MAX: usize = 100_000;

/// Most partitions that Glue makes or changes in one call.
const WRITE_MAX: usize = 100;

/// Most partitions that Glue deletes in one call.
const DELETE_MAX: usize = 25;

pub(super) fn location(partition: &Partition) -> Option<&str> {
    partition.storage_descriptor.as_ref()?.location.as_deref()
}

/// All partitions of a table.
pub(super) async fn all(
    glue: &Client,
    database: &str,
    table: &str,
    has_any: bool,
) -> Result<Vec<Partition>, Failure> {
    let mut found = Vec::new();
    let mut token = None;
    if !has_any {
        return Ok(found);
    }
    loop {
        let page = glue.get_partitions().database_name(database).table_name(table);
        let page = page.set_next_token(token.take()).send().await;
        let page = match page.map_err(Trouble::from) {
            Ok(page) => page,
            Err(trouble) if trouble.is_not_there() => break,
            Err(trouble) => return Err(trouble.into_failure()),
        };
        found.extend(page.partitions.unwrap_or_default());
        if found.len() > PARTITIONS_MAX {
            let message =
                format!("{database}.{table} has more than {PARTITIONS_MAX} partitions; swap smaller tables");
            return Err(Failure::new(ErrorClass::Config, message));
        }
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            break;
        }
    }
    Ok(found)
}

/// Refuses partitions other than the one that the task fills.
pub(super) fn check(plan: &Plan, built: &[Partition]) -> Result<(), Failure> {
    if plan.values.is_empty() {
        return Ok(());
    }
    let foreign =
        built.iter().filter_map(|partition| partition.values.as_ref()).find(|values| **values != plan.values);
    match foreign {
        None => Ok(()),
        Some(values) => Err(refused(
            plan,
            &format!(
                "the query gave rows of the partition {}, and the task fills {} only",
                named(plan, values),
                named(plan, &plan.values)
            ),
        )),
    }
}

fn named(plan: &Plan, values: &[String]) -> String {
    plan.keys.iter().zip(values).map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("/")
}

/// The table's partitions that the new data take the place of.
pub(super) async fn existing(
    glue: &Client,
    plan: &Plan,
    built: &[Partition],
) -> Result<Vec<Partition>, Failure> {
    let mut wanted: Vec<Vec<String>> =
        built.iter().filter_map(|partition| partition.values.clone()).collect();
    if !plan.values.is_empty() && !wanted.contains(&plan.values) {
        wanted.push(plan.values.clone());
    }
    let mut found = Vec::new();
    // What Glue takes in one call is ten times this; answers of a hundred stay small.
    for values in wanted.chunks(WRITE_MAX) {
        let mut lists = value_lists(values)?;
        while !lists.is_empty() {
            let call = glue.batch_get_partition().database_name(&plan.database).table_name(&plan.table);
            let answer = match call.set_partitions_to_get(Some(lists)).send().await.map_err(Trouble::from) {
                Ok(answer) => answer,
                Err(trouble) if trouble.is_not_there() => return Ok(found),
                Err(trouble) => return Err(trouble.into_failure()),
            };
            let gave = answer.partitions.unwrap_or_default();
            lists = answer.unprocessed_keys.unwrap_or_default();
            if gave.is_empty() && !lists.is_empty() {
                return Err(Failure::new(ErrorClass::System, "glue left partitions out of its answer"));
            }
            found.extend(gave);
        }
    }
    Ok(found)
}

/// Makes or changes the partitions of the new data, as far as they are not there.
pub(super) async fn point(glue: &Client, plan: &Plan, built: &[Partition]) -> Result<(), Failure> {
    let there = existing(glue, plan, built).await?;
    let there: HashMap<&[String], &Partition> =
        there.iter().filter_map(|partition| Some((partition.values.as_deref()?, partition))).collect();
    let mut make = Vec::new();
    let mut change = Vec::new();
    for partition in built {
        let Some(values) = partition.values.as_deref() else { continue };
        match there.get(values) {
            None => make.push(input(plan, values, partition.storage_descriptor.clone())),
            Some(known) if !is_below(location(known), &plan.fresh) => {
                change.push((values.to_vec(), input(plan, values, partition.storage_descriptor.clone())));
            }
            Some(_) => {}
        }
    }
    // An allowed empty result empties the partition that the task fills.
    if let Some(known) = there.get(plan.values.as_slice())
        && built.is_empty()
        && !is_below(location(known), &plan.fresh)
    {
        let mut storage = known.storage_descriptor.clone();
        if let Some(storage) = &mut storage {
            storage.location = Some(plan.fresh.clone());
        }
        change.push((plan.values.clone(), input(plan, &plan.values, storage)));
    }
    for inputs in make.chunks(WRITE_MAX) {
        let call = glue.batch_create_partition().database_name(&plan.database).table_name(&plan.table);
        let answer = call.set_partition_input_list(Some(inputs.to_vec())).send().await;
        let answer = answer.map_err(|error| Trouble::from(error).into_failure())?;
        let errors = answer.errors.unwrap_or_default();
        first_error(errors.into_iter().map(|error| (error.partition_values, error.error_detail)))?;
    }
    for entries in change.chunks(WRITE_MAX) {
        let entries = entries.iter().map(|(values, input)| {
            let entry = BatchUpdatePartitionRequestEntry::builder();
            entry.set_partition_value_list(Some(values.clone())).partition_input(input.clone()).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(|error| invalid(&error))?;
        let call = glue.batch_update_partition().database_name(&plan.database).table_name(&plan.table);
        let answer = call.set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| Trouble::from(error).into_failure())?;
        let errors = answer.errors.unwrap_or_default();
        first_error(errors.into_iter().map(|error| (error.partition_value_list, error.error_detail)))?;
    }
    Ok(())
}

/// Drops the partitions of a swapped table that do not lie in the new data.
pub(super) async fn drop_others(glue: &Client, plan: &Plan) -> Result<(), Failure> {
    let shown = all(glue, &plan.database, &plan.table, true).await?;
    let others: Vec<Vec<String>> = shown
        .iter()
        .filter(|partition| !is_below(location(partition), &plan.fresh))
        .filter_map(|partition| partition.values.clone())
        .collect();
    for values in others.chunks(DELETE_MAX) {
        let call = glue.batch_delete_partition().database_name(&plan.database).table_name(&plan.table);
        let answer = call.set_partitions_to_delete(Some(value_lists(values)?)).send().await;
        let answer = answer.map_err(|error| Trouble::from(error).into_failure())?;
        let errors = answer.errors.unwrap_or_default();
        let errors = errors.into_iter().map(|error| (error.partition_values, error.error_detail));
        // Somebody else was faster.
        first_error(errors.filter(|(_, detail)| code(detail.as_ref()) != "EntityNotFoundException"))?;
    }
    Ok(())
}

fn input(plan: &Plan, values: &[String], storage: Option<StorageDescriptor>) -> PartitionInput {
    PartitionInput::builder()
        .set_values(Some(values.to_vec()))
        .set_storage_descriptor(storage)
        .parameters(ATTEMPT, &plan.journal)
        .build()
}

fn value_lists(values: &[Vec<String>]) -> Result<Vec<PartitionValueList>, Failure> {
    let list = |values: &Vec<String>| PartitionValueList::builder().set_values(Some(values.clone())).build();
    values.iter().map(list).collect::<Result<_, _>>().map_err(|error| invalid(&error))
}

fn code(detail: Option<&ErrorDetail>) -> &str {
    detail.and_then(ErrorDetail::error_code).unwrap_or_default()
}

fn first_error(
    mut errors: impl Iterator<Item = (Option<Vec<String>>, Option<ErrorDetail>)>,
) -> Result<(), Failure> {
    let Some((values, detail)) = errors.next() else { return Ok(()) };
    let values = values.unwrap_or_default().join("/");
    let text = detail.as_ref().and_then(ErrorDetail::error_message).unwrap_or("no reason given");
    let code = code(detail.as_ref());
    let class = match code {
        "InternalServiceException" | "OperationTimeoutException" => ErrorClass::System,
        "ThrottlingException" => ErrorClass::Throttled,
        _ => ErrorClass::Config,
    };
    Err(Failure::new(class, format!("glue refused the partition {values}: {text}")).with_code(code))
}

fn invalid(error: &aws_smithy_types::error::operation::BuildError) -> Failure {
    Failure::new(ErrorClass::System, format!("a request to glue could not be built: {error}"))
}
