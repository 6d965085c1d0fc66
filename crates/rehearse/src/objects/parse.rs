//! Objects from the options of a command line.

use std::collections::BTreeMap;

use rhumb_types::{ByteSize, RegionId, record::Replication};

use super::{OBJECT_BYTES_MAX, PART_BYTES_MAX, Sizes};
use crate::{
    extent,
    text::{self, Mistake, Mistakes, Source, Word},
    traffic,
};

const SIZES: &str = "write 4MiB, 64KiB..64MiB, or about:8MiB for an average";
const RATES: &str = "write a data rate, such as 80Mbps or 10MB/s";
const LINKS: &str = "write 80Mbps, `us-east-1 - eu-west-1=80Mbps` or, one way, \
                     `us-east-1 -> eu-west-1=80Mbps`";
/// The shortest part but the last; the bound of S3.
const PART_BYTES_MIN: u64 = 5 << 20;

/// Units of data rates: how many bytes per second each is. Of bits there are eight in a byte.
const RATE_UNITS: [(&str, u64); 6] = [
    ("Kbps", 125),
    ("Mbps", 125_000),
    ("Gbps", 125_000_000),
    ("KB/s", 1_000),
    ("MB/s", 1_000_000),
    ("GB/s", 1_000_000_000),
];
/// The widest link, in bytes per second: 10 Tbps.
const RATE_MAX: u64 = 1_250_000_000_000;

const REPLICATIONS: [(&str, Replication); 3] = [
    ("regional", Replication::Regional),
    ("async", Replication::Async),
    ("active_active", Replication::ActiveActive),
];

/// Reads how long objects are: `4MiB`, `64KiB..64MiB`, `about:8MiB`.
///
/// # Errors
/// What is wrong with it.
pub fn sizes(source: Source<'_>) -> Result<Sizes, Vec<Mistake>> {
    extent::read(source, SIZES, size)
}

fn size(word: &Word<'_>) -> Result<ByteSize, Mistake> {
    let size = text::size(word)?;
    if (1..=OBJECT_BYTES_MAX).contains(&size.0) {
        return Ok(size);
    }
    let most = ByteSize(OBJECT_BYTES_MAX);
    Err(word.mistake(format!("`{}` is no length of an object; write 1B to {most}", word.text)))
}

/// Reads how long parts are: `8MiB`; gives bytes.
///
/// # Errors
/// What is wrong with it.
pub fn part(source: Source<'_>) -> Result<u64, Vec<Mistake>> {
    traffic::only(source, "write 8MiB", |word| {
        let part = size(word)?;
        if (PART_BYTES_MIN..=PART_BYTES_MAX).contains(&part.0) {
            return Ok(part.0);
        }
        Err(word.mistake(format!("`{}` is no length of a part; write 5MiB to 16MiB", word.text)))
    })
}

/// Reads a replication policy: `async`.
///
/// # Errors
/// What is wrong with it.
pub fn replication(source: Source<'_>) -> Result<Replication, Vec<Mistake>> {
    traffic::only(source, "write `async`", |word| {
        let found = REPLICATIONS.iter().find(|(name, _)| *name == word.text);
        found.map(|(_, replication)| *replication).ok_or_else(|| {
            let hint = text::hint(word.text, &REPLICATIONS.map(|(name, _)| name));
            word.mistake(format!("`{}` is no replication; {hint}", word.text))
        })
    })
}

/// Reads a data rate: `80Mbps`, `10MB/s`; gives bytes per second.
///
/// # Errors
/// What is wrong with it.
pub fn bytes_per_second(source: Source<'_>) -> Result<u64, Vec<Mistake>> {
    traffic::only(source, RATES, rate)
}

fn rate(word: &Word<'_>) -> Result<u64, Mistake> {
    let number = RATE_UNITS.iter().find_map(|(unit, bytes)| {
        let digits = word.text.strip_suffix(unit)?.trim_end();
        digits.parse::<u64>().ok()?.checked_mul(*bytes)
    });
    let number = number.filter(|bytes| (1..=RATE_MAX).contains(bytes));
    number.ok_or_else(|| {
        if !word.text.is_empty() && word.text.bytes().all(|byte| byte.is_ascii_digit()) {
            return word.mistake(format!("`{0}` has no unit; write {0}Mbps or {0}MB/s", word.text));
        }
        word.mistake(format!("`{}` is not a data rate; {RATES}", word.text))
    })
}

/// Reads how wide links are: `80Mbps` for all of them, or some by their ends. Links that are not named
/// keep what they have.
///
/// # Errors
/// Everything that is wrong with it.
pub fn bandwidths(
    source: Source<'_>,
    regions: &[RegionId],
) -> Result<BTreeMap<(RegionId, RegionId), u64>, Vec<Mistake>> {
    if !source.text.contains('=') {
        let all = traffic::only(source, LINKS, rate)?;
        let to = |from: &RegionId| {
            let others: Vec<RegionId> = regions.iter().filter(|to| *to != from).cloned().collect();
            let from = from.clone();
            others.into_iter().map(move |to| ((from.clone(), to), all))
        };
        return Ok(regions.iter().flat_map(to).collect());
    }
    let mut mistakes = Mistakes::default();
    let mut links = BTreeMap::new();
    for line in text::lines(source, &mut mistakes) {
        for part in line.split(',') {
            for (link, width) in mistakes.keep(link(&part, regions)).unwrap_or_default() {
                if links.insert(link, width).is_some() {
                    mistakes.add(part.mistake("this link is named twice; name it once"));
                }
            }
        }
    }
    mistakes.done(links)
}

/// One link, in one direction or both, with its width.
type Links = Vec<((RegionId, RegionId), u64)>;

fn link(part: &Word<'_>, regions: &[RegionId]) -> Result<Links, Mistake> {
    let Some((ends, width)) = part.split_once("=") else {
        return Err(part.mistake(format!("`{}` has no width; {LINKS}", part.text)));
    };
    let one_way = ends.split_once(" -> ");
    let Some((from, to)) = one_way.or_else(|| ends.split_once(" - ")) else {
        return Err(ends.mistake(format!("`{}` is no link; {LINKS}", ends.text)));
    };
    let (a, b) = (text::region(&from, regions)?, text::region(&to, regions)?);
    if a == b {
        return Err(to.mistake(format!("a link has two ends, and both are {a}")));
    }
    let width = rate(&width)?;
    let back = one_way.is_none().then(|| ((b.clone(), a.clone()), width));
    Ok([((a, b), width)].into_iter().chain(back).collect())
}
