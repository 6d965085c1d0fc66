//! Objects: read where their bytes do not lie, deleted while a region is away.

use std::{
    net::SocketAddr,
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
    uploads, wait_until_ready,
};
use crate::local::Local;

/// The bucket: an upload waits for two copies of three regions.
const BUCKET: &str = "tour";
/// A bucket whose bytes lie in the first two regions, and are brought to no third.
const NEAR: &str = "near";
/// Bytes of an object: too many for the index, few enough for one blob.
pub(super) const BYTES: usize = 4 << 20;
/// The most bytes of an object that is read.
pub(super) const BYTES_MAX: usize = 64 << 20;
/// How many blobs a node has stored, in its metrics.
const STORED: &str = "rhumb_blobs_stored_total";
/// Bytes of blobs that a node has read, for whomever.
const READ: &str = "rhumb_blobs_read_bytes_total";
/// How long the region that returns may take to know what was deleted.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

/// A region's S3 server.
pub(super) struct Shelf {
    remote: Remote,
    runtime: Runtime,
}

impl Shelf {
    fn of(cluster: &Local, region: &RegionId) -> Result<Self> {
        Self::in_bucket(cluster, region, BUCKET)
    }

    fn in_bucket(cluster: &Local, region: &RegionId, bucket: &str) -> Result<Self> {
        Self::at(cluster.address(region, Server::S3), region, bucket)
    }

    pub(super) fn at(address: SocketAddr, region: &RegionId, bucket: &str) -> Result<Self> {
        let remote = Remote::new(Site::new(region.clone(), &format!("http://{address}"), bucket))?;
        Ok(Self { remote, runtime: Builder::new_current_thread().enable_all().build()? })
    }

    pub(super) fn put(&self, key: &str, body: &Bytes) -> Result<()> {
        Ok(self.runtime.block_on(self.remote.put(key, std::slice::from_ref(body)))?)
    }

    pub(super) fn get(&self, key: &str) -> Result<Bytes> {
        Ok(self.runtime.block_on(self.remote.get(key, BYTES_MAX))?)
    }

    fn delete(&self, key: &str) -> Result<()> {
        Ok(self.runtime.block_on(self.remote.delete(key))?)
    }

    fn holds(&self, key: &str) -> bool {
        self.runtime.block_on(self.remote.head(key)).is_ok()
    }
}

/// Content that no other object of the tour has.
pub(super) fn content(nth: usize, bytes: usize) -> Bytes {
    let mut state = nth as u64 + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes().into_iter().next().unwrap_or_default()
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// Shows objects, and loses the second region meanwhile.
pub(super) fn objects(cluster: &mut Local, report: &mut Report) -> Result<()> {
    let regions = cluster.regions();
    let [first, lost, third, ..] = regions.as_slice() else { bail!("objects need three regions") };
    report.step(&format!("objects of {} MiB, an upload waits for two copies", BYTES >> 20));
    // This comes before any other object, so that the third region has stored nothing.
    read_through(cluster, report, [first, lost, third])?;
    let settings = json!({ "replication": "active_active", "copies": 2, "min_copies": 2 });
    Node::of(cluster, first)?.put_bucket(BUCKET, &settings)?;
    let (here, far) = (Shelf::of(cluster, first)?, Shelf::of(cluster, third)?);
    let at_lost = Shelf::of(cluster, lost)?;
    // The nodes agree on the bucket, and hear of it, in their own time.
    until("the bucket", || here.put("deleted", &content(1, BYTES)).is_ok())?;
    until("the object", || at_lost.holds("deleted") && far.holds("deleted"))?;
    uploads::go_on(cluster, report, BUCKET, [first, lost, third])?;
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

/// An object is read in a third region, to which its bytes are brought by nothing but the read.
fn read_through(
    cluster: &Local,
    report: &mut Report,
    [first, second, third]: [&RegionId; 3],
) -> Result<()> {
    let node = Node::of(cluster, first)?;
    let settings = json!({
        "replication": "regional", "copies": 2, "min_copies": 2,
        "regions": [first.as_str(), second.as_str()], "promote_after": 0,
    });
    node.put_bucket(NEAR, &settings)?;
    let here = Shelf::in_bucket(cluster, first, NEAR)?;
    let far = Shelf::in_bucket(cluster, third, NEAR)?;
    // The nodes agree on the bucket, and hear of it, in their own time.
    until("the bucket", || here.put("ready", &content(0, BYTES)).is_ok())?;
    until("the bucket", || far.holds("ready"))?;
    let holders = [node, Node::of(cluster, second)?];
    let served = || holders.iter().map(|node| node.counted(READ)).sum::<Result<u64>>();
    let third_node = Node::of(cluster, third)?;
    let body = content(2, BYTES);
    let began = Instant::now();
    here.put("near", &body)?;
    let written = began.elapsed();
    let (stored, before) = (third_node.counted(STORED)?, served()?);
    let asked = Instant::now();
    let read = far.get("near").context("a third region does not know what was acknowledged")?;
    let took = asked.elapsed();
    let moved = served()? - before;
    let kept = third_node.counted(STORED)?;
    report.row(
        format!("an object of {first} is read in {third} at once, where its bytes are not"),
        format!(
            "written twice in {}, read in {}; {third} stored {stored} blobs before and {kept} after, \
             and got {} KiB from the others",
            millis(written),
            millis(took),
            moved >> 10
        ),
        read == body && stored == 0 && kept == 0 && moved >= BYTES as u64,
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
