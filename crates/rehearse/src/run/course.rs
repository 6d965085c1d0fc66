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

    pub(super) fn seen(&mut self, lag: Duration, waiting: u64) {
        self.step.lag = self.step.lag.max(lag);
        self.step.waiting = self.step.waiting.max(waiting);
        self.lag_max = self.lag_max.max(lag);
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
