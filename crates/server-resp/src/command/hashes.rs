//! Hashes.

use rhumb_state::{Op, Query, query::Sample, strong::StrongStep};

use super::{Class, CommandError, Known, Parsed, Reader, ScanOf, Shape, Step, Words, keys};

type Read = fn(&mut Words<'_>) -> Result<Parsed, CommandError>;

const fn read(name: &'static str, (least, most): (usize, usize), reader: Read) -> Known {
    Known { name, class: Class::Read, least, most, reader: Reader::State(reader) }
}

const fn write(name: &'static str, (least, most): (usize, usize), reader: Read) -> Known {
    Known { name, class: Class::Write, least, most, reader: Reader::State(reader) }
}

pub(super) const COMMANDS: [Known; 16] = [
    read("hget", (3, 3), |words| {
        Ok(Step::read(Query::HGet { key: words.next()?, field: words.next()? }))
    }),
    read("hmget", (3, 0), |words| {
        Ok(Step::read(Query::HMGet { key: words.next()?, fields: words.rest()? }))
    }),
    read("hgetall", (2, 2), |words| Ok(Step::read(Query::HGetAll { key: words.next()? }))),
    read("hkeys", (2, 2), |words| Ok(Step::read(Query::HKeys { key: words.next()? }))),
    read("hvals", (2, 2), |words| Ok(Step::read(Query::HVals { key: words.next()? }))),
    read("hlen", (2, 2), |words| Ok(Step::read(Query::HLen { key: words.next()? }))),
    read("hexists", (3, 3), |words| {
        Ok(Step::read(Query::HExists { key: words.next()?, field: words.next()? }))
    }),
    read("hstrlen", (3, 3), |words| {
        Ok(Step::read(Query::HStrLen { key: words.next()?, field: words.next()? }))
    }),
    read("hscan", (3, 0), |words| {
        let key = words.next()?;
        Ok(Parsed::Scan(keys::page(words, ScanOf::Hash(key))?))
    }),
    read("hrandfield", (2, 0), |words| {
        let key = words.next()?;
        let (sample, values) = sample(words, Some("WITHVALUES"))?;
        let seed = super::sets::seed();
        Ok(Step::read(Query::HRandField { key, sample, values, seed }))
    }),
    write("hset", (4, 0), |words| {
        Ok(Step::write(Op::HSet { key: words.next()?, pairs: words.pairs("hset")? }))
    }),
    write("hmset", (4, 0), |words| {
        let op = Op::HSet { key: words.next()?, pairs: words.pairs("hmset")? };
        Ok(Parsed::Step(Step { what: StrongStep::Write(op), shape: Shape::Done }))
    }),
    write("hsetnx", (4, 4), |words| {
        let (key, field) = (words.next()?, words.next()?);
        Ok(Step::write(Op::HSetNx { key, field, value: words.next()? }))
    }),
    write("hdel", (3, 0), |words| {
        Ok(Step::write(Op::HDel { key: words.next()?, fields: words.rest()? }))
    }),
    write("hincrby", (4, 4), |words| {
        let (key, field) = (words.next()?, words.next()?);
        Ok(Step::write(Op::HIncrBy { key, field, by: words.integer()? }))
    }),
    write("hincrbyfloat", (4, 4), |words| {
        let (key, field) = (words.next()?, words.next()?);
        let by = words.float()?;
        if by.is_infinite() {
            return Err(CommandError::Other("value is NaN or Infinity"));
        }
        let op = Op::HIncrByFloat { key, field, by };
        Ok(Parsed::Step(Step { what: StrongStep::Write(op), shape: Shape::Text }))
    }),
];

/// A count and, where there is one, an option that asks for more than names.
pub(super) fn sample(
    words: &mut Words<'_>,
    with: Option<&str>,
) -> Result<(Sample, bool), CommandError> {
    const RANGE: &str =
        "value is out of range, value must between -9223372036854775807 and 9223372036854775807";
    if words.left() == 0 {
        return Ok((Sample::One, false));
    }
    if with.is_none() && words.left() > 1 {
        return Err(CommandError::Syntax);
    }
    let count = words.integer()?;
    if count == i64::MIN {
        return Err(CommandError::Other(RANGE));
    }
    let with = with.is_some_and(|with| words.take(with));
    words.end()?;
    if with && count.unsigned_abs() > u64::MAX / 4 {
        return Err(CommandError::Other("value is out of range"));
    }
    let most = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    Ok((if count < 0 { Sample::Repeated(most) } else { Sample::Distinct(most) }, with))
}
