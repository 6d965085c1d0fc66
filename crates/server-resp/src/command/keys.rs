//! Keys whatever their type.

use rhumb_state::{
    Op, Query,
    op::{Deadline, ExpireWhen},
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
    known("expire", Class::Write, (3, 0), |words| expire(words, 1_000, false)),
    known("pexpire", Class::Write, (3, 0), |words| expire(words, 1, false)),
    known("expireat", Class::Write, (3, 0), |words| expire(words, 1_000, true)),
    known("pexpireat", Class::Write, (3, 0), |words| expire(words, 1, true)),
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

fn expire(words: &mut Words<'_>, unit: i64, absolute: bool) -> Result<Parsed, CommandError> {
    let key = words.next()?;
    let refused = || CommandError::Expire("expire".to_owned());
    let millis = words.integer()?.checked_mul(unit).ok_or_else(refused)?;
    // A time that has passed, or a negative one, deletes the key.
    let deadline = match u64::try_from(millis) {
        Ok(millis) if absolute => Deadline::At(UnixMillis(millis)),
        Ok(millis) => Deadline::In(millis),
        Err(_) => Deadline::At(UnixMillis(0)),
    };
    let (mut absent, mut present, mut longer, mut shorter) = (false, false, false, false);
    while words.left() > 0 {
        let flag =
            [("NX", &mut absent), ("XX", &mut present), ("GT", &mut longer), ("LT", &mut shorter)]
                .into_iter()
                .find_map(|(word, flag)| words.take(word).then_some(flag));
        *flag.ok_or(CommandError::Other("Unsupported option"))? = true;
    }
    let when = match (absent, present, longer, shorter) {
        (false, false, false, false) => ExpireWhen::Always,
        (true, false, false, false) => ExpireWhen::Persistent,
        (false, true, false, false) => ExpireWhen::Volatile,
        (false, _, true, false) => ExpireWhen::Longer,
        (false, false, false, true) => ExpireWhen::Shorter,
        (false, true, false, true) => ExpireWhen::VolatileShorter,
        (true, ..) => {
            let clash = "NX and XX, GT or LT options at the same time are not compatible";
            return Err(CommandError::Other(clash));
        }
        (false, _, true, true) => {
            return Err(CommandError::Other(
                "GT and LT options at the same time are not compatible",
            ));
        }
    };
    Ok(Step::write(Op::Expire { key, deadline, when }))
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
            scan.count = words.count()?.max(1);
        } else {
            return Ok(());
        }
    }
}
