//! Failures that come in crowds. When a warehouse is down, the first runs that fail are told one by
//! one; the rest of the same pipeline waits a minute and comes together.
//!
//! What was told lately stands in the outbox: processes that send notices come and go. Which words
//! the mail has is [`crate::message`]'s.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use trunkline_state::{
    ids::RunId,
    machine::NoticeOutcome,
    schedule::DataInterval,
    store::{Lately, Parcel},
};

use super::{Letter, Shared, Written, chain, outcome, prepare, send_one, target_of, told_by_digest, wanted};
use crate::message::{CrowdReport, crowd_mail};

/// Failures of one pipeline that are told one by one within `crowd_window`: what a person reads
/// before looking at the whole.
const SINGLES_MAX: usize = 5;
/// Runs that one mail tells of; the rest is in the next.
const CROWD_MAX: i64 = 1_000;

/// Which entry of which pipeline's `on_failure`.
type Kind = (String, u64);

/// What becomes of failures of one kind that are due.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// So many have a mail each; the rest waits for others.
    Apart { singly: usize, pause: Duration },
    /// They and all that wait have one mail.
    Together,
}

/// Decides about failures that are due, of which some may have waited already.
fn decide(have_waited: bool, lately: &Lately, now: Timestamp, pause: Duration) -> Verdict {
    if have_waited {
        return Verdict::Together;
    }
    match lately.waiting_until {
        Some(at) => Verdict::Apart {
            singly: 0,
            pause: Duration::try_from(at.duration_since(now)).unwrap_or_default(),
        },
        None => Verdict::Apart { singly: SINGLES_MAX.saturating_sub(lately.mails), pause },
    }
}

/// Takes out of the parcels those that wait for others or go together, and deals with them; the rest
/// is sent one by one.
pub(super) async fn without_crowds(shared: &Arc<Shared>, parcels: Vec<Parcel>) -> Vec<Parcel> {
    let timing = &shared.timing;
    let (mut singles, mut kinds): (Vec<Parcel>, HashMap<Kind, Vec<Parcel>>) = Default::default();
    for parcel in parcels {
        match kind_of(shared, &parcel).await {
            Some(kind) => kinds.entry(kind).or_default().push(parcel),
            None => singles.push(parcel),
        }
    }
    for (kind, mut alike) in kinds {
        let (pipeline, index) = &kind;
        let lately = match shared.store.told_lately(pipeline, *index, timing.crowd_window).await {
            Ok(lately) => lately,
            Err(error) => {
                tracing::warn!("could not read the outbox: {}", chain(&error));
                singles.append(&mut alike);
                continue;
            }
        };
        let have_waited = alike.iter().any(|parcel| parcel.has_waited);
        match decide(have_waited, &lately, shared.now(), timing.crowd_pause) {
            Verdict::Apart { singly, pause } => {
                let held = alike.split_off(singly.min(alike.len()));
                singles.append(&mut alike);
                for parcel in &held {
                    if let Err(error) = shared.store.hold_parcel(parcel, pause).await {
                        tracing::warn!("could not put off notice {}: {}", parcel.dedupe_key, chain(&error));
                    }
                }
            }
            Verdict::Together => {
                match shared.store.take_failures(pipeline, *index, CROWD_MAX, timing.parcel_hold).await {
                    Ok(others) => alike.extend(others),
                    Err(error) => tracing::warn!("could not read the outbox: {}", chain(&error)),
                }
                // One alone has its own words.
                if alike.len() == 1 {
                    singles.append(&mut alike);
                } else {
                    send_together(shared, &alike).await;
                }
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
            Some(_) => shared.store.parcel_told_with(parcel, first).await,
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

    #[test]
    fn the_first_are_told_singly_and_the_rest_together() {
        let (now, pause) = (Timestamp::from_second(1_800_000_000).unwrap(), Duration::from_secs(60));
        let lately = |mails, waiting: Option<i64>| Lately {
            mails,
            waiting_until: waiting.map(|seconds| now + jiff::SignedDuration::from_secs(seconds)),
        };
        let decide = |waited, lately: Lately| decide(waited, &lately, now, pause);
        assert_eq!(decide(false, lately(0, None)), Verdict::Apart { singly: 5, pause });
        assert_eq!(decide(false, lately(3, None)), Verdict::Apart { singly: 2, pause });
        assert_eq!(decide(false, lately(5, None)), Verdict::Apart { singly: 0, pause });
        assert_eq!(
            decide(false, lately(0, Some(20))),
            Verdict::Apart { singly: 0, pause: pause / 3 },
            "all come due at one moment"
        );
        assert_eq!(decide(true, lately(5, Some(20))), Verdict::Together);
    }
}
