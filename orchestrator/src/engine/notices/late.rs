//! The notice about a run that is not done by its deadline, filled with what the store knows of it,
//! which may be nothing.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value};
use trunkline_state::{
    ids::RunId,
    run::{Definition, Run, Trigger},
    schedule::interval_of_fire,
    store::StoreError,
};
use uuid::Uuid;

use super::{Letter, Shared, chain, facts::USUAL_SAMPLE, links, prepare, target_of};
use crate::{
    message::{LateReport, late_mail, subject_line},
    service::{Snapshot, why::Situation},
};

/// The notice that a payload of [`trunkline_state::store::Late`] asks for.
pub(super) async fn letter(shared: &Arc<Shared>, payload: &Value) -> Result<Letter, String> {
    let text = |key: &str| payload.get(key).and_then(Value::as_str).unwrap_or_default();
    let instant = |key: &str| text(key).parse::<Timestamp>().map_err(|error| error.to_string());
    let version =
        payload.get("version").and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
    let definition = shared.store.definition(text("pipeline"), version.unwrap_or_default()).await;
    let definition = definition.map_err(|error| chain(&error))?;
    let (fire, due) = (instant("fire")?, instant("due")?);
    let before = payload.get("before").and_then(Value::as_u64).unwrap_or_default();
    let report = LateReport {
        due,
        before: usize::try_from(before).unwrap_or(usize::MAX),
        ..report(shared, &definition, text("key"), fire).await.map_err(|error| chain(&error))?
    };
    let notice = super::wanted(&definition.pipeline, payload)?;
    let installation = shared.store.installation().await.map_err(|error| chain(&error))?;
    // The run as its schedule would have made it: for the names that a template may read.
    let run = Run::new(
        RunId(Uuid::nil()),
        Arc::clone(&definition),
        installation,
        report.label.clone(),
        report.interval.map_or(fire, |interval| interval.start),
        report.interval,
        Some(fire),
        Map::new(),
        Trigger::Schedule,
        fire,
    );
    let mut cx = prepare::render_context(&run, None);
    let templates = shared.templates(&definition);
    let clients = shared.clients(&definition);
    let plain = |text: &String| templates.render_text(text, &cx).map_err(|error| error.to_string());
    let signed = links::sign(notice, &clients, &plain, shared.now()).await;
    let zone = prepare::zone_of(&definition.pipeline);
    cx.links = Some(links::values("", &zone, &signed));
    let render = |text: &String| templates.render_text(text, &cx).map_err(|error| error.to_string());
    let mut mail = late_mail(&report);
    if let Some(subject) = &notice.subject {
        mail.subject = subject_line(&render(subject)?);
    }
    if let Some(message) = &notice.message {
        mail.body = render(message)?;
    } else {
        mail.body.push_str(&links::lines(&zone, &signed));
    }
    Ok(Letter {
        target: target_of(notice, &render)?,
        mail,
        run: Some(format!("{}@{}", report.pipeline, report.label)),
        links: links::named(signed),
        connection: notice.connection.clone(),
        clients,
    })
}

async fn report(
    shared: &Arc<Shared>,
    definition: &Definition,
    key: &str,
    fire: Timestamp,
) -> Result<LateReport, StoreError> {
    let pipeline = &definition.pipeline;
    let name = pipeline.name.as_str();
    let zone = prepare::zone_of(pipeline);
    let why = match shared.store.run_with_key(name, key).await? {
        Some(run) => {
            let snapshot = Snapshot::read(&shared.store, run).await?;
            Some(Situation::read(&shared.store, snapshot, shared.now()).await?.run())
        }
        None => None,
    };
    let usual = shared.store.usual_durations(name, USUAL_SAMPLE).await?;
    let usual: Option<Duration> =
        usual.into_iter().find_map(|(task, usual)| task.is_empty().then_some(usual));
    Ok(LateReport {
        environment: pipeline.environment.clone(),
        pipeline: name.to_owned(),
        label: key.to_owned(),
        interval: interval_of_fire(pipeline.data_interval, &zone, fire),
        zone,
        fire,
        due: fire,
        why,
        before: 0,
        usual,
        last_success: shared.store.last_success(name).await?.map(|run| run.key),
        owner: pipeline.owner.clone(),
    })
}
