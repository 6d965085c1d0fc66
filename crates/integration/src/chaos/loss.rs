//! Whether what was acknowledged is there.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use redis::Connection;

use super::client::{Level, Seen};
use crate::{cluster::connect, load::absent};

/// How long a node may take to have all, once it says that it is not behind.
const COMPLETE_WAIT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Keys removed at a time.
const KEYS_PER_REMOVAL: usize = 256;
/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How many acknowledged writes are missing, by the level at which they were acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Lost(pub(super) BTreeMap<Level, u64>);

impl Lost {
    /// Takes in what another node has lost, of the same writes.
    pub(super) fn join(&mut self, other: &Self) {
        for (level, count) in &other.0 {
            let mine = self.0.entry(*level).or_default();
            *mine = (*mine).max(*count);
        }
    }
}

/// What is missing at a node in the end.
pub(super) fn at(resp: SocketAddr, seen: &[Seen]) -> Result<Lost> {
    let mut connection = connect(resp, ANSWER_WAIT)?;
    let give_up = Instant::now() + COMPLETE_WAIT;
    loop {
        let lost = missing(&mut connection, seen)?;
        if lost.0.values().all(|count| *count == 0) || Instant::now() > give_up {
            return Ok(lost);
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

fn missing(connection: &mut Connection, seen: &[Seen]) -> Result<Lost> {
    let mut lost = Lost::default();
    for client in seen {
        let keys: Vec<&String> = client.keys.iter().collect();
        let missing = u64::try_from(absent(connection, &keys)?.len())?;
        let (counter, acknowledged, tried) = &client.counter;
        let value: Option<u64> = redis::cmd("GET").arg(counter).query(connection)?;
        let value = value.unwrap_or_default();
        ensure!(value <= *tried, "{counter} is {value} after {tried} increments were tried");
        *lost.0.entry(client.level).or_default() += missing + acknowledged.saturating_sub(value);
    }
    Ok(lost)
}

/// Removes what clients wrote, so that disks stay small.
pub(super) fn clear(resp: SocketAddr, seen: &[Seen]) -> Result<()> {
    let mut connection = connect(resp, ANSWER_WAIT)?;
    for keys in seen.iter().flat_map(|client| client.keys.chunks(KEYS_PER_REMOVAL)) {
        redis::cmd("DEL").arg(keys).exec(&mut connection)?;
    }
    Ok(())
}
