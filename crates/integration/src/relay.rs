//! A relay of TCP connections that can be cut, in one direction or both.
//!
//! A cut looks as it does on a network: nothing is closed, bytes are held, and flow again when the
//! cut heals. Messages between two nodes pass through two relays, one for each node that calls.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Result;

/// Bytes carried at a time.
const PIECE_BYTES: usize = 64 << 10;
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

#[derive(Debug, Default, Clone, Copy)]
struct State {
    forth: bool,
    back: bool,
    ended: bool,
}

impl State {
    const fn cut(&mut self, direction: Direction) -> &mut bool {
        match direction {
            Direction::Forth => &mut self.forth,
            Direction::Back => &mut self.back,
        }
    }
}

/// A long cut holds a thousand connections: they wait, and look at nothing meanwhile.
#[derive(Debug, Default)]
struct Switches {
    state: Mutex<State>,
    changed: Condvar,
}

impl Switches {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn has_ended(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended
    }

    /// Waits until a direction is free; false when the relay has ended.
    fn pass(&self, direction: Direction) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |state: &mut State| *state.cut(direction) && !state.ended;
        let state = self.changed.wait_while(state, held).unwrap_or_else(PoisonError::into_inner);
        !state.ended
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
                if shared.has_ended() {
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
        self.switches.set(|state| *state.cut(direction) = cut);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.switches.set(|state| state.ended = true);
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
