//! What came of a rehearsal, for people.

use rhumb_rehearse::{
    html::{job_lines, link_rows, object_lines},
    report::{FaultSpread, Findings, Spread, Value, shown},
};

use crate::table::table;

/// The whole report.
pub(super) fn lines(findings: &Findings<'_>) -> Vec<String> {
    let setting: Vec<[String; 2]> =
        findings.setting().into_iter().map(|(term, words)| [format!("{term}:"), words]).collect();
    let mut lines = table(["", ""], &setting).split_off(1);
    lines.extend(findings.notes.iter().map(|note| format!("note: {note}")));
    for fault in findings.faults() {
        lines.extend([String::new(), fault.fault.clone()]);
        lines.extend(indented(faults(&fault)));
    }
    let parts = [
        ("requests", requests(findings)),
        ("regions", regions(findings)),
        ("jobs", jobs(findings)),
        ("objects", objects(findings)),
        ("other", other(findings)),
    ];
    for (title, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
        lines.extend([String::new(), title.to_owned()]);
        lines.extend(indented(part));
    }
    if !findings.verdicts.is_empty() {
        lines.extend([String::new(), "objectives".to_owned()]);
        lines.extend(indented(verdicts(findings)));
    }
    for (seed, violation) in findings.violations() {
        lines.push(format!("BROKEN in seed {seed}: {violation}"));
    }
    lines.extend([String::new(), if findings.passed() { "passed" } else { "FAILED" }.to_owned()]);
    lines
}

fn indented(lines: Vec<String>) -> impl Iterator<Item = String> {
    lines.into_iter().map(|line| format!("  {line}"))
}

fn faults(fault: &FaultSpread) -> Vec<String> {
    let row = |name: &str, spread: &Spread| {
        let at = |percent| Value::Time(spread.percentile(percent)).shown();
        [name.to_owned(), at(50), at(99), at(100)]
    };
    // Of what is no loss of a region nobody need know, and nothing is taken over.
    let of_loss = |name: &str, spread: &Spread| match fault.is_loss || !spread.times().is_empty() {
        true => row(name, spread),
        false => [name, "-", "-", "-"].map(str::to_owned),
    };
    let exposed = shown::count(fault.exposed_writes_max);
    table(
        ["", "p50", "p99", "max"],
        &[
            of_loss("detected", &fault.detected),
            of_loss("lease taken over", &fault.owned),
            row("served again", &fault.served),
            row("longest gap", &fault.gap),
            row("age of exposed writes", &fault.exposed),
            ["exposed writes".to_owned(), String::new(), String::new(), exposed],
        ],
    )
}

fn requests(findings: &Findings<'_>) -> Vec<String> {
    let counts = &findings.report.requests;
    let row = |name: &str, count: u64| {
        let part = count as f64 / counts.asked.max(1) as f64;
        [name.to_owned(), shown::count(count), shown::share(part)]
    };
    let mut lines = table(
        ["", "number", "share"],
        &[
            row("asked", counts.asked),
            row("failed", counts.failed),
            row("slow", counts.slow),
            row("stale", counts.stale),
            row("sent again", counts.retried),
            row("unconfirmed writes", counts.unconfirmed),
        ],
    );
    let latency = |share| Value::Time(findings.report.latency.percentile(share)).shown();
    if counts.asked > counts.failed {
        lines.push(format!("latency: p50 {}, p99 {}", latency(0.5), latency(0.99)));
    }
    lines
}

fn regions(findings: &Findings<'_>) -> Vec<String> {
    let regions = findings.report.regions();
    let all: u64 = regions.values().map(|region| region.served).sum();
    let part = |of: u64, whole: u64| shown::share(of as f64 / whole.max(1) as f64);
    let rows: Vec<[String; 6]> = regions
        .into_iter()
        .map(|(region, of)| {
            [
                region.to_string(),
                shown::count(of.served),
                part(of.served, all),
                part(of.spilled, of.served),
                shown::count(of.refused),
                shown::share(of.load_max),
            ]
        })
        .collect();
    table(["", "served", "share", "of others' clients", "refused", "highest load"], &rows)
}

/// Nothing of a rehearsal without jobs.
fn jobs(findings: &Findings<'_>) -> Vec<String> {
    let Some(jobs) = findings.report.jobs() else { return Vec::new() };
    let words: Vec<[String; 2]> =
        job_lines(&jobs).into_iter().map(|(term, words)| [term.to_lowercase(), words]).collect();
    let mut lines = table(["", ""], &words).split_off(1);
    let rows: Vec<[String; 6]> = jobs
        .regions
        .iter()
        .map(|(region, of)| {
            let counts = [of.ran, of.spilled_here, of.depth_max, of.busy_max, of.workers];
            let [ran, here, depth, busy, workers] = counts.map(shown::count);
            [region.to_string(), ran, here, depth, busy, workers]
        })
        .collect();
    let head = ["", "executions", "sent here", "most waiting", "most busy", "workers"];
    lines.extend(table(head, &rows));
    lines
}

/// Nothing of a rehearsal without objects.
fn objects(findings: &Findings<'_>) -> Vec<String> {
    let Some(objects) = findings.report.objects() else { return Vec::new() };
    let lower = |(term, words): (&str, String)| [term.to_lowercase(), words];
    let words: Vec<[String; 2]> = object_lines(&objects).into_iter().map(lower).collect();
    let mut lines = table(["", ""], &words).split_off(1);
    let rows: Vec<[String; 5]> = link_rows(findings, &objects)
        .into_iter()
        .map(|[from, to, cells @ ..]| {
            let [bytes, cost, busy, full] = cells;
            [format!("{from} > {to}"), bytes, cost, busy, full]
        })
        .collect();
    lines.extend(table(["", "per run", "cost", "busiest", "full for"], &rows));
    lines
}

fn other(findings: &Findings<'_>) -> Vec<String> {
    let figures = findings.report.figures(findings.rehearsal);
    let wanted = ["conflicts_count", "lag_max_ms", "cost_per_hour_max_usd"];
    let named = figures.iter().filter(|figure| wanted.contains(&figure.name.as_str()));
    let mut rows: Vec<[String; 2]> =
        named.map(|figure| [figure.label.clone(), figure.value.shown()]).collect();
    let runs = u64::try_from(findings.report.runs.len()).unwrap_or(1).max(1);
    let egress = findings.report.egress().into_iter();
    rows.extend(egress.map(|(pair, bytes)| {
        [format!("{} per run", pair.replace('>', " > ")), shown::bytes(bytes / runs)]
    }));
    table(["", ""], &rows).split_off(1)
}

fn verdicts(findings: &Findings<'_>) -> Vec<String> {
    let rows: Vec<[String; 4]> = findings
        .verdicts
        .iter()
        .map(|verdict| {
            let seed = verdict.seed.map_or_else(String::new, |seed| seed.to_string());
            let word = if verdict.held { "held" } else { "MISSED" };
            [verdict.objective.to_string(), word.to_owned(), verdict.worst.shown(), seed]
        })
        .collect();
    table(["", "", "worst run", "seed"], &rows)
}
