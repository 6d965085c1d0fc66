//! The plots of a page: the course of the run that went worst, and the times of all runs.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use super::{
    histogram::Histogram,
    plot::{Band, Curve, Kind, Plot},
    scale::{bytes, dollars, millis, percent, plain},
};
use crate::{
    outcome::{Outcome, Series},
    report::{Findings, Spread},
};

/// Colours of regions, in the page's style. One of failures is apart from them.
const COLOURS: u8 = 7;

/// Most points of a curve: about one for two pixels. More would be noise, and a heavy page.
const POINTS_MAX: usize = 450;

/// Writes all plots.
pub(super) fn section(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    let worst = findings.report.worst().filter(|run| !run.series.is_empty());
    let Some(worst) = worst else { return Ok(()) };
    write!(
        page,
        "<section><h2>The course of it</h2><p class=\"hint\">Seed {}, the run that went worst. \
         Shaded: the faults, by their numbers.</p>",
        worst.seed
    )?;
    let bands = bands(findings);
    for plot in plots(findings, worst, &bands) {
        plot.write(page)?;
    }
    write!(page, "</section>")?;
    all_runs(page, findings)
}

/// How long things took, over all runs; what took no time in any is left out.
fn all_runs(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    let faults = || findings.report.runs.iter().flat_map(|run| &run.faults);
    let noticed = |time: &Option<Duration>| *time != Some(Duration::ZERO);
    let served = Spread::of(faults().map(|fault| fault.served).filter(noticed));
    let gap = Spread::of(faults().map(|fault| Some(fault.gap)).filter(noticed));
    // What was never taken over need not have been.
    let owned = Spread::of(faults().map(|fault| fault.owned).filter(Option::is_some));
    let unnoticed = faults().count() - served.times().len() - served.never;
    let about = format!(
        "From a fault until clients were answered as before: how often it took how long. Of {} \
         faults {unnoticed} went by without a failed request.",
        faults().count(),
    );
    let histograms = [
        Histogram {
            id: "served",
            title: "Time until clients were served again",
            about: &about,
            times: &served,
        },
        Histogram {
            id: "gap",
            title: "Longest time without an answer",
            about: "The longest that any group of clients went without an answer, per fault.",
            times: &gap,
        },
        Histogram {
            id: "owned",
            title: "Time until duties were taken over",
            about: "From a fault until another region held the lease of the one that failed.",
            times: &owned,
        },
    ];
    let shown = histograms.iter().filter(|it| it.times.never > 0 || !it.times.times().is_empty());
    let shown: Vec<&Histogram<'_>> = shown.collect();
    if shown.is_empty() {
        return Ok(());
    }
    write!(page, "<section><h2>All runs</h2>")?;
    for histogram in shown {
        histogram.write(page)?;
    }
    write!(page, "</section>")
}

fn bands(findings: &Findings<'_>) -> Vec<Band> {
    let lasting = findings.rehearsal.lasting;
    let planned = findings.rehearsal.scenario.faults.iter().zip(1..);
    planned
        .map(|(planned, number)| Band {
            number,
            fault: planned.to_string(),
            from: planned.at,
            until: planned.end().unwrap_or(lasting).min(lasting),
        })
        .collect()
}

fn plots<'a>(findings: &Findings<'_>, run: &'a Outcome, bands: &'a [Band]) -> Vec<Plot<'a>> {
    let steps = run.series.failed.len().div_ceil(POINTS_MAX).max(1);
    let course = Course { series: &run.series, steps, lasting: findings.rehearsal.lasting, bands };
    let mut plots = course.of_requests();
    plots.extend(course.of_regions());
    plots.extend(course.of_jobs());
    plots.extend(course.of_objects());
    plots
}

/// The course of a run.
struct Course<'a> {
    series: &'a Series,
    /// How many steps are drawn as one.
    steps: usize,
    lasting: Duration,
    bands: &'a [Band],
}

impl<'a> Course<'a> {
    fn plot(&self, id: &'a str, words: [&'a str; 2], curves: Vec<Curve>) -> Plot<'a> {
        let [title, about] = words;
        Plot {
            id,
            title,
            about,
            kind: Kind::Lines,
            curves,
            step: self.step(),
            lasting: self.lasting,
            bands: self.bands,
            log: false,
            label: plain,
        }
    }

    fn step(&self) -> Duration {
        self.series.step.saturating_mul(u32::try_from(self.steps).unwrap_or(u32::MAX))
    }

    /// Values of steps, several as one.
    fn drawn(&self, values: impl Iterator<Item = f64>, as_one: fn(&[f64]) -> f64) -> Vec<f64> {
        values.collect::<Vec<f64>>().chunks(self.steps).map(as_one).collect()
    }

    /// Counts of steps, per second.
    fn rate(&self, counts: &[u64]) -> Vec<f64> {
        let seconds = self.series.step.as_secs_f64().max(1e-3);
        self.drawn(counts.iter().map(|count| *count as f64 / seconds), mean)
    }

    fn by_region(&self) -> Vec<Curve> {
        let colours = (0..COLOURS).cycle();
        let served = self.series.served.iter().zip(colours).map(|((region, counts), colour)| {
            curve(region.as_str(), &format!("c{colour}"), self.rate(counts))
        });
        let failed = curve("failed", "failed", self.rate(&self.series.failed));
        served.chain([failed]).collect()
    }

    fn of_requests(&self) -> Vec<Plot<'a>> {
        let traffic = [
            "Requests per second",
            "Requests answered per second, by the region that answered, and those that failed with \
             all their retries.",
        ];
        let failed =
            ["Failed requests per second", "Requests that had no answer after all their retries."];
        let latency = [
            "Latency",
            "How long clients waited for an answer, retries included; each line is ten times the \
             one below it.",
        ];
        let latencies = vec![
            curve("median", "c0", self.drawn(measured(&self.series.p50_millis), mean)),
            curve(
                "slowest hundredth",
                "c1",
                self.drawn(measured(&self.series.p99_millis), highest),
            ),
        ];
        let failures = curve("failed", "failed", self.rate(&self.series.failed));
        vec![
            Plot { kind: Kind::Stacked, ..self.plot("traffic", traffic, self.by_region()) },
            Plot { kind: Kind::Stacked, ..self.plot("failed", failed, vec![failures]) },
            Plot { log: true, label: millis, ..self.plot("latency", latency, latencies) },
        ]
    }

    fn of_regions(&self) -> Vec<Plot<'a>> {
        let waiting = [
            "Waiting requests",
            "Requests that waited for their turn, in the region where most did.",
        ];
        let lag = ["Replication lag", "How far the slowest region was behind another."];
        let cost = ["Cost", "Nodes and traffic between regions, from the start."];
        let waited = self.series.waiting.iter().map(|many| *many as f64);
        let waited = self.drawn(waited, highest);
        let spent = self.series.cost.iter().map(|micro| *micro as f64 / 1e6);
        let spent = self.drawn(spent, highest);
        let lags = self.drawn(self.series.lag_millis.iter().copied(), highest);
        vec![
            self.plot("waiting", waiting, vec![curve("waiting", "c0", waited)]),
            Plot { label: millis, ..self.plot("lag", lag, vec![curve("lag", "c0", lags)]) },
            Plot { label: dollars, ..self.plot("cost", cost, vec![curve("cost", "c0", spent)]) },
        ]
    }
}

impl<'a> Course<'a> {
    /// Jobs that wait; nothing of a rehearsal without any.
    fn of_jobs(&self) -> Vec<Plot<'a>> {
        let Self { series, .. } = self;
        if series.depth.is_empty() {
            return Vec::new();
        }
        let depth = ["Waiting jobs", "Jobs of each region that waited for a worker."];
        let oldest = ["Oldest job", "How long the job had waited that waited longest, anywhere."];
        let depths = series.depth.iter().zip((0..COLOURS).cycle()).map(|((region, depth), nth)| {
            let depth = self.drawn(depth.iter().map(|many| *many as f64), highest);
            curve(region.as_str(), &format!("c{nth}"), depth)
        });
        let ages = self.drawn(series.oldest_millis.iter().copied(), highest);
        vec![
            self.plot("depth", depth, depths.collect()),
            Plot { label: millis, ..self.plot("oldest", oldest, vec![curve("age", "c0", ages)]) },
        ]
    }
}

impl<'a> Course<'a> {
    /// What is still to be copied; nothing of a rehearsal without objects.
    fn of_objects(&self) -> Vec<Plot<'a>> {
        let Self { series, .. } = self;
        if series.backlog.is_empty() {
            return Vec::new();
        }
        let backlog = [
            "Bytes to be copied",
            "Bytes of objects that were acknowledged, and that other regions were still to get.",
        ];
        let uploads = [
            "Time of uploads",
            "How long uploads took that were acknowledged; each line is ten times the one below it.",
        ];
        let links = ["Links", "How much of its bandwidth each direction of a link had in use."];
        let missing = self.drawn(series.backlog.iter().map(|bytes| *bytes as f64), highest);
        let took = vec![
            curve("median", "c0", self.drawn(measured(&series.upload_p50_millis), mean)),
            curve(
                "slowest hundredth",
                "c1",
                self.drawn(measured(&series.upload_p99_millis), highest),
            ),
        ];
        let loads = series.links.iter().zip((0..COLOURS).cycle()).map(|((ends, loads), nth)| {
            let loads = self.drawn(loads.iter().map(|load| load * 100.0), mean);
            curve(&ends.replace('>', " \u{2192} "), &format!("c{nth}"), loads)
        });
        let mut plots = vec![
            Plot {
                label: bytes,
                ..self.plot("backlog", backlog, vec![curve("to be copied", "c0", missing)])
            },
            Plot { log: true, label: millis, ..self.plot("uploads", uploads, took) },
        ];
        if !series.links.is_empty() {
            plots.push(Plot { label: percent, ..self.plot("links", links, loads.collect()) });
        }
        plots
    }
}

fn curve(name: &str, colour: &str, values: Vec<f64>) -> Curve {
    Curve { name: name.to_owned(), colour: colour.to_owned(), values }
}

/// Where nobody was answered there is no latency.
fn measured(millis: &[f64]) -> impl Iterator<Item = f64> {
    millis.iter().map(|it| if *it > 0.0 { *it } else { f64::NAN })
}

/// The mean of what is known; unknown when nothing is.
fn mean(values: &[f64]) -> f64 {
    let known = || values.iter().filter(|value| value.is_finite());
    known().sum::<f64>() / known().count() as f64
}

/// The highest of what is known; unknown when nothing is.
fn highest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_steps_are_drawn_as_one() {
        let series = Series { step: Duration::from_secs(2), ..Series::default() };
        let course =
            Course { series: &series, steps: 2, lasting: Duration::from_secs(10), bands: &[] };
        assert_eq!(course.step(), Duration::from_secs(4));
        assert_eq!(course.rate(&[2, 6, 4]), [2.0, 2.0]);
        let known = [1.0, f64::NAN, 5.0, 3.0, f64::NAN];
        let drawn = course.drawn(known.into_iter(), highest);
        assert_eq!(drawn[..2], [1.0, 5.0]);
        assert!(drawn[2].is_nan());
    }
}
