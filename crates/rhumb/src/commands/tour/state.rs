//! The parts of the tour in which nothing goes wrong.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rhumb_config::dev::STRONG_PREFIX;
use rhumb_regions::locations;
use rhumb_resp::Frame;
use rhumb_types::RegionId;

use super::{
    connect,
    report::{Report, millis, percentile},
};
use crate::local::Local;

/// Sessions written and looked for.
const SESSIONS: usize = 40;
/// What replication may take beyond the way itself, at the 99th percentile.
const LAG_BEYOND_WAY_MAX: Duration = Duration::from_millis(100);
/// Increments in each region.
const INCREMENTS: usize = 500;
/// How long regions may take to agree on a counter once the increments have ended.
const CONVERGENCE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Locks taken.
const LOCKS: usize = 5;
/// What taking a lock may take.
const LOCK_MAX: Duration = Duration::from_secs(4);
/// Messages published.
const MESSAGES: usize = 20;
/// How long a look-up is repeated before the tour gives up.
const GIVE_UP: Duration = Duration::from_secs(10);

/// The time a message takes between two regions on this machine.
fn way(cluster: &Local, from: &RegionId, to: &RegionId) -> Duration {
    if !cluster.wan() {
        return Duration::ZERO;
    }
    locations::rtt(from.as_str(), to.as_str()).unwrap_or_default() / 2
}

/// A session written in one region and read in the others.
pub(super) fn sessions(cluster: &Local, report: &mut Report) -> Result<()> {
    let regions = cluster.regions();
    let [home, others @ ..] = regions.as_slice() else { bail!("there are no regions") };
    report.step(&format!("{SESSIONS} sessions are written in {home} and read elsewhere"));
    for other in others {
        let mut writer = connect(cluster, home)?;
        let mut reader = connect(cluster, other)?;
        let mut lags = Vec::with_capacity(SESSIONS);
        for nth in 0..SESSIONS {
            let key = format!("session:{other}:{nth}");
            writer.call(&[b"HSET", key.as_bytes(), b"user", b"ada"])?;
            let written = Instant::now();
            while reader.value(&[b"HGET", key.as_bytes(), b"user"])?.is_none() {
                if written.elapsed() > GIVE_UP {
                    bail!("a session written in {home} does not reach {other}");
                }
                thread::sleep(Duration::from_micros(200));
            }
            lags.push(written.elapsed());
        }
        lags.sort_unstable();
        let (way, worst) = (way(cluster, home, other), percentile(&lags, 99));
        report.row(
            format!("{home} -> {other}: lag p99 < {} beyond the way", millis(LAG_BEYOND_WAY_MAX)),
            format!(
                "p50 {}, p99 {}, way {}",
                millis(percentile(&lags, 50)),
                millis(worst),
                millis(way)
            ),
            worst < way + LAG_BEYOND_WAY_MAX,
        );
    }
    Ok(())
}

/// A counter incremented in every region at once.
pub(super) fn counters(cluster: &Local, report: &mut Report) -> Result<()> {
    let regions = cluster.regions();
    report.step(&format!("one counter is incremented {INCREMENTS} times in every region at once"));
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let count = |region| {
            let mut client = connect(cluster, region)?;
            for _ in 0..INCREMENTS {
                client.number(&[b"INCR", b"tour:visits"])?;
            }
            Ok(())
        };
        let threads: Vec<_> =
            regions.iter().map(|region| scope.spawn(move || count(region))).collect();
        threads.into_iter().map(|thread| joined(thread.join())).collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    let expected = i64::try_from(INCREMENTS * regions.len())?.to_string();
    let ended = Instant::now();
    let mut seen = Vec::new();
    while ended.elapsed() < CONVERGENCE_WAIT_MAX {
        seen.clear();
        for region in &regions {
            let value = connect(cluster, region)?.value(&[b"GET", b"tour:visits"])?;
            seen.push(String::from_utf8_lossy(&value.unwrap_or_default()).into_owned());
        }
        if seen.iter().all(|value| *value == expected) {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    report.row(
        format!("every region counts {expected}"),
        format!("{} after {}", seen.join(", "), millis(ended.elapsed())),
        seen.iter().all(|value| *value == expected),
    );
    Ok(())
}

/// A lock that regions race for, in a strong namespace.
pub(super) fn locks(cluster: &Local, report: &mut Report) -> Result<()> {
    let regions = cluster.regions();
    report.step(&format!("{LOCKS} locks are raced for from every region"));
    let mut slowest = Duration::ZERO;
    let mut winners = Vec::new();
    let mut fences = Vec::new();
    for nth in 0..LOCKS {
        let key = format!("{STRONG_PREFIX}tour:{nth}");
        let take = |region: &RegionId| {
            let mut client = connect(cluster, region)?;
            let since = Instant::now();
            let words: [&[u8]; 6] =
                [b"SET", key.as_bytes(), region.as_str().as_bytes(), b"NX", b"PX", b"30000"];
            let won = client.value(&words)?.is_some();
            Ok((won, since.elapsed()))
        };
        let taken: Vec<Result<(bool, Duration)>> = thread::scope(|scope| {
            let threads: Vec<_> = regions
                .iter()
                .map(|region| {
                    let take = &take;
                    scope.spawn(move || take(region))
                })
                .collect();
            threads.into_iter().map(|thread| joined(thread.join())).collect()
        });
        let taken = taken.into_iter().collect::<Result<Vec<_>>>()?;
        winners.push(taken.iter().filter(|(won, _)| *won).count());
        slowest = taken.iter().map(|(_, took)| *took).fold(slowest, Duration::max);
        let first = regions.first().context("there are no regions")?;
        fences.push(connect(cluster, first)?.number(&[b"RHUMB.FENCE", key.as_bytes()])?);
    }
    report.row(
        "each lock has exactly one holder",
        format!("holders {winners:?}, slowest answer {}", millis(slowest)),
        winners.iter().all(|holders| *holders == 1) && slowest < LOCK_MAX,
    );
    let growing = fences.iter().zip(fences.iter().skip(1)).all(|(earlier, later)| earlier < later);
    report.row("fencing tokens grow", format!("{fences:?}"), growing);
    Ok(())
}

/// A message published in one region and received in another.
pub(super) fn messages(cluster: &Local, report: &mut Report) -> Result<()> {
    let regions = cluster.regions();
    let (Some(from), Some(to)) = (regions.first(), regions.last()) else {
        bail!("there are no regions")
    };
    report.step(&format!("{MESSAGES} messages are published in {from} for {to}"));
    let mut subscriber = connect(cluster, to)?;
    subscriber.call(&[b"SUBSCRIBE", b"tour:news"])?;
    let mut publisher = connect(cluster, from)?;
    let mut times = Vec::with_capacity(MESSAGES);
    for nth in 0..MESSAGES {
        let text = nth.to_string();
        let sent = Instant::now();
        publisher.call(&[b"PUBLISH", b"tour:news", text.as_bytes()])?;
        match subscriber.receive()? {
            Frame::Array(parts) if parts.last() == Some(&Frame::Bulk(text.into())) => {}
            other => bail!("an unexpected message: {other:?}"),
        }
        times.push(sent.elapsed());
    }
    times.sort_unstable();
    let (way, worst) = (way(cluster, from, to), percentile(&times, 99));
    report.row(
        format!("messages {from} -> {to}: p99 < {} beyond the way", millis(LAG_BEYOND_WAY_MAX)),
        format!(
            "p50 {}, p99 {}, way {}",
            millis(percentile(&times, 50)),
            millis(worst),
            millis(way)
        ),
        worst < way + LAG_BEYOND_WAY_MAX,
    );
    Ok(())
}

/// The result of a thread, whose panic is a failure of the tour.
pub(super) fn joined<T>(result: thread::Result<Result<T>>) -> Result<T> {
    match result {
        Ok(result) => result,
        Err(_) => bail!("a thread of the tour panicked"),
    }
}
