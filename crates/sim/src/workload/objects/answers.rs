//! What clients were answered, held against what they may be.

use rhumb_types::record::{BlobHash, BucketName, Dot, ObjectRecord, VersionVector};

use super::{
    Asked, Fate, Kind, Mutation, Object, Objects, RESIDENT, RETURNING, SHARED, blob, blobs,
    is_lasting,
    reads::{Get, stayed_in_reach},
    seen,
};
use crate::{
    check::Check,
    time::micros,
    world::{
        World,
        objects::{AGES, Done, Failure},
    },
};

impl Objects {
    /// The objects of a host have answered.
    pub(crate) fn answered(
        &mut self,
        world: &mut World,
        request: u64,
        answer: Result<Done, Failure>,
    ) {
        let Some((host, asked)) = self.asked.remove(&request) else { return };
        self.counts.failed += u64::from(answer.is_err());
        self.resides(world);
        match asked {
            Asked::Change { object, nth, at, wrong } => {
                if let Ok(Done { record: Some(record), .. }) = &answer {
                    if wrong {
                        let what = format!("{object:?} is completed of a part that never came");
                        world.checker.violated(Check::Parts, what);
                    }
                    // Other tags move no bytes: of what was replaced elsewhere meanwhile there may be fewer
                    // copies, until a walk has seen that somebody refers to it again.
                    let kind =
                        self.changes.get(&object).and_then(|it| it.get(nth)).map(|it| it.kind);
                    if kind != Some(Kind::Tag) && world.now() - at < micros(AGES.grace) {
                        copied(world, &object.0, record);
                    }
                    self.note_resident(&object.0, record);
                }
                let after = seen(world, host);
                let deleted = answer.is_ok() && !is_lasting(&object.1);
                self.changed(world, (object.clone(), nth), (after, answer));
                let kind = self.changes.get(&object).and_then(|it| it.get(nth)).map(|it| it.kind);
                if deleted && kind == Some(Kind::Delete) && world.random.chance(500) {
                    self.read(world, host, object);
                }
            }
            Asked::Get(get) => {
                if let Ok(done) = answer {
                    self.got(world, host, &get, &done);
                }
            }
            Asked::Register(waiting) => {
                self.registers.answered(waiting, answer);
            }
            Asked::Nothing => {}
        }
    }

    fn changed(
        &mut self,
        world: &World,
        (object, nth): (Object, usize),
        (after, answer): (VersionVector, Result<Done, Failure>),
    ) {
        let changes = self.changes.entry(object.clone()).or_default();
        let alone = changes.len() == 1;
        let Some(change) = changes.get_mut(nth) else { return };
        match answer {
            // It may be lost yet.
            Ok(_) if world.checker.is_lying(change.host) => {}
            Ok(done) => {
                let dot = done.written.iter().next();
                let dot = dot.map(|(origin, version)| Dot { origin, version });
                let record = done.record.map(Box::new);
                change.fate = Fate::Done { dot, after, record };
                self.counts.changed += 1;
                if alone && change.kind == Kind::Put && is_lasting(&object.1) {
                    self.lasting.push(object);
                }
            }
            Err(failure) if failure.is_unknown() => {}
            Err(_) => change.fate = Fate::Refused,
        }
    }

    fn got(&mut self, world: &mut World, host: usize, get: &Get, done: &Done) {
        let Some(record) = &done.record else {
            self.counts.missed += 1;
            let told = get.writer.as_ref().filter(|writer| done.ahead.contains(writer));
            let reached = get.holders.iter().any(|holder| stayed_in_reach(world, host, *holder));
            if reached || told.is_some() {
                let what = format!(
                    "host {host} says that {:?} is not there; a region with it was in reach: \
                     {reached}; that had told of more than was applied: {told:?}",
                    get.object
                );
                world.checker.violated(Check::Missed, what);
            }
            return;
        };
        self.counts.read += 1;
        let changes = self.changes.get(&get.object).map(Vec::as_slice).unwrap_or_default();
        let of_version = |it: &&Mutation| {
            it.kind == Kind::Put && it.record().is_some_and(|it| it.version == record.version)
        };
        let Some(dot) = changes.iter().find(of_version).and_then(Mutation::dot) else { return };
        let heard = |it: &&Mutation| it.dot().is_some_and(|dot| get.before.covers(dot));
        let by = changes.iter().filter(heard).find(|it| it.has_replaced(dot));
        // What is tagged is written anew, and may have been so at the same time; and where a version
        // goes, the one before it is the newest again.
        let anew = |it: &Mutation| matches!(it.kind, Kind::Tag | Kind::DeleteVersion(_));
        let tagged = changes.iter().any(anew);
        if let Some(by) = by.filter(|_| !tagged) {
            let what = format!(
                "host {host} gives {:?} as {} wrote it, and knows that host {} has replaced it: \
                 {:?}",
                get.object, record.region, by.host, by.kind
            );
            world.checker.violated(Check::Deleted, what);
        }
    }

    /// Bytes of an upload that may not lie everywhere, unless others have the same.
    fn note_resident(&mut self, bucket: &BucketName, record: &ObjectRecord) {
        if bucket.as_str() == RESIDENT {
            let shared = |hash: &BlobHash| {
                (0..SHARED + RETURNING).any(|content| blob(content, 0).hash == *hash)
            };
            self.resident.extend(blobs(record).filter(|hash| !shared(hash)));
        }
    }

    /// Bytes lie only where the tags of their bucket allow it.
    fn resides(&self, world: &mut World) {
        let Some(outside) = world.hosts.last().filter(|_| world.hosts.len() > 2) else { return };
        let found = self.resident.iter().find(|hash| outside.blobs.get(hash).is_some());
        if let Some(hash) = found {
            let what = format!("{hash} of {RESIDENT} lies in {}", outside.config.region);
            world.checker.violated(Check::Residency, what);
        }
    }
}

/// An upload is answered: as many regions as its bucket says have its bytes for good.
fn copied(world: &mut World, bucket: &BucketName, record: &ObjectRecord) {
    let Some(here) = world.hosts.iter().position(|host| host.config.region == record.region) else {
        return;
    };
    let Some(definition) = world.objects(here).and_then(|it| it.definition(bucket).ok()) else {
        return;
    };
    let blobs: Vec<BlobHash> = blobs(record).collect();
    let rotten = blobs.iter().any(|hash| world.rotten.contains(hash));
    // Those of parts may lie in different regions.
    let has = |hash: &BlobHash| world.hosts.iter().filter(|it| it.blobs.is_durable(hash)).count();
    let had = blobs.iter().map(has).min().unwrap_or(0);
    let needed = usize::from(definition.copies_needed());
    if had < needed && !rotten && !blobs.is_empty() {
        let what =
            format!("an upload to {bucket} is answered, and {had} of {needed} regions have it");
        world.checker.violated(Check::Copied, what);
    }
}
