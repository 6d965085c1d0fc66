//! Sending new work away from a region that is up but overloaded (DESIGN mechanism 8).
//!
//! `rhumb_regions::spillover` decides when, how much and where to; here it is told how full the homes
//! are for which this node acts. The owner of a home decides before a job is written, and the decision
//! is in the job. Errors that follow a tenant's jobs from region to region are not the region's.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use rhumb_regions::spillover::{
    Limits, Mode, Placement, Sample, Signal, Spillover, Stay, Transition, Work,
    blame::{Results, Tenant, blame},
    credit::Workflow,
};
use rhumb_types::{
    MonoTime, RegionId, Timestamp,
    planted::{self, Planted},
    record::QueueDefinition,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    index::{Place, Slot},
    job::NewJob,
    limits::{OBSERVE_INTERVAL, RESULTS_WINDOWS, TENANTS_MAX},
    queues::Queues,
    words::{Effect, Effects},
};

/// A region says how many jobs more it can take, and how its tenants' jobs fare there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advert {
    /// Which region.
    pub home: RegionId,
    /// How many jobs.
    pub jobs: u32,
    /// Results by tenant, over the same window everywhere.
    pub tenants: BTreeMap<String, Results>,
}

/// Where a new job goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// At home; and why, where the home sends other work away.
    Stay(Option<String>),
    Spill {
        to: RegionId,
        why: String,
    },
}

#[derive(Clone, Debug, Default)]
struct Window {
    all: Results,
    tenants: BTreeMap<String, Results>,
}

/// What is known of one home.
#[derive(Debug, Default)]
struct Region {
    spillover: Option<Spillover>,
    /// What spoke for spilling last.
    signal: Option<Signal>,
    windows: VecDeque<Window>,
    executors: u64,
    tripped: Vec<String>,
}

/// What is known of all homes.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    all: BTreeMap<RegionId, Region>,
    adverts: BTreeMap<RegionId, (MonoTime, Advert)>,
    observed_at: Option<MonoTime>,
}

/// Signals as a person reads them.
struct Words(Option<Signal>);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(Signal::Depth) => "too many jobs wait",
            Some(Signal::Concurrency) => "too many workers are busy",
            Some(Signal::ErrorRate) => "too much fails",
            Some(Signal::OldestAge) => "jobs wait too long",
            None => "it was overloaded",
        })
    }
}

/// Why a job stays, as a person reads it; and whether any other region may have it.
struct Kept(Stay, bool);

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self(Stay::NoCredit, false) => "no other region may have it",
            Self(Stay::NoCredit, true) => "no region that may have it has room",
            Self(Stay::Fifo, _) => "its order matters",
            Self(Stay::Hop, _) => "it was sent on once already",
            Self(Stay::Share | Stay::Calm, _) => "it is not in that share",
        })
    }
}

impl Regions {
    pub(crate) fn executors(&mut self, home: RegionId, executors: u64) {
        self.all.entry(home).or_default().executors = executors;
    }

    /// What the other regions said of their tenants.
    fn elsewhere(&self, home: &RegionId) -> BTreeMap<String, Results> {
        let mut elsewhere = BTreeMap::new();
        for (_, advert) in self.adverts.values().filter(|(_, it)| it.home != *home) {
            for (tenant, results) in &advert.tenants {
                add(elsewhere.entry(tenant.clone()).or_default(), *results);
            }
        }
        elsewhere
    }
}

impl Region {
    fn spillover(&mut self, home: &RegionId, limits: Option<&Limits>) -> Option<&mut Spillover> {
        if self.spillover.is_none() {
            // The limits were checked at the start.
            self.spillover = Spillover::new(home.clone(), *limits?).ok();
        }
        self.spillover.as_mut()
    }

    /// Finds the tenants whose errors follow their jobs; gives the results that are the region's.
    fn blame(
        &mut self,
        results: &Window,
        elsewhere: &BTreeMap<String, Results>,
        limits: &Limits,
        out: &mut Effects,
    ) -> Results {
        let of = |(tenant, here): (&String, &Results)| Tenant {
            tenant: tenant.clone(),
            here: *here,
            elsewhere: elsewhere.get(tenant).copied().unwrap_or_default(),
        };
        let tenants: Vec<Tenant<String>> = results.tenants.iter().map(of).collect();
        let (tripped, rest) = blame(results.all, &tenants, limits.error_samples_min);
        for tenant in tripped.iter().filter(|it| !self.tripped.contains(it)) {
            out.push(Effect::Alarm(format!("the jobs of tenant {tenant} fail wherever they run")));
        }
        self.tripped = tripped;
        rest
    }

    fn results(&self) -> Window {
        let mut sum = Window::default();
        for window in &self.windows {
            add(&mut sum.all, window.all);
            for (tenant, results) in &window.tenants {
                add(sum.tenants.entry(tenant.clone()).or_default(), *results);
            }
        }
        sum
    }
}

const fn add(to: &mut Results, more: Results) {
    to.results += more.results;
    to.errors += more.errors;
}

impl Queues {
    /// Where a new job goes: away only where this node acts for its home, and the job is new, may go,
    /// and has no place in an order.
    pub(crate) fn choose(
        &mut self,
        now: Timestamp,
        home: &RegionId,
        allowed: &[RegionId],
        fifo: bool,
        new: &NewJob,
    ) -> Choice {
        if self.acts_for(home, now.mono).is_none() {
            return Choice::Stay(None);
        }
        let limits = self.config.spillover;
        let region = self.regions.all.entry(home.clone()).or_default();
        let tripped = new.tenant.as_ref().is_some_and(|it| region.tripped.contains(it));
        let signal = region.signal;
        let Some(spillover) = region.spillover(home, limits.as_ref()) else {
            return Choice::Stay(None);
        };
        let kept = |spillover: &Spillover, why: &dyn fmt::Display| match spillover.mode() {
            Mode::Spilling { share, .. } => Choice::Stay(Some(format!(
                "{home} sends {share} of new work away ({}), and keeps it: {why}",
                Words(signal)
            ))),
            Mode::Calm => Choice::Stay(None),
        };
        if tripped {
            return kept(spillover, &"the jobs of its tenant fail wherever they run");
        }
        let workflow = match &new.workflow {
            Some(workflow) => xxh3_64(workflow.as_bytes()),
            None => xxh3_64(&new.id.0),
        };
        let work = Work {
            workflow: Workflow(workflow),
            allowed,
            fifo: fifo || new.group.is_some(),
            hops: u8::from(new.spilled.is_some() && !planted::is(Planted::SpillAgain)),
        };
        match spillover.place(now.mono, &work) {
            Placement::Stay(stay) => {
                kept(spillover, &Kept(stay, allowed.iter().any(|it| it != home)))
            }
            Placement::Spill(to) => {
                let why = match spillover.mode() {
                    Mode::Spilling { share, .. } => {
                        format!("{home} sends {share} of new work away: {}", Words(signal))
                    }
                    Mode::Calm => format!("its workflow went to {to} before"),
                };
                Choice::Spill { to, why }
            }
        }
    }

    /// A worker completed a job, or failed.
    pub(crate) fn count_result(&mut self, slot: Slot, tenant: Option<&str>, good: bool) {
        let home = self.index.shard_of(slot).whose.home.clone();
        let region = self.regions.all.entry(home).or_default();
        if region.windows.is_empty() {
            region.windows.push_back(Window::default());
        }
        let Some(window) = region.windows.back_mut() else { return };
        let one = Results { results: 1, errors: u64::from(!good) };
        add(&mut window.all, one);
        if let Some(tenant) = tenant {
            if let Some(results) = window.tenants.get_mut(tenant) {
                add(results, one);
            } else if window.tenants.len() < TENANTS_MAX {
                window.tenants.insert(tenant.to_owned(), one);
            }
        }
    }

    /// Another region spoke.
    pub(crate) fn advertised(&mut self, now: Timestamp, advert: Advert) {
        let homes: Vec<RegionId> = self.duties.keys().cloned().collect();
        let limits = self.config.spillover;
        for home in homes {
            let region = self.regions.all.entry(home.clone()).or_default();
            if let Some(spillover) = region.spillover(&home, limits.as_ref()) {
                spillover.credits().advertise(now.mono, advert.home.clone(), advert.jobs);
            }
        }
        self.regions.adverts.insert(advert.home.clone(), (now.mono, advert));
    }

    /// Whether a share of a home's new work is sent elsewhere, by what this node decides.
    #[must_use]
    pub fn is_spilling(&self, home: &RegionId) -> bool {
        let spillover = self.regions.all.get(home).and_then(|region| region.spillover.as_ref());
        spillover.is_some_and(|spillover| spillover.mode() != Mode::Calm)
    }

    /// How full the homes are for which this node acts, once a second.
    pub(crate) fn observe(&mut self, now: Timestamp, out: &mut Effects) {
        let due = |at: MonoTime| now.mono.saturating_since(at) >= OBSERVE_INTERVAL;
        let Some(limits) = self.config.spillover else { return };
        if !self.regions.observed_at.is_none_or(due) {
            return;
        }
        self.regions.observed_at = Some(now.mono);
        let fresh = |at: MonoTime| now.mono.saturating_since(at) < OBSERVE_INTERVAL * 10;
        self.regions.adverts.retain(|_, (at, _)| fresh(*at));
        let homes: Vec<RegionId> = self.duties.keys().cloned().collect();
        for home in homes {
            if self.acts_for(&home, now.mono).is_some() {
                self.observe_home(now, &home, &limits, out);
            }
        }
    }

    fn observe_home(
        &mut self,
        now: Timestamp,
        home: &RegionId,
        limits: &Limits,
        out: &mut Effects,
    ) {
        let sample = self.sample(now, home, limits);
        let elsewhere = self.regions.elsewhere(home);
        let region = self.regions.all.entry(home.clone()).or_default();
        let results = region.results();
        let rest = region.blame(&results, &elsewhere, limits, out);
        region.windows.push_back(Window::default());
        if region.windows.len() > RESULTS_WINDOWS {
            region.windows.pop_front();
        }
        let sample = Sample { executors: region.executors, ..sample }.with_results(rest);
        let Some(spillover) = region.spillover(home, Some(limits)) else { return };
        let transition = spillover.observe(now.mono, &sample);
        let calm = spillover.mode() == Mode::Calm;
        match transition {
            Some(Transition::Entered { signal, calm }) => {
                region.signal = Some(signal);
                let (why, calm) = (Words(Some(signal)), calm.as_secs());
                let text = format!(
                    "{home} sends a share of new work away, for {why}, until {calm} s of calm"
                );
                out.push(Effect::Alarm(text));
            }
            Some(Transition::Left { lasted }) => {
                let lasted = lasted.as_secs();
                out.push(Effect::Alarm(format!("{home} keeps its work again, after {lasted} s")));
            }
            None => {}
        }
        let jobs = if calm { spare(limits, &sample) } else { 0 };
        let advert = Advert { home: home.clone(), jobs, tenants: results.tenants };
        out.push(Effect::Advertise(advert));
    }

    /// The queues of a home together.
    fn sample(&self, now: Timestamp, home: &RegionId, limits: &Limits) -> Sample {
        let shards = self.index.shards.iter().filter(|shard| shard.whose.home == *home);
        let mut sample = Sample::default();
        for shard in shards {
            // New work does not wait behind what is held back.
            sample.depth += shard.leasable();
            sample.busy += shard.counted(Place::Leased) + shard.counted(Place::Busy);
            let age = self.oldest_age(shard.oldest_leasable(), now.wall);
            let own = self.queue(shard.queue).definition.as_deref().and_then(target);
            let over = |age: Duration, target: Option<Duration>| {
                age.as_secs_f64() / target.unwrap_or(limits.oldest_age_target).as_secs_f64()
            };
            if over(age, own) > over(sample.oldest_age, sample.oldest_age_target) {
                (sample.oldest_age, sample.oldest_age_target) = (age, own);
            }
        }
        sample
    }

    /// Tenants whose jobs fail wherever they run, by home.
    pub fn tripped(&self) -> impl Iterator<Item = (&RegionId, &str)> {
        self.regions
            .all
            .iter()
            .flat_map(|(home, region)| region.tripped.iter().map(move |it| (home, it.as_str())))
    }
}

/// How long the oldest job of a queue ought to wait at most, if the queue says other than usual.
fn target(definition: &QueueDefinition) -> Option<Duration> {
    let (own, usual) = (definition.oldest_age_target, QueueDefinition::default().oldest_age_target);
    (own != usual).then_some(own)
}

/// How many jobs more a calm region can take: workers that are free, and room below the depth at which
/// it would be calm. One without workers takes none.
fn spare(limits: &Limits, sample: &Sample) -> u32 {
    let waiting = limits.leave_depth.saturating_sub(sample.depth);
    let free = sample.executors.saturating_sub(sample.busy + sample.depth);
    let jobs = if sample.executors == 0 { 0 } else { waiting.min(free.max(1)) };
    u32::try_from(jobs).unwrap_or(u32::MAX)
}
