use std::collections::BTreeSet;

use proptest::prelude::*;
use rhumb_types::record::{BucketName, Versioning};

use super::*;
use crate::{
    condition::Condition,
    index::{self, Target, Which},
    memory::{Memory, bucket, content, writing},
    multipart,
};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A bucket of some keys, of which some were deleted and left a marker.
fn bucket_of(keys: &[String], deleted: impl Fn(usize) -> bool) -> Memory {
    let mut rows = Memory::default();
    let name = bucket();
    let none = Condition::default();
    for (nth, key) in keys.iter().enumerate() {
        let key = bytes(key);
        let target = Target { bucket: &name, versioning: Versioning::Enabled, key: &key };
        let at = 1_000 + 10 * nth as u64;
        let put = index::put(&rows, target, writing(at), content("e"), &none).unwrap();
        assert!(rows.carry_out(&put.change));
        if deleted(nth) {
            let gone = index::delete(&rows, target, Which::Newest, writing(at + 1), &none).unwrap();
            assert!(rows.carry_out(&gone.change));
        }
    }
    // Neighbours must never show.
    for other in ["photo", "photos.x", "photosa"] {
        let name = BucketName::new(other).unwrap();
        let key = bytes("a/stranger");
        let target = Target { bucket: &name, versioning: Versioning::Off, key: &key };
        let put = index::put(&rows, target, writing(1), content("e"), &none).unwrap();
        assert!(rows.carry_out(&put.change));
    }
    rows
}

/// What a listing shows, sorted and grouped as one would by hand: keys, and common prefixes.
fn by_hand(
    keys: &BTreeSet<String>,
    prefix: &str,
    delimiter: &str,
    after: Option<&str>,
) -> (Vec<String>, Vec<String>) {
    let mut shown = Vec::new();
    let mut groups = BTreeSet::new();
    for key in keys.iter().filter(|key| key.starts_with(prefix)) {
        if after.is_some_and(|after| key.as_str() <= after) {
            continue;
        }
        let rest = &key[prefix.len()..];
        let cut = (!delimiter.is_empty()).then(|| rest.find(delimiter)).flatten();
        match cut {
            Some(at) => {
                let group = key[..prefix.len() + at + delimiter.len()].to_owned();
                if after != Some(&group) {
                    groups.insert(group);
                }
            }
            None => shown.push(key.clone()),
        }
    }
    (shown, groups.into_iter().collect())
}

fn texts(all: Vec<Bytes>) -> Vec<String> {
    all.into_iter().map(|one| String::from_utf8(one.to_vec()).unwrap()).collect()
}

/// All pages, and what the next would be asked for with.
fn all_pages(
    rows: &Memory,
    listing: &Listing,
    next: impl Fn(&Position) -> Position,
) -> (Vec<String>, Vec<String>) {
    let mut listing = listing.clone();
    let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
    let mut last: Option<Bytes> = None;
    for _ in 0..1_000 {
        let page = objects(rows, &bucket(), &listing).unwrap();
        assert!(page.entries.len() + page.prefixes.len() <= listing.max());
        let here: BTreeSet<Bytes> =
            page.entries.iter().map(|one| one.key.clone()).chain(page.prefixes.clone()).collect();
        assert!(last.as_ref() < here.first() || here.is_empty(), "pages are in order");
        last = here.last().cloned().or(last);
        keys.extend(page.entries.into_iter().map(|one| one.key));
        prefixes.extend(page.prefixes);
        match page.next {
            Some(at) => listing.after = Some(next(&at)),
            None => return (texts(keys), texts(prefixes)),
        }
    }
    panic!("the listing does not end");
}

fn keys() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set("[ab/é-]{1,6}", 0..60)
}

proptest! {
    #[test]
    fn every_key_is_shown_once_over_all_pages(
        keys in keys(),
        deleted in prop::collection::vec(any::<bool>(), 60),
        prefix in "[ab/]{0,2}",
        delimiter in prop_oneof![Just(String::new()), Just("/".to_owned()), "[ab/-]{1,2}"],
        after in prop::option::of("[ab/é-]{1,4}"),
        max in 1..12_usize,
        by_token in any::<bool>(),
    ) {
        let all: Vec<String> = keys.iter().cloned().collect();
        let rows = bucket_of(&all, |nth| deleted[nth]);
        let live: BTreeSet<String> =
            all.iter().enumerate().filter(|(nth, _)| !deleted[*nth]).map(|(_, key)| key.clone()).collect();
        let marker = |key: &str| Position::marker(bytes(key), prefix.as_bytes(), delimiter.as_bytes());
        let start = after.as_deref().map(marker);
        // A marker that is a common prefix stands for all of it.
        let whole = matches!(start, Some(Position::Prefix(_)));
        let after = after.map(|after| if whole { after + "\u{10ffff}" } else { after });
        let listing = Listing {
            prefix: bytes(&prefix), delimiter: bytes(&delimiter), after: start, max,
        };
        let shown = all_pages(&rows, &listing, |at| {
            if by_token {
                Position::from_token(&at.token()).unwrap()
            } else {
                Position::marker(at.key().clone(), prefix.as_bytes(), delimiter.as_bytes())
            }
        });
        prop_assert_eq!(shown, by_hand(&live, &prefix, &delimiter, after.as_deref()));
    }

    #[test]
    fn every_version_is_shown_once_over_all_pages(
        keys in prop::collection::vec("[ab/]{1,3}", 1..40),
        deleted in prop::collection::vec(any::<bool>(), 40),
        never_versioned in prop::collection::btree_set("[ab/]{1,3}", 0..5),
        prefix in "[ab]{0,1}",
        delimiter in prop_oneof![Just(""), Just("/")],
        max in 1..7_usize,
    ) {
        let mut rows = bucket_of(&keys, |nth| deleted[nth]);
        for key in &never_versioned {
            let (name, key) = (bucket(), bytes(key));
            let target = Target { bucket: &name, versioning: Versioning::Off, key: &key };
            if !rows.rows.contains_key(&target.current().encode()) {
                let put = index::put(&rows, target, writing(5), content("n"), &Condition::default());
                rows.carry_out(&put.unwrap().change);
            }
        }
        let listing = |after, max| Listing {
            prefix: bytes(&prefix), delimiter: bytes(delimiter), after, max,
        };
        let whole = versions(&rows, &bucket(), &listing(None, LISTED_MAX)).unwrap();
        prop_assert!(whole.next.is_none());
        let count = |key: &Bytes| {
            let puts = keys.iter().enumerate().filter(|(_, one)| bytes(one) == key);
            let all: usize = puts.map(|(nth, _)| 1 + usize::from(deleted[nth])).sum();
            all.max(1)
        };
        // Each key has all of its versions, newest first, and one that is the latest.
        for group in whole.entries.chunk_by(|a, b| a.key == b.key) {
            prop_assert_eq!(group.len(), count(&group[0].key));
            prop_assert!(group.iter().enumerate().all(|(at, one)| one.is_latest == (at == 0)));
            prop_assert!(group.is_sorted_by(|a, b| a.summary.version > b.summary.version));
        }
        prop_assert!(whole.entries.is_sorted_by(|a, b| a.key <= b.key));
        let names: BTreeSet<String> = keys.iter().chain(&never_versioned).cloned().collect();
        let (shown, groups) = by_hand(&names, &prefix, delimiter, None);
        let mut listed = texts(whole.entries.iter().map(|one| one.key.clone()).collect());
        listed.dedup();
        prop_assert_eq!((listed, texts(whole.prefixes.clone())), (shown, groups));
        // Page by page it is the same.
        let (mut entries, mut prefixes, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page = versions(&rows, &bucket(), &listing(after, max)).unwrap();
            prop_assert!(page.entries.len() + page.prefixes.len() <= max);
            entries.extend(page.entries);
            prefixes.extend(page.prefixes);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        prop_assert_eq!((entries, prefixes), (whole.entries, whole.prefixes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever lies in the rows, listings and walks end, and pages are in order.
    #[test]
    fn no_rows_bring_a_listing_down(
        found in prop::collection::vec(
            (0..4_usize, prop::collection::vec(prop_oneof![
                Just(b'a'), Just(b'/'), Just(0), Just(0xff), any::<u8>()
            ], 0..40), any::<bool>()),
            0..30,
        ),
        max in 1..5_usize,
        delimiter in prop_oneof![Just(""), Just("/")],
    ) {
        let good = bucket_of(&["x".to_owned()], |_| false);
        let record = good.rows.values().next().unwrap();
        let heads = [&b"cphotos\0"[..], b"vphotos\0", b"uphotos\0", b"p"];
        let mut rows = Memory::default();
        for (kind, key, whole) in found {
            let value = if whole { record.clone() } else { Bytes::from(key.clone()) };
            rows.rows.insert([heads[kind], &key].concat().into(), value);
        }
        let name = bucket();
        let start = Listing { delimiter: bytes(delimiter), max, ..Listing::default() };
        let mut steps = 0..1_000;
        let mut listing = start.clone();
        while let Ok(page) = objects(&rows, &name, &listing) {
            prop_assert!(page.entries.is_sorted_by(|a, b| a.key < b.key));
            prop_assert!(page.prefixes.is_sorted_by(|a, b| a < b));
            listing.after = page.next;
            if listing.after.is_none() {
                break;
            }
            prop_assert!(steps.next().is_some(), "it goes on for ever");
        }
        listing = start.clone();
        while let Ok(page) = versions(&rows, &name, &listing) {
            listing.after = page.next;
            if listing.after.is_none() {
                break;
            }
            prop_assert!(steps.next().is_some(), "it goes on for ever");
        }
        listing = start;
        while let Ok(page) = uploads(&rows, &name, &listing) {
            listing.after = page.next;
            if listing.after.is_none() {
                break;
            }
            prop_assert!(steps.next().is_some(), "it goes on for ever");
        }
        let mut orphans = multipart::Orphans::default();
        while orphans.step(&rows).is_ok_and(|step| !step.done) {
            prop_assert!(steps.next().is_some(), "it goes on for ever");
        }
        let mut sweep = crate::lifecycle::Sweep::default();
        while sweep.step(&rows, &name, &[], UnixMillis(0)).is_ok_and(|step| !step.done) {
            prop_assert!(steps.next().is_some(), "it goes on for ever");
        }
    }
}

/// The example of the S3 user guide, "Organizing objects using prefixes".
#[test]
fn the_documented_example_is_listed_as_documented() {
    let keys = [
        "sample.jpg",
        "photos/2006/January/sample.jpg",
        "photos/2006/February/sample2.jpg",
        "photos/2006/February/sample3.jpg",
        "photos/2006/February/sample4.jpg",
    ];
    let rows = bucket_of(&keys.map(str::to_owned), |_| false);
    let list = |prefix: &str| {
        let listing =
            Listing { prefix: bytes(prefix), delimiter: bytes("/"), after: None, max: 1_000 };
        all_pages(&rows, &listing, Position::clone)
    };
    assert_eq!(list(""), (vec!["sample.jpg".to_owned()], vec!["photos/".to_owned()]));
    assert_eq!(
        list("photos/2006/"),
        (Vec::new(), vec!["photos/2006/February/".to_owned(), "photos/2006/January/".to_owned()])
    );
}

#[test]
fn a_common_prefix_is_leapt_over() {
    let keys: Vec<String> = (0..20_000).map(|nth| format!("{}/{nth:06}", nth / 10_000)).collect();
    let rows = bucket_of(&keys, |_| false);
    rows.read.set(0);
    let listing = Listing { delimiter: bytes("/"), max: 1_000, ..Listing::default() };
    let page = objects(&rows, &bucket(), &listing).unwrap();
    assert_eq!(texts(page.prefixes), ["0/", "1/"]);
    assert!(rows.read.get() < 200, "{} rows were read", rows.read.get());
    rows.read.set(0);
    let page = versions(&rows, &bucket(), &listing).unwrap();
    assert_eq!(texts(page.prefixes), ["0/", "1/"]);
    assert!(rows.read.get() < 400, "{} rows were read", rows.read.get());
    // Without a delimiter what is read is what is listed, and one more.
    rows.read.set(0);
    let plain = Listing { max: 100, ..Listing::default() };
    assert_eq!(objects(&rows, &bucket(), &plain).unwrap().entries.len(), 100);
    assert_eq!(rows.read.get(), 101);
}

#[test]
fn a_page_ends_before_it_looks_at_all_markers() {
    let keys: Vec<String> = (0..HIDDEN_ROWS_MAX + 500).map(|nth| format!("d/{nth:06}")).collect();
    let last = keys.len() - 1;
    let rows = bucket_of(&keys, |nth| nth != last);
    for delimiter in ["", "/"] {
        let mut listing = Listing { delimiter: bytes(delimiter), max: 10, ..Listing::default() };
        rows.read.set(0);
        let page = objects(&rows, &bucket(), &listing).unwrap();
        assert!(page.entries.is_empty() && page.prefixes.is_empty());
        assert!(rows.read.get() < 2 * HIDDEN_ROWS_MAX);
        let next = page.next.unwrap();
        listing.after = Some(Position::marker(next.key().clone(), b"", delimiter.as_bytes()));
        let page = objects(&rows, &bucket(), &listing).unwrap();
        assert_eq!(page.entries.len() + page.prefixes.len(), 1);
        assert_eq!(page.next, None);
    }
}

#[test]
fn an_empty_page_is_the_last() {
    let rows = bucket_of(&["a".to_owned()], |_| false);
    let page = objects(&rows, &bucket(), &Listing::default()).unwrap();
    assert_eq!(page, Page { entries: Vec::new(), prefixes: Vec::new(), next: None });
    // A full page that nothing follows is the last, too.
    let listing = Listing { max: 1, ..Listing::default() };
    assert_eq!(objects(&rows, &bucket(), &listing).unwrap().next, None);
}

#[test]
fn tokens_that_were_not_given_out_are_refused() {
    for token in ["", "!", "YQ", "x", &"a".repeat(5_000)] {
        assert_eq!(Position::from_token(token), Err(PositionError), "{token}");
    }
    let at = Position::Prefix(bytes("ä/"));
    assert_eq!(Position::from_token(&at.token()), Ok(at));
}

#[test]
fn a_summary_is_the_start_of_a_record() {
    let rows = bucket_of(&["a".to_owned(), "b".to_owned()], |nth| nth == 1);
    for (row, bytes) in &rows.rows {
        let record = ObjectRecord::decode(bytes).unwrap();
        let summary = Summary::decode(bytes).unwrap();
        assert_eq!(summary.version, record.version, "{row:?}");
        assert_eq!(summary.versioned, record.versioned);
        assert_eq!(summary.modified, record.modified);
        assert_eq!(summary.region, record.region);
        let content = record.content.map(|it| ContentSummary { bytes: it.bytes, etag: it.etag });
        assert_eq!(summary.content, content);
    }
    assert_eq!(Summary::decode(b""), Err(CodecError::Empty));
    assert!(matches!(Summary::decode(&[9]), Err(CodecError::Newer { .. })));
    assert!(matches!(Summary::decode(&[1, 0xff]), Err(CodecError::Damaged(_))));
}

#[test]
fn versions_go_on_after_null() {
    let mut rows = Memory::default();
    let (name, key) = (bucket(), bytes("a"));
    let none = Condition::default();
    for (at, versioning) in
        [(1, Versioning::Off), (2, Versioning::Enabled), (3, Versioning::Suspended)]
    {
        let target = Target { bucket: &name, versioning, key: &key };
        let put = index::put(&rows, target, writing(at), content("e"), &none).unwrap();
        assert!(rows.carry_out(&put.change));
    }
    let after = after_version(&rows, &name, key.clone(), Which::Null).unwrap();
    let listing = Listing { after: Some(after), max: 10, ..Listing::default() };
    let page = versions(&rows, &name, &listing).unwrap();
    let left: Vec<_> = page.entries.iter().map(|one| one.summary.id()).collect();
    assert_eq!(left, [Some(crate::memory::id(2))]);
}

#[test]
fn uploads_are_shown_once_over_all_pages() {
    let mut rows = Memory::default();
    let name = bucket();
    let mut wanted = Vec::new();
    for key in ["a", "a/1", "a/2", "b", "b1"] {
        for at in 1..4 {
            let key = bytes(key);
            let target = Target { bucket: &name, versioning: Versioning::Off, key: &key };
            let upload = multipart::tests::upload(None, None);
            let change = multipart::begin(target, crate::memory::id(at), upload).unwrap();
            assert!(rows.carry_out(&change));
            if key != "a/1" && key != "a/2" {
                wanted.push((key, crate::memory::id(at)));
            }
        }
    }
    for max in 1..6 {
        let (mut seen, mut prefixes, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let listing = Listing { delimiter: bytes("/"), after, max, ..Listing::default() };
            let page = uploads(&rows, &name, &listing).unwrap();
            seen.extend(page.entries.into_iter().map(|one| (one.key, one.id)));
            prefixes.extend(page.prefixes);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((&seen, texts(prefixes)), (&wanted, vec!["a/".to_owned()]), "{max}");
    }
}

#[test]
fn keys_of_any_bytes_are_leapt_over() {
    let name = bucket();
    let mut rows = Memory::default();
    for key in [&b"a/\xff\xff"[..], b"a/x", b"a/\xff\xff\xff/b", b"b"] {
        let key = Bytes::copy_from_slice(key);
        let target = Target { bucket: &name, versioning: Versioning::Enabled, key: &key };
        let put = index::put(&rows, target, writing(1), content("e"), &Condition::default());
        assert!(rows.carry_out(&put.unwrap().change));
    }
    let listing = Listing { delimiter: bytes("/"), max: 10, ..Listing::default() };
    let page = objects(&rows, &name, &listing).unwrap();
    assert_eq!((page.entries.len(), texts(page.prefixes)), (1, vec!["a/".to_owned()]));
    let page = versions(&rows, &name, &listing).unwrap();
    assert_eq!((page.entries.len(), texts(page.prefixes)), (1, vec!["a/".to_owned()]));
}

#[test]
fn a_page_that_ends_early_does_not_hide_what_follows() {
    // The last row that a page looks at is a delete marker whose key is a common prefix.
    let hidden = (1..HIDDEN_ROWS_MAX).map(|nth| format!("c{nth:06}"));
    let keys: Vec<String> = hidden.chain(["d/".to_owned(), "d/live".to_owned()]).collect();
    let rows = bucket_of(&keys, |nth| nth < HIDDEN_ROWS_MAX);
    let listing = Listing { delimiter: bytes("/"), max: 10, ..Listing::default() };
    let next = |at: &Position| Position::marker(at.key().clone(), b"", b"/");
    assert_eq!(all_pages(&rows, &listing, next), (Vec::new(), vec!["d/".to_owned()]));
}

#[test]
fn all_versions_are_shown_although_an_older_one_is_the_newest() {
    let mut rows = Memory::default();
    let (name, key) = (bucket(), bytes("a"));
    let none = Condition::default();
    let target = Target { bucket: &name, versioning: Versioning::Enabled, key: &key };
    for at in 1..4 {
        let put = index::put(&rows, target, writing(at), content("e"), &none).unwrap();
        assert!(rows.carry_out(&put.change));
    }
    // As regions may leave it that changed the object at a time.
    let second = rows.rows.get(&target.version(crate::memory::id(2)).encode()).unwrap().clone();
    rows.rows.insert(target.current().encode(), second);
    let mut listing = Listing { max: 1, ..Listing::default() };
    let mut shown = Vec::new();
    loop {
        let page = versions(&rows, &name, &listing).unwrap();
        shown.extend(page.entries.iter().map(|one| (one.summary.modified.0, one.is_latest)));
        listing.after = page.next;
        if listing.after.is_none() {
            break;
        }
    }
    assert_eq!(shown, [(2, true), (3, false), (1, false)]);
}
