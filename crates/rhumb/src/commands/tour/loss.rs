//! The loss of a region under load, and its return.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rhumb_config::{dev::SAFE_PREFIX, settings::Server};
use rhumb_types::RegionId;

use super::{
    connect,
    duties::Duties,
    load,
    report::{Report, millis},
    state::joined,
    wait_until_ready,
};
use crate::{client::Client, local::Local};

/// Writers of each kind.
const WRITERS: usize = 4;
/// The longest time that a client may be without service.
const GAP_MAX: Duration = Duration::from_secs(1);
/// How long the returned region may take until it has everything.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);
/// Keys asked for at a time.
const KEYS_PER_ASK: usize = 256;

/// What the writers of one kind did.
type Writers = Vec<load::Written>;

/// Kills the first region under load, and brings it back; gives when it was killed.
pub(super) fn lose_a_region(
    cluster: &mut Local,
    report: &mut Report,
    load_time: Duration,
) -> Result<Instant> {
    let regions = cluster.regions();
    let [lost, survivor, ..] = regions.as_slice() else { bail!("a loss needs two regions") };
    let addresses: Vec<SocketAddr> =
        regions.iter().map(|region| cluster.address(region, Server::Resp)).collect();
    report.step(&format!("{} clients write, preferring {lost}", 2 * WRITERS));
    let stop = AtomicBool::new(false);
    let (killed, returned, safe, plain) = thread::scope(|scope| {
        let spawn = |prefix: &'static str| -> Vec<_> {
            let (addresses, stop) = (&addresses, &stop);
            (0..WRITERS)
                .map(|nth| {
                    scope.spawn(move || {
                        Ok(load::write(&format!("{prefix}tour:{nth}:"), addresses, stop))
                    })
                })
                .collect()
        };
        let (safe, plain) = (spawn(SAFE_PREFIX), spawn("plain:"));
        let outcome = kill_and_return(cluster, report, (lost, survivor), load_time);
        stop.store(true, Ordering::Relaxed);
        let join = |threads: Vec<thread::ScopedJoinHandle<'_, Result<load::Written>>>| {
            threads.into_iter().map(|thread| joined(thread.join())).collect::<Result<Writers>>()
        };
        let (safe, plain) = (join(safe)?, join(plain)?);
        let (killed, returned) = outcome?;
        anyhow::Ok((killed, returned, safe, plain))
    })?;
    service(report, &safe, &plain, killed);
    fail_back(report, &safe, &plain, returned);
    nothing_lost(cluster, report, survivor, ("one_remote", &safe))?;
    nothing_lost(cluster, report, survivor, ("local, with the disk back", &plain))?;
    Ok(killed)
}

/// Gives when the region was killed, and when it served again.
fn kill_and_return(
    cluster: &mut Local,
    report: &mut Report,
    (lost, survivor): (&RegionId, &RegionId),
    load_time: Duration,
) -> Result<(Instant, Instant)> {
    let duties = Duties::of(cluster, survivor, lost)?;
    thread::sleep(load_time);
    report.step(&format!("{lost} is killed with SIGKILL"));
    let killed = Instant::now();
    cluster.kill(lost)?;
    duties.are_taken_over(report, killed)?;
    thread::sleep(load_time.saturating_sub(killed.elapsed()));
    report.step(&format!("{lost} starts again on its disk"));
    let started = Instant::now();
    cluster.start(lost)?;
    wait_until_ready(cluster, lost)?;
    let returned = Instant::now();
    report.row(
        format!("{lost} serves again after its start"),
        millis(returned.duration_since(started)),
        true,
    );
    duties.are_back(report, returned)?;
    thread::sleep(load_time.saturating_sub(returned.elapsed()));
    Ok((killed, returned))
}

fn service(report: &mut Report, safe: &Writers, plain: &Writers, killed: Instant) {
    let all = || safe.iter().chain(plain);
    let served = all().filter_map(|writer| writer.first_after(killed)).max();
    let gap = all().map(load::Written::worst_gap).max().unwrap_or_default();
    let everyone = all().all(|writer| writer.first_after(killed).is_some());
    report.row(
        format!("every client is served elsewhere in < {}", millis(GAP_MAX)),
        served.map_or_else(|| "never".to_owned(), millis),
        everyone && served.is_some_and(|served| served < GAP_MAX),
    );
    report.row(
        format!("worst gap of any client < {}", millis(GAP_MAX)),
        format!("{}, {} writes failed", millis(gap), all().map(|w| w.failed).sum::<usize>()),
        gap < GAP_MAX,
    );
}

/// After its return, clients are back at the region that they prefer.
fn fail_back(report: &mut Report, safe: &Writers, plain: &Writers, returned: Instant) {
    let last = |writer: &load::Written| writer.acknowledged.last().map(|(_, at)| *at);
    let back = safe.iter().chain(plain).filter(|writer| last(writer) == Some(0)).count();
    let total = safe.len() + plain.len();
    report.row(
        "clients return to the region that they prefer",
        format!("{back} of {total}, {} after it served", millis(returned.elapsed())),
        back == total,
    );
}

/// Everything that was acknowledged is in a surviving region.
fn nothing_lost(
    cluster: &Local,
    report: &mut Report,
    survivor: &RegionId,
    (level, writers): (&str, &Writers),
) -> Result<()> {
    let keys: Vec<&str> =
        writers.iter().flat_map(|w| &w.acknowledged).map(|(key, _)| key.as_str()).collect();
    let since = Instant::now();
    let mut client = connect(cluster, survivor)?;
    let mut lost = missing(&mut client, &keys)?;
    while !lost.is_empty() && since.elapsed() < CATCH_UP_MAX {
        lost = missing(&mut client, &lost)?;
    }
    report.row(
        format!("acknowledged and lost, {level}: 0"),
        format!("{} of {} in {survivor}", lost.len(), keys.len()),
        lost.is_empty() && !keys.is_empty(),
    );
    Ok(())
}

fn missing<'k>(client: &mut Client, keys: &[&'k str]) -> Result<Vec<&'k str>> {
    let mut lost = Vec::new();
    for ask in keys.chunks(KEYS_PER_ASK) {
        for key in ask {
            client.send(&[b"EXISTS", key.as_bytes()])?;
        }
        for key in ask {
            let there = client.receive().context("a survivor does not answer")?;
            if there != rhumb_resp::Frame::Integer(1) {
                lost.push(*key);
            }
        }
    }
    Ok(lost)
}
