//! Uploads: the shipped machine, as `rhumb cp` drives it.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use rhumb_objects::{
    condition::Condition,
    upload::{Effect, Event, Fault, Report, Rewind, Upload, UploadConfig, Verdict},
};
use rhumb_sim::{
    traffic::arrivals::Kind,
    world::objects::{Ask, Done},
};
use rhumb_types::{
    MonoTime, RegionId,
    record::{Body, BucketName, VersionId},
};

use super::{Deed, Errand, Run, Shelf, Wants, pipes::takes};
use crate::{
    chance::unit,
    clients::SeatId,
    objects::ObjectClients,
    run::{agenda::What, shelf::Acknowledged},
    time::{Micros, place},
};

/// Parts of an upload that are on their way at a time, as with the AWS SDKs.
const PARTS_AHEAD: usize = 10;

/// An upload that is under way.
#[derive(Debug)]
pub(super) struct Sending {
    machine: Upload,
    seat: SeatId,
    begun: Micros,
    /// The length of each part.
    parts: Vec<u64>,
    /// How many of them the machine knows of, and whether it knows that there are no more.
    told: usize,
    ended: bool,
    lanes: BTreeMap<usize, Lane>,
    /// When the client's line is free again.
    free_at: Micros,
    /// For when the next tick is planned.
    wakes_at: Option<Micros>,
    /// The fewest copies of a part as it was answered.
    copies: usize,
    /// Whether bytes were on their way to a region that failed.
    broken: bool,
    out: Vec<Effect>,
}

/// What a region knows of it, where it comes in parts.
#[derive(Debug, Default)]
struct Lane {
    asked: bool,
    upload: Option<VersionId>,
    waiting: Vec<usize>,
}

impl Sending {
    fn is_whole(&self) -> bool {
        self.parts.len() == 1
    }

    fn tell(&mut self, now: Micros, event: Event<'_>) {
        self.machine.on_event(MonoTime(now), event, &mut self.out);
    }

    /// Reads on, as far as the machine allows.
    fn read(&mut self, now: Micros) {
        while let Some(bytes) = self.parts.get(self.told).copied()
            && self.machine.may_read()
        {
            self.told += 1;
            self.tell(now, Event::Part { bytes, there: &[] });
        }
        if self.told == self.parts.len() && !self.ended {
            self.ended = true;
            self.tell(now, Event::End);
        }
    }

    /// What a node is asked for it.
    pub(super) fn ask(&self, bucket: BucketName, shelf: &Shelf, errand: Errand) -> Option<Ask> {
        let key = shelf.key(errand.job);
        // As an MD5 is written, which S3 makes the tags of.
        let tag = |part: usize| format!("{:016x}{part:016x}", errand.job);
        let number = |part: usize| u16::try_from(part + 1).unwrap_or(u16::MAX);
        Some(match errand.wants {
            Wants::Whole => {
                let bytes = *self.parts.first()?;
                let body = if shelf.is_inline(bytes) {
                    Body::Inline(Bytes::from(vec![0; place(bytes)]))
                } else {
                    Body::Blobs(vec![shelf.blob(errand.job, 0, bytes)])
                };
                let condition = Condition::default();
                Ask::Put { bucket, key, etag: tag(0), body, condition }
            }
            Wants::Begin => Ask::Begin { bucket, key },
            Wants::Part(part, upload) => {
                let blob = shelf.blob(errand.job, part, *self.parts.get(part)?);
                Ask::Part { bucket, key, upload, part: (number(part), tag(part)), blob }
            }
            Wants::Complete(upload) => {
                let parts = (0..self.parts.len()).map(|part| (number(part), tag(part)));
                Ask::Complete { bucket, key, upload, parts: parts.collect() }
            }
            Wants::Abort(_) | Wants::Get | Wants::Delete => return None,
        })
    }
}

impl Run<'_> {
    /// A client has an object.
    pub(super) fn upload(&mut self) {
        let now = self.stage.now();
        let Some(seat) = self.any_client(Kind::Write) else { return };
        let (Some(objects), (node, looked)) = (&self.rehearsal.objects, self.find(seat)) else {
            return;
        };
        let Some(population) = self.crowd.populations.get(seat.population) else { return };
        let first = node.into_iter();
        let others = population.nearest.iter().copied().filter(|host| Some(*host) != node);
        let hosts = first.chain(others).filter_map(|host| self.stage.regions.get(host).cloned());
        let mut hosts = hosts.collect::<Vec<RegionId>>().into_iter();
        let Some(transfers) = &mut self.transfers else { return };
        let ObjectClients { part_bytes, retries, delay, .. } = objects.clients;
        let bytes = objects.sizes.draw(&mut transfers.random);
        let deletes = unit(&mut transfers.random) < objects.deletes.get();
        let config = UploadConfig {
            retries,
            delay,
            copies_needed: 1,
            parts_kept: PARTS_AHEAD,
            parts_max: usize::MAX,
            rewind: Rewind::Free,
            ..UploadConfig::default()
        };
        let machine = Upload::new(config, hosts.next(), hosts);
        let whole = (0..bytes / part_bytes).map(|_| part_bytes);
        let rest = Some(bytes % part_bytes).filter(|rest| *rest > 0);
        let sending = Sending {
            machine,
            seat,
            begun: now,
            parts: whole.chain(rest).collect(),
            told: 0,
            ended: false,
            lanes: BTreeMap::new(),
            free_at: now + looked,
            wakes_at: None,
            copies: usize::MAX,
            broken: false,
            out: Vec::new(),
        };
        let job = transfers.job();
        transfers.shelf.offered(bytes);
        transfers.sending.insert(job, sending);
        let regions: Vec<RegionId> = self.stage.regions.clone();
        if let Some(sending) = self.sending(job) {
            for region in &regions {
                sending.tell(now, Event::Window { region, parts: PARTS_AHEAD });
            }
        }
        self.pump(job);
        if deletes {
            self.delete();
        }
    }

    fn sending(&mut self, job: u64) -> Option<&mut Sending> {
        self.transfers.as_mut()?.sending.get_mut(&job)
    }

    /// Tells the machine what happened, and does what it wants done.
    fn tell_upload(&mut self, job: u64, event: Event<'_>) {
        let now = self.stage.now();
        if let Some(sending) = self.sending(job) {
            sending.tell(now, event);
            self.pump(job);
        }
    }

    fn pump(&mut self, job: u64) {
        let now = self.stage.now();
        loop {
            let Some(sending) = self.sending(job) else { return };
            sending.read(now);
            let effects = std::mem::take(&mut sending.out);
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                self.carry_out_upload(job, effect);
            }
        }
        let Some(sending) = self.sending(job) else { return };
        let wakes = sending.machine.wakes_at().map(|at| at.0.max(now + 1));
        let planned = sending.wakes_at.filter(|at| *at > now);
        if let Some(at) = wakes.filter(|at| planned.is_none_or(|planned| *at < planned)) {
            sending.wakes_at = Some(at);
            self.agenda.plan(at, What::Transfer(Deed::Tick(job)));
        }
    }

    pub(super) fn upload_ticks(&mut self, job: u64) {
        self.tell_upload(job, Event::Tick);
    }

    fn carry_out_upload(&mut self, job: u64, effect: Effect) {
        let now = self.stage.now();
        match effect {
            Effect::Send { region, part, .. } => self.send_part(job, &region, part),
            Effect::Finish(region) => self.finish_upload(job, &region),
            Effect::Abort(region) => self.abort_upload(job, &region),
            Effect::Keep { .. } => {}
            Effect::Done(report) => {
                let ended = self.transfers.as_mut().and_then(|it| it.sending.remove(&job));
                if let Some(sending) = ended {
                    self.upload_done(job, &sending, &report, now);
                }
            }
        }
    }

    fn send_part(&mut self, job: u64, region: &RegionId, part: usize) {
        let now = self.stage.now();
        let Some(host) = self.stage.host(region) else { return };
        let Some(sending) = self.sending(job) else { return };
        if sending.is_whole() {
            return self.depart(job, host, Wants::Whole);
        }
        let lane = sending.lanes.entry(host).or_default();
        if let Some(upload) = lane.upload {
            return self.depart(job, host, Wants::Part(part, upload));
        }
        lane.waiting.push(part);
        if !std::mem::replace(&mut lane.asked, true) {
            let errand = Errand { job, seat: sending.seat, host, wants: Wants::Begin, bytes: 0 };
            self.send_errand(errand, now);
        }
    }

    /// A part goes on the client's line.
    fn depart(&mut self, job: u64, host: usize, wants: Wants) {
        let now = self.stage.now();
        let line = self.rehearsal.objects.as_ref().map_or(0, |it| it.clients.bytes_per_second);
        let Some(sending) = self.sending(job) else { return };
        let part = if let Wants::Part(part, _) = wants { part } else { 0 };
        let bytes = sending.parts.get(part).copied().unwrap_or(0);
        let departs = sending.free_at.max(now) + takes(bytes, line);
        sending.free_at = departs;
        let errand = Errand { job, seat: sending.seat, host, wants, bytes };
        self.send_errand(errand, departs);
    }

    pub(super) fn upload_begun(&mut self, errand: Errand, result: &Result<Box<Done>, Fault>) {
        let Errand { job, host, .. } = errand;
        let Some(region) = self.stage.regions.get(host).cloned() else { return };
        let Some(lane) = self.sending(job).and_then(|it| it.lanes.get_mut(&host)) else { return };
        let waiting = std::mem::take(&mut lane.waiting);
        match result {
            Ok(done) => {
                lane.upload = done.upload;
                let Some(upload) = done.upload else { return };
                for part in waiting {
                    self.depart(job, host, Wants::Part(part, upload));
                }
            }
            Err(fault) => {
                lane.asked = false;
                for part in waiting {
                    let result = Err(*fault);
                    self.tell_upload(job, Event::Sent { region: &region, part, result });
                }
            }
        }
    }

    pub(super) fn part_sent(
        &mut self,
        errand: Errand,
        part: usize,
        result: Result<Box<Done>, Fault>,
    ) {
        let Some(region) = self.stage.regions.get(errand.host).cloned() else { return };
        let Some(sending) = self.sending(errand.job) else { return };
        match &result {
            Ok(done) if !done.copies.is_empty() => {
                sending.copies = sending.copies.min(done.copies.len());
            }
            Ok(_) => {}
            Err(_) => sending.broken = true,
        }
        let result = result.map(|_| ());
        self.tell_upload(errand.job, Event::Sent { region: &region, part, result });
    }

    fn finish_upload(&mut self, job: u64, region: &RegionId) {
        let now = self.stage.now();
        let Some(host) = self.stage.host(region) else { return };
        let Some(sending) = self.sending(job) else { return };
        let upload = sending.lanes.get(&host).and_then(|lane| lane.upload);
        match upload.filter(|_| !sending.is_whole()) {
            // A single part is an object by itself.
            None => sending.tell(now, Event::Finished { region, result: Ok(()) }),
            Some(upload) => {
                let wants = Wants::Complete(upload);
                let errand = Errand { job, seat: sending.seat, host, wants, bytes: 0 };
                self.send_errand(errand, now);
            }
        }
    }

    pub(super) fn upload_completed(&mut self, errand: Errand, result: &Result<Box<Done>, Fault>) {
        let Some(region) = self.stage.regions.get(errand.host).cloned() else { return };
        let result = result.as_ref().map(|_| ()).map_err(|fault| *fault);
        self.tell_upload(errand.job, Event::Finished { region: &region, result });
    }

    /// A region is given up; its client asks it for nothing else for a while.
    fn abort_upload(&mut self, job: u64, region: &RegionId) {
        let now = self.stage.now();
        let Some(host) = self.stage.host(region) else { return };
        let Some(sending) = self.sending(job) else { return };
        let (seat, lane) = (sending.seat, sending.lanes.remove(&host));
        if let Some(upload) = lane.and_then(|lane| lane.upload) {
            let errand = Errand { job, seat, host, wants: Wants::Abort(upload), bytes: 0 };
            self.send_errand(errand, now);
        }
        if let Some(population) = self.crowd.populations.get_mut(seat.population) {
            population.failed(seat.seat, host, now);
        }
    }

    fn upload_done(&mut self, job: u64, sending: &Sending, report: &Report, now: Micros) {
        let taken = report.regions.iter().find(|region| region.result.is_ok());
        let Some(transfers) = &mut self.transfers else { return };
        let Some(region) = taken.filter(|_| report.verdict != Verdict::Failed) else {
            transfers.shelf.refused();
            return;
        };
        self.course.uploaded(Duration::from_micros(now - sending.begun));
        let copies = if sending.copies == usize::MAX { 1 } else { sending.copies };
        transfers.shelf.acknowledged(Acknowledged {
            job,
            bytes: report.bytes,
            parts: sending.parts.len(),
            copies,
            moved: region.in_place_of.is_some() && sending.broken,
            begun: sending.begun,
            now,
        });
    }
}
