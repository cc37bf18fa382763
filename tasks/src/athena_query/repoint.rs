//! The work of `replace` after the query: the table is pointed to the new data, and the old data
//! removed. It goes on in `poll`, and each step may be repeated by anybody.
//!
//! The table that the query made over the new data is the journal. What is to be removed is written into it
//! before the first change, and it is dropped last: as long as it is there, everything below is done again, and
//! each part finds out what is done already. Once it is gone, everything is done. So a crash at any point needs
//! no more than another poll.
//!
//! The table itself is changed under the version that was read, so a replica that was frozen between reading and
//! writing cannot bring back what a later run replaced. Glue has no such guard for partitions: there, a replica
//! frozen between these two calls for as long as a whole later run takes could.
//!
//! Where the result is refused (empty, other columns, other partitions) nothing was changed, and what the query
//! built is kept for people to look at.

use aws_sdk_glue::{
    Client,
    types::{Partition, Table, TableInput},
};
use jiff::Timestamp;

use super::{
    leftovers, partitions,
    replace::{How, OldData, Plan},
    rows,
};
use crate::{
    aws::error::Trouble,
    clients::{Clients, Purpose},
    objects::status_of,
    operator::{ErrorClass, Failure, Handle, Outcome, Status},
};

/// The parameter of the journal that holds what is to be removed, as JSON.
const OLD: &str = "trunkline_old";

/// The parameter by which a table shows whose data it has.
pub(super) const ATTEMPT: &str = "trunkline_attempt";

/// Most old prefixes that are removed; a table that was filled day by day has one for each.
const OLD_MAX: usize = 200;

/// Goes on with the replacing, a step at a time. The query has succeeded.
pub(super) async fn step(
    clients: &Clients,
    handle: &Handle,
    plan: &Plan,
    mut outcome: Outcome,
    now: Timestamp,
) -> Status {
    match work(clients, handle, plan, &mut outcome).await {
        Ok(true) => Status::Succeeded(outcome),
        Ok(false) => Status::Running { remote_state: "REMOVING OLD DATA".into(), poll_at: Some(now) },
        // Somebody else changed the table at the same moment: look again.
        Err(failure) if is_conflict(&failure) => Status::Unavailable(failure),
        Err(failure) => status_of(failure),
    }
}

/// `false` if there is more to do.
async fn work(
    clients: &Clients,
    handle: &Handle,
    plan: &Plan,
    outcome: &mut Outcome,
) -> Result<bool, Failure> {
    let glue = clients.glue(&handle.connection, Purpose::Read).await?;
    let written = rows::written(clients, &handle.connection, &handle.id).await?;
    outcome.outputs.insert("table".into(), plan.name().into());
    outcome.outputs.insert("location".into(), plan.fresh.clone().into());
    if let Some(rows) = written {
        outcome.outputs.insert("row_count".into(), rows.into());
    }
    let Some(journal) = table(glue, &plan.database, &plan.journal).await? else { return Ok(true) };
    let built = partitions::all(glue, &plan.database, &plan.journal, !plan.keys.is_empty()).await?;
    let noted = journal.parameters.as_ref().and_then(|parameters| parameters.get(OLD));
    let old = if let Some(text) = noted {
        serde_json::from_str(text).map_err(|error| unreadable(plan, &error))?
    } else {
        let is_empty = match written {
            Some(rows) => rows == 0,
            None => leftovers::is_empty(clients, &handle.connection, &plan.fresh).await?,
        };
        begin(glue, plan, &journal, &built, is_empty).await?
    };
    point(glue, plan, &journal, &built).await?;
    let (is_done, warnings) = leftovers::remove(clients, &handle.connection, plan, &old).await?;
    if !is_done {
        return Ok(false);
    }
    outcome.warnings.extend(warnings);
    let dropped = glue.delete_table().database_name(&plan.database).name(&plan.journal).send().await;
    match dropped.map_err(Trouble::from) {
        Ok(_) => Ok(true),
        Err(trouble) if trouble.is_not_there() => Ok(true),
        Err(trouble) => Err(trouble.into_failure()),
    }
}

/// Refuses what must not replace the table, and writes down what is to be removed.
async fn begin(
    glue: &Client,
    plan: &Plan,
    journal: &Table,
    built: &[Partition],
    is_empty: bool,
) -> Result<Vec<String>, Failure> {
    if is_empty && !plan.allow_empty {
        return Err(refused(plan, "the query gave no rows (say `allow_empty: true` if that is right)"));
    }
    partitions::check(plan, built)?;
    let target = table(glue, &plan.database, &plan.table).await?;
    let mut old = Vec::new();
    if let Some(target) = &target {
        check_table(plan, target, journal)?;
        old = match plan.how {
            How::Swap => {
                let shown = partitions::all(glue, &plan.database, &plan.table, !plan.keys.is_empty()).await?;
                let mut old: Vec<String> =
                    shown.iter().filter_map(partitions::location).map(str::to_owned).collect();
                old.extend(location(target).map(str::to_owned));
                old
            }
            How::Partition => {
                let shown = partitions::existing(glue, plan, built).await?;
                shown.iter().filter_map(partitions::location).map(str::to_owned).collect()
            }
        };
    }
    let mut old: Vec<String> = old.iter().filter_map(|address| leftovers::removable(plan, address)).collect();
    old.sort_unstable();
    old.dedup();
    old.truncate(if plan.old_data == OldData::Keep { 0 } else { OLD_MAX });
    let mut input = input_of(journal);
    let text = serde_json::to_string(&old).map_err(|error| unreadable(plan, &error))?;
    input.parameters.get_or_insert_default().insert(OLD.to_owned(), text);
    update(glue, &plan.database, input, journal.version_id.clone()).await?;
    Ok(old)
}

/// Points the table to the new data, as far as it is not.
async fn point(glue: &Client, plan: &Plan, journal: &Table, built: &[Partition]) -> Result<(), Failure> {
    let mut input = input_of(journal);
    input.name.clone_from(&plan.table);
    let parameters = input.parameters.get_or_insert_default();
    parameters.remove(OLD);
    match table(glue, &plan.database, &plan.table).await? {
        None => {
            parameters.insert(ATTEMPT.to_owned(), plan.journal.clone());
            if plan.how == How::Partition
                && let Some(storage) = &mut input.storage_descriptor
            {
                storage.location = Some(plan.root.clone());
            }
            let made = glue.create_table().database_name(&plan.database).table_input(input).send().await;
            made.map_err(|error| Trouble::from(error).into_failure())?;
        }
        Some(target) if plan.how == How::Swap && !is_below(location(&target), &plan.fresh) => {
            // The table's own words stay: its description, its owner, its parameters.
            let mut changed = input_of(&target);
            changed.storage_descriptor = input.storage_descriptor;
            let kept = changed.parameters.get_or_insert_default();
            kept.extend(input.parameters.unwrap_or_default());
            kept.insert(ATTEMPT.to_owned(), plan.journal.clone());
            update(glue, &plan.database, changed, target.version_id.clone()).await?;
        }
        Some(_) => {}
    }
    if plan.keys.is_empty() {
        return Ok(());
    }
    partitions::point(glue, plan, built).await?;
    if plan.how == How::Swap {
        partitions::drop_others(glue, plan).await?;
    }
    Ok(())
}

/// Refuses a table that the new data do not fit.
fn check_table(plan: &Plan, target: &Table, journal: &Table) -> Result<(), Failure> {
    let kind = target.table_type.as_deref().unwrap_or("EXTERNAL_TABLE");
    let parameter = |name: &str| target.parameters.as_ref()?.get(name).map(String::as_str);
    if kind != "EXTERNAL_TABLE" || parameter("table_type").is_some() {
        let kind = parameter("table_type").unwrap_or(kind);
        return Err(refused(
            plan,
            &format!("it is of the kind {kind}, and only plain external tables can be replaced"),
        ));
    }
    let names = |table: &Table| -> Vec<String> {
        table.partition_keys.iter().flatten().map(|key| key.name.to_lowercase()).collect()
    };
    if names(target) != names(journal) {
        return Err(refused(
            plan,
            &format!(
                "its partition columns are [{}], and `partitioned_by` says [{}]",
                names(target).join(", "),
                names(journal).join(", ")
            ),
        ));
    }
    if plan.how == How::Swap {
        return Ok(());
    }
    let columns = |table: &Table| -> Vec<(String, String)> {
        let storage = table.storage_descriptor.as_ref();
        let columns = storage.and_then(|storage| storage.columns.as_deref()).unwrap_or_default();
        let mut columns: Vec<_> = columns
            .iter()
            .map(|column| {
                (column.name.to_lowercase(), column.r#type.clone().unwrap_or_default().to_lowercase())
            })
            .collect();
        columns.sort();
        columns
    };
    let (has, gets) = (columns(target), columns(journal));
    let list = |columns: Vec<&(String, String)>| {
        columns.into_iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>().join(", ")
    };
    if has != gets {
        let missing = list(has.iter().filter(|column| !gets.contains(column)).collect());
        let foreign = list(gets.iter().filter(|column| !has.contains(column)).collect());
        return Err(refused(
            plan,
            &format!(
                "the query's columns are not the table's: the table has [{missing}], the query [{foreign}]"
            ),
        ));
    }
    let library = |table: &Table| {
        let info = table.storage_descriptor.as_ref()?.serde_info.as_ref()?;
        info.serialization_library.clone()
    };
    if library(target) != library(journal) {
        let text =
            "its data are not Parquet, which is what the query wrote; `how: swap` changes the whole table";
        return Err(refused(plan, text));
    }
    Ok(())
}

async fn table(glue: &Client, database: &str, name: &str) -> Result<Option<Table>, Failure> {
    match glue.get_table().database_name(database).name(name).send().await.map_err(Trouble::from) {
        Ok(answer) => Ok(answer.table),
        Err(trouble) if trouble.is_not_there() => Ok(None),
        Err(trouble) => Err(trouble.into_failure()),
    }
}

async fn update(
    glue: &Client,
    database: &str,
    input: TableInput,
    version: Option<String>,
) -> Result<(), Failure> {
    let call = glue.update_table().database_name(database).table_input(input).set_version_id(version);
    call.send().await.map_err(|error| Trouble::from(error).into_failure())?;
    Ok(())
}

/// The words of a table in which it is changed.
fn input_of(table: &Table) -> TableInput {
    let builder = TableInput::builder()
        .name(&table.name)
        .set_description(table.description.clone())
        .set_owner(table.owner.clone())
        .set_last_access_time(table.last_access_time)
        .set_last_analyzed_time(table.last_analyzed_time)
        .retention(table.retention)
        .set_storage_descriptor(table.storage_descriptor.clone())
        .set_partition_keys(table.partition_keys.clone())
        .set_table_type(table.table_type.clone())
        .set_parameters(table.parameters.clone());
    // The name is given, which is all that can be missing.
    let mut input = builder.build().unwrap_or_else(|_| unreachable!("a table input with a name"));
    input.view_original_text.clone_from(&table.view_original_text);
    input.view_expanded_text.clone_from(&table.view_expanded_text);
    input
}

fn location(table: &Table) -> Option<&str> {
    table.storage_descriptor.as_ref()?.location.as_deref()
}

/// Whether an address is this prefix or lies below it, with or without its last slash.
pub(super) fn is_below(address: Option<&str>, prefix: &str) -> bool {
    address.is_some_and(|address| format!("{}/", address.trim_end_matches('/')).starts_with(prefix))
}

fn is_conflict(failure: &Failure) -> bool {
    matches!(
        failure.code.as_deref(),
        Some("ConcurrentModificationException" | "AlreadyExistsException" | "VersionMismatchException")
    )
}

/// The result must not replace the table; nothing was changed.
pub(super) fn refused(plan: &Plan, why: &str) -> Failure {
    let message = format!(
        "`{}` was not replaced and shows what it showed: {why}. What the query built is kept as `{}.{}` at {}; drop \
         that table and delete the prefix when you have looked at it",
        plan.name(),
        plan.database,
        plan.journal,
        plan.fresh
    );
    Failure::new(ErrorClass::Config, message)
}

fn unreadable(plan: &Plan, error: &serde_json::Error) -> Failure {
    let message =
        format!("the parameter {OLD} of table {}.{} cannot be read: {error}", plan.database, plan.journal);
    Failure::new(ErrorClass::Config, message)
}
