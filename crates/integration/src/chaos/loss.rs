//! Whether what was acknowledged is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use redis::Connection;

use super::client::{Done, Level, Seen};
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

/// How many of a client's writes, which one region has acknowledged before an instant, a node does not have.
///
/// What one region writes arrives in order, so they are those after the last key that is there; an increment
/// right after that key counts, though it may have arrived.
pub(super) fn behind(resp: SocketAddr, done: &[Done], before: Instant) -> Result<u64> {
    let done: Vec<&Done> = done.iter().filter(|done| done.at < before).collect();
    let keys: Vec<&String> = done.iter().filter_map(|done| done.key.as_ref()).collect();
    let mut connection = connect(resp, ANSWER_WAIT)?;
    let missing: BTreeSet<&String> = absent(&mut connection, &keys)?.into_iter().collect();
    Ok(after_last(&done, |key| !missing.contains(key)))
}

/// How many writes come after the last whose key is there; all, when none is.
fn after_last(done: &[&Done], is_there: impl Fn(&String) -> bool) -> u64 {
    let last = done.iter().rposition(|done| done.key.as_ref().is_some_and(&is_there));
    let after = done.len() - last.map_or(0, |last| last + 1);
    u64::try_from(after).unwrap_or(u64::MAX)
}

/// Removes what clients wrote, so that disks stay small.
pub(super) fn clear(resp: SocketAddr, seen: &[Seen]) -> Result<()> {
    let mut connection = connect(resp, ANSWER_WAIT)?;
    for keys in seen.iter().flat_map(|client| client.keys.chunks(KEYS_PER_REMOVAL)) {
        redis::cmd("DEL").arg(keys).exec(&mut connection)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_the_last_key_that_is_there_is_missing() {
        let at = Instant::now();
        let done = |key: &str| Done { at, key: (!key.is_empty()).then(|| key.to_owned()) };
        let writes = [done("1"), done(""), done("3"), done(""), done("5"), done("")];
        let writes: Vec<&Done> = writes.iter().collect();
        assert_eq!(after_last(&writes, |key| key == "1" || key == "3"), 3);
        assert_eq!(after_last(&writes, |_| true), 1, "an increment nobody asks about");
        assert_eq!(after_last(&writes, |_| false), 6);
        assert_eq!(after_last(&[], |_| true), 0);
    }
}
