//! Chaos on real processes: kills, freezes, restarts and cuts, one after the other and two at a time,
//! while clients write everywhere.
//!
//! In the end every region has all that was acknowledged, all have the same, and what clients saw of
//! a strong key has one order. RHUMB_CHAOS_SEED and RHUMB_CHAOS_SECONDS choose another run.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use redis::{Commands, Connection, RedisError};
use rhumb_check::{History, Limits, Register, RegisterAnswer, RegisterCall, Verdict, check};
use rhumb_config::{dev::SAFE_PREFIX, process_environment};
use rhumb_integration::{Cluster, Layout, Load, Written, eventually};
use rustix::process::Signal;

/// How long it goes on, unless the environment says otherwise.
const LASTING: u64 = 12;
/// How long regions may take to agree afterwards.
const HEAL_MAX: Duration = Duration::from_secs(60);
/// A strong client's pause between two calls.
const PAUSE: Duration = Duration::from_millis(3);
/// The key whose history is checked.
const STRONG_KEY: &str = "lock:register";

/// A stream of numbers from a seed (a 64-bit congruential generator with Knuth's constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn node(&mut self) -> usize {
        usize::try_from(self.below(3)).unwrap()
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// What is done to nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Kill(usize),
    Restart(usize),
    Freeze(usize),
    CutOff(usize),
    CutOneWay(usize, usize),
}

impl Fault {
    fn draw(dice: &mut Dice) -> Self {
        let nth = dice.node();
        match dice.below(5) {
            0 => Self::Kill(nth),
            1 => Self::Restart(nth),
            2 => Self::Freeze(nth),
            3 => Self::CutOff(nth),
            _ => Self::CutOneWay(nth, (nth + 1) % 3),
        }
    }

    const fn node(self) -> usize {
        match self {
            Self::Kill(nth)
            | Self::Restart(nth)
            | Self::Freeze(nth)
            | Self::CutOff(nth)
            | Self::CutOneWay(nth, _) => nth,
        }
    }

    fn begin(self, cluster: &mut Cluster) {
        match self {
            Self::Kill(nth) => cluster.kill(nth).unwrap(),
            Self::Restart(nth) => assert!(cluster.terminate(nth).unwrap().success()),
            Self::Freeze(nth) => cluster.signal(nth, Signal::STOP).unwrap(),
            Self::CutOff(nth) => cluster.set_cut_off(nth, true).unwrap(),
            Self::CutOneWay(from, to) => cluster.set_cut_one_way(from, to, true).unwrap(),
        }
    }

    fn end(self, cluster: &mut Cluster) {
        match self {
            Self::Kill(nth) | Self::Restart(nth) => cluster.start(nth).unwrap(),
            Self::Freeze(nth) => cluster.signal(nth, Signal::CONT).unwrap(),
            Self::CutOff(nth) => cluster.set_cut_off(nth, false).unwrap(),
            Self::CutOneWay(from, to) => cluster.set_cut_one_way(from, to, false).unwrap(),
        }
    }
}

/// Does things to the nodes for a while; all of them run and reach each other afterwards.
fn torment(cluster: &mut Cluster, dice: &mut Dice, lasting: Duration) {
    let end = Instant::now() + lasting;
    while Instant::now() < end {
        let mut faults = vec![Fault::draw(dice)];
        let other = Fault::draw(dice);
        if dice.below(3) == 0 && faults.iter().all(|fault| fault.node() != other.node()) {
            faults.push(other);
        }
        println!("{faults:?}");
        for fault in &faults {
            fault.begin(cluster);
        }
        thread::sleep(dice.millis(200, 2_000));
        for fault in faults {
            fault.end(cluster);
        }
        thread::sleep(dice.millis(200, 1_500));
    }
}

type Shared = Arc<Mutex<History<RegisterCall, RegisterAnswer>>>;

/// Clients of a strong key, one at each node, and what they see of it.
struct Observers {
    history: Shared,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Observers {
    fn start(cluster: &Cluster) -> Self {
        let (history, stop) = (Shared::default(), Arc::new(AtomicBool::new(false)));
        let values = Arc::new(AtomicU64::new(1));
        let threads = (0..cluster.len()).map(|nth| {
            let client = redis::Client::open(format!("redis://{}", cluster.resp(nth))).unwrap();
            let (history, stop, values) = (history.clone(), stop.clone(), values.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    observe(&client, &history, &values, &stop);
                }
            })
        });
        let threads = threads.collect();
        Self { history, stop, threads }
    }

    fn stop(self) -> History<RegisterCall, RegisterAnswer> {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Calls over one connection, until that fails.
fn observe(client: &redis::Client, history: &Shared, values: &AtomicU64, stop: &AtomicBool) {
    let wait = Duration::from_secs(15);
    let Ok(mut connection) = client.get_connection_with_timeout(Duration::from_secs(1)) else {
        return thread::sleep(PAUSE);
    };
    connection.set_read_timeout(Some(wait)).unwrap();
    let record = || history.lock().unwrap_or_else(PoisonError::into_inner);
    while !stop.load(Ordering::Acquire) {
        thread::sleep(PAUSE);
        let value = values.fetch_add(1, Ordering::Relaxed);
        let reads = value.is_multiple_of(2);
        let call = if reads { RegisterCall::Read } else { RegisterCall::Write(Some(value)) };
        let id = record().start(call);
        let answer = if reads {
            connection.get(STRONG_KEY).map(RegisterAnswer::Value)
        } else {
            connection.set(STRONG_KEY, value).map(|()| RegisterAnswer::Written)
        };
        let Err(error) = answer.map(|answer| record().answer(id, answer)) else { continue };
        // What else a write came to, nobody knows.
        if reads || did_nothing(&error) {
            record().discard(id);
        }
        // A late answer must not be taken for that of the next call.
        if error.code().is_none() {
            return;
        }
    }
}

/// Whether an error says that nothing was done, and nothing will be.
fn did_nothing(error: &RedisError) -> bool {
    error.code() == Some("UNAVAILABLE")
}

/// Everything that a region shows.
fn content(connection: &mut Connection) -> anyhow::Result<Vec<(String, String)>> {
    let mut keys: Vec<String> = connection.keys("*")?;
    keys.retain(|key| !key.starts_with("lock:"));
    keys.sort();
    let mut content = Vec::with_capacity(keys.len());
    for some in keys.chunks(500) {
        let values: Vec<String> = connection.mget(some)?;
        content.extend(some.iter().cloned().zip(values));
    }
    Ok(content)
}

fn number(name: &str, usual: u64) -> u64 {
    process_environment(name).map_or(usual, |text| text.parse().expect("a number"))
}

#[test]
fn chaos_loses_nothing_and_divides_nobody() {
    let seed = number("RHUMB_CHAOS_SEED", 1);
    let lasting = Duration::from_secs(number("RHUMB_CHAOS_SECONDS", LASTING));
    println!("RHUMB_CHAOS_SEED={seed} RHUMB_CHAOS_SECONDS={}", lasting.as_secs());
    let mut cluster = Layout::regions(3).relayed().start().unwrap();
    cluster.wait_until_agreed(0..3).unwrap();
    let everywhere: Vec<_> = (0..3).map(|nth| cluster.resp(nth)).collect();
    let mut loads: Vec<Load> = (0..3)
        .map(|nth| Load::start(&format!("local:{nth}:"), &everywhere[nth..=nth], 1))
        .collect();
    loads.push(Load::start(&format!("{SAFE_PREFIX}moving:"), &everywhere, 2));
    let observers = Observers::start(&cluster);

    torment(&mut cluster, &mut Dice(seed), lasting);

    cluster.wait_until_linked(0..3).unwrap();
    cluster.wait_until_agreed(0..3).unwrap();
    let written: Vec<Written> = loads.into_iter().map(|load| load.stop().unwrap()).collect();
    let history = observers.stop();
    for written in &written {
        println!("{} acknowledged, {} failed", written.acknowledged.len(), written.failed);
        for nth in 0..3 {
            written.check(cluster.resp(nth), HEAL_MAX).unwrap();
        }
    }
    let mut connections: Vec<Connection> =
        (0..3).map(|nth| cluster.connect(nth).unwrap()).collect();
    eventually(HEAL_MAX, || {
        let first = content(&mut connections[0])?;
        for connection in &mut connections[1..] {
            anyhow::ensure!(content(connection)? == first, "the regions differ");
        }
        Ok(())
    })
    .unwrap();
    println!("{} calls of a strong key", history.len());
    let answered = history.calls().filter(|call| call.answered.is_some()).count();
    assert!(answered > 100, "only {answered} calls were answered");
    let verdict = check(&Register, &history, Limits::default());
    assert_eq!(verdict, Verdict::Linearizable);
}
