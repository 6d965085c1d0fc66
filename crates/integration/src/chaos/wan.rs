//! The network between places: every packet is held for as long as its way takes.
//!
//! Each place has a TUN device, and one thread that reads it and one that writes it. A packet that meets a
//! cut, a loss or a full queue is dropped, as routers do; nothing is answered for it.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use tun_rs::SyncDevice;

use super::place::{PACKET_BYTES, Place};

/// Packets on their way to one place at most.
const QUEUE_MAX: usize = 16_384;
/// How long a writer without packets waits for one.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// Where the addresses stand in a header of IPv4 (RFC 791, 3.1).
const SOURCE: std::ops::Range<usize> = 12..16;
const TARGET: std::ops::Range<usize> = 16..20;
/// Parts of a loss.
const PER_MILLE: u32 = 1_000;

/// What a way does to the packets on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Trouble {
    /// None arrives.
    pub(super) cut: bool,
    /// All take so much longer.
    pub(super) more: Duration,
    /// So many of a thousand are lost.
    pub(super) lost_per_mille: u32,
}

/// The way from one place to another.
#[derive(Debug)]
struct Way {
    delay: Duration,
    cut: AtomicBool,
    more_micros: AtomicU64,
    lost_per_mille: AtomicU32,
}

impl Way {
    const fn new(delay: Duration) -> Self {
        Self {
            delay,
            cut: AtomicBool::new(false),
            more_micros: AtomicU64::new(0),
            lost_per_mille: AtomicU32::new(0),
        }
    }

    fn set(&self, trouble: Trouble) {
        let micros = u64::try_from(trouble.more.as_micros()).unwrap_or(u64::MAX);
        self.more_micros.store(micros, Ordering::Relaxed);
        self.lost_per_mille.store(trouble.lost_per_mille, Ordering::Relaxed);
        self.cut.store(trouble.cut, Ordering::Release);
    }

    /// How long a packet takes; none when it does not arrive.
    fn takes(&self, dice: &mut Dice) -> Option<Duration> {
        let lost = self.lost_per_mille.load(Ordering::Relaxed);
        if self.cut.load(Ordering::Acquire) || (lost > 0 && dice.below(PER_MILLE) < lost) {
            return None;
        }
        Some(self.delay + Duration::from_micros(self.more_micros.load(Ordering::Relaxed)))
    }
}

/// A stream of numbers from a seed (a 64-bit congruential generator with Knuth's constants).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Self(seed);
        // Neighbouring seeds differ from the second number on.
        dice.below(1);
        dice
    }

    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(bound.max(1))).unwrap_or(0)
    }
}

/// A packet under way. Ordered by when it arrives, then by when it was sent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Parcel {
    due: Instant,
    sent: Instant,
    bytes: Vec<u8>,
}

/// The network. Its threads end with the process.
#[derive(Debug)]
pub(super) struct Wan {
    ways: Arc<Vec<Vec<Way>>>,
}

impl Wan {
    /// Connects places; `delay` says how long a packet takes from one to another.
    pub(super) fn connect(
        places: &[Place],
        seed: u64,
        delay: impl Fn(usize, usize) -> Duration,
    ) -> Result<Self> {
        let row = |from| (0..places.len()).map(|to| Way::new(delay(from, to))).collect();
        let ways: Arc<Vec<Vec<Way>>> = Arc::new((0..places.len()).map(row).collect());
        let mut readers = Vec::new();
        let mut queues: Vec<(Ipv4Addr, SyncSender<Parcel>)> = Vec::new();
        for place in places {
            let device = place.device()?;
            let (queue, parcels) = sync_channel(QUEUE_MAX);
            queues.push((place.address, queue));
            readers.push(device.clone());
            thread::spawn(move || deliver(&device, &parcels));
        }
        for (nth, device) in (0_u64..).zip(readers) {
            let (ways, queues) = (ways.clone(), queues.clone());
            thread::spawn(move || read(&device, &ways, &queues, Dice::new(seed ^ nth)));
        }
        Ok(Self { ways })
    }

    /// Troubles the way from one place to another, or ends its trouble.
    pub(super) fn set(&self, from: usize, to: usize, trouble: Trouble) {
        if let Some(way) = self.ways.get(from).and_then(|row| row.get(to)) {
            way.set(trouble);
        }
    }
}

/// Takes what a place sends to the queue of where it goes.
fn read(
    device: &SyncDevice,
    ways: &[Vec<Way>],
    queues: &[(Ipv4Addr, SyncSender<Parcel>)],
    mut dice: Dice,
) {
    let mut packet = vec![0; usize::from(PACKET_BYTES)];
    let place = |bytes: &[u8]| {
        let address = Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?);
        queues.iter().position(|(of, _)| *of == address)
    };
    while let Ok(length) = device.recv(&mut packet) {
        let bytes = packet.get(..length).unwrap_or_default();
        let ends = bytes.get(SOURCE).and_then(place).zip(bytes.get(TARGET).and_then(place));
        let Some((from, to)) = ends else { continue };
        let way = ways.get(from).and_then(|row| row.get(to));
        let Some(takes) = way.and_then(|way| way.takes(&mut dice)) else { continue };
        let sent = Instant::now();
        let parcel = Parcel { due: sent + takes, sent, bytes: bytes.to_vec() };
        if let Some((_, queue)) = queues.get(to) {
            // A full queue drops what comes.
            let _dropped = queue.try_send(parcel);
        }
    }
}

/// Hands parcels to a place when they are due.
fn deliver(device: &SyncDevice, parcels: &Receiver<Parcel>) {
    let mut under_way: BinaryHeap<Reverse<Parcel>> = BinaryHeap::new();
    loop {
        let next = under_way.peek().map(|Reverse(parcel)| parcel.due);
        let wait = next.map_or(IDLE_WAIT, |due| due.saturating_duration_since(Instant::now()));
        match parcels.recv_timeout(wait) {
            Ok(parcel) if under_way.len() < QUEUE_MAX => under_way.push(Reverse(parcel)),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        while under_way.peek().is_some_and(|Reverse(parcel)| parcel.due <= now) {
            // What a place does not take is lost.
            let _lost = under_way.pop().map(|Reverse(parcel)| device.send(&parcel.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_holds_loses_and_cuts() {
        let way = Way::new(Duration::from_millis(35));
        let mut dice = Dice::new(1);
        assert_eq!(way.takes(&mut dice), Some(Duration::from_millis(35)));
        way.set(Trouble { more: Duration::from_millis(150), ..Trouble::default() });
        assert_eq!(way.takes(&mut dice), Some(Duration::from_millis(185)));
        way.set(Trouble { lost_per_mille: 200, ..Trouble::default() });
        let lost = (0..10_000).filter(|_| way.takes(&mut dice).is_none()).count();
        assert!((1_800..2_200).contains(&lost), "{lost} of 10,000");
        way.set(Trouble { cut: true, ..Trouble::default() });
        assert!((0..100).all(|_| way.takes(&mut dice).is_none()));
        way.set(Trouble::default());
        assert_eq!(way.takes(&mut dice), Some(Duration::from_millis(35)));
    }

    #[test]
    fn parcels_come_in_the_order_of_their_times() {
        let start = Instant::now();
        let parcel = |due, sent| Parcel {
            due: start + Duration::from_millis(due),
            sent: start + Duration::from_millis(sent),
            bytes: Vec::new(),
        };
        let mut under_way: BinaryHeap<_> =
            [parcel(9, 1), parcel(5, 3), parcel(5, 2)].map(Reverse).into();
        let order: Vec<_> =
            std::iter::from_fn(|| under_way.pop()).map(|Reverse(parcel)| parcel.sent).collect();
        assert_eq!(order, [2, 3, 1].map(|sent| start + Duration::from_millis(sent)));
    }
}
