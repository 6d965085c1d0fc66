//! Any change that a peer asks for, on any rows: no panic, nothing is expected but what was read, what is
//! written lies within the bucket, and the same is asked once more of what came of it.
#![no_main]

mod memory;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rhumb_objects::{
    ask::{Ask, What, decide},
    index::Writing,
    terms::Found,
};
use rhumb_types::{
    Hlc, RegionId, UnixMillis,
    record::{BucketName, IndexKey, VersionId, Versioning},
};

use memory::{Memory, Row};

/// Rows, a key, what is asked in the words of the wire, and the versioning of the bucket.
type Input = (Vec<Row>, Vec<u8>, Vec<u8>, u8);

fuzz_target!(|input: Input| {
    let (rows, key, what, versioning) = input;
    let Ok((what, _)) = postcard::take_from_bytes::<What>(&what) else { return };
    let bucket = BucketName::new("photos").expect("a name");
    let region = RegionId::new("eu").expect("a name");
    let versioning = match versioning % 3 {
        0 => Versioning::Off,
        1 => Versioning::Enabled,
        _ => Versioning::Suspended,
    };
    let ask = Ask { bucket, key: Bytes::from(key), what };
    let _blobs = ask.what.blobs();
    let mut memory = Memory::of(rows);
    for at in 1..=2_u64 {
        let version = VersionId { hlc: Hlc(at << 16), entropy: at };
        let writing = Writing { version, at: UnixMillis(at), region: region.clone() };
        let rows = Found::by_anyone(&memory);
        let Ok((_, change)) = decide(&rows, versioning, &ask, writing) else { return };
        for (row, bytes) in &change.expect {
            assert_eq!(memory.0.get(&row[..]), bytes.as_ref());
        }
        for (row, bytes) in change.write {
            IndexKey::decode(&row).expect("a row of the index");
            match bytes {
                Some(bytes) => drop(memory.0.insert(row.to_vec(), bytes)),
                None => drop(memory.0.remove(&row[..])),
            }
        }
    }
});
