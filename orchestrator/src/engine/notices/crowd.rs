//! Failures that come in crowds. When a warehouse is down, the first runs that fail are told one by
//! one; the rest of the same pipeline comes together, at most one mail a minute.
//!
//! What was told lately is kept in memory only: a server that begins anew sends a few mails more.
//! Which words the mail has is [`crate::message`]'s.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use trunkline_state::{ids::RunId, machine::NoticeOutcome, schedule::DataInterval, store::Parcel};

use super::{Letter, Shared, Written, chain, outcome, prepare, send_one, target_of, told_by_digest, wanted};
use crate::{
    engine::timing::Timing,
    message::{CrowdReport, crowd_mail},
};

/// Failures of one pipeline that are told one by one within [`Timing::crowd_window`]: what a person
/// reads before looking at the whole.
const SINGLES_MAX: usize = 5;
/// Runs that one mail tells of; the rest is in the next.
const CROWD_MAX: i64 = 1_000;

/// Which entry of which pipeline's `on_failure`.
type Kind = (String, u64);

/// What was told lately of which kind.
#[derive(Debug, Default)]
pub(in crate::engine) struct Crowds(HashMap<Kind, Crowd>);

#[derive(Debug, Default)]
struct Crowd {
    told_at: VecDeque<Timestamp>,
    held_until: Option<Timestamp>,
}

/// What becomes of failures of one kind that are due.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Each has its mail.
    Singly,
    /// They wait for others.
    Held(Duration),
    /// They and all that wait have one mail.
    Together,
}

impl Crowds {
    fn decide(&mut self, kind: &Kind, count: usize, now: Timestamp, timing: &Timing) -> Verdict {
        let since = now.checked_sub(timing.crowd_window).unwrap_or(Timestamp::MIN);
        self.0.retain(|_, crowd| crowd.is_news(since));
        self.0.entry(kind.clone()).or_default().decide(count, now, timing.crowd_pause)
    }
}

impl Crowd {
    /// Forgets what is long past; whether anything is left.
    fn is_news(&mut self, since: Timestamp) -> bool {
        while self.told_at.front().is_some_and(|at| *at < since) {
            self.told_at.pop_front();
        }
        self.held_until.is_some() || !self.told_at.is_empty()
    }

    fn decide(&mut self, count: usize, now: Timestamp, pause: Duration) -> Verdict {
        match self.held_until {
            Some(at) if at > now => {
                Verdict::Held(Duration::try_from(at.duration_since(now)).unwrap_or(pause))
            }
            Some(_) => {
                self.held_until = None;
                self.told_at.push_back(now);
                if count == 1 { Verdict::Singly } else { Verdict::Together }
            }
            None if self.told_at.len() + count <= SINGLES_MAX => {
                self.told_at.extend(std::iter::repeat_n(now, count));
                Verdict::Singly
            }
            None => {
                self.held_until = Some(now.checked_add(pause).unwrap_or(now));
                Verdict::Held(pause)
            }
        }
    }
}

/// Takes out of the parcels those that wait for others or go together, and deals with them; the rest
/// is sent one by one.
pub(super) async fn without_crowds(
    shared: &Arc<Shared>,
    crowds: &mut Crowds,
    parcels: Vec<Parcel>,
) -> Vec<Parcel> {
    let (mut singles, mut kinds): (Vec<Parcel>, HashMap<Kind, Vec<Parcel>>) = Default::default();
    for parcel in parcels {
        match kind_of(shared, &parcel).await {
            Some(kind) => kinds.entry(kind).or_default().push(parcel),
            None => singles.push(parcel),
        }
    }
    for (kind, mut alike) in kinds {
        match crowds.decide(&kind, alike.len(), shared.now(), &shared.timing) {
            Verdict::Singly => singles.append(&mut alike),
            Verdict::Held(pause) => {
                for parcel in &alike {
                    if let Err(error) = shared.store.hold_parcel(parcel, pause).await {
                        tracing::warn!("could not put off notice {}: {}", parcel.dedupe_key, chain(&error));
                    }
                }
            }
            Verdict::Together => {
                let (pipeline, index) = &kind;
                let hold = shared.timing.parcel_hold;
                match shared.store.take_failures(pipeline, *index, CROWD_MAX, hold).await {
                    Ok(others) => alike.extend(others),
                    Err(error) => tracing::warn!("could not read the outbox: {}", chain(&error)),
                }
                send_together(shared, &alike).await;
            }
        }
    }
    singles
}

/// The kind of a parcel that may be one of a crowd: about a run that failed, of which no digest tells.
async fn kind_of(shared: &Arc<Shared>, parcel: &Parcel) -> Option<Kind> {
    let (run, pipeline) = parcel.run.zip(parcel.pipeline.clone())?;
    if outcome(&parcel.payload).ok()? != NoticeOutcome::Failure {
        return None;
    }
    let told = told_by_digest(shared, run, &parcel.payload).await.ok()?;
    let index = parcel.payload.get("index").and_then(serde_json::Value::as_u64)?;
    told.is_none().then_some((pipeline, index))
}

async fn send_together(shared: &Arc<Shared>, alike: &[Parcel]) {
    let [first, rest @ ..] = alike else { return };
    let written = letter(shared, alike).await.map(|letter| Written::Letter(Box::new(letter)));
    let told = send_one(shared, first, written).await;
    for parcel in rest {
        let recorded = match &told {
            Some(provider_id) => shared.store.parcel_sent(parcel, provider_id).await,
            None => shared.store.hold_parcel(parcel, shared.timing.notice_retry).await,
        };
        if let Err(error) = recorded {
            tracing::warn!("could not record what became of notice {}: {}", parcel.dedupe_key, chain(&error));
        }
    }
}

async fn letter(shared: &Arc<Shared>, alike: &[Parcel]) -> Result<Letter, String> {
    let runs: Vec<RunId> = alike.iter().filter_map(|parcel| parcel.run).collect();
    let first = alike.first().zip(runs.first()).ok_or("no run is told of")?;
    let run = shared.store.read_run(*first.1).await.map_err(|error| chain(&error))?;
    let failed = shared.store.first_failures(&runs).await.map_err(|error| chain(&error))?;
    let pipeline = &run.definition.pipeline;
    let notice = wanted(pipeline, &first.0.payload)?.clone();
    let cx = prepare::render_context(&run, None);
    let templates = shared.templates(&run.definition);
    let render = |text: &String| templates.render_text(text, &cx).map_err(|error| error.to_string());
    let report = CrowdReport {
        environment: pipeline.environment.clone(),
        pipeline: pipeline.name.to_string(),
        has_dates: pipeline.data_interval != DataInterval::None,
        failed: failed.into_iter().map(|row| (row.key.clone(), row.words())).collect(),
        owner: pipeline.owner.clone(),
    };
    Ok(Letter {
        target: target_of(&notice, &render)?,
        mail: crowd_mail(&report),
        run: None,
        links: Vec::new(),
        connection: notice.connection,
        clients: shared.clients(&run.definition),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn the_first_are_told_singly_and_the_rest_once_a_minute() {
        let (mut crowds, timing) = (Crowds::default(), Timing::default());
        let kind = ("daily".to_owned(), 0);
        let mut decide = |count, second| crowds.decide(&kind, count, at(second), &timing);
        assert_eq!(decide(3, 0), Verdict::Singly);
        assert_eq!(decide(2, 1), Verdict::Singly);
        assert_eq!(decide(1, 2), Verdict::Held(PAUSE));
        assert_eq!(decide(30, 32), Verdict::Held(PAUSE / 2), "they all come due at one moment");
        assert_eq!(decide(20, 62), Verdict::Together);
        assert_eq!(decide(4, 63), Verdict::Held(PAUSE));
        assert_eq!(decide(1, 123), Verdict::Singly, "one alone has its own words");
        // Ten minutes later it is news again.
        assert_eq!(decide(1, 800), Verdict::Singly);
    }

    #[test]
    fn one_pipeline_does_not_hide_another() {
        let (mut crowds, timing) = (Crowds::default(), Timing::default());
        let other = ("full".to_owned(), 0);
        assert_eq!(crowds.decide(&("daily".to_owned(), 0), 50, at(0), &timing), Verdict::Held(PAUSE));
        assert_eq!(crowds.decide(&other, 1, at(0), &timing), Verdict::Singly);
        assert_eq!(crowds.0.len(), 2);
        crowds.decide(&other, 1, at(100_000), &timing);
        assert_eq!(crowds.0.len(), 2, "what is held is not forgotten");
    }
}
