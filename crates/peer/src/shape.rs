//! Injected distance and injected partitions, for `rhumb dev`, tours and tests.
//!
//! A [`Shape`] says how long bytes to a region take, and whether they go at all. It is applied under
//! TLS, to every connection with that region alike: bulk, heartbeats and calls. Bytes are never
//! dropped or reordered; a cut holds them back, as a network would whose packets are sent again
//! until they arrive.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, IoSlice},
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use rhumb_types::RegionId;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};
use tokio_stream::{Stream, wrappers::WatchStream};

use crate::limits::DELAYED_BYTES_MAX;

/// Bytes written within this time of each other travel as one parcel.
const PARCEL_SPAN: Duration = Duration::from_micros(250);
/// Most bytes of one parcel.
const PARCEL_BYTES_MAX: usize = 256 << 10;

/// How the way to a region is impaired on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// How long what this node sends takes: half of the round trip.
    pub delay: Duration,
    /// Nothing that this node sends arrives.
    pub cut_outbound: bool,
    /// Nothing that the region sends arrives here.
    pub cut_inbound: bool,
}

/// The shapes of all regions, changed while running.
#[derive(Debug, Default)]
pub(crate) struct Shapes(Mutex<BTreeMap<RegionId, watch::Sender<Shape>>>);

impl Shapes {
    pub(crate) fn set(&self, region: &RegionId, shape: Shape) {
        self.with(region, |sender| sender.send_replace(shape));
    }

    pub(crate) fn get(&self, region: &RegionId) -> Shape {
        self.with(region, |sender| *sender.borrow())
    }

    pub(crate) fn watch(&self, region: &RegionId) -> watch::Receiver<Shape> {
        self.with(region, |sender| sender.subscribe())
    }

    fn with<T>(&self, region: &RegionId, act: impl FnOnce(&watch::Sender<Shape>) -> T) -> T {
        let mut shapes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(shapes.entry(region.clone()).or_default())
    }
}

/// Bytes that left this node together.
#[derive(Debug)]
struct Parcel {
    due: Instant,
    bytes: BytesMut,
}

#[derive(Debug)]
struct Way {
    shape: watch::Receiver<Shape>,
    changes: WatchStream<Shape>,
    parcels: VecDeque<Parcel>,
    held_bytes: usize,
    timer: Pin<Box<Sleep>>,
}

/// A TCP stream whose way may be shaped.
#[derive(Debug)]
pub(crate) struct ShapedStream {
    inner: TcpStream,
    way: Option<Way>,
}

impl ShapedStream {
    /// A stream that is not shaped, until it is known to whom it leads.
    pub(crate) const fn new(inner: TcpStream) -> Self {
        Self { inner, way: None }
    }

    /// From here on the stream has a region's shape.
    pub(crate) fn lead_to(&mut self, shape: watch::Receiver<Shape>) {
        self.way = Some(Way {
            changes: WatchStream::from_changes(shape.clone()),
            shape,
            parcels: VecDeque::new(),
            held_bytes: 0,
            timer: Box::pin(sleep_until(Instant::now())),
        });
    }
}

impl Way {
    /// Whether bytes can go straight to the socket.
    fn is_plain(&self) -> bool {
        let shape = *self.shape.borrow();
        self.parcels.is_empty() && shape.delay.is_zero() && !shape.cut_outbound
    }

    /// Waits for the shape to change: wakes the task then. True when it has changed already.
    fn has_changed(&mut self, context: &mut Context<'_>) -> bool {
        matches!(Pin::new(&mut self.changes).poll_next(context), Poll::Ready(Some(_)))
    }

    fn accept(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(DELAYED_BYTES_MAX - self.held_bytes.min(DELAYED_BYTES_MAX));
        let bytes = bytes.get(..taken).unwrap_or_default();
        let due = Instant::now() + self.shape.borrow().delay;
        self.held_bytes += taken;
        match self.parcels.back_mut() {
            Some(last) if last.due + PARCEL_SPAN >= due && last.bytes.len() < PARCEL_BYTES_MAX => {
                last.bytes.extend_from_slice(bytes);
            }
            // Order holds when the delay shrinks: nothing overtakes.
            Some(last) => {
                let due = due.max(last.due);
                self.parcels.push_back(Parcel { due, bytes: bytes.into() });
            }
            None => self.parcels.push_back(Parcel { due, bytes: bytes.into() }),
        }
        taken
    }

    /// Sends what is due. Whatever it stops at wakes the task.
    fn advance(&mut self, inner: &mut TcpStream, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            if self.shape.borrow().cut_outbound {
                if self.has_changed(context) {
                    continue;
                }
                return Ok(());
            }
            let Some(parcel) = self.parcels.front_mut() else {
                return Ok(());
            };
            if parcel.due > Instant::now() {
                self.timer.as_mut().reset(parcel.due);
                if self.timer.as_mut().poll(context).is_pending() {
                    return Ok(());
                }
            }
            match Pin::new(&mut *inner).poll_write(context, &parcel.bytes) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(sent)) => {
                    parcel.bytes.advance(sent);
                    self.held_bytes -= sent;
                    if parcel.bytes.is_empty() {
                        self.parcels.pop_front();
                    }
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
    }
}

impl AsyncRead for ShapedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, way } = self.get_mut();
        if let Some(way) = way {
            // The task that owns a connection always waits for reads, so this is where the timer
            // and the socket find somebody to wake.
            way.advance(inner, context)?;
            while way.shape.borrow().cut_inbound {
                if !way.has_changed(context) {
                    return Poll::Pending;
                }
            }
        }
        Pin::new(inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for ShapedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, way } = self.get_mut();
        let Some(way) = way.as_mut().filter(|way| !way.is_plain()) else {
            return Pin::new(inner).poll_write(context, bytes);
        };
        way.advance(inner, context)?;
        let taken = way.accept(bytes);
        if taken == 0 && !bytes.is_empty() {
            return Poll::Pending;
        }
        way.advance(inner, context)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.way.as_ref().is_none_or(Way::is_plain) {
            return Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        }
        let mut taken = 0;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            match self.as_mut().poll_write(context, slice) {
                Poll::Ready(Ok(count)) => taken += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if taken == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, way } = self.get_mut();
        if let Some(way) = way {
            way.advance(inner, context)?;
        }
        Pin::new(inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, way } = self.get_mut();
        if let Some(way) = way {
            way.advance(inner, context)?;
            if !way.parcels.is_empty() {
                return Poll::Pending;
            }
        }
        ready!(Pin::new(&mut *inner).poll_flush(context))?;
        Pin::new(inner).poll_shutdown(context)
    }
}
