//! Traffic from the options of a command line.

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::{AckLevel, Ratio, RegionId};

use super::Shape;
use crate::text::{self, Mistake, Mistakes, Source, Word};

/// More requests per second than this nobody has.
pub(super) const RATE_MAX: f64 = 1e9;
/// How long a day is, unless it is said.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// By how much shares may miss 100 %, for those that were rounded.
const ROUNDING: f64 = 1e-9;

const SHAPES: &str = "write 500, daily:50..500, daily:50..500/1h for a day of an hour, \
                      burst:100..2000@10m/5m, or the name of a file such as traffic.csv";
const ACKS: [(&str, AckLevel); 4] = [
    ("memory", AckLevel::Memory),
    ("local", AckLevel::Local),
    ("one_remote", AckLevel::OneRemote),
    ("quorum", AckLevel::Quorum),
];

/// Reads the shape of the traffic: `500`, `daily:50..500`, `burst:100..2000@10m/5m`.
///
/// # Errors
/// What is wrong with it.
pub fn shape(source: Source<'_>) -> Result<Shape, Vec<Mistake>> {
    only(source, SHAPES, |word| match word.split_once(":") {
        None => rate(word).map(Shape::Flat),
        Some((kind, rest)) if kind.text == "daily" => daily(&rest),
        Some((kind, rest)) if kind.text == "burst" => burst(&rest),
        Some((kind, _)) => {
            Err(kind.mistake(format!("`{}` is no shape of traffic; {SHAPES}", kind.text)))
        }
    })
}

/// Reads which share of the clients is nearest to which region: `us-east-1=60%,eu-west-1=40%`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn near(
    source: Source<'_>,
    regions: &[RegionId],
) -> Result<BTreeMap<RegionId, Ratio>, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let Some(line) = one_line(source, "write us-east-1=60%,eu-west-1=40%", &mut mistakes) else {
        return mistakes.done(BTreeMap::new());
    };
    let missing = "has no share; write a region=share, such as us-east-1=60%";
    let near = by_region(&line, regions, missing, text::percent, &mut mistakes);
    let sum: f64 = near.values().map(|share| share.get()).sum();
    let all = near.len() == regions.len();
    if sum > 1.0 + ROUNDING || (all && sum < 1.0 - ROUNDING) {
        let sum = (sum * 1e6).round() / 1e4;
        mistakes.add(line.mistake(format!(
            "the shares are {sum}% together; write 100%, or leave a region out, which gets the rest"
        )));
    }
    mistakes.done(near)
}

/// Reads an acknowledgement level: `local`.
///
/// # Errors
/// What is wrong with it.
pub fn ack(source: Source<'_>) -> Result<AckLevel, Vec<Mistake>> {
    only(source, "write `local`", level)
}

fn level(word: &Word<'_>) -> Result<AckLevel, Mistake> {
    let names = ACKS.map(|(name, _)| name);
    let found = ACKS.iter().find(|(name, _)| *name == word.text).map(|(_, level)| *level);
    found.ok_or_else(|| {
        let hint = text::hint(word.text, &names);
        word.mistake(format!("`{}` is no acknowledgement level; {hint}", word.text))
    })
}

/// Reads acknowledgement levels with the share of each: `local`, `local=90%,one_remote=10%`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn acks(source: Source<'_>) -> Result<Vec<(AckLevel, Ratio)>, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let Some(line) = one_line(source, "write `local`, or local=90%,one_remote=10%", &mut mistakes)
    else {
        return mistakes.done(Vec::new());
    };
    if !line.text.contains(['=', ',']) {
        let level = mistakes.keep(level(&line));
        return mistakes.done(level.map(|level| (level, Ratio::ONE)).into_iter().collect());
    }
    let mut acks: Vec<(AckLevel, Ratio)> = Vec::new();
    for part in line.split(',') {
        let Some((name, share)) = part.split_once("=") else {
            let missing = "has no share; write a level=share, such as local=90%";
            mistakes.add(part.mistake(format!("`{}` {missing}", part.text)));
            continue;
        };
        let (of, share) = (mistakes.keep(level(&name)), mistakes.keep(text::percent(&share)));
        let Some(ack) = of.zip(share) else { continue };
        if acks.iter().any(|(level, _)| *level == ack.0) {
            mistakes.add(name.mistake(format!("`{}` is named twice; name it once", name.text)));
        }
        acks.push(ack);
    }
    let sum: f64 = acks.iter().map(|(_, share)| share.get()).sum();
    if mistakes.is_empty() && (sum - 1.0).abs() > ROUNDING {
        let sum = (sum * 1e6).round() / 1e4;
        mistakes.add(line.mistake(format!("the shares are {sum}% together; write 100%")));
    }
    mistakes.done(acks)
}

/// Reads a share: `10%`.
///
/// # Errors
/// What is wrong with it.
pub fn share(source: Source<'_>) -> Result<Ratio, Vec<Mistake>> {
    only(source, "write a share, such as 10%", text::percent)
}

/// Reads how many requests a second each region serves: `us-east-1=500,eu-west-1=200`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn capacities(
    source: Source<'_>,
    regions: &[RegionId],
) -> Result<BTreeMap<RegionId, f64>, Vec<Mistake>> {
    let missing = "is no capacity; write region=requests per second, such as us-east-1=500";
    by_regions(source, regions, missing, rate)
}

/// Reads an option of `region=value,...`.
pub(crate) fn by_regions<T>(
    source: Source<'_>,
    regions: &[RegionId],
    missing: &str,
    read: fn(&Word<'_>) -> Result<T, Mistake>,
) -> Result<BTreeMap<RegionId, T>, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let Some(line) = one_line(source, "write us-east-1=500", &mut mistakes) else {
        return mistakes.done(BTreeMap::new());
    };
    let values = by_region(&line, regions, missing, read, &mut mistakes);
    mistakes.done(values)
}

/// Reads `region=value,...`, each region once.
fn by_region<T>(
    line: &Word<'_>,
    regions: &[RegionId],
    missing: &str,
    read: fn(&Word<'_>) -> Result<T, Mistake>,
    mistakes: &mut Mistakes,
) -> BTreeMap<RegionId, T> {
    let mut found = BTreeMap::new();
    for part in line.split(',') {
        let Some((name, value)) = part.split_once("=") else {
            mistakes.add(part.mistake(format!("`{}` {missing}", part.text)));
            continue;
        };
        let region = mistakes.keep(text::region(&name, regions));
        let value = mistakes.keep(read(&value));
        if let Some((region, value)) = region.zip(value)
            && found.insert(region, value).is_some()
        {
            mistakes.add(name.mistake(format!("`{}` is named twice; name it once", name.text)));
        }
    }
    found
}

pub(super) fn rate(word: &Word<'_>) -> Result<f64, Mistake> {
    text::positive(word, RATE_MAX, "a number of requests per second")
}

/// `50..500`, or `50..500/1h`.
fn daily(word: &Word<'_>) -> Result<Shape, Mistake> {
    let (range, day) = match word.split_once("/") {
        Some((range, day)) => (range, text::duration(&day)?),
        None => (*word, DAY),
    };
    let (least, most) = self::range(&range)?;
    if day < Duration::from_secs(1) {
        return Err(word.mistake("a day lasts a second at least; write 50..500/24h"));
    }
    Ok(Shape::Daily { least, most, day })
}

/// `100..2000@10m/5m`.
fn burst(word: &Word<'_>) -> Result<Shape, Mistake> {
    let wanted = "write when it comes and how long it lasts, as in burst:100..2000@10m/5m";
    let (range, when) = word.split_once("@").ok_or_else(|| word.mistake(wanted))?;
    let (at, lasting) = when.split_once("/").ok_or_else(|| when.mistake(wanted))?;
    let (base, burst) = self::range(&range)?;
    Ok(Shape::Burst { base, burst, at: text::duration(&at)?, lasting: text::duration(&lasting)? })
}

fn range(word: &Word<'_>) -> Result<(f64, f64), Mistake> {
    let wanted = "write the least and the most, such as 50..500";
    let (least, most) = word.split_once("..").ok_or_else(|| word.mistake(wanted))?;
    let (low, high) = (rate(&least)?, rate(&most)?);
    if low <= high {
        return Ok((low, high));
    }
    let message = format!("{} is more than {}; write the smaller one first", least.text, most.text);
    Err(least.mistake(message))
}

/// The only line of an option's value.
fn one_line<'a>(source: Source<'a>, wanted: &str, mistakes: &mut Mistakes) -> Option<Word<'a>> {
    let lines = text::lines(source, mistakes);
    match lines.as_slice() {
        [line] => return Some(*line),
        [] => mistakes.add(Mistake {
            place: text::Place { source: source.name.to_owned(), line: 1, column: 1 },
            message: format!("this is empty; {wanted}"),
        }),
        [_, second, ..] => mistakes.add(second.mistake("this is a second line; write one")),
    }
    None
}

pub(crate) fn only<T>(
    source: Source<'_>,
    wanted: &str,
    read: impl FnOnce(&Word<'_>) -> Result<T, Mistake>,
) -> Result<T, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let line = one_line(source, wanted, &mut mistakes);
    match line.and_then(|line| mistakes.keep(read(&line))) {
        Some(read) => Ok(read),
        // Without a value there is at least one mistake.
        None => Err(mistakes.done(()).err().unwrap_or_default()),
    }
}
