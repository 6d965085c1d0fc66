//! Clients that write all the time and remember what was acknowledged.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use redis::Connection;

use crate::cluster::{connect, eventually};

/// How long a writer waits for an answer.
const WRITE_WAIT: Duration = Duration::from_secs(2);
/// A writer's pause after a failure.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
/// Keys asked for at a time.
const KEYS_PER_ASK: usize = 512;

/// What a writer has seen.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The keys whose write was acknowledged.
    pub acknowledged: Vec<String>,
    /// The writers' counters: the key, the increments acknowledged, the increments tried.
    pub counters: Vec<(String, u64, u64)>,
    /// Writes that failed, or whose outcome is not known.
    pub failed: usize,
    /// The longest time without an acknowledgement.
    pub worst_gap: Duration,
}

/// Writers at work.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Written>>,
}

impl Load {
    /// Starts writers of keys below a prefix. Each goes to the first address that serves it, and
    /// from there to the next when it fails.
    #[must_use]
    pub fn start(prefix: &str, addresses: &[SocketAddr], writers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |nth: usize| {
            let (stop, addresses) = (stop.clone(), addresses.to_vec());
            let prefix = format!("{prefix}{nth}:");
            thread::spawn(move || write(&prefix, &addresses, &stop))
        };
        let writers = (0..writers).map(start).collect();
        Self { stop, writers }
    }

    /// Ends the writers, and gives what they have seen.
    ///
    /// # Errors
    /// When a writer has panicked.
    pub fn stop(self) -> Result<Written> {
        self.stop.store(true, Ordering::Release);
        let mut all = Written::default();
        for writer in self.writers {
            let written = writer.join().map_err(|_| anyhow!("a writer panicked"))?;
            all.acknowledged.extend(written.acknowledged);
            all.counters.extend(written.counters);
            all.failed += written.failed;
            all.worst_gap = all.worst_gap.max(written.worst_gap);
        }
        Ok(all)
    }
}

fn write(prefix: &str, addresses: &[SocketAddr], stop: &AtomicBool) -> Written {
    let counter = format!("{prefix}count");
    let (mut counted, mut tried) = (0, 0);
    let mut written = Written::default();
    let mut connection: Option<Connection> = None;
    let mut targets = addresses.iter().cycle();
    let mut last = Instant::now();
    while !stop.load(Ordering::Acquire) {
        let Some(open) = &mut connection else {
            connection = targets.next().and_then(|address| connect(*address, WRITE_WAIT).ok());
            if connection.is_none() {
                thread::sleep(FAILURE_PAUSE);
            }
            continue;
        };
        tried += 1;
        let key = format!("{prefix}{tried}");
        let set = redis::cmd("SET").arg(&key).arg(tried).exec(open);
        let incremented = set.and_then(|()| {
            written.acknowledged.push(key);
            redis::cmd("INCR").arg(&counter).exec(open)
        });
        if incremented.is_ok() {
            counted += 1;
            written.worst_gap = written.worst_gap.max(last.elapsed());
            last = Instant::now();
        } else {
            written.failed += 1;
            connection = None;
            thread::sleep(FAILURE_PAUSE);
        }
    }
    written.counters.push((counter, counted, tried));
    written
}

impl Written {
    /// Checks that an address has every key and increment that was acknowledged.
    ///
    /// # Errors
    /// What is missing, when it does not come in time.
    pub fn check(&self, address: SocketAddr, longest: Duration) -> Result<()> {
        ensure!(!self.acknowledged.is_empty(), "nothing was acknowledged, so nothing is shown");
        let mut connection = connect(address, longest.max(WRITE_WAIT))?;
        let mut missing: Vec<&String> = self.acknowledged.iter().collect();
        eventually(longest, || {
            missing = absent(&mut connection, &missing)?;
            let (lost, all) = (missing.len(), self.acknowledged.len());
            ensure!(
                lost == 0,
                "{lost} of {all} acknowledged keys are missing: {:?}",
                missing.first()
            );
            self.check_counters(&mut connection)
        })
    }

    fn check_counters(&self, connection: &mut Connection) -> Result<()> {
        for (key, acknowledged, tried) in &self.counters {
            let value: Option<u64> = redis::cmd("GET").arg(key).query(connection)?;
            let value = value.unwrap_or_default();
            ensure!(
                (*acknowledged..=*tried).contains(&value),
                "{key} is {value} after {acknowledged} acknowledged of {tried} tried"
            );
        }
        Ok(())
    }
}

/// Which of these keys a node does not have.
pub(crate) fn absent<'k>(
    connection: &mut Connection,
    keys: &[&'k String],
) -> Result<Vec<&'k String>> {
    let mut absent = Vec::new();
    for ask in keys.chunks(KEYS_PER_ASK) {
        let mut pipe = redis::pipe();
        for key in ask {
            pipe.cmd("EXISTS").arg(key.as_str());
        }
        let there: Vec<bool> = pipe.query(connection)?;
        absent.extend(ask.iter().zip(there).filter(|(_, there)| !there).map(|(key, _)| *key));
    }
    Ok(absent)
}
