//! Runs, on all cores.

use std::{
    cmp::Reverse,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, anyhow};
use rhumb_rehearse::{
    Run, RunError,
    outcome::{Outcome, Series},
};

use super::{
    Shared, interrupt,
    progress::{LOOK_INTERVAL, Progress},
};

/// A rehearsal and a seed.
pub(super) type Job = (Shared, u64);

/// What came of some jobs.
#[derive(Debug)]
pub(super) struct Done {
    /// In the order of the jobs; nothing of those that were not run to their end.
    pub(super) outcomes: Vec<Option<Outcome>>,
    /// Whether somebody stopped it.
    pub(super) stopped: bool,
}

/// What came so far. Only the worst run keeps its course, so that many runs need little memory.
struct Outcomes {
    all: Vec<Option<Outcome>>,
    worst: Option<usize>,
}

impl Outcomes {
    fn add(&mut self, nth: usize, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else { return };
        // Of equals the first, in whatever order they come.
        let rank = |nth: usize, it: &Outcome| (it.badness(), Reverse(nth));
        let worst = self.worst.and_then(|nth| Some((nth, self.all.get(nth)?.as_ref()?)));
        let is_worst = worst.is_none_or(|(known, it)| rank(nth, &outcome) > rank(known, it));
        let beaten = if is_worst { self.worst.replace(nth) } else { Some(nth) };
        if let Some(place) = self.all.get_mut(nth) {
            *place = Some(outcome);
        }
        let beaten = beaten.and_then(|nth| self.all.get_mut(nth)?.as_mut());
        if let Some(beaten) = beaten {
            beaten.series = Series::default();
        }
    }
}

/// What the threads share.
struct Work {
    jobs: Vec<Job>,
    next: AtomicUsize,
    simulated_millis: AtomicU64,
    stop: Arc<AtomicBool>,
}

/// Runs jobs, until all are done or somebody stops it.
pub(super) fn all(jobs: Vec<Job>) -> Result<Done> {
    Runs::new()?.all(jobs)
}

/// Runs, one set after another.
#[derive(Debug)]
pub(super) struct Runs {
    stop: Arc<AtomicBool>,
    progress: Progress,
}

impl Runs {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { stop: interrupt::watch()?, progress: Progress::new() })
    }

    /// Runs jobs, until all are done or somebody stops it.
    pub(super) fn all(&mut self, jobs: Vec<Job>) -> Result<Done> {
        let count = jobs.len();
        let work = Arc::new(Work {
            jobs,
            next: AtomicUsize::new(0),
            simulated_millis: AtomicU64::new(0),
            stop: self.stop.clone(),
        });
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (tell, told) = sync_channel(count.max(1));
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        for _ in 0..cores.min(count) {
            let (work, tell) = (work.clone(), tell.clone());
            threads.push(thread::Builder::new().spawn(move || work.take(&tell))?);
        }
        drop(tell);
        let mut outcomes = Outcomes { all: vec![None; count], worst: None };
        let mut done = 0;
        loop {
            match told.recv_timeout(LOOK_INTERVAL) {
                Ok((nth, outcome)) => {
                    outcomes.add(nth, outcome.inspect_err(|_| self.progress.end())?);
                    done += 1;
                }
                // A run may be in the middle of a long step; the process ends before it.
                Err(RecvTimeoutError::Timeout) if self.is_stopped() => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let simulated = Duration::from_millis(work.simulated_millis.load(Ordering::Relaxed));
            self.progress.show(done, count, simulated);
        }
        self.progress.end();
        if !self.is_stopped() {
            for thread in threads {
                thread.join().map_err(|_| anyhow!("a run ended by itself; this is a bug"))?;
            }
        }
        Ok(Done { outcomes: outcomes.all, stopped: self.is_stopped() })
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Work {
    /// Runs jobs that nobody else has begun.
    fn take(&self, tell: &SyncSender<(usize, Result<Option<Outcome>, RunError>)>) {
        loop {
            let nth = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((rehearsal, seed)) = self.jobs.get(nth) else { return };
            let outcome = self.run(rehearsal, *seed);
            let ended = matches!(outcome, Ok(None) | Err(_));
            // Nobody listens any more once a run has failed.
            if tell.send((nth, outcome)).is_err() || ended {
                return;
            }
        }
    }

    /// Nothing when it was stopped.
    fn run(&self, rehearsal: &Shared, seed: u64) -> Result<Option<Outcome>, RunError> {
        let mut run = Run::new(rehearsal, seed)?;
        let mut passed = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(time) = run.step() else { return Ok(Some(run.outcome())) };
            let now = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            self.simulated_millis.fetch_add(now - passed, Ordering::Relaxed);
            passed = now;
        }
        Ok(None)
    }
}
