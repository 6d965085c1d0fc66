//! Accepting: who is there, and what they may ask.
//!
//! A connection with a certificate of this cluster reaches the service `Peer`; one without reaches
//! `Joining`, and only while this node hands out identities. The two are different HTTP services on
//! different connections, so no request can slip from one to the other.

#[cfg(test)]
mod tests;

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2::Builder};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prost::Message;
use rhumb_ports::peer::Service as PeerPart;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Status, Streaming, body::Body};
use tower_service::Service;

use crate::{
    connect::{Keepalive, chain},
    event::DownReason,
    identity::{Identity, NameError},
    join::{Grant, JoinDesk},
    limits::{
        CALL_BYTES_MAX, CONNECTIONS_MAX, DRAIN_TIMEOUT, ENCODED_MESSAGES_MAX, ENVELOPE_BYTES_MAX,
        FLOW_WINDOW_BYTES, FRAME_BYTES_MAX, HANDSHAKE_TIMEOUT, JOIN_BYTES_MAX, JOINER_LIFETIME,
        JOINERS_MAX, SEND_BUFFER_BYTES_MAX, STREAMS_MAX,
    },
    pb::{
        CallReply, CallRequest, Envelope, JoinReply, JoinRequest, call_reply::Outcome,
        joining_server, peer_server,
    },
    peer::Shared,
    session::Lane,
    shape::ShapedStream,
    tls,
    wire::service_of,
};

/// How long to wait when the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What HTTP/2 grants to a connection.
#[derive(Clone, Copy)]
struct Room {
    window_bytes: u32,
    streams: u32,
    /// Most streams that were reset before they were looked at. Members reset many at once when
    /// calls time out; past the bound the connection ends, as it should for a flood of resets
    /// (CVE-2023-44487).
    resets: usize,
}

impl Room {
    const MEMBER: Self =
        Self { window_bytes: FLOW_WINDOW_BYTES, streams: STREAMS_MAX, resets: 1_024 };
    const GUEST: Self = Self { window_bytes: 64 << 10, streams: 4, resets: 4 };
}

/// Accepts until the adapter stops.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener, tls: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let joiners = Arc::new(Semaphore::new(JOINERS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.closing.cancelled() => return,
        };
        let tcp = match accepted {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                tracing::warn!(%error, "a peer's connection cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("more than {CONNECTIONS_MAX} peer connections: one is closed");
            continue;
        };
        let welcome =
            welcome(Arc::clone(&shared), tcp, acceptor.clone(), Arc::clone(&joiners), place);
        shared.dialer.tasks.spawn(welcome);
    }
}

async fn welcome(
    shared: Arc<Shared>,
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    joiners: Arc<Semaphore>,
    place: OwnedSemaphorePermit,
) {
    let address = tcp.peer_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
    let _ = tcp.set_nodelay(true);
    let handshake = acceptor.accept(ShapedStream::new(tcp));
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_TIMEOUT, handshake) => shaken,
        () = shared.closing.cancelled() => return,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::warn!(address, error = tls::explain(&error), "a peer's connection is refused");
            return;
        }
        Err(_) => {
            tracing::warn!(address, "a peer's connection did not finish its handshake");
            return;
        }
    };
    match caller(&stream) {
        Some(Ok(identity)) => serve_peer(shared, stream, identity).await,
        Some(Err(error)) => tracing::warn!(address, %error, "a peer's connection is refused"),
        None => match joiners.try_acquire_owned() {
            Ok(_guest) => serve_joiner(shared, stream, &address).await,
            Err(_) => tracing::warn!(address, "too many nodes are joining at once"),
        },
    }
    drop(place);
}

/// Who is there; `None` without a certificate. What is there was verified in the handshake.
fn caller(stream: &TlsStream<ShapedStream>) -> Option<Result<Identity, NameError>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    Some(Identity::of_certificate(certificate))
}

async fn serve_peer(shared: Arc<Shared>, mut stream: TlsStream<ShapedStream>, identity: Identity) {
    stream.get_mut().0.lead_to(shared.dialer.shapes.watch(&identity.region));
    if let Err(refusal) = shared.roster.admit(&identity) {
        tracing::warn!(%refusal, "a peer will be refused");
    }
    let peer = peer_server::PeerServer::new(Conversation { shared: Arc::clone(&shared), identity })
        .max_decoding_message_size(CALL_BYTES_MAX.max(ENVELOPE_BYTES_MAX))
        .max_encoding_message_size(CALL_BYTES_MAX.max(ENVELOPE_BYTES_MAX));
    serve(&shared, stream, peer, Room::MEMBER).await;
}

async fn serve_joiner(shared: Arc<Shared>, stream: TlsStream<ShapedStream>, address: &str) {
    tracing::info!(address, "a connection without a certificate may only join");
    let joining = joining_server::JoiningServer::new(Guest { shared: Arc::clone(&shared) })
        .max_decoding_message_size(JOIN_BYTES_MAX);
    let serving = serve(&shared, stream, joining, Room::GUEST);
    if timeout(JOINER_LIFETIME, serving).await.is_err() {
        tracing::warn!(address, "a connection without a certificate lasted too long");
    }
}

async fn serve<S>(shared: &Shared, stream: TlsStream<ShapedStream>, service: S, room: Room)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let connection = Builder::new(shared.dialer.tasks.clone())
        .timer(TokioTimer::new())
        .initial_stream_window_size(room.window_bytes)
        .initial_connection_window_size(room.window_bytes)
        .max_pending_accept_reset_streams(room.resets)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .max_concurrent_streams(room.streams)
        .keep_alive_interval(Keepalive::BULK.interval)
        .keep_alive_timeout(Keepalive::BULK.timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shared.closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(DRAIN_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = chain(&error), "a peer's connection ended");
    }
}

/// What an authenticated node may ask, on one connection.
struct Conversation {
    shared: Arc<Shared>,
    identity: Identity,
}

impl Conversation {
    /// Members change while connections last, so every request is checked.
    fn admit(&self) -> Result<(), Status> {
        self.shared.roster.admit(&self.identity).map_err(|refusal| {
            tracing::warn!(%refusal, "a peer is refused");
            Status::permission_denied(refusal.to_string())
        })
    }

    fn join_link(
        &self,
        lane: Lane,
        inbound: Streaming<Envelope>,
    ) -> Result<tonic::Response<Envelopes>, Status> {
        self.admit()?;
        let own = self.shared.dialer.identities.identity();
        if self.identity.region >= own.region {
            let reason =
                format!("{} dials {}, not the other way", own.region, self.identity.region);
            return Err(Status::failed_precondition(reason));
        }
        let (outbound, envelopes) = mpsc::channel(ENCODED_MESSAGES_MAX);
        let running = self.shared.running(self.identity.clone(), lane);
        // The members may have changed before the session could be seen and ended.
        if self.shared.roster.admit(&self.identity).is_err() {
            running.end(DownReason::Removed);
        }
        let peer = self.identity.clone();
        self.shared.dialer.tasks.spawn(async move {
            let reason = running.run(inbound, outbound).await;
            tracing::debug!(%peer, ?lane, %reason, "a link ended");
        });
        Ok(tonic::Response::new(ReceiverStream::new(envelopes).map(Ok)))
    }
}

impl Conversation {
    async fn renew(&self, request: Bytes) -> Result<Bytes, String> {
        let reply = renew(&self.shared, self.identity.clone(), request).await?;
        Ok(reply.encode_to_vec().into())
    }
}

/// Signs for a node that has proved who it is.
pub(crate) async fn renew(
    shared: &Shared,
    identity: Identity,
    request: Bytes,
) -> Result<JoinReply, String> {
    let signed =
        move |desk: &JoinDesk| desk.renew(identity, &request).map_err(|error| error.to_string());
    sign(shared, signed).await
}

/// Admits a node by its invitation, once the cluster agrees to have it.
async fn admit(shared: &Shared, request: JoinRequest) -> Result<JoinReply, String> {
    let JoinRequest { secret, signing_request } = request;
    let taken = move |desk: &JoinDesk| {
        desk.admit(&secret, &signing_request).map_err(|error| error.to_string())
    };
    let admission = at_desk(shared, taken).await?;
    let agreed = match (&admission.newcomer, shared.registrar.get()) {
        (Some(newcomer), Some(register)) => register(newcomer.clone()).await,
        (Some(_), None) => Err("this node is still starting: try again".to_owned()),
        (None, _) => Ok(()),
    };
    // Dropped before here, the invitation is spent: whether the cluster agreed is not known.
    let settle = move |_: &JoinDesk| {
        let kept = if agreed.is_ok() { admission.settle() } else { admission.put_back() };
        kept.map_err(|error| error.to_string())?;
        agreed.map(|()| admission.grant)
    };
    let grant = at_desk(shared, settle).await?;
    Ok(reply(shared, grant))
}

/// Has the desk sign.
async fn sign(
    shared: &Shared,
    work: impl FnOnce(&JoinDesk) -> Result<Grant, String> + Send + 'static,
) -> Result<JoinReply, String> {
    Ok(reply(shared, at_desk(shared, work).await?))
}

/// Does something at the desk, off the async tasks: it reads and writes files.
async fn at_desk<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(&JoinDesk) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let desk = shared.desk.get().cloned().ok_or_else(|| {
        "this node does not hold the cluster's authority: use a token of the node that does"
            .to_owned()
    })?;
    let done = shared.dialer.tasks.tracker.spawn_blocking(move || work(&desk)).await;
    done.map_err(|error| error.to_string())?
}

fn reply(shared: &Shared, grant: Grant) -> JoinReply {
    let Grant { identity, certificate, secret } = grant;
    tracing::info!(%identity, "a certificate was issued");
    let authorities = shared.dialer.identities.current().authorities.clone();
    JoinReply {
        certificate: certificate.to_vec().into(),
        authorities: authorities.iter().map(|der| der.to_vec().into()).collect(),
        cluster_secret: secret.map(|secret| secret.as_bytes().to_vec().into()).unwrap_or_default(),
    }
}

type Envelopes =
    tokio_stream::adapters::Map<ReceiverStream<Envelope>, fn(Envelope) -> Result<Envelope, Status>>;

#[tonic::async_trait]
impl peer_server::Peer for Conversation {
    type LinkStream = Envelopes;
    type HeartbeatsStream = Envelopes;

    async fn link(
        &self,
        request: tonic::Request<Streaming<Envelope>>,
    ) -> Result<tonic::Response<Envelopes>, Status> {
        self.join_link(Lane::Bulk, request.into_inner())
    }

    async fn heartbeats(
        &self,
        request: tonic::Request<Streaming<Envelope>>,
    ) -> Result<tonic::Response<Envelopes>, Status> {
        self.join_link(Lane::Heartbeat, request.into_inner())
    }

    async fn call(
        &self,
        request: tonic::Request<CallRequest>,
    ) -> Result<tonic::Response<CallReply>, Status> {
        self.admit()?;
        let CallRequest { service, payload } = request.into_inner();
        let known = service_of(service).ok_or_else(|| {
            Status::unimplemented(format!("service {service} is unknown here: upgrade this node"))
        })?;
        if known == PeerPart::Join {
            let outcome = self.renew(payload).await.map_or_else(Outcome::Refused, Outcome::Answer);
            return Ok(tonic::Response::new(CallReply { outcome: Some(outcome) }));
        }
        let answers = self
            .shared
            .service
            .get()
            .ok_or_else(|| Status::unavailable("this node is still starting"))?;
        let answer = answers.answer(self.identity.region.clone(), known, payload).await;
        let outcome = answer.map_or_else(Outcome::Refused, Outcome::Answer);
        Ok(tonic::Response::new(CallReply { outcome: Some(outcome) }))
    }
}

/// What anybody may ask.
struct Guest {
    shared: Arc<Shared>,
}

#[tonic::async_trait]
impl joining_server::Joining for Guest {
    async fn join(
        &self,
        request: tonic::Request<JoinRequest>,
    ) -> Result<tonic::Response<JoinReply>, Status> {
        match admit(&self.shared, request.into_inner()).await {
            Ok(reply) => Ok(tonic::Response::new(reply)),
            Err(reason) => {
                tracing::warn!(reason, "a node may not join");
                Err(Status::permission_denied(reason))
            }
        }
    }
}
