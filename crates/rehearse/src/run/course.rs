//! The course of a run in steps, and each region's part in it.

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::RegionId;

use crate::{
    outcome::{Latencies, RegionOutcome, Series},
    time::{Micros, SECOND, micros},
};

/// Most steps of a series.
const STEPS_MAX: Micros = 2_000;

/// Over how many seconds a region's load is taken together, so that chance alone is not a peak.
const LOADS: usize = 5;

/// What has happened in the step under way.
#[derive(Debug, Default)]
struct Step {
    served: Vec<u64>,
    failed: u64,
    latency: Latencies,
    lag: Duration,
    waiting: u64,
    depths: Vec<u64>,
    oldest: Duration,
    /// Of objects: bytes that are still to be copied, how long uploads took, and how busy links were.
    backlog: Option<u64>,
    links: BTreeMap<(usize, usize), f64>,
    uploads: Latencies,
}

/// The course of a run so far.
#[derive(Debug)]
pub(super) struct Course {
    series: Series,
    step: Step,
    regions: Vec<RegionOutcome>,
    /// The load of each region in the last seconds.
    loads: Vec<Vec<f64>>,
    pub(super) lag_max: Duration,
}

impl Course {
    pub(super) fn new(hosts: usize, lasting: Duration) -> Self {
        let step = Duration::from_micros(micros(lasting).div_ceil(STEPS_MAX * SECOND) * SECOND);
        Self {
            series: Series { step: step.max(Duration::from_secs(1)), ..Series::default() },
            step: Step { served: vec![0; hosts], ..Step::default() },
            regions: vec![RegionOutcome::default(); hosts],
            loads: vec![Vec::new(); hosts],
            lag_max: Duration::ZERO,
        }
    }

    pub(super) const fn step_length(&self) -> Duration {
        self.series.step
    }

    pub(super) fn served(&mut self, host: usize, latency: Duration, weight: u64, spilled: bool) {
        if let Some(served) = self.step.served.get_mut(host) {
            *served += weight;
        }
        self.step.latency.add_many(latency, weight);
        if let Some(region) = self.regions.get_mut(host) {
            region.served += weight;
            region.spilled += if spilled { weight } else { 0 };
        }
    }

    pub(super) const fn failed(&mut self, weight: u64) {
        self.step.failed += weight;
    }

    pub(super) fn refused(&mut self, host: usize, weight: u64) {
        if let Some(region) = self.regions.get_mut(host) {
            region.refused += weight;
        }
    }

    /// How loaded a region was in one more second.
    pub(super) fn loaded(&mut self, host: usize, load: f64) {
        let pair = self.regions.get_mut(host).zip(self.loads.get_mut(host));
        let Some((region, loads)) = pair else { return };
        loads.push(load);
        if loads.len() >= LOADS {
            let mean = loads.drain(..).sum::<f64>() / LOADS as f64;
            region.load_max = region.load_max.max(mean);
        }
    }

    /// How far some region was behind another.
    pub(super) fn lagged(&mut self, lag: Duration) {
        self.step.lag = self.step.lag.max(lag);
        self.lag_max = self.lag_max.max(lag);
    }

    /// How many requests waited in the fullest region.
    pub(super) fn waited(&mut self, waiting: u64) {
        self.step.waiting = self.step.waiting.max(waiting);
    }

    /// How many jobs wait for each host's region, and how long the oldest has waited.
    pub(super) fn waits(&mut self, depths: &[(usize, u64)], oldest: Duration) {
        self.step.depths.resize(self.step.served.len(), 0);
        for (host, depth) in depths {
            if let Some(most) = self.step.depths.get_mut(*host) {
                *most = (*most).max(*depth);
            }
        }
        self.step.oldest = self.step.oldest.max(oldest);
    }

    /// How many bytes are still to be copied, and how busy each link is.
    pub(super) fn carries(
        &mut self,
        backlog: u64,
        links: impl Iterator<Item = ((usize, usize), f64)>,
    ) {
        self.step.backlog = Some(self.step.backlog.unwrap_or(0).max(backlog));
        for (ends, load) in links {
            let most = self.step.links.entry(ends).or_default();
            *most = most.max(load);
        }
    }

    /// An upload was acknowledged after so long.
    pub(super) fn uploaded(&mut self, took: Duration) {
        self.step.uploads.add(took);
    }

    /// The step under way ends, and so much was spent until now.
    pub(super) fn close(&mut self, regions: &[RegionId], data: &[usize], cost: u64) {
        let hosts = self.step.served.len();
        let step = std::mem::take(&mut self.step);
        self.step.served = vec![0; hosts];
        let series = &mut self.series;
        for host in data {
            let Some(region) = regions.get(*host) else { continue };
            let served = step.served.get(*host).copied().unwrap_or(0);
            series.served.entry(region.clone()).or_default().push(served);
        }
        let millis = |share| {
            let latency = step.latency.percentile(share).unwrap_or(Duration::ZERO);
            latency.as_secs_f64() * 1e3
        };
        // Of a rehearsal without jobs there is none.
        if !step.depths.is_empty() {
            for host in data {
                let Some(region) = regions.get(*host) else { continue };
                let depth = step.depths.get(*host).copied().unwrap_or(0);
                series.depth.entry(region.clone()).or_default().push(depth);
            }
            series.oldest_millis.push(step.oldest.as_secs_f64() * 1e3);
        }
        if let Some(backlog) = step.backlog {
            let took = |share| {
                let took = step.uploads.percentile(share).unwrap_or(Duration::ZERO);
                took.as_secs_f64() * 1e3
            };
            series.backlog.push(backlog);
            series.upload_p50_millis.push(took(0.5));
            series.upload_p99_millis.push(took(0.99));
            for ((from, to), load) in &step.links {
                let Some((from, to)) = regions.get(*from).zip(regions.get(*to)) else { continue };
                series.links.entry(format!("{from}>{to}")).or_default().push(*load);
            }
        }
        series.failed.push(step.failed);
        series.p50_millis.push(millis(0.5));
        series.p99_millis.push(millis(0.99));
        series.lag_millis.push(step.lag.as_secs_f64() * 1e3);
        series.waiting.push(step.waiting);
        series.cost.push(cost);
    }

    pub(super) fn series(&self) -> Series {
        self.series.clone()
    }

    /// The regions that hold data.
    pub(super) fn outcomes(
        &self,
        regions: &[RegionId],
        data: &[usize],
    ) -> BTreeMap<RegionId, RegionOutcome> {
        let of =
            |host: &usize| Some((regions.get(*host)?.clone(), self.regions.get(*host).copied()?));
        data.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_has_steps_of_whole_seconds_and_not_too_many() {
        let step = |seconds| Course::new(1, Duration::from_secs(seconds)).step_length().as_secs();
        assert_eq!([step(0), step(10), step(2_000), step(3_600), step(86_400)], [1, 1, 1, 2, 44]);
        assert!(604_800 / step(604_800) <= STEPS_MAX);
    }

    #[test]
    fn a_step_holds_what_happened_in_it() {
        let regions = ["a", "b"].map(|name| RegionId::new(name).unwrap());
        let mut course = Course::new(2, Duration::from_secs(10));
        course.served(0, Duration::from_millis(10), 3, false);
        course.served(1, Duration::from_millis(900), 1, true);
        course.failed(2);
        for (lag, waiting) in [(80, 5), (20, 1)] {
            course.lagged(Duration::from_millis(lag));
            course.waited(waiting);
        }
        course.close(&regions, &[0, 1], 11);
        course.close(&regions, &[0, 1], 12);
        let series = course.series();
        assert_eq!(series.served[&regions[0]], [3, 0]);
        assert_eq!(series.served[&regions[1]], [1, 0]);
        assert_eq!(
            (series.failed, series.waiting, series.cost),
            (vec![2, 0], vec![5, 0], vec![11, 12])
        );
        assert_eq!(series.lag_millis, [80.0, 0.0]);
        assert!((10.0..13.0).contains(&series.p50_millis[0]), "{:?}", series.p50_millis);
        assert!((900.0..1_200.0).contains(&series.p99_millis[0]), "{:?}", series.p99_millis);
        let spilled = course.outcomes(&regions, &[0, 1])[&regions[1]].spilled;
        assert_eq!(spilled, 1);
    }

    #[test]
    fn a_busy_second_is_no_peak() {
        let regions = [RegionId::new("a").unwrap()];
        let mut course = Course::new(1, Duration::from_secs(10));
        for load in [0.0, 5.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 2.0] {
            course.loaded(0, load);
        }
        assert!((course.outcomes(&regions, &[0])[&regions[0]].load_max - 2.0).abs() < 1e-9);
    }
}
