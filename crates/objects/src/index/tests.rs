use proptest::prelude::*;
use rhumb_types::record::{BlobHash, BlobRef, Body, BucketDefinition};

use super::*;
use crate::{
    etag::EntityTags,
    list::{self, Listing},
    memory::{Memory, bucket, content, id, writing},
};

const KEY: Bytes = Bytes::from_static(b"a/1.jpg");

/// A versioned bucket as one would write it down: versions of one key, the newest last.
#[derive(Debug, Default)]
struct Model {
    versions: Vec<Version>,
}

#[derive(Debug, Clone, PartialEq)]
struct Version {
    /// `None` for `null`.
    id: Option<VersionId>,
    /// `None` for a delete marker.
    etag: Option<String>,
}

impl Model {
    fn write(&mut self, versioning: Versioning, id: VersionId, etag: Option<&str>) {
        let enabled = versioning == Versioning::Enabled;
        if !enabled {
            self.versions.retain(|version| version.id.is_some());
        }
        let etag = etag.map(str::to_owned);
        self.versions.push(Version { id: enabled.then_some(id), etag });
    }

    fn delete(&mut self, versioning: Versioning, id: VersionId) {
        match versioning {
            Versioning::Off => self.versions.clear(),
            _ => self.write(versioning, id, None),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put,
    Delete,
    DeleteNth(usize),
    DeleteNull,
    DeleteUnknown,
    EditNth(usize),
    Enable,
    Suspend,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => Just(Step::Put),
        3 => Just(Step::Delete),
        4 => (0..6_usize).prop_map(Step::DeleteNth),
        1 => Just(Step::DeleteNull),
        1 => Just(Step::DeleteUnknown),
        2 => (0..6_usize).prop_map(Step::EditNth),
        1 => Just(Step::Enable),
        1 => Just(Step::Suspend),
    ];
    prop::collection::vec(step, 1..40)
}

struct Bench {
    rows: Memory,
    model: Model,
    versioning: Versioning,
    at: u64,
}

impl Bench {
    fn new(versioning: Versioning) -> Self {
        Self { rows: Memory::default(), model: Model::default(), versioning, at: 1_000 }
    }

    fn with<T>(&self, rule: impl FnOnce(Target<'_>) -> T) -> T {
        rule(Target { bucket: &bucket(), versioning: self.versioning, key: &KEY })
    }

    fn put(&mut self, etag: &str) -> ObjectRecord {
        self.at += 1;
        let none = Condition::default();
        let put = self
            .with(|target| put(&self.rows, target, writing(self.at), content(etag), &none))
            .unwrap();
        assert!(self.rows.carry_out(&put.change), "nothing changed meanwhile");
        self.model.write(self.versioning, put.record.version, Some(etag));
        put.record
    }

    fn delete(&mut self, which: Which) -> Deleted {
        self.at += 1;
        let none = Condition::default();
        let deleted =
            self.with(|target| delete(&self.rows, target, which, writing(self.at), &none)).unwrap();
        assert!(self.rows.carry_out(&deleted.change), "nothing changed meanwhile");
        deleted
    }

    fn which(&self, nth: usize) -> Option<Which> {
        let version = self.model.versions.get(nth)?;
        Some(version.id.map_or(Which::Null, Which::Version))
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put => {
                let etag = format!("e{}", self.at);
                self.put(&etag);
            }
            Step::Delete => {
                let deleted = self.delete(Which::Newest);
                let marker = deleted.marker.map_or(id(0), |marker| marker.version);
                self.model.delete(self.versioning, marker);
            }
            Step::DeleteNth(nth) => {
                let Some(which) = self.which(*nth) else { return };
                let deleted = self.delete(which);
                let gone = self.model.versions.remove(*nth);
                assert_eq!(deleted.told(), Some((gone.id, gone.etag.is_none())));
            }
            Step::DeleteNull => {
                self.delete(Which::Null);
                self.model.versions.retain(|version| version.id.is_some());
            }
            Step::DeleteUnknown => {
                let deleted = self.delete(Which::Version(id(1)));
                assert_eq!(deleted, Deleted::default());
            }
            Step::EditNth(nth) => self.edit(*nth),
            Step::Enable => self.versioning = Versioning::Enabled,
            Step::Suspend if self.versioning == Versioning::Off => (),
            Step::Suspend => self.versioning = Versioning::Suspended,
        }
    }

    fn edit(&mut self, nth: usize) {
        let Some(which) = self.which(nth) else { return };
        let tag = self.at.to_string();
        let none = Condition::default();
        let set = |content: &mut Content| {
            content.etag.push_str("+tag");
            content.tags.insert("at".to_owned(), tag);
        };
        let edited = self.with(|target| edit(&self.rows, target, which, &none, set));
        let version = &mut self.model.versions[nth];
        match (edited, &mut version.etag) {
            (Ok(edited), Some(etag)) => {
                etag.push_str("+tag");
                assert!(self.rows.carry_out(&edited.change));
            }
            (Err(Failed::Refused(Refused::Marker)), None) => (),
            (other, etag) => panic!("{other:?} of {etag:?}"),
        }
    }

    /// The rows are what the model says.
    fn agree(&self) {
        let seen = |record: &ObjectRecord| Version {
            id: record.versioned.then_some(record.version),
            etag: record.content.as_ref().map(|content| content.etag.clone()),
        };
        let find = |which| {
            let found = self.with(|target| find(&self.rows, target, which)).unwrap();
            (found.record().map(seen), found.is_current())
        };
        let newest = self.model.versions.last().cloned();
        assert_eq!(find(Which::Newest), (newest.clone(), newest.is_some()));
        for (nth, version) in self.model.versions.iter().enumerate() {
            let is_newest = nth + 1 == self.model.versions.len();
            let which = self.which(nth).unwrap();
            assert_eq!(find(which), (Some(version.clone()), is_newest));
        }
        if self.model.versions.iter().all(|version| version.id.is_some()) {
            assert_eq!(find(Which::Null), (None, false));
        }
        let listing = Listing { max: 1_000, ..Listing::default() };
        let listed = list::versions(&self.rows, &bucket(), &listing).unwrap();
        let told: Vec<_> = listed
            .entries
            .iter()
            .map(|entry| Version {
                id: entry.summary.id(),
                etag: entry.summary.content.as_ref().map(|content| content.etag.clone()),
            })
            .collect();
        let wanted: Vec<_> = self.model.versions.iter().rev().cloned().collect();
        assert_eq!(told, wanted);
        assert!(listed.entries.iter().enumerate().all(|(at, one)| one.is_latest == (at == 0)));
        if self.versioning == Versioning::Off {
            assert!(self.rows.rows.len() <= 1, "a bucket without versions has no such rows");
        }
        let mended = self.with(|target| mend(&self.rows, target)).unwrap();
        assert!(mended.is_empty(), "there is nothing to mend: {mended:?}");
    }
}

proptest! {
    #[test]
    fn rows_follow_the_model_of_a_versioned_bucket(
        enabled in any::<bool>(),
        steps in steps(),
    ) {
        let mut bench =
            Bench::new(if enabled { Versioning::Enabled } else { Versioning::Off });
        for step in &steps {
            bench.step(step);
            bench.agree();
        }
    }

    /// Of two changes that read the same rows only the first is carried out.
    #[test]
    fn a_change_is_refused_after_another(steps in steps(), first in 0..3_u8, second in 0..3_u8) {
        let mut bench = Bench::new(Versioning::Enabled);
        steps.iter().for_each(|step| bench.step(step));
        let none = Condition::default();
        let change = |kind, at| bench.with(|target| match kind {
            0 => put(&bench.rows, target, writing(at), content("new"), &none).unwrap().change,
            1 => delete(&bench.rows, target, Which::Newest, writing(at), &none).unwrap().change,
            _ => bench.which(0).map(|which| {
                delete(&bench.rows, target, which, writing(at), &none).unwrap().change
            }).unwrap_or_default(),
        });
        let (first, second) = (change(first, 5_000), change(second, 5_001));
        let mut rows = bench.rows.clone();
        prop_assert!(rows.carry_out(&first));
        if !first.is_empty() && !second.is_empty() && first != second {
            let newest = |rows: &Memory| {
                bench.with(|target| find(rows, target, Which::Newest)).unwrap().record().cloned()
            };
            // Taking away an older version leaves the newest as it is, so that both may be done.
            let moved = newest(&rows) != newest(&bench.rows);
            prop_assert!(!moved || !rows.carry_out(&second));
        }
    }
}

#[test]
fn conditions_are_those_of_conditional_writes() {
    let mut bench = Bench::new(Versioning::Off);
    let create = Condition { if_none_match: Some(EntityTags::Any), ..Condition::default() };
    let attempt = |bench: &Bench, condition: &Condition| {
        let put = bench
            .with(|target| put(&bench.rows, target, writing(9_000), content("new"), condition));
        put.map(|_| ())
    };
    assert_eq!(attempt(&bench, &create), Ok(()));
    let replace =
        Condition { if_match: Some(EntityTags::parse("\"e1\"").unwrap()), ..Condition::default() };
    assert_eq!(attempt(&bench, &replace), Err(Failed::Refused(Refused::NoObject)));
    bench.put("e1");
    assert_eq!(attempt(&bench, &create), Err(Failed::Refused(Refused::Precondition)));
    assert_eq!(attempt(&bench, &replace), Ok(()));
    // A delete marker is no object.
    bench.versioning = Versioning::Enabled;
    bench.delete(Which::Newest);
    assert_eq!(attempt(&bench, &create), Ok(()));
    assert_eq!(attempt(&bench, &replace), Err(Failed::Refused(Refused::NoObject)));
}

#[test]
fn a_version_is_later_than_what_it_replaces_although_the_clock_is_not() {
    let mut bench = Bench::new(Versioning::Enabled);
    bench.at = 50_000;
    let first = bench.put("first");
    bench.at = 10;
    let second = bench.put("second");
    assert!(second.version > first.version);
    bench.agree();
}

#[test]
fn an_upload_without_versions_reads_one_row() {
    let mut bench = Bench::new(Versioning::Off);
    for _ in 0..3 {
        bench.rows.read.set(0);
        bench.put("e");
        assert_eq!(bench.rows.read.get(), 1);
    }
    bench.versioning = Versioning::Enabled;
    for _ in 0..200 {
        bench.rows.read.set(0);
        bench.put("e");
        assert_eq!(bench.rows.read.get(), 1);
    }
    // Only the first after the suspension looks for the `null` version.
    bench.versioning = Versioning::Suspended;
    bench.put("e");
    bench.rows.read.set(0);
    bench.put("e");
    assert_eq!(bench.rows.read.get(), 1);
}

#[test]
fn markers_are_told_apart() {
    let mut bench = Bench::new(Versioning::Enabled);
    let put = bench.put("e");
    let marker = bench.delete(Which::Newest).marker.unwrap().version;
    let object =
        |which| bench.with(|target| find(&bench.rows, target, which)).unwrap().object(which);
    assert_eq!(object(Which::Newest), Err(ReadRefused::Deleted { marker: Some(marker) }));
    let named = Which::Version(marker);
    assert_eq!(object(named), Err(ReadRefused::Marker { marker: Some(marker) }));
    assert_eq!(object(Which::Null), Err(ReadRefused::NoVersion));
    assert_eq!(object(Which::Version(put.version)), Ok(put));
}

#[test]
fn keys_and_what_is_told_are_bounded() {
    let rows = Memory::default();
    let attempt = |key: Bytes, content: Content| {
        let target = Target { bucket: &bucket(), versioning: Versioning::Off, key: &key };
        put(&rows, target, writing(1), content, &Condition::default()).map(|_| ())
    };
    let refused = |why| Err(Failed::Refused(why));
    for key in [&b""[..], b"a\0b", &[b'x'; 1_025]] {
        assert_eq!(attempt(Bytes::copy_from_slice(key), content("e")), refused(Refused::Key));
    }
    assert_eq!(attempt(Bytes::from(vec![b'x'; 1_024]), content("e")), Ok(()));
    let told = |change: fn(&mut Content)| {
        let mut content = content("e");
        change(&mut content);
        attempt(KEY, content)
    };
    let too_much = |told: Result<(), Failed<Refused, _>>| {
        assert!(matches!(told, Err(Failed::Refused(Refused::About { .. }))), "{told:?}");
    };
    too_much(told(|it| drop(it.metadata.insert("a".to_owned(), "x".repeat(2_048)))));
    too_much(told(|it| it.tags.extend((0..11).map(|at| (at.to_string(), String::new())))));
    too_much(told(|it| drop(it.tags.insert(String::new(), "x".to_owned()))));
    too_much(told(|it| drop(it.tags.insert("a".to_owned(), "é".repeat(257)))));
    assert_eq!(told(|it| drop(it.tags.insert("a".to_owned(), "é".repeat(256)))), Ok(()));
    let blob = BlobRef { hash: BlobHash([7; 32]), bytes: 16 << 20 };
    let mut huge = content("e");
    huge.body = Body::Blobs(vec![blob; 30_000]);
    let told = attempt(KEY, huge.clone());
    assert!(matches!(told, Err(Failed::Refused(Refused::TooLarge { .. }))), "{told:?}");
    huge.body = Body::Blobs(vec![blob; 27_000]);
    assert_eq!(attempt(KEY, huge), Ok(()));
}

#[test]
fn the_longest_change_fits_into_one_operation() {
    let names = 4 * (OBJECT_KEY_BYTES_MAX + 128);
    assert!(4 * RECORD_BYTES_MAX + names <= rhumb_state::op::OP_BYTES_MAX);
}

#[test]
fn copies_take_what_they_do_not_replace() {
    let mut bench = Bench::new(Versioning::Off);
    let mut source = bench.put("e");
    let into = BucketDefinition::default();
    let told = source.content.as_mut().unwrap();
    told.metadata.insert("a".to_owned(), "1".to_owned());
    told.tags.insert("b".to_owned(), "2".to_owned());
    let same = copied(&source, false, &into, Copied::default()).unwrap();
    assert_eq!(Some(&same), source.content.as_ref());
    assert_eq!(copied(&source, true, &into, Copied::default()), Err(CopyRefused::Same));
    let about = Some(Default::default());
    let changed = copied(&source, true, &into, Copied { about, tags: None }).unwrap();
    assert!(changed.metadata.is_empty());
    assert_eq!(changed.tags.len(), 1);
    let bound = BucketDefinition { residency: vec!["eu".to_owned()], ..into.clone() };
    assert_eq!(copied(&source, false, &bound, Copied::default()), Err(CopyRefused::Inline));
    source.content = None;
    assert_eq!(copied(&source, false, &into, Copied::default()), Err(CopyRefused::Marker));
}

#[test]
fn what_regions_did_at_a_time_is_mended() {
    // Here the newest version is deleted; there one is uploaded. The deletion's row came later.
    let mut here = Bench::new(Versioning::Enabled);
    let first = here.put("first");
    let second = here.put("second");
    let mut there = here.rows.clone();
    let none = Condition::default();
    let upload =
        here.with(|target| put(&there, target, writing(2_000), content("third"), &none).unwrap());
    assert!(there.carry_out(&upload.change));
    here.delete(Which::Version(second.version));
    // The cells as they merge.
    let current = here.with(|target| target.current().encode());
    for (row, bytes) in &upload.change.write {
        if *row != current {
            here.rows.rows.insert(row.clone(), bytes.clone().unwrap());
        }
    }
    let newest = |bench: &Bench| {
        let found = bench.with(|target| find(&bench.rows, target, Which::Newest)).unwrap();
        found.record().map(|record| record.version)
    };
    assert_eq!(newest(&here), Some(first.version));
    let mend_all = |bench: &mut Bench| {
        let change = bench.with(|target| mend(&bench.rows, target)).unwrap();
        assert!(bench.rows.carry_out(&change));
        assert!(bench.with(|target| mend(&bench.rows, target)).unwrap().is_empty());
    };
    mend_all(&mut here);
    assert_eq!(newest(&here), Some(upload.record.version));
    // A version that was deleted there, and became the newest here.
    for version in [upload.record.version, first.version] {
        let row = here.with(|target| target.version(version).encode());
        here.rows.rows.remove(&row);
        mend_all(&mut here);
    }
    assert_eq!(newest(&here), None);
    assert!(here.rows.rows.is_empty());
}

#[test]
fn a_null_that_another_region_wrote_before_it_knew_of_versions_is_kept() {
    let mut bench = Bench::new(Versioning::Off);
    let null = bench.put("null");
    let mut there = Bench::new(Versioning::Enabled);
    there.at = bench.at + 1;
    let version = there.put("version");
    // The rows as they merge, with the `null` in `Current`.
    for (row, bytes) in there.rows.rows {
        bench.rows.rows.entry(row).or_insert(bytes);
    }
    bench.versioning = Versioning::Enabled;
    let change = bench.with(|target| mend(&bench.rows, target)).unwrap();
    assert!(bench.rows.carry_out(&change));
    bench.model.versions = [(&null, None), (&version, Some(version.version))]
        .map(|(record, id)| {
            let etag = record.content.as_ref().map(|content| content.etag.clone());
            Version { id, etag }
        })
        .into();
    bench.agree();
}

#[test]
fn a_deletion_rests_on_the_version_that_becomes_the_newest() {
    let mut bench = Bench::new(Versioning::Enabled);
    let (first, second) = (bench.put("first"), bench.put("second"));
    let none = Condition::default();
    let change = |version| {
        let which = Which::Version(version);
        bench
            .with(|target| delete(&bench.rows, target, which, writing(5_000), &none))
            .unwrap()
            .change
    };
    let (older, newest) = (change(first.version), change(second.version));
    let mut rows = bench.rows.clone();
    assert!(rows.carry_out(&older));
    assert!(!rows.carry_out(&newest), "what was to be the newest is gone");
    let mut rows = bench.rows.clone();
    assert!(rows.carry_out(&newest));
    assert!(!rows.carry_out(&older), "it is the newest by now");
}

#[test]
fn a_region_that_has_not_heard_of_versioning_keeps_versions_that_it_sees() {
    let mut bench = Bench::new(Versioning::Enabled);
    bench.put("first");
    bench.versioning = Versioning::Off;
    let deleted = bench.delete(Which::Newest);
    assert!(deleted.gone.is_empty());
    bench.model.write(Versioning::Enabled, deleted.marker.unwrap().version, None);
    let put = bench.put("second");
    bench.model.versions.last_mut().unwrap().id = Some(put.version);
    bench.versioning = Versioning::Enabled;
    bench.agree();
}
