//! Sockets: TLS, bounds of heads, shutdown.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rcgen::{CertificateParams, KeyPair};
use rhumb_types::control::ApiRole;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::harness::{Client, Node, bearer, engine, loopback, token};
use rhumb_front::{Listener, ListenerError};

use crate::{HttpConfig, HttpError, HttpServer, Surroundings, TlsError, TlsFiles};

/// Writes a fresh certificate; gives it back for the client to trust.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let names = vec!["node.example".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.join("c.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("k.pem"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles {
        certificate: folder.join("c.pem"),
        key: folder.join("k.pem"),
        client_authorities: None,
    }
}

async fn handshake(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("node.example").unwrap();
    let port = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let stream = TcpStream::connect(port).await?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn exposed(folder: &Path) -> HttpConfig {
    let (address, tls) = (SocketAddr::from(([0, 0, 0, 0], 0)), Some(files(folder)));
    HttpConfig {
        listener: Listener { address, auth: true, tls },
        tokens: vec![token("reader", ApiRole::Reader)],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_it_speaks_tls_to_bearers_of_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certificate(folder.path());
    let node = Node::start(exposed(folder.path()), |_| {}).await;
    let stream = handshake(node.address, &trusted, b"http/1.1").await.unwrap();
    let mut client = Client::over(stream, &node.engine, "node.example".to_owned()).await;
    client.get("/v1/status").await.problem(401, "unauthenticated");
    let auth = bearer("reader");
    let seen = client.send("GET", "/v1/status", &[("authorization", &auth)], "").await.expect(200);
    assert_eq!(seen.header("strict-transport-security"), "max-age=31536000");
    // Plain HTTP gets no answer there.
    let port = SocketAddr::from(([127, 0, 0, 1], node.address.port()));
    let mut plain = TcpStream::connect(port).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _reset = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let old = certificate(folder.path());
    let node = Node::start(exposed(folder.path()), |_| {}).await;
    let open = handshake(node.address, &old, b"http/1.1").await.unwrap();
    let new = certificate(folder.path());
    assert!(handshake(node.address, &new, b"http/1.1").await.is_err(), "not read yet");
    node.server.reload().unwrap();
    handshake(node.address, &new, b"http/1.1").await.unwrap();
    assert!(handshake(node.address, &old, b"http/1.1").await.is_err());
    let mut client = Client::over(open, &node.engine, "node.example".to_owned()).await;
    client.get("/healthz").await.expect(200);
    // A broken file changes nothing.
    std::fs::write(folder.path().join("k.pem"), "nonsense").unwrap();
    assert!(matches!(node.server.reload(), Err(TlsError::File { .. })));
    handshake(node.address, &new, b"http/1.1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_authorities_a_client_must_show_a_certificate_of_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certificate(folder.path());
    let client_authorities = Some(folder.path().join("c.pem"));
    let tls = Some(TlsFiles { client_authorities, ..files(folder.path()) });
    let mut config = exposed(folder.path());
    config.listener.tls = tls;
    let node = Node::start(config, |_| {}).await;
    // With TLS 1.3 the refusal comes after the client's side of the handshake.
    let refused = async {
        let mut stream = handshake(node.address, &trusted, b"http/1.1").await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        stream.read_u8().await
    };
    assert!(refused.await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_where_the_handshake_agrees_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certificate(folder.path());
    let node = Node::start(exposed(folder.path()), |_| {}).await;
    let stream = handshake(node.address, &trusted, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let stream = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    node.engine.tasks().spawn_until_stopped(async move {
        let _ended = connection.await;
    });
    let request = http::Request::get("https://node.example/readyz");
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.version(), http::Version::HTTP_2);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_not_built_without_what_its_address_needs() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let metrics = || {
        let region = super::harness::region(super::harness::HERE);
        let metrics = Arc::new(rhumb_engine::telemetry::Metrics::new("test", &region));
        Surroundings::new(rhumb_types::NodeId(1), region, metrics)
    };
    let engine = engine();
    let build = |config: &HttpConfig| HttpServer::new(config, engine.clone(), metrics());
    let refused = |config: &HttpConfig| match build(config) {
        Err(HttpError::Listener(error)) => error,
        built => panic!("{built:?}"),
    };
    let mut open = exposed(folder.path());
    open.listener.auth = false;
    assert!(matches!(refused(&open), ListenerError::Exposed { missing: "`auth: true`", .. }));
    let mut plain = exposed(folder.path());
    plain.listener.tls = None;
    assert!(matches!(refused(&plain), ListenerError::Exposed { missing: "`tls: true`", .. }));
    std::fs::write(folder.path().join("c.pem"), "").unwrap();
    let empty = refused(&exposed(folder.path()));
    assert!(matches!(empty, ListenerError::Tls(TlsError::Empty(_))), "{empty:?}");
    std::fs::remove_file(folder.path().join("c.pem")).unwrap();
    let gone = refused(&exposed(folder.path()));
    assert!(matches!(gone, ListenerError::Tls(TlsError::File { .. })));
    let taken = build(&HttpConfig::open(loopback())).unwrap();
    let address = taken.listen().await.unwrap();
    let second = build(&HttpConfig::open(address)).unwrap().listen().await;
    assert!(matches!(second, Err(ListenerError::Listen { .. })));
}

async fn raw(node: &Node, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _reset = tokio::time::timeout(Duration::from_secs(5), reading).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_oversized_heads_are_refused_and_harm_nobody() {
    let node = Node::open().await;
    let mut other = node.client().await;
    for (request, status) in [
        (b"nonsense\r\n\r\n".to_vec(), "400"),
        (b"GET / HTTP/9.9\r\n\r\n".to_vec(), ""),
        (format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 << 10)).into(), "431"),
        (format!("GET /healthz HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200)).into(), "431"),
    ] {
        let answer = raw(&node, &request).await;
        assert!(
            answer.is_empty() && status.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        assert!(answer.contains(status), "{status}: {answer}");
        other.get("/healthz").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_requests_in_flight_end_and_takes_no_more() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let mut slow = TcpStream::connect(node.address).await.unwrap();
    let head = "PUT /v1/kv/slow HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 4\r\n\r\nab";
    slow.write_all(head.as_bytes()).await.unwrap();
    client.get("/healthz").await.expect(200);
    // Long enough for its head to be read before the stop.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let tasks = node.engine.tasks().clone();
    let finish = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        slow.write_all(b"cd").await.unwrap();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (stopped, answer) = tokio::join!(tasks.stop(), finish);
    assert!(stopped);
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(TcpStream::connect(node.address).await.is_err(), "it listens no more");
}
