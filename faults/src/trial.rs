//! One trial: start, strike, wait until all is at rest, look.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::process::Child;

use crate::{
    Settings, check,
    evidence::{Evidence, Reader},
    pace,
    plan::{Blow, Plan, VICTIM_DATE, Victim},
    project,
    report::{Kill, TrialReport},
    rig::Rig,
};

/// How long a trial may take until all is at rest: some quarantines on a busy machine. A run
/// that is not over by then is reported as lost.
const REST_WAIT: Duration = Duration::from_secs(90);
/// Looks at the processes between two looks at the store.
const LOOKS_PER_QUESTION: u32 = 5;
/// The limit of a start at ratio 1; a held answer is held for longer.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The quarantine of unconfirmed starts at ratio 1.
const QUARANTINE: Duration = Duration::from_mins(16);

/// Does the trial of a seed. An error means that the rig broke, not that a promise did.
pub(crate) async fn trial(rig: &Rig, settings: &Settings, seed: u64) -> anyhow::Result<TrialReport> {
    let plan = Plan::of(seed, settings.replicas, &settings.without);
    let database = format!("faults_{seed}");
    let store = rig.database(&database).await?;
    let ledger_from = rig.sandbox.ledger(0).await?.last().map_or(0, |last| last.sequence);
    let commands_from = commands(rig)?.len();
    let reader = Reader::connect(&store).await?;
    let mut stage = Stage {
        rig,
        plan: &plan,
        settings,
        store: &store,
        reader: &reader,
        began: pace::now(),
        ledger_from,
        replicas: Vec::new(),
        deaths: 0,
        kills: Vec::new(),
        violations: Vec::new(),
        ended_then: HashMap::new(),
        struck: false,
        victim: None,
    };
    stage.play().await?;
    let evidence = stage.look(commands_from).await?;
    let mut violations = std::mem::take(&mut stage.violations);
    violations.extend(check::check(&evidence));
    let report = TrialReport {
        seed,
        seconds: (stage.began.elapsed().as_secs_f64() * 100.0).round() / 100.0,
        runs: evidence.runs.len(),
        attempts: evidence.attempts.len(),
        starts: check::starts(&evidence),
        reattached: evidence.attempts.iter().filter(|attempt| attempt.reattached).count(),
        repeated_notices: check::repeated_notices(&evidence),
        kills: std::mem::take(&mut stage.kills),
        violations,
    };
    drop(stage);
    reader.close().await;
    // A store that holds the evidence of a violation is kept as long as the server lives.
    if report.violations.is_empty() {
        rig.drop_database(&database).await?;
    }
    Ok(report)
}

/// A `serve` process in its place.
struct Replica {
    child: Child,
    /// The point at which it ends itself.
    armed: Option<(String, bool)>,
    /// How the rig killed it, and whether inside a start.
    struck: Option<(String, bool)>,
}

struct Stage<'a> {
    rig: &'a Rig,
    plan: &'a Plan,
    settings: &'a Settings,
    store: &'a str,
    reader: &'a Reader,
    began: Instant,
    ledger_from: u64,
    /// One place per replica; empty while nobody has it.
    replicas: Vec<Option<Replica>>,
    deaths: usize,
    kills: Vec<Kill>,
    violations: Vec<String>,
    ended_then: HashMap<String, String>,
    /// Whether the blow from outside was struck.
    struck: bool,
    victim: Option<(Child, Instant, Duration, &'static str)>,
}

impl Stage<'_> {
    async fn play(&mut self) -> anyhow::Result<()> {
        self.rig.sandbox.script(&self.script()).await?;
        for place in 0..self.settings.replicas {
            let armed = self.plan.armed.get(place).map(|armed| (armed.spec.clone(), armed.inside));
            let replica = self.replica(place, armed)?;
            self.replicas.push(Some(replica));
        }
        self.create_runs().await?;
        if let Victim::Run { after_ms } = self.plan.victim {
            let crawler = format!("crawler={}", project::CRAWLERS[2]);
            let arguments = ["run", "line", "--date", VICTIM_DATE, "-p", &crawler];
            self.send_victim("run", &arguments, after_ms)?;
        }
        self.until_rest().await?;
        if let Victim::Clear { after_ms } = self.plan.victim {
            let run = format!("{}@{}", self.plan.runs[0].pipeline, self.plan.runs[0].date);
            self.send_victim("clear", &["clear", &run, "--yes"], after_ms)?;
            self.until_rest().await?;
        }
        for replica in self.replicas.iter_mut().flatten() {
            let _ = replica.child.kill().await;
        }
        self.rig.sandbox.script(&json!([])).await
    }

    /// The answer that the sandbox holds back, so that there is time to kill who waits for it.
    fn script(&self) -> serde_json::Value {
        if self.settings.lie {
            let hidden = QUARANTINE.mul_f64(self.settings.time_ratio * 2.0).as_millis();
            let hidden = u64::try_from(hidden).unwrap_or(u64::MAX);
            let lists =
                json!({ "service": "glue", "operation": "GetJobRuns", "kind": "list_lag", "lag_ms": hidden });
            let lost =
                json!({ "service": "glue", "operation": "StartJobRun", "times": 1, "kind": "drop_answer" });
            return json!([lists, lost]);
        }
        let Blow::Held { service, operation, dropped } = self.plan.blow else { return json!([]) };
        let held = START_LIMIT.mul_f64(self.settings.time_ratio * 1.5).as_millis();
        let held = u64::try_from(held).unwrap_or(u64::MAX);
        let rule =
            |kind: &str| json!({ "service": service, "operation": operation, "times": 1, "kind": kind });
        let mut delay = rule("delay");
        delay["after"] = json!(true);
        delay["delay_ms"] = json!(held);
        if dropped { json!([delay, rule("drop_answer")]) } else { json!([delay]) }
    }

    fn replica(&self, place: usize, armed: Option<(String, bool)>) -> anyhow::Result<Replica> {
        let log = self.log(place);
        let spec = armed.as_ref().map(|(spec, _)| spec.as_str());
        let child = self.rig.launcher.start(&log, Some(self.store), spec, &["serve"])?;
        Ok(Replica { child, armed, struck: None })
    }

    fn log(&self, place: usize) -> String {
        format!("{}-serve-{place}", self.plan.seed)
    }

    async fn create_runs(&mut self) -> anyhow::Result<()> {
        let mut commands = Vec::new();
        for (index, run) in self.plan.runs.iter().enumerate() {
            let crawler = run.crawler.as_ref().map(|crawler| format!("crawler={crawler}"));
            let mut arguments = vec!["run", run.pipeline, "--date", &run.date, "--detach"];
            if let Some(crawler) = &crawler {
                arguments.extend(["-p", crawler]);
            }
            let log = format!("{}-run-{index}", self.plan.seed);
            commands.push((self.rig.launcher.start(&log, Some(self.store), None, &arguments)?, log));
        }
        for (mut child, log) in commands {
            // Replicas die meanwhile, and their places are filled again.
            while child.try_wait()?.is_none() {
                self.watch().await?;
                pace::step().await;
            }
            let status = child.wait().await?;
            if !status.success() {
                let tail = self.rig.launcher.tail(&log);
                self.violations.push(format!("I3: `run --detach` ended with {status}: {tail}"));
            }
        }
        Ok(())
    }

    fn send_victim(&mut self, word: &'static str, arguments: &[&str], after_ms: u64) -> anyhow::Result<()> {
        let log = format!("{}-{word}-victim", self.plan.seed);
        let child = self.rig.launcher.start(&log, Some(self.store), None, arguments)?;
        self.victim = Some((child, pace::now(), Duration::from_millis(after_ms), word));
        Ok(())
    }

    /// Watches and strikes until nothing is left to do.
    async fn until_rest(&mut self) -> anyhow::Result<()> {
        let runs = i64::try_from(self.plan.runs.len()).unwrap_or(i64::MAX);
        let began = pace::now();
        for look in 0_u32.. {
            self.watch().await?;
            let victim_is_gone = self.kill_victim().await?;
            if look % LOOKS_PER_QUESTION == 0 && victim_is_gone && self.reader.is_at_rest(runs).await? {
                return Ok(());
            }
            if began.elapsed() > REST_WAIT {
                let open = self.reader.unfinished().await?;
                self.violations.push(format!("I4: not at rest after {} s: {open}", REST_WAIT.as_secs()));
                return Ok(());
            }
            pace::step().await;
        }
        Ok(())
    }

    /// Strikes if it is time, and deals with the dead.
    async fn watch(&mut self) -> anyhow::Result<()> {
        if !self.struck {
            self.strike().await?;
        }
        for place in 0..self.replicas.len() {
            let Some(replica) = &mut self.replicas[place] else { continue };
            let Some(status) = replica.child.try_wait()? else { continue };
            let (struck, armed) = (replica.struck.take(), replica.armed.take());
            self.replicas[place] = None;
            let by_signal = std::os::unix::process::ExitStatusExt::signal(&status).is_some();
            match struck.or(armed) {
                Some((at, inside)) if by_signal => self.record(format!("serve {place}"), at, inside).await?,
                _ => {
                    let tail = self.rig.launcher.tail(&self.log(place));
                    self.violations.push(format!("serve {place} ended by itself with {status}: {tail}"));
                }
            }
            let replaced = self.plan.restarts.get(self.deaths).copied().unwrap_or(true);
            self.deaths += 1;
            if replaced || self.replicas.iter().all(Option::is_none) {
                self.replicas[place] = Some(self.replica(place, None)?);
            }
        }
        Ok(())
    }

    async fn record(&mut self, process: String, at: String, inside_start: bool) -> anyhow::Result<()> {
        let attempts = self.reader.live_attempts().await?;
        self.kills.push(Kill { process, at, inside_start, attempts });
        self.ended_then.extend(self.reader.ended().await?);
        Ok(())
    }

    async fn strike(&mut self) -> anyhow::Result<()> {
        match self.plan.blow {
            Blow::None => self.struck = true,
            Blow::Random { after_ms, replica } => {
                if self.began.elapsed() < Duration::from_millis(after_ms) {
                    return Ok(());
                }
                self.struck = true;
                let all = replica >= self.replicas.len();
                for (place, entry) in self.replicas.iter_mut().enumerate() {
                    let Some(one) = entry.as_mut().filter(|_| all || place == replica) else { continue };
                    let Some(pid) = one.child.id() else { continue };
                    let inside = self.reader.starting(pid).await? > 0;
                    one.struck = Some(("some time".to_owned(), inside));
                    let _ = one.child.start_kill();
                }
            }
            Blow::Held { operation, .. } => {
                let ledger = self.rig.sandbox.ledger(self.ledger_from).await?;
                if !ledger.iter().any(|start| start.operation == operation) {
                    return Ok(());
                }
                self.struck = true;
                let operator = operator_of(operation);
                let Some(pid) = self.reader.sender_of(operator).await? else { return Ok(()) };
                for replica in
                    self.replicas.iter_mut().flatten().filter(|replica| replica.child.id() == Some(pid))
                {
                    replica.struck = Some((format!("answer to {operation} held"), true));
                    let _ = replica.child.start_kill();
                }
            }
        }
        Ok(())
    }

    /// Kills the command whose time has come; whether there is none any more.
    async fn kill_victim(&mut self) -> anyhow::Result<bool> {
        let Some((child, since, after, word)) = &mut self.victim else { return Ok(true) };
        let ended = child.try_wait()?.is_some();
        if !ended && since.elapsed() < *after {
            return Ok(false);
        }
        let word = (*word).to_owned();
        if !ended {
            let _ = child.kill().await;
            self.record(word, "some time".to_owned(), false).await?;
        }
        self.victim = None;
        Ok(true)
    }

    async fn look(&mut self, commands_from: usize) -> anyhow::Result<Evidence> {
        let mut evidence = self.reader.gather().await?;
        evidence.ledger = self.rig.sandbox.ledger(self.ledger_from).await?;
        evidence.commands = commands(self.rig)?.split_off(commands_from);
        evidence.ended_then = std::mem::take(&mut self.ended_then);
        Ok(evidence)
    }
}

/// The task type that makes this call.
fn operator_of(operation: &str) -> &'static str {
    match operation {
        "StartJobRun" => "glue_job",
        "StartCrawler" => "glue_crawler",
        _ => "athena_query",
    }
}

/// The attempts whose commands ran, over all trials.
fn commands(rig: &Rig) -> anyhow::Result<Vec<String>> {
    Ok(std::fs::read_to_string(&rig.starts)?.lines().map(str::to_owned).collect())
}
