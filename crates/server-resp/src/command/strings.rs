//! Strings and counters.

use bytes::Bytes;
use rhumb_state::{
    Op, Query,
    number::parse_int,
    op::{Deadline, EXPIRY_MAX, GetExpiry, Presence, SetExpiry},
    strong::StrongStep,
};
use rhumb_types::UnixMillis;

use super::{Class, CommandError, Known, Parsed, Reader, Shape, Step, Words};

type Read = fn(&mut Words<'_>) -> Result<Parsed, CommandError>;

const fn read(name: &'static str, (least, most): (usize, usize), reader: Read) -> Known {
    Known { name, class: Class::Read, least, most, reader: Reader::State(reader) }
}

const fn write(name: &'static str, (least, most): (usize, usize), reader: Read) -> Known {
    Known { name, class: Class::Write, least, most, reader: Reader::State(reader) }
}

pub(super) const COMMANDS: [Known; 23] = [
    read("get", (2, 2), |words| Ok(Step::read(Query::Get { key: words.next()? }))),
    read("mget", (2, 0), |words| Ok(Step::read(Query::MGet { keys: words.rest()? }))),
    read("strlen", (2, 2), |words| Ok(Step::read(Query::StrLen { key: words.next()? }))),
    read("getrange", (4, 4), get_range),
    read("substr", (4, 4), get_range),
    write("set", (3, 0), set),
    write("setnx", (3, 3), |words| {
        let (key, value) = (words.next()?, words.next()?);
        shaped(set_op(key, value, Presence::Absent, SetExpiry::Clear), Shape::Flag)
    }),
    write("setex", (4, 4), |words| set_for(words, "setex", 1_000)),
    write("psetex", (4, 4), |words| set_for(words, "psetex", 1)),
    write("getset", (3, 3), |words| {
        let (key, value) = (words.next()?, words.next()?);
        let (when, expiry) = (Presence::Any, SetExpiry::Clear);
        Ok(Step::write(Op::Set { key, value, when, get: true, expiry }))
    }),
    write("getdel", (2, 2), |words| Ok(Step::write(Op::GetDel { key: words.next()? }))),
    write("getex", (2, 0), get_ex),
    write("mset", (3, 0), |words| Ok(Step::write(Op::MSet { pairs: words.pairs("mset")? }))),
    write("msetnx", (3, 0), |words| Ok(Step::write(Op::MSetNx { pairs: words.pairs("msetnx")? }))),
    write("append", (3, 3), |words| {
        Ok(Step::write(Op::Append { key: words.next()?, value: words.next()? }))
    }),
    write("setrange", (4, 4), |words| {
        let (key, offset) = (words.next()?, words.integer()?);
        let offset =
            u64::try_from(offset).map_err(|_| CommandError::Other("offset is out of range"))?;
        Ok(Step::write(Op::SetRange { key, offset, value: words.next()? }))
    }),
    write("incr", (2, 2), |words| Ok(Step::write(Op::IncrBy { key: words.next()?, by: 1 }))),
    write("decr", (2, 2), |words| Ok(Step::write(Op::IncrBy { key: words.next()?, by: -1 }))),
    write("incrby", (3, 3), |words| {
        Ok(Step::write(Op::IncrBy { key: words.next()?, by: words.integer()? }))
    }),
    write("decrby", (3, 3), |words| {
        let key = words.next()?;
        let by = words.integer()?.checked_neg();
        let by = by.ok_or(CommandError::Other("decrement would overflow"))?;
        Ok(Step::write(Op::IncrBy { key, by }))
    }),
    write("incrbyfloat", (3, 3), |words| {
        let (key, by) = (words.next()?, words.float()?);
        shaped(Op::IncrByFloat { key, by }, Shape::Text)
    }),
    write("del", (2, 0), |words| Ok(Step::write(Op::Del { keys: words.rest()? }))),
    write("unlink", (2, 0), |words| Ok(Step::write(Op::Del { keys: words.rest()? }))),
];

fn shaped(op: Op, shape: Shape) -> Result<Parsed, CommandError> {
    Ok(Parsed::Step(Step { what: StrongStep::Write(op), shape }))
}

const fn set_op(key: Bytes, value: Bytes, when: Presence, expiry: SetExpiry) -> Op {
    Op::Set { key, value, when, get: false, expiry }
}

fn get_range(words: &mut Words<'_>) -> Result<Parsed, CommandError> {
    let (key, start, end) = (words.next()?, words.integer()?, words.integer()?);
    Ok(Step::read(Query::GetRange { key, start, end }))
}

fn set_for(words: &mut Words<'_>, name: &str, unit_millis: i64) -> Result<Parsed, CommandError> {
    let key = words.next()?;
    let (time, value) = (words.next()?, words.next()?);
    let time = parse_int(&time).ok_or(CommandError::NotAnInteger)?;
    let deadline = Deadline::In(positive(time, name, unit_millis)?);
    Ok(Step::write(set_op(key, value, Presence::Any, SetExpiry::Until(deadline))))
}

fn set(words: &mut Words<'_>) -> Result<Parsed, CommandError> {
    let (key, value) = (words.next()?, words.next()?);
    let (mut when, mut get, mut expiry) = (Presence::Any, false, Expiry::default());
    while words.left() > 0 {
        if when != Presence::Present && words.take("NX") {
            when = Presence::Absent;
        } else if when != Presence::Absent && words.take("XX") {
            when = Presence::Present;
        } else if words.take("GET") {
            get = true;
        } else if !expiry.option(words, "KEEPTTL")? {
            return Err(CommandError::Syntax);
        }
    }
    let expiry = match expiry.0 {
        None => SetExpiry::Clear,
        Some((_, None)) => SetExpiry::Keep,
        Some((unit, Some(number))) => SetExpiry::Until(unit.deadline(&number, "set")?),
    };
    Ok(Step::write(Op::Set { key, value, when, get, expiry }))
}

fn get_ex(words: &mut Words<'_>) -> Result<Parsed, CommandError> {
    let key = words.next()?;
    let mut expiry = Expiry::default();
    while words.left() > 0 {
        if !expiry.option(words, "PERSIST")? {
            return Err(CommandError::Syntax);
        }
    }
    let expiry = match expiry.0 {
        None => return Ok(Step::read(Query::Get { key })),
        Some((_, None)) => GetExpiry::Persist,
        Some((unit, Some(number))) => GetExpiry::Until(unit.deadline(&number, "getex")?),
    };
    Ok(Step::write(Op::GetEx { key, expiry }))
}

/// How an option names a time to live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Seconds,
    Millis,
    UnixSeconds,
    UnixMillis,
    /// Not at all: `KEEPTTL` and `PERSIST`.
    None,
}

impl Unit {
    const OPTIONS: [(&'static str, Self); 4] = [
        ("EX", Self::Seconds),
        ("PX", Self::Millis),
        ("EXAT", Self::UnixSeconds),
        ("PXAT", Self::UnixMillis),
    ];

    fn deadline(self, number: &Bytes, name: &str) -> Result<Deadline, CommandError> {
        let number = parse_int(number).ok_or(CommandError::NotAnInteger)?;
        let in_seconds = matches!(self, Self::Seconds | Self::UnixSeconds);
        let millis = positive(number, name, if in_seconds { 1_000 } else { 1 })?;
        let is_absolute = matches!(self, Self::UnixSeconds | Self::UnixMillis);
        Ok(if is_absolute { Deadline::At(UnixMillis(millis)) } else { Deadline::In(millis) })
    }
}

/// What the options say about the time to live. One may be repeated, and its last number counts;
/// another excludes it. Numbers are read when all options are, as in Redis.
#[derive(Debug, Default)]
struct Expiry(Option<(Unit, Option<Bytes>)>);

impl Expiry {
    /// Takes the next option, if it is one of these; `bare` is the one without a number.
    fn option(&mut self, words: &mut Words<'_>, bare: &str) -> Result<bool, CommandError> {
        let known = self.0.as_ref().map(|(unit, _)| *unit);
        let fits = |unit: Unit| known.is_none_or(|known| known == unit);
        if fits(Unit::None) && words.take(bare) {
            self.0 = Some((Unit::None, None));
            return Ok(true);
        }
        if words.left() < 2 {
            return Ok(false);
        }
        let taken = Unit::OPTIONS.into_iter().find(|(word, unit)| fits(*unit) && words.take(word));
        let Some((_, unit)) = taken else { return Ok(false) };
        self.0 = Some((unit, Some(words.next()?)));
        Ok(true)
    }
}

fn positive(number: i64, name: &str, unit: i64) -> Result<u64, CommandError> {
    let millis = number.checked_mul(unit).and_then(|millis| u64::try_from(millis).ok());
    let millis = millis.filter(|millis| (1..=EXPIRY_MAX.0).contains(millis));
    millis.ok_or_else(|| CommandError::Expire(name.to_owned()))
}
