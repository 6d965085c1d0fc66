//! Objectives as they are written: `served < 5s`.

use std::{fmt, time::Duration};

use rhumb_types::{ByteSize, Ratio, units::Spelled};

use super::Objective;
use crate::{
    prices::{self, MicroDollars},
    report::Value,
    text::{self, Bytes, Mistake, Mistakes, Percent, Source, Word},
};

pub(super) const NAMES: [&str; 28] = [
    "served",
    "owned",
    "detected",
    "gap",
    "failed",
    "slow",
    "stale",
    "exposed writes",
    "exposed",
    "load",
    "lag",
    "cost per hour",
    "jobs drained",
    "oldest job",
    "queue depth",
    "jobs repeated",
    "jobs refused",
    "jobs lost",
    "uploads failed",
    "uploads degraded",
    "upload time",
    "downloads failed",
    "read through",
    "objects at risk",
    "backlog",
    "converged",
    "late deletions",
    "link",
];

/// Reads texts as objectives, one per line.
///
/// `<` and `<=` are one for what is measured; of what is counted, `< 1` is none.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn parse(sources: &[Source<'_>]) -> Result<Vec<Objective>, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let mut objectives = Vec::new();
    for source in sources {
        for line in text::lines(*source, &mut mistakes) {
            objectives.extend(mistakes.keep(objective(&line)));
        }
    }
    mistakes.done(objectives)
}

fn objective(line: &Word<'_>) -> Result<Objective, Mistake> {
    let (name, bound, or_equal) = match (line.split_once("<="), line.split_once("<")) {
        (Some((name, bound)), _) => (name, bound, true),
        (None, Some((name, bound))) => (name, bound, false),
        _ => {
            let hint = "write a figure, `<` and its bound, such as `served < 5s`";
            return Err(line.mistake(format!("`{}` has no bound; {hint}", line.text)));
        }
    };
    let words: Vec<&str> = name.text.split_whitespace().collect();
    Ok(match words.join(" ").as_str() {
        "served" => Objective::Served(text::duration(&bound)?),
        "owned" => Objective::Owned(text::duration(&bound)?),
        "detected" => Objective::Detected(text::duration(&bound)?),
        "gap" => Objective::Gap(text::duration(&bound)?),
        "failed" => Objective::Failed(text::percent(&bound)?),
        "slow" => Objective::Slow(text::percent(&bound)?),
        "stale" => Objective::Stale(text::percent(&bound)?),
        "exposed writes" => Objective::ExposedWrites(count(&bound, or_equal)?),
        "exposed" => Objective::ExposedFor(text::duration(&bound)?),
        "load" => Objective::Load(text::percent(&bound)?),
        "lag" => Objective::Lag(text::duration(&bound)?),
        "cost per hour" => Objective::CostPerHour(dollars(&bound)?),
        "jobs drained" => Objective::JobsDrained(text::duration(&bound)?),
        "oldest job" => Objective::OldestJob(text::duration(&bound)?),
        "queue depth" => Objective::QueueDepth(count(&bound, or_equal)?),
        "jobs repeated" => Objective::JobsRepeated(count(&bound, or_equal)?),
        "jobs refused" => Objective::JobsRefused(count(&bound, or_equal)?),
        "jobs lost" => Objective::JobsLost(count(&bound, or_equal)?),
        "uploads failed" => Objective::UploadsFailed(text::percent(&bound)?),
        "uploads degraded" => Objective::UploadsDegraded(text::percent(&bound)?),
        "upload time" => Objective::UploadTime(text::duration(&bound)?),
        "downloads failed" => Objective::DownloadsFailed(text::percent(&bound)?),
        "read through" => Objective::ReadThrough(text::duration(&bound)?),
        "objects at risk" => Objective::ObjectsAtRisk(count(&bound, or_equal)?),
        "backlog" => Objective::Backlog(text::size(&bound)?),
        "converged" => Objective::Converged(text::duration(&bound)?),
        "late deletions" => Objective::LateDeletions(count(&bound, or_equal)?),
        "link" => Objective::Link(text::percent(&bound)?),
        other => return Err(unknown(&name, other)),
    })
}

fn unknown(name: &Word<'_>, found: &str) -> Mistake {
    let hint =
        if found.split(' ').any(|word| ["p50", "p95", "p99", "max", "failover"].contains(&word)) {
            "an objective holds in the worst run, so it has no percentile; write `served < 5s`"
                .to_owned()
        } else {
            text::hint(found, &NAMES)
        };
    name.mistake(format!("`{found}` is not a figure of a rehearsal; {hint}"))
}

fn count(bound: &Word<'_>, or_equal: bool) -> Result<u64, Mistake> {
    let number = bound.text.parse::<u64>().ok();
    let most = number.and_then(|it| if or_equal { Some(it) } else { it.checked_sub(1) });
    most.ok_or_else(|| {
        let hint = "write a whole number, such as `exposed writes < 1` for none";
        bound.mistake(format!("`{}` is no bound of a count; {hint}", bound.text))
    })
}

fn dollars(bound: &Word<'_>) -> Result<MicroDollars, Mistake> {
    let Some(number) = bound.text.strip_suffix("USD") else {
        let hint = if bound.text.parse::<f64>().is_ok() { bound.text } else { "3" };
        return Err(bound.mistake(format!("`{}` has no unit; write {hint} USD", bound.text)));
    };
    prices::dollars(&bound.part(0, number.len()))
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self.bound() {
            Value::Time(it) => write!(f, "{name} <= {}", Spelled(it.unwrap_or(Duration::MAX))),
            Value::Count(it) => write!(f, "{name} <= {it}"),
            Value::Bytes(it) => write!(f, "{name} <= {}", Bytes(ByteSize(it))),
            Value::Share(it) => write!(f, "{name} <= {}", Percent(Ratio::clamped(it))),
            Value::Dollars(it) => write!(f, "{name} <= {it} USD"),
        }
    }
}

impl Objective {
    /// The name of the figure.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Served(_) => "served",
            Self::Owned(_) => "owned",
            Self::Detected(_) => "detected",
            Self::Gap(_) => "gap",
            Self::Failed(_) => "failed",
            Self::Slow(_) => "slow",
            Self::Stale(_) => "stale",
            Self::ExposedWrites(_) => "exposed writes",
            Self::ExposedFor(_) => "exposed",
            Self::Load(_) => "load",
            Self::Lag(_) => "lag",
            Self::CostPerHour(_) => "cost per hour",
            Self::JobsDrained(_) => "jobs drained",
            Self::OldestJob(_) => "oldest job",
            Self::QueueDepth(_) => "queue depth",
            Self::JobsRepeated(_) => "jobs repeated",
            Self::JobsRefused(_) => "jobs refused",
            Self::JobsLost(_) => "jobs lost",
            Self::UploadsFailed(_) => "uploads failed",
            Self::UploadsDegraded(_) => "uploads degraded",
            Self::UploadTime(_) => "upload time",
            Self::DownloadsFailed(_) => "downloads failed",
            Self::ReadThrough(_) => "read through",
            Self::ObjectsAtRisk(_) => "objects at risk",
            Self::Backlog(_) => "backlog",
            Self::Converged(_) => "converged",
            Self::LateDeletions(_) => "late deletions",
            Self::Link(_) => "link",
        }
    }
}
