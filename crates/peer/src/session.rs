//! One link while it lasts: a queue out, a reader in, and one end for both.
//!
//! Every peer has two seats, one for bulk and one for heartbeats, and a seat holds one session at a
//! time. A session that arrives ends the one before it and waits until that has said `Down`, so that
//! the driver never sees two links of one peer overlap. A link that loses anything ends; it never
//! goes on with a gap.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError, RwLock,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use rhumb_ports::peer::{LINK_QUEUE_MESSAGES_MAX, PeerMessage, SendError};
use rhumb_types::{NodeId, RegionId};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::{
    connect::Tasks,
    event::{DownReason, Heard, PeerEvent},
    identity::Identity,
    limits::{HEARTBEAT_QUEUE_MESSAGES_MAX, LINK_INBOX_BYTES_MAX, LINK_QUEUE_BYTES_MAX},
    pb::Envelope,
    peer::LinkStatus,
    tls,
    wire::{self, WireError},
};

/// Room in an inbox is counted in these, so that a count fits 32 bits.
const ROOM_UNIT_BYTES: usize = 1 << 10;

/// Which of a peer's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Bulk,
    Heartbeat,
}

impl Lane {
    pub(crate) const fn of(message: &PeerMessage) -> Self {
        match message {
            PeerMessage::Heartbeat(_) | PeerMessage::HeartbeatReply(_) => Self::Heartbeat,
            _ => Self::Bulk,
        }
    }

    const fn queue_messages_max(self) -> usize {
        match self {
            Self::Bulk => LINK_QUEUE_MESSAGES_MAX,
            Self::Heartbeat => HEARTBEAT_QUEUE_MESSAGES_MAX,
        }
    }
}

/// Where the sessions of one peer and lane follow each other.
#[derive(Debug)]
pub(crate) struct Seat {
    lane: Lane,
    turn: Arc<tokio::sync::Mutex<()>>,
    latest: Mutex<Option<Arc<Session>>>,
    open: RwLock<Option<Arc<Session>>>,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

/// The two seats of a peer.
#[derive(Debug)]
pub(crate) struct Seats {
    pub(crate) bulk: Arc<Seat>,
    pub(crate) heartbeat: Arc<Seat>,
}

impl Default for Seats {
    fn default() -> Self {
        Self {
            bulk: Arc::new(Seat::new(Lane::Bulk)),
            heartbeat: Arc::new(Seat::new(Lane::Heartbeat)),
        }
    }
}

impl Seats {
    pub(crate) fn of(&self, lane: Lane) -> &Arc<Seat> {
        match lane {
            Lane::Bulk => &self.bulk,
            Lane::Heartbeat => &self.heartbeat,
        }
    }

    pub(crate) fn status(&self, region: &RegionId) -> LinkStatus {
        let bulk = self.bulk.current();
        LinkStatus {
            region: region.clone(),
            node: bulk.as_ref().map(|session| session.node()),
            heartbeats: self.heartbeat.current().is_some(),
            queued_messages: bulk
                .as_ref()
                .map_or(0, |session| session.queue.max_capacity() - session.queue.capacity()),
            queued_bytes: bulk
                .as_ref()
                .map_or(0, |session| session.queued_bytes.load(Ordering::Relaxed)),
            sent_bytes: self.both(|seat| &seat.sent_bytes),
            received_bytes: self.both(|seat| &seat.received_bytes),
        }
    }

    fn both(&self, counter: impl Fn(&Seat) -> &AtomicU64) -> u64 {
        let of = |seat: &Seat| counter(seat).load(Ordering::Relaxed);
        of(&self.bulk) + of(&self.heartbeat)
    }

    /// Whether both lanes are up, to this very node.
    pub(crate) fn are_taken_by(&self, node: NodeId) -> bool {
        let taken = |seat: &Seat| seat.current().is_some_and(|session| session.node() == node);
        taken(&self.bulk) && taken(&self.heartbeat)
    }

    pub(crate) fn end(&self, reason: &DownReason) {
        self.bulk.end(reason);
        self.heartbeat.end(reason);
    }
}

impl Seat {
    fn new(lane: Lane) -> Self {
        Self {
            lane,
            turn: Arc::default(),
            latest: Mutex::default(),
            open: RwLock::default(),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn send(&self, to: &RegionId, message: PeerMessage) -> Result<(), SendError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let session = open.as_ref().ok_or_else(|| SendError::Down(to.clone()))?;
        session.send(to, message)
    }

    pub(crate) fn end(&self, reason: &DownReason) {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(session) = latest {
            session.end(reason.clone());
        }
    }

    fn current(&self) -> Option<Arc<Session>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().filter(|session| !session.ended.is_cancelled()).cloned()
    }

    fn arrive(&self, session: &Arc<Session>) {
        let before =
            self.latest.lock().unwrap_or_else(PoisonError::into_inner).replace(Arc::clone(session));
        if let Some(before) = before {
            before.end(DownReason::Replaced);
        }
    }

    fn leave(&self, session: &Arc<Session>) {
        let is_same = |held: &Option<Arc<Session>>| {
            held.as_ref().is_some_and(|held| Arc::ptr_eq(held, session))
        };
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if is_same(&open) {
            *open = None;
        }
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if is_same(&latest) {
            *latest = None;
        }
    }
}

/// One link, from the moment its stream opened.
#[derive(Debug)]
pub(crate) struct Session {
    peer: Identity,
    seat: Arc<Seat>,
    queue: mpsc::Sender<PeerMessage>,
    queued_bytes: AtomicUsize,
    ended: CancellationToken,
    reason: OnceLock<DownReason>,
}

/// The parts of a session that its task owns.
#[derive(Debug)]
pub(crate) struct Running {
    session: Arc<Session>,
    queue: mpsc::Receiver<PeerMessage>,
    events: mpsc::Sender<Heard>,
    tasks: Tasks,
}

impl Session {
    pub(crate) fn region(&self) -> &RegionId {
        &self.peer.region
    }

    pub(crate) const fn node(&self) -> NodeId {
        self.peer.node
    }

    /// Lets messages in: the driver has taken `Up`.
    pub(crate) fn open(self: &Arc<Self>) {
        let mut open = self.seat.open.write().unwrap_or_else(PoisonError::into_inner);
        if !self.ended.is_cancelled() {
            *open = Some(Arc::clone(self));
        }
    }

    pub(crate) fn end(&self, reason: DownReason) {
        // The first reason is the true one.
        let _ = self.reason.set(reason);
        self.ended.cancel();
    }

    fn send(&self, to: &RegionId, message: PeerMessage) -> Result<(), SendError> {
        if self.ended.is_cancelled() {
            return Err(SendError::Down(to.clone()));
        }
        let weight = wire::weight(&message);
        let before = self.queued_bytes.fetch_add(weight, Ordering::Relaxed);
        // A message that is larger than the bound alone may wait alone.
        let fits = before == 0 || before + weight <= LINK_QUEUE_BYTES_MAX;
        if fits && self.queue.try_send(message).is_ok() {
            return Ok(());
        }
        self.end(DownReason::Full);
        Err(SendError::Full(to.clone()))
    }
}

impl Running {
    pub(crate) fn new(
        peer: Identity,
        seat: &Arc<Seat>,
        events: mpsc::Sender<Heard>,
        tasks: Tasks,
    ) -> Self {
        let (sender, queue) = mpsc::channel(seat.lane.queue_messages_max());
        let session = Arc::new(Session {
            peer,
            seat: Arc::clone(seat),
            queue: sender,
            queued_bytes: AtomicUsize::new(0),
            ended: CancellationToken::new(),
            reason: OnceLock::new(),
        });
        seat.arrive(&session);
        Self { session, queue, events, tasks }
    }

    /// Runs the link to its end, and says why it ended.
    pub(crate) async fn run(
        mut self,
        inbound: Streaming<Envelope>,
        outbound: mpsc::Sender<Envelope>,
    ) -> DownReason {
        let session = Arc::clone(&self.session);
        let turn = tokio::select! {
            turn = Arc::clone(&session.seat.turn).lock_owned() => turn,
            () = session.ended.cancelled() => return self.reason(),
        };
        if session.ended.is_cancelled() {
            return self.reason();
        }
        let lane = session.seat.lane;
        match lane {
            Lane::Heartbeat => session.open(),
            Lane::Bulk => {
                let up = Heard::Up(Arc::clone(&session));
                // Ended before the driver had room for `Up`: it hears of neither beginning nor end.
                tokio::select! {
                    biased;
                    () = session.ended.cancelled() => return self.reason(),
                    _ = self.events.send(up) => {}
                }
            }
        }
        let reason = tokio::select! {
            biased;
            () = session.ended.cancelled() => self.reason(),
            reason = read(&session, &self.events, &self.tasks, inbound) => reason,
            reason = write(&session, &mut self.queue, &self.tasks, outbound) => reason,
        };
        session.end(reason);
        session.seat.leave(&session);
        let reason = self.reason();
        if lane == Lane::Bulk {
            let region = session.region().clone();
            let down = PeerEvent::Down { region, reason: reason.clone() };
            // A driver that is gone need not hear it.
            tokio::select! {
                _ = self.events.send(Heard::Event(down)) => {}
                () = self.tasks.stop.cancelled() => {}
            }
        }
        drop(turn);
        reason
    }

    pub(crate) fn end(&self, reason: DownReason) {
        self.session.end(reason);
    }

    fn reason(&self) -> DownReason {
        self.session.reason.get().cloned().unwrap_or(DownReason::Closed)
    }
}

async fn write(
    session: &Session,
    queue: &mut mpsc::Receiver<PeerMessage>,
    tasks: &Tasks,
    outbound: mpsc::Sender<Envelope>,
) -> DownReason {
    while let Some(message) = queue.recv().await {
        let weight = wire::weight(&message);
        let sealed = if wire::seals_inline(weight) {
            wire::seal(&message)
        } else {
            offload(tasks, move || wire::seal(&message)).await
        };
        session.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
        match sealed {
            Ok(envelope) => {
                count(&session.seat.sent_bytes, &envelope);
                if outbound.send(envelope).await.is_err() {
                    // The reader knows why, and says so.
                    return std::future::pending().await;
                }
            }
            Err(error) => {
                tracing::error!(peer = %session.peer, %error, "a message cannot be sent");
                return DownReason::Protocol(error.to_string());
            }
        }
    }
    DownReason::Closed
}

async fn read(
    session: &Session,
    events: &mpsc::Sender<Heard>,
    tasks: &Tasks,
    mut inbound: Streaming<Envelope>,
) -> DownReason {
    let inbox = Arc::new(Semaphore::new(LINK_INBOX_BYTES_MAX / ROOM_UNIT_BYTES));
    loop {
        let envelope = match inbound.message().await {
            Ok(Some(envelope)) => envelope,
            Ok(None) => return DownReason::Closed,
            Err(status) => return DownReason::Lost(tls::explain(&status)),
        };
        count(&session.seat.received_bytes, &envelope);
        let opened = if wire::opens_inline(&envelope) {
            wire::open(&envelope)
        } else {
            offload(tasks, move || wire::open(&envelope)).await
        };
        let message = match opened.and_then(|message| expected(session, message)) {
            Ok(message) => message,
            Err(error) if error.is_newer() => return park(session, events, &error).await,
            Err(error) => {
                tracing::error!(peer = %session.peer, %error, "a link is dropped");
                return DownReason::Protocol(error.to_string());
            }
        };
        let units = (wire::weight(&message) / ROOM_UNIT_BYTES + 1)
            .min(LINK_INBOX_BYTES_MAX / ROOM_UNIT_BYTES);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&inbox).acquire_many_owned(units).await else {
            return DownReason::Closed;
        };
        let from = session.region().clone();
        if events.send(Heard::Message { from, message, room }).await.is_err() {
            return DownReason::Shutdown;
        }
    }
}

fn count(bytes: &AtomicU64, envelope: &Envelope) {
    bytes.fetch_add(envelope.payload.len() as u64, Ordering::Relaxed);
}

/// Refuses what a peer may not say here: a name that its certificate does not carry, or a message of
/// the other lane.
fn expected(session: &Session, message: PeerMessage) -> Result<PeerMessage, WireError> {
    if Lane::of(&message) != session.seat.lane {
        return Err(WireError::Damaged("heartbeats and bulk were mixed".to_owned()));
    }
    if let PeerMessage::Hello(hello) = &message
        && (hello.region != session.peer.region || hello.node != session.peer.node)
    {
        let reason = format!(
            "a hello of {}/{} under the certificate of {}",
            hello.region, hello.node, session.peer
        );
        return Err(WireError::Damaged(reason));
    }
    Ok(message)
}

/// Stops reading for as long as the link lasts.
async fn park(session: &Session, events: &mpsc::Sender<Heard>, error: &WireError) -> DownReason {
    tracing::error!(peer = %session.peer, %error, "a link is parked: upgrade this node");
    let event = PeerEvent::Parked { region: session.region().clone(), reason: error.to_string() };
    let _ = events.send(Heard::Event(event)).await;
    std::future::pending().await
}

/// Runs what takes long on the blocking pool.
async fn offload<T: Send + 'static>(
    tasks: &Tasks,
    work: impl FnOnce() -> Result<T, WireError> + Send + 'static,
) -> Result<T, WireError> {
    tasks
        .tracker
        .spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(WireError::Damaged(format!("the codec stopped: {error}"))))
}
