//! The dice behind a plan: what each fault chooses.

use super::{
    Armed, Blow, Deed, Dice, Fault, Life, Moment, Order, Plan, QUARANTINE_MS, RunPlan, START_LIMIT_MS, Then,
    Trick, Value, Verb, When, json, people, project,
};

/// Points inside a start: the intent is committed, the handle is not.
const INSIDE: [&str; 2] = ["after_intent", "after_send"];
/// The other points.
const ELSEWHERE: [&str; 6] =
    ["before_commit", "after_commit", "before_find", "after_find", "before_notice", "after_notice"];
/// Starts that go over the wire: task type, service, operation.
const STARTS: [(&str, &str, &str); 3] = [
    ("glue_job", "glue", "StartJobRun"),
    ("glue_crawler", "glue", "StartCrawler"),
    ("athena_query", "athena", "StartQueryExecution"),
];
/// Commits among which one is chosen to die at; a run makes about so many.
const COMMITS: u64 = 12;
/// Deaths in a row whose replacement is chosen.
const DEATHS: u64 = 16;

/// The runs, and as many quiet replicas as the fault needs.
pub(super) fn common(fault: Fault, seed: u64, dice: &mut Dice) -> Plan {
    let count = match fault {
        Fault::F1 | Fault::F10 => 1,
        Fault::F2 => 3,
        Fault::F21 => 5,
        Fault::F7 | Fault::F8 | Fault::F17 => dice.between(2, 4),
        Fault::F3 => dice.between(2, 6),
        _ => dice.between(1, 4),
    };
    Plan {
        fault,
        seed,
        runs: runs(fault, dice),
        lives: (0..count).map(|_| Life::default()).collect(),
        blows: Vec::new(),
        restarts: (0..DEATHS)
            .map(|_| fault == Fault::F1 || (fault != Fault::F2 && dice.percent(50)))
            .collect(),
        orders: Vec::new(),
        script: Vec::new(),
        sandbox_tricks: Vec::new(),
        store_tricks: Vec::new(),
        command_tricks: Vec::new(),
        conflicts: false,
        schedule_due: false,
        freeze_ms: 0,
        has_reserve: false,
    }
}

fn run(pipeline: &'static str, day: u32, crawler: Option<&str>) -> RunPlan {
    RunPlan { pipeline, date: format!("2026-03-{day:02}"), crawler: crawler.map(str::to_owned) }
}

fn runs(fault: Fault, dice: &mut Dice) -> Vec<RunPlan> {
    let mut runs = vec![run("line", 1, Some(project::CRAWLERS[0])), run("fan", 1, None)];
    match dice.between(0, 3) {
        0 => runs.push(run("line", 2, Some(project::CRAWLERS[1]))),
        1 => runs.extend([run("chain", 1, None), run("chain", 2, None)]),
        _ => runs.push(run("sour", 1, None)),
    }
    if fault == Fault::F26 {
        runs.push(run("long", 5, None));
    }
    runs
}

/// What goes wrong.
pub(super) fn of_fault(plan: &mut Plan, dice: &mut Dice, ratio: f64) {
    match plan.fault {
        Fault::F1 | Fault::F2 => {
            for life in &mut plan.lives {
                life.crash = Some(armed(dice));
            }
        }
        Fault::F3 => {
            let mut at = 0;
            for _ in 0..dice.between(2, 6) {
                at += dice.between(100, 900);
                let deed = Deed::Kill(index(dice, plan.lives.len() + 1));
                plan.blows.push(Blow { when: When::After(at), deed });
            }
        }
        Fault::F4 => held(plan, dice, ratio),
        Fault::F5 => {
            for _ in 0..dice.between(1, 4) {
                let moment = if dice.percent(65) { Moment::AfterAccept } else { Moment::BeforeAccept };
                let call = start(dice).2;
                let trick = Trick { call, skip: small(dice, 2), times: 1, moment };
                plan.sandbox_tricks.push(trick);
            }
        }
        Fault::F6 => {
            for _ in 0..dice.between(1, 4) {
                let kind = if dice.percent(60) { "error_after" } else { "error_before" };
                plan.script.push(rule(start(dice), kind, dice.between(1, 3)));
            }
        }
        Fault::F7 | Fault::F8 => frozen(plan, dice, ratio),
        Fault::F12 => {
            for _ in 0..dice.between(1, 3) {
                let (place, ms) = (index(dice, plan.lives.len()), dice.between(200, 3_000));
                let then = [Then::On, Then::Cut, Then::Forgotten][index(dice, 3)];
                let deed = Deed::Silence { place, ms, then };
                plan.blows.push(Blow { when: When::After(dice.between(50, 1_500)), deed });
            }
        }
        Fault::F9 | Fault::F10 | Fault::F11 | Fault::F13 | Fault::F14 => of_the_store(plan, dice, ratio),
        Fault::F17 => misled(plan, dice, ratio),
        Fault::F21 => {
            plan.schedule_due = true;
            plan.runs.truncate(1);
        }
        Fault::F23 | Fault::F24 | Fault::F25 | Fault::F27 => of_the_service(plan, dice, ratio),
        Fault::F26 | Fault::F28 => people::of_people(plan, dice),
        Fault::O1 => {
            people::operations(plan, dice, ratio);
            harm_beside(plan, dice);
        }
        Fault::F30 => {
            plan.script.push(json!({ "service": "sns", "operation": "Publish", "kind": "error_before",
                "for_ms": percent(milliseconds(3_600_000.0 * ratio), dice.between(5, 21)) }));
            if dice.percent(60) {
                let point = if dice.percent(50) { "before_notice" } else { "after_notice" };
                let nth = dice.between(1, 3);
                plan.lives[0].crash = Some(Armed { spec: format!("{point}:{nth}"), inside: false });
            } else {
                let trick = Trick { call: "Publish", skip: 0, times: 1, moment: Moment::AfterAccept };
                plan.sandbox_tricks.push(trick);
            }
        }
    }
}

/// A replica stands still around a start.
fn frozen(plan: &mut Plan, dice: &mut Dice, ratio: f64) {
    let place = index(dice, plan.lives.len());
    if plan.fault == Fault::F7 {
        if dice.percent(20) {
            let when = When::After(dice.between(100, 2_000));
            plan.blows.push(Blow { when, deed: Deed::Freeze(place) });
        } else {
            plan.lives[place].stop = Some(if dice.percent(75) { inside(dice) } else { elsewhere(dice) });
        }
        plan.freeze_ms = dice.between(0, 1_200);
    } else {
        let kind = ["glue_job", "glue_crawler"][index(dice, 2)];
        plan.lives[place].stop = Some(Armed { spec: format!("after_intent@{kind}:1"), inside: true });
        plan.freeze_ms = milliseconds(QUARANTINE_MS * ratio) + dice.between(300, 900);
    }
}

/// The clock of a replica jumps, until somebody puts it right.
fn misled(plan: &mut Plan, dice: &mut Dice, ratio: f64) {
    let place = index(dice, plan.lives.len());
    let hour = i64::try_from(milliseconds(3_600_000.0 * ratio)).unwrap_or(i64::MAX);
    // Mostly within what AWS still takes a signature for: there a wrong clock is not noticed at once.
    let most = if dice.percent(70) { 26 } else { 101 };
    let far = hour * i64::try_from(dice.between(1, most)).unwrap_or(1) / 100;
    let by = if dice.percent(50) { far } else { -far };
    plan.lives[place].clock_jump = Some((by, dice.between(0, 1_500)));
    plan.blows.push(Blow { when: When::After(4_000), deed: Deed::Kill(place) });
    plan.restarts = vec![true];
}

/// The sandbox holds an answer back, so that there is time to kill who waits for it.
fn held(plan: &mut Plan, dice: &mut Dice, ratio: f64) {
    let start = start(dice);
    let mut delay = rule(start, "delay", 1);
    delay["after"] = json!(true);
    delay["delay_ms"] = json!(milliseconds(START_LIMIT_MS * ratio * 1.5));
    plan.script.push(delay);
    if dice.percent(40) {
        plan.script.push(rule(start, "drop_answer", 1));
    }
    plan.blows.push(Blow { when: When::Accepted(start.2), deed: Deed::KillSender(start.0) });
}

fn of_the_store(plan: &mut Plan, dice: &mut Dice, ratio: f64) {
    match plan.fault {
        Fault::F9 => {
            for _ in 0..dice.between(1, 3) {
                let when = moment_of_start(dice);
                plan.blows.push(Blow { when, deed: Deed::KillPostgres { ms: dice.between(0, 300) } });
            }
        }
        Fault::F10 => {
            let ms = milliseconds(600_000.0 * ratio);
            plan.blows.push(Blow { when: moment_of_start(dice), deed: Deed::KillPostgres { ms } });
        }
        Fault::F11 => {
            for _ in 0..dice.between(1, 5) {
                // Most commits are saves; a run has a dozen of them.
                let call =
                    ["save_runs", "save_runs", "save_runs", "create_runs", "skip locked"][index(dice, 5)];
                let skip = if call == "save_runs" { small(dice, 10) } else { small(dice, 2) };
                let moment = if dice.percent(80) { Moment::AfterAccept } else { Moment::BeforeAccept };
                plan.store_tricks.push(Trick { call, skip, times: 1 + small(dice, 2), moment });
                plan.command_tricks.push(Trick {
                    call: "create_runs",
                    skip: small(dice, 3),
                    times: 0,
                    moment,
                });
            }
        }
        Fault::F13 => {
            for call in ["BEGIN", "COMMIT"] {
                let moment = if dice.percent(60) { Moment::AfterAccept } else { Moment::BeforeAccept };
                plan.command_tricks.push(Trick { call, skip: small(dice, 2), times: 1, moment });
            }
            for _ in 0..3 {
                let life_ms = dice.percent(40).then(|| dice.between(20, 600));
                plan.orders.push(Order {
                    after_ms: dice.between(0, 1_200),
                    verb: Verb::Deploy,
                    life_ms,
                    waits: false,
                });
            }
        }
        _ => plan.conflicts = true,
    }
}

fn of_the_service(plan: &mut Plan, dice: &mut Dice, ratio: f64) {
    match plan.fault {
        Fault::F23 => {
            for service in ["glue", "athena", "sns"] {
                plan.script.push(json!({ "service": service, "kind": "throttle", "probability": 0.95,
                    "seed": dice.between(0, 1_000), "for_ms": milliseconds(600_000.0 * ratio) }));
            }
        }
        Fault::F24 => {
            let slow = percent(milliseconds(START_LIMIT_MS * ratio), dice.between(50, 150));
            let service = ["glue", "athena"][index(dice, 2)];
            let times = dice.between(3, 12);
            plan.script
                .push(json!({ "service": service, "kind": "delay", "delay_ms": slow, "times": times }));
            let mut never = rule(start(dice), "delay", 1);
            never["after"] = json!(true);
            never["delay_ms"] = json!(milliseconds(START_LIMIT_MS * ratio * 40.0));
            plan.script.push(never);
        }
        Fault::F25 => {
            let lag = milliseconds(60_000.0 * ratio);
            for operation in ["GetJobRuns", "ListCrawls"] {
                plan.script.push(json!({ "service": "glue", "operation": operation, "kind": "list_lag",
                    "lag_ms": lag }));
            }
            for (service, operation) in
                [("glue", "GetJobRun"), ("glue", "GetJobRuns"), ("athena", "BatchGetQueryExecution")]
            {
                plan.script.push(json!({ "service": service, "operation": operation,
                    "kind": "unknown_state", "times": dice.between(1, 4) }));
            }
            plan.script.push(rule(start(dice), "drop_answer", 1));
        }
        _ => {
            let expired = dice.percent(60);
            let code = if expired { "ExpiredTokenException" } else { "AccessDeniedException" };
            let service = ["glue", "athena"][index(dice, 2)];
            let mut refusal = json!({ "service": service, "kind": "error_before", "status": 400,
                "code": code, "skip": dice.between(0, 4), "times": dice.between(1, 5) });
            if !expired {
                refusal["operation"] =
                    json!(if service == "glue" { "StartJobRun" } else { "StartQueryExecution" });
                refusal["skip"] = json!(0);
                refusal["times"] = json!(1);
            }
            plan.script.push(refusal);
        }
    }
}

/// What goes wrong while people do something.
pub(super) fn harm_beside(plan: &mut Plan, dice: &mut Dice) {
    let place = index(dice, plan.lives.len());
    match dice.between(0, 4) {
        0 => plan.lives[place].crash = Some(armed(dice)),
        1 if plan.lives.len() > 1 => {
            plan.lives[place].stop = Some(inside(dice));
            plan.freeze_ms = dice.between(0, 600);
        }
        2 => plan.blows.push(Blow { when: When::After(dice.between(100, 2_000)), deed: Deed::Kill(place) }),
        3 => plan.sandbox_tricks.push(Trick {
            call: start(dice).2,
            skip: 0,
            times: 1,
            moment: Moment::AfterAccept,
        }),
        _ => {}
    }
}

/// The one trial in which a planted mistake does harm.
pub(super) fn of_mutant(plan: &mut Plan, mutant: &str, ratio: f64) {
    let cut = |call, moment| Trick { call, skip: 0, times: 1, moment };
    match mutant {
        "send_for_find" => {
            plan.runs.drain(..1);
            let mut delay = rule(STARTS[0], "delay", 1);
            delay["after"] = json!(true);
            delay["delay_ms"] = json!(milliseconds(START_LIMIT_MS * ratio * 1.5));
            plan.script.push(delay);
            plan.blows.push(Blow { when: When::Accepted("StartJobRun"), deed: Deed::KillSender("glue_job") });
        }
        "no_fence" | "rows_unchecked" => {
            plan.runs.drain(..1);
            plan.set_replicas(2);
            let spec = match mutant {
                "no_fence" => "after_send@glue_job:1".to_owned(),
                // One of the first few commits holds the intents of the jobs.
                _ => format!("before_commit:{}", 1 + plan.seed % 4),
            };
            plan.lives[0].stop = Some(Armed { spec, inside: true });
            plan.has_reserve = true;
        }
        "lying_service" => {
            plan.runs.drain(..1);
            let lag = milliseconds(QUARANTINE_MS * ratio * 2.0);
            plan.script.push(json!({ "service": "glue", "operation": "GetJobRuns", "kind": "list_lag",
                "lag_ms": lag }));
            plan.script.push(rule(STARTS[0], "drop_answer", 1));
        }
        "no_baseline" => {
            plan.runs = vec![run("twice", 1, Some(project::CRAWLERS[0]))];
            // The start of the second crawl never arrives: the first one must not be taken for it.
            plan.sandbox_tricks.push(Trick {
                call: "StartCrawler",
                skip: 1,
                times: 1,
                moment: Moment::BeforeAccept,
            });
        }
        "rendered_again" => {
            plan.runs.drain(..1);
            plan.sandbox_tricks.push(cut("StartJobRun", Moment::BeforeAccept));
            // Each clear raises the number that the job is started with.
            plan.orders.extend([2_000, 3_000, 4_000, 5_000].map(|after_ms| Order {
                after_ms,
                verb: Verb::Clear(0, Some("work")),
                life_ms: None,
                waits: false,
            }));
        }
        _ => {
            plan.runs.drain(..1);
            plan.sandbox_tricks.push(cut("StartJobRun", Moment::AfterAccept));
        }
    }
}

fn armed(dice: &mut Dice) -> Armed {
    if dice.percent(75) { inside(dice) } else { elsewhere(dice) }
}

fn inside(dice: &mut Dice) -> Armed {
    let point = dice.pick(&INSIDE).copied().unwrap_or("after_intent");
    let spec = match dice.pick(&project::EXTERNAL) {
        Some(kind) if dice.percent(60) => format!("{point}@{kind}:1"),
        // Any type, noops and sleeps among them: those are starts as well.
        _ => format!("{point}:{}", dice.between(1, 4)),
    };
    Armed { spec, inside: true }
}

fn elsewhere(dice: &mut Dice) -> Armed {
    let point = dice.pick(&ELSEWHERE).copied().unwrap_or("before_commit");
    let nth = if point.ends_with("commit") { dice.between(1, COMMITS) } else { 1 };
    Armed { spec: format!("{point}:{nth}"), inside: false }
}

fn moment_of_start(dice: &mut Dice) -> When {
    if dice.percent(60) { When::Accepted(start(dice).2) } else { When::After(dice.between(100, 1_500)) }
}

fn start(dice: &mut Dice) -> (&'static str, &'static str, &'static str) {
    STARTS[index(dice, STARTS.len())]
}

fn rule((_, service, operation): (&str, &str, &str), kind: &str, times: u64) -> Value {
    json!({ "service": service, "operation": operation, "times": times, "kind": kind })
}

pub(super) fn index(dice: &mut Dice, length: usize) -> usize {
    usize::try_from(dice.between(0, length as u64)).unwrap_or(0)
}

fn small(dice: &mut Dice, below: u64) -> u32 {
    u32::try_from(dice.between(0, below)).unwrap_or(0)
}

fn percent(of: u64, share: u64) -> u64 {
    of * share / 100
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousand at most")]
pub(super) fn milliseconds(exact: f64) -> u64 {
    exact.max(0.0) as u64
}
