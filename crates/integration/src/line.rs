//! A line to a server that counts what it carries, can be slow or dead, and can have the server look ill.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;

/// Bytes carried at a time.
const PIECE_BYTES: usize = 32 << 10;
/// How long connecting to the server, or waking the line, may take.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// How often a connection looks whether the line is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// What a server says that is asked for too much.
const BUSY: &[u8] = b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[derive(Debug, Default)]
struct State {
    /// Bytes that went to the server.
    carried: AtomicU64,
    /// Of each connection to the server, in bytes per second; 0 is as fast as it goes.
    rate: AtomicU64,
    /// So many connections are answered that the server is busy.
    busy: AtomicU64,
    /// Nothing is carried, and nothing is closed.
    stalled: AtomicBool,
    /// How often all connections were closed.
    hung_up: AtomicU64,
    /// Requests that have no answer yet, and the most there were of them.
    requests: AtomicU64,
    requests_most: AtomicU64,
    ended: AtomicBool,
}

/// Whether a connection has a request under way. HTTP/1.1 has one at a time.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl Asked {
    fn begins(&self, state: &State) {
        if !self.0.swap(true, Ordering::AcqRel) {
            let now = state.requests.fetch_add(1, Ordering::AcqRel) + 1;
            state.requests_most.fetch_max(now, Ordering::AcqRel);
        }
    }

    fn ends(&self, state: &State) {
        if self.0.swap(false, Ordering::AcqRel) {
            state.requests.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl State {
    /// Whether this connection is one that is turned away.
    fn turns_away(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        self.busy.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok()
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    fn hung_up(&self) -> u64 {
        self.hung_up.load(Ordering::Acquire)
    }
}

/// A line to a server. It is cut when it is dropped.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    state: Arc<State>,
}

impl Line {
    /// A line to a server, on any port.
    ///
    /// # Errors
    /// When there is no port.
    pub fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, state) = (listener.local_addr()?, Arc::<State>::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                if shared.has_ended() {
                    return;
                }
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(caller, server, &state));
            }
        });
        Ok(Self { address, state })
    }

    /// Where it begins.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that went to the server so far.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.state.carried.load(Ordering::Acquire)
    }

    /// Most requests that were under way at a time, of HTTP/1.1, since this was asked last.
    #[must_use]
    pub fn requests_most(&self) -> u64 {
        self.state.requests_most.swap(0, Ordering::AcqRel)
    }

    /// Carries so many bytes per second of each connection from now on.
    pub fn slow_down(&self, bytes_per_second: u64) {
        self.state.rate.store(bytes_per_second, Ordering::Release);
    }

    /// Answers the next connections that the server is busy.
    pub fn turn_away(&self, connections: u64) {
        self.state.busy.store(connections, Ordering::Release);
    }

    /// Carries nothing from now on, or goes on. Nothing is closed meanwhile.
    pub fn stall(&self, stalled: bool) {
        self.state.stalled.store(stalled, Ordering::Release);
    }

    /// Closes the connections that there are; whoever calls next comes through.
    pub fn hang_up(&self) {
        self.state.hung_up.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        // Wakes the accepting thread, so that it sees the end.
        drop(TcpStream::connect_timeout(&self.address, CONNECT_WAIT));
    }
}

fn serve(mut caller: TcpStream, server: SocketAddr, state: &Arc<State>) {
    if state.turns_away() {
        let mut request = [0; PIECE_BYTES];
        // Whoever has sent nothing yet, or goes on sending, is answered all the same.
        let _some_of_it = caller.read(&mut request);
        let _answered = caller.write_all(BUSY);
        return;
    }
    let Ok(called) = TcpStream::connect_timeout(&server, CONNECT_WAIT) else { return };
    let (Ok(from_called), Ok(to_caller)) = (called.try_clone(), caller.try_clone()) else {
        return;
    };
    let (back, asked) = (Arc::clone(state), Arc::<Asked>::default());
    let answered = Arc::clone(&asked);
    thread::spawn(move || pump(from_called, to_caller, &back, |state| answered.ends(state), false));
    pump(caller, called, state, |state| asked.begins(state), true);
    asked.ends(state);
}

fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    state: &State,
    comes: impl Fn(&State),
    is_forth: bool,
) {
    let mut piece = vec![0; PIECE_BYTES];
    let hung_up = state.hung_up();
    // Without it the end of the line is noticed with the next byte.
    let _later = from.set_read_timeout(Some(LOOK_INTERVAL));
    while !state.has_ended() && state.hung_up() == hung_up {
        if state.is_stalled() {
            thread::sleep(LOOK_INTERVAL);
            continue;
        }
        let read = match from.read(&mut piece) {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        let bytes = piece.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        comes(state);
        if to.write_all(bytes).is_err() {
            break;
        }
        if is_forth {
            state.carried.fetch_add(read as u64, Ordering::AcqRel);
            let rate = state.rate.load(Ordering::Acquire);
            let micros = (read as u64 * 1_000_000).checked_div(rate).unwrap_or(0);
            thread::sleep(Duration::from_micros(micros));
        }
    }
    let _closed = to.shutdown(Shutdown::Both);
    let _closed = from.shutdown(Shutdown::Both);
}
