use rhumb_types::{
    DomainId, Epoch, Hlc, OriginId,
    record::{BucketName, Decided, Value},
};

use super::*;
use crate::place;

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn term(homes: u64, epoch: u64) -> Term {
    Term { homes, epoch: Epoch(epoch) }
}

fn dot(origin: u64, version: u64) -> Dot {
    Dot { origin: OriginId::new(origin << 16, DomainId::EVERYWHERE), version }
}

fn entry(dot: Dot, value: Value) -> Entry {
    Entry { dot, hlc: Hlc::from_millis(UnixMillis(dot.version)), value, expiry: None }
}

/// What somebody decided; `""` is nothing.
fn decided(term: Term, dot: Dot, row: &'static str) -> Entry {
    let row = (!row.is_empty()).then(|| Bytes::from_static(row.as_bytes()));
    entry(dot, Value::Decided(Decided { term, row }))
}

fn cell(entries: impl IntoIterator<Item = Entry>) -> Cell {
    Cell { entries: entries.into_iter().collect(), ..Cell::default() }
}

/// The fence of a term that one region decides in, who is every key's home.
fn fence(term: Term, written: Dot, applied: &[Dot]) -> (Bytes, Cell) {
    let applied = applied.iter().map(|dot| (dot.origin, dot.version)).collect();
    let homes = [region("eu")].into();
    let record = FenceRecord { began: UnixMillis(term.epoch.0 * 1_000), homes, applied };
    let row = entry(written, Value::Bytes(record.encode()));
    (fence_row(&region("eu"), term), cell([row]))
}

fn fences(all: &[(Bytes, Cell)]) -> Fences {
    Fences::read(all.iter().map(|(key, cell)| (key, cell))).unwrap()
}

fn name() -> Vec<u8> {
    place::name(&BucketName::new("bucket").unwrap(), b"key")
}

fn settle(row: &'static str) -> Look {
    Look::Settle((!row.is_empty()).then(|| Bytes::from_static(row.as_bytes())))
}

#[test]
fn what_is_of_this_term_or_was_known_as_it_began_is_clear() {
    let known = fences(&[fence(term(1, 2), dot(2, 1), &[dot(1, 5)])]);
    let look = |cell: &Cell| known.look(term(1, 2), &name(), cell);
    assert_eq!(look(&cell([])), Look::Clear);
    assert_eq!(look(&cell([decided(term(1, 2), dot(2, 9), "new")])), Look::Clear);
    assert_eq!(look(&cell([decided(term(1, 1), dot(1, 5), "known")])), Look::Clear);
    let eventual = entry(dot(3, 99), Value::Bytes(Bytes::from_static(b"eventual")));
    assert_eq!(look(&cell([eventual])), Look::Clear, "written before there were terms");
}

#[test]
fn what_comes_late_is_decided_anew_where_it_is_alone_and_goes_where_it_is_not() {
    let known = fences(&[fence(term(1, 2), dot(2, 1), &[dot(1, 5)])]);
    let look = |cell: &Cell| known.look(term(1, 2), &name(), cell);
    let late = decided(term(1, 1), dot(1, 6), "late");
    assert_eq!(look(&cell([late.clone()])), settle("late"));
    assert_eq!(look(&cell([decided(term(1, 1), dot(1, 6), "")])), settle(""));
    let now = decided(term(1, 2), dot(2, 3), "now");
    assert_eq!(look(&cell([late.clone(), now])), settle("now"));
    let gone = decided(term(1, 2), dot(2, 3), "");
    assert_eq!(look(&cell([late.clone(), gone])), settle(""), "a delete stays");
    // It is of an earlier term, and what was shown meanwhile of an earlier one still.
    let shown = decided(term(1, 0), dot(1, 5), "shown");
    assert_eq!(look(&cell([shown, late])), settle("shown"));
}

#[test]
fn the_first_term_after_it_says_what_is_void_and_a_later_one_that_knows_it_does_not_help() {
    let second = fence(term(1, 2), dot(2, 1), &[dot(1, 5)]);
    let third = fence(term(1, 3), dot(3, 1), &[dot(1, 8), dot(2, 4)]);
    let known = fences(&[second, third]);
    let late = decided(term(1, 1), dot(1, 6), "late");
    assert_eq!(known.look(term(1, 3), &name(), &cell([late.clone()])), settle("late"));
    let after = decided(term(1, 2), dot(2, 4), "after");
    assert_eq!(known.look(term(1, 3), &name(), &cell([late, after])), settle("after"));
}

#[test]
fn a_term_that_no_majority_heard_of_before_the_next_makes_nothing_void() {
    // The third did not know that there was a second: nothing was decided in that.
    let second = fence(term(1, 2), dot(2, 1), &[dot(1, 5)]);
    let third = fence(term(1, 3), dot(3, 1), &[dot(1, 8)]);
    let late = cell([decided(term(1, 1), dot(1, 6), "unanswered")]);
    assert_eq!(fences(&[second, third]).look(term(1, 3), &name(), &late), Look::Clear);
}

#[test]
fn only_terms_of_who_was_the_home_of_the_key_count() {
    let record = |home: &str, homes: &[&str]| {
        let homes = homes.iter().map(|name| region(name)).collect();
        let record = FenceRecord { began: UnixMillis(0), homes, applied: VersionVector::new() };
        let row = entry(dot(2, 1), Value::Bytes(record.encode()));
        (fence_row(&region(home), term(1, 2)), cell([row]))
    };
    let home = homes::among(&[region("eu"), region("us")].into(), &name()).cloned().unwrap();
    let other = if home == region("eu") { "us" } else { "eu" };
    let late = cell([decided(term(1, 1), dot(1, 6), "late")]);
    let of = |fence| fences(&[fence]).look(term(1, 2), &name(), &late);
    assert_eq!(of(record(home.as_str(), &["eu", "us"])), settle("late"));
    assert_eq!(of(record(other, &["eu", "us"])), Look::Clear);
}

#[test]
fn who_has_forgotten_that_another_decided_after_it_is_no_home_any_more() {
    let later = cell([decided(term(2, 1), dot(2, 1), "later")]);
    assert_eq!(Fences::default().look(term(1, 9), &name(), &later), Look::Later);
}

#[test]
fn that_nothing_is_there_is_forgotten_once_everybody_has_heard_of_it() {
    let vector = |dots: &[Dot]| dots.iter().map(|dot| (dot.origin, dot.version)).collect();
    let (one, two): (VersionVector, VersionVector) =
        (vector(&[dot(1, 5), dot(2, 3)]), vector(&[dot(1, 9), dot(2, 2), dot(3, 1)]));
    let both = vector(&[dot(1, 9), dot(2, 3), dot(3, 1)]);
    assert_eq!(common(&one, &[one.clone(), two.clone()]), None, "something is not applied here");
    let all = common(&both, &[one, two]).unwrap();
    assert_eq!(all, vector(&[dot(1, 5), dot(2, 2)]));
    let gone = |version| decided(term(1, 1), dot(1, version), "");
    assert_eq!(forgettable(&cell([gone(5)]), &all), Some(dot(1, 5)));
    assert_eq!(forgettable(&cell([gone(6)]), &all), None);
    assert_eq!(forgettable(&cell([decided(term(1, 1), dot(1, 5), "there")]), &all), None);
    assert_eq!(forgettable(&cell([gone(5), gone(4)]), &all), None);
    assert_eq!(common(&VersionVector::new(), &[]), Some(VersionVector::new()));
}

#[test]
fn the_beginning_of_a_term_is_kept_for_a_while_after_its_end() {
    let known = fences(&[1, 2, 3].map(|epoch| fence(term(1, epoch), dot(1, epoch), &[])));
    let ended = |by| known.ended(&region("eu"), UnixMillis(by));
    assert!(ended(1_999).is_empty(), "the second begins at 2 s");
    assert_eq!(ended(2_000), [fence_row(&region("eu"), term(1, 1))]);
    assert_eq!(ended(u64::MAX).len(), 2, "the last one stays");
    assert!(known.ended(&region("us"), UnixMillis(u64::MAX)).is_empty());
}
