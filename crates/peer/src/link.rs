//! Keeping links: dial, run, pause, again.
//!
//! Of two nodes the one whose region's name sorts first dials, both for bulk and for heartbeats, and
//! each link carries both directions. So two nodes never dial each other at once, and a link is
//! either there for both or for none: a way that works in one direction only carries no TCP anyway.

use std::{sync::Arc, time::Duration};

use rhumb_ports::clock::Entropy;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::{
    connect::{Channel, DialError, Keepalive, origin},
    event::DownReason,
    identity::Identity,
    limits::{
        BACKOFF_MAX, BACKOFF_MIN, BACKOFF_RESET, ENCODED_MESSAGES_MAX, ENVELOPE_BYTES_MAX,
        OPEN_TIMEOUT,
    },
    member::Member,
    pb::{Envelope, peer_client::PeerClient},
    peer::Shared,
    session::{Lane, Running},
};

/// Why a link did not come about.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{address} refused the link: {reason}")]
    Refused { address: String, reason: String },
    #[error("{address} did not open the link within {} s", OPEN_TIMEOUT.as_secs())]
    Timeout { address: String },
}

/// Pauses that double up to a cap, with jitter, so that peers do not redial in step.
pub(crate) struct Backoff {
    pause: Duration,
    entropy: Arc<dyn Entropy>,
}

impl Backoff {
    pub(crate) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { pause: BACKOFF_MIN, entropy }
    }

    pub(crate) fn reset(&mut self) {
        self.pause = BACKOFF_MIN;
    }

    /// Between a half and the whole of the present pause; the next is twice as long.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.pause;
        self.pause = (whole * 2).min(BACKOFF_MAX);
        let half = whole / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_micros(self.entropy.next_u64() % micros)
    }
}

/// Keeps one lane to one member until told to stop.
pub(crate) async fn keep(shared: Arc<Shared>, member: Member, lane: Lane, stop: CancellationToken) {
    let mut backoff = Backoff::new(Arc::clone(&shared.entropy));
    let mut complaint = String::new();
    loop {
        let started = Instant::now();
        // Its node may have become known since.
        let listed = shared.roster.current().get(&member.region).cloned();
        let member = listed.unwrap_or_else(|| member.clone());
        let ended = tokio::select! {
            ended = attempt(&shared, &member, lane, &stop) => ended,
            () = stop.cancelled() => return,
        };
        let words = match &ended {
            Ok(reason) => reason.to_string(),
            Err(error) => error.to_string(),
        };
        // The same trouble again is not news.
        if words == complaint {
            tracing::debug!(region = %member.region, ?lane, reason = words, "no link");
        } else {
            tracing::warn!(region = %member.region, ?lane, reason = words, "no link");
            complaint = words;
        }
        if started.elapsed() >= BACKOFF_RESET {
            backoff.reset();
            complaint.clear();
        }
        tokio::select! {
            () = sleep(backoff.next()) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn attempt(
    shared: &Arc<Shared>,
    member: &Member,
    lane: Lane,
    stop: &CancellationToken,
) -> Result<DownReason, OpenError> {
    let keepalive = match lane {
        Lane::Bulk => Keepalive::BULK,
        Lane::Heartbeat => Keepalive::HEARTBEAT,
    };
    let (channel, peer) = shared.dialer.dial(member, keepalive).await?;
    let (outbound, envelopes) = mpsc::channel(ENCODED_MESSAGES_MAX);
    let address = member.address.clone();
    let inbound = match timeout(OPEN_TIMEOUT, open(channel.clone(), lane, envelopes)).await {
        Ok(Ok(inbound)) => inbound,
        Ok(Err(status)) => {
            return Err(OpenError::Refused { address, reason: channel.explain(&status).await });
        }
        Err(_) => return Err(OpenError::Timeout { address }),
    };
    // The stream keeps the connection; when it ends, the connection may close.
    drop(channel);
    let running = shared.running(peer, lane);
    if stop.is_cancelled() {
        running.end(DownReason::Removed);
    }
    // A task of its own: it says `Down` even when this loop is told to stop.
    let run = shared.dialer.tasks.spawn(running.run(inbound, outbound));
    Ok(run.await.ok().flatten().unwrap_or(DownReason::Shutdown))
}

async fn open(
    channel: Channel,
    lane: Lane,
    envelopes: mpsc::Receiver<Envelope>,
) -> Result<Streaming<Envelope>, tonic::Status> {
    let mut client = PeerClient::with_origin(channel, origin())
        .max_decoding_message_size(ENVELOPE_BYTES_MAX)
        .max_encoding_message_size(ENVELOPE_BYTES_MAX);
    let envelopes = ReceiverStream::new(envelopes);
    let answer = match lane {
        Lane::Bulk => client.link(envelopes).await?,
        Lane::Heartbeat => client.heartbeats(envelopes).await?,
    };
    Ok(answer.into_inner())
}

impl Shared {
    /// A session at the seat of a peer, ready to run.
    pub(crate) fn running(&self, peer: Identity, lane: Lane) -> Running {
        let seats = self.seats(&peer.region);
        let events = match lane {
            Lane::Bulk => self.bulk_events.clone(),
            Lane::Heartbeat => self.heartbeat_events.clone(),
        };
        Running::new(peer, seats.of(lane), events, self.dialer.tasks.clone())
    }
}
