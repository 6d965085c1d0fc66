//! Blobs through the client of GCS. What it asks differs from S3 in the names of two headers and in who is
//! shown to ask; so moto answers it, behind an interpreter that says those in S3's words. What GCS itself
//! would answer is not shown here.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rhumb_blobs::{BucketBlobs, BucketSettings, Key, Keys};
use rhumb_ports::contract::blobs::{BlobsFactory, cases};
use rhumb_types::record::BlobHash;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    damage, moto,
    moto::{Moto, SIGNED},
    settings, whole_contract,
};

/// The client of GCS writes a `-` as `%2D`, which moto does not read in the name of a bucket.
const BUCKET: &str = "blobs";
/// The key of an account for which no token is fetched, as models of GCS are given.
const ACCOUNT_KEY: &str = r#"{"private_key": "", "private_key_id": "", "client_email": "",
                               "disable_oauth": true}"#;
/// What GCS calls otherwise than S3 ("Migrate from Amazon S3", "HTTP headers for the XML API").
const WORDS: [(&str, &str); 2] = [
    ("x-goog-if-generation-match: 0", "if-none-match: *"),
    ("x-goog-copy-source: ", "x-amz-copy-source: "),
];
/// Longest head of a request that is interpreted, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Stands between a client of GCS and moto.
struct Interpreter {
    address: SocketAddr,
    /// How often each of [`WORDS`] was said.
    said: Arc<[AtomicUsize; WORDS.len()]>,
    _connections: JoinSet<()>,
}

impl Interpreter {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let said = Arc::<[AtomicUsize; WORDS.len()]>::default();
        let heard = Arc::clone(&said);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let heard = Arc::clone(&heard);
                open.spawn(async move { carry(client, server, &heard[..]).await });
            }
        });
        Self { address, said, _connections: connections }
    }
}

/// One request, and its answer as it comes. The connection ends with it.
async fn carry(mut client: TcpStream, server: SocketAddr, heard: &[AtomicUsize]) -> io::Result<()> {
    let mut came = Vec::new();
    let end = loop {
        let end = came.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            break end + 2;
        }
        if came.len() > HEAD_BYTES_MAX || client.read_buf(&mut came).await? == 0 {
            return Ok(());
        }
    };
    let body = came.split_off(end);
    let head = String::from_utf8(came).map_err(io::Error::other)?;
    let mut server = TcpStream::connect(server).await?;
    server.write_all(interpret(&head, heard).as_bytes()).await?;
    server.write_all(&body).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// The lines of a head in S3's words.
fn interpret(head: &str, heard: &[AtomicUsize]) -> String {
    let mut said = String::new();
    for line in head.lines().filter(|line| !line.starts_with("authorization:")) {
        let found = WORDS.iter().zip(heard).find(|((word, _), _)| line.starts_with(word));
        match found {
            Some(((word, meaning), count)) => {
                count.fetch_add(1, Ordering::Relaxed);
                said.extend([*meaning, &line[word.len()..], "\r\n"]);
            }
            None => said.extend([line, "\r\n"]),
        }
    }
    said.extend(["authorization: ", SIGNED, "\r\nconnection: close\r\n"]);
    said
}

struct OnGcs<'a> {
    server: &'a (Moto, Interpreter),
    prefix: String,
    keys: Keys,
}

impl BlobsFactory for OnGcs<'_> {
    type Blobs = BucketBlobs;
    async fn open(&mut self) -> BucketBlobs {
        let usual = settings("", &self.prefix, self.keys.clone());
        let base = format!("http://{}", self.server.1.address);
        let options = [("base_url", base.as_str()), ("service_account_key", ACCOUNT_KEY)];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let url = format!("gs://{BUCKET}/{}", self.prefix);
        BucketBlobs::open(BucketSettings { url, options, ..usual }).expect("they name a bucket")
    }
    async fn damage(&mut self, _: &BucketBlobs, hash: BlobHash) {
        damage(&self.server.0, (BUCKET, &self.prefix), hash);
    }
}

#[tokio::test]
async fn the_contract_holds_for_requests_of_gcs() {
    let Some(moto) = moto() else { return };
    moto.make(BUCKET);
    let interpreter = Interpreter::before(moto.address).await;
    let server = (moto, interpreter);
    whole_contract!(OnGcs { server: &server });
    let said = server.1.said.each_ref().map(|count| count.load(Ordering::Relaxed) > 0);
    assert_eq!(said, [true; WORDS.len()], "blobs are created only where none is, and set aside");
}
