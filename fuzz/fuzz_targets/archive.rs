//! Any bytes as a manifest, a pack or a list of files: read or refused within the bounds, and no panic.
//! What is admitted never leaves its target.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rhumb_pack::{
    ChunkHash, Order, Pack, PackId, Root, Sealer, SecretKey, SegmentRef, SegmentWriter, Trust,
    read_segment,
};

/// A list of files whose hash is true, so that the fuzzer gets past it.
fn entries(plain: &[u8]) {
    let (mut rest, mut order) = (plain, Order::new());
    let mut writer = SegmentWriter::new();
    while let Ok((entry, after)) = postcard::take_from_bytes::<rhumb_pack::Entry>(rest) {
        if order.admit(&entry).is_err() {
            return;
        }
        let path = entry.path.as_bytes();
        assert!(!path.starts_with(b"/") && !path.contains(&0));
        assert!(path.split(|byte| *byte == b'/').all(|name| name != b".."));
        writer.push(&entry).expect("what was read can be written");
        rest = after;
    }
    if let Ok(Some(segment)) = writer.finish() {
        read_segment(&segment.bytes, &segment.named).expect("what was written can be read");
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 4 {
        0 => drop(Root::open(rest, &Trust::AnySigner)),
        1 => {
            let pack = Pack::parse(Bytes::copy_from_slice(rest), PackId([0; 32]));
            if let Ok(pack) = &pack {
                (0..pack.chunks()).for_each(|at| drop(pack.chunk(at)));
            }
        }
        2 => {
            let named = SegmentRef { hash: ChunkHash::of(rest), entries: 1, plain: 1 << 20 };
            drop(read_segment(rest, &named));
        }
        _ => entries(rest),
    }
    let Ok(root) = postcard::from_bytes::<Root>(rest) else { return };
    let sealer = Sealer::Key(SecretKey::from_seed([1; 32]));
    if let Ok(sealed) = root.seal(&sealer) {
        drop(Root::open(&sealed, &Trust::AnySigner));
    }
});
