//! The plots of a page: the course of the run that went worst, and the times of all runs.

use std::fmt::{self, Write};

use super::{
    histogram,
    plot::{Band, Curve, Kind, Plot},
    scale::{dollars, millis, plain},
};
use crate::{
    outcome::{Outcome, Series},
    report::Findings,
};

/// Colours of regions, in the page's style. One of failures is apart from them.
const COLOURS: u8 = 7;

/// Writes all plots.
pub(super) fn section(page: &mut String, findings: &Findings<'_>) -> fmt::Result {
    let Some(worst) = findings.report.worst() else { return Ok(()) };
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
    if bands.is_empty() {
        return Ok(());
    }
    write!(page, "<section><h2>All runs</h2>")?;
    let served = findings.report.spread(|fault| fault.served);
    histogram::write(page, "failover", "Time until clients were served again", &served)?;
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

fn plots<'a>(findings: &Findings<'_>, run: &Outcome, bands: &'a [Band]) -> Vec<Plot<'a>> {
    let series = &run.series;
    let plot = |id, title, about, curves, label| Plot {
        id,
        title,
        about,
        kind: Kind::Lines,
        curves,
        step: series.step,
        lasting: findings.rehearsal.lasting,
        bands,
        log: false,
        label,
    };
    let one = |name: &str, colour: &str, values: Vec<f64>| {
        vec![Curve { name: name.to_owned(), colour: colour.to_owned(), values }]
    };
    let latency = [
        one("median", "c0", measured(&series.p50_millis)),
        one("slowest hundredth", "c1", measured(&series.p99_millis)),
    ];
    let waiting = series.waiting.iter().map(|many| *many as f64).collect();
    let cost = series.cost.iter().map(|micro| *micro as f64 / 1e6).collect();
    vec![
        Plot {
            kind: Kind::Stacked,
            ..plot(
                "traffic",
                "Requests per second",
                "Requests answered per second, by the region that answered, and those that failed \
                 with all their retries.",
                traffic(series),
                plain,
            )
        },
        Plot {
            log: true,
            ..plot(
                "latency",
                "Latency",
                "How long clients waited for an answer, retries included; each line is ten times \
                 the one below it.",
                latency.concat(),
                millis,
            )
        },
        plot(
            "waiting",
            "Waiting requests",
            "Requests that waited for their turn, in the region where most did.",
            one("waiting", "c0", waiting),
            plain,
        ),
        plot(
            "lag",
            "Replication lag",
            "How far the slowest region was behind another.",
            one("lag", "c0", series.lag_millis.clone()),
            millis,
        ),
        plot(
            "cost",
            "Cost",
            "Nodes and traffic between regions, from the start.",
            one("cost", "c0", cost),
            dollars,
        ),
    ]
}

/// Where nobody was answered there is no latency.
fn measured(millis: &[f64]) -> Vec<f64> {
    millis.iter().map(|it| if *it > 0.0 { *it } else { f64::NAN }).collect()
}

fn traffic(series: &Series) -> Vec<Curve> {
    let seconds = series.step.as_secs_f64().max(1e-3);
    let rate = |counts: &[u64]| counts.iter().map(|count| *count as f64 / seconds).collect();
    let colours = (0..COLOURS).cycle();
    let served = series.served.iter().zip(colours).map(|((region, counts), colour)| Curve {
        name: region.to_string(),
        colour: format!("c{colour}"),
        values: rate(counts),
    });
    let failed = Curve {
        name: "failed".to_owned(),
        colour: "failed".to_owned(),
        values: rate(&series.failed),
    };
    served.chain([failed]).collect()
}
