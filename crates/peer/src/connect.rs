//! Dialling: TCP, TLS, HTTP/2, to one node that must be who we expect.

use std::{
    error::Error as StdError,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Uri};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower_service::Service;

use crate::{
    identity::{Identities, Identity},
    limits::{
        CALL_KEEPALIVE_INTERVAL, CALL_KEEPALIVE_TIMEOUT, DIAL_TIMEOUT, FLOW_WINDOW_BYTES,
        FRAME_BYTES_MAX, HEARTBEAT_KEEPALIVE_INTERVAL, HEARTBEAT_KEEPALIVE_TIMEOUT,
        KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, SEND_BUFFER_BYTES_MAX,
    },
    member::Member,
    shape::{ShapedStream, Shapes},
    tls::{self, Expected},
};

/// How long a failed request waits to hear what became of its connection.
const FATE_TIMEOUT: Duration = Duration::from_millis(50);

/// Why a peer could not be reached. Nothing was asked of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("connect to {address}: {source}")]
    Tcp { address: String, source: io::Error },
    #[error("shake hands with {address}: {reason}")]
    Tls { address: String, reason: String },
    #[error("speak HTTP/2 with {address}: {reason}")]
    Http { address: String, reason: String },
    #[error("set up TLS: {0}")]
    Setup(#[from] rustls::Error),
    #[error("{address} did not answer within {} s", DIAL_TIMEOUT.as_secs())]
    Timeout { address: String },
}

/// How quickly a connection must notice that its peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keepalive {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

impl Keepalive {
    pub(crate) const BULK: Self = Self { interval: KEEPALIVE_INTERVAL, timeout: KEEPALIVE_TIMEOUT };
    pub(crate) const CALL: Self =
        Self { interval: CALL_KEEPALIVE_INTERVAL, timeout: CALL_KEEPALIVE_TIMEOUT };
    pub(crate) const HEARTBEAT: Self =
        Self { interval: HEARTBEAT_KEEPALIVE_INTERVAL, timeout: HEARTBEAT_KEEPALIVE_TIMEOUT };
}

/// The adapter's task group. Everything spawned here ends when the adapter stops.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Tasks {
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(self.stop.clone().run_until_cancelled_owned(task))
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

/// An open HTTP/2 connection. It closes when the last clone is dropped and its streams have ended.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    sender: SendRequest<Body>,
    /// Why the connection failed, once it has.
    fate: watch::Receiver<Option<String>>,
}

impl Channel {
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Why a request had no answer.
    pub(crate) async fn explain(self, status: &tonic::Status) -> String {
        if status.source().is_none() {
            return format!("{:?}: {}", status.code(), status.message());
        }
        self.fate(status).await
    }

    /// What became of the connection, or else the error that showed it. A peer checks our
    /// certificate after TLS has let the first request go (RFC 8446 section 2), so only the
    /// connection knows why that was in vain.
    pub(crate) async fn fate(mut self, shown: &(dyn StdError + Sync + 'static)) -> String {
        match timeout(FATE_TIMEOUT, self.fate.wait_for(Option::is_some)).await {
            Ok(Ok(fate)) => fate.clone().unwrap_or_default(),
            _ => tls::explain(shown),
        }
    }

    pub(crate) async fn ready(&mut self) -> Result<(), hyper::Error> {
        std::future::poll_fn(|context| self.sender.poll_ready(context)).await
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}

/// What every dial of a node has in common.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(crate) identities: Arc<Identities>,
    pub(crate) shapes: Arc<Shapes>,
    pub(crate) tasks: Tasks,
}

impl Dialer {
    pub(crate) async fn dial(
        &self,
        member: &Member,
        keepalive: Keepalive,
    ) -> Result<(Channel, Identity), DialError> {
        let expected = Expected {
            cluster: self.identities.identity().cluster,
            region: member.region.clone(),
            node: member.node,
        };
        let config = tls::client_config(&self.identities, expected)?;
        let shape = self.shapes.watch(&member.region);
        let reach = async {
            let tcp = connect(&member.address).await?;
            // The handshake of TCP takes a round trip of its own.
            let round_trip = 2 * shape.borrow().delay;
            if !round_trip.is_zero() {
                sleep(round_trip).await;
            }
            let mut stream = ShapedStream::new(tcp);
            stream.lead_to(shape);
            secure(stream, config, keepalive, &member.address, &self.tasks).await
        };
        timeout(DIAL_TIMEOUT, reach)
            .await
            .map_err(|_| DialError::Timeout { address: member.address.clone() })?
    }
}

pub(crate) async fn connect(address: &str) -> Result<TcpStream, DialError> {
    let failed = |source| DialError::Tcp { address: address.to_owned(), source };
    let tcp = TcpStream::connect(address).await.map_err(failed)?;
    tcp.set_nodelay(true).map_err(failed)?;
    Ok(tcp)
}

pub(crate) async fn secure(
    stream: ShapedStream,
    config: Arc<ClientConfig>,
    keepalive: Keepalive,
    address: &str,
    tasks: &Tasks,
) -> Result<(Channel, Identity), DialError> {
    let secured =
        TlsConnector::from(config).connect(tls::server_name(), stream).await.map_err(|error| {
            DialError::Tls { address: address.to_owned(), reason: tls::explain(&error) }
        })?;
    let peer = secured
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(|certificate| Identity::of_certificate(certificate).ok())
        .ok_or_else(|| DialError::Http {
            address: address.to_owned(),
            reason: "it has no name".to_owned(),
        })?;
    let (sender, connection) = Builder::new(tasks.clone())
        .timer(TokioTimer::new())
        .initial_stream_window_size(FLOW_WINDOW_BYTES)
        .initial_connection_window_size(FLOW_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .keep_alive_interval(keepalive.interval)
        .keep_alive_timeout(keepalive.timeout)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(secured))
        .await
        .map_err(|error| DialError::Http {
            address: address.to_owned(),
            reason: tls::explain(&error),
        })?;
    let (tell, fate) = watch::channel(None);
    tasks.spawn(async move {
        let ended = connection.await.map_err(|error| tls::explain(&error));
        tell.send_replace(ended.err());
    });
    Ok((Channel { sender, fate }, peer))
}

/// The scheme and authority of requests; nobody looks at them.
pub(crate) fn origin() -> Uri {
    Uri::from_static("https://peer.rhumb")
}

/// An error with everything that caused it, in words.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        source = cause.source();
    }
    words
}
