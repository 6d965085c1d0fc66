//! Any bytes as a stored or sent record: read or refused, and no panic; what is read survives the way back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_types::{
    control::{AdminAnswer, AdminQuery, AdminQueryAnswer, AdminRequest, ControlView},
    record::{
        BucketEntry, Cell, FenceRecord, Frontier, Head, HolderRecord, Job, ObjectRecord, OwnedRow,
        PartRecord, QueueEntry, Record, Transaction, UploadRecord, VersionVector,
    },
};

fn survives<R: Record>(bytes: &[u8]) {
    let Ok(record) = R::decode(bytes) else { return };
    // Bytes are compared, because a record may hold numbers that do not equal themselves.
    let written = record.encode();
    let read = R::decode(&written).expect("what was written can be read");
    assert_eq!(read.encode(), written);
}

macro_rules! any_of {
    ($kind:expr, $bytes:expr; $($record:ty)*) => {{
        let all: &[fn(&[u8])] = &[$(survives::<$record>),*];
        all[usize::from($kind) % all.len()]($bytes);
    }};
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    any_of!(*kind, bytes;
        Cell Head Transaction VersionVector OwnedRow Job Frontier ObjectRecord HolderRecord
        FenceRecord UploadRecord PartRecord BucketEntry QueueEntry AdminRequest AdminAnswer AdminQuery
        AdminQueryAnswer ControlView);
});
