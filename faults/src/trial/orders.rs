//! What people ask for in mid-run: commands of the program, each by a user of its own.

use std::{
    process::ExitStatus,
    time::{Duration, Instant},
};

use tokio::process::Child;

use super::{LOOKS_PER_QUESTION, Stage};
use crate::{
    evidence::Action,
    pace,
    plan::{BACKFILLED, FIRST_DATES, Verb, WATCHED_DATE},
    project,
};

/// The longest that a command may take; the program itself gives up after a minute.
const COMMAND_MAX: Duration = Duration::from_secs(100);

/// A command on its way.
pub(super) struct Running {
    child: Child,
    since: Instant,
    life: Option<Duration>,
    word: &'static str,
    /// What was asked for, as it is counted.
    operation: &'static str,
    user: String,
    log: String,
    /// Which order of the plan.
    order: usize,
}

impl Stage<'_> {
    /// Creates the runs of the plan, each with a command that must succeed in the end.
    pub(super) async fn create_runs(&mut self) -> anyhow::Result<()> {
        for index in 0..self.plan.runs.len() {
            // A command whose own link is cut may fail; asked again it says that the run is there.
            for _ in 0..4 {
                if self.create_run(index).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn create_run(&mut self, index: usize) -> anyhow::Result<bool> {
        let run = &self.plan.runs[index];
        let crawler = run.crawler.as_ref().map(|crawler| format!("crawler={crawler}"));
        let mut arguments = vec!["run", run.pipeline, "--date", &run.date, "--detach"];
        if let Some(crawler) = &crawler {
            arguments.extend(["-p", crawler]);
        }
        let log = self.log(&format!("run-{index}"));
        let url = self.rig.url_through(&self.rig.command_link, self.database);
        let mut child = self.rig.launcher.start(&log, &[("DATABASE_URL", &url)], &arguments)?;
        // Replicas die meanwhile, and their places are filled again.
        while child.try_wait()?.is_none() {
            self.watch().await?;
            pace::step().await;
        }
        let status = child.wait().await?;
        if status.success() {
            self.accepted.push((run.pipeline, run.date.clone()));
            return Ok(true);
        }
        if self.reader.has_run(run.pipeline, &run.date).await? {
            return Ok(true);
        }
        if !self.may_commands_fail() {
            let tail = self.rig.launcher.tail(&log);
            self.violations.push(format!("I3: `run --detach` ended with {status}: {tail}"));
        }
        Ok(false)
    }

    /// Whether the plan touches the commands' own way to the store.
    fn may_commands_fail(&self) -> bool {
        !self.away.is_empty() || !self.plan.command_tricks.is_empty() || self.plan.conflicts
    }

    /// Gives the orders that are due and deals with those that ended; whether none is left.
    pub(super) async fn orders(&mut self) -> anyhow::Result<bool> {
        self.looks = self.looks.wrapping_add(1);
        let asks = self.looks.is_multiple_of(LOOKS_PER_QUESTION);
        for index in 0..self.plan.orders.len() {
            let order = &self.plan.orders[index];
            let may = asks || !order.waits;
            if may && !self.ordered[index] && self.began.elapsed() >= Duration::from_millis(order.after_ms) {
                let life = order.life_ms.map(Duration::from_millis);
                let line = if order.waits {
                    self.wish(order.verb).await?
                } else {
                    Some(self.command_line(order.verb))
                };
                let Some((operation, line)) = line else { continue };
                self.ordered[index] = true;
                let running = self.give(index, operation, &line, life)?;
                self.running.push(running);
            }
        }
        let mut index = 0;
        while index < self.running.len() {
            let one = &mut self.running[index];
            let status = one.child.try_wait()?;
            let over = one.since.elapsed();
            if let Some(status) = status {
                let ended = self.running.swap_remove(index);
                self.repeat_if_needed(&ended).await?;
                self.orders_done.push(ended.action(Some(status)));
            } else if one.life.is_some_and(|life| over > life) || over > COMMAND_MAX {
                let mut ended = self.running.swap_remove(index);
                let _ = ended.child.kill().await;
                if ended.life.is_none() {
                    let tail = self.rig.launcher.tail(&ended.log);
                    self.violations.push(format!("I4: `{}` does not come to an end: {tail}", ended.word));
                }
                let word = ended.word.to_owned();
                self.orders_done.push(ended.action(None));
                self.record(word, "some time".to_owned(), false, "killed").await?;
            } else {
                index += 1;
            }
        }
        let orders = self.ordered.iter().zip(&self.plan.orders);
        Ok(self.running.is_empty() && orders.into_iter().all(|(given, order)| *given || order.waits))
    }

    /// A person whose cancel was not heard asks again: some runs end by nothing else.
    async fn repeat_if_needed(&mut self, ended: &Running) -> anyhow::Result<()> {
        let order = &self.plan.orders[ended.order];
        if let (Verb::Cancel(target), None) = (order.verb, order.life_ms) {
            let run = &self.plan.runs[target];
            if self.reader.is_untouched(run.pipeline, &run.date).await? {
                self.ordered[ended.order] = false;
            }
        }
        Ok(())
    }

    /// A person who sees that a run stays paused resumes it, however often that takes. The word of a
    /// `pause` that was killed after it had asked may be carried out after a `resume` was refused.
    pub(super) async fn resume_what_stays_paused(&mut self) -> anyhow::Result<()> {
        for (index, order) in self.plan.orders.iter().enumerate() {
            let Verb::Resume(target) = order.verb else { continue };
            let run = &self.plan.runs[target];
            if self.ordered[index] && self.reader.is_paused(run.pipeline, &run.date).await? {
                self.ordered[index] = false;
            }
        }
        Ok(())
    }

    /// What a verb is called when it is counted, and its command line.
    pub(super) fn command_line(&self, verb: Verb) -> (&'static str, Vec<String>) {
        let run = |target: usize| {
            let run = &self.plan.runs[target];
            format!("{}@{}", run.pipeline, run.date)
        };
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (from, to) = FIRST_DATES;
        let line = match verb {
            Verb::Clear(target, task) => {
                let mut list = words(&["clear", &run(target), "--yes", "--detach"]);
                list.extend(task.into_iter().flat_map(|task| words(&["--task", task])));
                list
            }
            Verb::ClearMany(pipeline, task) => {
                let range = ["clear", pipeline, "--from", from, "--to", to];
                [words(&range), words(&["--task", task, "--yes", "--detach"])].concat()
            }
            Verb::Cancel(target) => words(&["cancel", &run(target)]),
            Verb::CancelTask(target, task) => words(&["cancel", &run(target), "--task", task]),
            Verb::RetryNow(target, task) => words(&["retry-now", &run(target), task]),
            Verb::Mark(target, task, word) => words(&["mark", &run(target), word, "--task", task, "--yes"]),
            Verb::MarkMany(pipeline, task, word) => {
                let range = ["mark", pipeline, word, "--from", from, "--to", to];
                [words(&range), words(&["--task", task, "--yes"])].concat()
            }
            // Its words are found by looking.
            Verb::Resolve(_) => words(&["resolve"]),
            Verb::Pause(target) => words(&["pause", &run(target)]),
            Verb::Resume(target) => words(&["resume", &run(target)]),
            Verb::Backfill(pipeline) => {
                let (from, to) = BACKFILLED;
                words(&["backfill", pipeline, "--from", from, "--to", to, "--yes", "--detach"])
            }
            Verb::Deploy => words(&["deploy"]),
            Verb::Run => {
                let crawler = format!("crawler={}", project::CRAWLERS[2]);
                words(&["run", "line", "--date", WATCHED_DATE, "-p", &crawler])
            }
        };
        (verb.word(), line)
    }

    fn give(
        &self,
        index: usize,
        operation: &'static str,
        line: &[String],
        life: Option<Duration>,
    ) -> anyhow::Result<Running> {
        let word = operation.split(' ').next().unwrap_or(operation);
        let user = format!("rig-{}-{index}-{}", self.plan.seed, self.orders_done.len());
        let log = self.log(&format!("{word}-{index}"));
        let url = self.rig.url_through(&self.rig.command_link, self.database);
        let variables = [("DATABASE_URL", url.as_str()), ("USER", &user), ("LOGNAME", &user)];
        let arguments: Vec<&str> = line.iter().map(String::as_str).collect();
        let child = self.rig.launcher.start(&log, &variables, &arguments)?;
        Ok(Running { child, since: pace::now(), life, word, operation, user, log, order: index })
    }
}

impl Running {
    /// What is left of it once it ended, or was killed.
    fn action(self, status: Option<ExitStatus>) -> Action {
        let Self { user, operation, .. } = self;
        let (confirmed, interrupted) = (status.is_some_and(|status| status.success()), status.is_none());
        Action { user, operation, confirmed, interrupted }
    }
}
