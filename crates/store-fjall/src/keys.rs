//! Row keys: bytes that sort as the rows do.
//!
//! | table | key |
//! |---|---|
//! | heads | space, key |
//! | members | space, escaped key, member |
//! | scores | space, escaped key, score, member |
//! | expiry | milliseconds, space, key |
//! | log | origin, version |
//! | owned | table, key |
//! | conflicts | sequence |
//! | meta | what it is, name |
//!
//! Numbers are big-endian. A key that something follows is **escaped**: a zero byte becomes `00 FF`
//! and the end is `00 01`, so that no key's rows lie between another key's. A score is its IEEE
//! 754 bits with the sign flipped, or all of them where it is negative, which sort as the numbers
//! do.
//!
//! [`MARK`] is in every table; see `crate::mark`.

use bytes::Bytes;
use rhumb_ports::store::{MetaName, RESERVED_SPACE};
use rhumb_types::{
    OriginId, UnixMillis,
    record::{ROW_BYTES_MAX, Space},
};
use smallvec::SmallVec;

/// A key being built for a read; most fit on the stack.
pub(crate) type KeyBuf = SmallVec<[u8; 128]>;

/// The key of a table's mark; no row of a caller has it.
pub(crate) const MARK: [u8; 1] = [RESERVED_SPACE];
/// The longest key that fjall holds.
pub(crate) const KEY_BYTES_MAX: usize = u16::MAX as usize;

// Space, escaped key with its end, score, member.
const _: () = assert!(1 + 2 * ROW_BYTES_MAX + 2 + 8 <= KEY_BYTES_MAX);

const ESCAPE: [u8; 2] = [0x00, 0xff];
const END: [u8; 2] = [0x00, 0x01];
/// The bytes of a number in a key.
const NUMBER: usize = 8;

/// First bytes of `meta` keys.
mod meta {
    pub(super) const STORE: u8 = 0;
    pub(super) const NODE: u8 = 1;
    pub(super) const CLEARED: u8 = 2;
    pub(super) const OTHER: u8 = 3;
    pub(super) const EXTENT: u8 = 4;
}

fn escape(out: &mut KeyBuf, key: &[u8]) {
    let mut parts = key.split(|byte| *byte == 0);
    if let Some(first) = parts.next() {
        out.extend_from_slice(first);
    }
    for part in parts {
        out.extend_from_slice(&ESCAPE);
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&END);
}

/// The bits of a score, in the order of scores. -0 is 0.
fn score_bits(score: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    let bits = (score + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn score_from_bits(bits: u64) -> f64 {
    const SIGN: u64 = 1 << 63;
    f64::from_bits(if bits & SIGN == 0 { !bits } else { bits ^ SIGN })
}

fn buffer(parts: &[&[u8]]) -> KeyBuf {
    let mut out = KeyBuf::new();
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

pub(crate) fn head(space: Space, key: &[u8]) -> KeyBuf {
    buffer(&[&[space.0], key])
}

/// What the rows of all members of a key start with.
pub(crate) fn members_of(space: Space, key: &[u8]) -> KeyBuf {
    let mut out = buffer(&[&[space.0]]);
    escape(&mut out, key);
    out
}

pub(crate) fn member(space: Space, key: &[u8], member: &[u8]) -> KeyBuf {
    let mut out = members_of(space, key);
    out.extend_from_slice(member);
    out
}

pub(crate) fn score(space: Space, key: &[u8], score: f64, member: &[u8]) -> KeyBuf {
    let mut out = members_of(space, key);
    out.extend_from_slice(&score_bits(score).to_be_bytes());
    out.extend_from_slice(member);
    out
}

/// The score and the member of a row's key, given the length of [`members_of`] its key.
pub(crate) fn split_score(row: &Bytes, prefix: usize) -> Option<(f64, Bytes)> {
    let bits = number(row, prefix)?;
    Some((score_from_bits(bits), row.slice(prefix + NUMBER..)))
}

pub(crate) fn expiry(at: UnixMillis, space: Space, key: &[u8]) -> KeyBuf {
    buffer(&[&at.0.to_be_bytes(), &[space.0], key])
}

/// What a row of the expiry index says; `None` for the mark.
pub(crate) fn split_expiry(row: &Bytes) -> Option<(UnixMillis, Space, Bytes)> {
    let space = row.get(NUMBER)?;
    Some((UnixMillis(number(row, 0)?), Space(*space), row.slice(NUMBER + 1..)))
}

pub(crate) fn log(origin: OriginId, version: u64) -> KeyBuf {
    buffer(&[&origin.0.to_be_bytes(), &version.to_be_bytes()])
}

/// The version of a log row; `None` for what is not one.
pub(crate) fn split_log(row: &[u8]) -> Option<(OriginId, u64)> {
    (row.len() == 2 * NUMBER).then_some(())?;
    Some((OriginId(number(row, 0)?), number(row, NUMBER)?))
}

pub(crate) fn owned(table: u8, key: &[u8]) -> KeyBuf {
    buffer(&[&[table], key])
}

pub(crate) fn conflict(sequence: u64) -> KeyBuf {
    buffer(&[&sequence.to_be_bytes()])
}

/// The place of a journal entry; `None` for the mark.
pub(crate) fn split_conflict(row: &[u8]) -> Option<u64> {
    (row.len() == NUMBER).then(|| number(row, 0)).flatten()
}

pub(crate) fn meta(name: &MetaName) -> KeyBuf {
    match name {
        MetaName::Applied => buffer(&[&[meta::NODE], b"applied"]),
        MetaName::HlcCeiling => buffer(&[&[meta::NODE], b"hlc-ceiling"]),
        MetaName::Identity => buffer(&[&[meta::NODE], b"identity"]),
        MetaName::Origins => buffer(&[&[meta::NODE], b"origins"]),
        MetaName::Snapshot => buffer(&[&[meta::NODE], b"snapshot"]),
        MetaName::Cleared(space) => buffer(&[&[meta::CLEARED, space.0]]),
        MetaName::Other(name) => buffer(&[&[meta::OTHER], name.as_bytes()]),
    }
}

/// The row of the newest commit.
pub(crate) fn commit() -> KeyBuf {
    buffer(&[&[meta::STORE], b"commit"])
}

/// What the rows of log extents start with.
pub(crate) const EXTENTS: [u8; 1] = [meta::EXTENT];

pub(crate) fn extent(origin: OriginId) -> KeyBuf {
    buffer(&[&EXTENTS, &origin.0.to_be_bytes()])
}

pub(crate) fn split_extent(row: &[u8]) -> Option<OriginId> {
    number(row, EXTENTS.len()).map(OriginId)
}

/// The big-endian number at a place.
pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + NUMBER)?;
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// The least key above every key with a prefix; `None` when there is none.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<KeyBuf> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = KeyBuf::from_slice(prefix.get(..=kept)?);
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Short strings of the bytes that an encoding could mix up.
    fn names() -> impl Strategy<Value = Vec<u8>> {
        let byte =
            prop_oneof![Just(0_u8), Just(1), Just(b'a'), Just(0xfe), Just(0xff), any::<u8>()];
        proptest::collection::vec(byte, 0..6)
    }

    fn scores() -> impl Strategy<Value = f64> {
        let special = prop_oneof![
            Just(0.0),
            Just(-0.0),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(f64::MIN_POSITIVE),
            Just(-5e-324),
        ];
        prop_oneof![special, any::<f64>().prop_filter("scores are numbers", |s| !s.is_nan())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn member_rows_sort_by_space_key_member(
            a in (0_u8..3, names(), names()),
            b in (0_u8..3, names(), names()),
        ) {
            let row = |(space, key, name): &(u8, Vec<u8>, Vec<u8>)| member(Space(*space), key, name);
            prop_assert_eq!(row(&a).cmp(&row(&b)), a.cmp(&b));
        }

        #[test]
        fn no_key_lies_inside_another_keys_rows(a in names(), b in names(), m in names()) {
            let inside = member(Space(1), &b, &m).starts_with(&members_of(Space(1), &a));
            prop_assert_eq!(inside, a == b);
        }

        #[test]
        fn score_rows_sort_and_read_back(
            key in names(),
            a in (scores(), names()),
            b in (scores(), names()),
        ) {
            let row = |(value, name): &(f64, Vec<u8>)| score(Space(0), &key, *value, name);
            let order = (a.0 + 0.0).total_cmp(&(b.0 + 0.0)).then(a.1.cmp(&b.1));
            prop_assert_eq!(row(&a).cmp(&row(&b)), order);
            let bytes = Bytes::copy_from_slice(&row(&a));
            let (value, name) = split_score(&bytes, members_of(Space(0), &key).len()).unwrap();
            prop_assert_eq!(value.to_bits(), (a.0 + 0.0).to_bits());
            prop_assert_eq!(&name[..], &a.1[..]);
        }

        #[test]
        fn log_and_expiry_rows_sort_and_read_back(
            a in any::<(u64, u64)>(),
            b in any::<(u64, u64)>(),
            key in names(),
        ) {
            let row = |(origin, version): (u64, u64)| log(OriginId(origin), version);
            prop_assert_eq!(row(a).cmp(&row(b)), a.cmp(&b));
            prop_assert_eq!(split_log(&row(a)), Some((OriginId(a.0), a.1)));
            let bytes = Bytes::copy_from_slice(&expiry(UnixMillis(a.0), Space(7), &key));
            let back = split_expiry(&bytes).unwrap();
            prop_assert_eq!(back, (UnixMillis(a.0), Space(7), Bytes::from(key)));
        }

        #[test]
        fn after_prefix_is_the_least_key_above(prefix in names(), key in names()) {
            let below = after_prefix(&prefix).is_none_or(|end| key.as_slice() < end.as_slice());
            let inside = key >= prefix && below;
            prop_assert_eq!(inside, key.starts_with(&prefix));
        }
    }

    #[test]
    fn marks_are_no_rows() {
        let mark = Bytes::from_static(&MARK);
        assert_eq!(split_log(&mark), None);
        assert_eq!(split_expiry(&mark), None);
        assert_eq!(split_conflict(&mark), None);
    }
}
