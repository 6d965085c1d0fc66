//! Sorted sets.

use std::ops::Bound;

use bytes::Bytes;
use rhumb_state::{
    Choice, Op, Query,
    op::{Presence, ScoreWhen, ZAddWhen},
    query::{Limit, ZBounds, ZRange, parse_lex_bound, parse_score_bound},
    strong::StrongStep,
};

use super::{Class, CommandError, Known, Parsed, Reader, ScanOf, Shape, Step, Words, hashes, keys};

type Read = fn(&mut Words<'_>) -> Result<Parsed, CommandError>;

const fn read(name: &'static str, (least, most): (usize, usize), reader: Read) -> Known {
    Known { name, class: Class::Read, least, most, reader: Reader::State(reader) }
}

const fn write(name: &'static str, (least, most): (usize, usize), reader: Read) -> Known {
    Known { name, class: Class::Write, least, most, reader: Reader::State(reader) }
}

pub(super) const COMMANDS: [Known; 24] = [
    read("zscore", (3, 3), |words| {
        Ok(Step::read(Query::ZScore { key: words.next()?, member: words.next()? }))
    }),
    read("zmscore", (3, 0), |words| {
        Ok(Step::read(Query::ZMScore { key: words.next()?, members: words.rest()? }))
    }),
    read("zcard", (2, 2), |words| Ok(Step::read(Query::ZCard { key: words.next()? }))),
    read("zcount", (4, 4), |words| {
        let key = words.next()?;
        Ok(Step::read(Query::ZCount { key, bounds: score_bounds(words, false)? }))
    }),
    read("zlexcount", (4, 4), |words| {
        let key = words.next()?;
        Ok(Step::read(Query::ZCount { key, bounds: lex_bounds(words, false)? }))
    }),
    read("zrange", (4, 0), zrange),
    read("zrevrange", (4, 5), |words| {
        let key = words.next()?;
        let bounds = ZBounds::Index { start: words.integer()?, stop: words.integer()? };
        let scores = words.take("WITHSCORES");
        range(key, ZRange { bounds, reverse: true, limit: None }, scores)
    }),
    read("zrangebyscore", (4, 0), |words| by(words, score_bounds, false)),
    read("zrevrangebyscore", (4, 0), |words| by(words, score_bounds, true)),
    read("zrangebylex", (4, 0), |words| by(words, lex_bounds, false)),
    read("zrevrangebylex", (4, 0), |words| by(words, lex_bounds, true)),
    read("zrank", (3, 4), |words| rank(words, false)),
    read("zrevrank", (3, 4), |words| rank(words, true)),
    read("zscan", (3, 0), |words| {
        let key = words.next()?;
        Ok(Parsed::Scan(keys::page(words, ScanOf::SortedSet(key))?))
    }),
    read("zrandmember", (2, 4), |words| {
        let key = words.next()?;
        let (sample, scores) = hashes::sample(words, "WITHSCORES")?;
        let seed = super::sets::seed();
        Ok(Step::read(Query::ZRandMember { key, sample, scores, seed }))
    }),
    write("zadd", (4, 0), zadd),
    write("zincrby", (4, 4), |words| {
        let (key, by, member) = (words.next()?, words.float()?, words.next()?);
        Ok(Step::write(Op::ZIncrBy { key, member, by, when: ZAddWhen::default() }))
    }),
    write("zrem", (3, 0), |words| {
        Ok(Step::write(Op::ZRem { key: words.next()?, members: words.rest()? }))
    }),
    write("zpopmin", (2, 3), |words| pop(words, false)),
    write("zpopmax", (2, 3), |words| pop(words, true)),
    write("zremrangebyrank", (4, 4), |words| {
        let key = words.next()?;
        let bounds = ZBounds::Index { start: words.integer()?, stop: words.integer()? };
        Ok(Step::choose(Choice::ZRemRange { key, bounds }))
    }),
    write("zremrangebyscore", (4, 4), |words| {
        let key = words.next()?;
        let bounds = score_bounds(words, false)?;
        Ok(Step::choose(Choice::ZRemRange { key, bounds }))
    }),
    write("zremrangebylex", (4, 4), |words| {
        let key = words.next()?;
        let bounds = lex_bounds(words, false)?;
        Ok(Step::choose(Choice::ZRemRange { key, bounds }))
    }),
    read("zmpop", (1, 0), |_| {
        let why = "name the key and use ZPOPMIN or ZPOPMAX";
        Err(CommandError::Refused { name: "zmpop".to_owned(), why })
    }),
];

fn range(key: Bytes, range: ZRange, scores: bool) -> Result<Parsed, CommandError> {
    Ok(Step::read(Query::ZRange { key, range, scores }))
}

fn score_bounds(words: &mut Words<'_>, reverse: bool) -> Result<ZBounds, CommandError> {
    let mut bound = || -> Result<Bound<f64>, CommandError> {
        let word = words.next()?;
        parse_score_bound(&word).ok_or(CommandError::Other("min or max is not a float"))
    };
    let (first, second) = (bound()?, bound()?);
    let (min, max) = if reverse { (second, first) } else { (first, second) };
    Ok(ZBounds::Score { min, max })
}

fn lex_bounds(words: &mut Words<'_>, reverse: bool) -> Result<ZBounds, CommandError> {
    let mut bound = || {
        let word = words.next()?;
        parse_lex_bound(&word).ok_or(CommandError::Other("min or max not valid string range item"))
    };
    let (first, second) = (bound()?, bound()?);
    let (min, max) = if reverse { (second, first) } else { (first, second) };
    Ok(ZBounds::Lex { min, max })
}

fn limit(words: &mut Words<'_>) -> Result<Limit, CommandError> {
    Ok(Limit { offset: words.integer()?, count: words.integer()? })
}

/// The commands that have the kind of their bounds in their name.
fn by(
    words: &mut Words<'_>,
    bounds: fn(&mut Words<'_>, bool) -> Result<ZBounds, CommandError>,
    reverse: bool,
) -> Result<Parsed, CommandError> {
    let key = words.next()?;
    let bounds = bounds(words, reverse)?;
    let (mut scores, mut wanted) = (false, None);
    while words.left() > 0 {
        if words.take("WITHSCORES") {
            scores = true;
        } else if words.take("LIMIT") {
            wanted = Some(limit(words)?);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    range(key, ZRange { bounds, reverse, limit: wanted }, scores)
}

fn zrange(words: &mut Words<'_>) -> Result<Parsed, CommandError> {
    let (key, first, second) = (words.next()?, words.next()?, words.next()?);
    let (mut by_score, mut by_lex, mut reverse, mut scores) = (false, false, false, false);
    let mut wanted = None;
    while words.left() > 0 {
        if words.take("LIMIT") {
            wanted = Some(limit(words)?);
            continue;
        }
        let options = [
            ("BYSCORE", &mut by_score),
            ("BYLEX", &mut by_lex),
            ("REV", &mut reverse),
            ("WITHSCORES", &mut scores),
        ];
        let flag = options.into_iter().find_map(|(word, flag)| words.take(word).then_some(flag));
        *flag.ok_or(CommandError::Syntax)? = true;
    }
    let (low, high) = if reverse { (&second, &first) } else { (&first, &second) };
    let bounds = match (by_score, by_lex) {
        (true, true) => return Err(CommandError::Syntax),
        (true, false) => {
            let refused = CommandError::Other("min or max is not a float");
            let bound = |word: &Bytes| parse_score_bound(word).ok_or_else(|| refused.clone());
            ZBounds::Score { min: bound(low)?, max: bound(high)? }
        }
        (false, true) => {
            let refused = CommandError::Other("min or max not valid string range item");
            let bound = |word: &Bytes| parse_lex_bound(word).ok_or_else(|| refused.clone());
            ZBounds::Lex { min: bound(low)?, max: bound(high)? }
        }
        (false, false) => {
            let index = |word: &Bytes| {
                rhumb_state::number::parse_int(word).ok_or(CommandError::NotAnInteger)
            };
            ZBounds::Index { start: index(&first)?, stop: index(&second)? }
        }
    };
    range(key, ZRange { bounds, reverse, limit: wanted }, scores)
}

fn rank(words: &mut Words<'_>, reverse: bool) -> Result<Parsed, CommandError> {
    let (key, member) = (words.next()?, words.next()?);
    let score = words.take("WITHSCORE");
    Ok(Step::read(Query::ZRank { key, member, reverse, score }))
}

fn pop(words: &mut Words<'_>, highest: bool) -> Result<Parsed, CommandError> {
    let key = words.next()?;
    let count = if words.left() == 0 { 1 } else { words.count()? };
    Ok(Step::choose(Choice::ZPop { key, count, highest }))
}

fn zadd(words: &mut Words<'_>) -> Result<Parsed, CommandError> {
    let key = words.next()?;
    let (mut absent, mut present, mut greater, mut less) = (false, false, false, false);
    let (mut changed, mut incr) = (false, false);
    loop {
        let options = [
            ("NX", &mut absent),
            ("XX", &mut present),
            ("GT", &mut greater),
            ("LT", &mut less),
            ("CH", &mut changed),
            ("INCR", &mut incr),
        ];
        let flag = options.into_iter().find_map(|(word, flag)| words.take(word).then_some(flag));
        let Some(flag) = flag else { break };
        *flag = true;
    }
    if absent && present {
        return Err(CommandError::Other("XX and NX options at the same time are not compatible"));
    }
    if (greater && less) || (absent && (greater || less)) {
        let clash = "GT, LT, and/or NX options at the same time are not compatible";
        return Err(CommandError::Other(clash));
    }
    let presence = match (absent, present) {
        (true, _) => Presence::Absent,
        (_, true) => Presence::Present,
        _ => Presence::Any,
    };
    let score = match (greater, less) {
        (true, _) => ScoreWhen::Greater,
        (_, true) => ScoreWhen::Less,
        _ => ScoreWhen::Any,
    };
    let when = ZAddWhen { presence, score };
    if words.left() == 0 || words.left() % 2 == 1 {
        return Err(CommandError::Syntax);
    }
    let mut pairs = Vec::with_capacity(words.left() / 2);
    while words.left() > 0 {
        let score = words.float()?;
        pairs.push((words.next()?, score));
    }
    if !incr {
        return Ok(Step::write(Op::ZAdd { key, pairs, when, changed }));
    }
    match <[(Bytes, f64); 1]>::try_from(pairs) {
        Ok([(member, by)]) => {
            let op = Op::ZIncrBy { key, member, by, when };
            Ok(Parsed::Step(Step { what: StrongStep::Write(op), shape: Shape::Plain }))
        }
        Err(_) => Err(CommandError::Other("INCR option supports a single increment-element pair")),
    }
}
