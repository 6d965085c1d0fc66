//! A line to a server that can fail.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream as Stream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

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
