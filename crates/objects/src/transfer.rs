//! How many parts go to a region at once, and how long each is: from what is measured, not guessed.
//!
//! One controller per destination, shared by everything that goes there, so that the region's limits
//! hold for all of it. It works in rounds of a few round trips. In each it measures *goodput*, the
//! bytes that moved in a second, and asks one question: does another stream pay? A step of `s` streams
//! on top of `w` can raise goodput by a share of `s / w` at most, where nothing else limits it. It is
//! kept when it brought [`KEPT_GAIN`] of that, and a step down is kept when it cost less than
//! [`KEPT_LOSS`] of it. Alone on a link, the controller so finds the number of streams that fill it,
//! and no more. Of two on the same link the one with fewer streams gains more from a step and the
//! other loses less from giving one up, and they stop when neither has many more: a
//! concave utility, as in Arifuzzaman and Arslan, "Online Optimization of File Transfers in High-Speed
//! Networks" (SC 2021), with the thresholds in place of its regret term.
//!
//! What fails is answered at once by a multiplicative cut, once per round: Chiu and Jain, "Analysis of
//! the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks" (1989), with the
//! factors of RFC 5681 (a half, for a time-out or a refusal) and RFC 9438 (0.7, for a connection that
//! broke), and from there half of the way back in each round, the concave part of its curve in short.
//! A round in which the streams were not all in use says nothing of the link and changes nothing
//! (RFC 7661).
//!
//! Deliberately absent: the parts themselves, and what TCP does below.

use std::time::Duration;

use rhumb_regions::registry::Capacity;
use rhumb_types::{ByteSize, MonoTime};

#[cfg(test)]
mod tests;

/// Shortest and longest part that measurement leads to. S3 takes no shorter ones but the last.
pub const PART_BYTES: (u64, u64) = (5 << 20, 100 << 20);
/// Most parts of one upload; the bound of S3.
pub const PARTS_MAX: u64 = 10_000;
/// Most streams to one region, whatever its capacity says.
pub const CONCURRENCY_MAX: u32 = 64;
/// Streams that a transfer begins with, where its limits allow so many.
pub const WINDOW_FIRST: u32 = 4;
/// Shortest and longest round. The longest is reached when little is reported.
pub const ROUND: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// Shortest round of the start, which asks for no more than whether twice as many streams bring half as
/// much again.
pub const ROUND_FIRST: Duration = Duration::from_millis(250);
/// A round lasts at least so many round trips.
pub const ROUND_TRIPS: u32 = 12;
/// After a pause of this the round begins anew: the time before says nothing of the link.
pub const IDLE: Duration = Duration::from_millis(250);
/// In a round at least so many reports come per stream, unless it is the longest.
pub const REPORTS_PER_STREAM: u32 = 2;
/// Of the most that a step up can bring, what it must bring to be kept.
pub const KEPT_GAIN: f64 = 0.55;
/// Of the most that a step down can cost, what it may cost to be kept.
pub const KEPT_LOSS: f64 = 0.45;
/// A step of one stream up that brought this share is kept, and one down that cost more than this is
/// not, though a step of one is a large one where there are few.
pub const KEPT_BOUNDS: (f64, f64) = (0.08, 0.04);
/// A step is one stream, or this part of all where they are many.
pub const STEP_PART: u32 = 4;
/// Rounds between one look around and the next.
pub const HOLD_ROUNDS: u8 = 3;
/// One look in so many is whether fewer streams do: it costs goodput, and saves only streams.
pub const LOOKS_DOWN: u8 = 4;
/// What a part should take at least. Shorter ones waste round trips, longer ones are lost whole.
pub const PART_TIME: Duration = Duration::from_secs(4);
/// What a part takes at least, in round trips: it waits one to begin and one for its answer, so that a
/// stream is idle for 5 % at most.
pub const PART_ROUND_TRIPS: u32 = 40;

/// Within what the controller stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most streams at once, at least 1.
    pub concurrency_max: u32,
    /// Most bytes in a second; `None` when nothing is configured.
    pub bytes_per_second_max: Option<u64>,
    /// Shortest part.
    pub part_min: ByteSize,
    /// Longest part, unless the upload would have more than [`PARTS_MAX`].
    pub part_max: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(&Capacity::default())
    }
}

impl Limits {
    /// The limits that a region's configuration sets.
    #[must_use]
    pub fn of(capacity: &Capacity) -> Self {
        let megabits = u64::from(capacity.bandwidth.0);
        Self {
            concurrency_max: capacity.concurrent_uploads.clamp(1, CONCURRENCY_MAX),
            bytes_per_second_max: (megabits > 0).then_some(megabits * 125_000),
            part_min: ByteSize(PART_BYTES.0),
            part_max: ByteSize(PART_BYTES.1),
        }
    }
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No progress within the time allowed.
    TimedOut,
    /// The region asked for less (503, slow down).
    Refused,
    /// The connection broke, or the answer was an error.
    Broken,
}

/// What happened to the parts that go to the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A part of so many bytes began, when [`Controller::may_start`] allowed it.
    Started {
        /// Its length.
        bytes: u64,
    },
    /// So many bytes of parts moved since the last report.
    Sent {
        /// How many.
        bytes: u64,
    },
    /// A part was answered.
    Done,
    /// A part failed.
    Failed(Trouble),
    /// A round trip was measured.
    RoundTrip(Duration),
    /// Time passed; at least once in half a second while parts are in flight.
    Tick,
}

/// Whether another part may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It may.
    Now,
    /// Not before this time: the region's bandwidth is spoken for.
    At(MonoTime),
    /// Not before one ends.
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// Doubles, from the goodput of the round before.
    Start { before: Option<f64> },
    /// Goes back after a cut to where it was, half of the way in a round.
    Recover { until: u32 },
    /// Measures what is, for so many rounds, and then looks around.
    Hold { left: u8, rounds: u8, sum: f64 },
    /// Looks whether a step from `base` pays.
    /// `step` doubles while it does.
    Probe { base: u32, step: u32, goodput: f64 },
}

impl Phase {
    const fn hold(rounds: u8) -> Self {
        Self::Hold { left: rounds, rounds: 0, sum: 0.0 }
    }
}

#[derive(Debug, Clone, Copy)]
struct Round {
    began: MonoTime,
    bytes: u64,
    reports: u32,
    /// All streams that may be in use were, at some time.
    full: bool,
    /// More were in use at its beginning, by parts that began when more were allowed.
    over: bool,
    cut: bool,
}

/// Figures for people.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Gauge {
    /// Bytes in a second, in the last round in which all streams were in use.
    pub goodput: f64,
    /// Streams that may be in use.
    pub window: u32,
    /// Parts in flight.
    pub in_flight: u32,
    /// How long a part should be.
    pub part: ByteSize,
    /// The shortest round trip seen.
    pub round_trip: Option<Duration>,
    /// Cuts so far.
    pub cuts: u64,
}

/// The controller of one destination.
#[derive(Debug, Clone)]
pub struct Controller {
    limits: Limits,
    window: u32,
    in_flight: u32,
    phase: Phase,
    round: Round,
    round_trip: Option<Duration>,
    part: u64,
    goodput: f64,
    /// When the bytes that were begun are spoken for no longer.
    paced_until: MonoTime,
    /// When the last part in flight ended.
    idle_from: Option<MonoTime>,
    /// When the window was cut last.
    cut_at: Option<MonoTime>,
    looks: u8,
    cuts: u64,
}

impl Controller {
    /// A controller that has measured nothing: one stream, the shortest parts.
    #[must_use]
    pub fn new(now: MonoTime, limits: Limits) -> Self {
        let round =
            Round { began: now, bytes: 0, reports: 0, full: false, over: false, cut: false };
        Self {
            limits,
            window: WINDOW_FIRST.min(limits.concurrency_max).max(1),
            in_flight: 0,
            phase: Phase::Start { before: None },
            round,
            round_trip: None,
            part: limits.part_min.0,
            goodput: 0.0,
            paced_until: now,
            idle_from: Some(now),
            cut_at: None,
            looks: 0,
            cuts: 0,
        }
    }

    /// Other limits, from the next part on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        self.window = self.window.min(limits.concurrency_max.max(1));
        self.part = self.part.clamp(limits.part_min.0, limits.part_max.0.max(limits.part_min.0));
    }

    /// Whether another part may begin. Within any time, no more begins than the bandwidth allows and
    /// one part on top.
    #[must_use]
    pub fn may_start(&self, now: MonoTime) -> Start {
        if self.in_flight >= self.window {
            Start::Full
        } else if now < self.paced_until {
            Start::At(self.paced_until)
        } else {
            Start::Now
        }
    }

    /// How long the parts of an upload should be whose length is known, or not.
    #[must_use]
    pub fn part_bytes(&self, total: Option<u64>) -> u64 {
        self.part.max(total.unwrap_or(0).div_ceil(PARTS_MAX))
    }

    /// Takes in what happened.
    pub fn on_event(&mut self, now: MonoTime, event: Event) {
        match event {
            Event::Started { bytes } => self.start(now, bytes),
            Event::Sent { bytes } => {
                self.round.bytes = self.round.bytes.saturating_add(bytes);
                self.round.reports = self.round.reports.saturating_add(1);
            }
            Event::Done => self.leave(now),
            Event::Failed(trouble) => {
                self.leave(now);
                self.cut(now, trouble);
            }
            Event::RoundTrip(took) => {
                self.round_trip = Some(self.round_trip.map_or(took, |known| known.min(took)));
            }
            Event::Tick => {}
        }
        if self.round_is_over(now) {
            self.end_round(now);
        }
    }

    /// Figures for people.
    #[must_use]
    pub const fn gauge(&self) -> Gauge {
        Gauge {
            goodput: self.goodput,
            window: self.window,
            in_flight: self.in_flight,
            part: ByteSize(self.part),
            round_trip: self.round_trip,
            cuts: self.cuts,
        }
    }

    fn start(&mut self, now: MonoTime, bytes: u64) {
        let idle = self.idle_from.is_some_and(|from| now.saturating_since(from) >= IDLE);
        if idle && self.in_flight == 0 {
            self.begin_round(now);
        }
        self.in_flight = self.in_flight.saturating_add(1);
        self.round.full |= self.in_flight >= self.window;
        if let Some(rate) = self.limits.bytes_per_second_max {
            let micros = u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
            let spoken_for = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
            self.paced_until = self.paced_until.max(now) + spoken_for;
        }
    }

    fn leave(&mut self, now: MonoTime) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.idle_from = (self.in_flight == 0).then_some(now);
    }

    fn cut(&mut self, now: MonoTime, trouble: Trouble) {
        self.round.cut = true;
        // What was in flight together fails together: that is one sign, and not many.
        if self.cut_at.is_some_and(|at| now.saturating_since(at) < self.round_least()) {
            return;
        }
        self.cut_at = Some(now);
        self.cuts += 1;
        let until = self.base().max(1);
        let kept = match trouble {
            Trouble::TimedOut | Trouble::Refused => self.window / 2,
            Trouble::Broken => self.window.saturating_mul(7) / 10,
        };
        self.window = kept.max(1);
        self.part = (self.part / 2).max(self.limits.part_min.0);
        self.phase = Phase::Recover { until };
    }

    /// The window without the step that is being tried.
    const fn base(&self) -> u32 {
        match self.phase {
            Phase::Probe { base, .. } => base,
            Phase::Start { .. } => self.window / 2,
            Phase::Recover { .. } | Phase::Hold { .. } => self.window,
        }
    }

    fn round_least(&self) -> Duration {
        let trips = self.round_trip.unwrap_or(Duration::ZERO).saturating_mul(ROUND_TRIPS);
        let least = match self.phase {
            Phase::Start { .. } => ROUND_FIRST,
            Phase::Recover { .. } | Phase::Hold { .. } | Phase::Probe { .. } => ROUND.0,
        };
        trips.clamp(least, ROUND.1)
    }

    fn round_is_over(&self, now: MonoTime) -> bool {
        let elapsed = now.saturating_since(self.round.began);
        let reported =
            self.round.reports >= self.window.saturating_mul(REPORTS_PER_STREAM) || self.round.cut;
        elapsed >= ROUND.1 || (elapsed >= self.round_least() && reported)
    }

    fn begin_round(&mut self, now: MonoTime) {
        let (full, over) = (self.in_flight >= self.window, self.in_flight > self.window);
        self.round = Round { began: now, bytes: 0, reports: 0, full, over, cut: false };
    }

    fn end_round(&mut self, now: MonoTime) {
        let seconds = now.saturating_since(self.round.began).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate of three digits")]
        let goodput = self.round.bytes as f64 / seconds.max(1e-6);
        let Round { full, over, cut, bytes, .. } = self.round;
        if full && !over && !cut && bytes > 0 {
            self.goodput = goodput;
            self.size_parts(goodput);
            self.judge(goodput);
        }
        self.begin_round(now);
    }

    fn judge(&mut self, goodput: f64) {
        let max = self.limits.concurrency_max.max(1);
        match self.phase {
            Phase::Start { before } => {
                if before.is_some_and(|before| goodput < before * (1.0 + KEPT_GAIN)) {
                    self.window = (self.window / 2).max(1);
                    self.phase = Phase::hold(1);
                } else if self.window >= max {
                    self.phase = Phase::hold(HOLD_ROUNDS);
                } else {
                    self.window = self.window.saturating_mul(2).min(max);
                    self.phase = Phase::Start { before: Some(goodput) };
                }
            }
            Phase::Recover { until } => {
                if self.window < until.min(max) {
                    let way = until.min(max) - self.window;
                    self.window += way.div_ceil(2);
                } else {
                    self.phase = Phase::hold(1);
                }
            }
            Phase::Hold { left, rounds, sum } => {
                let (rounds, sum) = (rounds + 1, sum + goodput);
                if left > 1 {
                    self.phase = Phase::Hold { left: left - 1, rounds, sum };
                } else {
                    self.looks = (self.looks + 1) % LOOKS_DOWN;
                    self.probe(self.looks != 0, step(self.window), sum / f64::from(rounds));
                }
            }
            Phase::Probe { base, step, goodput: before } => {
                self.settle(base, step, before, goodput);
            }
        }
    }

    /// Tries a step up or down from here.
    fn probe(&mut self, up: bool, step: u32, goodput: f64) {
        let max = self.limits.concurrency_max.max(1);
        let base = self.window;
        let up = (up && base < max) || base == 1;
        let next = if up { base.saturating_add(step).min(max) } else { base.saturating_sub(step) };
        let next = next.max(1);
        if next == base {
            self.phase = Phase::hold(HOLD_ROUNDS);
        } else {
            self.window = next;
            self.phase = Phase::Probe { base, step, goodput };
        }
    }

    /// Keeps the step or goes back.
    fn settle(&mut self, base: u32, taken: u32, before: f64, goodput: f64) {
        let up = self.window > base;
        let share = f64::from(self.window.abs_diff(base)) / f64::from(base);
        let one = self.window.abs_diff(base) == 1;
        let bounded = |wanted: f64, bound: f64| if one { wanted.min(bound) } else { wanted };
        let kept = if up {
            goodput >= before * (1.0 + bounded(KEPT_GAIN * share, KEPT_BOUNDS.0))
        } else {
            goodput >= before * (1.0 - bounded(KEPT_LOSS * share, KEPT_BOUNDS.1))
        };
        if kept {
            // The same way again at once, and further; down only step by step.
            let next =
                if up { taken.saturating_mul(2).min(self.window) } else { step(self.window) };
            self.probe(up, next, goodput);
        } else {
            self.window = base;
            // A step that had doubled was too long, perhaps, and not one too many.
            self.phase =
                if up && taken > step(base) { Phase::hold(1) } else { Phase::hold(HOLD_ROUNDS) };
        }
    }

    /// A part should take a few seconds and many round trips; its length follows by halves and doubles.
    fn size_parts(&mut self, goodput: f64) {
        let trips = self.round_trip.unwrap_or(Duration::ZERO).saturating_mul(PART_ROUND_TRIPS);
        let seconds = PART_TIME.max(trips).as_secs_f64();
        let bytes = goodput / f64::from(self.window.max(1)) * seconds;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number that saturates"
        )]
        let wanted = bytes as u64;
        let (least, most) = (self.part / 2, self.part.saturating_mul(2));
        let bounds = (self.limits.part_min.0, self.limits.part_max.0.max(self.limits.part_min.0));
        self.part = wanted.clamp(least, most).clamp(bounds.0, bounds.1);
    }
}

/// How many streams a step is.
const fn step(window: u32) -> u32 {
    let part = window / STEP_PART;
    if part == 0 { 1 } else { part }
}
