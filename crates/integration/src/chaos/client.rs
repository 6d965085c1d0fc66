//! Clients that write without a pause, prefer one region, and go on to the next when it does not answer.
//!
//! A client keeps to one connection. When that fails, or a step takes longer than [`Level::wait`],
//! it goes on to the next nearest region. Beside it a scout tries the preferred region over a
//! connection of its own, and the client returns once that is answered, so that returning costs it nothing.

use std::{
    fmt,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail, ensure};
use rhumb_config::dev::SAFE_PREFIX;
use serde::{Deserialize, Serialize};

use super::place::Place;

/// How long a client waits to be connected, and for the answer to a write at `local`.
const LOCAL_WAIT: Duration = Duration::from_millis(250);
/// The same at `one_remote`, where another region has to answer first: the longest way of a client to
/// the second region and of that one to another is 290 ms, to the third 394 ms.
const ONE_REMOTE_WAIT: Duration = Duration::from_millis(400);
/// A client's pause after an answer.
const PAUSE: Duration = Duration::from_millis(10);
/// A client's pause after every region has failed it.
const FAILED_PAUSE: Duration = Duration::from_millis(20);
/// A scout's pause.
const SCOUT_PAUSE: Duration = Duration::from_millis(500);
/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 4_096;
/// A value of the usual size.
pub(super) const VALUE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What must be durable before a client hears yes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Fsynced where it was written.
    Local,
    /// Fsynced in another region too.
    OneRemote,
}

impl Level {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Local, Self::OneRemote];

    /// How long a client waits.
    #[must_use]
    pub const fn wait(self) -> Duration {
        match self {
            Self::Local => LOCAL_WAIT,
            Self::OneRemote => ONE_REMOTE_WAIT,
        }
    }

    /// Whether a longest gap is promised. Not at `one_remote`: where regions are 220 ms apart, a time-out that
    /// leaves room for a healthy answer, a connection and that answer come to most of a second, and to
    /// more when the second region is late once too.
    pub(super) const fn promises_gap(self) -> bool {
        matches!(self, Self::Local)
    }

    /// What the keys begin with that are acknowledged so.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Local => "eventual:",
            Self::OneRemote => SAFE_PREFIX,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::OneRemote => "one_remote",
        })
    }
}

/// Who a client is.
#[derive(Clone, Debug)]
pub(super) struct Who {
    /// Where it stands.
    pub(super) place: Place,
    /// Beside which region that is.
    pub(super) region: usize,
    /// The nodes, the nearest first.
    pub(super) nearest: Vec<SocketAddr>,
    /// At which level it writes.
    pub(super) level: Level,
    /// What its keys are called, after the level's prefix.
    pub(super) name: String,
}

/// A write that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) at: Instant,
    /// Which region was asked, by nearness.
    pub(super) choice: usize,
    pub(super) reason: String,
}

/// What a client has seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) region: usize,
    pub(super) level: Level,
    /// When writes were acknowledged.
    pub(super) acks: Vec<Instant>,
    /// Writes that failed.
    pub(super) failures: Vec<Failure>,
    /// The keys whose write was acknowledged.
    pub(super) keys: Vec<String>,
    /// The counter, the increments acknowledged, the increments tried.
    pub(super) counter: (String, u64, u64),
}

#[derive(Debug, Default)]
struct Switches {
    stop: AtomicBool,
    away: AtomicBool,
    home_answers: AtomicBool,
    acknowledged: AtomicU64,
    done: Mutex<Vec<Done>>,
}

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) at: Instant,
    /// What it set; none of an increment.
    pub(super) key: Option<String>,
}

/// A client at work.
#[derive(Debug)]
pub(super) struct Client {
    switches: Arc<Switches>,
    thread: JoinHandle<Result<Seen>>,
    scout: JoinHandle<Result<()>>,
}

impl Client {
    pub(super) fn start(who: Who) -> Self {
        let switches = Arc::new(Switches::default());
        let (shared, scout) = (switches.clone(), who.clone());
        let scout = thread::spawn(move || scouting(&scout, &shared));
        let shared = switches.clone();
        let thread = thread::spawn(move || writing(&who, &shared));
        Self { switches, thread, scout }
    }

    /// Whether its own region answers it.
    pub(super) fn is_home(&self) -> bool {
        !self.switches.away.load(Ordering::Acquire)
            && self.switches.acknowledged.load(Ordering::Acquire) > 0
    }

    /// What its own region has acknowledged so far, in order.
    pub(super) fn done_at_home(&self) -> Vec<Done> {
        self.switches.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks it to end; it does after its present step.
    pub(super) fn stop(&self) {
        self.switches.stop.store(true, Ordering::Release);
    }

    /// What it has seen.
    pub(super) fn join(self) -> Result<Seen> {
        self.stop();
        self.scout.join().map_err(|_| anyhow!("a scout panicked"))??;
        self.thread.join().map_err(|_| anyhow!("a client panicked"))?
    }
}

fn writing(who: &Who, switches: &Switches) -> Result<Seen> {
    who.place.enter()?;
    let wait = who.level.wait();
    let base = format!("{}{}", who.level.prefix(), who.name);
    let counter = format!("{base}count");
    let mut seen = Seen {
        region: who.region,
        level: who.level,
        acks: Vec::new(),
        failures: Vec::new(),
        keys: Vec::new(),
        counter: (counter.clone(), 0, 0),
    };
    let (mut choice, mut wire, mut tried) = (0, None, 0_u64);
    while !switches.stop.load(Ordering::Acquire) {
        if choice != 0 && switches.home_answers.swap(false, Ordering::AcqRel) {
            (choice, wire) = (0, None);
        }
        switches.away.store(choice != 0, Ordering::Release);
        let Some(address) = who.nearest.get(choice).copied() else {
            choice = 0;
            thread::sleep(FAILED_PAUSE);
            continue;
        };
        tried += 1;
        let counts = tried.is_multiple_of(2);
        let key = format!("{base}{tried}");
        let words = if counts { vec!["INCR", &counter] } else { vec!["SET", key.as_str(), VALUE] };
        seen.counter.2 += u64::from(counts);
        let asked = connected(&mut wire, address, wait).and_then(|wire| wire.ask(&words, wait));
        match asked {
            Ok(()) => {
                let at = Instant::now();
                seen.acks.push(at);
                if choice == 0 {
                    let key = (!counts).then(|| key.clone());
                    let mut done = switches.done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push(Done { at, key });
                }
                switches.acknowledged.fetch_add(1, Ordering::Release);
                seen.counter.1 += u64::from(counts);
                seen.keys.extend((!counts).then_some(key));
                thread::sleep(PAUSE);
            }
            Err(error) => {
                let (at, reason) = (Instant::now(), format!("{error:#}"));
                seen.failures.push(Failure { at, choice, reason });
                wire = None;
                choice += 1;
            }
        }
    }
    Ok(seen)
}

/// Tries the preferred region while the client is away from it.
fn scouting(who: &Who, switches: &Switches) -> Result<()> {
    who.place.enter()?;
    let Some(home) = who.nearest.first().copied() else { return Ok(()) };
    let (key, wait) = (format!("{}{}scout", who.level.prefix(), who.name), who.level.wait());
    let mut pause = Instant::now();
    while !switches.stop.load(Ordering::Acquire) {
        thread::sleep(PAUSE);
        if !switches.away.load(Ordering::Acquire) || pause.elapsed() < SCOUT_PAUSE {
            continue;
        }
        let tried = Wire::connect(home, wait)
            .and_then(|mut wire| wire.ask(&["SET", key.as_str(), VALUE], wait));
        switches.home_answers.store(tried.is_ok(), Ordering::Release);
        pause = Instant::now();
    }
    Ok(())
}

fn connected(wire: &mut Option<Wire>, to: SocketAddr, wait: Duration) -> Result<&mut Wire> {
    if wire.is_none() {
        *wire = Some(Wire::connect(to, wait)?);
    }
    wire.as_mut().ok_or_else(|| anyhow!("just connected"))
}

/// A connection that speaks RESP, one command at a time, in answers of one line.
struct Wire(TcpStream);

impl Wire {
    fn connect(to: SocketAddr, wait: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to, wait)
            .map_err(|error| anyhow!("not connected: {}", error.kind()))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Whether a command is answered with anything but an error, in time.
    fn ask(&mut self, words: &[&str], wait: Duration) -> Result<()> {
        let deadline = Instant::now() + wait;
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.set_write_timeout(Some(wait))?;
        let broken = |error: std::io::Error| anyhow!("no answer: {}", error.kind());
        self.0.write_all(command.as_bytes()).map_err(broken)?;
        let (mut answer, mut piece) = (Vec::new(), [0; 512]);
        while !answer.ends_with(b"\r\n") {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "no answer in time");
            self.0.set_read_timeout(Some(left))?;
            let read = self.0.read(&mut piece).map_err(broken)?;
            ensure!(read > 0 && answer.len() < ANSWER_BYTES_MAX, "no answer: closed");
            answer.extend_from_slice(piece.get(..read).unwrap_or_default());
        }
        let line = String::from_utf8_lossy(&answer);
        match line.strip_prefix('-') {
            // The code says enough; what follows names keys and regions.
            Some(refusal) => bail!("{}", refusal.split_whitespace().next().unwrap_or_default()),
            None => Ok(()),
        }
    }
}
