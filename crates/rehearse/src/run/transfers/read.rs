//! Reads and deletions of objects.

use bytes::Bytes;
use rhumb_objects::{index::Which, upload::Fault};
use rhumb_sim::{
    traffic::arrivals::Kind,
    world::objects::{Ask, Done},
};
use rhumb_types::record::BucketName;

use super::{Deed, Errand, Run, Wants, pause};
use crate::{
    chance::unit,
    clients::{RETRY_AFTER, SeatId},
    run::agenda::What,
    time::Micros,
};

/// What somebody wants of an object.
#[derive(Debug)]
pub(super) struct Wish {
    object: u64,
    key: Bytes,
    seat: SeatId,
    begun: Micros,
    nth: u32,
    /// Whether it is to be deleted.
    deletes: bool,
    /// Whether a deletion had been acknowledged as it was asked for.
    gone: bool,
}

impl Wish {
    pub(super) fn ask(&self, bucket: BucketName, deletes: bool) -> Ask {
        let key = self.key.clone();
        if deletes {
            Ask::Delete { bucket, key, which: Which::Newest }
        } else {
            Ask::Get { bucket, key }
        }
    }
}

impl Run<'_> {
    /// A client wants an object.
    pub(super) fn download(&mut self) {
        let now = self.stage.now();
        let (Some(objects), Some(transfers)) = (&self.rehearsal.objects, &mut self.transfers)
        else {
            return;
        };
        let Some(downloads) = &objects.downloads else { return };
        let fresh = unit(&mut transfers.random) < downloads.fresh.get();
        let found = transfers.shelf.any(&mut transfers.random, now, fresh);
        let Some(object) = found else { return };
        if let Some(seat) = self.any_client(Kind::Read) {
            self.begin_wish(object, seat, false);
        }
    }

    /// A client deletes an object.
    pub(super) fn delete(&mut self) {
        let now = self.stage.now();
        let Some(transfers) = &mut self.transfers else { return };
        let found = transfers.shelf.any(&mut transfers.random, now, false);
        let Some(object) = found.filter(|object| transfers.shelf.claim(*object)) else { return };
        if let Some(seat) = self.any_client(Kind::Write) {
            self.begin_wish(object, seat, true);
        }
    }

    fn begin_wish(&mut self, object: u64, seat: SeatId, deletes: bool) {
        let now = self.stage.now();
        let Some(transfers) = &mut self.transfers else { return };
        if !deletes {
            transfers.shelf.counts.downloads += 1;
        }
        let job = transfers.job();
        let key = transfers.shelf.key_of(object);
        let gone = transfers.shelf.is_deleted(object);
        let wish = Wish { object, key, seat, begun: now, nth: 0, deletes, gone };
        transfers.wishes.insert(job, wish);
        self.wish_for(job);
    }

    pub(super) fn wish_for(&mut self, job: u64) {
        let now = self.stage.now();
        let Some(wish) = self.transfers.as_mut().and_then(|it| it.wishes.get(&job)) else { return };
        let (seat, deletes) = (wish.seat, wish.deletes);
        let wants = if deletes { Wants::Delete } else { Wants::Get };
        let (node, looked) = self.find(seat);
        let errand = Errand { job, seat, host: node.unwrap_or(usize::MAX), wants, bytes: 0 };
        match node {
            Some(_) => self.send_errand(errand, now + looked),
            None => self.wish_failed(errand),
        }
    }

    /// Its client asks the next node, or gives up.
    fn wish_failed(&mut self, errand: Errand) {
        let now = self.stage.now();
        let retries = self.rehearsal.clients.retries;
        let Some(transfers) = &mut self.transfers else { return };
        let Some(wish) = transfers.wishes.get_mut(&errand.job) else { return };
        if let Some(population) = self.crowd.populations.get_mut(errand.seat.population) {
            population.failed(errand.seat.seat, errand.host, now);
        }
        wish.nth += 1;
        if wish.nth <= retries {
            let at = now + pause(RETRY_AFTER);
            return self.agenda.plan(at, What::Transfer(Deed::Again(errand.job)));
        }
        let (object, deletes) = (wish.object, wish.deletes);
        transfers.wishes.remove(&errand.job);
        if deletes {
            transfers.shelf.kept(object);
        } else {
            transfers.shelf.counts.downloads_failed += 1;
        }
    }

    pub(super) fn got(&mut self, errand: Errand, result: Result<Box<Done>, Fault>) {
        let now = self.stage.now();
        let Ok(done) = result else { return self.wish_failed(errand) };
        let Some(transfers) = &mut self.transfers else { return };
        let Some(wish) = transfers.wishes.remove(&errand.job) else { return };
        let there = done.record.is_some();
        transfers.shelf.read(wish.object, (there, wish.gone), done.through, now - wish.begun);
    }

    pub(super) fn deleted(&mut self, errand: Errand, result: &Result<Box<Done>, Fault>) {
        let now = self.stage.now();
        if result.is_err() {
            return self.wish_failed(errand);
        }
        let Some(transfers) = &mut self.transfers else { return };
        if let Some(wish) = transfers.wishes.remove(&errand.job) {
            transfers.shelf.deleted(wish.object, now);
        }
    }
}
