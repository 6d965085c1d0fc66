//! An independent S3 server, and a line to it that can fail.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream as Stream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

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

const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=tester/20261121/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0";

/// moto: a model of AWS in Python, with an S3 server of its own.
pub(crate) struct Moto {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Moto {
    /// Starts a server with one bucket; `None` where it is not installed.
    pub(crate) fn start(bucket: &str) -> Option<Self> {
        let python = python()?;
        let mut command = Command::new(python);
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
        moto.ask("PUT", &format!("/{bucket}"), b"").expect("a bucket");
        Some(moto)
    }

    /// One request; moto wants to know who signed it, and not whether it is true.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\nauthorization: {SIGNED}\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
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
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// What happens to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The server asks for patience.
    SlowDown,
    /// Nothing comes back.
    Silence,
    /// The answer ends after some bytes.
    Cut(u64),
}

/// A line to a server, in trouble for as many connections as are listed.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    troubles: Arc<Mutex<VecDeque<Trouble>>>,
    _connections: JoinSet<()>,
}

impl Line {
    /// A line in the open, or one with TLS up to its end.
    pub(crate) async fn to(server: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let troubles = Arc::<Mutex<VecDeque<Trouble>>>::default();
        let listed = Arc::clone(&troubles);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let trouble = listed.lock().expect("the list").pop_front();
                open.spawn(carry(client, tls.clone(), server, trouble));
            }
        });
        Self { address, troubles, _connections: connections }
    }

    pub(crate) fn trouble(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.troubles.lock().expect("the list").extend(troubles);
    }

    /// Troubles that did not happen yet.
    pub(crate) fn ahead(&self) -> usize {
        self.troubles.lock().expect("the list").len()
    }
}

async fn carry(
    mut client: Stream,
    tls: Option<TlsAcceptor>,
    server: SocketAddr,
    trouble: Option<Trouble>,
) -> io::Result<()> {
    match trouble {
        None => {
            let mut server = Stream::connect(server).await?;
            match tls {
                Some(tls) => {
                    copy_bidirectional(&mut tls.accept(client).await?, &mut server).await?
                }
                None => copy_bidirectional(&mut client, &mut server).await?,
            };
        }
        Some(Trouble::SlowDown) => {
            let mut request = [0; 1 << 16];
            let _some_of_it = client.read(&mut request).await?;
            let answer =
                b"HTTP/1.1 503 Slow Down\r\ncontent-length: 8\r\nconnection: close\r\n\r\nSlowDown";
            client.write_all(answer).await?;
            // Until the other side has it.
            while client.read(&mut request).await? > 0 {}
        }
        Some(Trouble::Silence) => tokio::time::sleep(Duration::from_secs(60)).await,
        Some(Trouble::Cut(after)) => {
            let mut server = Stream::connect(server).await?;
            let (mut from_client, mut to_client) = client.split();
            let (from_server, mut to_server) = server.split();
            let mut answer = from_server.take(after);
            tokio::select! {
                done = tokio::io::copy(&mut from_client, &mut to_server) => done?,
                done = tokio::io::copy(&mut answer, &mut to_client) => done?,
            };
        }
    }
    Ok(())
}
