//! A disk in memory, with the faults of real ones.
//!
//! What was written and not synced is lost in a crash, in part: a prefix of it may stay, or
//! sectors of it, with zeros between. What was synced stays, unless the disk lies. A sync that
//! fails drops what it should have written, as Linux does: later syncs succeed without it.
//!
//! Time is the runtime's, so that a simulated one makes it virtual.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rhumb_ports::BoxFuture;
use tokio::time::{Instant, sleep};

use super::Disk;

const SECTOR_BYTES: usize = 512;

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Every sync, and everything that implies one, fails.
    pub sync_fails: bool,
    /// Every sync of a file succeeds and does nothing.
    pub sync_lies: bool,
    /// Every sync of a file answers at once and is done only after this time.
    pub sync_early: Option<Duration>,
    /// Every write fails.
    pub full: bool,
    /// How long a sync takes; a few milliseconds unless set.
    pub sync_takes: Option<Duration>,
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug, Clone)]
struct State {
    files: BTreeMap<String, File>,
    /// Removed, but not surely.
    removed: BTreeMap<String, File>,
    faults: Faults,
    random: u64,
    torn: u64,
    /// The latest time at which the disk was used; a crash comes from outside the runtime.
    now: Option<Instant>,
}

#[derive(Debug, Clone, Default)]
struct File {
    content: Vec<u8>,
    /// How much of it a crash leaves.
    synced: usize,
    /// Parts that a failed sync dropped: there until a crash.
    dropped: Vec<(usize, usize)>,
    /// What will be synced, and when.
    pending: Vec<(Instant, usize)>,
}

impl SimDisk {
    /// An empty disk; the seed decides what crashes leave.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            removed: BTreeMap::new(),
            faults: Faults::default(),
            random: seed | 1,
            torn: 0,
            now: None,
        })))
    }

    /// Changes what goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The machine loses power: what was not synced is lost, in part.
    pub fn crash(&self) {
        self.state().crash();
    }

    /// How many crashes left part of an unfinished write.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.state().torn
    }

    /// A copy of the disk as it is.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// The names of the files.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.state().files.keys().cloned().collect()
    }

    /// Changes a file's content behind everybody's back, durably; a missing one is created.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.files.entry(name.to_owned()).or_default();
        change(&mut file.content);
        file.synced = file.content.len();
    }

    /// Loses a file.
    pub fn lose(&self, name: &str) {
        self.state().files.remove(name);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as a sync takes.
    async fn wait(&self) {
        let takes = {
            let mut state = self.state();
            let drawn = Duration::from_micros(500 + state.below(4_500));
            state.faults.sync_takes.unwrap_or(drawn)
        };
        sleep(takes).await;
    }
}

impl State {
    /// The next number below a bound (xorshift64, Marsaglia 2003).
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound.max(1)
    }

    fn fail(&self, fails: bool, what: &str) -> io::Result<()> {
        if fails { Err(io::Error::other(format!("simulated: {what}"))) } else { Ok(()) }
    }

    fn crash(&mut self) {
        for (name, file) in std::mem::take(&mut self.removed) {
            if self.below(2) == 0 {
                self.files.entry(name).or_insert(file);
            }
        }
        let mut files = std::mem::take(&mut self.files);
        for file in files.values_mut() {
            if let Some(now) = self.now {
                file.settle(now);
            }
            self.tear(file);
        }
        self.files = files;
    }

    /// Leaves what was synced, and perhaps a part of the rest.
    fn tear(&mut self, file: &mut File) {
        let tail = file.content.len() - file.synced;
        let kept = match self.below(4) {
            0 => 0,
            1 => tail,
            _ => usize::try_from(self.below(tail as u64 + 1)).unwrap_or(0),
        };
        file.content.truncate(file.synced + kept);
        self.torn += u64::from(kept > 0);
        let mut at = file.synced;
        while at < file.content.len() {
            let end = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(file.content.len());
            // A whole last write happens too, so that it is often left as it is.
            if kept < tail && self.below(3) == 0 {
                file.zero(at, end);
            }
            at = end;
        }
        for (from, to) in std::mem::take(&mut file.dropped) {
            file.zero(from, to);
        }
        file.synced = file.content.len();
        file.pending.clear();
    }
}

impl File {
    fn zero(&mut self, from: usize, to: usize) {
        let to = to.min(self.content.len());
        if let Some(part) = self.content.get_mut(from..to) {
            part.fill(0);
        }
    }

    /// Does the early syncs that are due.
    fn settle(&mut self, now: Instant) {
        for (due, length) in &self.pending {
            if *due <= now {
                self.synced = self.synced.max(*length);
            }
        }
    }
}

impl Disk for SimDisk {
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        Box::pin(async { Ok(self.names()) })
    }

    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Option<Bytes>>> {
        Box::pin(async move {
            let state = self.state();
            Ok(state.files.get(name).map(|file| Bytes::copy_from_slice(&file.content)))
        })
    }

    fn replace<'a>(&'a self, name: &'a str, content: Bytes) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            // A crash in the middle leaves the old or the new, so that it happens before the
            // wait or after it.
            let early = self.state().below(2) == 0;
            if !early {
                self.wait().await;
            }
            {
                let mut state = self.state();
                let faults = state.faults;
                state.fail(faults.full, "the disk is full")?;
                state.fail(faults.sync_fails, "the sync failed")?;
                let content = content.to_vec();
                let file = File { synced: content.len(), content, ..File::default() };
                state.files.insert(name.to_owned(), file);
                // The name is made durable by syncing the directory, and with it all removals.
                state.removed.clear();
            }
            if early {
                self.wait().await;
            }
            Ok(())
        })
    }

    fn append<'a>(&'a self, name: &'a str, content: Bytes) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut state = self.state();
            let full = state.faults.full;
            let kept = if full { state.below(content.len() as u64 + 1) } else { u64::MAX };
            let kept = usize::try_from(kept).unwrap_or(usize::MAX).min(content.len());
            let file = state.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
            file.content.extend(content.iter().take(kept));
            state.fail(full, "the disk is full")
        })
    }

    fn sync<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let faults = self.state().faults;
            if faults.sync_early.is_none() {
                self.wait().await;
            }
            let mut state = self.state();
            state.now = Some(Instant::now());
            let file = state.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
            let (synced, length) = (file.synced, file.content.len());
            if faults.sync_fails {
                file.dropped.push((synced, length));
                file.synced = length;
            } else if let Some(late) = faults.sync_early {
                file.settle(Instant::now());
                file.pending.push((Instant::now() + late, length));
            } else if !faults.sync_lies {
                file.synced = length;
            }
            state.fail(faults.sync_fails, "the sync failed")
        })
    }

    fn hint<'a>(&'a self, name: &'a str, content: Bytes) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut state = self.state();
            let full = state.faults.full;
            state.fail(full, "the disk is full")?;
            let file = File { content: content.to_vec(), ..File::default() };
            state.files.insert(name.to_owned(), file);
            Ok(())
        })
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut state = self.state();
            if let Some(file) = state.files.remove(name) {
                state.removed.insert(name.to_owned(), file);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn with_tail(seed: u64, faults: Faults) -> (SimDisk, Vec<u8>) {
        let disk = SimDisk::new(seed);
        disk.replace("a", Bytes::from_static(b"head")).await.unwrap();
        disk.set_faults(faults);
        disk.append("a", Bytes::from(vec![7; 2_000])).await.unwrap();
        let _ = disk.sync("a").await;
        disk.crash();
        let left = disk.read("a").await.unwrap().unwrap();
        (disk, left.to_vec())
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_synced_survives() {
        for seed in 0..20 {
            let (_, left) = with_tail(seed, Faults::default()).await;
            assert_eq!(left.len(), 2_004);
            assert!(left[4..].iter().all(|byte| *byte == 7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_or_lying_sync_loses_the_tail() {
        for faults in [
            Faults { sync_fails: true, ..Faults::default() },
            Faults { sync_lies: true, ..Faults::default() },
            Faults { sync_early: Some(Duration::from_secs(1)), ..Faults::default() },
        ] {
            let mut lost = 0;
            for seed in 0..20 {
                let (_, left) = with_tail(seed * 7 + 1, faults).await;
                assert_eq!(left[..4], *b"head");
                lost += usize::from(left.len() < 2_004 || left.contains(&0));
            }
            assert!(lost > 5, "{faults:?} lost {lost} of 20");
        }
    }
}
