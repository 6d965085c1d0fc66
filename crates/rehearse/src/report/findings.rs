//! A report with what it was made from: all that is shown of a rehearsal.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::{Report, Spread, figures::Figure, shown};
use crate::{objectives::Verdict, outcome::FaultOutcome, rehearsal::Rehearsal};

/// The version of the JSON document; it rises when a name changes its meaning or goes.
const DOCUMENT_VERSION: u32 = 1;

/// All that is shown of a rehearsal.
#[derive(Clone, Debug)]
pub struct Findings<'a> {
    /// What was rehearsed.
    pub rehearsal: &'a Rehearsal,
    /// What came out.
    pub report: &'a Report,
    /// What was asked for, and whether it was given.
    pub verdicts: Vec<Verdict>,
    /// What does it again.
    pub command: String,
    /// How many seeds were asked for; fewer were run when somebody stopped it.
    pub seeds: u64,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// A fault of the scenario over all runs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FaultSpread {
    /// As it stands in the scenario.
    pub fault: String,
    /// When it happened.
    #[serde(rename = "at_ms", serialize_with = "crate::outcome::millis")]
    pub at: Duration,
    /// Whether a region was lost, so that others must know of it and take its duties over.
    #[serde(skip)]
    pub is_loss: bool,
    /// Until a surviving node no longer routed to it.
    pub detected: Spread,
    /// Until another region held its lease.
    pub owned: Spread,
    /// Until clients were answered as before.
    pub served: Spread,
    /// The longest that a group of clients went without an answer.
    pub gap: Spread,
    /// The most acknowledged writes that no other region had.
    pub exposed_writes_max: u64,
    /// The age of the oldest of them.
    pub exposed: Spread,
}

impl Findings<'_> {
    /// Whether every objective was given and every promise of the fabric held, in all seeds.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.held) && self.violations().next().is_none()
    }

    /// What was rehearsed, in words: each a term and what it was.
    #[must_use]
    pub fn setting(&self) -> Vec<(&'static str, String)> {
        let Rehearsal { clients, traffic, lasting, jobs, objects, .. } = self.rehearsal;
        let (runs, seeds) = (self.report.runs.len(), self.seeds);
        let all = if runs as u64 == seeds { String::new() } else { format!(" of {seeds}") };
        let mut setting = vec![
            ("Time", shown::time(*lasting)),
            ("Runs", format!("{runs}{all}, each with a seed of its own")),
            ("Traffic", traffic.to_string()),
            ("Clients", clients.to_string()),
        ];
        setting.extend(jobs.as_ref().map(|jobs| ("Jobs", jobs.to_string())));
        setting.extend(objects.as_ref().map(|objects| ("Objects", objects.to_string())));
        setting
    }

    /// Promises of the fabric that did not hold, with their seeds.
    pub fn violations(&self) -> impl Iterator<Item = (u64, &str)> {
        self.report
            .runs
            .iter()
            .flat_map(|run| run.violations.iter().map(|violation| (run.seed, violation.as_str())))
    }

    /// Each fault of the scenario over all runs.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultSpread> {
        let planned = self.rehearsal.scenario.faults.iter().enumerate();
        planned
            .map(|(nth, planned)| {
                let of: Vec<&FaultOutcome> =
                    self.report.runs.iter().filter_map(|run| run.faults.get(nth)).collect();
                let spread = |which: fn(&FaultOutcome) -> Option<Duration>| {
                    Spread::of(of.iter().map(|fault| which(fault)))
                };
                FaultSpread {
                    fault: planned.to_string(),
                    at: planned.at,
                    is_loss: planned.fault.is_a_loss(),
                    detected: spread(|it| it.detected),
                    owned: spread(|it| it.owned),
                    served: spread(|it| it.served),
                    gap: spread(|it| Some(it.gap)),
                    exposed_writes_max: of.iter().map(|it| it.exposed).max().unwrap_or(0),
                    exposed: spread(|it| Some(it.exposed_for)),
                }
            })
            .collect()
    }

    /// All of it, for programs. Names carry their units and stay.
    #[must_use]
    pub fn document(&self) -> Json {
        let verdicts: Vec<Json> = self.verdicts.iter().map(Verdict::document).collect();
        let runs = &self.report.runs;
        let violations: Vec<Json> = self
            .violations()
            .map(|(seed, violation)| json!({ "seed": seed, "violation": violation }))
            .collect();
        json!({
            "version": DOCUMENT_VERSION,
            "passed": self.passed(),
            "command": self.command,
            "notes": self.notes,
            "lasting_ms": self.rehearsal.lasting.as_secs_f64() * 1e3,
            "seeds": {
                "asked": self.seeds,
                "done": runs.len(),
                "first": runs.first().map(|run| run.seed),
            },
            "objectives": verdicts,
            "violations": violations,
            "figures": document(&self.report.figures(self.rehearsal)),
            "faults": self.faults(),
            "regions": self.report.regions(),
            "jobs": self.report.jobs(),
            "objects": self.report.objects(),
            "egress_bytes": self.report.egress(),
            "runs": runs,
        })
    }
}

/// Figures by name; what never came has no number.
#[must_use]
pub fn document(figures: &[Figure]) -> BTreeMap<&str, Json> {
    figures.iter().map(|figure| (figure.name.as_str(), figure.value.document())).collect()
}
