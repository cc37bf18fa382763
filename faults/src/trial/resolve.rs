//! The person who looks after an unconfirmed start, and says only what can be known: what the
//! service's console shows, and that nobody is left who could still send the start.

use std::time::{Duration, Instant};

use super::Stage;
use crate::{
    evidence::Unconfirmed,
    pace,
    plan::{Knowledge, Verb},
};

/// At ratio 1, the age from which a start that nobody confirmed catches somebody's eye: a call that is
/// just under way is no case for a person.
const NOTICED_AFTER_MS: f64 = 30_000.0;
/// The age from which what the console does not show has not arrived: its sender gave up long before,
/// and the service had time, on a busy machine too.
const ARRIVED_AFTER_MS: f64 = 200_000.0;
/// The age up to which a person says anything: soon after, the engine finds out by itself, and may send
/// it again.
const SAID_UNTIL_MS: f64 = 650_000.0;
/// How long ago the last process died: what it had sent has arrived.
const DEATH_ECHO: Duration = Duration::from_millis(500);

impl Stage<'_> {
    /// The command line of an order that waits for something to ask for; nothing yet.
    pub(super) async fn wish(&self, verb: Verb) -> anyhow::Result<Option<(&'static str, Vec<String>)>> {
        match verb {
            Verb::Resolve(knowledge) => self.word_about_a_start(knowledge).await,
            Verb::RetryNow(target, task) => {
                let run = &self.plan.runs[target];
                let waits = self.reader.is_retrying(run.pipeline, &run.date, task).await?;
                Ok(waits.then(|| self.command_line(verb)))
            }
            _ => Ok(Some(self.command_line(verb))),
        }
    }

    /// What is true of some unconfirmed start, as a command.
    async fn word_about_a_start(
        &self,
        knowledge: Knowledge,
    ) -> anyhow::Result<Option<(&'static str, Vec<String>)>> {
        for start in self.reader.unconfirmed().await? {
            let ratio = self.settings.time_ratio;
            let in_time = (NOTICED_AFTER_MS * ratio..SAID_UNTIL_MS * ratio).contains(&start.age_ms);
            if !in_time {
                continue;
            }
            let fact = match knowledge {
                Knowledge::Nothing => Some(("resolve --lost", vec!["--lost".to_owned()])),
                Knowledge::Looked => self.fact(&start).await?,
            };
            if let Some((word, fact)) = fact {
                let number = start.number.to_string();
                // What was seen of this start says nothing of one that is sent by the time the command works.
                let which = ["--attempt", &number, "--sent", &start.sent];
                let mut line = ["resolve", &start.run, &start.task].map(str::to_owned).to_vec();
                line.extend(which.map(str::to_owned));
                line.extend(fact);
                return Ok(Some((word, line)));
            }
        }
        Ok(None)
    }

    /// What a person finds out by looking, if anything. Who could send is asked first: what the console
    /// does not show then, it will never show.
    async fn fact(&self, start: &Unconfirmed) -> anyhow::Result<Option<(&'static str, Vec<String>)>> {
        // Crawls carry no name, and a command's id says nothing.
        if !["glue_job", "athena_query"].contains(&start.operator.as_str()) {
            return Ok(None);
        }
        let nobody = self.nobody_can_send(start);
        let ledger = self.rig.sandbox.ledger(self.ledger_from).await?;
        if let Some(job) = ledger.iter().find(|job| job.marker.as_deref() == Some(&start.token)) {
            return Ok(Some(("resolve --handle", vec!["--handle".to_owned(), job.id.clone()])));
        }
        Ok(nobody.then(|| ("resolve --not-started", vec!["--not-started".to_owned()])))
    }

    fn nobody_can_send(&self, start: &Unconfirmed) -> bool {
        if start.age_ms < ARRIVED_AFTER_MS * self.settings.time_ratio {
            return false;
        }
        let echo = |since: Instant| since.elapsed() < DEATH_ECHO;
        match &start.sender {
            None => false,
            // Its own call is answered, or it was given up: it says so itself.
            Some(sender) if sender.is_owner => start.state == "unknown",
            Some(sender) => {
                let is_it = |pid| self.replicas.iter().flatten().any(|one| one.child.id() == Some(pid));
                let lives = sender.pid.is_some_and(is_it);
                !(lives || self.last_death.is_some_and(echo))
            }
        }
    }

    /// Whether the death of this process was noticed just now.
    pub(super) fn note_death(&mut self) {
        self.last_death = Some(pace::now());
    }
}
