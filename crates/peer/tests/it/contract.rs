//! The suite of the ports, over a relay that can lose every connection.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use rhumb_peer::{Peer, PeerEvent, Shape};
use rhumb_ports::{
    contract::peer::{Echo, LinkEvent, PeerPair, Side},
    peer::{CallError, PeerCall, PeerMessage, Service},
};
use rhumb_types::RegionId;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
};

use tokio_util::task::TaskTracker;

use crate::support::{Cluster, Running, region};

/// Two nodes; what the left one dials goes through a relay.
struct Pair {
    runtime: Runtime,
    left: Running,
    right: Running,
    lose: watch::Sender<u32>,
    _cluster: Cluster,
}

fn pair() -> Pair {
    let runtime = Runtime::new().unwrap();
    let lose = watch::Sender::new(0);
    let (cluster, left, right) = runtime.block_on(async {
        let mut cluster = Cluster::new(&["left", "right"]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = listener.local_addr().unwrap().to_string();
        let truth = std::mem::replace(&mut cluster.members[1].address, relay);
        let tasks = TaskTracker::new();
        tasks.spawn(relay_to(tasks.clone(), listener, truth.clone(), lose.subscribe()));
        let left = cluster.start_with_service("left", BTreeMap::new(), Echo).await;
        cluster.members[1].address = truth;
        let right = cluster.start_with_service("right", BTreeMap::new(), Echo).await;
        (cluster, left, right)
    });
    Pair { runtime, left, right, lose, _cluster: cluster }
}

async fn relay_to(
    tasks: TaskTracker,
    listener: TcpListener,
    address: String,
    lose: watch::Receiver<u32>,
) {
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let (address, mut lose) = (address.clone(), lose.clone());
        lose.mark_unchanged();
        tasks.spawn(async move {
            let Ok(mut far) = TcpStream::connect(address).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = lose.changed() => {}
            }
        });
    }
}

impl Pair {
    fn side(&mut self, side: Side) -> &mut Running {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    fn shape(&self, shape: Shape) {
        self.left.peer.shape(&region("right"), shape);
    }
}

impl PeerPair for Pair {
    type Link = Peer;

    fn link(&self, side: Side) -> &Peer {
        match side {
            Side::Left => &self.left.peer,
            Side::Right => &self.right.peer,
        }
    }

    fn region(&self, side: Side) -> RegionId {
        match side {
            Side::Left => region("left"),
            Side::Right => region("right"),
        }
    }

    fn next(&mut self, side: Side) -> LinkEvent {
        let runtime = self.runtime.handle().clone();
        loop {
            let event = runtime.block_on(self.side(side).next());
            match event {
                PeerEvent::Up { .. } => return LinkEvent::Up,
                PeerEvent::Down { .. } => return LinkEvent::Down,
                PeerEvent::Message { message: PeerMessage::Heartbeat(_), .. } => {}
                PeerEvent::Message { message, .. } => return LinkEvent::Message(message),
                PeerEvent::Parked { reason, .. } => panic!("{reason}"),
            }
        }
    }

    fn hold(&mut self) {
        self.shape(Shape { cut_outbound: true, cut_inbound: true, delay: Duration::ZERO });
    }

    fn release(&mut self) {
        self.shape(Shape::default());
    }

    fn lose(&mut self) {
        self.lose.send_modify(|count| *count += 1);
    }

    fn stop(&mut self, side: Side) {
        let runtime = self.runtime.handle().clone();
        runtime.block_on(self.side(side).peer.shutdown());
    }

    fn ask(&mut self, from: Side, request: &[u8]) -> Result<Bytes, CallError> {
        let to = self.region(from.other());
        let call = self.link(from).call(to, Service::Forward, Bytes::copy_from_slice(request));
        self.runtime.block_on(call)
    }
}

rhumb_ports::peer_contract!(pair());
