//! Turns as the store keeps them, over one run with one pool: what `migrations/0010_turns.sql` does.

use trunkline_state::{
    machine::Upcoming,
    run::Run,
    words::{RunState, TaskState},
};

/// Slots of the one pool; tasks take one or two.
pub(crate) const SLOTS: u32 = 2;

struct Claim {
    next: Upcoming,
    /// Of the newest question: the fence, the run's round.
    asked: (i64, u32),
    slots: u32,
    granted: bool,
}

/// Who waits, in order, and who has slots.
#[derive(Default)]
pub(crate) struct Pool {
    claims: Vec<Claim>,
    /// Slots that another pipeline has.
    rival: u32,
}

impl Pool {
    /// Asks for slots of a run as it is stored.
    /// Questions may overtake each other.
    pub(crate) fn want(&mut self, run: &Run, next: Upcoming, asked: (i64, u32)) {
        if next.task >= run.tasks.len() {
            return;
        }
        let slots = run.pool_of(next.task).map_or(0, |pool| pool.slots);
        let age = |next: Upcoming| (next.generation, next.number);
        if let Some(claim) = self.claims.iter_mut().find(|claim| claim.next.task == next.task) {
            if claim.next == next {
                claim.asked = claim.asked.max(asked);
            }
            if age(claim.next) >= age(next) {
                return;
            }
        }
        self.claims.retain(|claim| claim.next.task != next.task);
        self.claims.push(Claim { next, asked, slots, granted: false });
    }

    /// Grants what is free; what was granted and has not begun.
    pub(crate) fn share_out(&mut self, run: &Run, fence: i64) -> Vec<(Upcoming, u32)> {
        self.claims.retain(|claim| is_live(run, claim.next));
        let mut free = SLOTS - self.taken();
        for claim in self.claims.iter_mut().filter(|claim| !claim.granted) {
            if claim.slots > free {
                break;
            }
            claim.granted = true;
            free -= claim.slots;
        }
        let begun = |claim: &&Claim| run.tasks[claim.next.task].state == TaskState::Queued;
        let granted =
            self.claims.iter().filter(|claim| claim.granted && claim.asked.0 == fence).filter(begun);
        granted.map(|claim| (claim.next, claim.asked.1)).collect()
    }

    /// Another pipeline takes what is free, or gives back what it has.
    pub(crate) fn rival(&mut self, run: &Run, takes: bool) {
        self.claims.retain(|claim| is_live(run, claim.next));
        self.rival = 0;
        if takes {
            self.rival = SLOTS - self.taken();
        }
    }

    fn taken(&self) -> u32 {
        self.rival + self.claims.iter().filter(|claim| claim.granted).map(|claim| claim.slots).sum::<u32>()
    }

    /// No more slots are in use than there are.
    pub(crate) fn check(&self, run: &Run) {
        let under_way = |task: &usize| run.tasks[*task].attempt.is_some();
        let pooled = (0..run.tasks.len()).filter(under_way).filter_map(|task| run.pool_of(task));
        let used = self.rival + pooled.map(|pool| pool.slots).sum::<u32>();
        assert!(used <= SLOTS, "{used} slots of {SLOTS} are in use");
    }
}

fn is_live(run: &Run, next: Upcoming) -> bool {
    let Some(task) = run.tasks.get(next.task).filter(|task| task.generation == next.generation) else {
        return false;
    };
    match task.state {
        TaskState::Queued => task.attempts + 1 == next.number && run.state == RunState::Running,
        TaskState::Running | TaskState::AwaitingApproval => task.attempts == next.number,
        _ => false,
    }
}
