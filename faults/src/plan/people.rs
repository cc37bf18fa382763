//! The dice behind what people ask for.

use super::{
    Dice, Fault, Knowledge, Moment, Order, Plan, QUARANTINE_MS, Trick, Verb,
    draw::{harm_beside, index, milliseconds},
    json, project,
};

pub(super) fn of_people(plan: &mut Plan, dice: &mut Dice) {
    if plan.fault == Fault::F26 {
        let long = plan.runs.len() - 1;
        for target in 0..plan.runs.len() {
            if target != long && dice.percent(60) {
                let life_ms = dice.percent(20).then(|| dice.between(20, 500));
                let after_ms = dice.between(0, 1_500);
                plan.orders.push(Order { after_ms, verb: Verb::Cancel(target), life_ms, waits: false });
            }
        }
        // Nothing else ends that one: this command lives.
        let after_ms = dice.between(0, 2_500);
        plan.orders.push(Order { after_ms, verb: Verb::Cancel(long), life_ms: None, waits: false });
    } else {
        for _ in 0..dice.between(1, 4) {
            let target = index(dice, plan.runs.len());
            let tasks = project::tasks(plan.runs[target].pipeline);
            let task = if dice.percent(30) { None } else { dice.pick(tasks).copied() };
            let verb = if plan.runs[target].pipeline == "sour" && dice.percent(50) {
                Verb::RetryNow(target, "fail")
            } else {
                Verb::Clear(target, task)
            };
            let life_ms = dice.percent(25).then(|| dice.between(20, 700));
            plan.orders.push(Order { after_ms: dice.between(0, 3_000), verb, life_ms, waits: false });
        }
        if dice.percent(40) {
            let life_ms = Some(dice.between(20, 900));
            plan.orders.push(Order {
                after_ms: dice.between(0, 500),
                verb: Verb::Run,
                life_ms,
                waits: false,
            });
        }
    }
    harm_beside(plan, dice);
}

/// Operations of people who look after runs. A run that is paused is resumed by the same person.
pub(super) fn operations(plan: &mut Plan, dice: &mut Dice, ratio: f64) {
    for run in plan.runs.iter_mut().filter(|run| run.pipeline == "sour") {
        run.pipeline = "stubborn";
    }
    for _ in 0..dice.between(2, 5) {
        let target = index(dice, plan.runs.len());
        let pipeline = plan.runs[target].pipeline;
        let task = dice.pick(project::tasks(pipeline)).copied().unwrap_or("begin");
        let after_ms = dice.between(0, 3_000);
        let life_ms = dice.percent(25).then(|| dice.between(20, 700));
        let verb = match dice.between(0, 12) {
            0 | 1 => Verb::Mark(target, task, "succeeded"),
            2 => Verb::Mark(target, task, "failed"),
            3 | 4 => Verb::Clear(target, Some(task)),
            5 => Verb::MarkMany(pipeline, task, ["succeeded", "failed"][index(dice, 2)]),
            6 => Verb::ClearMany(pipeline, task),
            7 => Verb::Cancel(target),
            8 => Verb::CancelTask(target, task),
            _ => Verb::Pause(target),
        };
        plan.orders.push(Order { after_ms, verb, life_ms, waits: false });
        if verb == Verb::Pause(target) {
            let after_ms = after_ms + dice.between(50, 900);
            plan.orders.push(Order { after_ms, verb: Verb::Resume(target), life_ms: None, waits: false });
        }
    }
    if dice.percent(60) {
        let pipeline = ["fan", "chain"][index(dice, 2)];
        let life_ms = dice.percent(40).then(|| dice.between(100, 900));
        let verb = Verb::Backfill(pipeline);
        plan.orders.push(Order { after_ms: dice.between(0, 1_500), verb, life_ms, waits: false });
    }
    if let Some(stubborn) = plan.runs.iter().position(|run| run.pipeline == "stubborn") {
        let life_ms = dice.percent(20).then(|| dice.between(20, 500));
        plan.orders.push(Order { after_ms: 0, verb: Verb::RetryNow(stubborn, "fail"), life_ms, waits: true });
    }
    if dice.percent(70) {
        unconfirmed(plan, dice, ratio);
    }
}

/// A start whose answer is lost, or that never arrives, at a service whose lists do not show it for
/// a while; and somebody who looks for it.
fn unconfirmed(plan: &mut Plan, dice: &mut Dice, ratio: f64) {
    let moment = if dice.percent(50) { Moment::AfterAccept } else { Moment::BeforeAccept };
    // What a person may know must be known before the engine finds out by itself.
    let lag = milliseconds(QUARANTINE_MS * ratio * 0.8);
    plan.script
        .push(json!({ "service": "glue", "operation": "GetJobRuns", "kind": "list_lag", "lag_ms": lag }));
    for _ in 0..dice.between(1, 3) {
        let skip = u32::try_from(dice.between(0, 3)).unwrap_or(0);
        plan.sandbox_tricks.push(Trick { call: "StartJobRun", skip, times: 1, moment });
        let knowledge = if dice.percent(75) { Knowledge::Looked } else { Knowledge::Nothing };
        let life_ms = dice.percent(20).then(|| dice.between(20, 500));
        let after_ms = dice.between(0, 1_500);
        plan.orders.push(Order { after_ms, verb: Verb::Resolve(knowledge), life_ms, waits: true });
    }
}
