//! The queues against a small model of what a queue is: whatever is asked, in whatever order, with
//! restarts in between.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use rhumb_queue::{Answer, Ask, Leased, NewJob, Receipt, Refused, Retry};
use rhumb_types::record::{JobId, QueueDefinition};

use crate::rig::{Rig, created};

#[derive(Clone, Debug)]
enum Step {
    Enqueue { priority: u8, delay: u64 },
    Receive { jobs: usize, seconds: u64 },
    Complete(usize),
    Fail { lease: usize, retry_after: u64 },
    Extend { lease: usize, seconds: u64 },
    Release(usize),
    Wait(u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..3, prop_oneof![4 => Just(0_u64), 1 => 1_u64..20])
            .prop_map(|(priority, delay)| Step::Enqueue { priority, delay }),
        5 => (1_usize..4, prop_oneof![3 => 5_u64..30, 1 => 31_u64..100])
            .prop_map(|(jobs, seconds)| Step::Receive { jobs, seconds }),
        3 => any::<usize>().prop_map(Step::Complete),
        2 => (any::<usize>(), 0_u64..10)
            .prop_map(|(lease, retry_after)| Step::Fail { lease, retry_after }),
        2 => (any::<usize>(), 1_u64..60)
            .prop_map(|(lease, seconds)| Step::Extend { lease, seconds }),
        1 => any::<usize>().prop_map(Step::Release),
        3 => (1_u64..25).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// Where the model has a job.
#[derive(Clone, PartialEq, Debug)]
enum State {
    /// Since a time in seconds.
    Waiting {
        from: u64,
    },
    /// Until a time in seconds.
    Leased {
        until: u64,
        receipt: Receipt,
    },
    /// A worker has it until its lease ends, and it is held back until a later time at most.
    Unknown {
        ends: u64,
        latest: u64,
    },
    Done,
}

#[derive(Default)]
struct Model {
    now: u64,
    jobs: BTreeMap<JobId, (u8, u64, State)>,
    order: u64,
    receipts: Vec<Receipt>,
    /// Until when a restart may hold waiting jobs back.
    held_until: u64,
    /// Whether the frontier from before a restart is still the one that is durable: the first answer after
    /// it may hold no more than that allowed.
    old_frontier: bool,
}

impl Model {
    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        for (_, _, state) in self.jobs.values_mut() {
            match state {
                State::Leased { until, .. } if *until <= self.now => {
                    *state = State::Waiting { from: self.now };
                }
                State::Unknown { latest, .. } if *latest <= self.now => {
                    *state = State::Waiting { from: self.now };
                }
                _ => {}
            }
        }
    }

    /// The jobs that may be leased now, in the order in which they ought to be.
    fn ready(&self) -> Vec<JobId> {
        let ready = self.jobs.iter().filter(
            |(_, (_, _, state))| matches!(state, State::Waiting { from } if *from <= self.now),
        );
        let mut ready: Vec<_> =
            ready.map(|(id, (priority, order, _))| (9 - priority, *order, *id)).collect();
        ready.sort_unstable();
        ready.into_iter().map(|(_, _, id)| id).collect()
    }

    /// Whether a job may be leased now, if it is not held back.
    fn may(&self, id: &JobId) -> bool {
        match self.jobs.get(id).map(|(_, _, state)| state) {
            Some(State::Waiting { from }) => *from <= self.now,
            Some(State::Unknown { ends, .. }) => *ends <= self.now,
            _ => false,
        }
    }

    fn received(&mut self, leased: &[Leased], jobs: usize, seconds: u64) {
        let ready = self.ready();
        let got: Vec<JobId> = leased.iter().map(|it| it.receipt.key.id).collect();
        // A lease that is longer than the queue's own is given one at a time.
        let most = if seconds > 30 { 1 } else { jobs };
        if self.now >= self.held_until {
            let mut expected: Vec<JobId> = ready.iter().copied().take(most).collect();
            if std::mem::take(&mut self.old_frontier) && !got.is_empty() {
                expected.truncate(got.len());
            }
            assert_eq!(got, expected, "the first that are ready, in their order");
        } else {
            assert!(got.iter().all(|id| self.may(id)), "{got:?} of {ready:?}");
        }
        for it in leased {
            let receipt = it.receipt.clone();
            self.receipts.push(receipt.clone());
            let state = State::Leased { until: self.now + seconds, receipt };
            self.jobs.get_mut(&it.receipt.key.id).unwrap().2 = state;
        }
    }

    fn is_live(&self, receipt: &Receipt) -> bool {
        let state = self.jobs.get(&receipt.key.id).map(|(_, _, state)| state);
        matches!(state, Some(State::Leased { receipt: live, .. }) if live == receipt)
    }

    fn set(&mut self, receipt: &Receipt, state: State) {
        self.jobs.get_mut(&receipt.key.id).unwrap().2 = state;
    }

    fn restart(&mut self) {
        self.old_frontier = true;
        self.held_until = self.held_until.max(self.now + 63);
        for (_, _, state) in self.jobs.values_mut() {
            let ends = match state {
                State::Leased { until, .. } => *until,
                State::Unknown { ends, .. } => *ends,
                State::Waiting { .. } | State::Done => continue,
            };
            // The longest that a row speaks of here, with the drift of both.
            *state = State::Unknown { ends, latest: self.now + 110 };
            self.held_until = self.now + 110;
        }
    }
}

fn pick(model: &Model, nth: usize) -> Option<Receipt> {
    let receipts = &model.receipts;
    (!receipts.is_empty()).then(|| receipts[nth % receipts.len()].clone())
}

fn check(result: &Result<(), Refused>, live: bool) {
    match result {
        Ok(()) => assert!(live, "only the live receipt counts"),
        Err(refused) => {
            assert!(!live && matches!(refused, Refused::Stale | Refused::Gone), "{refused}");
        }
    }
}

fn step(rig: &mut Rig, model: &mut Model, step: &Step) {
    match *step {
        Step::Enqueue { priority, delay } => {
            let wait = (delay > 0).then(|| Duration::from_secs(delay));
            let job = NewJob { priority, delay: wait, ..rig.job() };
            let id = created(rig.enqueue("q", job));
            model.order += 1;
            let state = State::Waiting { from: model.now + delay };
            model.jobs.insert(id, (priority, model.order, state));
        }
        Step::Receive { jobs, seconds } => {
            let leased = rig.receive_for("q", jobs, Some(seconds));
            model.received(&leased, jobs, seconds);
        }
        Step::Complete(nth) => {
            let Some(receipt) = pick(model, nth) else { return };
            let live = model.is_live(&receipt);
            check(&rig.complete(receipt.clone()), live);
            if live {
                model.set(&receipt, State::Done);
            }
        }
        Step::Fail { lease, retry_after } => {
            let Some(receipt) = pick(model, lease) else { return };
            let live = model.is_live(&receipt);
            let ask = Ask::Fail {
                receipt: receipt.clone(),
                why: "no".to_owned(),
                retry: Retry::After(Duration::from_secs(retry_after)),
            };
            check(&rig.answer(ask).map(settled), live);
            if live {
                model.set(&receipt, State::Waiting { from: model.now + retry_after });
            }
        }
        Step::Extend { lease, seconds } => {
            let Some(receipt) = pick(model, lease) else { return };
            let live = model.is_live(&receipt);
            let visibility = Duration::from_secs(seconds);
            check(
                &rig.answer(Ask::Extend { receipt: receipt.clone(), visibility }).map(settled),
                live,
            );
            if live {
                let until = model.now + seconds;
                model.set(&receipt.clone(), State::Leased { until, receipt });
            }
        }
        Step::Release(nth) => {
            let Some(receipt) = pick(model, nth) else { return };
            let live = model.is_live(&receipt);
            check(&rig.answer(Ask::Release { receipt: receipt.clone() }).map(settled), live);
            if live {
                model.set(&receipt, State::Waiting { from: model.now });
            }
        }
        Step::Wait(seconds) => {
            rig.wait(seconds);
            model.wait(seconds);
        }
        Step::Restart => {
            rig.restart(1);
            model.restart();
        }
    }
}

fn settled(answer: Answer) {
    assert_eq!(answer, Answer::Settled);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_queues_do_as_the_model_does(all in proptest::collection::vec(steps(), 1..60)) {
        let mut rig = Rig::new(&[("q", QueueDefinition::default())]);
        let mut model = Model::default();
        for one in &all {
            step(&mut rig, &mut model, one);
        }
        // In the end everything that did not end is there to be leased.
        rig.wait(250);
        model.wait(250);
        let left = model.jobs.values().filter(|(_, _, state)| *state != State::Done).count();
        let stats = rig.stats("q");
        prop_assert_eq!((stats.ready, stats.leased, stats.held), (left as u64, 0, 0));
    }
}
