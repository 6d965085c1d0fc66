//! Many clients at once, for a time or, where objects are large, for one object each.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};

use super::{
    body::Mould,
    session::{Endpoint, Session},
};

/// Load before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// From here on each client does one object, and the time until all are done counts.
const LARGE_BYTES: u64 = 64 << 20;
/// Objects of each client that are there to be read,
const READ_KEYS: u64 = 10;
/// and most bytes of them.
const READ_BYTES: u64 = 32 << 20;
/// Threads that wait need little stack.
const STACK_BYTES: usize = 256 << 10;

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const STOPPED: u8 = 2;

/// What one round gave.
#[derive(Debug)]
pub(crate) struct Load {
    /// Objects per second.
    pub(crate) rate: f64,
    /// How long each took.
    pub(crate) waits: Vec<Duration>,
}

/// Writes objects. Each client has names of its own, and begins with those that are read later.
pub(crate) fn put(
    endpoint: &Endpoint,
    folder: &str,
    mould: &Mould,
    (clients, long): (usize, Duration),
) -> Result<Load> {
    let prepare = |client: usize, nth: u64| {
        (format!("{folder}-{client:03}-{nth:08}"), mould.body(client, nth))
    };
    let act = |session: &mut Session, (path, body): &(String, _)| session.put(path, body);
    drive(endpoint, mould, (clients, long), &prepare, &act)
}

/// Reads what [`put`] writes first. It is written anew, unless it is large and there.
pub(crate) fn get(
    endpoint: &Endpoint,
    folder: &str,
    mould: &Mould,
    is_there: bool,
    (clients, long): (usize, Duration),
) -> Result<Load> {
    let keys = READ_KEYS.min(READ_BYTES / mould.bytes()).max(1);
    let path = |client: usize, nth: u64| format!("{folder}-{client:03}-{:08}", nth % keys);
    let fill = |client: usize| {
        let mut session = Session::open(endpoint, client)?;
        for nth in 0..keys {
            session.put(&path(client, nth), &mould.body(client, nth))?;
        }
        anyhow::Ok(())
    };
    if !(is_there && mould.bytes() >= LARGE_BYTES) {
        thread::scope(|scope| {
            let fill = &fill;
            let threads: Vec<_> =
                (0..clients).map(|client| scope.spawn(move || fill(client))).collect();
            threads.into_iter().try_for_each(|it| it.join().map_err(|_| anyhow!("it panicked"))?)
        })?;
    }
    let bytes = mould.bytes();
    let act = |session: &mut Session, path: &String| {
        let came = session.get(path)?;
        ensure!(came == bytes, "{path} has {came} bytes");
        Ok(())
    };
    drive(endpoint, mould, (clients, long), &path, &act)
}

/// What a client does to the next object, after it was prepared outside of the time that counts.
type Act<'a, T> = &'a (dyn Fn(&mut Session, &T) -> Result<()> + Sync);
type Prepare<'a, T> = &'a (dyn Fn(usize, u64) -> T + Sync);

fn drive<T>(
    endpoint: &Endpoint,
    mould: &Mould,
    (clients, long): (usize, Duration),
    prepare: Prepare<'_, T>,
    act: Act<'_, T>,
) -> Result<Load> {
    let is_large = mould.bytes() >= LARGE_BYTES;
    let phase = AtomicU8::new(WARMING);
    let begin = Barrier::new(clients + 1);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for client in 0..clients {
            let (phase, begin) = (&phase, &begin);
            let work = move || {
                let session = Session::open(endpoint, client);
                let first = prepare(client, 0);
                begin.wait();
                let mut session = session?;
                if is_large {
                    let before = Instant::now();
                    act(&mut session, &first)?;
                    return Ok(vec![before.elapsed()]);
                }
                work(&mut session, client, phase, prepare, act)
            };
            threads.push(thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work)?);
        }
        begin.wait();
        let mut began = Instant::now();
        let mut lasted = None;
        if !is_large {
            thread::sleep(WARM_UP);
            phase.store(COUNTING, Ordering::Release);
            began = Instant::now();
            thread::sleep(long);
            phase.store(STOPPED, Ordering::Release);
            lasted = Some(began.elapsed());
        }
        let mut waits = Vec::new();
        for thread in threads {
            waits.extend(thread.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        let lasted = lasted.unwrap_or_else(|| began.elapsed());
        ensure!(!waits.is_empty(), "nothing was done in time");
        #[expect(clippy::cast_precision_loss, reason = "millions at most")]
        let rate = waits.len() as f64 / lasted.as_secs_f64();
        Ok(Load { rate, waits })
    })
}

/// One client: how long each object took that was done while it counted.
fn work<T>(
    session: &mut Session,
    client: usize,
    phase: &AtomicU8,
    prepare: Prepare<'_, T>,
    act: Act<'_, T>,
) -> Result<Vec<Duration>> {
    let mut waits = Vec::new();
    for nth in 0.. {
        let object = prepare(client, nth);
        let before = Instant::now();
        act(session, &object)?;
        match phase.load(Ordering::Acquire) {
            WARMING => {}
            COUNTING => waits.push(before.elapsed()),
            _ => break,
        }
    }
    Ok(waits)
}
