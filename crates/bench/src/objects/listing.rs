//! How fast a bucket of many keys is listed, page by page.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;

use super::{BUCKET, NAME, Side, Store, body::Mould, session::Session};
use crate::{
    plan::{Effort, Wanted},
    progress,
    stats::Spread,
};

/// Keys in the bucket.
pub(crate) const KEYS: usize = 100_000;
/// Clients that fill it.
const CLIENTS: usize = 50;
/// Bytes of each object: every store but the file system keeps them in its index.
const BYTES: u64 = 64;
/// A store that took this long is not listed again.
const LONG: Duration = Duration::from_secs(15);

/// One row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listing {
    pub(crate) side: Side,
    /// From the first page to the last.
    pub(crate) seconds: Spread,
}

/// Fills all stores, and then lists them in turns.
pub(crate) fn measure(wanted: &Wanted, sides: &[Side], effort: Effort) -> Result<Vec<Listing>> {
    // What is synced when it is written is listed as fast, and filled for an hour.
    let wants = |side: &&Side| {
        **side != Side::GarageSynced && wanted.includes(&format!("{NAME}/list/{}", side.slug()))
    };
    let mut stores = Vec::new();
    for side in sides.iter().filter(wants) {
        let store = side.start().with_context(|| side.to_string())?;
        let before = Instant::now();
        fill(&store).with_context(|| side.to_string())?;
        let took = before.elapsed().as_secs_f64();
        progress(&format!("{NAME}/list: {side}: {KEYS} objects in {took:.1} s"));
        stores.push((*side, store, Vec::new()));
    }
    for round in 1..=effort.rounds {
        for (side, store, times) in &mut stores {
            if times.last().is_some_and(|last| *last > LONG.as_secs_f64()) {
                continue;
            }
            let took = list(store).with_context(|| side.to_string())?.as_secs_f64();
            progress(&format!("{NAME}/list: {side}, round {round}: {took:.2} s"));
            times.push(took);
        }
    }
    let row = |(side, _, times): (Side, Store, Vec<f64>)| {
        Some(Listing { side, seconds: Spread::of(&times)? })
    };
    Ok(stores.into_iter().filter_map(row).collect())
}

fn fill(store: &Store) -> Result<()> {
    let mould = Mould::new(BYTES);
    let fill = |client: usize| {
        let mut session = Session::open(&store.endpoint, client)?;
        for key in (client..KEYS).step_by(CLIENTS) {
            session.put(&format!("/{BUCKET}/{key:08}"), &mould.body(client, key as u64))?;
        }
        anyhow::Ok(())
    };
    thread::scope(|scope| {
        let fill = &fill;
        let threads: Vec<_> =
            (0..CLIENTS).map(|client| scope.spawn(move || fill(client))).collect();
        threads.into_iter().try_for_each(|it| it.join().map_err(|_| anyhow!("it panicked"))?)
    })
}

fn list(store: &Store) -> Result<Duration> {
    let mut session = Session::open(&store.endpoint, 0)?;
    let before = Instant::now();
    let (mut keys, mut next) = (0, None);
    loop {
        let page = session.list(BUCKET, next.as_deref())?;
        keys += page.keys;
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    ensure!(keys == KEYS, "{keys} keys were listed");
    Ok(before.elapsed())
}
