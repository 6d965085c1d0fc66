//! Clients of objects: who uploads, reads and deletes, and how their requests come to a node and back.
//!
//! What a client does is what `rhumb cp` does: the shipped machine of uploads cuts an object into parts,
//! sends them to the nearest region, tries again, and goes on in the next region of its list. What a node
//! does with them is the simulator's, that is `rhumb_objects`. Modelled is what lies between: the line of
//! a client, and the uplink of a region, each of which sends one thing after the other.
//!
//! Time-outs are those of `rhumb cp`: for a connection, and for an answer once all bytes have left.

use std::{collections::BTreeMap, time::Duration};

use rhumb_objects::upload::Fault;
use rhumb_sim::{
    random::Random,
    traffic::arrivals::{Arrivals, Kind},
    world::objects::{Ask, Done, Failure},
};
use rhumb_types::{
    ErrorCode, RegionId,
    record::{BucketName, VersionId},
};

use super::{Run, agenda::What, requests::shares, shelf::Shelf, stage::Stage};
use crate::{
    chance::unit,
    clients::SeatId,
    objects::Objects,
    outcome::AtRisk,
    paths::Trip,
    rehearsal::Rehearsal,
    time::{Micros, SECOND, micros},
};

mod pipes;
mod read;
mod send;

use pipes::Pipes;
use read::Wish;
use send::Sending;

/// The name of the bucket.
const BUCKET: &str = "rehearsal";
/// How long a client waits for a connection.
const CONNECT: Micros = 10 * SECOND;
/// How long it waits for an answer once it has sent all.
const ANSWER: Micros = 30 * SECOND;

/// Something that clients of objects do.
#[derive(Debug)]
pub(super) enum Deed {
    /// One has an object to upload.
    Upload,
    /// One wants an object.
    Download,
    /// A request comes to a node.
    Reach(Errand),
    /// All of it is there.
    Ask(Errand),
    /// Its client waits no longer.
    Silent(u64),
    /// Its client hears what came of it.
    Heard(Errand, Result<Box<Done>, Fault>),
    /// Time passes for an upload.
    Tick(u64),
    /// A client asks another node for its object.
    Again(u64),
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand {
    /// Which upload, read or deletion.
    job: u64,
    seat: SeatId,
    host: usize,
    wants: Wants,
    /// The length of its body.
    bytes: u64,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wants {
    /// To write an object of one part.
    Whole,
    /// To begin an upload in parts.
    Begin,
    /// To write a part, by its number from 0.
    Part(usize, VersionId),
    /// To make an object of the parts.
    Complete(VersionId),
    /// To forget them.
    Abort(VersionId),
    Get,
    Delete,
}

/// The objects of a run.
#[derive(Debug)]
pub(super) struct Transfers {
    bucket: BucketName,
    arrivals: [Arrivals; 2],
    /// Of who uploads, and of who reads.
    shares: [Vec<f64>; 2],
    random: Random,
    jobs: u64,
    requests: u64,
    asked: BTreeMap<u64, Errand>,
    sending: BTreeMap<u64, Sending>,
    wishes: BTreeMap<u64, Wish>,
    pipes: Pipes,
    pub(super) shelf: Shelf,
}

/// The name of the bucket.
pub(super) fn bucket() -> BucketName {
    match BucketName::new(BUCKET) {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}

impl Transfers {
    pub(super) fn new(
        objects: &Objects,
        rehearsal: &Rehearsal,
        stage: &Stage,
        mut random: Random,
    ) -> Self {
        let regions: Vec<&RegionId> = rehearsal.regions().collect();
        let of_reads = objects.downloads.as_ref().map(|downloads| &downloads.near);
        let arrivals = [Kind::Write, Kind::Read]
            .map(|kind| Arrivals::new(kind, 1.0, f64::MAX, Random::new(random.bits())));
        Self {
            bucket: bucket(),
            arrivals,
            shares: [
                shares(&objects.near, &regions),
                shares(of_reads.unwrap_or(&objects.near), &regions),
            ],
            jobs: 0,
            requests: 0,
            asked: BTreeMap::new(),
            sending: BTreeMap::new(),
            wishes: BTreeMap::new(),
            pipes: Pipes::new(&stage.regions, objects),
            shelf: Shelf::new(objects, stage),
            random,
        }
    }

    /// A client by chance, near a region by its share.
    fn population(&mut self, kind: Kind) -> usize {
        let [uploads, reads] = &self.shares;
        let shares = if kind == Kind::Write { uploads } else { reads };
        let point = unit(&mut self.random);
        let found = shares.iter().position(|share| point < *share);
        found.unwrap_or(shares.len().saturating_sub(1))
    }

    const fn job(&mut self) -> u64 {
        self.jobs += 1;
        self.jobs
    }
}

impl Transfers {
    /// What is lost with a host if its disk never comes back.
    pub(super) fn at_risk(&mut self, stage: &Stage, host: usize) -> AtRisk {
        self.shelf.at_risk(stage, &self.bucket, host)
    }
}

impl Run<'_> {
    pub(super) fn plan_transfers(&mut self) {
        self.plan_transfer(Kind::Write, 0);
        self.plan_transfer(Kind::Read, 0);
    }

    /// Plans the next upload, or the next read.
    fn plan_transfer(&mut self, kind: Kind, after: Micros) {
        let (Some(objects), Some(transfers)) = (&self.rehearsal.objects, &mut self.transfers)
        else {
            return;
        };
        let [uploads, reads] = &mut transfers.arrivals;
        let downloads = objects.downloads.as_ref();
        let (arrivals, shape, deed) = match (kind, downloads) {
            (Kind::Write, _) => (uploads, &objects.uploads, Deed::Upload),
            (Kind::Read, Some(downloads)) => (reads, &downloads.shape, Deed::Download),
            (Kind::Read, None) => return,
        };
        if let Some(arrival) = arrivals.next(shape, after, self.end) {
            self.agenda.plan(arrival.at, What::Transfer(deed));
        }
    }

    pub(super) fn transfer(&mut self, deed: Deed) {
        let now = self.stage.now();
        match deed {
            Deed::Upload => {
                self.plan_transfer(Kind::Write, now);
                self.upload();
            }
            Deed::Download => {
                self.plan_transfer(Kind::Read, now);
                self.download();
            }
            Deed::Reach(errand) => self.errand_reaches(errand),
            Deed::Ask(errand) => self.ask_for(errand),
            Deed::Silent(request) => {
                let errand = self.transfers.as_mut().and_then(|it| it.asked.remove(&request));
                if let Some(errand) = errand {
                    self.heard(errand, Err(Fault::TimedOut));
                }
            }
            Deed::Heard(errand, result) => self.heard(errand, result),
            Deed::Tick(job) => self.upload_ticks(job),
            Deed::Again(job) => self.wish_for(job),
        }
    }

    /// A client near a region, by chance.
    fn any_client(&mut self, kind: Kind) -> Option<SeatId> {
        let transfers = self.transfers.as_mut()?;
        let population = transfers.population(kind);
        let seats = self.crowd.populations.get(population)?;
        Some(SeatId { population, seat: seats.any_seat(&mut transfers.random) })
    }

    /// How long something takes between a client and its node.
    fn way_of_errand(&mut self, errand: Errand, asks: bool) -> Option<Micros> {
        let near = self.crowd.populations.get(errand.seat.population)?.home;
        let random = &mut self.transfers.as_mut()?.random;
        let trip = Trip { near, node: errand.host, asks };
        self.stage.paths.travel(&self.stage.condition, trip, random)
    }

    /// A request leaves its client, all of it by a time.
    fn send_errand(&mut self, errand: Errand, departs: Micros) {
        let deed = match self.way_of_errand(errand, true) {
            Some(way) => (departs + way, Deed::Reach(errand)),
            None => (departs + CONNECT, Deed::Heard(errand, Err(Fault::TimedOut))),
        };
        self.agenda.plan(deed.0, What::Transfer(deed.1));
    }

    /// Whether a node takes a request now; its client hears of it when it does not.
    fn is_taken(&mut self, errand: Errand, then: fn(Errand) -> Deed) -> bool {
        let now = self.stage.now();
        let silence = Deed::Heard(errand, Err(Fault::TimedOut));
        let (at, deed) = if self.stage.process(errand.host).is_none() {
            if self.stage.refuses(errand.host) {
                let way = self.way_of_errand(errand, false).unwrap_or(CONNECT);
                (now + way, Deed::Heard(errand, Err(Fault::Broken)))
            } else {
                (now + ANSWER, silence)
            }
        } else {
            match self.stage.frozen_until(errand.host) {
                Some(until) if until < now + ANSWER => (until, then(errand)),
                Some(_) => (now + ANSWER, silence),
                None => return true,
            }
        };
        self.agenda.plan(at, What::Transfer(deed));
        false
    }

    fn errand_reaches(&mut self, errand: Errand) {
        let now = self.stage.now();
        if !self.is_taken(errand, Deed::Reach) {
            return;
        }
        let Some(transfers) = &mut self.transfers else { return };
        match transfers.pipes.take(errand.host, now, errand.bytes) {
            at if at > now => self.agenda.plan(at, What::Transfer(Deed::Ask(errand))),
            _ => self.ask_for(errand),
        }
    }

    fn ask_for(&mut self, errand: Errand) {
        let now = self.stage.now();
        if !self.is_taken(errand, Deed::Ask) {
            return;
        }
        let Some(ask) = self.asked_by(errand) else { return };
        let Some(transfers) = &mut self.transfers else { return };
        transfers.requests += 1;
        let request = transfers.requests;
        transfers.asked.insert(request, errand);
        self.stage.world.ask_objects(errand.host, request, ask);
        self.agenda.plan(now + ANSWER, What::Transfer(Deed::Silent(request)));
    }

    /// What a node is asked, in the words of the simulator; nothing where nobody wants it any more.
    fn asked_by(&self, errand: Errand) -> Option<Ask> {
        let transfers = self.transfers.as_ref()?;
        let bucket = transfers.bucket.clone();
        if matches!(errand.wants, Wants::Get | Wants::Delete) {
            let wish = transfers.wishes.get(&errand.job)?;
            return Some(wish.ask(bucket, errand.wants == Wants::Delete));
        }
        let shelf = &transfers.shelf;
        if let Wants::Abort(upload) = errand.wants {
            return Some(Ask::Abort { bucket, key: shelf.key(errand.job), upload });
        }
        transfers.sending.get(&errand.job)?.ask(bucket, shelf, errand)
    }

    /// The objects of a host answer.
    pub(super) fn object_answered(
        &mut self,
        host: usize,
        request: u64,
        answer: Result<Done, Failure>,
    ) {
        let now = self.stage.now();
        let errand = self.transfers.as_mut().and_then(|it| it.asked.remove(&request));
        let Some(errand) = errand else { return };
        let result = answer.map(Box::new).map_err(|failure| fault(&failure));
        let bytes = match (&result, errand.wants) {
            (Ok(done), Wants::Get) => {
                let content = done.record.as_ref().and_then(|record| record.content.as_ref());
                content.map_or(0, |content| content.bytes)
            }
            _ => 0,
        };
        let line = self.rehearsal.objects.as_ref().map_or(0, |it| it.clients.bytes_per_second);
        let Some(transfers) = &mut self.transfers else { return };
        let left = transfers.pipes.give(host, now, bytes) + pipes::takes(bytes, line);
        let (at, result) = match self.way_of_errand(errand, false) {
            Some(way) => (left + way, result),
            None => (now + ANSWER, Err(Fault::TimedOut)),
        };
        self.agenda.plan(at, What::Transfer(Deed::Heard(errand, result)));
    }

    /// A process has ended: what it had not answered it never will. Where its machine is there its
    /// connections are reset.
    pub(super) fn transfers_ended(&mut self, host: usize) {
        let (now, refuses) = (self.stage.now(), self.stage.refuses(host));
        let Some(transfers) = &mut self.transfers else { return };
        transfers.pipes.clear(host);
        if !refuses {
            return;
        }
        let reset = transfers.asked.extract_if(.., |_, errand| errand.host == host);
        let reset: Vec<Errand> = reset.map(|(_, errand)| errand).collect();
        for errand in reset {
            let way = self.way_of_errand(errand, false).unwrap_or(CONNECT);
            let deed = Deed::Heard(errand, Err(Fault::Broken));
            self.agenda.plan(now + way, What::Transfer(deed));
        }
    }

    fn heard(&mut self, errand: Errand, result: Result<Box<Done>, Fault>) {
        match errand.wants {
            Wants::Get => self.got(errand, result),
            Wants::Delete => self.deleted(errand, &result),
            Wants::Abort(_) => {}
            Wants::Begin => self.upload_begun(errand, &result),
            Wants::Whole => self.part_sent(errand, 0, result),
            Wants::Part(part, _) => self.part_sent(errand, part, result),
            Wants::Complete(_) => self.upload_completed(errand, &result),
        }
    }

    /// Once a second: what is where, and how full links are.
    pub(super) fn look_at_transfers(&mut self) {
        let now = self.stage.now();
        let Some(transfers) = &mut self.transfers else { return };
        transfers.shelf.look(&mut self.stage, &transfers.bucket, now);
        let (backlog, links) = transfers.shelf.seen();
        self.course.carries(backlog, links);
    }
}

/// What a client makes of a refusal.
const fn fault(failure: &Failure) -> Fault {
    match failure.code {
        ErrorCode::Invalid => Fault::Denied,
        _ => Fault::Refused,
    }
}

/// The microseconds of a pause.
fn pause(time: Duration) -> Micros {
    micros(time)
}
