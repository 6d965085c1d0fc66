//! Keys whatever their type.

use rhumb_state::{
    Op, Query,
    number::parse_int,
    op::{Deadline, EXPIRY_MAX, ExpireWhen},
    query::TtlForm,
    reply,
};
use rhumb_types::UnixMillis;

use super::{Class, CommandError, Known, Parsed, Reader, Scan, ScanOf, Step, Words};

type Read = fn(&mut Words<'_>) -> Result<Parsed, CommandError>;

const fn known(
    name: &'static str,
    class: Class,
    (least, most): (usize, usize),
    reader: Read,
) -> Known {
    Known { name, class, least, most, reader: Reader::State(reader) }
}

pub(super) const COMMANDS: [Known; 18] = [
    known("exists", Class::Read, (2, 0), |words| {
        Ok(Step::read(Query::Exists { keys: words.rest()? }))
    }),
    known("type", Class::Read, (2, 2), |words| Ok(Step::read(Query::Type { key: words.next()? }))),
    known("ttl", Class::Read, (2, 2), |words| ttl(words, TtlForm::SecondsLeft)),
    known("pttl", Class::Read, (2, 2), |words| ttl(words, TtlForm::MillisLeft)),
    known("expiretime", Class::Read, (2, 2), |words| ttl(words, TtlForm::UnixSeconds)),
    known("pexpiretime", Class::Read, (2, 2), |words| ttl(words, TtlForm::UnixMillis)),
    known("expire", Class::Write, (3, 0), |words| expire(words, "expire", 1_000, false)),
    known("pexpire", Class::Write, (3, 0), |words| expire(words, "pexpire", 1, false)),
    known("expireat", Class::Write, (3, 0), |words| expire(words, "expireat", 1_000, true)),
    known("pexpireat", Class::Write, (3, 0), |words| expire(words, "pexpireat", 1, true)),
    known("persist", Class::Write, (2, 2), |words| {
        Ok(Step::write(Op::Persist { key: words.next()? }))
    }),
    known("touch", Class::Read, (2, 0), |words| {
        Ok(Step::read(Query::Exists { keys: words.rest()? }))
    }),
    known("scan", Class::Read, (2, 0), scan),
    known("keys", Class::Read, (2, 2), |words| {
        Ok(Step::read(Query::Keys { pattern: words.next()? }))
    }),
    known("dbsize", Class::Read, (1, 1), |_| Ok(Step::read(Query::DbSize))),
    known("randomkey", Class::Read, (1, 1), |_| {
        Ok(Step::read(Query::RandomKey { seed: super::sets::seed() }))
    }),
    known("flushdb", Class::Dangerous, (1, 2), flush),
    known("flushall", Class::Dangerous, (1, 2), flush),
];

fn ttl(words: &mut Words<'_>, form: TtlForm) -> Result<Parsed, CommandError> {
    Ok(Step::read(Query::Ttl { key: words.next()?, form }))
}

fn flush(words: &mut Words<'_>) -> Result<Parsed, CommandError> {
    // When the rows go from the disk is the sweep's business either way.
    let _either = words.take("SYNC") || words.take("ASYNC");
    Ok(Step::write(Op::FlushDb))
}

fn expire(
    words: &mut Words<'_>,
    name: &str,
    unit: i64,
    absolute: bool,
) -> Result<Parsed, CommandError> {
    let (key, time) = (words.next()?, words.next()?);
    // As in Redis, what is wrong with the options is said before what is wrong with the time.
    let when = expire_when(words)?;
    let refused = || CommandError::Expire(name.to_owned());
    let time = parse_int(&time).ok_or(CommandError::NotAnInteger)?;
    let millis = time.checked_mul(unit).ok_or_else(refused)?;
    // A time that has passed, or a negative one, deletes the key.
    let deadline = match u64::try_from(millis) {
        Ok(millis) if millis > EXPIRY_MAX.0 => return Err(refused()),
        Ok(millis) if absolute => Deadline::At(UnixMillis(millis)),
        Ok(millis) => Deadline::In(millis),
        Err(_) => Deadline::At(UnixMillis(0)),
    };
    Ok(Step::write(Op::Expire { key, deadline, when }))
}

fn expire_when(words: &mut Words<'_>) -> Result<ExpireWhen, CommandError> {
    let (mut absent, mut present, mut longer, mut shorter) = (false, false, false, false);
    while let Some(word) = words.peek() {
        let flag =
            [("NX", &mut absent), ("XX", &mut present), ("GT", &mut longer), ("LT", &mut shorter)]
                .into_iter()
                .find_map(|(name, flag)| words.take(name).then_some(flag));
        let unknown = || CommandError::Option(String::from_utf8_lossy(word).into_owned());
        *flag.ok_or_else(unknown)? = true;
    }
    match (absent, present, longer, shorter) {
        (false, false, false, false) => Ok(ExpireWhen::Always),
        (true, false, false, false) => Ok(ExpireWhen::Persistent),
        (false, true, false, false) => Ok(ExpireWhen::Volatile),
        (false, _, true, false) => Ok(ExpireWhen::Longer),
        (false, false, false, true) => Ok(ExpireWhen::Shorter),
        (false, true, false, true) => Ok(ExpireWhen::VolatileShorter),
        (true, ..) => Err(CommandError::Other(
            "NX and XX, GT or LT options at the same time are not compatible",
        )),
        (false, _, true, true) => {
            Err(CommandError::Other("GT and LT options at the same time are not compatible"))
        }
    }
}

fn scan(words: &mut Words<'_>) -> Result<Parsed, CommandError> {
    let mut parsed = page(words, ScanOf::Keys(None))?;
    if words.take("TYPE") {
        let name = words.next()?.to_ascii_lowercase();
        let kind = reply::parse_type_name(&name).ok_or(CommandError::Syntax)?;
        parsed.of = ScanOf::Keys(Some(kind));
        options(words, &mut parsed)?;
    }
    Ok(Parsed::Scan(parsed))
}

/// A cursor with `MATCH` and `COUNT`.
pub(super) fn page(words: &mut Words<'_>, of: ScanOf) -> Result<Scan, CommandError> {
    let cursor = words.next()?;
    let cursor = std::str::from_utf8(&cursor).ok().and_then(|text| text.parse().ok());
    let cursor = cursor.ok_or(CommandError::Other("invalid cursor"))?;
    let mut scan = Scan { cursor, pattern: None, count: 10, of };
    options(words, &mut scan)?;
    Ok(scan)
}

fn options(words: &mut Words<'_>, scan: &mut Scan) -> Result<(), CommandError> {
    loop {
        if words.take("MATCH") {
            scan.pattern = Some(words.next()?);
        } else if words.take("COUNT") {
            let count = usize::try_from(words.integer()?);
            scan.count = count.ok().filter(|count| *count > 0).ok_or(CommandError::Syntax)?;
        } else {
            return Ok(());
        }
    }
}
