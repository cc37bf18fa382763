//! The run of some events: its key, what its templates are told, its parameters. No IO.

use std::sync::Arc;

use serde_json::{Map, Value};
use trunkline_state::{
    run::{Run, Trigger},
    store::{MakeRun, Occasion},
    triggers::ObjectEvent,
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
        let mut run = blank(&shared, occasion);
        run.params = params(&templates, &run, occasion)?;
        Ok(run)
    })
}

/// The run without parameters.
fn blank(shared: &Shared, occasion: &Occasion<'_>) -> Run {
    let mut run = Run::new(
        shared.ids.run_id(occasion.now),
        Arc::clone(occasion.definition),
        occasion.installation,
        occasion.key.clone(),
        occasion.now,
        None,
        None,
        Map::new(),
        Trigger::S3,
        occasion.now,
    );
    let objects: Vec<Value> = occasion.objects.iter().map(ObjectEvent::value).collect();
    run.told = Arc::new(Map::from_iter([("objects".to_owned(), Value::Array(objects))]));
    run
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
