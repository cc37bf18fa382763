//! What a transaction leaves when it has ended: for each table what came in, or in the table's words what was wrong.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{plan::Remembered, steps::stage};
use crate::{
    clients::Clients,
    operator::{ErrorClass, Failure, Handle, Status},
    redshift::poll::{self, Broken, Ended, Finished, Part},
};

/// Where Redshift says more of a COPY that failed, if it did not say it itself.
const ASK_REDSHIFT: &str = "which record of which file it was, Redshift tells the same user: SELECT file_name, line_number, \
                            column_name, error_message FROM sys_load_error_detail ORDER BY start_time DESC LIMIT 10";

/// The state of a transaction, with its outputs if it has ended well.
pub(super) async fn poll(clients: &Clients, handle: &Handle) -> Status {
    match poll::look(clients, handle).await {
        Ok(Ended::Well(finished)) => well(clients, handle, &finished).await.unwrap_or_else(|status| status),
        Ok(Ended::Badly(broken)) => {
            let text = explained(&tables(handle), broken);
            Status::Failed(Failure::new(ErrorClass::Failed, text).with_code("FAILED"))
        }
        Err(status) => status,
    }
}

fn tables(handle: &Handle) -> Vec<Remembered> {
    Vec::deserialize(&handle.detail["tables"]).unwrap_or_default()
}

/// Says which table it was and what to do.
fn explained(tables: &[Remembered], mut broken: Broken) -> String {
    let is_its = |table: &Remembered, at: usize| (table.steps.first..=table.steps.inserted).contains(&at);
    let found = broken.at.and_then(|at| {
        let (place, table) = tables.iter().enumerate().find(|(_, table)| is_its(table, at))?;
        Some((at, place, table))
    });
    let Some((at, place, table)) = found else { return broken.text() };
    broken.error = broken.error.replace(&stage(place), &table.table);
    let mut text = format!("{}: {}", table.table, broken.text());
    if table.steps.check == Some(at) {
        text = format!(
            "{}: rows of the files have no value for a column that has to have one: leave them out with `where`, or \
             mend the files; nothing was loaded\n{}",
            table.table,
            broken.text()
        );
    } else if broken.error.contains("stl_load_errors") && !broken.error.contains("Detail:")
        || broken.error.contains("sys_load_error_detail")
    {
        text = format!("{text}\n{ASK_REDSHIFT}");
    }
    text
}

async fn well(clients: &Clients, handle: &Handle, finished: &Finished) -> Result<Status, Status> {
    let mut outcome = finished.outcome(handle);
    let rows = |at: usize| finished.parts.get(at).and_then(|part| part.rows);
    let (mut objects, mut records) = (Some(0), 0);
    let mut by_table: Map<String, Value> = Map::new();
    for Remembered { table, objects: listed, steps } in tables(handle) {
        objects = objects.zip(listed).map(|(sum, listed)| sum + listed);
        records += rows(steps.copy).unwrap_or(0);
        let mut counts = vec![("records", rows(steps.copy))];
        counts.extend(steps.left_out.map(|at| ("left_out", rows(at))));
        counts.push(("deleted", steps.deleted.map_or(Some(0), rows)));
        counts.push(("inserted", rows(steps.inserted)));
        let listed = listed.and_then(|listed| i64::try_from(listed).ok());
        let shown = by_table.entry(table).or_insert_with(|| json!({}));
        // A table that is filled twice has the sum of both.
        for (name, count) in std::iter::once(("objects", listed)).chain(counts) {
            if let Some(count) = count {
                shown[name] = json!(shown[name].as_i64().unwrap_or(0) + count);
            }
        }
    }
    if let Some(objects) = objects {
        outcome.outputs.insert("objects".to_owned(), json!(objects));
    }
    outcome.outputs.insert("records".to_owned(), json!(records));
    outcome.outputs.insert("tables".to_owned(), Value::Object(by_table));
    let own_from = handle.detail["own_from"].as_u64().and_then(|at| usize::try_from(at).ok());
    let own = own_from.and_then(|at| finished.parts.get(at..)).unwrap_or_default();
    if !own.is_empty() {
        outcome.outputs.insert("statements".to_owned(), own.iter().map(Part::shape).collect());
        poll::add_rows(clients, handle, own, &mut outcome).await?;
    }
    Ok(Status::Succeeded(outcome))
}
