//! An independent S3 server, and a line to it that is slow, and can be cut.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
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
    net::{TcpListener, TcpStream as Stream},
    task::JoinSet,
};

pub(crate) const BUCKET: &str = "shipments";

/// The Python that has moto, as the environment says, else the one that `cargo xtask test` made.
fn python() -> Option<PathBuf> {
    let named = std::env::vars_os().find(|(name, _)| name == "RHUMB_TEST_PYTHON");
    if let Some((_, path)) = named {
        return Some(PathBuf::from(path));
    }
    let own = std::env::current_exe().ok()?;
    let made = own.ancestors().map(|folder| folder.join("xtask/python/bin/python"));
    made.into_iter().find(|path| path.is_file())
}

/// moto: a model of AWS in Python, with an S3 server of its own.
pub(crate) struct Moto {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Moto {
    /// Starts a server with one bucket; `None` where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let mut command = Command::new(python()?);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().ok()?;
        let mut said = BufReader::new(process.stderr.take()?).lines().map_while(Result::ok);
        let address = said.find_map(|line| {
            line.split_once("http://127.0.0.1:")?.1.split_whitespace().next()?.parse::<u16>().ok()
        });
        let Some(port) = address else {
            process.wait().ok()?;
            return None;
        };
        // It goes on to log every request.
        std::thread::spawn(move || said.for_each(drop));
        let moto = Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        moto.ask("PUT", &format!("/{BUCKET}"), b"").expect("a bucket");
        Some(moto)
    }

    /// One request without a signature, which moto does not ask for.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        let (host, length) = (self.address, body.len());
        let head =
            format!("{method} {path} HTTP/1.0\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if !answer.starts_with(b"HTTP/1.1 2") && !answer.starts_with(b"HTTP/1.0 2") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
        }
        Ok(answer.split_off(end + 4))
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

impl Drop for Moto {
    fn drop(&mut self) {
        let _ended = self.process.kill().and_then(|()| self.process.wait());
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

/// A line to a server that carries so many bytes in a second. It is cut when it is dropped.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    /// Bytes that went to the server.
    pub(crate) carried: Arc<AtomicU64>,
    _connections: JoinSet<()>,
}

impl Line {
    pub(crate) async fn to(server: SocketAddr, bytes_per_second: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let carried = Arc::<AtomicU64>::default();
        let count = Arc::clone(&carried);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(carry(client, server, bytes_per_second, Arc::clone(&count)));
            }
        });
        Self { address, carried, _connections: connections }
    }
}

async fn carry(
    client: Stream,
    server: SocketAddr,
    bytes_per_second: u64,
    carried: Arc<AtomicU64>,
) -> io::Result<()> {
    let (mut from_server, mut to_server) = Stream::connect(server).await?.into_split();
    let (mut from_client, mut to_client) = client.into_split();
    let there = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            to_server.write_all(buffer.get(..read).unwrap_or_default()).await?;
            carried.fetch_add(read as u64, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_micros(read as u64 * 1_000_000 / bytes_per_second))
                .await;
        }
    };
    let back = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! {
        done = there => done,
        done = back => done.map(|_| ()),
    }
}
