//! A relay of TCP connections that can be cut, in one direction or both.
//!
//! A cut looks as it does on a network: nothing is closed, bytes are held, and flow again when the
//! cut heals. Messages between two nodes pass through two relays, one for each node that calls.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;

/// Bytes carried at a time.
const PIECE_BYTES: usize = 64 << 10;
/// How often a held direction looks whether it is free again.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// How long connecting to the other side may take.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// A direction through a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the caller to the one who is called.
    Forth,
    /// Back to the caller.
    Back,
}

#[derive(Debug, Default)]
struct Switches {
    forth: AtomicBool,
    back: AtomicBool,
    ended: AtomicBool,
}

impl Switches {
    const fn of(&self, direction: Direction) -> &AtomicBool {
        match direction {
            Direction::Forth => &self.forth,
            Direction::Back => &self.back,
        }
    }

    /// Waits until a direction is free; false when the relay has ended.
    fn pass(&self, direction: Direction) -> bool {
        while self.of(direction).load(Ordering::Acquire) {
            if self.ended.load(Ordering::Acquire) {
                return false;
            }
            thread::sleep(LOOK_INTERVAL);
        }
        !self.ended.load(Ordering::Acquire)
    }
}

/// A relay to one address.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    switches: Arc<Switches>,
}

impl Relay {
    /// Relays what connects to `listen` to `target`, which need not listen yet.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start(listen: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let switches = Arc::new(Switches::default());
        let shared = switches.clone();
        thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                if shared.ended.load(Ordering::Acquire) {
                    return;
                }
                let switches = shared.clone();
                thread::spawn(move || relay(caller, target, &switches));
            }
        });
        Ok(Self { address: listen, switches })
    }

    /// Cuts or heals a direction.
    pub fn set_cut(&self, direction: Direction, cut: bool) {
        self.switches.of(direction).store(cut, Ordering::Release);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.switches.ended.store(true, Ordering::Release);
        // Wakes the accepting thread, so that it sees the end.
        drop(TcpStream::connect_timeout(&self.address, CONNECT_WAIT));
    }
}

/// Carries one connection until either side closes.
fn relay(caller: TcpStream, target: SocketAddr, switches: &Arc<Switches>) {
    // The handshake needs both directions, as on a network.
    if !(switches.pass(Direction::Forth) && switches.pass(Direction::Back)) {
        return;
    }
    let Ok(called) = TcpStream::connect_timeout(&target, CONNECT_WAIT) else { return };
    let (Ok(from_caller), Ok(from_called)) = (caller.try_clone(), called.try_clone()) else {
        return;
    };
    for stream in [&caller, &called] {
        // Without it messages are only slower.
        let _slower = stream.set_nodelay(true);
    }
    let shared = switches.clone();
    thread::spawn(move || pump(from_called, caller, Direction::Back, &shared));
    pump(from_caller, called, Direction::Forth, switches);
}

fn pump(mut from: TcpStream, mut to: TcpStream, direction: Direction, switches: &Switches) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(read) = from.read(&mut piece) {
        let bytes = piece.get(..read).unwrap_or_default();
        if bytes.is_empty() || !switches.pass(direction) || to.write_all(bytes).is_err() {
            break;
        }
    }
    // The other side learns of the end once it is not cut off.
    if switches.pass(direction) {
        let _closed = to.shutdown(Shutdown::Both);
    }
    let _closed = from.shutdown(Shutdown::Both);
}
