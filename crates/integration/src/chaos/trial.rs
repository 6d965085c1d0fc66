//! Trials: one failure each, from a cluster that is well to a cluster that is well again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use rhumb_config::{Period, Settings, Size, dev, settings::Profile};
use rhumb_regions::locations;
use rhumb_types::ByteSize;

use super::{
    client::{Client, Level, Seen, Who},
    disk::Disk,
    fault::{Kind, Stage, clients_name, node_name},
    loss::{self, Lost},
    measure::{self, Outcome, Times},
    place::{self, Place},
    predict::{Case, Prediction},
    wan::{Dice, Wan},
    watch::{View, Watch},
};
use crate::{cluster::Cluster, layout::Layout, programs};

/// Megabytes of a region's disk.
const DISK_MEGABYTES: u32 = 512;
/// Logs are kept at least so long, so that the disks stay small.
const RETENTION: (Period, Size) = (Period::from_secs(600), Size(ByteSize(32 << 20)));
/// Round trip of clients to their own region.
const NEAR: Duration = Duration::from_millis(1);
/// How long clients write before the failure.
const BEFORE: Duration = Duration::from_secs(2);
/// How long the cluster may take until all is well, at the start and after a failure.
const WELL_MAX: Duration = Duration::from_secs(120);
/// How long it must have been well.
const WELL_FOR: Duration = Duration::from_secs(1);
/// A node that has not answered a look for so long is not well.
const LOOK_MAX: Duration = Duration::from_millis(300);
/// Below this a region is not behind.
pub(super) const LAG_SMALL: Duration = Duration::from_millis(500);
/// By how much a round trip may be longer than it should be, on a machine that does other things too.
const ROUND_TRIP_SLACK: Duration = Duration::from_millis(10);
/// How often a round trip is tried.
const ROUND_TRIP_TRIES: usize = 5;
/// How long one may take at most.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Time between two looks at the cluster.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Failures in their order, each with the region that it happens to.
    pub trials: Vec<(Kind, usize)>,
    /// How long a failure lasts, but for a freeze.
    pub lasting: Duration,
    /// How quickly regions are called down.
    pub profile: Profile,
    /// Decides which packets are lost.
    pub seed: u64,
    /// Whether each failure is rehearsed too.
    pub predict: bool,
    /// Where the logs of the nodes go in the end.
    pub logs: Option<PathBuf>,
}

impl Plan {
    /// Each of these kinds so often, in an order and in regions that follow from the seed.
    #[must_use]
    pub fn new(kinds: &[Kind], per_kind: usize, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let regions = dev::REGIONS.len();
        let mut trials = Vec::with_capacity(kinds.len() * per_kind);
        for (first, kind) in kinds.iter().enumerate() {
            trials.extend((0..per_kind).map(|nth| (*kind, (first + nth) % regions)));
        }
        // Fisher and Yates.
        for last in (1..trials.len()).rev() {
            let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
            trials.swap(last, usize::try_from(dice.below(bound)).unwrap_or(0));
        }
        Self {
            trials,
            lasting: Duration::from_secs(18),
            profile: Profile::Fast,
            seed,
            predict: false,
            logs: None,
        }
    }
}

/// Runs all trials; `told` hears of each when it is over. One that fails says so ([`Outcome::trouble`]); the
/// next has the cluster started anew, and when that does not become well, none of the others is tried.
///
/// Only to be called in a process that [`super::isolate`] has started anew.
///
/// # Errors
/// When the cluster does not become well at the start, the machine refuses something then, or `told` fails.
pub fn run(plan: &Plan, mut told: impl FnMut(Outcome) -> Result<()>) -> Result<()> {
    let mut theatre = Theatre::open(plan)?;
    let predicted: &[(Kind, usize)] = if plan.predict { &plan.trials } else { &[] };
    let predictions = predict(&theatre.stage.cluster, predicted, plan.lasting)?;
    let mut broken = false;
    for (nth, (kind, region)) in plan.trials.iter().enumerate() {
        let tried = if broken {
            Err(anyhow!("not tried, because the cluster did not become well again"))
        } else {
            theatre.trial(nth, *kind, *region, plan.lasting)
        };
        let mut outcome = tried.unwrap_or_else(|error| {
            Outcome::failed(*kind, theatre.name(*region), format!("{error:#}"))
        });
        if let Some(trouble) = outcome.trouble.as_mut().filter(|_| !broken) {
            let log = theatre.stage.cluster.log_end(*region);
            let _infallible = write!(trouble, "\nthe log of the region ends:\n{log}");
            if let Err(error) = theatre.recover() {
                let _infallible = write!(trouble, "\n{error:#}");
                broken = true;
            }
        }
        outcome.predicted = predictions.get(&(*kind, *region)).cloned();
        told(outcome)?;
    }
    if let Some(folder) = &plan.logs {
        fs::create_dir_all(folder)?;
        for nth in 0..theatre.nodes.len() {
            let name = format!("{}.log", theatre.name(nth));
            fs::write(folder.join(name), theatre.stage.cluster.log(nth))?;
        }
    }
    Ok(())
}

/// Rehearses the failures of an earlier run anew, each with the file that its nodes had.
///
/// # Errors
/// When that file cannot be written, or a rehearsal fails.
pub fn predict_again(trials: &mut [Outcome], profile: Profile, lasting: Duration) -> Result<()> {
    let layout = Layout::regions(dev::REGIONS.len());
    let cluster = layout.adjust(move |settings| adjust(settings, profile)).prepare()?;
    let place = |outcome: &Outcome| dev::REGIONS.iter().position(|name| *name == outcome.region);
    let of = |outcome: &Outcome| Some((outcome.kind, place(outcome)?));
    let wanted: Vec<(Kind, usize)> = trials.iter().filter_map(of).collect();
    let predictions = predict(&cluster, &wanted, lasting)?;
    for outcome in trials {
        outcome.predicted = of(outcome).and_then(|of| predictions.get(&of).cloned());
    }
    Ok(())
}

/// Rehearses failures, each kind of each region once, with the file that the nodes have.
fn predict(
    cluster: &Cluster,
    trials: &[(Kind, usize)],
    lasting: Duration,
) -> Result<BTreeMap<(Kind, usize), Prediction>> {
    let binary = programs::rhumb()?;
    let mut predictions = BTreeMap::new();
    for (kind, region) in trials {
        if predictions.contains_key(&(*kind, *region)) {
            continue;
        }
        let case = Case {
            binary: &binary,
            config: cluster.config(*region),
            kind: *kind,
            region: cluster.region(*region),
            lasting: kind.lasts(lasting),
        };
        predictions.insert((*kind, *region), case.predict()?);
    }
    Ok(predictions)
}

/// A failure that was done and mended.
struct Done {
    times: Times,
    /// Whether all was as before in time.
    well: Result<()>,
    at_risk: Option<u64>,
    /// Whether the region led the control plane.
    led: bool,
}

/// Everything that a trial needs.
struct Theatre {
    stage: Stage,
    /// One per node.
    watches: Vec<Watch>,
    nodes: Vec<Place>,
    clients: Vec<Place>,
}

impl Theatre {
    fn open(plan: &Plan) -> Result<Self> {
        place::prepare()?;
        let folder = tempfile::Builder::new().prefix("rhumb-chaos-").tempdir()?;
        let regions = dev::REGIONS.len();
        let address = |nth: usize, host: u8| -> Result<Ipv4Addr> {
            Ok(Ipv4Addr::new(127, 77, u8::try_from(nth)?, host))
        };
        let mut nodes = Vec::with_capacity(regions);
        let mut clients = Vec::with_capacity(regions);
        let mut disks = Vec::with_capacity(regions);
        for (nth, name) in dev::REGIONS.iter().enumerate() {
            nodes.push(Place::make(node_name(nth), address(nth, 1)?)?);
            clients.push(Place::make(clients_name(nth), address(nth, 2)?)?);
            disks.push(Disk::mount(folder.path().join(name), DISK_MEGABYTES)?);
        }
        let places: Vec<Place> = nodes.iter().chain(&clients).cloned().collect();
        let wan = Wan::connect(&places, plan.seed, |from, to| one_way(from, to, regions))?;
        let hosts: Vec<Ipv4Addr> = nodes.iter().map(|place| place.address).collect();
        let profile = plan.profile;
        let layout = Layout::regions(regions).hosts(&hosts).data(folder.path());
        let cluster = layout.adjust(move |settings| adjust(settings, profile)).prepare()?;
        let stage =
            Stage { slow: None, cluster, wan, disks, first_client: regions, _folder: folder };
        let mut theatre = Self { stage, watches: Vec::new(), nodes, clients };
        for nth in 0..regions {
            theatre.stage.start(nth, &[])?;
            let place = theatre.nodes.get(nth).context("a place for each")?.clone();
            theatre.watches.push(Watch::start(place, theatre.stage.cluster.http(nth)));
        }
        theatre.wait_until_well(&[]).context("the cluster does not become well")?;
        theatre.check_round_trips()?;
        Ok(theatre)
    }

    fn name(&self, region: usize) -> &str {
        self.stage.cluster.region(region)
    }

    fn trial(
        &mut self,
        nth: usize,
        kind: Kind,
        region: usize,
        lasting: Duration,
    ) -> Result<Outcome> {
        let clients = self.start_clients(nth);
        let done = self.do_and_mend(&clients, kind, region, lasting);
        clients.iter().for_each(Client::stop);
        let seen = clients.into_iter().map(Client::join).collect::<Result<Vec<Seen>>>()?;
        let Done { times, well, at_risk, led } = done?;
        let views: Vec<Vec<View>> = self.watches.iter().map(Watch::take).collect();
        let trouble = well.err().map(|error| format!("{error:#}; clients saw {}", failures(&seen)));
        // Also of a cluster that was not well in time: what it has lost is worse than how long it took.
        let lost = self.lost(&seen).with_context(|| trouble.clone().unwrap_or_default())?;
        let names: Vec<&str> = (0..self.nodes.len()).map(|nth| self.name(nth)).collect();
        let measured = measure::outcome(kind, region, &names, times, &views, &seen, &lost);
        Ok(Outcome { trouble, at_risk, led, ..measured })
    }

    /// The failure, while clients write.
    fn do_and_mend(
        &mut self,
        clients: &[Client],
        kind: Kind,
        region: usize,
        lasting: Duration,
    ) -> Result<Done> {
        thread::sleep(BEFORE);
        let led = self.leads(region);
        self.watches.iter().for_each(|watch| drop(watch.take()));
        let injected = self.stage.inject(kind, region)?;
        thread::sleep(kind.lasts(lasting).saturating_sub(injected.elapsed()));
        let at_risk =
            if kind.holds_writes_back() { self.at_risk(clients, region, injected)? } else { None };
        let mended = Instant::now();
        self.stage.mend(kind, region)?;
        let well = self.wait_until_well(clients);
        let times = Times { injected, mended, well: Instant::now() };
        Ok(Done { times, well, at_risk, led })
    }

    /// Whether a region leads the control plane, by what its own node says.
    fn leads(&self, region: usize) -> bool {
        let view = self.watches.get(region).and_then(|watch| watch.last(LOOK_MAX));
        view.is_some_and(|view| view.leader.as_deref() == Some(self.name(region)))
    }

    /// Starts all nodes anew, without any failure, and waits until all is well.
    fn recover(&mut self) -> Result<()> {
        self.stage.reset()?;
        self.wait_until_well(&[]).context("started anew, the cluster does not become well")
    }

    /// How many writes at `local` only the failed region has, of those that it had acknowledged before it
    /// failed.
    fn at_risk(&self, clients: &[Client], region: usize, injected: Instant) -> Result<Option<u64>> {
        // As `start_clients` makes them.
        let nth = Level::ALL.len() * region;
        let of_local = Level::ALL.iter().position(|level| *level == Level::Local);
        let Some(client) = of_local.and_then(|level| clients.get(nth + level)) else {
            return Ok(None);
        };
        let done = client.done_at_home();
        let others = (0..self.nodes.len()).filter(|nth| *nth != region);
        let behind = others.map(|nth| self.beside(nth, |resp| loss::behind(resp, &done, injected)));
        Ok(behind.collect::<Result<Vec<u64>>>()?.into_iter().min())
    }

    fn start_clients(&self, trial: usize) -> Vec<Client> {
        let cluster = &self.stage.cluster;
        let mut clients = Vec::new();
        for (region, place) in self.clients.iter().enumerate() {
            let nearest = nearest(region, cluster);
            clients.extend(Level::ALL.map(|level| {
                let name = format!("{trial}:{region}:");
                let (place, nearest) = (place.clone(), nearest.clone());
                Client::start(Who { place, region, nearest, level, name })
            }));
        }
        clients
    }

    /// Waits until every node says that all is well, and every client is served by its own region.
    fn wait_until_well(&mut self, clients: &[Client]) -> Result<()> {
        let give_up = Instant::now() + WELL_MAX;
        let mut since = Instant::now();
        loop {
            let trouble = self.trouble(clients);
            match trouble {
                None if since.elapsed() >= WELL_FOR => return Ok(()),
                None => {}
                Some(_) => since = Instant::now(),
            }
            if Instant::now() > give_up {
                return Err(anyhow!(
                    "still so after {WELL_MAX:?}: {}",
                    trouble.unwrap_or_default()
                ));
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// What is not well, if anything.
    fn trouble(&self, clients: &[Client]) -> Option<String> {
        for (nth, watch) in self.watches.iter().enumerate() {
            let name = self.name(nth);
            let Some(view) = watch.last(LOOK_MAX) else { return Some(format!("{name} is silent")) };
            if let Some(trouble) = unwell(&view, self.nodes.len()) {
                return Some(format!("{name}: {trouble}"));
            }
        }
        let away = clients.iter().position(|client| !client.is_home());
        away.map(|nth| format!("client {nth} is not served by its region"))
    }

    /// What of the acknowledged writes is missing at any node; what is there is removed.
    fn lost(&self, seen: &[Seen]) -> Result<Lost> {
        let mut lost = Lost::default();
        for nth in 0..self.nodes.len() {
            lost.join(&self.beside(nth, |resp| loss::at(resp, seen))?);
        }
        self.beside(0, |resp| loss::clear(resp, seen))?;
        ensure!(seen.iter().any(|seen| !seen.keys.is_empty()), "nothing was acknowledged");
        Ok(lost)
    }

    /// Does something in the namespace of a node, whose RESP server is named.
    fn beside<T: Send>(
        &self,
        nth: usize,
        work: impl FnOnce(SocketAddr) -> Result<T> + Send,
    ) -> Result<T> {
        let place = self.nodes.get(nth).context("a place for each node")?;
        let resp = self.stage.cluster.resp(nth);
        place.visit(|| work(resp))
    }

    /// Checks that the network between places is as far as it should be.
    fn check_round_trips(&self) -> Result<()> {
        for (from, place) in self.clients.iter().enumerate() {
            for to in 0..self.nodes.len() {
                let (resp, wanted) = (self.stage.cluster.resp(to), round_trip(from, to));
                let took = place.visit(|| shortest_connect(resp))?;
                ensure!(
                    (wanted..wanted + ROUND_TRIP_SLACK).contains(&took),
                    "a round trip from beside {} to {} takes {took:?}, and should take {wanted:?}",
                    self.name(from),
                    self.name(to)
                );
            }
        }
        Ok(())
    }
}

/// How long connecting takes, the shortest of a few times: that is one round trip.
fn shortest_connect(to: SocketAddr) -> Result<Duration> {
    let mut shortest = Duration::MAX;
    for _ in 0..ROUND_TRIP_TRIES {
        let begun = Instant::now();
        let _connection = TcpStream::connect_timeout(&to, CONNECT_WAIT)?;
        shortest = shortest.min(begun.elapsed());
    }
    Ok(shortest)
}

/// What a node says that is not as it should be.
fn unwell(view: &View, regions: usize) -> Option<String> {
    if !view.ready {
        return Some("not ready".to_owned());
    }
    if view.regions.len() != regions {
        return Some(format!("it knows {} regions", view.regions.len()));
    }
    view.regions.iter().find_map(|(name, region)| {
        let trouble = if !region.healthy {
            "is not routed to"
        } else if region.condemned || !region.restored {
            "is not restored"
        } else if region.holder.as_ref() != Some(name) {
            "does not hold its lease"
        } else if region.behind.is_some_and(|behind| behind > LAG_SMALL) {
            "is behind"
        } else {
            return None;
        };
        Some(format!("{name} {trouble}"))
    })
}

fn failures(seen: &[Seen]) -> String {
    let each = seen.iter().map(|seen| {
        let reasons: BTreeSet<&String> =
            seen.failures.iter().map(|failure| &failure.reason).collect();
        format!("{} {}: {} failures, {reasons:?}", seen.region, seen.level, seen.failures.len())
    });
    each.collect::<Vec<_>>().join("; ")
}

/// The file of the cluster: that of `rhumb dev`, but for the profile, and how long logs are kept.
fn adjust(settings: &mut Settings, profile: Profile) {
    settings.failover.profile = profile;
    (settings.state.retention.age, settings.state.retention.size) = RETENTION;
}

/// The regions by their distance from one, which comes first.
fn nearest(from: usize, cluster: &Cluster) -> Vec<SocketAddr> {
    let mut order: Vec<usize> = (0..cluster.len()).collect();
    order.sort_by_key(|to| round_trip(from, *to));
    order.into_iter().map(|to| cluster.resp(to)).collect()
}

/// The round trip between two regions, by their places in the list.
fn round_trip(from: usize, to: usize) -> Duration {
    let names = dev::REGIONS.get(from).zip(dev::REGIONS.get(to)).filter(|_| from != to);
    names.map_or(NEAR, |(from, to)| locations::rtt(from, to).unwrap_or(NEAR))
}

/// How long a packet takes from place to place: nodes come first, then their clients.
fn one_way(from: usize, to: usize, regions: usize) -> Duration {
    round_trip(from % regions, to % regions) / 2
}
