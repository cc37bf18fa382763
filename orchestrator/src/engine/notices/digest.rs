//! The notice about a backfill that is done, filled with what the store knows of its dates.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use trunkline_state::{
    ids::RunId,
    run::{Run, Trigger},
    store::{BackfillDate, BackfillRow, StoreError},
    words::RunState,
};
use uuid::Uuid;

use super::{Letter, Shared, chain, prepare, target_of};
use crate::message::{DigestReport, digest_mail};

/// Dates that are read; more than a backfill may have.
const DATES_MAX: i64 = 20_000;
/// Failed dates whose error is looked up: more than a mail shows.
const ERRORS_MAX: usize = 12;

/// The digest of a backfill, for one entry of its pipeline's notices.
pub(super) async fn letter(shared: &Arc<Shared>, id: Uuid, payload: &Value) -> Result<Letter, String> {
    let missing = || format!("there is no backfill {id}");
    let row = shared.store.backfill(id).await.map_err(|error| chain(&error))?.ok_or_else(missing)?;
    let dates = shared.store.backfill_dates(id, &[], DATES_MAX).await.map_err(|error| chain(&error))?;
    let definition =
        shared.store.definition(&row.pipeline, row.version).await.map_err(|error| chain(&error))?;
    let installation = shared.store.installation().await.map_err(|error| chain(&error))?;
    let report = report(shared, &row, &dates).await.map_err(|error| chain(&error))?;
    let first = dates.first().ok_or_else(missing)?;
    // Only for the names that a topic may be made of: no run is behind it.
    let run = Run::new(
        RunId(Uuid::nil()),
        Arc::clone(&definition),
        installation,
        first.key.clone(),
        first.logical_date,
        Some(first.interval),
        first.fire_at,
        row.params.clone(),
        Trigger::Backfill,
        row.created_at,
    );
    let report = DigestReport {
        environment: definition.pipeline.environment.clone(),
        owner: definition.pipeline.owner.clone(),
        ..report
    };
    let notice = super::wanted(&definition.pipeline, payload)?.clone();
    let cx = prepare::render_context(&run, None);
    let templates = shared.templates(&definition);
    let render = |text: &String| templates.render_text(text, &cx).map_err(|error| error.to_string());
    Ok(Letter {
        target: target_of(&notice, &render)?,
        mail: digest_mail(&report),
        run: None,
        links: Vec::new(),
        connection: notice.connection,
        clients: shared.clients(&definition),
    })
}

async fn report(
    shared: &Arc<Shared>,
    row: &BackfillRow,
    dates: &[BackfillDate],
) -> Result<DigestReport, StoreError> {
    let succeeded = |date: &&BackfillDate| date.outcome.as_deref() == Some(RunState::Succeeded.word());
    let mut bad: Vec<&BackfillDate> =
        dates.iter().filter(|date| date.state == "ended" && !succeeded(date)).collect();
    bad.sort_by_key(|date| date.logical_date);
    let mut failed = Vec::with_capacity(bad.len());
    for (position, date) in bad.into_iter().enumerate() {
        let error = if position < ERRORS_MAX { first_error(shared, row, date).await? } else { String::new() };
        failed.push((date.key.clone(), error));
    }
    let (first, last) = (
        dates.iter().min_by_key(|date| date.logical_date),
        dates.iter().max_by_key(|date| date.logical_date),
    );
    let key = |date: Option<&BackfillDate>| date.map(|date| date.key.clone()).unwrap_or_default();
    let ended = row.ended_at.unwrap_or(row.created_at);
    let reason = row.reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
    Ok(DigestReport {
        id: row.id.to_string(),
        environment: String::new(),
        pipeline: row.pipeline.clone(),
        first: key(first),
        last: key(last),
        asked: format!("{}{reason}", row.created_by),
        took: Duration::try_from(ended.duration_since(row.created_at)).unwrap_or_default(),
        succeeded: dates.iter().filter(|date| date.state == "ended").filter(succeeded).count(),
        left: dates.iter().filter(|date| date.state == "left").count(),
        failed,
        owner: String::new(),
    })
}

/// `convert: AnalysisException: …`, of the first task that failed.
async fn first_error(
    shared: &Arc<Shared>,
    row: &BackfillRow,
    date: &BackfillDate,
) -> Result<String, StoreError> {
    let outcome = date.outcome.clone().unwrap_or_default();
    let Some(run) = shared.store.run_with_key(&row.pipeline, &date.key).await? else { return Ok(outcome) };
    let tasks = shared.store.task_runs(run).await?;
    let failed = tasks
        .into_iter()
        .filter(|task| task.element.is_none())
        .find_map(|task| Some((task.task, task.failure.filter(|_| task.state == "failed")?)));
    Ok(failed.map_or(outcome, |(task, failure)| {
        let first = failure.message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        format!("{task}: {}", first.trim())
    }))
}
