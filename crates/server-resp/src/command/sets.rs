//! Sets.

use bytes::Bytes;
use rhumb_state::{Choice, Op, Query, strong::StrongStep};

use super::{Class, CommandError, Known, Parsed, Reader, ScanOf, Shape, Step, Words, hashes, keys};

type Read = fn(&mut Words<'_>) -> Result<Parsed, CommandError>;

const fn read(name: &'static str, (least, most): (usize, usize), reader: Read) -> Known {
    Known { name, class: Class::Read, least, most, reader: Reader::State(reader) }
}

const fn write(name: &'static str, (least, most): (usize, usize), reader: Read) -> Known {
    Known { name, class: Class::Write, least, most, reader: Reader::State(reader) }
}

pub(super) const COMMANDS: [Known; 14] = [
    read("sismember", (3, 3), |words| {
        Ok(Step::read(Query::SIsMember { key: words.next()?, member: words.next()? }))
    }),
    read("smismember", (3, 0), |words| {
        Ok(Step::read(Query::SMIsMember { key: words.next()?, members: words.rest()? }))
    }),
    read("smembers", (2, 2), |words| Ok(Step::read(Query::SMembers { key: words.next()? }))),
    read("scard", (2, 2), |words| Ok(Step::read(Query::SCard { key: words.next()? }))),
    read("sscan", (3, 0), |words| {
        let key = words.next()?;
        Ok(Parsed::Scan(keys::page(words, ScanOf::Set(key))?))
    }),
    read("srandmember", (2, 0), |words| {
        let key = words.next()?;
        let (sample, _) = hashes::sample(words, None)?;
        Ok(Step::read(Query::SRandMember { key, sample, seed: seed() }))
    }),
    read("sinter", (2, 0), |words| Ok(Step::read(Query::SInter { keys: words.rest()? }))),
    read("sunion", (2, 0), |words| Ok(Step::read(Query::SUnion { keys: words.rest()? }))),
    read("sdiff", (2, 0), |words| Ok(Step::read(Query::SDiff { keys: words.rest()? }))),
    read("sintercard", (3, 0), |words| {
        let keys = counted(words)?;
        let mut limit = 0;
        while words.left() > 1 && words.take("LIMIT") {
            limit = words.count_or("LIMIT can't be negative")?;
        }
        Ok(Step::read(Query::SInterCard { keys, limit }))
    }),
    write("sadd", (3, 0), |words| {
        Ok(Step::write(Op::SAdd { key: words.next()?, members: words.rest()? }))
    }),
    write("srem", (3, 0), |words| {
        Ok(Step::write(Op::SRem { key: words.next()?, members: words.rest()? }))
    }),
    write("smove", (4, 4), |words| {
        let (source, destination) = (words.next()?, words.next()?);
        Ok(Step::write(Op::SMove { source, destination, member: words.next()? }))
    }),
    write("spop", (2, 0), |words| {
        let key = words.next()?;
        if words.left() > 1 {
            return Err(CommandError::Syntax);
        }
        let one = words.left() == 0;
        let count = if one { 1 } else { words.count()? };
        let what = StrongStep::Choose(Choice::SPop { key, count, seed: seed() });
        let shape = if one { Shape::Only } else { Shape::Plain };
        Ok(Parsed::Step(Step { what, shape }))
    }),
];

/// A number of keys, and the keys.
fn counted(words: &mut Words<'_>) -> Result<Vec<Bytes>, CommandError> {
    const TOO_FEW: &str = "numkeys should be greater than 0";
    let count = words.count_or(TOO_FEW)?;
    if count == 0 {
        return Err(CommandError::Other(TOO_FEW));
    }
    if count > words.left() {
        return Err(CommandError::Other("Number of keys can't be greater than number of args"));
    }
    (0..count).map(|_| words.next()).collect()
}

/// Random bits for picks. Without randomness from the system picks are not random, which harms
/// nothing but fairness.
pub(super) fn seed() -> u64 {
    getrandom::u64().unwrap_or_default()
}
