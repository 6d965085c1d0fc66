//! One large object in parts, over several connections, and what it takes of the server's memory.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use super::{BUCKET, NAME, Side, body::Mould, session::Session};
use crate::{
    plan::{Effort, Wanted},
    progress,
    report::joined,
};

const PART_BYTES: u64 = 16 << 20;
/// 10 GiB.
const PARTS: usize = 640;
const QUICK_PARTS: usize = 8;
const CONNECTIONS: usize = 8;

/// One row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Upload {
    side: Side,
    bytes: u64,
    seconds: f64,
    peak_mebibytes: f64,
}

/// Uploads to each store that is wanted, once: no disk here holds several rounds.
pub(crate) fn measure(wanted: &Wanted, sides: &[Side], effort: Effort) -> Result<Vec<Upload>> {
    let parts = if effort.is_quick() { QUICK_PARTS } else { PARTS };
    let wants = |side: &&Side| {
        let ours = matches!(side, Side::Rhumb | Side::Garage);
        ours && wanted.includes(&format!("{NAME}/multipart/{}", side.slug()))
    };
    let mut rows = Vec::new();
    for side in sides.iter().filter(wants) {
        rows.push(upload(*side, parts).with_context(|| side.to_string())?);
    }
    Ok(rows)
}

fn upload(side: Side, parts: usize) -> Result<Upload> {
    let store = side.start()?;
    let path = format!("/{BUCKET}/large");
    let mould = Mould::new(PART_BYTES);
    let before = Instant::now();
    let mut first = Session::open(&store.endpoint, 0)?;
    let id = first.begin_upload(&path)?;
    let (next, tags) = (AtomicUsize::new(1), Mutex::new(vec![String::new(); parts]));
    let work = |client: usize| {
        let mut session = Session::open(&store.endpoint, client)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > parts {
                return anyhow::Ok(());
            }
            let body = mould.body(client, u64::try_from(number)?);
            let tag = session.put_part(&path, (&id, number), &body)?;
            let mut tags = tags.lock().unwrap_or_else(PoisonError::into_inner);
            *tags.get_mut(number - 1).context("no such part")? = tag;
        }
    };
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            (0..CONNECTIONS).map(|client| scope.spawn(move || work(client))).collect();
        threads.into_iter().try_for_each(|it| it.join().map_err(|_| anyhow!("it panicked"))?)
    })?;
    first.complete_upload(
        &path,
        &id,
        &tags.into_inner().unwrap_or_else(PoisonError::into_inner),
    )?;
    let seconds = before.elapsed().as_secs_f64();
    let bytes = PART_BYTES * u64::try_from(parts)?;
    let peak_mebibytes = store.peak_mebibytes()?;
    progress(&format!("{NAME}/multipart: {side}: {seconds:.1} s, {peak_mebibytes:.0} MiB"));
    Ok(Upload { side, bytes, seconds, peak_mebibytes })
}

/// The table; nothing when nothing was measured.
pub(crate) fn table(rows: &[Upload]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut lines = vec![
        format!(
            "One object in parts of {} MiB over {CONNECTIONS} connections, once:",
            PART_BYTES >> 20
        ),
        String::new(),
        "| store | MiB | seconds | MB/s | the most that the server held of the memory, MiB |"
            .to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(rows.iter().map(|row| {
        let Upload { side, bytes, seconds, peak_mebibytes } = row;
        #[expect(clippy::cast_precision_loss, reason = "ten gigabytes")]
        let rate = *bytes as f64 / 1e6 / seconds;
        let mebibytes = bytes >> 20;
        format!("| {side} | {mebibytes} | {seconds:.1} | {rate:.0} | {peak_mebibytes:.0} |")
    }));
    joined(&lines)
}
