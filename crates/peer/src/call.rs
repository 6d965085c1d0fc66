//! Questions and answers: one connection per peer and service, so that none delays another.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rhumb_ports::peer::{CallError, Service};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::{
    connect::{Channel, DialError, Dialer, Keepalive, origin},
    limits::{CALL_BYTES_MAX, CALLS_IN_FLIGHT_MAX, CALLS_WAITING_MAX},
    member::Member,
    pb::{CallReply, CallRequest, call_reply::Outcome, peer_client::PeerClient},
    wire::service_number,
};

/// After a failed dial, callers hear its reason for this long before the next is tried.
const REDIAL_PAUSE: Duration = Duration::from_millis(100);

type Dialled = Option<Result<Channel, String>>;

#[derive(Debug)]
enum State {
    Idle,
    Dialling(watch::Receiver<Dialled>),
    Open(Channel),
    Failed { until: Instant, reason: String },
}

/// The connection for one service at one member.
#[derive(Debug)]
pub(crate) struct Line {
    member: Member,
    service: Service,
    dialer: Dialer,
    turns: Semaphore,
    waiting: AtomicUsize,
    state: Mutex<State>,
}

/// Counts a caller for as long as it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Line {
    pub(crate) fn new(member: Member, service: Service, dialer: Dialer) -> Self {
        Self {
            member,
            service,
            dialer,
            turns: Semaphore::new(CALLS_IN_FLIGHT_MAX),
            waiting: AtomicUsize::new(0),
            state: Mutex::new(State::Idle),
        }
    }

    pub(crate) async fn ask(self: Arc<Self>, request: Bytes) -> Result<Bytes, CallError> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Waiting(&self.waiting);
        if waiting >= CALLS_WAITING_MAX + CALLS_IN_FLIGHT_MAX {
            let reason = format!("{waiting} calls are waiting already");
            return Err(self.unreachable(false, reason));
        }
        let turn = self.turns.acquire().await;
        let mut channel = self.channel().await.map_err(|reason| self.unreachable(false, reason))?;
        if let Err(error) = channel.ready().await {
            return Err(self.unreachable(false, channel.fate(&error).await));
        }
        let mut client = PeerClient::with_origin(channel.clone(), origin())
            .max_decoding_message_size(CALL_BYTES_MAX)
            .max_encoding_message_size(CALL_BYTES_MAX);
        let request = CallRequest { service: service_number(self.service), payload: request };
        let answer = client.call(request).await;
        drop((turn, place));
        match answer.map(tonic::Response::into_inner) {
            Ok(CallReply { outcome: Some(Outcome::Answer(answer)) }) => Ok(answer),
            Ok(CallReply { outcome: Some(Outcome::Refused(reason)) }) => {
                Err(CallError::Refused { peer: self.peer(), reason })
            }
            Ok(CallReply { outcome: None }) => {
                Err(CallError::Refused { peer: self.peer(), reason: "it said nothing".into() })
            }
            Err(status) => Err(self.failed(channel, &status).await),
        }
    }

    /// Dials, unless there is a connection or a reason against it.
    pub(crate) fn prepare(self: &Arc<Self>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_needed = match &*state {
            State::Open(channel) => channel.is_closed(),
            State::Failed { until, .. } => *until <= Instant::now(),
            State::Dialling(_) => false,
            State::Idle => true,
        };
        if is_needed {
            *state = State::Dialling(self.dial());
        }
    }

    /// The open connection, or the one being dialled. The dial belongs to nobody: a caller that
    /// gives up does not end it for the others, nor for its own next try.
    async fn channel(self: &Arc<Self>) -> Result<Channel, String> {
        let mut dialling = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match &*state {
                State::Open(channel) if !channel.is_closed() => return Ok(channel.clone()),
                State::Failed { until, reason } if Instant::now() < *until => {
                    return Err(reason.clone());
                }
                State::Dialling(dialling) => dialling.clone(),
                State::Idle | State::Open(_) | State::Failed { .. } => {
                    let dialling = self.dial();
                    *state = State::Dialling(dialling.clone());
                    dialling
                }
            }
        };
        let dialled = dialling.wait_for(Option::is_some).await;
        dialled
            .map_err(|_| "this node is shutting down".to_owned())
            .and_then(|dialled| dialled.clone().unwrap_or_else(|| Err("no answer".to_owned())))
    }

    fn dial(self: &Arc<Self>) -> watch::Receiver<Dialled> {
        let (told, dialling) = watch::channel(None);
        let line = Arc::clone(self);
        self.dialer.tasks.spawn(async move {
            let dialled = line.dialer.dial(&line.member, Keepalive::CALL).await;
            let dialled = line.settle(dialled.map(|(channel, _)| channel));
            told.send_replace(Some(dialled));
        });
        dialling
    }

    fn settle(&self, dialled: Result<Channel, DialError>) -> Result<Channel, String> {
        let dialled = dialled.map_err(|error| error.to_string());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match &dialled {
            Ok(channel) => State::Open(channel.clone()),
            Err(reason) => {
                State::Failed { until: Instant::now() + REDIAL_PAUSE, reason: reason.clone() }
            }
        };
        dialled
    }

    /// What a failed call means. A status without a source was sent by the peer, and it sends them
    /// only before it hands a call to a service; a status with one comes from this end's connection.
    async fn failed(&self, channel: Channel, status: &tonic::Status) -> CallError {
        let source = std::error::Error::source(status);
        let Some(cause) = source else {
            if status.code() == tonic::Code::Unavailable {
                return self.unreachable(false, status.message().to_owned());
            }
            return CallError::Refused { peer: self.peer(), reason: channel.explain(status).await };
        };
        let never_sent = std::iter::successors(Some(cause), |error| error.source())
            .filter_map(|error| error.downcast_ref::<hyper::Error>())
            .any(hyper::Error::is_canceled);
        self.unreachable(!never_sent, channel.explain(status).await)
    }

    fn unreachable(&self, sent: bool, reason: String) -> CallError {
        CallError::Unreachable { peer: self.peer(), sent, reason }
    }

    fn peer(&self) -> String {
        format!("{} ({})", self.member.region, self.member.address)
    }
}
