use bytes::Bytes;
use rhumb_types::{
    UnixMillis,
    record::{BlobHash, BlobRef, Checksums, Versioning},
};

use super::*;
use crate::{
    checksum::written,
    condition::Condition,
    etag,
    index::{OBJECT_BLOBS_MAX, Refused, Which, find},
    list,
    memory::{Memory, bucket, id, writing},
};

const KEY: Bytes = Bytes::from_static(b"film.mp4");

pub(crate) fn upload(checksum: Option<&str>, method: Option<&str>) -> UploadRecord {
    UploadRecord {
        begun: UnixMillis(1),
        owner: "anna".to_owned(),
        headers: [("content-type".to_owned(), "video/mp4".to_owned())].into(),
        metadata: Default::default(),
        tags: Default::default(),
        checksum: checksum.map(str::to_owned),
        checksum_type: method.map(str::to_owned),
    }
}

fn part(seed: u8, bytes: u64) -> PartRecord {
    PartRecord {
        bytes,
        etag: etag::hex(&[seed; 16]),
        body: Body::Blobs(vec![BlobRef { hash: BlobHash([seed; 32]), bytes }]),
        checksums: Checksums::default(),
        modified: UnixMillis(2),
    }
}

struct Bench {
    rows: Memory,
    id: VersionId,
    at: u64,
}

impl Bench {
    fn begun(checksum: Option<&str>, method: Option<&str>) -> Self {
        let mut bench = Self { rows: Memory::default(), id: id(100), at: 200 };
        let change = bench.with(|target| begin(target, bench.id, upload(checksum, method)));
        assert!(bench.rows.carry_out(&change.unwrap()));
        bench
    }

    fn with<T>(&self, rule: impl FnOnce(Target<'_>) -> T) -> T {
        rule(Target { bucket: &bucket(), versioning: Versioning::Enabled, key: &KEY })
    }

    fn put(&mut self, number: u16, part: &PartRecord) -> Result<(), PartRefused> {
        match self.with(|target| put_part(&self.rows, target, self.id, number, part)) {
            Ok(change) => {
                assert!(self.rows.carry_out(&change));
                Ok(())
            }
            Err(Failed::Refused(refused)) => Err(refused),
            Err(other) => panic!("{other}"),
        }
    }

    fn complete(
        &mut self,
        chosen: &[(u16, &PartRecord)],
        whole: &Whole,
    ) -> Result<Completed, CompleteRefused> {
        self.at += 1;
        let chosen: Vec<_> = chosen
            .iter()
            .map(|(number, part)| ChosenPart {
                number: *number,
                etag: part.etag.clone(),
                checksums: part.checksums.clone(),
            })
            .collect();
        let none = Condition::default();
        let writing = writing(self.at);
        let done = self
            .with(|target| complete(&self.rows, target, self.id, writing, &chosen, whole, &none));
        match done {
            Ok(completed) => {
                assert!(self.rows.carry_out(&completed.change));
                Ok(completed)
            }
            Err(Failed::Refused(refused)) => Err(refused),
            Err(other) => panic!("{other}"),
        }
    }

    fn clean(&mut self) -> usize {
        let mut taken = 0;
        loop {
            let change = self.with(|target| leftovers(&self.rows, target, self.id)).unwrap();
            if change.is_empty() {
                return taken;
            }
            assert!(change.write.len() <= LEFTOVERS_MAX);
            taken += change.write.len();
            assert!(self.rows.carry_out(&change));
        }
    }
}

#[test]
fn parts_become_an_object_and_then_go() {
    let mut bench = Bench::begun(None, None);
    let (first, unused, last) = (part(1, PART_BYTES_MIN), part(2, 7), part(3, 9));
    for (number, part) in [(5, &last), (1, &part(9, 1)), (1, &first), (3, &unused)] {
        assert_eq!(bench.put(number, part), Ok(()));
    }
    let (listed, more) = list::parts(&bench.rows, bench.id, 1, 1).unwrap();
    assert_eq!((listed[0].number, &listed[0].part, more), (3, &unused, true));
    let done = bench.complete(&[(1, &first), (5, &last)], &Whole::default()).unwrap();
    let content = done.record.content.clone().unwrap();
    assert_eq!(content.bytes, PART_BYTES_MIN + 9);
    assert_eq!(content.parts, [PART_BYTES_MIN, 9]);
    assert_eq!(content.etag, etag::of_parts(&[[1; 16], [3; 16]]));
    assert_eq!(content.headers, upload(None, None).headers);
    let Body::Blobs(blobs) = content.body else { panic!("it is in blobs") };
    assert_eq!(blobs.iter().map(|blob| blob.hash.0[0]).collect::<Vec<_>>(), [1, 3]);
    let found = bench.with(|target| find(&bench.rows, target, Which::Newest)).unwrap();
    assert_eq!(found.record(), Some(&done.record));
    assert_eq!(bench.clean(), 3);
    assert_eq!(bench.rows.rows.len(), 2, "the object and its version");
}

#[test]
fn a_repeated_completion_is_answered_as_the_first() {
    let mut bench = Bench::begun(None, None);
    let only = part(1, 9);
    bench.put(1, &only).unwrap();
    let done = bench.complete(&[(1, &only)], &Whole::default()).unwrap();
    let again = bench.complete(&[(1, &only)], &Whole::default()).unwrap();
    assert_eq!(again.record, done.record);
    assert!(again.change.is_empty());
    let other = part(2, 9);
    let refused = bench.complete(&[(1, &other)], &Whole::default());
    assert_eq!(refused, Err(CompleteRefused::NoUpload));
    assert_eq!(bench.put(2, &only), Err(PartRefused::NoUpload));
}

#[test]
fn an_upload_that_was_given_up_is_gone() {
    let mut bench = Bench::begun(None, None);
    let only = part(1, 9);
    bench.put(1, &only).unwrap();
    let late = bench.with(|target| put_part(&bench.rows, target, bench.id, 2, &only)).unwrap();
    assert_eq!(bench.clean(), 0, "it goes on");
    let chosen = [ChosenPart { number: 1, etag: only.etag.clone(), ..ChosenPart::default() }];
    let (whole, none) = (Whole::default(), Condition::default());
    let ended = bench
        .with(|target| {
            complete(&bench.rows, target, bench.id, writing(300), &chosen, &whole, &none)
        })
        .unwrap();
    let change = bench.with(|target| abort(&bench.rows, target, bench.id)).unwrap();
    assert!(bench.rows.carry_out(&change));
    assert!(!bench.rows.carry_out(&late), "no part comes after the end");
    assert!(!bench.rows.carry_out(&ended.change), "nor does the object");
    let again = bench.with(|target| abort(&bench.rows, target, bench.id));
    assert_eq!(again, Err(Failed::Refused(NoUpload)));
    let refused = bench.complete(&[(1, &only)], &Whole::default());
    assert_eq!(refused, Err(CompleteRefused::NoUpload));
    assert_eq!(bench.clean(), 1);
    assert!(bench.rows.rows.is_empty());
}

#[test]
fn what_is_wrong_with_a_completion_is_said() {
    let mut bench = Bench::begun(None, None);
    let (first, second) = (part(1, PART_BYTES_MIN - 1), part(2, 9));
    bench.put(1, &first).unwrap();
    bench.put(2, &second).unwrap();
    let whole = Whole::default();
    let said = |bench: &mut Bench, chosen: &[(u16, &PartRecord)], whole: &Whole| {
        bench.complete(chosen, whole).unwrap_err()
    };
    assert_eq!(said(&mut bench, &[], &whole), CompleteRefused::Count);
    let order = said(&mut bench, &[(2, &second), (1, &first)], &whole);
    assert_eq!(order, CompleteRefused::Order { number: 1 });
    let twice = said(&mut bench, &[(2, &second), (2, &second)], &whole);
    assert_eq!(twice, CompleteRefused::Order { number: 2 });
    let missing = said(&mut bench, &[(1, &first), (7, &second)], &whole);
    assert_eq!(missing, CompleteRefused::Part { number: 7 });
    let another = said(&mut bench, &[(1, &second)], &whole);
    assert_eq!(another, CompleteRefused::Part { number: 1 });
    let small = said(&mut bench, &[(1, &first), (2, &second)], &whole);
    assert_eq!(small, CompleteRefused::TooSmall { number: 1, bytes: PART_BYTES_MIN - 1 });
    let sized = Whole { bytes: Some(10), ..Whole::default() };
    let size = said(&mut bench, &[(2, &second)], &sized);
    assert_eq!(size, CompleteRefused::Size { bytes: 9, said: 10 });
    let mut checked = Whole::default();
    Algorithm::Crc32.set(&mut checked.checksums, written(&[1; 4]));
    let checksum = said(&mut bench, &[(2, &second)], &checked);
    assert_eq!(checksum, CompleteRefused::Checksum(Algorithm::Crc32));
    assert!(bench.complete(&[(1, &first)], &whole).is_ok(), "a part that is the last may be short");
}

#[test]
fn parts_are_bounded() {
    let mut bench = Bench::begun(Some("crc32"), None);
    let plain = part(1, 9);
    assert_eq!(bench.put(0, &plain), Err(PartRefused::Number));
    assert_eq!(bench.put(10_001, &plain), Err(PartRefused::Number));
    assert_eq!(bench.put(1, &part(1, PART_BYTES_MAX + 1)), Err(PartRefused::TooLarge));
    assert_eq!(bench.put(1, &plain), Err(PartRefused::Checksum(Algorithm::Crc32)));
    let inline = PartRecord { body: Body::Inline(Bytes::new()), ..plain };
    assert_eq!(bench.put(1, &inline), Err(PartRefused::Inline));
}

#[test]
fn an_object_is_of_no_more_blobs_than_its_row_may_name() {
    let mut bench = Bench::begun(None, None);
    let of = |seed: u8, count: usize| {
        let plain = part(seed, PART_BYTES_MIN);
        let Body::Blobs(one) = &plain.body else { panic!("a part lies in blobs") };
        PartRecord { body: Body::Blobs(one.repeat(count)), ..plain }
    };
    let (most, last, more) = (of(1, OBJECT_BLOBS_MAX - 1), of(2, 1), of(3, 2));
    for (number, part) in [(1, &most), (2, &last), (3, &more)] {
        bench.put(number, part).unwrap();
    }
    let whole = Whole::default();
    let refused = bench.complete(&[(1, &most), (3, &more)], &whole).unwrap_err();
    let blobs = OBJECT_BLOBS_MAX + 1;
    assert_eq!(refused, CompleteRefused::Object(Refused::TooMany { blobs }));
    assert!(bench.complete(&[(1, &most), (2, &last)], &whole).is_ok());
}

#[test]
fn checksums_of_parts_become_that_of_the_object() {
    let (left, right) = (vec![7; 100], vec![8; 50]);
    for (name, method) in [
        ("CRC32", "COMPOSITE"),
        ("CRC32", "FULL_OBJECT"),
        ("CRC32C", "FULL_OBJECT"),
        ("CRC64NVME", "FULL_OBJECT"),
        ("SHA1", "COMPOSITE"),
        ("SHA256", "COMPOSITE"),
    ] {
        let algorithm = Algorithm::parse(name).unwrap();
        let mut bench = Bench::begun(Some(name), Some(method));
        // The length of a part counts in the joined CRC, so that only the last may lie about it here.
        let part = |seed, bytes: &[u8]| {
            let mut part = part(seed, bytes.len() as u64);
            algorithm.set(&mut part.checksums, written(&algorithm.over(bytes)));
            part
        };
        let only = part(1, &left);
        bench.put(1, &only).unwrap();
        let mut whole = Whole::default();
        let wanted = if method == "COMPOSITE" {
            format!("{}-1", written(&algorithm.over(&algorithm.over(&left))))
        } else {
            written(&algorithm.over(&left))
        };
        algorithm.set(&mut whole.checksums, written(&algorithm.over(&right)));
        let refused = bench.complete(&[(1, &only)], &whole);
        assert_eq!(refused, Err(CompleteRefused::Checksum(algorithm)));
        algorithm.set(&mut whole.checksums, wanted.clone());
        let done = bench.complete(&[(1, &only)], &whole).unwrap();
        let checksums = done.record.content.unwrap().checksums;
        assert_eq!(algorithm.of(&checksums), Some(wanted.as_str()));
        assert_eq!(checksums.composite, method == "COMPOSITE");
    }
}

#[test]
fn checksums_that_s3_does_not_have_are_refused() {
    let refused = |checksum, method| {
        Bench::begun(None, None)
            .with(|target| begin(target, id(1), upload(checksum, method)))
            .unwrap_err()
    };
    assert_eq!(refused(Some("MD5"), None), BeginRefused::Checksum);
    assert_eq!(refused(None, Some("COMPOSITE")), BeginRefused::MethodAlone);
    assert_eq!(refused(Some("CRC32"), Some("BOTH")), BeginRefused::MethodAlone);
    for (name, method) in [("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")] {
        let why = refused(Some(name), Some(method));
        assert!(matches!(why, BeginRefused::Method { .. }), "{why}");
    }
}

#[test]
fn ten_thousand_parts_are_completed_in_one_pass() {
    let mut bench = Bench::begun(None, None);
    let parts: Vec<_> = (1..=10_000_u16)
        .map(|number| (number, part(number.to_be_bytes()[1], PART_BYTES_MIN)))
        .collect();
    for (number, part) in &parts {
        bench.put(*number, part).unwrap();
    }
    bench.rows.read.set(0);
    let chosen: Vec<_> = parts.iter().map(|(number, part)| (*number, part)).collect();
    let done = bench.complete(&chosen, &Whole::default()).unwrap();
    assert!(bench.rows.read.get() <= 10_003, "{} rows were read", bench.rows.read.get());
    assert!(done.change.write.len() <= 4 && done.change.expect.len() <= 3);
    assert_eq!(bench.clean(), 10_000);
}

#[test]
fn parts_without_an_upload_are_found_and_others_stay() {
    let mut rows = Memory::default();
    let mut put = |upload: VersionId, number: u16| {
        let key = IndexKey::Part { upload, number }.encode();
        rows.rows.insert(key, part(1, 9).encode());
    };
    // More orphans than one pass looks for, one with more parts than one change takes.
    for at in 0..25_000 {
        put(id(at), 1);
    }
    (2..2_500).for_each(|number| put(id(7), number));
    let mut live = Vec::new();
    for at in (0..25_000).step_by(1_000) {
        let name = bucket();
        let key = Bytes::from(format!("key{at}"));
        let target = Target { bucket: &name, versioning: Versioning::Off, key: &key };
        assert!(rows.carry_out(&begin(target, id(at), upload(None, None)).unwrap()));
        live.push(IndexKey::Part { upload: id(at), number: 1 }.encode());
    }
    let mut orphans = Orphans::default();
    let mut taken = 0;
    for _ in 0..200_000 {
        rows.read.set(0);
        let step = orphans.step(&rows).unwrap();
        assert!(rows.read.get() <= LEFTOVERS_MAX);
        taken += step.change.write.len();
        assert!(rows.carry_out(&step.change));
        if step.done {
            assert_eq!(taken, 25_000 + 2_498 - live.len());
            assert!(live.iter().all(|part| rows.rows.contains_key(part)));
            return;
        }
    }
    panic!("the walk does not end");
}
