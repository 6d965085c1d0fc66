//! What a listing costs: rows per page of 100,000 keys, and time of a million.
//!
//! `cargo nextest run -p rhumb-objects --release capacity --run-ignored only --no-capture`.

use std::time::Instant;

use rhumb_types::record::{IndexKey, ObjectRecord, Record};

use super::*;
use crate::memory::{Memory, bucket, content, id};

const KEYS: u64 = 1_000_000;
/// How many keys a folder has.
const FOLDER: u64 = 1_000;

fn many(count: u64) -> Memory {
    let mut rows = Memory::default();
    let bucket = bucket();
    let mut content = content("d41d8cd98f00b204e9800998ecf8427e");
    content.headers.insert("content-type".to_owned(), "image/jpeg".to_owned());
    for nth in 0..count {
        let key = Bytes::from(format!("photos/{:03}/{nth:07}.jpg", nth / FOLDER));
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

/// The rows that each page of a listing reads.
fn read(rows: &Memory, mut listing: Listing) -> Vec<usize> {
    let mut read = Vec::new();
    loop {
        rows.read.set(0);
        listing.after = objects(rows, &bucket(), &listing).unwrap().next;
        read.push(rows.read.get());
        if listing.after.is_none() {
            return read;
        }
    }
}

/// No page costs more for what is before it or after it.
#[test]
fn a_page_of_a_hundred_thousand_keys_reads_its_own_rows() {
    const COUNT: usize = 100_000;
    let rows = many(COUNT as u64);
    for max in [1, 10, 1_000] {
        let mut listing = Listing { max, ..Listing::default() };
        let (pages, after) = if max == LISTED_MAX {
            (COUNT / max, None)
        } else {
            // The last folder.
            (1_000 / max, Some(Position::Key(Bytes::from_static(b"photos/098/0098999.jpg"))))
        };
        listing.after = after;
        let read = read(&rows, listing);
        assert_eq!(read.len(), pages);
        // The entries, and one row that says that there are more.
        assert!(read.iter().all(|it| (max..=max + 1).contains(it)), "{max}: {read:?}");
    }
    let folders = Listing {
        prefix: Bytes::from_static(b"photos/"),
        delimiter: Bytes::from_static(b"/"),
        max: 10,
        ..Listing::default()
    };
    let read = read(&rows, folders);
    assert_eq!(read.len(), 10, "a hundred folders");
    assert!(read.iter().all(|it| *it <= 100), "{read:?}");
}

#[test]
#[ignore = "a measurement, for release builds"]
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn a_million_keys() {
    let rows = many(KEYS);
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
