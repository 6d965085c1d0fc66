//! What became of objects, on the page and in words.

use std::fmt::{self, Write};

use super::escape;
use crate::{
    outcome::{ObjectsOutcome, Times},
    report::{Findings, Spread, Value, shown},
};

/// The section of the page; nothing of a rehearsal without objects.
pub(super) fn section(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    let Some(objects) = findings.report.objects() else { return Ok(()) };
    write!(page, "<section><h2>Objects</h2><dl>")?;
    for (term, words) in object_lines(&objects) {
        write!(page, "<dt>{term}</dt><dd>{words}</dd>")?;
    }
    write!(
        page,
        "</dl><table><thead><tr><th>From</th><th>To</th><th class=\"n\">Per run</th>\
         <th class=\"n\">Cost per run</th><th class=\"n\">Busiest</th>\
         <th class=\"n\">Full for</th></tr></thead><tbody>"
    )?;
    for row in link_rows(findings, &objects) {
        let [from, to, cells @ ..] = row;
        write!(page, "<tr><td>{}</td><td>{}</td>", escape(&from), escape(&to))?;
        for cell in cells {
            write!(page, "<td class=\"n\">{cell}</td>")?;
        }
        write!(page, "</tr>")?;
    }
    write!(
        page,
        "</tbody></table><p class=\"hint\">Objects of all runs; of what has a most, the most of any. \
         The busiest ten seconds of a link, by its bandwidth.</p></section>"
    )
}

/// Each direction of each link: its ends, bytes of objects and their cost in a run, the most of it that was
/// in use, and for how long it was full.
#[must_use]
pub fn link_rows(findings: &Findings<'_>, objects: &ObjectsOutcome) -> Vec<[String; 6]> {
    let runs = u64::try_from(findings.report.runs.len()).unwrap_or(1).max(1);
    let row = |(ends, link): (&String, &crate::outcome::LinkOutcome)| {
        let (from, to) = ends.split_once('>').unwrap_or((ends.as_str(), ""));
        let mut cost = link.cost;
        cost.0 /= runs;
        [
            from.to_owned(),
            to.to_owned(),
            shown::bytes(link.bytes / runs),
            shown::dollars(cost),
            shown::share(link.busy_max),
            shown::time(link.full),
        ]
    };
    objects.links.iter().map(row).collect()
}

fn times(times: &Times) -> Option<String> {
    let [middle, slow] = [0.5, 0.99].map(|share| times.percentile(share).map(shown::time));
    let longest = times.max.map(shown::time);
    Some(format!("p50 {}, p99 {}, at most {}", middle?, slow?, longest?))
}

/// What became of objects, in words: each a term and a figure.
#[must_use]
pub fn object_lines(objects: &ObjectsOutcome) -> Vec<(&'static str, String)> {
    let counts = &objects.counts;
    let share = |part: u64, whole: u64| {
        format!("{} ({})", shown::count(part), shown::share(part as f64 / whole.max(1) as f64))
    };
    let mut lines = vec![
        ("Uploads", format!("{}, {}", shown::count(counts.uploads), shown::bytes(counts.bytes))),
        ("Acknowledged", share(counts.acknowledged, counts.uploads)),
        ("Failed", share(counts.failed, counts.uploads)),
        ("Degraded", share(counts.degraded, counts.acknowledged)),
        ("Gone on in another region", share(counts.moved, counts.acknowledged)),
    ];
    lines.extend(times(&objects.times.uploads).map(|times| ("Upload", times)));
    if !objects.at_risk.is_empty() {
        let risk = objects.risk();
        let (count, bytes) = (shown::count(risk.objects), shown::bytes(risk.bytes));
        let words = match risk.objects {
            0 => count,
            _ => format!("{count}, {bytes}, the oldest {} old", shown::time(risk.oldest)),
        };
        lines.push(("At risk as a region failed", words));
    }
    let (most, end) = (shown::bytes(objects.backlog_max), shown::bytes(objects.backlog_end));
    lines.push(("To be copied", format!("at most {most}, {end} at the end")));
    let converged = Spread::of(objects.converged.iter().copied());
    if !converged.is_empty() {
        let [middle, longest] =
            [50, 100].map(|percent| Value::Time(converged.percentile(percent)).shown());
        lines.push(("Converged after a fault was over", format!("{middle}, at worst {longest}")));
    }
    if counts.downloads > 0 {
        lines.push(("Downloads", shown::count(counts.downloads)));
        lines.push(("Downloads failed", share(counts.downloads_failed, counts.downloads)));
        lines.push(("Found nothing", share(counts.missed, counts.downloads)));
        lines.push(("Read through", share(counts.through, counts.downloads)));
        lines.extend(times(&objects.times.reads).map(|times| ("Download", times)));
        lines.extend(times(&objects.times.through).map(|times| ("Download read through", times)));
    }
    if counts.deletes > 0 {
        lines.push(("Deletions", shown::count(counts.deletes)));
        let late = counts.deletes_late + counts.fading;
        lines.push(("Late somewhere", share(late, counts.deletes)));
        lines.push(("Read after it was deleted", share(counts.ghosts, counts.downloads)));
        lines.extend(times(&objects.times.deletes).map(|times| ("Deleted everywhere", times)));
    }
    if counts.lost > 0 {
        lines.push(("Lost", shown::count(counts.lost)));
    }
    lines
}
