//! Drives the machine of an upload: reads what is to be sent, sends it where the machine says, and tells
//! it what came of that.
//!
//! What is sent is [`Freight`]: the parts of an object, or the packs of an archive. Each region has its
//! own controller of how much may be under way; the machine learns of it as a window.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rhumb_objects::upload::{Effect, Event, Report, Upload};
use rhumb_types::{MonoTime, RegionId};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, sleep},
};

use crate::{
    lane::{Lane, since},
    limits::LOOK_INTERVAL,
    progress::Progress,
    remote::{Remote, RemoteError},
};

/// A request to a region.
pub(crate) type Request<T> = Pin<Box<dyn Future<Output = Result<T, RemoteError>> + Send + 'static>>;

/// A part that was read.
#[derive(Debug)]
pub(crate) struct Next<P> {
    /// It, as it is kept.
    pub(crate) part: P,
    pub(crate) bytes: u64,
    /// Which regions have it already.
    pub(crate) there: Vec<RegionId>,
}

/// What is wanted next.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// How long a part should be, at most, as each region sees it.
    pub(crate) lengths: Vec<u64>,
    /// To whom it goes.
    pub(crate) active: &'a [RegionId],
}

/// Where a part is sent.
#[derive(Debug)]
pub(crate) struct Errand<P> {
    pub(crate) remote: Remote,
    /// By its number, from 0.
    pub(crate) number: usize,
    /// Where it begins in the source.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// The part, unless it is kept no longer.
    pub(crate) part: Option<P>,
}

/// What goes to several regions, part by part.
pub(crate) trait Freight {
    /// A part that is kept: cheap to clone.
    type Part: Clone + Send;
    /// What a region says of a part that it took.
    type Sent: Send + 'static;
    /// Why the source cannot be read.
    type Error;

    /// The next part; nothing at the end. May be dropped and called again without loss.
    async fn next(&mut self, wanted: Wanted<'_>) -> Result<Option<Next<Self::Part>>, Self::Error>;
    /// Sends a part, once.
    fn send(&mut self, errand: Errand<Self::Part>) -> Request<Self::Sent>;
    /// A region has a part.
    fn sent(&mut self, region: &RegionId, number: usize, said: Self::Sent);
    /// Tells a region that it has all, once.
    fn finish(&mut self, remote: &Remote) -> Request<()>;
    /// Has a region forget what it has, where that takes a request.
    fn abort(&mut self, remote: &Remote) -> Option<Request<()>>;
}

enum Ended<S> {
    /// Nothing where it was given up on this side.
    Sent {
        region: RegionId,
        number: usize,
        result: Option<Result<S, RemoteError>>,
    },
    Finished {
        region: RegionId,
        result: Option<Result<(), RemoteError>>,
    },
    Aborted,
}

/// A part that waits for its turn.
struct Waiting<P> {
    number: usize,
    offset: u64,
    bytes: u64,
    part: Option<P>,
}

/// The lanes of a freight: one for each region of the plan.
pub(crate) struct Lanes<P>(Vec<Lane<Waiting<P>>>);

impl<P> Lanes<P> {
    pub(crate) fn new(
        remotes: impl IntoIterator<Item = Remote>,
        requests: usize,
        begun: Instant,
    ) -> Self {
        let lane = |remote| Lane::new(remote, requests, since(begun));
        Self(remotes.into_iter().map(lane).collect())
    }

    /// What a region failed with last.
    pub(crate) fn reason(&self, region: &RegionId) -> Option<String> {
        self.0.iter().find(|lane| lane.region() == region)?.reason.clone()
    }

    fn of(&mut self, region: &RegionId) -> Option<&mut Lane<Waiting<P>>> {
        self.0.iter_mut().find(|lane| lane.region() == region)
    }
}

/// Carries an upload out, to its end.
///
/// # Errors
/// When the source cannot be read. What the regions failed with is in the report.
pub(crate) async fn drive<F: Freight>(
    freight: &mut F,
    lanes: &mut Lanes<F::Part>,
    upload: Upload,
    begun: Instant,
    progress: &Progress,
) -> Result<Report, F::Error> {
    let mut drive = Drive {
        freight,
        lanes,
        upload,
        begun,
        progress,
        kept: VecDeque::new(),
        kept_from: 0,
        requests: JoinSet::new(),
        out: Vec::new(),
    };
    let report = drive.run().await;
    // Those that are to forget something have a moment for it; the rest was given up.
    while drive.requests.join_next().await.is_some() {}
    report
}

struct Drive<'a, F: Freight> {
    freight: &'a mut F,
    lanes: &'a mut Lanes<F::Part>,
    upload: Upload,
    begun: Instant,
    progress: &'a Progress,
    kept: VecDeque<F::Part>,
    kept_from: usize,
    requests: JoinSet<Ended<F::Sent>>,
    out: Vec<Effect>,
}

impl<F: Freight> Drive<'_, F> {
    async fn run(&mut self) -> Result<Report, F::Error> {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.tell_windows();
            if let Some(report) = self.settle() {
                return Ok(report);
            }
            let (now, wakes) = (self.now(), self.wakes_at());
            let wait = wakes.map_or(Duration::MAX, |at| at.saturating_since(now));
            let active: Vec<RegionId> = self.upload.active().cloned().collect();
            let lengths = self.lanes.0.iter().filter(|lane| active.contains(lane.region()));
            let lengths = lengths.map(|lane| lane.part_bytes(None)).collect();
            let wanted = Wanted { lengths, active: &active };
            tokio::select! {
                next = self.freight.next(wanted), if self.upload.may_read() => match next {
                    Ok(next) => self.read(next),
                    Err(error) => {
                        self.tell(Event::Abandoned);
                        self.settle();
                        return Err(error);
                    }
                },
                Some(ended) = self.requests.join_next() => {
                    // Only a request that panicked has no answer; there is nothing to go on with then.
                    match ended {
                        Ok(ended) => self.ended(ended),
                        Err(broken) => {
                            tracing::error!(%broken, "a request broke off");
                            self.tell(Event::Abandoned);
                        }
                    }
                }
                _ = looks.tick() => self.look(),
                () = sleep(wait), if wakes.is_some() => self.tell(Event::Tick),
            }
        }
    }

    fn now(&self) -> MonoTime {
        since(self.begun)
    }

    fn tell(&mut self, event: Event<'_>) {
        self.upload.on_event(since(self.begun), event, &mut self.out);
    }

    fn wakes_at(&self) -> Option<MonoTime> {
        let now = self.now();
        let paced = self.lanes.0.iter().filter_map(|lane| lane.starts_at(now));
        self.upload.wakes_at().into_iter().chain(paced).min()
    }

    fn read(&mut self, next: Option<Next<F::Part>>) {
        match next {
            Some(Next { part, bytes, there }) => {
                self.kept.push_back(part);
                self.tell(Event::Part { bytes, there: &there });
            }
            None => self.tell(Event::End),
        }
    }

    fn tell_windows(&mut self) {
        for lane in &mut self.lanes.0 {
            if let Some(parts) = lane.window() {
                let (now, region) = (since(self.begun), lane.remote.region());
                let window = Event::Window { region, parts };
                self.upload.on_event(now, window, &mut self.out);
            }
        }
    }

    /// Does what the machine wants done; its report, once there is one.
    fn settle(&mut self) -> Option<Report> {
        let mut report = None;
        for effect in std::mem::take(&mut self.out) {
            match effect {
                Effect::Send { region, part: number, offset, bytes, rewind } => {
                    let at = number.checked_sub(self.kept_from).filter(|_| !rewind);
                    let part = at.and_then(|at| self.kept.get(at)).cloned();
                    if let Some(lane) = self.lanes.of(&region) {
                        lane.push(bytes, Waiting { number, offset, bytes, part });
                    }
                }
                Effect::Finish(region) => self.finish(&region),
                Effect::Abort(region) => self.abort(&region),
                Effect::Keep { from } => {
                    let dropped = from.saturating_sub(self.kept_from).min(self.kept.len());
                    self.kept.drain(..dropped);
                    self.kept_from = from;
                }
                Effect::Done(done) => report = Some(done),
            }
        }
        self.begin();
        report
    }

    /// Begins what the regions can take now.
    fn begin(&mut self) {
        let now = self.now();
        for lane in &mut self.lanes.0 {
            while let Some(Waiting { number, offset, bytes, part }) = lane.next(now) {
                let errand = Errand { remote: lane.remote.clone(), number, offset, bytes, part };
                let request = self.freight.send(errand);
                let (region, stop) = (lane.region().clone(), lane.stop.clone());
                self.requests.spawn(async move {
                    let result = stop.run_until_cancelled(request).await;
                    Ended::Sent { region, number, result }
                });
            }
        }
    }

    fn finish(&mut self, region: &RegionId) {
        let Some(lane) = self.lanes.of(region) else { return };
        let (request, stop) = (self.freight.finish(&lane.remote), lane.stop.clone());
        let region = region.clone();
        self.requests.spawn(async move {
            let result = stop.run_until_cancelled(request).await;
            Ended::Finished { region, result }
        });
    }

    fn abort(&mut self, region: &RegionId) {
        let Some(lane) = self.lanes.of(region) else { return };
        lane.stop();
        let reason = lane.reason.as_deref().unwrap_or_default();
        tracing::warn!(%region, reason, "the region is set aside");
        if let Some(shown) = self.progress.region(region) {
            shown.lost.store(true, Ordering::Relaxed);
        }
        if let Some(request) = self.freight.abort(&lane.remote) {
            self.requests.spawn(async move {
                // What is left of it there is the region's to clean up; it may not even answer.
                let _left = request.await;
                Ended::Aborted
            });
        }
    }

    fn ended(&mut self, ended: Ended<F::Sent>) {
        let now = self.now();
        self.look();
        match ended {
            Ended::Sent { region, number, result } => {
                let of_lane = result.as_ref().map(|result| result.as_ref().map(drop));
                if let Some(lane) = self.lanes.of(&region) {
                    lane.ended(of_lane, now);
                }
                let Some(result) = result else { return };
                let told = match result {
                    Ok(said) => {
                        self.freight.sent(&region, number, said);
                        self.progress.region(&region).inspect(|shown| shown.objects.add(1));
                        Ok(())
                    }
                    Err(error) => Err(error.fault()),
                };
                self.tell(Event::Sent { region: &region, part: number, result: told });
            }
            Ended::Finished { region, result: Some(result) } => {
                if let (Err(error), Some(lane)) = (&result, self.lanes.of(&region)) {
                    lane.reason = Some(error.to_string());
                }
                let result = result.map_err(|error| error.fault());
                self.tell(Event::Finished { region: &region, result });
            }
            Ended::Finished { result: None, .. } | Ended::Aborted => {}
        }
    }

    /// Looks how much left for each region.
    fn look(&mut self) {
        let now = self.now();
        for lane in &mut self.lanes.0 {
            let bytes = lane.look(now);
            self.progress.region(lane.region()).inspect(|shown| shown.bytes.add(bytes));
        }
    }
}
