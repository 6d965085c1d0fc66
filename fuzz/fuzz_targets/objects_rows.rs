//! Any rows in the place of an index: no panic, no endless listing, pages within their bounds and in
//! order; and a row's key that is read is written as it was.
#![no_main]

mod memory;

use libfuzzer_sys::fuzz_target;
use rhumb_objects::{
    index::{Target, Which, find, mend},
    lifecycle::Sweep,
    list::{self, Listing, Position},
    multipart::Orphans,
};
use rhumb_types::{
    UnixMillis,
    record::{BucketName, IndexKey, LifecycleRule, Versioning},
};

use memory::{Memory, Row};

/// Rows, and what is to be listed: a prefix, a delimiter, where to begin, and how many.
type Input = (Vec<Row>, Vec<u8>, Vec<u8>, Option<Vec<u8>>, u8);

fuzz_target!(|input: Input| {
    let (rows, prefix, delimiter, after, max) = input;
    let Ok(bucket) = BucketName::new("photos") else { return };
    let memory = Memory::of(rows);
    for key in memory.0.keys() {
        if let Ok(read) = IndexKey::decode(key) {
            assert_eq!(read.encode(), *key);
        }
    }
    let after = after.map(|after| Position::marker(after.into(), &prefix, &delimiter));
    let max = usize::from(max);
    let mut listing = Listing { prefix: prefix.into(), delimiter: delimiter.into(), after, max };
    while let Ok(page) = list::objects(&memory, &bucket, &listing) {
        assert!(page.entries.len() + page.prefixes.len() <= max);
        assert!(page.entries.is_sorted_by(|a, b| a.key < b.key));
        assert!(page.prefixes.is_sorted_by(|a, b| a < b));
        assert!(page.next.is_none() || page.next != listing.after);
        listing.after = page.next;
        if listing.after.is_none() {
            break;
        }
    }
    while let Ok(page) = list::versions(&memory, &bucket, &listing) {
        assert!(page.next.is_none() || page.next != listing.after);
        listing.after = page.next;
        if listing.after.is_none() {
            break;
        }
    }
    while let Ok(page) = list::uploads(&memory, &bucket, &listing) {
        assert!(page.next.is_none() || page.next != listing.after);
        listing.after = page.next;
        if listing.after.is_none() {
            break;
        }
    }
    let target = Target { bucket: &bucket, versioning: Versioning::Enabled, key: &listing.prefix };
    let _ = find(&memory, target, Which::Null);
    let _ = mend(&memory, target);
    let rules = [LifecycleRule { expire_markers: true, ..LifecycleRule::default() }];
    let (mut sweep, mut orphans) = (Sweep::default(), Orphans::default());
    while sweep.step(&memory, &bucket, &rules, UnixMillis(0)).is_ok_and(|step| !step.done) {}
    while orphans.step(&memory).is_ok_and(|step| !step.done) {}
});
