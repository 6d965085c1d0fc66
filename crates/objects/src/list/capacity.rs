//! What a listing costs, of a million keys.
//!
//! `cargo nextest run -p rhumb-objects --release capacity --run-ignored only --no-capture`.

use std::time::Instant;

use rhumb_types::record::{IndexKey, ObjectRecord, Record};

use super::*;
use crate::memory::{Memory, bucket, content, id};

const KEYS: u64 = 1_000_000;

fn million() -> Memory {
    let mut rows = Memory::default();
    let bucket = bucket();
    let mut content = content("d41d8cd98f00b204e9800998ecf8427e");
    content.headers.insert("content-type".to_owned(), "image/jpeg".to_owned());
    for nth in 0..KEYS {
        let key = Bytes::from(format!("photos/{:03}/{nth:07}.jpg", nth / 1_000));
        let record = ObjectRecord {
            version: id(nth),
            versioned: false,
            modified: UnixMillis(nth),
            region: RegionId::new("us-east-1").unwrap(),
            content: Some(content.clone()),
        };
        rows.rows
            .insert(IndexKey::Current { bucket: bucket.clone(), key }.encode(), record.encode());
    }
    rows
}

fn pages(rows: &Memory, mut listing: Listing) -> (usize, usize) {
    let (mut entries, mut prefixes) = (0, 0);
    loop {
        let page = objects(rows, &bucket(), &listing).unwrap();
        entries += page.entries.len();
        prefixes += page.prefixes.len();
        listing.after = page.next;
        if listing.after.is_none() {
            return (entries, prefixes);
        }
    }
}

#[test]
#[ignore = "a measurement, for release builds"]
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn a_million_keys() {
    let rows = million();
    let listing = Listing { max: LISTED_MAX, ..Listing::default() };
    let begun = Instant::now();
    assert_eq!(pages(&rows, listing.clone()), (1_000_000, 0));
    println!("plain: {} ns per key", begun.elapsed().as_nanos() / u128::from(KEYS));

    rows.read.set(0);
    let split = Listing {
        prefix: Bytes::from_static(b"photos/"),
        delimiter: Bytes::from_static(b"/"),
        ..listing
    };
    let begun = Instant::now();
    assert_eq!(pages(&rows, split), (0, 1_000));
    let elapsed = begun.elapsed().as_nanos() / 1_000;
    println!("by delimiter: {elapsed} ns per common prefix, {} rows read", rows.read.get());
    assert!(rows.read.get() < 5_000);
}
