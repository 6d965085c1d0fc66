//! What is counted in a run.

use std::time::Duration;

use crate::{
    outcome::{Counts, Latencies},
    time::{Micros, SECOND, micros, place},
};

/// Most windows in which failures are counted.
const WINDOWS_MAX: Micros = 100_000;
/// How many standard deviations of chance failures may exceed what they were before a fault.
const CHANCE: f64 = 5.0;
/// How far back the share of failures before a fault is looked at, in windows.
const BEFORE_WINDOWS: usize = 60;

/// The requests of a population that were asked in one window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    asked: u32,
    failed: u32,
    /// When the last that failed was asked, after the window's start.
    last_failed: u32,
}

/// A stretch of time in which a group asked and nobody was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    pub(crate) from: Micros,
    pub(crate) until: Micros,
}

/// A group of clients, as its gaps are seen.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    answered: Micros,
    /// Since something failed and nothing was answered.
    without: Option<Without>,
    /// Requests without an end of which a try has failed: somebody waits.
    waiting: u32,
}

/// A group goes without answers.
#[derive(Clone, Copy, Debug)]
struct Without {
    /// Since when.
    since: Micros,
    /// When somebody waited in vain last.
    failed: Micros,
}

impl Without {
    /// The time in which it waited: what comes after the last failure does not count where nobody did until
    /// a request that was answered at once.
    const fn until(self, until: Micros, asked: Micros, waiting: u32) -> Stretch {
        let until = if asked > self.failed && waiting == 0 { self.failed } else { until };
        Stretch { from: self.since, until }
    }
}

/// What became of the requests, by populations and groups. Times are from the start.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) counts: Counts,
    pub(crate) latency: Latencies,
    window: Micros,
    populations: Vec<Vec<Window>>,
    groups: Vec<Group>,
}

/// One request that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) population: usize,
    pub(crate) group: usize,
    pub(crate) asked: Micros,
    pub(crate) weight: u64,
    /// Whether a try of it has failed.
    pub(crate) retried: bool,
}

impl Books {
    pub(crate) fn new(populations: usize, groups: usize, lasting: Duration) -> Self {
        Self {
            counts: Counts::default(),
            latency: Latencies::default(),
            window: (micros(lasting) / WINDOWS_MAX).max(SECOND),
            populations: vec![Vec::new(); populations],
            groups: vec![Group::default(); groups],
        }
    }

    fn window_of(&mut self, ended: Ended) -> Option<(&mut Window, u32)> {
        let nth = place(ended.asked / self.window);
        let after = u32::try_from(ended.asked % self.window).unwrap_or(u32::MAX);
        let windows = self.populations.get_mut(ended.population)?;
        if windows.len() <= nth {
            windows.resize(nth + 1, Window::default());
        }
        Some((windows.get_mut(nth)?, after))
    }

    /// A request was answered; gives the stretch without answers that this ends.
    pub(crate) fn answered(&mut self, ended: Ended, now: Micros) -> Option<Stretch> {
        self.latency.add_many(Duration::from_micros(now - ended.asked), ended.weight);
        if let Some((window, _)) = self.window_of(ended) {
            window.asked += 1;
        }
        let group = self.groups.get_mut(ended.group)?;
        group.answered = now;
        group.waiting = group.waiting.saturating_sub(u32::from(ended.retried));
        let waiting = group.waiting;
        group.without.take().map(|without| without.until(now, ended.asked, waiting))
    }

    /// One try of a request failed; `first` says that none has before.
    pub(crate) fn try_failed(&mut self, group: usize, asked: Micros, now: Micros, first: bool) {
        if let Some(group) = self.groups.get_mut(group) {
            group.waiting += u32::from(first);
            let since = asked.max(group.answered);
            group.without.get_or_insert(Without { since, failed: now }).failed = now;
        }
    }

    /// A request failed with all its tries.
    pub(crate) fn failed(&mut self, ended: Ended) {
        self.counts.failed += ended.weight;
        if let Some(group) = self.groups.get_mut(ended.group) {
            group.waiting = group.waiting.saturating_sub(u32::from(ended.retried));
        }
        if let Some((window, after)) = self.window_of(ended) {
            window.asked += 1;
            window.failed += 1;
            window.last_failed = window.last_failed.max(after);
        }
    }

    /// The stretches that last until the end.
    pub(crate) fn unfinished(&self, end: Micros) -> impl Iterator<Item = Stretch> {
        let begun = self.groups.iter().filter_map(|group| group.without);
        begun.map(move |without| without.until(end, end, 0))
    }

    /// From when on every population is answered as it was before a fault, up to a time; `None`
    /// when that was not so before it.
    pub(crate) fn served(&self, at: Micros, until: Micros) -> Option<Micros> {
        let mut served = at;
        for windows in &self.populations {
            served = served.max(self.served_population(windows, at, until)?);
        }
        Some(served)
    }

    fn served_population(&self, windows: &[Window], at: Micros, until: Micros) -> Option<Micros> {
        let first = place(at / self.window);
        let last = place(until.div_ceil(self.window)).min(windows.len());
        let known = windows.get(..first.min(windows.len())).unwrap_or_default();
        let before = known.get(known.len().saturating_sub(BEFORE_WINDOWS)..).unwrap_or_default();
        let usual = share_failed(before);
        let after = windows.get(first..last).unwrap_or_default();
        let Some(bad) = after.iter().rposition(|window| window.is_worse_than(usual)) else {
            return Some(at);
        };
        // A population of which nobody asks any more is not served.
        let again = after.get(bad + 1..).unwrap_or_default().iter().any(|window| window.asked > 0);
        let window = after.get(bad)?;
        let start = (first + bad) as Micros * self.window;
        again.then_some((start + Micros::from(window.last_failed)).max(at))
    }
}

impl Window {
    fn is_worse_than(&self, usual: f64) -> bool {
        let (asked, failed) = (f64::from(self.asked), f64::from(self.failed));
        if usual <= 0.0 {
            return self.failed > 0;
        }
        let chance = CHANCE * (asked * usual * (1.0 - usual)).sqrt() + 1.0;
        failed > asked * usual + chance
    }
}

fn share_failed(windows: &[Window]) -> f64 {
    let asked: f64 = windows.iter().map(|window| f64::from(window.asked)).sum();
    let failed: f64 = windows.iter().map(|window| f64::from(window.failed)).sum();
    if asked > 0.0 { failed / asked } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(asked: Micros) -> Ended {
        Ended { population: 0, group: 0, asked, weight: 1, retried: false }
    }

    fn books() -> Books {
        Books::new(1, 1, Duration::from_secs(100))
    }

    #[test]
    fn a_gap_lasts_from_the_last_answer_before_a_failure_to_the_next() {
        let mut books = books();
        assert_eq!(books.answered(ended(1_000), 2_000), None);
        books.try_failed(0, 1_500, 9_500, true);
        books.try_failed(0, 9_000, 10_000, true);
        let gap = Stretch { from: 2_000, until: 12_000 };
        assert_eq!(books.answered(ended(9_000), 12_000), Some(gap));
        assert_eq!(books.answered(ended(9_000), 13_000), None);
    }

    #[test]
    fn a_gap_ends_with_the_last_who_waited_in_vain() {
        let mut books = books();
        books.try_failed(0, 1_000, 4_000, true);
        books.try_failed(0, 20_000, 25_000, true);
        let gap = Stretch { from: 1_000, until: 25_000 };
        assert_eq!(books.unfinished(90_000).collect::<Vec<_>>(), [gap]);
        for asked in [1_000, 20_000] {
            books.failed(Ended { retried: true, ..ended(asked) });
        }
        assert_eq!(books.answered(ended(80_000), 80_100), Some(gap));
    }

    #[test]
    fn who_still_waits_after_a_failed_try_goes_without() {
        let mut books = books();
        books.try_failed(0, 1_000, 2_000, true);
        // Another asks the next node over the connection that is being made, and is answered first.
        let gap = Stretch { from: 1_000, until: 9_000 };
        assert_eq!(books.answered(ended(3_000), 9_000), Some(gap));
        assert_eq!(books.answered(Ended { retried: true, ..ended(1_000) }, 9_001), None);
        books.try_failed(0, 20_000, 21_000, true);
        books.try_failed(0, 20_000, 22_000, false);
        books.failed(Ended { retried: true, ..ended(20_000) });
        let gap = Stretch { from: 20_000, until: 22_000 };
        assert_eq!(books.answered(ended(30_000), 30_100), Some(gap), "nobody waited meanwhile");
    }

    #[test]
    fn clients_are_served_again_after_the_last_window_in_which_they_failed() {
        let mut books = books();
        for nth in 0..1_000 {
            let asked = nth * SECOND / 10;
            // From 20 s to 35.35 s everything fails.
            if (20 * SECOND..=35_350_000).contains(&asked) {
                books.failed(ended(asked));
            } else {
                books.answered(ended(asked), asked + 1);
            }
        }
        assert_eq!(books.served(20 * SECOND, 100 * SECOND), Some(35_300_000));
        assert_eq!(books.served(50 * SECOND, 100 * SECOND), Some(50 * SECOND));
        assert_eq!(books.served(20 * SECOND, 30 * SECOND), None);
        assert_eq!(books.counts.failed, 154);
    }

    #[test]
    fn failures_that_were_there_before_are_not_the_faults() {
        let mut books = books();
        for nth in 0..4_000 {
            let asked = nth * SECOND / 40;
            if nth % 10 == 0 {
                books.failed(ended(asked))
            } else {
                books.answered(ended(asked), asked);
            }
        }
        assert_eq!(books.served(50 * SECOND, 100 * SECOND), Some(50 * SECOND));
    }
}
