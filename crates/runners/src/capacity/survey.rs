//! What GitHub lists, held against what the machine believes.
//!
//! A list says how things were when it was asked for: a runner that changed since is left alone.

use std::collections::BTreeSet;

use rhumb_types::MonoTime;

use super::{Capacity, Effects, Runner, SeenRunner, State, Survey, names};
use crate::{
    job::RunnerName,
    limits::{BACK_OFF_MIN, RUNNERS_MAX},
};

/// What a list says of a runner that is not on it, or not connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Keep,
    /// It is no more.
    Gone,
    /// It is of no use, and is removed.
    Stop,
    /// Its executor has it, so it is on its way.
    Starting,
}

impl Capacity {
    pub(super) fn surveyed(&mut self, now: MonoTime, survey: &Survey, out: &mut Effects) {
        let state = self.scopes.entry(survey.scope.clone()).or_default();
        state.surveyed = true;
        state.asking = false;
        state.survey_at = now + self.config.survey_interval;
        let tasks = survey.tasks.as_deref().map(names);
        for seen in &survey.runners {
            let runs = tasks.as_ref().map(|tasks| tasks.contains(&seen.name));
            if self.runners.contains_key(&seen.name) {
                self.seen_known(now, survey.asked, seen, runs, out);
            } else {
                self.seen_new(now, seen, runs, out);
            }
        }
        let listed: BTreeSet<&RunnerName> = survey.runners.iter().map(|seen| &seen.name).collect();
        self.orphans(now, survey, &listed, out);
        let missing = self.runners.iter().filter(|(name, runner)| {
            runner.pool.scope == survey.scope
                && !listed.contains(name)
                && runner.since < survey.asked
        });
        let verdict = |name, runner: &Runner| {
            let runs = tasks.as_ref().map(|tasks| tasks.contains(name));
            self.missing(now, runner, runs)
        };
        let verdicts: Vec<(RunnerName, Verdict)> =
            missing.map(|(name, runner)| (name.clone(), verdict(name, runner))).collect();
        for (name, verdict) in verdicts {
            self.carry_out(now, &name, verdict, out);
        }
        self.note_stillness(survey);
        // What was claimed since this list was asked for wants one of its own.
        let claimed =
            |runner: &Runner| runner.state == State::Claimed && runner.pool.scope == survey.scope;
        if self.runners.values().any(claimed)
            && let Some(state) = self.scopes.get_mut(&survey.scope)
        {
            state.survey_at = now + BACK_OFF_MIN;
        }
    }

    /// Whether nothing of this region is left in a scope.
    fn note_stillness(&mut self, survey: &Survey) {
        let none_known = !self.runners.values().any(|runner| runner.pool.scope == survey.scope);
        let none_listed = !survey.runners.iter().any(|seen| seen.here);
        if let Some(state) = self.scopes.get_mut(&survey.scope) {
            state.still = none_known && none_listed && survey.asked > state.stirred;
        }
    }

    fn carry_out(&mut self, now: MonoTime, name: &RunnerName, verdict: Verdict, out: &mut Effects) {
        match verdict {
            Verdict::Keep => {}
            Verdict::Gone => self.gone_unseen(now, name, out),
            Verdict::Stop => self.stop(now, name, out),
            Verdict::Starting => {
                if let Some(runner) = self.runners.get_mut(name) {
                    runner.become_(State::Starting, now);
                    runner.answered = true;
                }
            }
        }
    }

    /// A runner that ended while nobody looked. One that was only claimed may never have been.
    fn gone_unseen(&mut self, now: MonoTime, name: &RunnerName, out: &mut Effects) {
        if self.runners.get(name).is_some_and(|runner| runner.state == State::Claimed) {
            self.runners.remove(name);
        } else {
            self.gone(now, name, out);
        }
    }

    /// A runner that GitHub does not list. It takes runners with one job off its list when that ends.
    fn missing(&self, now: MonoTime, runner: &Runner, runs: Option<bool>) -> Verdict {
        let lingers = now.saturating_since(runner.since) >= self.config.linger;
        match (runner.state, runs) {
            // Its registration is under way.
            (State::Starting, _) if !runner.answered => Verdict::Keep,
            // The stop has its own answer.
            (State::Stopping, _) => Verdict::Keep,
            (State::Claimed, Some(true)) => Verdict::Starting,
            (_, Some(true)) if lingers => Verdict::Stop,
            (_, Some(true)) => Verdict::Keep,
            (_, _) => Verdict::Gone,
        }
    }

    fn seen_known(
        &mut self,
        now: MonoTime,
        asked: MonoTime,
        seen: &SeenRunner,
        runs: Option<bool>,
        out: &mut Effects,
    ) {
        let Some(runner) = self.runners.get_mut(&seen.name) else { return };
        let settled = runner.since < asked;
        if seen.online || seen.busy {
            runner.came = true;
            runner.answered = true;
            let pool = self.pools.entry(runner.pool.clone()).or_default();
            pool.failures = 0;
            match runner.state {
                State::Stopping => {}
                State::Busy if !seen.busy && settled => runner.become_(State::Idle, now),
                State::Busy | State::Idle if !seen.busy => {}
                State::Busy => {}
                _ if seen.busy => runner.become_(State::Busy, now),
                _ => runner.become_(State::Idle, now),
            }
            return;
        }
        let verdict = match (runner.state, runs) {
            (State::Stopping, _) => Verdict::Keep,
            (State::Claimed, Some(true)) => Verdict::Starting,
            // Registered, and nothing runs it here: an earlier process died in between, or the region
            // in which it ran is gone.
            (State::Claimed, _) if settled => Verdict::Stop,
            (State::Idle | State::Busy, Some(false) | None) if settled && runner.came => {
                Verdict::Stop
            }
            _ => Verdict::Keep,
        };
        self.carry_out(now, &seen.name, verdict, out);
    }

    /// A runner of this region that nobody here remembers is taken on; one that cannot work is removed.
    fn seen_new(
        &mut self,
        now: MonoTime,
        seen: &SeenRunner,
        runs: Option<bool>,
        out: &mut Effects,
    ) {
        if !seen.here || self.runners.len() >= RUNNERS_MAX {
            return;
        }
        let state = match (seen.busy, seen.online) {
            (true, _) => State::Busy,
            (false, true) => State::Idle,
            (false, false) => State::Starting,
        };
        let mut runner = Runner::new(seen.pool.clone(), state, now, None);
        runner.answered = true;
        runner.came = seen.online;
        self.runners.insert(seen.name.clone(), runner);
        if state == State::Starting && runs != Some(true) {
            self.stop(now, &seen.name, out);
        }
    }

    /// What an executor runs and neither GitHub nor this machine knows.
    fn orphans(
        &mut self,
        now: MonoTime,
        survey: &Survey,
        listed: &BTreeSet<&RunnerName>,
        out: &mut Effects,
    ) {
        for task in survey.tasks.iter().flatten() {
            let known = listed.contains(&task.name) || self.runners.contains_key(&task.name);
            if !known && task.pool.scope == survey.scope && self.runners.len() < RUNNERS_MAX {
                let runner = Runner::new(task.pool.clone(), State::Stopping, now, None);
                self.runners.insert(task.name.clone(), runner);
                self.stop(now, &task.name, out);
            }
        }
    }
}
