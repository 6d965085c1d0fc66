//! Sorted sets.

use bytes::Bytes;
use rhumb_state::{
    Choice, Op, Query,
    number::parse_int,
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
        Ok(Step::read(Query::ZCount { key, bounds: score_bounds(words)? }))
    }),
    read("zlexcount", (4, 4), |words| {
        let key = words.next()?;
        Ok(Step::read(Query::ZCount { key, bounds: lex_bounds(words)? }))
    }),
    read("zrange", (4, 0), |words| range(words, None, None)),
    read("zrevrange", (4, 0), |words| range(words, Some(true), Some(By::Index))),
    read("zrangebyscore", (4, 0), |words| range(words, Some(false), Some(By::Score))),
    read("zrevrangebyscore", (4, 0), |words| range(words, Some(true), Some(By::Score))),
    read("zrangebylex", (4, 0), |words| range(words, Some(false), Some(By::Lex))),
    read("zrevrangebylex", (4, 0), |words| range(words, Some(true), Some(By::Lex))),
    read("zrank", (3, 4), |words| rank(words, false)),
    read("zrevrank", (3, 4), |words| rank(words, true)),
    read("zscan", (3, 0), |words| {
        let key = words.next()?;
        Ok(Parsed::Scan(keys::page(words, ScanOf::SortedSet(key))?))
    }),
    read("zrandmember", (2, 0), |words| {
        let key = words.next()?;
        let (sample, scores) = hashes::sample(words, Some("WITHSCORES"))?;
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
    write("zpopmin", (2, 0), |words| pop(words, false)),
    write("zpopmax", (2, 0), |words| pop(words, true)),
    write("zremrangebyrank", (4, 4), |words| {
        let key = words.next()?;
        let bounds = ZBounds::Index { start: words.integer()?, stop: words.integer()? };
        Ok(Step::choose(Choice::ZRemRange { key, bounds }))
    }),
    write("zremrangebyscore", (4, 4), |words| {
        let key = words.next()?;
        let bounds = score_bounds(words)?;
        Ok(Step::choose(Choice::ZRemRange { key, bounds }))
    }),
    write("zremrangebylex", (4, 4), |words| {
        let key = words.next()?;
        let bounds = lex_bounds(words)?;
        Ok(Step::choose(Choice::ZRemRange { key, bounds }))
    }),
    read("zmpop", (1, 0), |_| {
        let why = "name the key and use ZPOPMIN or ZPOPMAX";
        Err(CommandError::Refused { name: "zmpop".to_owned(), why })
    }),
];

fn score_bounds(words: &mut Words<'_>) -> Result<ZBounds, CommandError> {
    bounds(By::Score, words.next()?, words.next()?)
}

fn lex_bounds(words: &mut Words<'_>) -> Result<ZBounds, CommandError> {
    bounds(By::Lex, words.next()?, words.next()?)
}

/// What the bounds of a range are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Index,
    Score,
    Lex,
}

fn bounds(by: By, low: Bytes, high: Bytes) -> Result<ZBounds, CommandError> {
    Ok(match by {
        By::Index => {
            let index = |word: &Bytes| parse_int(word).ok_or(CommandError::NotAnInteger);
            ZBounds::Index { start: index(&low)?, stop: index(&high)? }
        }
        By::Score => {
            let refused = CommandError::Other("min or max is not a float");
            let bound = |word: &Bytes| parse_score_bound(word).ok_or_else(|| refused.clone());
            ZBounds::Score { min: bound(&low)?, max: bound(&high)? }
        }
        By::Lex => {
            let refused = CommandError::Other("min or max not valid string range item");
            let bound = |word: &Bytes| parse_lex_bound(word).ok_or_else(|| refused.clone());
            ZBounds::Lex { min: bound(&low)?, max: bound(&high)? }
        }
    })
}

/// `ZRANGE`, and its older names, which fix the direction and what the bounds are. As in Redis,
/// the options are read before the bounds, and one that was given already is one too many.
fn range(
    words: &mut Words<'_>,
    mut reverse: Option<bool>,
    mut by: Option<By>,
) -> Result<Parsed, CommandError> {
    let (key, first, second) = (words.next()?, words.next()?, words.next()?);
    let (mut scores, mut limit) = (false, None);
    while words.left() > 0 {
        if words.take("WITHSCORES") {
            scores = true;
        } else if words.left() > 2 && words.take("LIMIT") {
            limit = Some(Limit { offset: words.integer()?, count: words.integer()? });
        } else if reverse.is_none() && words.take("REV") {
            reverse = Some(true);
        } else if by.is_none() && words.take("BYLEX") {
            by = Some(By::Lex);
        } else if by.is_none() && words.take("BYSCORE") {
            by = Some(By::Score);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let (reverse, by) = (reverse.unwrap_or(false), by.unwrap_or(By::Index));
    if by == By::Index {
        // A limit to everything is none.
        limit = limit.filter(|limit| limit.count != -1);
        if limit.is_some() {
            return Err(CommandError::Other(LIMIT_BY_INDEX));
        }
    }
    if scores && by == By::Lex {
        return Err(CommandError::Other(SCORES_BY_LEX));
    }
    let turned = reverse && by != By::Index;
    let (low, high) = if turned { (second, first) } else { (first, second) };
    let range = ZRange { bounds: bounds(by, low, high)?, reverse, limit };
    Ok(Step::read(Query::ZRange { key, range, scores }))
}

const LIMIT_BY_INDEX: &str =
    "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
const SCORES_BY_LEX: &str = "syntax error, WITHSCORES not supported in combination with BYLEX";

fn rank(words: &mut Words<'_>, reverse: bool) -> Result<Parsed, CommandError> {
    let (key, member) = (words.next()?, words.next()?);
    let score = words.take("WITHSCORE");
    Ok(Step::read(Query::ZRank { key, member, reverse, score }))
}

fn pop(words: &mut Words<'_>, highest: bool) -> Result<Parsed, CommandError> {
    let key = words.next()?;
    if words.left() > 1 {
        return Err(CommandError::Syntax);
    }
    let one = words.left() == 0;
    let count = if one { 1 } else { words.count()? };
    let what = StrongStep::Choose(Choice::ZPop { key, count, highest });
    let shape = if one { Shape::Only } else { Shape::Plain };
    Ok(Parsed::Step(Step { what, shape }))
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
    if words.left() == 0 || words.left() % 2 == 1 {
        return Err(CommandError::Syntax);
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
    if incr && words.left() > 2 {
        return Err(CommandError::Other("INCR option supports a single increment-element pair"));
    }
    let mut pairs = Vec::with_capacity(words.left() / 2);
    while words.left() > 0 {
        let score = words.float()?;
        pairs.push((words.next()?, score));
    }
    Ok(match pairs.pop() {
        Some((member, by)) if incr => Step::write(Op::ZIncrBy { key, member, by, when }),
        last => {
            pairs.extend(last);
            Step::write(Op::ZAdd { key, pairs, when, changed })
        }
    })
}
