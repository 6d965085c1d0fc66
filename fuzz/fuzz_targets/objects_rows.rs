//! Any rows in the place of an index: no panic, no endless listing, pages within their bounds and in
//! order; and a row's key that is read is written as it was.
#![no_main]

use std::{collections::BTreeMap, convert::Infallible, ops::Bound};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rhumb_objects::{
    Rows,
    index::{Target, Which, find, mend},
    lifecycle::Sweep,
    list::{self, Listing, Position},
    multipart::Orphans,
};
use rhumb_types::{
    UnixMillis,
    record::{BucketName, IndexKey, LifecycleRule, Versioning, object::OBJECT_KEY_BYTES_MAX},
};

struct Memory(BTreeMap<Vec<u8>, Bytes>);

impl Rows for Memory {
    type Error = Infallible;

    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, Infallible> {
        Ok(self.0.get(key).cloned())
    }

    fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Infallible> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        Ok(self
            .0
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, bytes)| (Bytes::copy_from_slice(key), bytes.clone()))
            .collect())
    }
}

/// Kinds of rows, keys after their bucket, and what they hold.
type Input = (Vec<(u8, Vec<u8>, Vec<u8>)>, Vec<u8>, Vec<u8>, Option<Vec<u8>>, u8);

fuzz_target!(|input: Input| {
    let (rows, prefix, delimiter, after, max) = input;
    let Ok(bucket) = BucketName::new("photos") else { return };
    let mut memory = Memory(BTreeMap::new());
    for (kind, mut key, bytes) in rows {
        key.truncate(OBJECT_KEY_BYTES_MAX);
        let row = match kind % 5 {
            0 => [b"cphotos\0", &key[..]].concat(),
            1 => [b"vphotos\0", &key[..]].concat(),
            2 => [b"uphotos\0", &key[..]].concat(),
            3 => [b"p", &key[..]].concat(),
            _ => key,
        };
        if let Ok(read) = IndexKey::decode(&row) {
            assert_eq!(read.encode(), row);
        }
        memory.0.insert(row, bytes.into());
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
