//! From a task that may start to the exact request of its next attempt: rendering, and the
//! operator's pure `prepare`. No IO; what needs a look outside first is left as an effect.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use trunkline_state::{
    document::Document,
    elements::{ELEMENTS_MAX, ITEMS_BYTES_MAX},
    machine::{self, Delta, Effect, Event, Upcoming},
    pipeline::Pipeline,
    run::{Definition, Failure, Run},
};
use trunkline_tasks::{
    Registry,
    operator::{Handle, PrepareContext, Request},
};
use uuid::Uuid;

use super::{Shared, convert};
use crate::definition::template::{RenderContext, Templates, is_template};

/// What preparing asks of whoever wants it: an engine, or a rehearsal that has no store.
pub(super) trait Means {
    /// The task types.
    fn registry(&self) -> &Registry;
    /// The compiled templates of a version.
    fn templates(&self, definition: &Definition) -> Arc<Templates>;
}

impl Means for Arc<Shared> {
    fn registry(&self) -> &Registry {
        Means::registry(&**self)
    }

    fn templates(&self, definition: &Definition) -> Arc<Templates> {
        Shared::templates(self, definition)
    }
}

impl Means for Shared {
    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn templates(&self, definition: &Definition) -> Arc<Templates> {
        Shared::templates(self, definition)
    }
}

/// Prepares what the decision made ready, as far as that needs no look outside, and decides
/// again, until nothing new is ready: intents then go into the same commit.
pub(super) fn follow(shared: &Shared, run: &mut Run, mut delta: Delta, now: Timestamp) -> Delta {
    loop {
        let ready = take_ready(shared, run, &mut delta);
        if ready.is_empty() {
            return delta;
        }
        let events: Vec<Event> = ready.into_iter().map(|next| prepared(shared, run, next)).collect();
        delta.merge(machine::step(run, &events, now));
    }
}

/// The same for a run that is being created: a request that cannot be made is left as an
/// effect, because a new run holds no ended attempt yet.
pub(super) fn follow_births(shared: &Shared, run: &mut Run, mut delta: Delta, now: Timestamp) -> Delta {
    let mut events = Vec::new();
    for next in take_ready(shared, run, &mut delta) {
        match prepared(shared, run, next) {
            event @ Event::Prepared { .. } => events.push(event),
            _ => delta.effects.push(Effect::Prepare { next }),
        }
    }
    delta.merge(machine::step(run, &events, now));
    delta
}

fn take_ready(shared: &Shared, run: &Run, delta: &mut Delta) -> Vec<Upcoming> {
    let mut ready = Vec::new();
    delta.effects.retain(|effect| match effect {
        Effect::Prepare { next } if !needs_look(shared, run, next.task) => {
            ready.push(*next);
            false
        }
        _ => true,
    });
    ready
}

/// Whether something outside must be asked before the request can be stored: the operator's
/// baseline, or the versions of the secrets that the settings name.
fn needs_look(shared: &Shared, run: &Run, task: usize) -> bool {
    if wants_elements(run, task) {
        return false;
    }
    let task = run.task(task);
    let baseline = || {
        shared
            .registry
            .get(&task.operator)
            .is_some_and(trunkline_tasks::registry::ErasedOperator::needs_baseline)
    };
    baseline() || (!run.definition.pipeline.secrets.is_empty() && names_secrets(&task.settings))
}

fn names_secrets(settings: &Value) -> bool {
    match settings {
        Value::String(text) => is_template(text) && text.contains("secrets"),
        Value::Array(items) => items.iter().any(names_secrets),
        Value::Object(entries) => entries.values().any(names_secrets),
        _ => false,
    }
}

/// The event that preparing one attempt leads to, without a baseline.
pub(super) fn prepared(shared: &impl Means, run: &Run, next: Upcoming) -> Event {
    if let Some(event) = without_request(shared, run, next) {
        return event;
    }
    match Rendered::of(shared, run, next).and_then(|rendered| rendered.request(shared, None)) {
        Ok(request) => Event::Prepared { next, request: Document::of(&request), baseline: Document::null() },
        Err(failure) => Event::PrepareFailed { next, failure },
    }
}

/// What comes before a task's first attempt of a generation, or in place of it: what its `when` says,
/// and the list of a mapped task.
pub(super) fn without_request(shared: &impl Means, run: &Run, next: Upcoming) -> Option<Event> {
    unwanted(shared, run, next).or_else(|| expanded(shared, run, next))
}

/// Whether a task is a mapped one whose list has to be made.
fn wants_elements(run: &Run, task: usize) -> bool {
    run.task(task).for_each.is_some() && run.tasks[task].element.is_none()
}

fn expanded(shared: &impl Means, run: &Run, next: Upcoming) -> Option<Event> {
    let for_each = run.task(next.task).for_each.as_ref().filter(|_| wants_elements(run, next.task))?;
    let templates = shared.templates(&run.definition);
    let list =
        templates.render_list(&for_each.items, || task_context(&templates, run, next, &for_each.items));
    let words = for_each.items.as_str().unwrap_or("the list");
    let items = match list {
        Ok(Value::Array(items)) if items.len() > ELEMENTS_MAX => {
            Err(format!("`for_each` gave {} elements; at most {ELEMENTS_MAX} are taken", items.len()))
        }
        // Each item is bounded when it is rendered, and all of them together here.
        Ok(list @ Value::Array(_)) if list.to_string().len() > ITEMS_BYTES_MAX => {
            Err(format!("`for_each` gave more than {ITEMS_BYTES_MAX} bytes of elements"))
        }
        Ok(Value::Array(items)) => Ok(items),
        Ok(other) => Err(format!("`for_each` must give a list, and `{words}` gives {}", kind_of(&other))),
        Err(error) => Err(format!("`for_each`: {}", error.message)),
    };
    Some(match items {
        Ok(items) => Event::Expanded { next, items },
        Err(message) => Event::PrepareFailed { next, failure: Failure::new("config", message) },
    })
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "names with values",
    }
}

/// What a task's `when` has against its first attempt of a generation, if anything. A mapped task's is
/// asked once, before its list is made.
fn unwanted(shared: &impl Means, run: &Run, next: Upcoming) -> Option<Event> {
    let condition = run.task(next.task).when.as_ref()?;
    let entry = &run.tasks[next.task];
    if entry.tries > 0 || entry.element.is_some() {
        return None;
    }
    let templates = shared.templates(&run.definition);
    let asked = json!({ "when": condition });
    let failed =
        |message: String| Some(Event::PrepareFailed { next, failure: Failure::new("config", message) });
    match templates.render_with(&asked, || task_context(&templates, run, next, &asked)) {
        Ok(answer) => {
            let answer = &answer["when"];
            match answer.as_bool().or_else(|| answer.as_str()?.parse().ok()) {
                Some(true) => None,
                Some(false) => Some(Event::Unwanted { next, reason: no(condition) }),
                None => failed(format!("`when` must give true or false, and `{condition}` gives {answer}")),
            }
        }
        Err(error) => failed(error.to_string()),
    }
}

fn no(condition: &str) -> String {
    if is_template(condition) { format!("`when` says no: {condition}") } else { "`when` says no".to_owned() }
}

/// The rendered settings of one attempt, on their way to its operator's `prepare`.
pub(super) struct Rendered {
    definition: Arc<Definition>,
    task: usize,
    settings: Value,
    attempt_id: Uuid,
    generation: u32,
    label: String,
}

impl Rendered {
    /// Renders a task's settings.
    pub(super) fn of(shared: &impl Means, run: &Run, next: Upcoming) -> Result<Self, Failure> {
        let (templates, settings) = (shared.templates(&run.definition), &run.task(next.task).settings);
        let settings = templates
            .render_with(settings, || task_context(&templates, run, next, settings))
            .map_err(|error| Failure::new("config", error.to_string()))?;
        Ok(Self {
            definition: Arc::clone(&run.definition),
            task: run.home(next.task),
            settings,
            attempt_id: run.attempt_id(next.task, next.number),
            generation: next.generation,
            label: run.label(),
        })
    }

    /// Has the operator make the exact request.
    pub(super) fn request(&self, shared: &impl Means, previous: Option<&Handle>) -> Result<Request, Failure> {
        let pipeline = &self.definition.pipeline;
        let entry = &pipeline.tasks[self.task];
        let operator = shared.registry().get(&entry.operator).ok_or_else(|| {
            Failure::new("config", format!("this binary has no task type `{}`", entry.operator))
        })?;
        let cx = PrepareContext {
            attempt_id: self.attempt_id,
            pipeline: pipeline.name.as_str(),
            run: &self.label,
            task: entry.name.as_str(),
            environment: &pipeline.environment,
            connection: &entry.connection,
            timeout: entry.timeout,
            previous,
            generation: self.generation,
        };
        operator.prepare(&self.settings, &cx).map_err(convert::failure)
    }
}

/// What the templates of one attempt may read; of outputs only those that they name.
fn task_context(templates: &Templates, run: &Run, next: Upcoming, settings: &Value) -> RenderContext {
    let named = templates.tasks_named(settings);
    let mut cx = context(run, Some(next.number), |task| named.contains(task));
    cx.item = run.tasks[next.task].element.as_ref().map(|element| (element.index, element.item.clone()));
    cx
}

/// What the templates of a run may read.
pub(crate) fn render_context(run: &Run, attempt: Option<u32>) -> RenderContext {
    context(run, attempt, |_| true)
}

fn context(run: &Run, attempt: Option<u32>, reads: impl Fn(&str) -> bool) -> RenderContext {
    let pipeline = &run.definition.pipeline;
    let zone = zone_of(pipeline);
    let mut fields = Map::new();
    fields.insert("id".into(), json!(run.id.to_string()));
    fields.insert("name".into(), json!(run.label()));
    fields.insert("key".into(), json!(run.key));
    fields.insert("generation".into(), json!(run.generation));
    if let Some(number) = attempt {
        fields.insert("attempt".into(), json!(number));
    }
    let outputs = pipeline
        .tasks
        .iter()
        .zip(&run.tasks)
        .filter(|(task, _)| reads(task.name.as_str()))
        .filter_map(|(task, entry)| Some((task.name.to_string(), entry.outputs.clone()?)))
        .collect();
    RenderContext {
        logical_date: run.logical_date.to_zoned(zone.clone()),
        interval: run
            .interval
            .map(|covered| (covered.start.to_zoned(zone.clone()), covered.end.to_zoned(zone))),
        params: run.params.clone(),
        vars: Arc::new(pipeline.vars.clone()),
        run: fields,
        outputs,
        item: None,
        trigger: trigger_values(run),
        error: None,
        links: None,
    }
}

/// `trigger.…`: what made the run. A run that something else made has empty lists of objects and datasets and no
/// other run, so that a person may start a pipeline with triggers.
fn trigger_values(run: &Run) -> Value {
    let mut values = Map::new();
    values.insert("objects".into(), json!([]));
    values.insert("datasets".into(), json!([]));
    values.insert("pipeline".into(), Value::Null);
    values.insert("run".into(), Value::Null);
    values.extend(run.told.iter().map(|(name, value)| (name.clone(), value.clone())));
    values.insert("type".into(), json!(run.trigger.word()));
    Value::Object(values)
}

/// The pipeline's zone; UTC if the zone database lost it since the definition was checked.
pub(crate) fn zone_of(pipeline: &Pipeline) -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::get(&pipeline.timezone).unwrap_or(jiff::tz::TimeZone::UTC)
}

/// The pause before a start that the service refused for now is sent again: doubles with each
/// refusal, kept within the engine's limits.
pub(super) fn defer_pause(shared: &Shared, refusals: u32) -> Duration {
    let timing = &shared.timing;
    timing.defer_min.saturating_mul(2_u32.saturating_pow(refusals.min(16))).min(timing.defer_max)
}
