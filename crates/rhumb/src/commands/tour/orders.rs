//! Jobs around the loss of a region: every one that was accepted runs.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use rhumb_config::settings::Server;
use rhumb_types::RegionId;
use serde_json::json;

use super::{
    jobs::{Crew, Ledger, Node, Pace},
    report::{Report, millis},
    state::joined,
};
use crate::local::Local;

/// The queue. A job is accepted once another region has it, so that the loss of one costs none.
const QUEUE: &str = "orders";
/// The pause between two jobs.
const EVERY: Duration = Duration::from_millis(60);
/// How its workers work: together a little slower than the jobs come, so that some wait at the loss.
const PACE: Pace = Pace { at_once: 2, takes: Duration::from_millis(500) };
/// How long the last job may take after the loss: a worker of the lost region may have any job that could
/// have been leased, for twice the shortest lease of 30 s, after each of two changes of the owner.
const ALL_RAN_MAX: Duration = Duration::from_secs(150);
/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Jobs that are sent, and those who work on them.
pub(super) struct Orders {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<Vec<String>>>,
    pending: Pending,
}

/// Jobs that were all sent.
pub(super) struct Pending {
    accepted: Result<Vec<String>>,
    crew: Crew,
    ledger: Ledger,
}

impl Orders {
    /// Sends jobs to the first region from now on, and works on them everywhere.
    pub(super) fn begin(cluster: &Local, report: &mut Report) -> Result<Self> {
        let regions = cluster.regions();
        let Some(first) = regions.first() else { bail!("there are no regions") };
        report.step(&format!("jobs are sent to {first}, and worked on in every region"));
        Node::of(cluster, first)?.define(QUEUE, &json!({ "ack": "one_remote" }))?;
        let ledger = Ledger::default();
        let crew = Crew::hire(cluster, QUEUE, PACE, &ledger);
        let nodes: Vec<(RegionId, SocketAddr)> = regions
            .iter()
            .map(|region| (region.clone(), cluster.address(region, Server::Http)))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let sender = thread::spawn(move || send(&nodes, &stopped));
        let pending = Pending { accepted: Ok(Vec::new()), crew, ledger };
        Ok(Self { stop, sender, pending })
    }

    pub(super) fn stop_sending(self) -> Pending {
        self.stop.store(true, Ordering::Relaxed);
        Pending { accepted: joined(self.sender.join()), ..self.pending }
    }
}

/// Sends until told to stop, to the first region that answers; gives the jobs that were accepted.
fn send(nodes: &[(RegionId, SocketAddr)], stop: &AtomicBool) -> Result<Vec<String>> {
    let nodes: Vec<(&RegionId, Node)> = nodes
        .iter()
        .map(|(region, address)| Ok((region, Node::at(*address)?)))
        .collect::<Result<_>>()?;
    let mut accepted = Vec::new();
    let mut nth = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        for (region, node) in &nodes {
            nth += 1;
            // One that may have been taken in counts for nothing: another follows.
            let body = format!("order {nth}");
            let sent = node.send(QUEUE, region, vec![json!({ "body": body })]);
            let taken = sent.is_ok_and(|all| all.iter().any(|one| one.get("id").is_some()));
            if taken {
                accepted.push(body);
                break;
            }
        }
        thread::sleep(EVERY);
    }
    Ok(accepted)
}

impl Pending {
    /// Waits until all have run.
    pub(super) fn all_ran(self, report: &mut Report, lost_at: Instant) -> Result<()> {
        let accepted = self.accepted?;
        report.step("the last jobs are waited for, which a worker of the lost region might have");
        let mut ran = self.ledger.of(&accepted);
        while ran.0 < accepted.len() && lost_at.elapsed() < ALL_RAN_MAX {
            thread::sleep(LOOK_INTERVAL);
            ran = self.ledger.of(&accepted);
        }
        self.crew.dismiss()?;
        let (done, again, last) = ran;
        let last = last.map_or_else(String::new, |last| {
            format!(", the last {} after the loss", millis(last.saturating_duration_since(lost_at)))
        });
        report.row(
            "every job accepted before, during and after the loss ran",
            format!("{done} of {}, {again} of them a second time{last}", accepted.len()),
            done == accepted.len() && done > 0,
        );
        Ok(())
    }
}
