//! The exact requests that a run would make; nothing is started, nothing is asked of AWS.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use trunkline_state::{
    ids::{RunId, attempt_id},
    pipeline::{OnEmpty, Pipeline, Task},
    run::{Definition, Installation, Run, Trigger},
    schedule::span_text,
};
use trunkline_tasks::{
    operator::{PrepareContext, Request},
    registry::{ErasedOperator, Registry},
};
use uuid::Uuid;

use super::request::Wanted;
use crate::{definition::Templates, engine::prepare::render_context};

/// A run as it would go.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Plan {
    /// `pipeline@key`.
    pub run: String,
    /// `covers … → …, fires …`.
    pub covers: String,
    /// What a person should know first.
    pub warning: Option<String>,
    /// Its parameters.
    pub params: Map<String, Value>,
    /// Its tasks, upstream before downstream.
    pub tasks: Vec<PlannedTask>,
}

/// One task of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlannedTask {
    /// Its name.
    pub task: String,
    /// Its type.
    #[serde(rename = "type")]
    pub operator: String,
    /// The tasks that it follows.
    pub depends_on: Vec<String>,
    /// When it starts, given those.
    pub trigger_rule: Value,
    /// Whether it runs at all, as written.
    pub when: Option<String>,
    /// The list that it runs over, as written, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_each: Option<Value>,
    /// What each attempt takes of which pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Value>,
    /// Whether it waits until it did well in the run before.
    pub depends_on_past: bool,
    /// The datasets that it updates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outlets: Vec<String>,
    /// The connection that it uses.
    pub connection: String,
    /// Attempts in all.
    pub attempts: u32,
    /// The limit of one attempt.
    pub timeout: String,
    /// The call in the service's own words; its token is made when the run exists.
    pub request: Option<Value>,
    /// The settings as written, where they need outputs of earlier tasks.
    pub settings: Option<Value>,
    /// Why there is no request.
    pub note: Option<String>,
    /// How a start is made safe.
    pub guarantee: String,
}

/// The plan of a wanted run.
pub fn plan(pipeline: &Pipeline, wanted: &Wanted, registry: &Registry, now: Timestamp) -> Plan {
    let run = imagined(pipeline, wanted, now);
    let templates = Templates::for_pipeline(pipeline);
    let tasks =
        pipeline.tasks.iter().map(|task| planned(pipeline, task, &run, &templates, registry)).collect();
    Plan {
        run: wanted.label.clone(),
        covers: wanted.covers.clone(),
        warning: wanted.warning.clone(),
        params: wanted.params.clone(),
        tasks,
    }
}

/// A wanted run that nobody made.
pub(super) fn imagined(pipeline: &Pipeline, wanted: &Wanted, now: Timestamp) -> Run {
    let selected = &wanted.selected;
    Run::new(
        RunId(Uuid::nil()),
        Arc::new(Definition::new(pipeline.clone(), 0)),
        Installation { id: Uuid::nil(), incarnation: 1 },
        selected.key.clone(),
        selected.logical_date,
        selected.interval,
        selected.fire,
        wanted.params.clone(),
        Trigger::Manual,
        now,
    )
}

/// Why there is no request of a task.
pub(super) enum Unprepared {
    /// Its settings read what earlier tasks leave.
    Later,
    /// They are wrong.
    Wrong(String),
}

/// The list that a task runs over; one element without an item for a task that is not mapped.
pub(super) fn listed(
    task: &Task,
    run: &Run,
    templates: &Templates,
) -> Result<Vec<Option<Value>>, Unprepared> {
    let Some(for_each) = &task.for_each else { return Ok(vec![None]) };
    if reads_outputs(&for_each.items) {
        return Err(Unprepared::Later);
    }
    match templates.render_list(&for_each.items, || render_context(run, Some(1))) {
        Ok(Value::Array(items)) => Ok(items.into_iter().map(Some).collect()),
        Ok(_) => Err(Unprepared::Wrong("would fail: `for_each` does not give a list".to_owned())),
        Err(error) => Err(Unprepared::Wrong(format!("`for_each` cannot be rendered: {error}"))),
    }
}

/// The request of the first attempt of a task, or of one element of it.
pub(super) fn prepared(
    task: &Task,
    run: &Run,
    item: Option<(u32, Value)>,
    templates: &Templates,
    operator: &dyn ErasedOperator,
) -> Result<Request, Unprepared> {
    if reads_outputs(&task.settings) {
        return Err(Unprepared::Later);
    }
    let pipeline = &run.definition.pipeline;
    let mut context = render_context(run, Some(1));
    context.item = item;
    let settings = templates
        .render(&task.settings, &context)
        .map_err(|error| Unprepared::Wrong(format!("cannot be rendered: {error}")))?;
    let cx = PrepareContext {
        attempt_id: attempt_id(Uuid::nil(), 1, &pipeline.name, &run.key, task.name.as_str(), 1),
        pipeline: pipeline.name.as_str(),
        run: &run.label(),
        task: task.name.as_str(),
        environment: &pipeline.environment,
        connection: &task.connection,
        timeout: task.timeout,
        previous: None,
        generation: 1,
    };
    operator
        .prepare(&settings, &cx)
        .map_err(|failure| Unprepared::Wrong(format!("would fail: {}", failure.message)))
}

fn planned(
    pipeline: &Pipeline,
    task: &Task,
    run: &Run,
    templates: &Templates,
    registry: &Registry,
) -> PlannedTask {
    let mut planned = PlannedTask {
        task: task.name.to_string(),
        operator: task.operator.clone(),
        depends_on: task
            .depends_on
            .iter()
            .map(|&upstream| pipeline.tasks[upstream].name.to_string())
            .collect(),
        trigger_rule: json!(task.trigger_rule),
        when: task.when.clone(),
        for_each: task.for_each.as_ref().map(|for_each| json!(for_each)),
        pool: task.pool.as_ref().map(|pool| json!(pool)),
        depends_on_past: task.depends_on_past,
        outlets: task.outlets.clone(),
        connection: task.connection.clone(),
        attempts: task.retry.retries.saturating_add(1),
        timeout: span_text(task.timeout),
        request: None,
        settings: None,
        note: None,
        guarantee: String::new(),
    };
    let Some(operator) = registry.get(&task.operator) else {
        planned.note = Some(format!("this binary has no task type `{}`", task.operator));
        return planned;
    };
    operator.guarantee().clone_into(&mut planned.guarantee);
    let first = listed(task, run, templates).and_then(|items| {
        let count = items.len();
        let Some(item) = items.into_iter().next() else {
            return Err(Unprepared::Wrong(format!("its list has no elements: {}", on_empty(task))));
        };
        if item.is_some() {
            planned.note = Some(format!("runs once for each of {count} elements; the first one's request"));
        }
        prepared(task, run, item.map(|item| (0, item)), templates, operator)
    });
    match first {
        Ok(request) => planned.request = Some(request.body),
        Err(Unprepared::Later) => {
            planned.settings = Some(task.settings.clone());
            planned.note = Some("needs outputs of earlier tasks: rendered when they have ended".to_owned());
        }
        Err(Unprepared::Wrong(note)) => planned.note = Some(note),
    }
    planned
}

/// What becomes of a mapped task whose list is empty.
fn on_empty(task: &Task) -> &'static str {
    match task.for_each.as_ref().map(|for_each| for_each.on_empty) {
        Some(OnEmpty::Fail) => "it would fail",
        Some(OnEmpty::Warn) => "it would succeed with a warning",
        Some(OnEmpty::Skip) | None => "it would be skipped",
    }
}

/// Whether any template reads `tasks.…`: its value is known only in a run.
fn reads_outputs(settings: &Value) -> bool {
    match settings {
        Value::String(text) => {
            text.split("{{").skip(1).chain(text.split("{%").skip(1)).any(|rest| rest.contains("tasks."))
        }
        Value::Array(items) => items.iter().any(reads_outputs),
        Value::Object(entries) => entries.values().any(reads_outputs),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_recognised_in_templates_only() {
        assert!(reads_outputs(&json!({"a": ["{{ tasks.convert.outputs.rows }}"]})));
        assert!(reads_outputs(&json!("{% if tasks.a.outputs.b %}x{% endif %}")));
        assert!(!reads_outputs(&json!({"a": "tasks.convert", "b": "{{ ds }}"})));
    }
}
