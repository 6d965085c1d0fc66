//! A rehearsal as one HTML page that needs nothing else: no network, no fonts, no libraries.
//!
//! The plots are SVG, drawn here, so that the page is complete without its script; that only shows
//! the values under the pointer. Colours are those of Okabe and Ito ("Color Universal Design", 2008),
//! which people with any kind of colour vision can tell apart; no colour is the only carrier of
//! anything.

mod charts;
mod histogram;
mod objects;
mod plot;
mod scale;
#[cfg(test)]
mod tests;

pub use self::objects::{link_rows, object_lines};

use std::fmt::{self, Write};

use crate::{
    outcome::JobsOutcome,
    report::{Findings, Spread, Value, shown},
};

/// The page's style.
const STYLE: &str = include_str!("html/page.css");
/// What shows the values under the pointer.
const SCRIPT: &str = include_str!("html/page.js");

/// The page.
#[must_use]
pub fn page(findings: &Findings<'_>) -> String {
    let mut page = String::with_capacity(1 << 18);
    // Writing to a string does not fail.
    let _infallible = write(&mut page, findings);
    page
}

fn write(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    let verdict = if findings.passed() { "passed" } else { "failed" };
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\
         <title>Rehearsal {verdict}</title><style>{STYLE}</style></head><body><main>"
    )?;
    summary(page, findings)?;
    objectives(page, findings)?;
    faults(page, findings)?;
    charts::section(page, findings)?;
    regions(page, findings)?;
    jobs(page, findings)?;
    objects::section(page, findings)?;
    egress(page, findings)?;
    reproduce(page, findings)?;
    writeln!(page, "</main><script>{SCRIPT}</script></body></html>")
}

fn summary(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    let (mark, word, class) = if findings.passed() {
        ("\u{2713}", "Passed", "good")
    } else {
        ("\u{2717}", "Failed", "bad")
    };
    let regions: Vec<String> =
        findings.report.regions().keys().map(|region| escape(region.as_str())).collect();
    write!(
        page,
        "<header><h1>Rehearsal of an outage</h1>\
         <p class=\"verdict {class}\"><span aria-hidden=\"true\">{mark}</span> {word}</p>\
         <p>{}</p></header>",
        regions.join(", "),
    )?;
    write!(page, "<section class=\"tiles\" aria-label=\"Summary\">")?;
    let figures = findings.report.figures(findings.rehearsal);
    for (name, label) in [
        ("served_max_ms", "until clients were served again, at worst"),
        ("gap_max_ms", "longest time that a group of clients had no answer"),
        ("failed_share", "of requests failed"),
        ("stale_share", "of requests read stale values"),
        ("exposed_writes_max_count", "acknowledged writes in one region only"),
        ("cost_per_hour_max_usd", "per hour, nodes and traffic"),
        ("job_oldest_max_ms", "that a job waited at most"),
        ("jobs_repeated_count", "executions of jobs that had been executed before"),
        ("uploads_failed_count", "uploads that no region took"),
        ("objects_at_risk_max_count", "objects in the lost region only"),
        ("backlog_max_bytes", "to be copied at most"),
        ("converged_max_ms", "until all copies were made, at worst"),
    ] {
        if let Some(figure) = figures.iter().find(|figure| figure.name == name) {
            let value = figure.value.shown();
            write!(page, "<div class=\"tile\"><b>{value}</b><span>{label}</span></div>")?;
        }
    }
    write!(page, "</section>")?;
    write!(page, "<dl>")?;
    for (term, words) in findings.setting() {
        write!(page, "<dt>{term}</dt><dd>{}</dd>", escape(&words))?;
    }
    write!(page, "</dl>")?;
    for (seed, violation) in findings.violations() {
        let violation = escape(violation);
        write!(page, "<p class=\"bad\">A promise did not hold, in seed {seed}: {violation}</p>")?;
    }
    if !findings.notes.is_empty() {
        write!(page, "<ul class=\"notes\">")?;
        for note in &findings.notes {
            write!(page, "<li>{}</li>", escape(note))?;
        }
        write!(page, "</ul>")?;
    }
    Ok(())
}

fn objectives(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    write!(page, "<section><h2>Objectives</h2>")?;
    if findings.verdicts.is_empty() {
        return write!(page, "<p>None were given.</p></section>");
    }
    write!(
        page,
        "<table><thead><tr><th>Objective</th><th>Result</th><th class=\"n\">Worst run</th>\
         <th class=\"n\">Seed</th></tr></thead><tbody>"
    )?;
    for verdict in &findings.verdicts {
        let (class, word) =
            if verdict.held { ("good", "\u{2713} held") } else { ("bad", "\u{2717} missed") };
        write!(
            page,
            "<tr><td>{}</td><td class=\"{class}\">{word}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td></tr>",
            escape(&verdict.objective.to_string()),
            verdict.worst.shown(),
            verdict.seed.map_or_else(String::new, |seed| seed.to_string()),
        )?;
    }
    write!(page, "</tbody></table></section>")
}

fn faults(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    write!(page, "<section><h2>Faults</h2>")?;
    let faults = findings.faults();
    if faults.is_empty() {
        return write!(page, "<p>Nothing went wrong in this rehearsal.</p></section>");
    }
    write!(
        page,
        "<table><thead><tr><th class=\"n\">No.</th><th>Fault</th><th class=\"n\">Detected</th>\
         <th class=\"n\">Lease taken over</th><th class=\"n\">Served again</th>\
         <th class=\"n\">Longest gap</th><th class=\"n\">Exposed writes</th></tr></thead><tbody>"
    )?;
    for (fault, nth) in faults.iter().zip(1..) {
        // Of what is no loss of a region nobody need know, and nothing is taken over.
        let of_loss = |it: &Spread| {
            let none = it.times().is_empty() && !fault.is_loss;
            if none { "\u{2013}".to_owned() } else { spread(it) }
        };
        write!(
            page,
            "<tr><td class=\"n\">{nth}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(&fault.fault),
            of_loss(&fault.detected),
            of_loss(&fault.owned),
            spread(&fault.served),
            spread(&fault.gap),
            shown::count(fault.exposed_writes_max),
        )?;
    }
    write!(
        page,
        "</tbody></table><p class=\"hint\">Times from the fault on: the median of all runs, and the \
         worst; never: not before the next fault or the end. Exposed writes are acknowledged and were in no other region when the fault came; \
         they come back with the disk.</p></section>"
    )
}

/// The median and the worst.
fn spread(spread: &Spread) -> String {
    let shown = |percent| Value::Time(spread.percentile(percent)).shown();
    if spread.times().is_empty() {
        return "never".to_owned();
    }
    let worst = spread.max().map_or_else(
        || format!("never in {} of {}", spread.never, spread.never + spread.times().len()),
        |worst| Value::Time(Some(worst)).shown(),
    );
    let median = shown(50);
    if median == worst { worst } else { format!("{median}<br><small>{worst}</small>") }
}

fn regions(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    let regions = findings.report.regions();
    let all: u64 = regions.values().map(|region| region.served).sum();
    let part = |of: u64, whole: u64| match whole {
        0 => "0%".to_owned(),
        whole => shown::share(of as f64 / whole as f64),
    };
    write!(
        page,
        "<section><h2>Regions</h2><table><thead><tr><th>Region</th><th class=\"n\">Requests served</th>\
         <th class=\"n\">Share</th><th class=\"n\">Of clients nearer to another</th>\
         <th class=\"n\">Refused</th><th class=\"n\">Highest load</th></tr></thead><tbody>"
    )?;
    for (region, of) in regions {
        let class = if of.load_max > 1.0 { "n bad" } else { "n" };
        write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"{class}\">{}</td></tr>",
            escape(region.as_str()),
            shown::count(of.served),
            part(of.served, all),
            part(of.spilled, of.served),
            shown::count(of.refused),
            shown::share(of.load_max),
        )?;
    }
    write!(
        page,
        "</tbody></table><p class=\"hint\">Requests of all runs. Above a load of 100% a queue \
         grows, and what waits too long is refused.</p></section>"
    )
}

fn jobs(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    let Some(jobs) = findings.report.jobs() else { return Ok(()) };
    write!(page, "<section><h2>Jobs</h2><dl>")?;
    for (term, words) in job_lines(&jobs) {
        write!(page, "<dt>{term}</dt><dd>{words}</dd>")?;
    }
    write!(
        page,
        "</dl><table><thead><tr><th>Region</th><th class=\"n\">Executions</th>\
         <th class=\"n\">Sent here</th><th class=\"n\">Most waiting</th>\
         <th class=\"n\">Most busy</th><th class=\"n\">Workers</th></tr></thead><tbody>"
    )?;
    for (region, of) in &jobs.regions {
        let class = if of.busy_max >= of.workers { "n bad" } else { "n" };
        write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"{class}\">{}</td><td class=\"n\">{}</td></tr>",
            escape(region.as_str()),
            shown::count(of.ran),
            shown::count(of.spilled_here),
            shown::count(of.depth_max),
            shown::count(of.busy_max),
            shown::count(of.workers),
        )?;
    }
    write!(
        page,
        "</tbody></table><p class=\"hint\">Jobs of all runs; of what has a most, the most of any. \
         Jobs have no keys: one that its producer sent again is executed again.</p></section>"
    )
}

/// What became of jobs, in words: each a term and a figure.
#[must_use]
pub fn job_lines(jobs: &JobsOutcome) -> Vec<(&'static str, String)> {
    let counts = &jobs.counts;
    let share = |part: u64, whole: u64| {
        format!("{} ({})", shown::count(part), shown::share(part as f64 / whole.max(1) as f64))
    };
    let drained = Spread::of(jobs.drained.iter().copied());
    let mut lines = vec![
        ("Taken in", shown::count(counts.taken)),
        ("Refused", share(counts.refused, counts.offered)),
        ("Sent to another region", share(counts.spilled, counts.taken)),
        ("Done", shown::count(counts.done)),
        ("Executed again", share(counts.repeated, counts.taken)),
        ("Left at the end", shown::count(counts.left)),
        ("In regions that are gone", shown::count(counts.away)),
        ("Lost", shown::count(counts.lost)),
        ("Most waiting", shown::count(jobs.depth_max)),
        ("Oldest", shown::time(jobs.oldest_max)),
    ];
    if !drained.is_empty() {
        let times = [50, 100].map(|percent| Value::Time(drained.percentile(percent)).shown());
        lines.push(("Drained after a fault", format!("{}, at worst {}", times[0], times[1])));
    }
    lines
}

fn egress(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    let egress = findings.report.egress();
    let runs = u64::try_from(findings.report.runs.len()).unwrap_or(1).max(1);
    write!(
        page,
        "<section><h2>Traffic between regions</h2><table><thead><tr><th>From</th><th>To</th>\
         <th class=\"n\">Per run</th></tr></thead><tbody>"
    )?;
    for (pair, bytes) in egress {
        let (from, to) = pair.split_once('>').unwrap_or((pair, ""));
        let bytes = shown::bytes(bytes / runs);
        let (from, to) = (escape(from), escape(to));
        write!(page, "<tr><td>{from}</td><td>{to}</td><td class=\"n\">{bytes}</td></tr>")?;
    }
    write!(page, "</tbody></table></section>")
}

fn reproduce(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    write!(
        page,
        "<section><h2>Again</h2><pre><code>{}</code></pre><p class=\"hint\">The same version, \
         files and seeds give the same figures. These are predictions of a \
         simulation of the shipped code, not measurements.</p></section>",
        escape(&findings.command),
    )
}

/// A text in HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
