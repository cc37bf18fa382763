//! The run of some events: its key, what its templates are told, its parameters. No IO.

use std::sync::Arc;

use serde_json::{Map, Value};
use trunkline_state::{
    run::{Run, Trigger},
    schedule::{DataInterval, Interval, describe_range, parse_run_key, run_key},
    store::{MakeRun, Occasion},
    triggers::{ObjectEvent, RunEvent},
};

use crate::{
    definition::{
        params::{Given, resolve},
        template::Templates,
    },
    engine::{
        Shared,
        prepare::{render_context, zone_of},
    },
};

/// How the store asks for a run.
pub(super) fn maker(shared: &Arc<Shared>) -> Arc<MakeRun> {
    let shared = Arc::clone(shared);
    Arc::new(move |occasion| {
        let templates = shared.templates(occasion.definition);
        let mut run = match &occasion.upstream {
            Some(upstream) => after(&shared, occasion, upstream)?,
            None => of_objects(&shared, occasion),
        };
        run.params = params(&templates, &run, occasion)?;
        Ok(run)
    })
}

/// The run of some objects, without parameters.
fn of_objects(shared: &Shared, occasion: &Occasion<'_>) -> Run {
    let objects: Vec<Value> = occasion.objects.iter().map(ObjectEvent::value).collect();
    let told = Map::from_iter([("objects".to_owned(), Value::Array(objects))]);
    let mut run = blank(shared, occasion, occasion.key.clone(), None, Trigger::S3);
    run.told = Arc::new(told);
    run
}

/// The run that comes after another one, without parameters: of the same interval, where both have one.
fn after(shared: &Shared, occasion: &Occasion<'_>, upstream: &RunEvent) -> Result<Run, String> {
    let interval = covered(occasion, upstream)?;
    let pipeline = &occasion.definition.pipeline;
    let key = match interval {
        Some(interval) => run_key(pipeline.data_interval, &zone_of(pipeline), Some(interval), interval.start),
        None => occasion.key.clone(),
    };
    let mut run = blank(shared, occasion, key, interval, Trigger::Pipeline);
    let name = Value::from(upstream.pipeline.as_str());
    let told = [("pipeline".to_owned(), name), ("run".to_owned(), upstream.value())];
    run.told = Arc::new(Map::from_iter(told));
    Ok(run)
}

/// What the run covers: what the other one did.
fn covered(occasion: &Occasion<'_>, upstream: &RunEvent) -> Result<Option<Interval>, String> {
    let pipeline = &occasion.definition.pipeline;
    if pipeline.data_interval == DataInterval::None {
        return Ok(None);
    }
    let other = format!("{}@{}", upstream.pipeline, upstream.key);
    let Some(interval) = upstream.interval() else {
        return Err(format!(
            "{other} covers no data interval and {} has one: set `data_interval: none` there, or give {} one",
            pipeline.name, upstream.pipeline
        ));
    };
    let zone = zone_of(pipeline);
    let key = run_key(pipeline.data_interval, &zone, Some(interval), interval.start);
    let own = parse_run_key(pipeline.data_interval, &zone, &key).ok().and_then(|parts| parts.interval);
    if own != Some(interval) {
        return Err(format!(
            "{other} covers {}, which is no interval of {}: give both the same `data_interval` and `timezone`",
            describe_range(&zone, interval, "to"),
            pipeline.name
        ));
    }
    if pipeline.starts_after(interval.start) {
        return Err(format!("{}@{key} lies before the start_date of {}", pipeline.name, pipeline.name));
    }
    Ok(Some(interval))
}

fn blank(
    shared: &Shared,
    occasion: &Occasion<'_>,
    key: String,
    interval: Option<Interval>,
    trigger: Trigger,
) -> Run {
    Run::new(
        shared.ids.run_id(occasion.now),
        Arc::clone(occasion.definition),
        occasion.installation,
        key,
        interval.map_or(occasion.now, |interval| interval.start),
        interval,
        None,
        Map::new(),
        trigger,
        occasion.now,
    )
}

/// The parameters that the trigger gives, checked and typed, and defaults for the rest.
fn params(templates: &Templates, run: &Run, occasion: &Occasion<'_>) -> Result<Map<String, Value>, String> {
    let pipeline = &occasion.definition.pipeline;
    let Some(trigger) = pipeline.triggers.get(occasion.trigger) else { return Ok(Map::new()) };
    let cx = render_context(run, None);
    let mut given = Vec::with_capacity(trigger.params.len());
    for (name, template) in &trigger.params {
        let value = templates.render_list(template, || cx.clone());
        given.push((name.clone(), Given::Json(value.map_err(|error| format!("param `{name}`: {error}"))?)));
    }
    resolve(pipeline, given).map_err(|error| error.to_string())
}
