//! What each node says of the regions, looked at all the time from beside the node.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, de::DeserializeOwned};

use super::place::Place;

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a node may take to answer a look.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// What a node says of a region.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct RegionView {
    /// Whether this node finds nothing wrong with it.
    pub(super) healthy: bool,
    /// Whether this node does not route to it.
    pub(super) down: bool,
    /// Whether the others have agreed that it is down.
    pub(super) condemned: bool,
    /// Whether nothing restricts it: it is active, and gets its whole share.
    pub(super) restored: bool,
    /// Who holds its lease.
    pub(super) holder: Option<String>,
    /// How old the oldest write of this node is that it has not acknowledged; none for itself.
    pub(super) behind: Option<Duration>,
}

/// What a node says at a moment.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct View {
    pub(super) at: Instant,
    pub(super) ready: bool,
    /// The region that leads the control plane, as far as this node knows.
    pub(super) leader: Option<String>,
    pub(super) regions: BTreeMap<String, RegionView>,
}

#[derive(Deserialize)]
struct RegionsPage {
    regions: Vec<RegionRow>,
}

#[derive(Deserialize)]
struct RegionRow {
    region: String,
    health: String,
    ramp: f64,
    agreed: Option<Agreed>,
    lease: Option<Lease>,
}

#[derive(Deserialize)]
struct Agreed {
    state: String,
    verdict: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Lease {
    holder: Option<Holder>,
}

#[derive(Deserialize)]
struct Holder {
    region: String,
}

#[derive(Deserialize)]
struct StatusPage {
    ready: bool,
    peers: Vec<PeerRow>,
    control: Option<Control>,
}

#[derive(Deserialize)]
struct Control {
    leader: Option<String>,
    members: Vec<MemberRow>,
}

#[derive(Deserialize)]
struct MemberRow {
    node: String,
    region: String,
}

#[derive(Deserialize)]
struct PeerRow {
    region: String,
    lag: Lag,
}

#[derive(Deserialize)]
struct Lag {
    it_behind_here_ms: u64,
}

/// The looks at one node.
#[derive(Debug)]
pub(super) struct Watch {
    views: Arc<Mutex<Vec<View>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Watch {
    /// Looks from a place.
    pub(super) fn start(place: Place, http: SocketAddr) -> Self {
        let (views, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (shared, ended) = (Arc::clone(&views), stop.clone());
        let thread = thread::spawn(move || {
            place.enter()?;
            while !ended.load(Ordering::Acquire) {
                if let Ok(view) = look(http) {
                    locked(&shared).push(view);
                }
                thread::sleep(LOOK_INTERVAL);
            }
            Ok(())
        });
        Self { views, stop, thread: Some(thread) }
    }

    /// The last look, unless it is older than `longest`.
    pub(super) fn last(&self, longest: Duration) -> Option<View> {
        locked(&self.views).last().filter(|view| view.at.elapsed() < longest).cloned()
    }

    /// All looks since this was asked last.
    pub(super) fn take(&self) -> Vec<View> {
        std::mem::take(&mut locked(&self.views))
    }

    /// Ends it.
    pub(super) fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("a watch panicked"))?,
            None => Ok(()),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // What it failed with, `end` says.
        let _ended = self.end();
    }
}

fn locked(views: &Mutex<Vec<View>>) -> MutexGuard<'_, Vec<View>> {
    views.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look(http: SocketAddr) -> Result<View> {
    let page: RegionsPage = get(http, "/v1/regions")?;
    let status: StatusPage = get(http, "/v1/status")?;
    let lags: BTreeMap<String, Lag> =
        status.peers.into_iter().map(|peer| (peer.region, peer.lag)).collect();
    let regions = page.regions.into_iter().map(|row| {
        let lag = lags.get(&row.region);
        let view = RegionView {
            healthy: row.health == "healthy",
            down: row.health == "down",
            condemned: row.agreed.as_ref().is_some_and(|agreed| agreed.verdict.is_some()),
            restored: row.ramp >= 1.0 && row.agreed.is_some_and(|agreed| agreed.state == "active"),
            holder: row.lease.and_then(|lease| lease.holder).map(|holder| holder.region),
            behind: lag.map(|lag| Duration::from_millis(lag.it_behind_here_ms)),
        };
        (row.region, view)
    });
    let regions = regions.collect();
    let leader = status.control.and_then(|control| {
        let led = control
            .members
            .into_iter()
            .find(|member| Some(&member.node) == control.leader.as_ref());
        led.map(|member| member.region)
    });
    Ok(View { at: Instant::now(), ready: status.ready, leader, regions })
}

/// An answer in JSON.
fn get<T: DeserializeOwned>(http: SocketAddr, path: &str) -> Result<T> {
    let mut stream = TcpStream::connect_timeout(&http, ANSWER_WAIT)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    let ask = format!("GET {path} HTTP/1.1\r\nhost: {http}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer without an end of head")?;
    Ok(serde_json::from_str(body)?)
}
