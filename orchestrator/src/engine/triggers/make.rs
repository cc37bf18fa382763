//! The run of some events: its key, what its templates are told, its parameters. No IO.

use std::sync::Arc;

use serde_json::{Map, Value};
use trunkline_state::{
    run::{Run, Trigger},
    schedule::Interval,
    store::{MakeRun, Occasion},
    triggers::{DatasetEvent, ObjectEvent, RunEvent, same_interval},
};

use crate::{
    definition::{
        params::{Given, resolve},
        template::Templates,
    },
    engine::{Shared, prepare::render_context},
};

/// How the store asks for a run.
pub(super) fn maker(shared: &Arc<Shared>) -> Arc<MakeRun> {
    let shared = Arc::clone(shared);
    Arc::new(move |occasion| {
        let templates = shared.templates(occasion.definition);
        let mut run = match (&occasion.upstream, occasion.updates.as_slice()) {
            (Some(upstream), _) => after(&shared, occasion, upstream)?,
            (None, [first, ..]) => updated(&shared, occasion, first)?,
            (None, []) => of_objects(&shared, occasion),
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
    let pipeline = &occasion.definition.pipeline;
    let covered = same_interval(pipeline, &upstream.pipeline, &upstream.key, upstream.interval())?;
    let mut run = covering(shared, occasion, covered, Trigger::Pipeline);
    let name = Value::from(upstream.pipeline.as_str());
    let told = [("pipeline".to_owned(), name), ("run".to_owned(), upstream.value())];
    run.told = Arc::new(Map::from_iter(told));
    Ok(run)
}

/// The run of some updates of datasets, without parameters: all of them are of the interval of the first, where the
/// pipeline has one.
fn updated(shared: &Shared, occasion: &Occasion<'_>, first: &DatasetEvent) -> Result<Run, String> {
    let pipeline = &occasion.definition.pipeline;
    let covered = same_interval(pipeline, &first.pipeline, &first.key, first.interval())?;
    let mut run = covering(shared, occasion, covered, Trigger::Dataset);
    let updates = occasion.updates.iter().map(DatasetEvent::value).collect();
    run.told = Arc::new(Map::from_iter([("datasets".to_owned(), Value::Array(updates))]));
    Ok(run)
}

/// A run of an interval, or, without one, of the key that its events give it.
fn covering(
    shared: &Shared,
    occasion: &Occasion<'_>,
    covered: Option<(Interval, String)>,
    trigger: Trigger,
) -> Run {
    let (interval, key) = covered.unzip();
    blank(shared, occasion, key.unwrap_or_else(|| occasion.key.clone()), interval, trigger)
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
