//! A run without a store and without services: the same decisions, templates and requests, with
//! scripted answers and a clock that jumps to whatever comes next.
//!
//! Nothing is sent, read or waited for; a retry ten minutes later takes no time. What really
//! executes is tried on a sandbox instead. Pure, like what it calls.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use trunkline_state::{
    document::Document,
    ids::RunId,
    machine::{self, AttemptKey, Command, Delta, Effect, Event, NoticeOutcome, NoticeRequest, Upcoming},
    pipeline::{Notice, NoticeLink, Pipeline},
    run::{Attempt, Definition, Failure, Installation, Run},
    store::{AttemptRow, RunRow, TaskRow},
};
use trunkline_tasks::{
    Registry,
    notice::{Signed, Target},
    operator::{Handle, Request},
};
use uuid::Uuid;

use super::{
    convert,
    notices::{Facts, SignedLink},
    prepare::{self, Means},
};
use crate::{
    definition::{
        Templates,
        cases::{Answer, Case, Ending},
    },
    message::{Mail, NextFire},
};

/// Decisions after which a run is taken for one that never ends: 5,000 tasks with all their
/// tries stay far below.
const STEPS_MAX: u32 = 2_000_000;
/// How long a start is put off each time that the service says "not now".
const PUT_OFF: Duration = Duration::from_secs(30);
/// Who makes the run of a case, answers its approvals.
const ACTOR: &str = "user:test";

/// What came of a rehearsal: the rows that a store would hold, and the notices.
#[derive(Debug)]
pub struct Rehearsed {
    /// The run.
    pub run: RunRow,
    /// Its tasks.
    pub tasks: Vec<TaskRow>,
    /// Every attempt, by task and number.
    pub attempts: Vec<AttemptRow>,
    /// Every notice, in the order of sending.
    pub notices: Vec<Told>,
    /// Why it did not end, if it did not.
    pub stuck: Option<String>,
}

/// A notice as it would be sent.
#[derive(Debug)]
pub struct Told {
    /// Its list.
    pub outcome: NoticeOutcome,
    /// Where it goes and what it says, or why it cannot be written.
    pub letter: Result<(Target, Mail), String>,
}

/// Goes through a case.
pub fn rehearse(pipeline: &Pipeline, case: &Case, registry: &Registry) -> Rehearsed {
    let mut pipeline = pipeline.clone();
    pipeline.vars.extend(case.vars.clone());
    let templates = Arc::new(Templates::for_pipeline(&pipeline));
    let selected = &case.selected;
    let run = Run::new(
        RunId(Uuid::nil()),
        Arc::new(Definition::new(pipeline, 1)),
        Installation { id: Uuid::nil(), incarnation: 1 },
        selected.key.clone(),
        selected.logical_date,
        selected.interval,
        selected.fire,
        case.params.clone(),
        case.trigger,
        case.now,
    );
    let mut rehearsal = Rehearsal {
        stage: Stage { registry, templates },
        case,
        run,
        now: case.now,
        effects: VecDeque::new(),
        agenda: BTreeMap::new(),
        entries: 0,
        attempts: BTreeMap::new(),
        put_off: BTreeMap::new(),
        notices: Vec::new(),
    };
    let stuck = rehearsal.play().err();
    rehearsal.report(stuck)
}

/// What requests are made with.
struct Stage<'a> {
    registry: &'a Registry,
    templates: Arc<Templates>,
}

impl Means for Stage<'_> {
    fn registry(&self) -> &Registry {
        self.registry
    }

    fn templates(&self, _: &Definition) -> Arc<Templates> {
        Arc::clone(&self.templates)
    }
}

struct Rehearsal<'a> {
    stage: Stage<'a>,
    case: &'a Case,
    run: Run,
    now: Timestamp,
    effects: VecDeque<Effect>,
    /// How jobs will end, by time; a counter keeps the order of those that end at once.
    agenda: BTreeMap<(Timestamp, u64), Event>,
    entries: u64,
    attempts: BTreeMap<(usize, u32), Attempt>,
    /// How often each start was put off so far.
    put_off: BTreeMap<AttemptKey, u32>,
    notices: Vec<Told>,
}

impl Rehearsal<'_> {
    fn play(&mut self) -> Result<(), String> {
        self.decide(&Event::Admitted)?;
        for _ in 0..STEPS_MAX {
            if let Some(effect) = self.effects.pop_front() {
                self.perform(&effect)?;
                continue;
            }
            if self.run.state.is_terminal() {
                return Ok(());
            }
            let job = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let event = match (job, self.run.wake_at()) {
                (None, None) => return Err("nothing is left that could go on".to_owned()),
                (Some(at), wake) if wake.is_none_or(|wake| at <= wake) => {
                    self.now = self.now.max(at);
                    self.agenda.pop_first().map_or(Event::Tick, |(_, event)| event)
                }
                (_, wake) => {
                    self.now = self.now.max(wake.unwrap_or(self.now));
                    Event::Tick
                }
            };
            self.decide(&event)?;
        }
        Err(format!("it has not ended after {STEPS_MAX} steps"))
    }

    fn decide(&mut self, event: &Event) -> Result<(), String> {
        let delta = machine::step(&mut self.run, std::slice::from_ref(event), self.now);
        self.keep(delta)
    }

    /// Takes in what a store would have been told.
    fn keep(&mut self, delta: Delta) -> Result<(), String> {
        if let Some(illegal) = delta.illegal {
            return Err(illegal.to_string());
        }
        for change in delta.attempts.into_values() {
            self.attempts.insert((change.task, change.attempt.number), change.attempt);
        }
        self.effects.extend(delta.effects);
        for request in delta.notices {
            self.tell(request);
        }
        Ok(())
    }

    fn perform(&mut self, effect: &Effect) -> Result<(), String> {
        match *effect {
            Effect::Prepare { next } => {
                let event = self.prepared(next);
                self.decide(&event)
            }
            // Nobody else is there to take them.
            Effect::WantTurn { next, round } => self.decide(&Event::TurnGranted { next, round }),
            Effect::Send { attempt } => self.send(attempt),
            Effect::Stop { attempt } => self.stop(attempt),
            // Its end is on the agenda already; no start is ever unconfirmed here.
            Effect::Admit | Effect::TurnEnded | Effect::Find { .. } | Effect::Watch { .. } => Ok(()),
        }
    }

    fn prepared(&self, next: Upcoming) -> Event {
        let follows = self.operator(next.task).is_some_and(|operator| operator.follows_previous());
        let previous = self.attempts.get(&(next.task, next.number.saturating_sub(1)));
        let previous = previous.filter(|_| follows).and_then(|attempt| attempt.handle.as_ref());
        let Some(previous) = previous.and_then(convert::handle) else {
            return prepare::prepared(&self.stage, &self.run, next);
        };
        let request = prepare::Rendered::of(&self.stage, &self.run, next)
            .and_then(|rendered| rendered.request(&self.stage, Some(&previous)));
        match request {
            Ok(request) => {
                let (request, baseline) = (Document::of(&request), Document::null());
                Event::Prepared { next, request, baseline }
            }
            Err(failure) => Event::PrepareFailed { next, failure },
        }
    }

    fn operator(&self, task: usize) -> Option<&dyn trunkline_tasks::ErasedOperator> {
        self.stage.registry.get(&self.run.task(task).operator)
    }

    fn send(&mut self, key: AttemptKey) -> Result<(), String> {
        let Some(attempt) = self.run.live_attempt(key.task, key.number) else { return Ok(()) };
        let intent_at = attempt.intent_at;
        let answer = self.answer(key);
        let put_off = self.put_off.entry(key).or_default();
        if *put_off < answer.throttled {
            *put_off += 1;
            let until = self.now.checked_add(PUT_OFF).unwrap_or(Timestamp::MAX);
            let reason = "the service asked to slow down".to_owned();
            return self.decide(&Event::Deferred { attempt: key, intent_at, until, reason });
        }
        if let Ending::Refused(failure) = answer.ending {
            let outcome = Value::Null;
            return self.decide(&Event::Failed { attempt: key, failure, outcome });
        }
        self.accept(key, &answer)?;
        if self.operator(key.task).is_some_and(|operator| operator.waits_for_person()) {
            return self.answer_for_person(key, &answer);
        }
        let event = ended(key, answer.ending);
        let at = self.now.checked_add(answer.takes).unwrap_or(Timestamp::MAX);
        self.plan(at, event);
        Ok(())
    }

    /// What the case scripts for a task; each element of a mapped task gets the same answers.
    fn answer(&self, key: AttemptKey) -> Answer {
        self.case
            .answers
            .get(&self.run.home(key.task))
            .map(|script| script.answer(key.number))
            .unwrap_or_default()
    }

    fn accept(&mut self, key: AttemptKey, answer: &Answer) -> Result<(), String> {
        let task = self.run.task(key.task);
        let name = self.run.task_name(key.task);
        let id = answer.id.clone().unwrap_or_else(|| format!("{name}-{}", key.number));
        let handle = Handle { connection: task.connection.clone(), id: id.clone(), detail: json!({}) };
        let awaits_person = self.operator(key.task).is_some_and(|operator| operator.waits_for_person());
        self.decide(&Event::Accepted {
            attempt: key,
            handle: Document::of(&handle),
            external_id: id,
            reattached: false,
            awaits_person,
        })
    }

    fn answer_for_person(&mut self, key: AttemptKey, answer: &Answer) -> Result<(), String> {
        let approved = !matches!(answer.ending, Ending::Rejected | Ending::Fails(_) | Ending::Lost(_));
        let comment = match &answer.ending {
            Ending::Fails(failure) | Ending::Lost(failure) => Some(failure.message.clone()),
            _ => None,
        };
        let command = Command::Decide { task: key.task, approved, comment };
        match machine::ask(&mut self.run, ACTOR, &command, self.now) {
            Ok(delta) => self.keep(delta),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    /// The service stops the job at once, and says so.
    fn stop(&mut self, key: AttemptKey) -> Result<(), String> {
        self.agenda.retain(|_, event| attempt_of(event) != Some(key));
        let failure = Failure::new("cancelled", "the job was stopped");
        self.decide(&Event::Stopped { attempt: key, failure })
    }

    fn plan(&mut self, at: Timestamp, event: Event) {
        self.entries += 1;
        self.agenda.insert((at, self.entries), event);
    }

    /// Writes a notice with what is known at this moment.
    fn tell(&mut self, request: NoticeRequest) {
        // Of good news after trouble there is none: a rehearsal's run has no past.
        if request.outcome == NoticeOutcome::Recovery {
            return;
        }
        let pipeline = &self.run.definition.pipeline;
        let Some(notice) = pipeline.notices(request.outcome).get(request.index).cloned() else { return };
        let next = pipeline.calendar.as_ref().and_then(|calendar| calendar.next_after(self.now));
        let facts = Facts::rehearsed(
            self.run.clone(),
            self.run_row(),
            self.task_rows(),
            self.attempt_rows(),
            next.map_or(NextFire::ByHand, NextFire::At),
        );
        let links = self.links(&notice);
        let letter = facts.mail(&self.stage, &notice, request.outcome, request.attempt, &links);
        self.notices.push(Told { outcome: request.outcome, letter });
    }

    /// The links of a notice, unsigned: the objects by their own names.
    fn links(&self, notice: &Notice) -> Vec<SignedLink> {
        let cx = prepare::render_context(&self.run, None);
        let link = |link: &NoticeLink| SignedLink {
            label: link.label.clone(),
            name: link.name(),
            signed: match self.stage.templates.render_text(&link.s3, &cx) {
                Ok(url) => {
                    let until = self.now.checked_add(link.expires).unwrap_or(Timestamp::MAX);
                    Ok(Signed { url, until, shortened: false })
                }
                Err(error) => Err(error.to_string()),
            },
        };
        notice.links.iter().map(link).collect()
    }

    fn report(self, stuck: Option<String>) -> Rehearsed {
        Rehearsed {
            run: self.run_row(),
            tasks: self.task_rows(),
            attempts: self.attempt_rows(),
            notices: self.notices,
            stuck,
        }
    }

    fn run_row(&self) -> RunRow {
        let run = &self.run;
        RunRow {
            id: run.id,
            pipeline: run.definition.pipeline.name.to_string(),
            version: run.definition.version,
            key: run.key.clone(),
            state: run.state.word().to_owned(),
            generation: run.generation,
            logical_date: run.logical_date,
            interval_start: run.interval.map(|interval| interval.start),
            interval_end: run.interval.map(|interval| interval.end),
            fire_at: run.fire_at,
            params: Value::Object(run.params.clone()),
            trigger: run.trigger.word().to_owned(),
            created_at: run.created_at,
            created_by: ACTOR.to_owned(),
            started_at: run.started_at,
            ended_at: run.ended_at,
            cancel_reason: run.cancel_reason.clone(),
            task_states: run.packed_states(),
            has_place: run.state.is_active(),
            owner: None,
            owner_lives: false,
            event_seq: 0,
        }
    }

    fn task_rows(&self) -> Vec<TaskRow> {
        let tasks = self.run.tasks.iter().enumerate();
        tasks
            .map(|(position, entry)| TaskRow {
                position,
                task: self.run.task_name(position).into_owned(),
                state: entry.state.word().to_owned(),
                generation: entry.generation,
                attempts: entry.attempts,
                tries: entry.tries,
                retry_at: entry.retry_at,
                outputs: entry.outputs.clone(),
                warnings: entry.warnings.clone(),
                failure: entry.failure.clone(),
                started_at: entry.started_at,
                ended_at: entry.ended_at,
                element: entry.element.as_deref().cloned(),
                elements: entry.elements,
            })
            .collect()
    }

    fn attempt_rows(&self) -> Vec<AttemptRow> {
        let row = |(&(position, number), attempt): (&(usize, u32), &Attempt)| AttemptRow {
            position,
            number,
            attempt_id: self.run.attempt_id(position, number),
            generation: attempt.generation,
            state: attempt.state.word().to_owned(),
            operator: self.run.task(position).operator.clone(),
            request: attempt.request.clone(),
            baseline: attempt.baseline.clone(),
            intent_at: attempt.intent_at,
            deferred_until: attempt.deferred_until,
            handle: attempt.handle.clone(),
            external_id: attempt.external_id.clone(),
            reattached: attempt.reattached,
            deadline_at: attempt.deadline_at,
            note: attempt.note.clone(),
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            failure: attempt.failure.clone(),
            result: attempt.result.clone(),
        };
        self.attempts.iter().map(row).collect()
    }
}

/// The request of a stored attempt as people compare it: its own token by name, since it is
/// different in every store.
pub fn shown_request(attempt: &AttemptRow) -> Option<Value> {
    let Request { token, mut body, .. } = convert::request(&attempt.request)?;
    if !token.is_empty() {
        name_token(&mut body, &token);
    }
    Some(body)
}

fn name_token(value: &mut Value, token: &str) {
    match value {
        Value::String(text) if text.contains(token) => *text = text.replace(token, "<token>"),
        Value::Array(items) => items.iter_mut().for_each(|item| name_token(item, token)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| name_token(entry, token)),
        _ => {}
    }
}

fn ended(attempt: AttemptKey, ending: Ending) -> Event {
    match ending {
        Ending::Succeeds { outputs, warnings, cost } => {
            let outcome = json!({ "outputs": outputs, "warnings": warnings, "cost": cost });
            Event::Succeeded { attempt, outcome }
        }
        Ending::Fails(failure) | Ending::Refused(failure) => {
            Event::Failed { attempt, failure, outcome: Value::Null }
        }
        Ending::Lost(failure) => Event::Lost { attempt, failure },
        Ending::Rejected => {
            let failure = Failure::new("cancelled", "rejected");
            Event::Failed { attempt, failure, outcome: Value::Null }
        }
    }
}

fn attempt_of(event: &Event) -> Option<AttemptKey> {
    match event {
        Event::Succeeded { attempt, .. }
        | Event::Failed { attempt, .. }
        | Event::Lost { attempt, .. }
        | Event::Stopped { attempt, .. } => Some(*attempt),
        _ => None,
    }
}
