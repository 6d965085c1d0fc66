//! Strings and counters.

use rhumb_state::{
    Op, Query,
    op::{Deadline, GetExpiry, Presence, SetExpiry},
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

const fn set_op(key: bytes::Bytes, value: bytes::Bytes, when: Presence, expiry: SetExpiry) -> Op {
    Op::Set { key, value, when, get: false, expiry }
}

fn get_range(words: &mut Words<'_>) -> Result<Parsed, CommandError> {
    let (key, start, end) = (words.next()?, words.integer()?, words.integer()?);
    Ok(Step::read(Query::GetRange { key, start, end }))
}

fn set_for(words: &mut Words<'_>, name: &str, unit_millis: i64) -> Result<Parsed, CommandError> {
    let key = words.next()?;
    let deadline = relative(words, name, unit_millis)?;
    let value = words.next()?;
    Ok(Step::write(set_op(key, value, Presence::Any, SetExpiry::Until(deadline))))
}

fn set(words: &mut Words<'_>) -> Result<Parsed, CommandError> {
    let (key, value) = (words.next()?, words.next()?);
    let (mut when, mut get, mut expiry) = (Presence::Any, false, SetExpiry::Clear);
    while words.left() > 0 {
        if words.take("NX") && when == Presence::Any {
            when = Presence::Absent;
        } else if words.take("XX") && when == Presence::Any {
            when = Presence::Present;
        } else if words.take("GET") {
            get = true;
        } else if expiry != SetExpiry::Clear {
            return Err(CommandError::Syntax);
        } else if words.take("KEEPTTL") {
            expiry = SetExpiry::Keep;
        } else {
            let deadline = deadline(words, "set")?.ok_or(CommandError::Syntax)?;
            expiry = SetExpiry::Until(deadline);
        }
    }
    Ok(Step::write(Op::Set { key, value, when, get, expiry }))
}

fn get_ex(words: &mut Words<'_>) -> Result<Parsed, CommandError> {
    let key = words.next()?;
    if words.left() == 0 {
        return Ok(Step::read(Query::Get { key }));
    }
    let expiry = if words.take("PERSIST") {
        GetExpiry::Persist
    } else {
        GetExpiry::Until(deadline(words, "getex")?.ok_or(CommandError::Syntax)?)
    };
    Ok(Step::write(Op::GetEx { key, expiry }))
}

/// `EX`, `PX`, `EXAT` or `PXAT` with its number.
fn deadline(words: &mut Words<'_>, name: &str) -> Result<Option<Deadline>, CommandError> {
    if words.take("EX") {
        relative(words, name, 1_000).map(Some)
    } else if words.take("PX") {
        relative(words, name, 1).map(Some)
    } else if words.take("EXAT") {
        absolute(words, name, 1_000).map(Some)
    } else if words.take("PXAT") {
        absolute(words, name, 1).map(Some)
    } else {
        Ok(None)
    }
}

fn positive(words: &mut Words<'_>, name: &str, unit: i64) -> Result<u64, CommandError> {
    let refused = || CommandError::Expire(name.to_owned());
    let millis = words.integer()?.checked_mul(unit).filter(|millis| *millis > 0);
    millis.and_then(|millis| u64::try_from(millis).ok()).ok_or_else(refused)
}

fn relative(words: &mut Words<'_>, name: &str, unit: i64) -> Result<Deadline, CommandError> {
    Ok(Deadline::In(positive(words, name, unit)?))
}

fn absolute(words: &mut Words<'_>, name: &str, unit: i64) -> Result<Deadline, CommandError> {
    Ok(Deadline::At(UnixMillis(positive(words, name, unit)?)))
}
