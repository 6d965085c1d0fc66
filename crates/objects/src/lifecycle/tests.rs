use proptest::prelude::*;
use rhumb_types::record::{BucketName, ObjectRecord, Versioning};

use super::*;
use crate::{
    index::put,
    list::{self, Listing},
    memory::{Memory, bucket, content, id, writing},
    multipart::{begin, tests::upload},
};

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 60 * 60)
}

/// Noon of a day.
const fn noon(day: u64) -> u64 {
    day * DAY + DAY / 2
}

struct Bench {
    rows: Memory,
    versioning: Versioning,
}

impl Bench {
    fn with<T>(&self, key: &str, rule: impl FnOnce(Target<'_>) -> T) -> T {
        let key = Bytes::copy_from_slice(key.as_bytes());
        rule(Target { bucket: &bucket(), versioning: self.versioning, key: &key })
    }

    fn put(&mut self, key: &str, at: u64, tags: &[(&str, &str)]) -> ObjectRecord {
        let mut content = content(key);
        content.tags =
            tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let none = Condition::default();
        let put =
            self.with(key, |target| put(&self.rows, target, writing(at), content, &none)).unwrap();
        assert!(self.rows.carry_out(&put.change));
        put.record
    }

    fn delete(&mut self, key: &str, at: u64) -> VersionId {
        let none = Condition::default();
        let deleted = self
            .with(key, |target| delete(&self.rows, target, Which::Newest, writing(at), &none))
            .unwrap();
        assert!(self.rows.carry_out(&deleted.change));
        deleted.marker.map_or(id(0), |marker| marker.version)
    }

    /// All that is due.
    fn due(&self, rules: &[LifecycleRule], now: u64) -> Vec<(String, What)> {
        let mut sweep = Sweep::default();
        let mut all = Vec::new();
        loop {
            let step = sweep.step(&self.rows, &bucket(), rules, UnixMillis(now)).unwrap();
            let told = |due: Due| (String::from_utf8(due.key.to_vec()).unwrap(), due.what);
            all.extend(step.due.into_iter().map(told));
            if step.done {
                return all;
            }
        }
    }

    fn carry_out(&mut self, due: &[(String, What)], now: u64) {
        for (key, what) in due {
            let change =
                self.with(key, |target| carry_out(&self.rows, target, *what, writing(now)));
            assert!(self.rows.carry_out(&change.unwrap()));
        }
    }
}

fn bench(versioning: Versioning) -> Bench {
    Bench { rows: Memory::default(), versioning }
}

fn rule(change: impl FnOnce(&mut LifecycleRule)) -> LifecycleRule {
    let mut rule = LifecycleRule::default();
    change(&mut rule);
    rule
}

fn removed(record: &ObjectRecord) -> What {
    What::Remove { version: record.version, versioned: record.versioned }
}

#[test]
fn days_end_at_midnight_as_s3_documents_it() {
    // "Created at 1/15/2014 10:30 AM UTC, and you specify 3 days: 1/19/2014 00:00 UTC."
    let created = UnixMillis(1_389_781_800_000);
    assert_eq!(ends(created, days(3)), UnixMillis(1_390_089_600_000));
    let midnight = UnixMillis(1_390_089_600_000);
    assert_eq!(ends(midnight, days(1)), UnixMillis(midnight.0 + DAY));
    let hour = Duration::from_secs(3_600);
    assert_eq!(ends(created, hour), UnixMillis(created.0 + 3_600_000));
    assert_eq!(ends(created, Duration::ZERO), created);
    assert_eq!(ends(UnixMillis(u64::MAX), days(1)).0 / DAY, u64::MAX / DAY);
}

#[test]
fn objects_expire_by_age_prefix_size_and_tags() {
    let mut bench = bench(Versioning::Off);
    let old = bench.put("log/old", noon(10), &[]);
    bench.put("log/new", noon(12), &[]);
    let tagged = bench.put("tagged", noon(10), &[("keep", "no"), ("x", "y")]);
    bench.put("tagged2", noon(10), &[("keep", "yes")]);
    let rules = [
        rule(|it| {
            it.prefix = "log/".to_owned();
            it.expire_after = Some(days(3));
        }),
        rule(|it| {
            it.tags = [("keep".to_owned(), "no".to_owned())].into();
            it.expire_after = Some(days(3));
        }),
    ];
    assert_eq!(bench.due(&rules, noon(13)), []);
    let due = bench.due(&rules, 14 * DAY);
    let wanted = [
        ("log/old".to_owned(), What::Expire(old.version)),
        ("tagged".to_owned(), What::Expire(tagged.version)),
    ];
    assert_eq!(due, wanted);
    assert_eq!(expiry(&rules, b"tagged", &tagged), Some((UnixMillis(14 * DAY), 1)));
    assert_eq!(expiry(&rules, b"other", &tagged).map(|(_, rule)| rule), Some(1));
    assert_eq!(expiry(&rules, b"other", &old), None);
    // What was written meanwhile stays.
    let newer = bench.put("log/old", 14 * DAY, &[]);
    bench.carry_out(&due, 14 * DAY + 1);
    let left = list::objects(&bench.rows, &bucket(), &Listing { max: 9, ..Listing::default() });
    let left: Vec<_> = left.unwrap().entries.into_iter().map(|one| one.summary.version).collect();
    assert!(left.contains(&newer.version));
    assert_eq!(left.len(), 3);
    let sized = |larger, smaller| {
        let rules = [rule(|it| {
            it.expire_at = Some(UnixMillis(noon(15)));
            (it.larger_than, it.smaller_than) = (larger, smaller);
        })];
        bench.due(&rules, noon(15)).len()
    };
    // Two have seven bytes: "log/old", "log/new", "tagged2".
    assert_eq!((sized(None, None), sized(Some(7), None), sized(None, Some(7))), (3, 0, 0));
    assert_eq!((sized(Some(6), Some(8)), sized(Some(6), None)), (3, 3));
    let off = [rule(|it| {
        it.disabled = true;
        it.expire_after = Some(Duration::ZERO);
    })];
    assert_eq!(bench.due(&off, noon(20)), []);
}

#[test]
fn versions_that_were_replaced_go_but_for_some() {
    let mut bench = bench(Versioning::Enabled);
    let all: Vec<_> = (0..5).map(|day| bench.put("a", noon(10 + day), &[])).collect();
    let rules = |kept| {
        [rule(|it| {
            it.noncurrent_after = Some(days(2));
            it.noncurrent_kept = kept;
        })]
    };
    // Versions 0 to 3 were replaced at noon of days 11 to 14; two days later and at midnight they go.
    let gone = |count: usize| -> Vec<_> {
        all[..count].iter().rev().map(|one| ("a".to_owned(), removed(one))).collect()
    };
    assert_eq!(bench.due(&rules(0), noon(13)), []);
    assert_eq!(bench.due(&rules(0), 14 * DAY), gone(1));
    assert_eq!(bench.due(&rules(0), noon(15)), gone(2));
    assert_eq!(bench.due(&rules(0), noon(30)), gone(4));
    assert_eq!(bench.due(&rules(3), noon(30)), gone(1));
    assert_eq!(bench.due(&rules(4), noon(30)), []);
    let due = bench.due(&rules(1), noon(30));
    assert_eq!(due, gone(3));
    bench.carry_out(&due, noon(30));
    assert_eq!(bench.due(&rules(1), noon(30)), []);
    assert_eq!(bench.rows.rows.len(), 3);
}

#[test]
fn an_expired_object_leaves_a_marker_that_goes_at_last() {
    let mut bench = bench(Versioning::Enabled);
    let first = bench.put("a", noon(10), &[]);
    bench.put("b", noon(20), &[]);
    let rules = [rule(|it| {
        it.expire_after = Some(days(1));
        it.noncurrent_after = Some(days(1));
    })];
    let due = bench.due(&rules, 12 * DAY);
    assert_eq!(due, [("a".to_owned(), What::Expire(first.version))]);
    bench.carry_out(&due, 12 * DAY);
    assert_eq!(bench.due(&rules, 12 * DAY), []);
    let due = bench.due(&rules, 13 * DAY);
    assert_eq!(due, [("a".to_owned(), removed(&first))]);
    bench.carry_out(&due, 13 * DAY);
    let due = bench.due(&rules, 13 * DAY);
    assert_eq!(due.len(), 1, "the marker is alone, and old enough");
    bench.carry_out(&due, 13 * DAY);
    assert_eq!(bench.due(&rules, 13 * DAY), []);
    assert_eq!(bench.rows.rows.len(), 2, "only b is left");
}

#[test]
fn markers_that_are_alone_go_when_a_rule_says_so() {
    let mut bench = bench(Versioning::Enabled);
    let alone = bench.delete("alone", noon(10));
    bench.put("covered", noon(10), &[]);
    bench.delete("covered", noon(11));
    let last = bench.delete("z", noon(10));
    let rules = [rule(|it| it.expire_markers = true)];
    let gone = |version| What::Remove { version, versioned: true };
    let wanted = [("alone".to_owned(), gone(alone)), ("z".to_owned(), gone(last))];
    assert_eq!(bench.due(&rules, noon(12)), wanted);
    let tagged = [rule(|it| {
        it.expire_markers = true;
        it.tags = [("a".to_owned(), "b".to_owned())].into();
    })];
    assert_eq!(bench.due(&tagged, noon(12)), []);
    // An upload came meanwhile: only the marker below it goes.
    let upload = bench.put("alone", noon(13), &[]);
    bench.carry_out(&wanted, noon(14));
    let found = bench.with("alone", |target| find(&bench.rows, target, Which::Newest)).unwrap();
    assert_eq!(found.record(), Some(&upload));
}

#[test]
fn uploads_are_given_up_by_age_and_prefix() {
    let mut bench = bench(Versioning::Off);
    for key in ["tmp/a", "b"] {
        let mut upload = upload(None, None);
        upload.begun = UnixMillis(noon(10));
        let change = bench.with(key, |target| begin(target, id(7), upload)).unwrap();
        assert!(bench.rows.carry_out(&change));
    }
    let rules = [rule(|it| {
        it.prefix = "tmp/".to_owned();
        it.abort_uploads_after = Some(days(7));
    })];
    assert_eq!(bench.due(&rules, noon(17)), []);
    let due = bench.due(&rules, 18 * DAY);
    assert_eq!(due, [("tmp/a".to_owned(), What::Abort(id(7)))]);
    bench.carry_out(&due, 18 * DAY);
    bench.carry_out(&due, 18 * DAY);
    assert_eq!(bench.due(&rules, 18 * DAY), []);
    assert_eq!(bench.rows.rows.len(), 1);
}

proptest! {
    // Each case writes a thousand versions.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What a walk in steps finds is what one look at all versions finds, wherever pages end.
    #[test]
    fn pages_do_not_change_what_is_due(
        shapes in prop::collection::vec((0..4_usize, any::<bool>()), 1..40),
        many in 990..1_010_usize,
        kept in 0..3_u32,
    ) {
        let mut bench = bench(Versioning::Enabled);
        let mut wanted = Vec::new();
        // An object whose versions go over the end of a page.
        for nth in 0..many {
            let record = bench.put("a", noon(1) + nth as u64, &[]);
            if nth + 1 + (kept as usize) < many {
                wanted.push(("a".to_owned(), removed(&record)));
            }
        }
        wanted.reverse();
        for (nth, (versions, deleted)) in shapes.iter().enumerate() {
            let key = format!("b{nth:03}");
            let mut all: Vec<_> = (0..*versions)
                .map(|at| removed(&bench.put(&key, noon(2) + at as u64, &[])))
                .collect();
            if *deleted {
                let version = bench.delete(&key, noon(3));
                all.push(What::Remove { version, versioned: true });
            }
            let alone = *deleted && all.len() == 1;
            let skip = if alone { 0 } else { 1 + kept as usize };
            wanted.extend(all.into_iter().rev().skip(skip).map(|what| (key.clone(), what)));
        }
        let rules = [rule(|it| {
            it.noncurrent_after = Some(days(1));
            it.noncurrent_kept = kept;
            it.expire_markers = true;
        })];
        prop_assert_eq!(bench.due(&rules, noon(30)), wanted);
    }
}

#[test]
fn a_step_looks_at_a_bounded_number_of_rows() {
    let mut bench = bench(Versioning::Off);
    for nth in 0..5_000 {
        bench.put(&format!("{nth:05}"), noon(1), &[]);
    }
    let name: BucketName = bucket();
    let rules = [rule(|it| it.expire_after = Some(days(1)))];
    let mut sweep = Sweep::default();
    let mut due = 0;
    for _ in 0..10 {
        bench.rows.read.set(0);
        let step = sweep.step(&bench.rows, &name, &rules, UnixMillis(noon(9))).unwrap();
        assert!(bench.rows.read.get() < 3 * list::LISTED_MAX);
        due += step.due.len();
        if step.done {
            assert_eq!(due, 5_000);
            return;
        }
    }
    panic!("the walk does not end");
}

/// Rows that are others after the first that is read.
struct Changing {
    first: Memory,
    then: Memory,
    read: std::cell::Cell<bool>,
}

impl Rows for Changing {
    type Error = std::convert::Infallible;

    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, Self::Error> {
        if self.read.replace(true) { self.then.row(key) } else { self.first.row(key) }
    }

    fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Self::Error> {
        self.then.rows(prefix, after, limit)
    }
}

#[test]
fn what_is_written_while_an_expiry_is_carried_out_stays() {
    let mut bench = bench(Versioning::Off);
    let old = bench.put("a", noon(1), &[]);
    let first = bench.rows.clone();
    bench.put("a", noon(9), &[]);
    let rows = Changing { first, then: bench.rows.clone(), read: false.into() };
    let what = What::Expire(old.version);
    let change = bench.with("a", |target| carry_out(&rows, target, what, writing(noon(9))));
    assert_eq!(change, Ok(Change::default()));
}

#[test]
fn rules_that_contradict_themselves_are_refused() {
    let good = rule(|it| {
        it.id = "old logs".to_owned();
        it.expire_after = Some(days(30));
        it.noncurrent_after = Some(days(1));
        it.noncurrent_kept = 100;
    });
    assert_eq!(check(std::slice::from_ref(&good)), Ok(()));
    let other = rule(|it| it.abort_uploads_after = Some(days(7)));
    assert_eq!(check(&[other.clone(), good.clone(), other.clone()]), Ok(()));
    let said = |rules: &[LifecycleRule]| check(rules).unwrap_err().to_string();
    assert_eq!(
        said(&[other, good.clone(), good.clone()]),
        "rule 3 (\"old logs\") of the lifecycle has the name of another"
    );
    assert_eq!(check(&vec![good.clone(); 1_001]), Err(RulesRefused::TooMany));
    type Break = (fn(&mut LifecycleRule), &'static str);
    let changes: [Break; 12] = [
        (|it| *it = LifecycleRule::default(), "does nothing"),
        (|it| it.id = "x".repeat(256), "a name that is too long"),
        (|it| it.prefix = "x".repeat(1_025), "a prefix that is too long"),
        (|it| it.tags = (0..11).map(|at| (at.to_string(), String::new())).collect(), "many tags"),
        (|it| it.expire_after = Some(Duration::ZERO), "a time of zero"),
        (|it| it.expire_at = Some(UnixMillis(DAY)), "both by age and at a time"),
        (|it| (it.expire_after, it.expire_at) = (None, Some(UnixMillis(noon(1)))), "not midnight"),
        (|it| it.expire_markers = true, "alone and by age"),
        (
            |it| {
                it.abort_uploads_after = Some(days(1));
                it.larger_than = Some(1);
            },
            "neither tags nor sizes",
        ),
        (|it| (it.larger_than, it.smaller_than) = (Some(5), Some(5)), "is about no size"),
        (|it| it.noncurrent_after = None, "does not say when others go"),
        (|it| it.noncurrent_kept = 101, "more than 100"),
    ];
    for (change, wanted) in changes {
        let mut bad = good.clone();
        change(&mut bad);
        let error = said(&[bad]);
        assert!(error.contains(wanted), "{error:?} does not say {wanted:?}");
    }
}
