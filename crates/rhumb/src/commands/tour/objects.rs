//! Objects: read before they have come, written while a region dies, deleted while one is away.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use rhumb_config::settings::Server;
use rhumb_ship::{Remote, Site};
use rhumb_types::RegionId;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::{
    LOOK_INTERVAL, READY_WAIT_MAX,
    jobs::Node,
    report::{Report, millis},
    wait_until_ready,
};
use crate::local::Local;

/// The bucket: an upload waits for two copies of three regions.
const BUCKET: &str = "tour";
/// Bytes of an object: too many for the index, few enough for one blob.
const BYTES: usize = 4 << 20;
/// Uploads while a region is killed, and after how many it is.
const UPLOADS: usize = 12;
const KILLED_AFTER: usize = 4;
/// How long the region that returns may take to know what was deleted.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

/// A region's S3 server.
struct Shelf {
    remote: Remote,
    runtime: Runtime,
}

impl Shelf {
    fn of(cluster: &Local, region: &RegionId) -> Result<Self> {
        let endpoint = format!("http://{}", cluster.address(region, Server::S3));
        let remote = Remote::new(Site::new(region.clone(), &endpoint, BUCKET))?;
        Ok(Self { remote, runtime: Builder::new_current_thread().enable_all().build()? })
    }

    fn put(&self, key: &str, body: &Bytes) -> Result<()> {
        Ok(self.runtime.block_on(self.remote.put(key, std::slice::from_ref(body)))?)
    }

    fn get(&self, key: &str) -> Result<Bytes> {
        Ok(self.runtime.block_on(self.remote.get(key, BYTES))?)
    }

    fn delete(&self, key: &str) -> Result<()> {
        Ok(self.runtime.block_on(self.remote.delete(key))?)
    }

    fn holds(&self, key: &str) -> bool {
        self.runtime.block_on(self.remote.head(key)).is_ok()
    }
}

/// Content that no other object of the tour has.
fn content(nth: usize) -> Bytes {
    let mut state = nth as u64 + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes().into_iter().next().unwrap_or_default()
    };
    std::iter::repeat_with(next).take(BYTES).collect()
}

/// Shows objects, and loses the second region meanwhile.
pub(super) fn objects(cluster: &mut Local, report: &mut Report) -> Result<()> {
    let regions = cluster.regions();
    let [first, lost, third, ..] = regions.as_slice() else { bail!("objects need three regions") };
    report.step(&format!("objects of {} MiB, an upload waits for two copies", BYTES >> 20));
    let settings = json!({ "replication": "active_active", "copies": 2, "min_copies": 2 });
    Node::of(cluster, first)?.put_bucket(BUCKET, &settings)?;
    let (here, far) = (Shelf::of(cluster, first)?, Shelf::of(cluster, third)?);
    at_once(report, (first, &here), (third, &far))?;
    here.put("deleted", &content(1))?;
    let at_lost = Shelf::of(cluster, lost)?;
    until("the object", || at_lost.holds("deleted"))?;
    report.step(&format!("{lost} is killed with SIGKILL while {first} takes uploads"));
    uploads(cluster, report, &here, lost)?;
    here.delete("deleted")?;
    report.step(&format!("{lost} starts again on its disk"));
    cluster.start(lost)?;
    wait_until_ready(cluster, lost)?;
    let since = Instant::now();
    cluster.wait_for(lost, Server::S3)?;
    let back = Shelf::of(cluster, lost)?;
    let mut gone = false;
    while !gone && since.elapsed() < CATCH_UP_MAX {
        gone = !back.holds("deleted");
        thread::sleep(LOOK_INTERVAL);
    }
    let took = since.elapsed();
    let still = back.holds("deleted") || here.holds("deleted") || far.holds("deleted");
    report.row(
        format!("what is deleted while {lost} is away stays deleted"),
        format!("known in {lost} {} after it served", millis(took)),
        gone && !still,
    );
    Ok(())
}

/// An object is read in a third region as soon as it is acknowledged.
fn at_once(
    report: &mut Report,
    (first, here): (&RegionId, &Shelf),
    (third, far): (&RegionId, &Shelf),
) -> Result<()> {
    // The nodes agree on the bucket, and hear of it, in their own time.
    until("the bucket", || here.put("ready", &content(0)).is_ok())?;
    until("the bucket", || far.holds("ready"))?;
    let body = content(2);
    let began = Instant::now();
    here.put("near", &body)?;
    let written = began.elapsed();
    let read = far.get("near").context("a third region does not know what was acknowledged")?;
    let took = began.elapsed() - written;
    report.row(
        format!("an object of {first} is read in {third} at once"),
        format!("written twice in {}, read in {}", millis(written), millis(took)),
        read == body,
    );
    Ok(())
}

fn uploads(cluster: &mut Local, report: &mut Report, here: &Shelf, lost: &RegionId) -> Result<()> {
    let (mut slowest, mut failed) = (Duration::ZERO, Vec::new());
    for nth in 0..UPLOADS {
        if nth == KILLED_AFTER {
            cluster.kill(lost)?;
        }
        let began = Instant::now();
        let key = format!("upload/{nth}");
        if let Err(error) = here.put(&key, &content(10 + nth)) {
            failed.push(format!("{key}: {error:#}"));
        }
        slowest = slowest.max(began.elapsed());
    }
    let whole = (0..UPLOADS).filter(|nth| {
        here.get(&format!("upload/{nth}")).is_ok_and(|body| body == content(10 + nth))
    });
    let whole = whole.count();
    for line in &failed {
        report.step(line);
    }
    report.row(
        format!("uploads go on, twice each, while {lost} dies"),
        format!("{whole} of {UPLOADS}, the slowest in {}", millis(slowest)),
        whole == UPLOADS && failed.is_empty(),
    );
    Ok(())
}

fn until(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let give_up = Instant::now() + READY_WAIT_MAX;
    while !holds() {
        ensure!(Instant::now() < give_up, "{what} never came");
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}
