//! What both simulations share: dice, random pipelines, external jobs, and how seeds are counted.

pub(crate) mod pool;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use trunkline_state::{
    ids::{PipelineName, TaskName},
    machine::{AttemptKey, Event},
    pipeline::{
        Catchup, ForEach, Notice, OnEmpty, Overlap, Pipeline, PoolUse, RetryPolicy, Task, TriggerRule,
    },
    run::Failure,
    schedule::DataInterval,
};

/// splitmix64: small, seedable, and all the randomness that there is.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.next() % 100 < share
    }
}

fn for_each(chance: &mut Chance) -> Option<ForEach> {
    chance.percent(20).then(|| ForEach {
        items: json!("{{ params.items }}"),
        max_parallel: u32::try_from(1 + chance.below(3)).unwrap(),
        tolerated_failures: u32::try_from(chance.below(2)).unwrap(),
        on_empty: [OnEmpty::Warn, OnEmpty::Fail, OnEmpty::Skip][chance.below(3)],
    })
}

fn pool(chance: &mut Chance) -> Option<PoolUse> {
    chance.percent(30).then(|| PoolUse {
        name: "small".to_owned(),
        slots: 1 + u32::from(chance.percent(30)),
        priority: 0,
    })
}

/// The list of a mapped task: any length, another one each time.
pub(crate) fn items(chance: &mut Chance) -> Vec<Value> {
    (0..chance.below(5)).map(|index| json!(index)).collect()
}

pub(crate) fn pipeline(chance: &mut Chance) -> Pipeline {
    let count = 1 + chance.below(7);
    let tasks = (0..count)
        .map(|position| {
            let depends_on = (0..position).filter(|_| chance.percent(40)).collect();
            let rule = if chance.percent(60) {
                TriggerRule::AllSuccess
            } else {
                TriggerRule::ALL[chance.below(TriggerRule::ALL.len())]
            };
            Task {
                name: TaskName::new(format!("t{position}")).unwrap(),
                operator: "noop".into(),
                settings: Value::Null,
                depends_on,
                trigger_rule: rule,
                when: None,
                for_each: for_each(chance),
                connection: "aws".into(),
                retry: RetryPolicy {
                    retries: u32::try_from(chance.below(3)).unwrap(),
                    delay: Duration::from_secs(60),
                    backoff: 2.0,
                    delay_max: Duration::from_secs(600),
                    retry_on: Vec::new(),
                },
                timeout: Duration::from_secs(3600),
                poll_interval: Duration::from_secs(30),
                pool: pool(chance),
                // There is no run before: it is always its turn.
                depends_on_past: chance.percent(15),
                outlets: Vec::new(),
            }
        })
        .collect();
    let notice = Notice::to_topic("arn", "aws");
    Pipeline {
        name: PipelineName::new("sim").unwrap(),
        description: String::new(),
        owner: String::new(),
        tags: Vec::new(),
        environment: "local".into(),
        calendar: None,
        timezone: "UTC".into(),
        start_date: None,
        triggers: Vec::new(),
        data_interval: DataInterval::None,
        catchup: Catchup::Last,
        overlap: Overlap::Queue,
        max_active_runs: 1,
        concurrency_group: None,
        run_timeout: chance.percent(10).then(|| Duration::from_secs(7200)),
        retention: None,
        params: indexmap::IndexMap::new(),
        vars: indexmap::IndexMap::new(),
        connections: indexmap::IndexMap::new(),
        secrets: indexmap::IndexMap::new(),
        pools: indexmap::IndexMap::from([("small".to_owned(), pool::SLOTS)]),
        tasks,
        on_success: vec![notice.clone()],
        on_failure: vec![notice],
        deadline: None,
        on_late: Vec::new(),
        on_recovery: Vec::new(),
        on_warning: Vec::new(),
        on_retry: Vec::new(),
    }
}

/// An external job, by the token of its attempt.
pub(crate) struct Job {
    pub(crate) key: AttemptKey,
    pub(crate) ends_at: Timestamp,
    pub(crate) fails: bool,
    pub(crate) stopped: bool,
    pub(crate) ended: bool,
}

pub(crate) fn accepted(attempt: AttemptKey, reattached: bool, awaits_person: bool) -> Event {
    Event::Accepted {
        attempt,
        handle: json!({"id": attempt.number}).into(),
        external_id: attempt.number.to_string(),
        reattached,
        awaits_person,
    }
}

pub(crate) fn report(job: &Job) -> Event {
    let attempt = job.key;
    if job.stopped {
        Event::Stopped { attempt, failure: Failure::new("cancelled", "stopped") }
    } else if job.fails {
        Event::Failed { attempt, failure: Failure::new("failed", "broke"), outcome: Value::Null }
    } else {
        Event::Succeeded { attempt, outcome: json!({"outputs": {"rows": 1}}) }
    }
}

#[expect(clippy::disallowed_methods, reason = "seeds are chosen from outside")]
fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Simulates seeds: `NAME_SEED` says which one, `NAME_SEEDS` how many.
pub(crate) fn each_seed(name: &str, usual: u64, simulate: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let (first, count) = match number_from(&format!("{name}_SEED")) {
        Some(seed) => (seed, 1),
        None => (0, number_from(&format!("{name}_SEEDS")).unwrap_or(usual)),
    };
    for seed in first..first + count {
        let result = std::panic::catch_unwind(|| simulate(seed));
        assert!(result.is_ok(), "seed {seed} failed: repeat it with {name}_SEED={seed}");
    }
}
