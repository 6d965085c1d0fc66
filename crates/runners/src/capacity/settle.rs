//! Levels: what is missing is started, what is too much is stopped, what is silent is asked about.

use std::collections::BTreeSet;

use rhumb_types::MonoTime;

use super::{Capacity, Effect, Effects, PoolId, Runner, State};
use crate::{
    job::{JobRef, RunnerName},
    limits::RUNNERS_MAX,
};

impl Capacity {
    pub(super) fn settle(&mut self, now: MonoTime, out: &mut Effects) {
        self.give_up_on_late(now, out);
        self.stop_again(now, out);
        let pools: BTreeSet<PoolId> = self
            .jobs
            .values()
            .map(|job| &job.pool)
            .chain(self.runners.values().map(|runner| &runner.pool))
            .cloned()
            .collect();
        self.pools.retain(|pool, _| pools.contains(pool));
        for pool in &pools {
            self.level(now, pool, out);
        }
        self.ask(now, out);
        self.survey(now, out);
    }

    /// Runners that never came are removed, and count as starts that failed.
    fn give_up_on_late(&mut self, now: MonoTime, out: &mut Effects) {
        let late = |runner: &Runner| {
            runner.state == State::Starting
                && runner.answered
                && now.saturating_since(runner.since) >= self.config.start_timeout
        };
        let late = self.runners.iter().filter(|(_, runner)| late(runner));
        let late: Vec<RunnerName> = late.map(|(name, _)| name.clone()).collect();
        for name in late {
            if let Some(runner) = self.runners.get(&name) {
                self.pools.entry(runner.pool.clone()).or_default().back_off(now);
            }
            self.stop(now, &name, out);
        }
    }

    fn stop_again(&mut self, now: MonoTime, out: &mut Effects) {
        for (name, runner) in &mut self.runners {
            if runner.again_at.is_some_and(|at| at <= now) {
                runner.again_at = None;
                out.push(Effect::Stop { name: name.clone(), pool: runner.pool.clone() });
            }
        }
    }

    pub(super) fn stop(&mut self, now: MonoTime, name: &RunnerName, out: &mut Effects) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        runner.become_(State::Stopping, now);
        out.push(Effect::Stop { name: name.clone(), pool: runner.pool.clone() });
    }

    fn level(&mut self, now: MonoTime, pool: &PoolId, out: &mut Effects) {
        let waiting = self.jobs.values().filter(|job| !job.running && job.pool == *pool).count();
        let free = |runner: &&Runner| runner.pool == *pool && runner.state.is_free();
        let have = self.runners.values().filter(free).count();
        let state = self.pools.entry(pool.clone()).or_default();
        if have <= waiting {
            state.surplus_since = None;
            if have < waiting {
                self.start(now, pool, waiting - have, out);
            }
            return;
        }
        let since = *state.surplus_since.get_or_insert(now);
        if now.saturating_since(since) >= self.config.surplus_grace {
            state.surplus_since = None;
            self.stop_surplus(now, pool, have - waiting, out);
        }
    }

    /// Starts up to so many runners, as far as the bounds allow.
    fn start(&mut self, now: MonoTime, pool: &PoolId, missing: usize, out: &mut Effects) {
        let surveyed = self.scopes.get(&pool.scope).is_some_and(|scope| scope.surveyed);
        let backing_off = self.pools.get(pool).is_some_and(|state| now < state.not_before);
        if !surveyed || backing_off {
            return;
        }
        let limits = self.config.set(&pool.set);
        let of_set = || self.runners.values().filter(|runner| runner.pool.set == pool.set);
        let starting = of_set().filter(|runner| runner.state == State::Starting).count();
        let room = limits
            .runners_max
            .saturating_sub(of_set().count())
            .min(limits.starting_max.saturating_sub(starting))
            .min(RUNNERS_MAX.saturating_sub(self.runners.len()));
        for _ in 0..missing.min(room) {
            let Some(job) = self.neediest(pool) else { return };
            self.start_for(now, pool, job, out);
        }
    }

    /// The waiting job for which the fewest runners were started, and of these the oldest.
    fn neediest(&self, pool: &PoolId) -> Option<JobRef> {
        let waiting = self.jobs.iter().filter(|(_, job)| !job.running && job.pool == *pool);
        let first = waiting.min_by_key(|(_, job)| (job.next_ordinal, job.arrival));
        first.map(|(job, _)| *job)
    }

    fn start_for(&mut self, now: MonoTime, pool: &PoolId, job: JobRef, out: &mut Effects) {
        let Some(state) = self.jobs.get_mut(&job) else { return };
        let ordinal = state.next_ordinal;
        state.next_ordinal = ordinal.saturating_add(1);
        let name = job.runner(ordinal);
        // A list may have shown it before its number was known here.
        if self.runners.contains_key(&name) {
            return;
        }
        let runner = Runner::new(pool.clone(), State::Starting, now, Some(job));
        self.runners.insert(name.clone(), runner);
        out.push(Effect::Start { pool: pool.clone(), job, ordinal, name });
    }

    /// Stops idle runners first, the youngest before the others, then those that are not there yet.
    fn stop_surplus(&mut self, now: MonoTime, pool: &PoolId, surplus: usize, out: &mut Effects) {
        let free = self.runners.iter().filter(|(_, runner)| {
            runner.pool == *pool
                && (runner.state == State::Idle
                    || (runner.state == State::Starting && runner.answered))
        });
        let mut free: Vec<(bool, MonoTime, RunnerName)> = free
            .map(|(name, runner)| (runner.state == State::Idle, runner.since, name.clone()))
            .collect();
        free.sort_unstable();
        for (_, _, name) in free.into_iter().rev().take(surplus) {
            self.stop(now, &name, out);
        }
    }

    fn ask(&mut self, now: MonoTime, out: &mut Effects) {
        for (job, state) in &mut self.jobs {
            if state.ask_at <= now {
                state.asked(now);
                out.push(Effect::Ask { job: *job });
            }
        }
    }

    fn survey(&mut self, now: MonoTime, out: &mut Effects) {
        let used = |scope: &super::Scope| {
            self.jobs.values().any(|job| job.pool.scope == *scope)
                || self.runners.values().any(|runner| runner.pool.scope == *scope)
        };
        let due = self.scopes.iter().filter(|(scope, state)| {
            !state.asking && state.survey_at <= now && (!state.still || used(scope))
        });
        let due: Vec<super::Scope> = due.map(|(scope, _)| scope.clone()).collect();
        for scope in due {
            if let Some(state) = self.scopes.get_mut(&scope) {
                state.asking = true;
                out.push(Effect::Survey { scope });
            }
        }
    }
}
