//! What clients were answered, held against what they may be.

use rhumb_types::record::{BlobHash, BucketName, Dot, ObjectRecord, VersionVector};

use super::{
    Asked, Fate, Get, Kind, Mutation, Object, Objects, RESIDENT, SHARED, blob, blobs, is_lasting,
    seen, stayed_in_reach,
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
        match asked {
            Asked::Change { object, nth, at, wrong } => {
                if let Ok(Done { record: Some(record), .. }) = &answer {
                    if wrong {
                        let what = format!("{object:?} is completed of a part that never came");
                        world.checker.violated(Check::Parts, what);
                    }
                    if world.now() - at < micros(AGES.grace) {
                        copied(world, &object.0, record);
                    }
                    resides(world, &object.0, record);
                }
                let after = seen(world, host);
                self.changed((object, nth), after, answer);
            }
            Asked::Get(get) => {
                if let Ok(done) = answer {
                    self.got(world, host, &get, done.record.as_ref());
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
        (object, nth): (Object, usize),
        after: VersionVector,
        answer: Result<Done, Failure>,
    ) {
        let changes = self.changes.entry(object.clone()).or_default();
        let alone = changes.len() == 1;
        let Some(change) = changes.get_mut(nth) else { return };
        match answer {
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

    fn got(&mut self, world: &mut World, host: usize, get: &Get, found: Option<&ObjectRecord>) {
        let Some(record) = found else {
            self.counts.missed += 1;
            if get.holders.iter().any(|holder| stayed_in_reach(world, host, *holder)) {
                let what = format!("host {host} says that {:?} is not there", get.object);
                world.checker.violated(Check::Missed, what);
            }
            return;
        };
        self.counts.read += 1;
        resides(world, &get.object.0, record);
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
    let has = |host: &&crate::host::Host| blobs.iter().all(|hash| host.blobs.is_durable(hash));
    let had = world.hosts.iter().filter(has).count();
    let needed = usize::from(definition.copies_needed());
    if had < needed && !rotten && !blobs.is_empty() {
        let what =
            format!("an upload to {bucket} is answered, and {had} of {needed} regions have it");
        world.checker.violated(Check::Copied, what);
    }
}

/// Bytes lie only where the tags of their bucket allow it.
fn resides(world: &mut World, bucket: &BucketName, record: &ObjectRecord) {
    let shared: Vec<BlobHash> = (0..SHARED).map(|content| blob(content, 0).hash).collect();
    let Some(outside) = world.hosts.last().filter(|_| world.hosts.len() > 2) else { return };
    let lies = |hash: &BlobHash| !shared.contains(hash) && outside.blobs.get(hash).is_some();
    let found = blobs(record).find(lies);
    if let Some(hash) = found.filter(|_| bucket.as_str() == RESIDENT) {
        let what = format!("{hash} of {bucket} lies in {}", outside.config.region);
        world.checker.violated(Check::Residency, what);
    }
}
