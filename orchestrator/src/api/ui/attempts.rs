//! The attempts of a task run, as tabs: its generations where it has several, and in each the attempts. Each
//! has an address of its own; an address without one follows what is newest.

use std::collections::BTreeSet;

use maud::{Markup, html};
use serde_json::Value;

use super::{super::problem::Problem, assets, run::pretty, words};
use crate::service::{
    cost::{cost, cost_text},
    views::{AttemptView, RunWithTasks, TaskView},
};

/// Which attempt is wanted; neither is said where the newest is.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) attempt: Option<u32>,
    pub(super) generation: Option<u32>,
}

/// The attempts of a task run, and which of them is looked at.
pub(super) struct Tries<'a> {
    run: &'a RunWithTasks,
    task: &'a TaskView,
    all: &'a [AttemptView],
    generation: u32,
    shown: Option<&'a AttemptView>,
}

impl<'a> Tries<'a> {
    /// Finds what is wanted.
    pub(super) fn new(
        run: &'a RunWithTasks,
        task: &'a TaskView,
        all: &'a [AttemptView],
        wanted: Wanted,
    ) -> Result<Self, Problem> {
        let tries = Self { run, task, all, generation: task.generation, shown: None };
        let missing =
            |what: String| Problem::not_found(format!("{} of {} has {what}", task.task, run.label()));
        if let Some(number) = wanted.attempt {
            let shown = all.iter().find(|attempt| attempt.number == number);
            let shown = shown.ok_or_else(|| missing(format!("no attempt {number}")))?;
            return Ok(Self { generation: shown.generation, shown: Some(shown), ..tries });
        }
        let known = tries.generations();
        let newest = known.last().copied().unwrap_or(task.generation);
        let generation = wanted.generation.unwrap_or(newest);
        if wanted.generation.is_some() && !known.contains(&generation) {
            return Err(missing(format!("nothing in generation {generation}")));
        }
        Ok(Self { generation, shown: tries.last_of(generation), ..tries })
    }

    /// The generations in which it was made to run; in the newest perhaps no attempt has begun yet.
    fn generations(&self) -> BTreeSet<u32> {
        self.all.iter().map(|attempt| attempt.generation).chain([self.task.generation]).collect()
    }

    fn last_of(&self, generation: u32) -> Option<&'a AttemptView> {
        self.all.iter().rfind(|attempt| attempt.generation == generation)
    }

    /// The tabs, and what the chosen one holds.
    pub(super) fn markup(&self) -> Markup {
        let key = self.shown.map(|attempt| attempt.attempt_id.to_string());
        html! {
            (self.tabs())
            section.attempt #attempt data-live="" data-key=(key.unwrap_or_default()) {
                @if let Some(attempt) = self.shown { (self.attempt(attempt)) }
                @else if self.all.is_empty() { p.empty { "No attempt was begun." } }
                @else { p.empty { "No attempt of generation " (self.generation) " was begun." } }
            }
            script type="module" src=(assets::address("log.js")) {}
        }
    }

    fn tabs(&self) -> Markup {
        let here = words::task_page(self.run.label(), &self.task.task);
        let generations = self.generations();
        let shown = self.shown.map(|attempt| attempt.number);
        // The inner of two rows of tabs is the page, where there is an inner one.
        let outer = if shown.is_some() { "true" } else { "page" };
        let within = || self.all.iter().filter(|attempt| attempt.generation == self.generation);
        html! {
            div #tries data-live="" {
                @if generations.len() > 1 {
                    nav.tabs.generations aria-label="Generations" {
                        @for generation in generations {
                            a href=(format!("{here}?generation={generation}")) aria-current=[(generation == self.generation).then_some(outer)] {
                                "Generation " (generation)
                                @if let Some(last) = self.last_of(generation) { " " (words::square(&last.state, "ended as")) }
                            }
                        }
                    }
                }
                @if within().next().is_some() {
                    nav.tabs aria-label="Attempts" {
                        @for attempt in within() {
                            a href=(format!("{here}?attempt={}", attempt.number)) aria-current=[(Some(attempt.number) == shown).then_some("page")] {
                                "Attempt " (attempt.number) " " (words::square(&attempt.state, "state"))
                            }
                        }
                    }
                }
            }
        }
    }

    fn attempt(&self, attempt: &AttemptView) -> Markup {
        let here = words::task_page(self.run.label(), &self.task.task);
        html! {
            div #attempt-course data-live="" { (self.course(attempt)) }
            // One that could not be made is none.
            @if !attempt.request.is_null() { details { summary { "Request" } pre tabindex="0" { (pretty(&attempt.request)) } } }
            div #attempt-outputs data-live="" {
                @if let Some(outputs) = outputs(attempt) { details { summary { "Outputs" } pre tabindex="0" { (pretty(outputs)) } } }
            }
            h2 { "Output" }
            div.log data-log=(format!("/api/v1{}/attempts/{}/log", here, attempt.number)) {
                div.tools { label.search { span.unseen { "Search the output" } input type="search" placeholder="Search the output"; } p.muted data-found="" {} }
                pre tabindex="0" role="region" aria-label="Output" {}
            }
        }
    }

    /// How it went so far, in the service's words.
    fn course(&self, attempt: &AttemptView) -> Markup {
        let zone = self.run.zone();
        html! {
            @if let Some(failure) = &attempt.failure {
                div.failure {
                    p { strong { (failure.code.clone().unwrap_or_else(|| failure.class.clone())) }
                        @if let Some(id) = &failure.request_id { span.none { " · request " (id) } } }
                    pre tabindex="0" { (failure.message) }
                }
            }
            dl.facts {
                div { dt { "State" } dd { (words::state(&attempt.state)) } }
                div { dt { "Asked for" } dd { (words::moment(attempt.intent_at, &zone)) } }
                div { dt { "Ran" } dd { (words::moment_or_none(attempt.started_at, &zone)) " → " (words::moment_or_none(attempt.ended_at, &zone)) } }
                div { dt { "Job" } dd { @match &attempt.external_id { Some(id) => { code { (id) } } None => { span.none { "–" } } }
                    @if let Some(url) = attempt.console_url.as_deref().filter(|url| url.starts_with("https://")) {
                        " " a href=(url) rel="noopener noreferrer" target="_blank" { "AWS console" }
                    }
                    @if attempt.reattached { " " span.tag title="Found again after its start could not be confirmed" { "found again" } } } }
                @if let Some(cost) = cost_text(cost(std::slice::from_ref(attempt))) { div { dt { "Cost" } dd { (cost) } } }
                @if let Some(note) = &attempt.note { div.why { dt { "Known" } dd { (note) } } }
                // What the task run says of itself stands above already.
                @for warning in warnings(attempt).filter(|one| !self.task.warnings.iter().any(|said| said == one)) {
                    div.why { dt { "Warned" } dd.warned { (warning) } }
                }
            }
        }
    }

    /// Whether the attempt that is looked at shows these outputs of the task run: they are not shown twice.
    pub(super) fn shows(&self, outputs_of_task: &Value) -> bool {
        self.shown.and_then(outputs) == Some(outputs_of_task)
    }
}

/// What an attempt left for later tasks.
fn outputs(attempt: &AttemptView) -> Option<&Value> {
    attempt.result.as_ref()?.get("outputs")
}

/// What a person should have known of it.
fn warnings(attempt: &AttemptView) -> impl Iterator<Item = &str> {
    let said = attempt.result.as_ref().and_then(|result| result.get("warnings")?.as_array());
    said.into_iter().flatten().filter_map(Value::as_str)
}
