//! One upload to several regions at once.
//!
//! The source is cut into parts, and each region of the plan has a *lane* that sends all of them. What
//! fails is tried again in the same region, and then the next region of the plan takes its place: it
//! begins with the parts that are still kept, and gets what came before from the source's beginning, as
//! [`Rewind`] allows. A region that is known to be down is not waited for where another can take its
//! place. Parts that all lanes have are not kept; nor, where reading again costs nothing, are those that
//! the fastest has while others lag too far behind.
//!
//! The upload ends when every lane has, or when the lanes that are left could only have made it more
//! than good enough and have been waited for long enough. It says what it is: whole, degraded, or
//! failed, with a result per region.
//!
//! Deliberately absent: the bytes, time-outs of single requests, and how many parts may be in flight to
//! a region, which is [`crate::transfer`]'s answer.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use rhumb_types::{MonoTime, RegionId};

use lane::{Lane, Stage};
pub use report::{RegionResult, Report, Verdict};

mod lane;
mod report;
#[cfg(test)]
mod tests;

/// Most parts of one upload, unless its parts are objects of their own: the bound of S3.
pub const PARTS_MAX: usize = 10_000;
/// Most regions of one plan, spares included.
pub const LANES_MAX: usize = 64;

/// Whether a part that is kept no longer can be had again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewind {
    /// No. A region that lacks such a part is out.
    Never,
    /// At a price, so for a region that takes another's place, while one that is slow is waited for.
    Dear,
    /// Yes. A region that is slow holds nobody up.
    Free,
}

/// How an upload behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadConfig {
    /// How often something is tried again in a region: 2. 0: the next region at once.
    pub retries: u32,
    /// The pause before that: 5 s. 0: at once.
    pub delay: Duration,
    /// In how many regions the bytes must be: fewer is a failure.
    pub copies_needed: u8,
    /// How long the other lanes are waited for once there are enough: 60 s. [`Duration::MAX`]: until
    /// they end.
    pub patience: Duration,
    /// How many parts are kept at once, at least 1: 8.
    pub parts_kept: usize,
    /// Of how many parts it may be: [`PARTS_MAX`].
    pub parts_max: usize,
    /// Whether the source can be read again from an offset.
    pub rewind: Rewind,
}

impl Default for UploadConfig {
    fn default() -> Self {
        Self {
            retries: 2,
            delay: Duration::from_secs(5),
            copies_needed: 1,
            patience: Duration::from_secs(60),
            parts_kept: 8,
            parts_max: PARTS_MAX,
            rewind: Rewind::Free,
        }
    }
}

/// What went wrong in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// It asks for less, or is not able to now.
    #[error("the region is not able to now")]
    Refused,
    /// The connection broke, or the answer made no sense.
    #[error("the connection broke")]
    Broken,
    /// It is known to be down, and another took its place at once.
    #[error("the region is down")]
    Down,
    /// The region is full. Trying again does not help.
    #[error("the region is full")]
    Full,
    /// The region does not allow it. Trying again does not help.
    #[error("the region does not allow it")]
    Denied,
    /// The region began too late, and the source cannot be read again.
    #[error("the source cannot be read again")]
    SourceGone,
    /// The upload was answered before it was there.
    #[error("not there when the upload was answered")]
    TooLate,
}

impl Fault {
    const fn may_pass(self) -> bool {
        matches!(self, Self::TimedOut | Self::Refused | Self::Broken)
    }
}

/// What happens to an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The next part of the source was read, when [`Upload::may_read`] allowed it. It goes on where the
    /// last one ended.
    Part {
        /// Its length.
        bytes: u64,
        /// Which regions of the plan have it already, from an earlier try or for other reasons.
        there: &'a [RegionId],
    },
    /// The source is at its end.
    End,
    /// How many parts may be in flight to a region from now on; at least 1.
    Window {
        /// Which.
        region: &'a RegionId,
        /// How many.
        parts: usize,
    },
    /// A region, which may be a spare one, has a part that was read, though it was not sent.
    Present {
        /// Which.
        region: &'a RegionId,
        /// By its number, from 0.
        part: usize,
    },
    /// A part was acknowledged, or failed.
    Sent {
        /// Where.
        region: &'a RegionId,
        /// By its number.
        part: usize,
        /// How it went.
        result: Result<(), Fault>,
    },
    /// A region was told that it has all parts, as [`Effect::Finish`] says.
    Finished {
        /// Which.
        region: &'a RegionId,
        /// How it went.
        result: Result<(), Fault>,
    },
    /// What is known of a region of the plan, from elsewhere than the upload's own tries.
    Health {
        /// Which.
        region: &'a RegionId,
        /// Whether it is down.
        down: bool,
    },
    /// The source failed, or the sender gave up.
    Abandoned,
    /// The time of [`Upload::wakes_at`] has come.
    Tick,
}

/// What an upload wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a part.
    Send {
        /// Where.
        region: RegionId,
        /// By its number, from 0.
        part: usize,
        /// Where it begins in the source.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// Whether it is kept no longer: read the source again from `offset`.
        rewind: bool,
    },
    /// Tell a region that it has all parts.
    Finish(RegionId),
    /// Forget what a region has got: another took its place, or nobody waits for it.
    Abort(RegionId),
    /// Parts before this one need not be kept.
    Keep {
        /// The first that is.
        from: usize,
    },
    /// The upload has ended. Nothing comes after this.
    Done(Report),
}

#[derive(Debug, Clone, Copy)]
struct Part {
    offset: u64,
    bytes: u64,
}

/// One upload.
#[derive(Debug, Clone)]
pub struct Upload {
    config: UploadConfig,
    planned: usize,
    lanes: Vec<Lane>,
    spares: VecDeque<Lane>,
    windows: BTreeMap<RegionId, usize>,
    /// Regions of the plan that are known to be down.
    down: BTreeSet<RegionId>,
    parts: Vec<Part>,
    ended: bool,
    kept_from: usize,
    /// When there were enough copies.
    enough_at: Option<MonoTime>,
    done: bool,
}

impl Upload {
    /// An upload to all of `targets`, with `spares` to stand in, as
    /// [`UploadPlan`](crate::place::UploadPlan) gives them.
    #[must_use]
    pub fn new(
        config: UploadConfig,
        targets: impl IntoIterator<Item = RegionId>,
        spares: impl IntoIterator<Item = RegionId>,
    ) -> Self {
        let lanes: Vec<_> =
            targets.into_iter().take(LANES_MAX).map(|region| Lane::new(region, None)).collect();
        let spares = spares.into_iter().take(LANES_MAX - lanes.len());
        let spares = spares.map(|region| Lane::new(region, None)).collect();
        Self {
            config,
            planned: lanes.len(),
            lanes,
            spares,
            windows: BTreeMap::new(),
            down: BTreeSet::new(),
            parts: Vec::new(),
            ended: false,
            kept_from: 0,
            enough_at: None,
            done: false,
        }
    }

    /// Whether the next part of the source may be read: there is room to keep it.
    #[must_use]
    pub fn may_read(&self) -> bool {
        !self.done
            && !self.ended
            && self.parts.len() < self.config.parts_max
            && self.parts.len() - self.kept_from < self.config.parts_kept.max(1)
    }

    /// The regions that are being sent to.
    pub fn active(&self) -> impl Iterator<Item = &RegionId> {
        self.lanes.iter().filter(|lane| lane.is_active()).map(|lane| &lane.region)
    }

    /// Takes in what happened. Nothing changes once the upload has ended.
    pub fn on_event(&mut self, now: MonoTime, event: Event<'_>, out: &mut Vec<Effect>) {
        if self.done {
            return;
        }
        match event {
            Event::Part { bytes, there } => self.read(bytes, there),
            Event::End => self.ended = true,
            Event::Window { region, parts } => {
                if self.is_planned(region) {
                    self.windows.insert(region.clone(), parts.max(1));
                }
            }
            Event::Present { region, part } => self.present(region, part),
            Event::Sent { region, part, result } => self.sent(now, region, part, result, out),
            Event::Finished { region, result } => self.finished(now, region, result, out),
            Event::Health { region, down: true } if self.is_planned(region) => {
                self.down.insert(region.clone());
            }
            Event::Health { region, .. } => {
                self.down.remove(region);
            }
            Event::Abandoned => return self.end(Verdict::Failed, out),
            Event::Tick => {}
        }
        self.replace_down(out);
        self.keep(out);
        self.send(now, out);
        self.settle(now, out);
    }

    /// When to call again with [`Event::Tick`], although nothing happens.
    #[must_use]
    pub fn wakes_at(&self) -> Option<MonoTime> {
        let retry = self.lanes.iter().filter_map(|lane| lane.wakes_at(self.window(lane))).min();
        let patience = self.enough_at.map(|at| at + self.config.patience);
        retry.into_iter().chain(patience).min()
    }

    fn is_planned(&self, region: &RegionId) -> bool {
        self.lanes.iter().chain(&self.spares).any(|lane| lane.region == *region)
    }

    fn window(&self, lane: &Lane) -> usize {
        self.windows.get(&lane.region).copied().unwrap_or(lane::WINDOW)
    }

    fn lane(&mut self, region: &RegionId) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.region == *region && lane.is_active())
    }

    fn read(&mut self, bytes: u64, there: &[RegionId]) {
        debug_assert!(self.may_read(), "a part is read only when it may be");
        let offset = self.parts.last().map_or(0, |last| last.offset + last.bytes);
        self.parts.push(Part { offset, bytes });
        let part = self.parts.len() - 1;
        there.iter().for_each(|region| self.present(region, part));
    }

    fn present(&mut self, region: &RegionId, part: usize) {
        let Some(bytes) = self.parts.get(part).map(|part| part.bytes) else { return };
        let mut lanes = self.lanes.iter_mut().chain(&mut self.spares);
        if let Some(lane) = lanes.find(|lane| lane.region == *region && lane.is_active()) {
            lane.has(part, bytes);
        }
    }

    fn sent(
        &mut self,
        now: MonoTime,
        region: &RegionId,
        part: usize,
        result: Result<(), Fault>,
        out: &mut Vec<Effect>,
    ) {
        let (config, bytes) = (self.config, self.parts.get(part).map_or(0, |part| part.bytes));
        let Some(lane) = self.lane(region) else { return };
        if !lane.left_flight(part) {
            return;
        }
        match result {
            Ok(()) => lane.has(part, bytes),
            Err(fault) if fault.may_pass() && lane.tries(part) <= config.retries => {
                lane.again(part, now + config.delay);
            }
            Err(fault) => self.give_up(region, fault, out),
        }
    }

    fn finished(
        &mut self,
        now: MonoTime,
        region: &RegionId,
        result: Result<(), Fault>,
        out: &mut Vec<Effect>,
    ) {
        let config = self.config;
        let Some(lane) = self.lane(region) else { return };
        let Stage::Finishing { tries, .. } = lane.stage else { return };
        match result {
            Ok(()) => lane.stage = Stage::Ended(Ok(())),
            Err(fault) if fault.may_pass() && tries <= config.retries => {
                lane.stage = Stage::Finishing { tries, again_at: Some(now + config.delay) };
            }
            Err(fault) => self.give_up(region, fault, out),
        }
    }

    /// Whether a region may begin now, or the source is gone by now.
    fn may_begin(&self, spare: &Lane) -> bool {
        self.config.rewind != Rewind::Never || spare.first_lacking() >= self.kept_from
    }

    /// Gives up regions that are down, while there are others that may begin and are not.
    fn replace_down(&mut self, out: &mut Vec<Effect>) {
        let is_down = |lane: &Lane| self.down.contains(&lane.region);
        let up = |lane: &&Lane| !is_down(lane) && self.may_begin(lane);
        let places = self.spares.iter().filter(up).count();
        let lost = self.lanes.iter().filter(|lane| lane.is_active() && is_down(lane));
        let lost: Vec<_> = lost.take(places).map(|lane| lane.region.clone()).collect();
        lost.iter().for_each(|region| self.give_up(region, Fault::Down, out));
    }

    /// A region is given up, and the next of the plan takes its place: of those that are down the last.
    fn give_up(&mut self, region: &RegionId, fault: Fault, out: &mut Vec<Effect>) {
        let Some(lane) = self.lane(region) else { return };
        lane.stage = Stage::Ended(Err(fault));
        out.push(Effect::Abort(region.clone()));
        // Stable: otherwise in the order of the plan.
        self.spares.make_contiguous().sort_by_key(|spare| self.down.contains(&spare.region));
        while let Some(mut spare) = self.spares.pop_front() {
            spare.in_place_of = Some(region.clone());
            if !self.may_begin(&spare) {
                spare.stage = Stage::Ended(Err(Fault::SourceGone));
            }
            let found = spare.is_active();
            self.lanes.push(spare);
            if found {
                return;
            }
        }
    }

    /// Drops what every lane has; and, where the source can be read again, what the fastest has when
    /// others hold up everything.
    fn keep(&mut self, out: &mut Vec<Effect>) {
        let active = || self.lanes.iter().filter(|lane| lane.is_active());
        let lacking = || active().map(|lane| lane.first_lacking_from(self.kept_from));
        let mut from = lacking().min().unwrap_or(self.parts.len());
        let full = self.parts.len().saturating_sub(from) >= self.config.parts_kept.max(1);
        if full && self.config.rewind == Rewind::Free && !self.ended {
            from = lacking().max().unwrap_or(from);
        }
        let from = from.min(self.parts.len());
        if from > self.kept_from {
            self.kept_from = from;
            out.push(Effect::Keep { from });
        }
    }

    fn send(&mut self, now: MonoTime, out: &mut Vec<Effect>) {
        let (count, ended, kept_from) = (self.parts.len(), self.ended, self.kept_from);
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_active()) {
            let window = self.windows.get(&lane.region).copied().unwrap_or(lane::WINDOW);
            while let Some(part) = lane.next(now, kept_from..count, window)
                && let Some(Part { offset, bytes }) = self.parts.get(part).copied()
            {
                let region = lane.region.clone();
                out.push(Effect::Send { region, part, offset, bytes, rewind: part < kept_from });
            }
            if ended && lane.finishes(now, count) {
                out.push(Effect::Finish(lane.region.clone()));
            }
        }
    }

    /// Ends the upload when nothing more is to come, or is waited for.
    fn settle(&mut self, now: MonoTime, out: &mut Vec<Effect>) {
        let copies = self.lanes.iter().filter(|lane| lane.stage == Stage::Ended(Ok(()))).count();
        let active = self.lanes.iter().filter(|lane| lane.is_active()).count();
        let enough = copies >= usize::from(self.config.copies_needed.max(1));
        if enough && self.enough_at.is_none() {
            self.enough_at = Some(now);
        }
        let waited = self
            .enough_at
            .is_some_and(|at| now.saturating_since(at) >= self.config.patience && copies > 0);
        if active > 0 && !waited {
            return;
        }
        let verdict = match (enough, copies >= self.planned) {
            (true, true) => Verdict::Whole,
            (true, false) => Verdict::Degraded,
            (false, _) => Verdict::Failed,
        };
        self.end(verdict, out);
    }

    fn end(&mut self, verdict: Verdict, out: &mut Vec<Effect>) {
        self.done = true;
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_active()) {
            lane.stage = Stage::Ended(Err(Fault::TooLate));
            out.push(Effect::Abort(lane.region.clone()));
        }
        let bytes = self.parts.last().map_or(0, |last| last.offset + last.bytes);
        let regions = self.lanes.iter().map(Lane::result).collect();
        out.push(Effect::Done(Report { verdict, bytes, regions }));
    }
}
