//! How long a write takes to be seen in another region, beyond the way itself, under load.
//!
//! Three regions on this machine, messages between them delayed as between the real ones. Clients
//! write to the first region at a fixed rate. One more client writes a number that grows; in every
//! other region a reader notes when it sees it. All times come from one clock.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use redis::{Client, Connection, IntoConnectionInfo};
use rhumb_integration::{Cluster, Launch, Layout};
use rhumb_regions::locations;
use serde::Serialize;

use crate::{
    plan::{Effort, KEYS, VALUE_BYTES, Wanted},
    progress,
    stats::{millis, percentile},
};

/// The name of its rows.
const NAME: &str = "lag";
const REGIONS: usize = 3;
/// Writes per second to the first region.
const RATE: u32 = 20_000;
/// Connections that share the load.
const WRITERS: u32 = 4;
/// How often a writer sends, all at once, what the rate asks for.
const TICK: Duration = Duration::from_millis(2);
/// How often the growing number is written.
const PROBE_INTERVAL: Duration = Duration::from_millis(5);
/// How often a reader looks: it bounds how exactly a lag is known.
const LOOK_INTERVAL: Duration = Duration::from_micros(250);
/// Load before the first probe counts.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long readers go on after the last probe: longer than any way.
const TAIL: Duration = Duration::from_secs(2);
const ANSWER_WAIT: Duration = Duration::from_secs(10);
const PROBE: &str = "lag:probe";
/// The multiplier of Knuth's linear congruential generator: keys only need to be spread.
const SPREAD: u64 = 6_364_136_223_846_793_005;

/// One direction.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lag {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) way_millis: f64,
    /// What the writers reached.
    pub(crate) writes_per_second: f64,
    pub(crate) probes: usize,
    /// From the acknowledgement, beyond the way.
    pub(crate) from_answer: Quantiles,
    /// From the sending of the write, beyond the way: the fsync at home included.
    pub(crate) from_request: Quantiles,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Quantiles {
    fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let at = |percent| millis(percentile(&durations, percent));
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

/// One number: when its write was sent, and when it was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Probe {
    sent: Instant,
    answered: Instant,
}

/// A number that a reader saw, which shows all before it too.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    number: usize,
    at: Instant,
}

/// Starts three regions, loads the first and watches the others.
pub(crate) fn measure(wanted: &Wanted, effort: Effort) -> Result<Vec<Lag>> {
    if !wanted.includes(NAME) {
        return Ok(Vec::new());
    }
    progress(&format!("{NAME}: {REGIONS} regions start"));
    let mut cluster = Layout::regions(REGIONS).prepare()?;
    for nth in 0..REGIONS {
        cluster.launch(nth, &Launch::with(&["--wan"]))?;
    }
    cluster.wait_until_linked(0..REGIONS)?;
    progress(&format!("{NAME}: {RATE} writes/s for {:?}", effort.lag));
    let (writing, reading) = (AtomicBool::new(true), AtomicBool::new(true));
    let (home, others) = (cluster.resp(0), (1..REGIONS).map(|nth| cluster.resp(nth)));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|nth| {
                scope.spawn({
                    let writing = &writing;
                    move || write(home, nth, writing)
                })
            })
            .collect();
        thread::sleep(WARM_UP);
        let readers: Vec<_> = others
            .map(|other| {
                scope.spawn({
                    let reading = &reading;
                    move || watch(other, reading)
                })
            })
            .collect();
        let probes = probe(home, effort.lag);
        writing.store(false, Ordering::Release);
        thread::sleep(TAIL);
        reading.store(false, Ordering::Release);
        let rates = writers.into_iter().map(joined).collect::<Result<Vec<f64>>>()?;
        let sightings = readers.into_iter().map(joined).collect::<Result<Vec<_>>>()?;
        let (rate, probes) = (rates.iter().sum(), probes?);
        let rows = (1..).zip(&sightings);
        rows.map(|(to, seen)| row(&cluster, to, rate, &probes, seen)).collect()
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}

fn row(
    cluster: &Cluster,
    to: usize,
    writes_per_second: f64,
    probes: &[Probe],
    seen: &[Sighting],
) -> Result<Lag> {
    let (from, to) = (cluster.region(0).to_owned(), cluster.region(to).to_owned());
    let way = locations::rtt(&from, &to).unwrap_or_default() / 2;
    let seen_at = first_seen(probes.len(), seen);
    ensure!(
        seen_at.len() == probes.len(),
        "{} of {} probes never reached {to}",
        probes.len() - seen_at.len(),
        probes.len()
    );
    let beyond = |since: &dyn Fn(&Probe) -> Instant| {
        let pairs = probes.iter().zip(&seen_at);
        let lag = |(probe, at): (&Probe, &Instant)| {
            at.saturating_duration_since(since(probe)).saturating_sub(way)
        };
        Quantiles::of(pairs.map(lag).collect())
    };
    Ok(Lag {
        from_answer: beyond(&|probe| probe.answered),
        from_request: beyond(&|probe| probe.sent),
        from,
        to,
        way_millis: millis(way),
        writes_per_second,
        probes: probes.len(),
    })
}

/// When each number was first shown, by itself or by a later one; ends at the first never seen.
fn first_seen(numbers: usize, seen: &[Sighting]) -> Vec<Instant> {
    let mut sightings = seen.iter().peekable();
    let mut at = Vec::with_capacity(numbers);
    for number in 0..numbers {
        while sightings.next_if(|sighting| sighting.number < number).is_some() {}
        let Some(sighting) = sightings.peek() else { break };
        at.push(sighting.at);
    }
    at
}

fn connect(address: SocketAddr) -> Result<Connection> {
    let client = Client::open((address.ip().to_string(), address.port()).into_connection_info()?)?;
    let connection = client.get_connection_with_timeout(ANSWER_WAIT)?;
    connection.set_read_timeout(Some(ANSWER_WAIT))?;
    Ok(connection)
}

/// Writes at this writer's share of the rate until told to stop; what it reached per second.
fn write(address: SocketAddr, nth: u32, writing: &AtomicBool) -> Result<f64> {
    let mut connection = connect(address)?;
    let value = vec![b'x'; usize::try_from(VALUE_BYTES)?];
    let share = RATE / WRITERS * u32::try_from(TICK.as_millis())? / 1_000;
    let (mut state, mut written) = (u64::from(nth) + 1, 0_u32);
    let since = Instant::now();
    let mut due = since;
    while writing.load(Ordering::Acquire) {
        let mut pipe = redis::pipe();
        for _ in 0..share {
            state = state.wrapping_mul(SPREAD).wrapping_add(1);
            let key = (state >> 33) % u64::from(KEYS);
            pipe.cmd("SET").arg(format!("key:{key:012}")).arg(value.as_slice()).ignore();
        }
        pipe.exec(&mut connection)?;
        written += share;
        due += TICK;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(f64::from(written) / since.elapsed().as_secs_f64())
}

/// Writes a number that grows by one, for so long.
fn probe(address: SocketAddr, long: Duration) -> Result<Vec<Probe>> {
    let mut connection = connect(address)?;
    let mut probes = Vec::new();
    let since = Instant::now();
    let mut due = since;
    while since.elapsed() < long {
        let sent = Instant::now();
        redis::cmd("SET").arg(PROBE).arg(probes.len()).exec(&mut connection)?;
        probes.push(Probe { sent, answered: Instant::now() });
        due += PROBE_INTERVAL;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(probes)
}

/// Notes when a larger number is first seen, until told to stop.
fn watch(address: SocketAddr, reading: &AtomicBool) -> Result<Vec<Sighting>> {
    let mut connection = connect(address)?;
    let mut seen: Vec<Sighting> = Vec::new();
    while reading.load(Ordering::Acquire) {
        let number: Option<usize> = redis::cmd("GET").arg(PROBE).query(&mut connection)?;
        let at = Instant::now();
        let is_new = number > seen.last().map(|sighting| sighting.number);
        if let Some(number) = number.filter(|_| is_new) {
            seen.push(Sighting { number, at });
        }
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_number_shows_all_before_it() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let seen = [
            Sighting { number: 1, at: after(10) },
            Sighting { number: 2, at: after(11) },
            Sighting { number: 4, at: after(20) },
        ];
        assert_eq!(first_seen(5, &seen), [10, 10, 11, 20, 20].map(after));
        assert_eq!(first_seen(6, &seen).len(), 5, "the last was never seen");
    }
}
