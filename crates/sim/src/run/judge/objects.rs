//! Objects at the end: what was acknowledged is there, what was deleted is not, and the bytes are where
//! they ought to be and nowhere else.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_objects::{
    place::{self, Ought},
    refer::{KINDS, Placement, Referred, holding, referred},
    terms::{Fences, Look},
};
use rhumb_ports::store::{Range, ReadStore as _};
use rhumb_regions::{RegionIndex, RegionSet, RoutingSnapshot};
use rhumb_types::{
    Epoch, UnixMillis,
    record::{
        BlobHash, BlobRef, Cell, Dot, Entry, HolderRecord, IndexKey, ObjectRecord, Record as _,
        Space, Term, Value, Versioning,
    },
};

use super::Run;
use crate::{
    check::{Check, Violation},
    host::Host,
    workload::objects::{Fate, Kind, LINEAR, Mutation, Object, bucket},
    world::objects::Here,
};

/// Where a blob that is referred to lies.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    /// Where it ought to be.
    must: RegionSet,
    /// Where else it may be.
    may: RegionSet,
    /// How many copies of it there must be.
    copies: u8,
}

impl Wanted {
    /// An entry refers to it.
    fn ought(&mut self, ought: Option<Ought>, is_shown: bool) {
        let Some(Ought { regions, copies, .. }) = ought else { return };
        self.may = self.may.or(regions);
        self.copies = self.copies.max(copies);
        if is_shown {
            self.must = self.must.or(regions);
        }
    }

    /// Whether a copy that these regions have ought not to be at one of them. Of what is only referred to by
    /// an entry that lost to another nothing is copied, so that its copies stay where they are as long as
    /// there are no more than there must be.
    fn is_too_much(&self, at: RegionIndex, holders: RegionSet) -> bool {
        let spare = holders.len() > usize::from(self.copies.max(1));
        spare && !self.may.is_empty() && !self.may.contains(at)
    }
}

/// The rows of the index, with all that their cells hold.
type Index = BTreeMap<Bytes, Cell>;

impl Run {
    /// Whether all that objects wait for has happened; the history says for what they wait.
    pub(in crate::run) fn objects_are_over(&mut self) -> bool {
        if self.work.objects.is_none() || !self.given_up().is_empty() {
            return true;
        }
        let judged = self.judge_objects();
        if let Err(Violation { what, .. }) = &judged {
            self.world.note(0, format_args!("NOT YET: {what}"));
        }
        judged.is_ok()
    }

    /// What was promised of objects.
    pub(in crate::run) fn judge_objects(&mut self) -> Result<(), Violation> {
        if self.work.objects.is_none() || !self.given_up().is_empty() {
            return Ok(());
        }
        let of = |check| move |what| Violation { check, what };
        let index = self.same_index().map_err(of(Check::Converged))?;
        self.every_change(&index)?;
        let wanted = self.wanted_blobs(&index).map_err(of(Check::Lost))?;
        self.bytes_in_place(&index, &wanted)?;
        self.nothing_said_of_nothing(&index, &wanted)?;
        let fences = index.iter().filter(|(key, _)| key.starts_with(IndexKey::ALL_FENCES));
        let fences = Fences::read(fences).map_err(|error| of(Check::Lost)(error.to_string()))?;
        let newest = |key: &Bytes| decided(&index, &fences, key);
        let Some(objects) = &mut self.work.objects else { return Ok(()) };
        let ordered = objects.registers.judge(newest).map_err(of(Check::Ordered))?;
        objects.counts.ordered = ordered;
        Ok(())
    }

    fn index(&self, host: usize) -> Result<Index, String> {
        let process = self.world.hosts.get(host).and_then(|machine| machine.process.as_ref());
        let process = process.ok_or_else(|| format!("host {host} is down"))?;
        let range = Range { after: None, limit: usize::MAX };
        let rows = process.store.keys(Space::OBJECTS, b"", range);
        let rows = rows.map_err(|error| error.to_string())?;
        let held = rows.into_iter().map(|(key, head)| (key, head.cell));
        Ok(held.filter(|(_, cell)| !cell.entries.is_empty()).collect())
    }

    /// The index, which is the same everywhere.
    fn same_index(&self) -> Result<Index, String> {
        let first = self.index(0)?;
        for host in 1..self.world.hosts.len() {
            let other = self.index(host)?;
            let differs = |key: &&Bytes| first.get(*key) != other.get(*key);
            if let Some(key) = first.keys().chain(other.keys()).find(differs) {
                return Err(format!(
                    "hosts 0 and {host} differ about the row {}: {:?} and {:?}",
                    key.escape_ascii(),
                    first.get(key),
                    other.get(key)
                ));
            }
        }
        Ok(first)
    }

    /// What each acknowledged change wrote is there, unless another may have taken it away; and is not,
    /// where another has.
    fn every_change(&self, index: &Index) -> Result<(), Violation> {
        let Some(objects) = &self.work.objects else { return Ok(()) };
        for (object, changes) in &objects.changes {
            for (nth, put) in changes.iter().enumerate() {
                let is_put = put.kind == Kind::Put;
                let (Some(dot), Some(record), true) = (put.dot(), put.record(), is_put) else {
                    continue;
                };
                let others = changes.iter().enumerate().filter(|(other, _)| *other != nth);
                let others: Vec<&Mutation> = others.map(|(_, other)| other).collect();
                self.kept(index, object, (dot, record), &others)?;
                gone(index, object, dot, &others)?;
            }
        }
        Ok(())
    }

    fn kept(
        &self,
        index: &Index,
        (bucket, key): &Object,
        (dot, record): (Dot, &ObjectRecord),
        others: &[&Mutation],
    ) -> Result<(), Violation> {
        let (bucket, key) = (bucket.clone(), key.clone());
        let definition = self.definition(&bucket);
        let versioned = definition.is_some_and(|it| it.versioning == Versioning::Enabled);
        let lost = |what: String| Violation { check: Check::Lost, what };
        if versioned {
            let version = record.version;
            let mut asked = others.iter().filter(|it| !matches!(it.fate, Fate::Refused));
            let deleted = asked.any(|it| it.kind == Kind::DeleteVersion(version));
            let name = format!("version {version} of {bucket}/{}", key.escape_ascii());
            let row = IndexKey::Version { bucket, key, version };
            if !deleted && !index.contains_key(&row.encode()) {
                return Err(lost(format!("{name} was acknowledged, and is nowhere")));
            }
            return Ok(());
        }
        let name = format!("{bucket}/{}", key.escape_ascii());
        let row = IndexKey::Current { bucket, key }.encode();
        // Who settles what came late beside it decides it anew.
        let is_it = |entry: &Entry| {
            let found = entry.value.bytes().and_then(|row| ObjectRecord::decode(row).ok());
            entry.dot == dot || found.is_some_and(|it| it.version == record.version)
        };
        let there = index.get(&row).is_some_and(|cell| cell.entries.iter().any(is_it));
        if !there && !others.iter().any(|it| it.may_replace(dot)) {
            return Err(lost(format!(
                "what {dot:?} wrote to {name} was acknowledged, nobody who had seen it took it \
                 away, and it is gone; there is {:?}",
                index.get(&row)
            )));
        }
        Ok(())
    }

    fn definition(
        &self,
        bucket: &rhumb_types::record::BucketName,
    ) -> Option<rhumb_types::record::BucketDefinition> {
        self.world.objects(0)?.definition(bucket).ok()
    }

    /// Every blob that a row refers to, with the regions where it ought to be.
    fn wanted_blobs(&self, index: &Index) -> Result<BTreeMap<BlobHash, Wanted>, String> {
        let process = self.world.hosts.first().and_then(|machine| machine.process.as_ref());
        let snapshot = process.and_then(|process| process.routing.clone());
        let (Some(snapshot), Some(here)) = (snapshot, self.world.objects(0)) else {
            return Err("host 0 does not route".to_owned());
        };
        let mut wanted: BTreeMap<BlobHash, Wanted> = BTreeMap::new();
        for (key, cell) in
            index.iter().filter(|(key, _)| KINDS.iter().any(|it| key.starts_with(it)))
        {
            let shown = rhumb_state::visible::whole(cell);
            for entry in &cell.entries {
                let Some(row) = entry.value.bytes() else { continue };
                let found = referred(key, row).map_err(|error| error.to_string())?;
                let Some(found) = found else { continue };
                // What lost to another is kept, and not copied.
                let is_shown = shown == Some(row);
                for blob in &found.blobs {
                    let known = wanted.entry(blob.hash).or_default();
                    known.ought(ought(here, &snapshot, &found, blob), is_shown);
                }
            }
        }
        Ok(wanted)
    }

    /// No row says that bytes are held which are not, and which nobody refers to.
    fn nothing_said_of_nothing(
        &self,
        index: &Index,
        wanted: &BTreeMap<BlobHash, Wanted>,
    ) -> Result<(), Violation> {
        for (key, cell) in index.iter().filter(|(key, _)| key.starts_with(b"h")) {
            let Ok(IndexKey::Holder { hash, region }) = IndexKey::decode(key) else { continue };
            let holds = |host: &&Host| host.config.region == region;
            let Some(host) = self.world.hosts.iter().find(holds) else { continue };
            let young = since(cell).is_some_and(|it| it > host.clock(self.world.now()).wall);
            if !young && !wanted.contains_key(&hash) && host.blobs.get(&hash).is_none() {
                let what = format!("{region} says that it holds {hash}, and it is not there");
                return Err(Violation { check: Check::Collected, what });
            }
        }
        Ok(())
    }

    /// Bytes are where they ought to be, sound, and nowhere else; what nobody refers to is gone.
    fn bytes_in_place(
        &self,
        index: &Index,
        wanted: &BTreeMap<BlobHash, Wanted>,
    ) -> Result<(), Violation> {
        let hosts: Vec<_> = self.world.hosts.iter().collect();
        let found = |check, what| Err(Violation { check, what });
        for hash in wanted.keys() {
            let held = hosts.iter().any(|host| host.blobs.is_sound(hash));
            if !held && !self.world.rotten.contains(hash) {
                return found(Check::Lost, format!("{hash} is referred to, and nowhere"));
            }
        }
        let process = hosts.first().and_then(|machine| machine.process.as_ref());
        let Some(snapshot) = process.and_then(|process| process.routing.clone()) else {
            return Ok(());
        };
        for host in &hosts {
            let region = &host.config.region;
            let now = host.clock(self.world.now()).wall;
            let Some(at) = snapshot.index(region) else { continue };
            for (hash, Wanted { must, .. }) in wanted {
                let anywhere = hosts.iter().any(|host| host.blobs.is_sound(hash));
                if must.contains(at) && anywhere && !host.blobs.is_sound(hash) {
                    let row = IndexKey::Holder { hash: *hash, region: region.clone() }.encode();
                    let (said, blob) = (index.contains_key(&row), host.blobs.get(hash));
                    let wanted = host.process.as_ref().and_then(|it| it.objects.as_ref());
                    let wanted = wanted.map(|it| it.here.state().want.is_wanted(hash));
                    let what = format!(
                        "{hash} ought to be in {region}, and is not: there is {blob:?}, said: {said}, \
                         wanted: {wanted:?}"
                    );
                    return found(Check::Placed, what);
                }
            }
            for (hash, held) in host.blobs.all() {
                let row = IndexKey::Holder { hash, region: region.clone() }.encode();
                // Its clock was ahead: it is young for as long.
                let since = index.get(&row).and_then(since).unwrap_or(held.since).max(held.since);
                if since > now {
                    continue;
                }
                let holds = |host: &&&Host| host.blobs.is_sound(&hash);
                let holders = hosts.iter().filter(holds);
                let holders = holders.filter_map(|host| snapshot.index(&host.config.region));
                match wanted.get(&hash) {
                    None => {
                        return found(
                            Check::Collected,
                            format!("{region} keeps {hash}, which nobody refers to"),
                        );
                    }
                    Some(wanted) if wanted.is_too_much(at, holders.collect()) => {
                        return found(
                            Check::Placed,
                            format!("{region} keeps {hash}, which ought not to be there"),
                        );
                    }
                    Some(_) if !index.contains_key(&row) => {
                        return found(
                            Check::Placed,
                            format!("{region} keeps {hash}, and does not say so"),
                        );
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// Since when a region says that it holds a blob, at the latest.
fn since(cell: &Cell) -> Option<UnixMillis> {
    let records = cell.entries.iter().filter_map(|entry| match &entry.value {
        Value::Bytes(row) => HolderRecord::decode(row).ok(),
        _ => None,
    });
    records.map(|record| record.since).max()
}

/// Where a blob ought to be by the bucket of a row that refers to it.
fn ought(
    here: &Here,
    snapshot: &RoutingSnapshot,
    referred: &Referred,
    blob: &BlobRef,
) -> Option<Ought> {
    let place = referred.place.as_ref()?;
    let definition = here.definition(&place.bucket).ok()?;
    let placement = Placement::of(snapshot, definition)?;
    let holders = holding(&here.rows(), snapshot, &blob.hash);
    Some(placement.ought(snapshot, place, holders))
}

/// What was replaced is not there.
fn gone(
    index: &Index,
    (bucket, key): &Object,
    dot: Dot,
    others: &[&Mutation],
) -> Result<(), Violation> {
    let row = IndexKey::Current { bucket: bucket.clone(), key: key.clone() }.encode();
    let Some(cell) = index.get(&row) else { return Ok(()) };
    let there = cell.entries.iter().any(|entry| entry.dot == dot);
    match others.iter().find(|it| it.has_replaced(dot)) {
        Some(by) if there => Err(Violation {
            check: Check::Deleted,
            what: format!(
                "what {dot:?} wrote to {bucket}/{} is there again, after host {} had replaced it: \
                 {:?}",
                key.escape_ascii(),
                by.host,
                by.kind
            ),
        }),
        _ => Ok(()),
    }
}

/// The object of the linearizable bucket as a home finds it that begins now.
fn decided(index: &Index, fences: &Fences, key: &Bytes) -> Option<ObjectRecord> {
    let row = IndexKey::Current { bucket: bucket(LINEAR), key: key.clone() }.encode();
    let cell = index.get(&row)?;
    let last = Term { homes: u64::MAX, epoch: Epoch(u64::MAX) };
    let row = match fences.look(last, &place::name(&bucket(LINEAR), key), cell) {
        Look::Settle(row) => row?,
        Look::Clear | Look::Later => rhumb_state::visible::whole(cell)?.clone(),
    };
    ObjectRecord::decode(&row).ok()
}

#[cfg(test)]
mod tests {
    use rhumb_regions::{Facts, Policy, Region, RegionFacts};
    use rhumb_types::RegionId;

    use super::*;

    #[test]
    fn what_only_a_loser_refers_to_stays_where_it_is_unless_there_is_more_of_it() {
        let ids = ["a", "b", "c"].map(|name| RegionId::new(name).unwrap());
        let region = |id: &RegionId| RegionFacts::new(Region::new(id.clone(), "x:1"));
        let facts = Facts {
            version: 1,
            here: ids[0].clone(),
            regions: ids.iter().map(region).collect(),
            links: Vec::new(),
            rules: Vec::new(),
            policy: Policy::default(),
        };
        let snapshot = RoutingSnapshot::build(facts).unwrap();
        let [a, b, c] = ids.map(|id| snapshot.index(&id).unwrap());
        let set = |regions: &[RegionIndex]| regions.iter().copied().collect::<RegionSet>();
        let wanted = Wanted { must: RegionSet::EMPTY, may: set(&[a, b]), copies: 2 };
        assert!(!wanted.is_too_much(c, set(&[c])), "the last one");
        assert!(!wanted.is_too_much(c, set(&[b, c])), "one of as many as there must be");
        assert!(wanted.is_too_much(c, set(&[a, b, c])));
        assert!(!wanted.is_too_much(b, set(&[a, b, c])), "it ought to be there");
    }
}
