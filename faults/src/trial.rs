//! One trial: start, strike, wait until all is at rest, look.

mod nemesis;
mod orders;
mod resolve;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::process::Child;

use crate::{
    Settings, check,
    evidence::{Action, Evidence, Reader},
    fault::Fault,
    pace,
    plan::{Life, Plan, Then},
    process::CANARY,
    proxy::Moment,
    report::{Hit, TrialReport},
    rig::Rig,
};

use self::{nemesis::Frozen, orders::Running};

/// How long a trial may take until all is at rest: some quarantines on a busy machine. A run
/// that is not over by then is reported as lost.
const REST_WAIT: Duration = Duration::from_secs(120);
/// The same where a mistake is planted, which may well be that nothing comes to rest.
const REST_WAIT_MUTANT: Duration = Duration::from_secs(25);
/// Looks at the processes between two looks at the store.
const LOOKS_PER_QUESTION: u32 = 5;

/// Does the trial of a fault and a seed. An error means that the rig broke, not that a promise
/// did.
pub(crate) async fn trial(
    rig: &Rig,
    settings: &Settings,
    fault: Fault,
    seed: u64,
) -> anyhow::Result<TrialReport> {
    let plan = match &settings.mutant {
        Some(mutant) => Plan::of_mutant(mutant, seed, settings.time_ratio),
        None => Plan::of(fault, seed, settings.replicas, settings.time_ratio),
    };
    let database = format!("faults_{}_{seed}", fault.word().to_lowercase());
    rig.database(&database).await?;
    if plan.conflicts {
        rig.execute(&database, nemesis::CONFLICTS).await?;
    }
    if settings.mutant.as_deref() == Some("no_fence") {
        rig.execute(&database, nemesis::NO_FENCE).await?;
    }
    if plan.schedule_due {
        rig.execute(&database, nemesis::SCHEDULE_DUE).await?;
    }
    let ledger_from = rig.sandbox.ledger(0).await?.last().map_or(0, |last| last.sequence);
    let commands_from = commands(rig)?.len();
    let reader = Reader::connect(rig.direct(&database)).await?;
    let mut stage = Stage {
        rig,
        plan: &plan,
        settings,
        database: &database,
        reader: &reader,
        began: pace::now(),
        ledger_from,
        replicas: Vec::new(),
        deaths: 0,
        last_death: None,
        hits: Vec::new(),
        violations: Vec::new(),
        ended_then: HashMap::new(),
        struck: vec![false; plan.blows.len()],
        silences: Vec::new(),
        running: Vec::new(),
        ordered: vec![false; plan.orders.len()],
        looks: 0,
        orders_done: Vec::new(),
        away: Vec::new(),
        accepted: Vec::new(),
    };
    stage.play().await?;
    let evidence = stage.look(commands_from).await?;
    let mut violations = std::mem::take(&mut stage.violations);
    violations.extend(check::check(&evidence));
    let report = TrialReport {
        fault,
        seed,
        replicas: plan.lives.len(),
        seconds: (stage.began.elapsed().as_secs_f64() * 100.0).round() / 100.0,
        runs: evidence.runs.len(),
        attempts: evidence.attempts.len(),
        starts: check::starts(&evidence),
        reattached: evidence.attempts.iter().filter(|attempt| attempt.reattached).count(),
        repeated_notices: check::repeated_notices(&evidence),
        operations: check::operations(&evidence),
        hits: std::mem::take(&mut stage.hits),
        violations,
    };
    drop(stage);
    reader.close().await;
    // A store that holds the evidence of a violation is kept as long as the server lives.
    if report.violations.is_empty() || settings.mutant.is_some() {
        rig.drop_database(&database).await?;
    }
    Ok(report)
}

/// A `serve` process in its place.
struct Replica {
    child: Child,
    /// The point at which it ends itself.
    armed: Option<(String, bool)>,
    /// The point at which it freezes itself.
    stops: Option<(String, bool)>,
    /// How the rig killed it, and whether inside a start.
    struck: Option<(String, bool)>,
    /// Since it stands still.
    frozen: Option<Frozen>,
}

struct Stage<'a> {
    rig: &'a Rig,
    plan: &'a Plan,
    settings: &'a Settings,
    database: &'a str,
    reader: &'a Reader,
    began: Instant,
    ledger_from: u64,
    /// One place per replica; empty while nobody has it.
    replicas: Vec<Option<Replica>>,
    deaths: usize,
    last_death: Option<Instant>,
    hits: Vec<Hit>,
    violations: Vec<String>,
    ended_then: HashMap<String, String>,
    /// Which blows were struck.
    struck: Vec<bool>,
    /// Links that are silent, until when, and what then becomes of their connections.
    silences: Vec<(usize, Instant, Then)>,
    running: Vec<Running>,
    ordered: Vec<bool>,
    /// How often orders were looked at.
    looks: u32,
    /// What people asked for, and how their commands ended.
    orders_done: Vec<Action>,
    /// When Postgres was away.
    away: Vec<(jiff::Timestamp, jiff::Timestamp)>,
    /// Runs whose creation was confirmed.
    accepted: Vec<(&'static str, String)>,
}

impl Stage<'_> {
    async fn play(&mut self) -> anyhow::Result<()> {
        self.rig.sandbox.script(&Value::Array(self.plan.script.clone())).await?;
        self.rig.sandbox_link.play(self.plan.sandbox_tricks.clone());
        self.rig.command_link.play(self.plan.command_tricks.clone());
        for link in &self.rig.store_links {
            link.play(self.plan.store_tricks.clone());
        }
        let reserve = usize::from(self.plan.has_reserve);
        for place in 0..self.plan.lives.len() {
            let replica = if place + reserve < self.plan.lives.len() {
                Some(self.replica(place, &self.plan.lives[place])?)
            } else {
                None
            };
            self.replicas.push(replica);
        }
        self.create_runs().await?;
        self.until_rest().await?;
        self.tell_tricks().await?;
        for replica in self.replicas.iter_mut().flatten() {
            let _ = replica.child.kill().await;
        }
        self.rig.sandbox.script(&Value::Array(Vec::new())).await
    }

    fn replica(&self, place: usize, life: &Life) -> anyhow::Result<Replica> {
        let url = self.rig.url_through(&self.rig.store_links[place], self.database);
        let jump = life.clock_jump.map(|(by, after)| format!("{by}@{after}"));
        let mut variables = vec![("DATABASE_URL", url.as_str())];
        let armed = life.crash.as_ref().map(|armed| (armed.spec.clone(), armed.inside));
        let stops = life.stop.as_ref().map(|armed| (armed.spec.clone(), armed.inside));
        variables.extend(armed.as_ref().map(|(spec, _)| ("TRUNKLINE_CRASH_AT", spec.as_str())));
        variables.extend(stops.as_ref().map(|(spec, _)| ("TRUNKLINE_STOP_AT", spec.as_str())));
        variables.extend(jump.as_ref().map(|jump| ("TRUNKLINE_CLOCK_JUMP", jump.as_str())));
        let child = self.rig.launcher.start(&self.log(&format!("serve-{place}")), &variables, &["serve"])?;
        Ok(Replica { child, armed, stops, struck: None, frozen: None })
    }

    fn log(&self, name: &str) -> String {
        format!("{}-{}-{name}", self.plan.fault.word(), self.plan.seed)
    }

    /// Watches and strikes until nothing is left to do.
    async fn until_rest(&mut self) -> anyhow::Result<()> {
        let runs = self.accepted.len() + usize::from(self.plan.schedule_due);
        let runs = i64::try_from(runs).unwrap_or(i64::MAX);
        let limit = if self.settings.mutant.is_some() { REST_WAIT_MUTANT } else { REST_WAIT };
        let began = pace::now();
        for look in 0_u32.. {
            self.watch().await?;
            let nobody_asks = self.orders().await?;
            if look % LOOKS_PER_QUESTION == 0 {
                if let Some(text) = self.reader.overbooked().await?
                    && !self.violations.contains(&text)
                {
                    self.violations.push(text);
                }
                let quiet = nobody_asks && self.silences.is_empty() && self.nobody_is_frozen();
                if quiet && self.reader.is_at_rest(runs).await? {
                    return Ok(());
                }
                if nobody_asks {
                    self.resume_what_stays_paused().await?;
                }
            }
            if began.elapsed() > limit {
                let open = self.reader.unfinished().await?;
                self.violations.push(format!("I4: not at rest after {} s: {open}", limit.as_secs()));
                return Ok(());
            }
            pace::step().await;
        }
        Ok(())
    }

    /// Deals with the frozen and the dead, and strikes if it is time.
    async fn watch(&mut self) -> anyhow::Result<()> {
        self.thaw().await?;
        self.strike().await?;
        for place in 0..self.replicas.len() {
            let Some(replica) = &mut self.replicas[place] else { continue };
            let Some(status) = replica.child.try_wait()? else { continue };
            let (struck, armed) = (replica.struck.take(), replica.armed.take());
            self.replicas[place] = None;
            let by_signal = std::os::unix::process::ExitStatusExt::signal(&status).is_some();
            match struck.or(armed) {
                Some((at, inside)) if by_signal => {
                    self.record(format!("serve {place}"), at, inside, "killed").await?;
                }
                // It was just starting: whoever supervises it starts it again.
                _ if self.plan.is_of_the_store() && status.code().is_some_and(|code| code >= 2) => {
                    let at = "the store went away while it started".to_owned();
                    self.record(format!("serve {place}"), at, false, "gave up").await?;
                }
                _ => {
                    let tail = self.rig.launcher.tail(&self.log(&format!("serve-{place}")));
                    self.violations.push(format!("serve {place} ended by itself with {status}: {tail}"));
                }
            }
            let replaced = self.plan.restarts.get(self.deaths).copied().unwrap_or(true);
            self.deaths += 1;
            self.note_death();
            if replaced || self.replicas.iter().all(Option::is_none) {
                self.replicas[place] = Some(self.replica(place, &Life::default())?);
            }
        }
        Ok(())
    }

    async fn record(
        &mut self,
        process: String,
        at: String,
        inside_start: bool,
        how: &'static str,
    ) -> anyhow::Result<()> {
        let attempts = self.reader.live_attempts().await?;
        self.hits.push(Hit { process, how: how.into(), at, inside_start, attempts });
        self.ended_then.extend(self.reader.ended().await?);
        Ok(())
    }

    /// What was cut off on the links, and what the sandbox's script did.
    async fn tell_tricks(&mut self) -> anyhow::Result<()> {
        let hit = |process: String, at: String, inside_start| Hit {
            process,
            how: "cut or answered wrongly".into(),
            at,
            inside_start,
            attempts: String::new(),
        };
        for (call, moment) in self.rig.sandbox_link.cuts() {
            let inside = call.starts_with("Start");
            self.hits.push(hit(
                "link to the sandbox".to_owned(),
                format!("{call}, {}", word(moment)),
                inside,
            ));
        }
        for (place, link) in self.rig.store_links.iter().enumerate() {
            for (call, moment) in link.cuts() {
                let at = format!("{call}, {}", word(moment));
                self.hits.push(hit(format!("serve {place}'s link to Postgres"), at, false));
            }
        }
        for (call, moment) in self.rig.command_link.cuts() {
            let at = format!("{call}, {}", word(moment));
            self.hits.push(hit("a command's link to Postgres".to_owned(), at, false));
        }
        for (place, life) in self.plan.lives.iter().enumerate() {
            if let Some((by, _)) = life.clock_jump {
                let at = if by > 0 { "clock jumped ahead" } else { "clock jumped back" };
                self.hits.push(Hit {
                    how: "misled".into(),
                    ..hit(format!("serve {place}"), at.to_owned(), false)
                });
            }
        }
        if self.plan.conflicts {
            let times = self.reader.conflicts().await?;
            let at = format!("commits of runs refused ×{times}");
            self.hits.push(Hit { how: "refused".into(), ..hit("Postgres".to_owned(), at, false) });
        }
        if self.plan.schedule_due {
            let at = "one fire, found by all at once".to_owned();
            self.hits.push(Hit { how: "raced".into(), ..hit("serve".to_owned(), at, false) });
        }
        for (what, times) in self.rig.sandbox.harm().await? {
            // A delay is told by the death that it makes room for.
            if times > 0 {
                let inside = what.contains(":Start");
                self.hits.push(hit("sandbox".to_owned(), format!("{what} ×{times}"), inside));
            }
        }
        Ok(())
    }

    async fn look(&mut self, commands_from: usize) -> anyhow::Result<Evidence> {
        let mut evidence = self.reader.gather().await?;
        evidence.ledger = self.rig.sandbox.ledger(self.ledger_from).await?;
        evidence.commands = commands(self.rig)?.split_off(commands_from);
        evidence.ended_then = std::mem::take(&mut self.ended_then);
        evidence.calls = self.rig.sandbox_link.calls();
        evidence.actions = std::mem::take(&mut self.orders_done);
        evidence.away = std::mem::take(&mut self.away);
        evidence.accepted = std::mem::take(&mut self.accepted);
        evidence.clocks_jump = self.plan.lives.iter().any(|life| life.clock_jump.is_some());
        for job in [crate::project::JOB, crate::project::LONG_JOB] {
            evidence.jobs.extend(self.rig.sandbox.job_runs(job).await?);
        }
        for run in &mut evidence.runs {
            run.wanted = self.plan.outcomes(&run.pipeline, &run.key);
        }
        if self.plan.schedule_due {
            evidence.fires = Some("tick");
        }
        evidence.canary.extend(self.reader.tables_with(CANARY).await?);
        evidence.canary.extend(self.rig.launcher.logs_with(&self.log(""), CANARY));
        Ok(evidence)
    }
}

fn word(moment: Moment) -> &'static str {
    match moment {
        Moment::BeforeAccept => "cut before it arrived",
        Moment::AfterAccept => "answer lost",
    }
}

/// The attempts whose commands ran, over all trials.
fn commands(rig: &Rig) -> anyhow::Result<Vec<String>> {
    Ok(std::fs::read_to_string(&rig.starts)?.lines().map(str::to_owned).collect())
}
