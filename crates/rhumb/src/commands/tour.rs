//! `rhumb tour`: what Rhumb promises, measured on a fresh cluster on this machine.
//!
//! Every row is a promise, what was measured, and whether it held. Nothing is simulated: three
//! processes, messages between them delayed as between the real regions, and clients over RESP, HTTP and S3.

mod duties;
mod flood;
mod jobs;
mod load;
mod loss;
mod objects;
mod orders;
mod report;
mod state;
mod uploads;

use std::{fs, process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result};
use rhumb_config::settings::Server;
use rhumb_types::RegionId;

use self::{orders::Orders, report::Report};
use super::say;
use crate::{cli::Tour, client::Client, local::Local};

/// How long a client of the tour waits for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long a node may take until it takes writes.
const READY_WAIT_MAX: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Runs the tour; fails when a promise did not hold.
pub(crate) fn run(args: Tour) -> Result<ExitCode> {
    let mut local = args.local.clone();
    local.data.push("tour");
    if local.data.exists() {
        fs::remove_dir_all(&local.data).context("the data of the last tour cannot be removed")?;
    }
    let mut cluster = Local::prepare(&local)?;
    let mut report = Report::new(args.json);
    report.step("three regions start on this machine");
    for region in &cluster.regions() {
        cluster.start(region)?;
    }
    for region in &cluster.regions() {
        wait_until_ready(&mut cluster, region)?;
    }
    for (from, to) in pairs(&cluster.regions()) {
        wait_until_linked(&cluster, &from, &to)?;
    }
    // The loss comes first: what workers of the lost region may still have is waited out meanwhile.
    let orders = Orders::begin(&cluster, &mut report)?;
    let load_time = Duration::from_secs(args.load_seconds);
    let killed = loss::lose_a_region(&mut cluster, &mut report, load_time)?;
    let orders = orders.stop_sending();
    state::sessions(&cluster, &mut report)?;
    state::counters(&cluster, &mut report)?;
    state::locks(&cluster, &mut report)?;
    state::messages(&cluster, &mut report)?;
    flood::flood(&cluster, &mut report)?;
    orders.all_ran(&mut report, killed)?;
    objects::objects(&mut cluster, &mut report)?;
    report.step("the processes stop");
    cluster.stop()?;
    say(&report.render());
    Ok(if report.all_held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A connection to a region's RESP server.
fn connect(cluster: &Local, region: &RegionId) -> Result<Client> {
    let address = cluster.address(region, Server::Resp);
    Client::connect(address, ANSWER_WAIT).with_context(|| format!("cannot reach {region}"))
}

/// Every ordered pair of regions.
fn pairs(regions: &[RegionId]) -> Vec<(RegionId, RegionId)> {
    let pair = |from: &RegionId| {
        let others = regions.iter().filter(|to| *to != from).cloned();
        others.map(|to| (from.clone(), to)).collect::<Vec<_>>()
    };
    regions.iter().flat_map(pair).collect()
}

/// Waits until what one region writes reaches another: links come up in their own time.
fn wait_until_linked(cluster: &Local, from: &RegionId, to: &RegionId) -> Result<()> {
    let key = format!("tour:link:{from}:{to}");
    connect(cluster, from)?.call(&[b"SET", key.as_bytes(), b"1"])?;
    let give_up = std::time::Instant::now() + READY_WAIT_MAX;
    let mut reader = connect(cluster, to)?;
    while reader.value(&[b"GET", key.as_bytes()])?.is_none() {
        anyhow::ensure!(std::time::Instant::now() < give_up, "no link from {from} to {to}");
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

/// Waits until a region's node takes writes.
fn wait_until_ready(cluster: &mut Local, region: &RegionId) -> Result<()> {
    cluster.wait_for(region, Server::Resp)?;
    let give_up = std::time::Instant::now() + READY_WAIT_MAX;
    loop {
        let written = connect(cluster, region)?.call(&[b"SET", b"tour:ready", b"1"]);
        match written {
            Ok(_) => return Ok(()),
            Err(error) if std::time::Instant::now() > give_up => {
                return Err(error).with_context(|| format!("{region} takes no writes"));
            }
            Err(_) => thread::sleep(LOOK_INTERVAL),
        }
    }
}
