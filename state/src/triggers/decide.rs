//! Which waiting events become runs now, and when to look at the rest again.

use jiff::Timestamp;

use super::{
    BatchLimits,
    gather::{WaitingUpdate, complete},
};

/// An event that has no run yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingEvent<'a> {
    /// The trigger that takes it, by its position.
    pub trigger: usize,
    /// When it came.
    pub received_at: Timestamp,
    /// What of a dataset it tells, if it does.
    pub update: Option<WaitingUpdate<'a>>,
}

/// Which events of a trigger go into one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathering {
    /// Each makes its own.
    Each,
    /// So many, or those of a window of time.
    Batch(BatchLimits),
    /// Those that tell of one interval, once so many different datasets were updated for it.
    Datasets {
        /// How many.
        needed: usize,
    },
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// The runs that are made now: the trigger of each, and its events by their positions.
    pub runs: Vec<(usize, Vec<usize>)>,
    /// When to look again, if anything still waits: the moment at which a batch is over, or the present
    /// where only room is missing.
    pub look_at: Option<Timestamp>,
}

/// Decides for the events of one pipeline, which stand in the order in which they came. `gatherings` has an
/// entry for each trigger, `room` says how many runs may be made.
///
/// A batch is due when it is full, or when its oldest event has waited for the window; datasets, when none is
/// missing, for which no time helps. Where there is less room than runs are due, those with the oldest events come
/// first.
pub fn decide(
    waiting: &[WaitingEvent<'_>],
    gatherings: &[Gathering],
    room: usize,
    now: Timestamp,
) -> Decided {
    let mut due: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut again: Option<Timestamp> = None;
    for (trigger, gathering) in gatherings.iter().enumerate() {
        let own = waiting.iter().enumerate().filter(|(_, event)| event.trigger == trigger);
        let own: Vec<usize> = own.map(|(position, _)| position).collect();
        match gathering {
            Gathering::Each => due.extend(own.into_iter().map(|event| (trigger, vec![event]))),
            Gathering::Datasets { needed } => {
                due.extend(complete(waiting, &own, *needed).into_iter().map(|events| (trigger, events)));
            }
            Gathering::Batch(batch) => {
                let most = usize::try_from(batch.max).unwrap_or(usize::MAX).max(1);
                for events in own.chunks(most) {
                    let over = window_end(waiting, events, *batch);
                    match over.filter(|over| events.len() < most && *over > now) {
                        Some(over) => again = Some(again.map_or(over, |known| known.min(over))),
                        None => due.push((trigger, events.to_vec())),
                    }
                }
            }
        }
    }
    due.sort_by_key(|(_, events)| events.first().copied());
    if due.len() > room {
        due.truncate(room);
        again = Some(now);
    }
    Decided { runs: due, look_at: again }
}

fn window_end(waiting: &[WaitingEvent<'_>], events: &[usize], batch: BatchLimits) -> Option<Timestamp> {
    let oldest = events.iter().map(|position| waiting[*position].received_at).min()?;
    Some(oldest.checked_add(batch.window).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn event(trigger: usize, second: i64) -> WaitingEvent<'static> {
        WaitingEvent { trigger, received_at: at(second), update: None }
    }

    /// For triggers of S3: each event alone, or in batches.
    fn decide(
        waiting: &[WaitingEvent<'_>],
        batches: &[Option<BatchLimits>],
        room: usize,
        now: Timestamp,
    ) -> Decided {
        let gathering = |batch: &Option<BatchLimits>| batch.map_or(Gathering::Each, Gathering::Batch);
        super::decide(waiting, &batches.iter().map(gathering).collect::<Vec<_>>(), room, now)
    }

    fn batch(max: u32, seconds: u64) -> BatchLimits {
        BatchLimits { max, window: Duration::from_secs(seconds) }
    }

    #[test]
    fn without_a_batch_each_event_is_a_run() {
        let decided = decide(&[event(0, 1), event(0, 2)], &[None], 10, at(2));
        assert_eq!(decided, Decided { runs: vec![(0, vec![0]), (0, vec![1])], look_at: None });
    }

    #[test]
    fn a_batch_waits_until_it_is_full_or_its_window_is_over() {
        let waiting = [event(0, 1), event(0, 2), event(0, 3)];
        let decided = decide(&waiting, &[Some(batch(2, 60))], 10, at(3));
        assert_eq!(decided, Decided { runs: vec![(0, vec![0, 1])], look_at: Some(at(63)) });
        let decided = decide(&waiting[2..], &[Some(batch(2, 60))], 10, at(63));
        assert_eq!(decided, Decided { runs: vec![(0, vec![0])], look_at: None });
    }

    #[test]
    fn without_room_everything_waits_and_the_oldest_go_first() {
        let waiting = [event(1, 1), event(0, 2), event(1, 3)];
        assert_eq!(decide(&waiting, &[None, None], 0, at(9)).look_at, Some(at(9)));
        let decided = decide(&waiting, &[None, None], 2, at(9));
        assert_eq!(decided.runs, [(1, vec![0]), (0, vec![1])]);
        assert_eq!(decided.look_at, Some(at(9)));
    }

    fn batches() -> impl Strategy<Value = Vec<Option<BatchLimits>>> {
        let one =
            prop_oneof![Just(None), (1_u32..6, 0_u64..50).prop_map(|(max, window)| Some(batch(max, window)))];
        prop::collection::vec(one, 1..4)
    }

    fn case()
    -> impl Strategy<Value = (Vec<Option<BatchLimits>>, Vec<WaitingEvent<'static>>, usize, Timestamp)> {
        (batches(), prop::collection::vec((0_usize..4, 0_i64..100), 0..40), 0_usize..12, 0_i64..200).prop_map(
            |(batches, mut events, room, now)| {
                events.sort_by_key(|(_, second)| *second);
                let waiting =
                    events.iter().map(|(trigger, second)| event(trigger % batches.len(), *second)).collect();
                (batches, waiting, room, at(now))
            },
        )
    }

    proptest! {
        #[test]
        fn every_event_is_in_one_run_or_waits((batches, waiting, room, now) in case()) {
            let decided = decide(&waiting, &batches, room, now);
            let taken: Vec<usize> = decided.runs.iter().flat_map(|(_, events)| events.clone()).collect();
            let distinct: BTreeSet<usize> = taken.iter().copied().collect();
            prop_assert_eq!(distinct.len(), taken.len(), "no event is in two runs");
            prop_assert!(decided.runs.len() <= room);
            prop_assert_eq!(decided.look_at.is_some(), taken.len() < waiting.len(), "what waits is looked at again");
            for (trigger, events) in &decided.runs {
                let most = batches[*trigger].map_or(1, |batch| batch.max as usize);
                prop_assert!(!events.is_empty() && events.len() <= most);
                prop_assert!(events.iter().all(|event| waiting[*event].trigger == *trigger));
                prop_assert!(events.is_sorted());
                if let Some(batch) = batches[*trigger].filter(|_| events.len() < most) {
                    let over = waiting[events[0]].received_at + batch.window;
                    prop_assert!(over <= now, "a batch that is not full has waited");
                }
            }
        }

        #[test]
        fn looking_again_in_time_leaves_nothing((batches, waiting, _, now) in case()) {
            let (mut left, mut now, mut looks) = (waiting.clone(), now, 0);
            loop {
                let decided = decide(&left, &batches, usize::MAX, now);
                let taken: BTreeSet<usize> = decided.runs.iter().flat_map(|(_, events)| events.clone()).collect();
                let mut position = 0;
                left.retain(|_| {
                    position += 1;
                    !taken.contains(&(position - 1))
                });
                let Some(again) = decided.look_at else { break };
                prop_assert!(again > now, "with room for all, only a window is waited for");
                now = again;
                looks += 1;
                prop_assert!(looks <= batches.len(), "each trigger has one batch that waits");
            }
            prop_assert!(left.is_empty());
        }

        #[test]
        fn the_oldest_are_never_passed_by_their_own_kind((batches, waiting, room, now) in case()) {
            let decided = decide(&waiting, &batches, room, now);
            for (trigger, _) in batches.iter().enumerate() {
                let of = |position: &usize| waiting[*position].trigger == trigger;
                let own: Vec<usize> = (0..waiting.len()).filter(of).collect();
                let taken: Vec<usize> =
                    decided.runs.iter().flat_map(|(_, events)| events.clone()).filter(of).collect();
                prop_assert_eq!(&own[..taken.len()], &taken[..]);
            }
        }
    }
}
