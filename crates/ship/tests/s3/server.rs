//! An independent S3 server, and a line to it that is slow, and can be cut.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rhumb_ship::{Credentials, Remote, Site};
use rhumb_types::RegionId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream as Stream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

pub(crate) use crate::moto::Moto;

/// A rate that is no limit here.
pub(crate) const FAST: u64 = 1 << 40;
pub(crate) const BUCKET: &str = "shipments";

impl Moto {
    /// A server with the one bucket; `None` where it is not installed.
    pub(crate) fn with_bucket() -> Option<Self> {
        let moto = Self::start()?;
        moto.make(BUCKET);
        Some(moto)
    }

    /// The keys of the bucket that begin so.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.ask("GET", &format!("/{BUCKET}?list-type=2&prefix={prefix}"), b"");
        let text = String::from_utf8(listed.expect("a listing")).expect("XML");
        let keys = text.split("<Key>").skip(1);
        keys.map(|rest| rest.split_once("</Key>").expect("XML").0.to_owned()).collect()
    }

    /// Flips a bit in the middle of an object.
    pub(crate) async fn flip(&self, key: &str) {
        let remote = remote("any", self.address);
        let mut bytes = remote.get(key, 64 << 20).await.expect("the object").to_vec();
        let middle = bytes.len() / 2;
        *bytes.get_mut(middle).expect("a byte") ^= 4;
        remote.put(key, &[bytes.into()]).await.expect("its change");
    }
}

/// The bucket of a region at this address.
pub(crate) fn remote(region: &str, address: SocketAddr) -> Remote {
    let credentials = Credentials { key_id: "tester".into(), secret: "secret".into(), token: None };
    let region = RegionId::new(region).expect("a region's name");
    let site = Site::new(region, &format!("http://{address}"), BUCKET);
    let site = Site { signing_region: "us-east-1".to_owned(), ..site.signed(credentials) };
    Remote::new(site).expect("a client")
}

/// How a line is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Bytes per second of each connection, to the server and back.
    pub(crate) rates: [u64; 2],
    /// How many bytes it takes to the server in all. Then it stands still, with its connections open.
    pub(crate) room: u64,
    /// Whether it is whole. One that is cut has no connections, and takes no new ones.
    pub(crate) whole: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { rates: [FAST; 2], room: u64::MAX, whole: true }
    }
}

/// A line to a server. It is cut when it is dropped.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    /// Bytes that went to the server.
    pub(crate) carried: Arc<AtomicU64>,
    terms: watch::Sender<Terms>,
    _connections: JoinSet<()>,
}

impl Line {
    /// One that takes so many bytes in a second.
    pub(crate) async fn to(server: SocketAddr, bytes_per_second: u64) -> Self {
        Self::with(server, Terms { rates: [bytes_per_second, FAST], ..Terms::default() }).await
    }

    pub(crate) async fn with(server: SocketAddr, terms: Terms) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (terms, carried) = (watch::Sender::new(terms), Arc::<AtomicU64>::default());
        let (known, count) = (terms.subscribe(), Arc::clone(&carried));
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (mut cut, known, count) = (known.clone(), known.clone(), Arc::clone(&count));
                open.spawn(async move {
                    tokio::select! {
                        biased;
                        _ = cut.wait_for(|terms| !terms.whole) => {}
                        _ = carry(client, server, known, &count) => {}
                    }
                });
            }
        });
        Self { address, carried, terms, _connections: connections }
    }

    /// Is otherwise from now on.
    pub(crate) fn set(&self, terms: Terms) {
        self.terms.send_replace(terms);
    }

    /// Whether it took all that it has room for.
    pub(crate) fn stands(&self) -> bool {
        self.carried.load(Ordering::Relaxed) >= self.terms.borrow().room
    }
}

async fn carry(
    client: Stream,
    server: SocketAddr,
    terms: watch::Receiver<Terms>,
    carried: &AtomicU64,
) -> io::Result<()> {
    let (from_server, to_server) = Stream::connect(server).await?.into_split();
    let (from_client, to_client) = client.into_split();
    tokio::select! {
        done = pump(from_client, to_server, terms.clone(), Some(carried)) => done,
        done = pump(from_server, to_client, terms, None) => done,
    }
}

/// Carries one way; what goes to the server is counted.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut terms: watch::Receiver<Terms>,
    carried: Option<&AtomicU64>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        if let Some(carried) = carried {
            let room = |terms: &Terms| carried.load(Ordering::Relaxed) < terms.room;
            let more = terms.wait_for(room).await;
            drop(more.map_err(|_| io::ErrorKind::ConnectionAborted)?);
            carried.fetch_add(read as u64, Ordering::Relaxed);
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
        let [there, back] = terms.borrow().rates;
        let rate = if carried.is_some() { there } else { back };
        tokio::time::sleep(Duration::from_micros(read as u64 * 1_000_000 / rate)).await;
    }
}
