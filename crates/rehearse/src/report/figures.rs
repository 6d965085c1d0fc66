//! The figures of a report, in an order and under names that stay, so that two can be compared.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Report, Spread, shown};
use crate::{
    outcome::{FaultOutcome, JobsOutcome, ObjectsOutcome},
    prices::MicroDollars,
    rehearsal::Rehearsal,
};

/// One figure.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// Its name, for programs; with the unit at its end.
    pub name: String,
    /// Its name, for people.
    pub label: String,
    /// How much.
    pub value: Value,
}

/// How much of something.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value {
    /// A time; `None` when it never came.
    Time(Option<Duration>),
    /// A number of something.
    Count(u64),
    /// A part of a whole, or a load, which may be above 1.
    Share(f64),
    /// Bytes.
    Bytes(u64),
    /// Money.
    Dollars(MicroDollars),
}

impl Value {
    /// As a number in the unit of its name; infinite when it never came.
    #[must_use]
    pub fn number(self) -> f64 {
        match self {
            Self::Time(Some(time)) => time.as_secs_f64() * 1e3,
            Self::Time(None) => f64::INFINITY,
            Self::Count(number) | Self::Bytes(number) => number as f64,
            Self::Share(share) => share,
            Self::Dollars(MicroDollars(micro)) => micro as f64 / 1e6,
        }
    }

    /// As JSON; null when it never came.
    #[must_use]
    pub fn document(self) -> Json {
        match self {
            Self::Count(number) | Self::Bytes(number) => json!(number),
            Self::Time(None) => Json::Null,
            _ => json!(self.number()),
        }
    }

    /// The unit of that number.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Time(_) => "ms",
            Self::Count(_) => "count",
            Self::Share(_) => "share",
            Self::Bytes(_) => "bytes",
            Self::Dollars(_) => "usd",
        }
    }

    /// For people.
    #[must_use]
    pub fn shown(self) -> String {
        match self {
            Self::Time(Some(time)) => shown::time(time),
            Self::Time(None) => "never".to_owned(),
            Self::Count(number) => shown::count(number),
            Self::Share(share) => shown::share(share),
            Self::Bytes(bytes) => shown::bytes(bytes),
            Self::Dollars(amount) => shown::dollars(amount),
        }
    }

    /// By how much another is more, for people.
    #[must_use]
    pub fn difference(self, other: Self) -> String {
        let (before, after) = (self.number(), other.number());
        if before == after || self.shown() == other.shown() {
            return "=".to_owned();
        }
        if !before.is_finite() || !after.is_finite() {
            return "-".to_owned();
        }
        let sign = if after > before { '+' } else { '-' };
        let apart = match self {
            Self::Time(_) => shown::time(Duration::from_secs_f64((after - before).abs() / 1e3)),
            Self::Share(_) => format!("{:.2} points", (after - before).abs() * 100.0),
            Self::Count(it) => shown::count(it.abs_diff(rounded(after))),
            Self::Bytes(it) => shown::bytes(it.abs_diff(rounded(after))),
            Self::Dollars(MicroDollars(it)) => {
                shown::dollars(MicroDollars(it.abs_diff(rounded(after * 1e6))))
            }
        };
        if before > 0.0 {
            format!("{sign}{apart} ({:+.0}%)", (after / before - 1.0) * 100.0)
        } else {
            format!("{sign}{apart}")
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion from floating point saturates"
)]
const fn rounded(number: f64) -> u64 {
    number.round() as u64
}

impl Report {
    /// All figures. Of a rehearsal without faults there are none of faults, and what is detected and
    /// taken over is of lost regions alone.
    #[must_use]
    pub fn figures(&self, rehearsal: &Rehearsal) -> Vec<Figure> {
        let mut figures = Vec::new();
        let mut add = |name: &str, label: &str, value| {
            figures.push(Figure { name: name.to_owned(), label: label.to_owned(), value });
        };
        let planned = &rehearsal.scenario.faults;
        let of_losses = |which: fn(&FaultOutcome) -> Option<Duration>| {
            let faults = self.runs.iter().flat_map(|run| planned.iter().zip(&run.faults));
            let losses = faults.filter(|(planned, _)| planned.fault.is_a_loss());
            Spread::of(losses.map(|(_, fault)| which(fault)))
        };
        for (name, label, spread) in [
            ("detected", "loss detected", of_losses(|it| it.detected)),
            ("owned", "lease taken over", of_losses(|it| it.owned)),
            ("served", "served again", self.spread(|it| it.served)),
            ("gap", "longest gap", self.spread(|it| Some(it.gap))),
        ] {
            of_spread(&spread, name, label, &mut add);
        }
        let asked = self.requests.asked;
        add("requests_count", "requests", Value::Count(asked));
        for (name, label, number) in [
            ("failed", "failed", self.requests.failed),
            ("slow", "slow", self.requests.slow),
            ("stale", "stale", self.requests.stale),
            ("retried", "sent again", self.requests.retried),
            ("unconfirmed", "unconfirmed writes", self.requests.unconfirmed),
        ] {
            add(&format!("{name}_count"), label, Value::Count(number));
            let part = if asked == 0 { 0.0 } else { number as f64 / asked as f64 };
            add(&format!("{name}_share"), &format!("{label}, share"), Value::Share(part));
        }
        for (of, share) in [("p50", 0.5), ("p99", 0.99)] {
            let time = Value::Time(self.latency.percentile(share));
            add(&format!("latency_{of}_ms"), &format!("latency, {of}"), time);
        }
        let faults = || self.runs.iter().flat_map(|run| &run.faults);
        if let Some(exposed) = faults().map(|fault| fault.exposed).max() {
            add("exposed_writes_max_count", "exposed writes, max", Value::Count(exposed));
        }
        if let Some(exposed) = faults().map(|fault| fault.exposed_for).max() {
            add("exposed_max_ms", "age of exposed writes, max", Value::Time(Some(exposed)));
        }
        let conflicts = self.runs.iter().map(|run| run.conflicts).sum();
        add("conflicts_count", "conflicts", Value::Count(conflicts));
        let lag = self.runs.iter().map(|run| run.lag_max).max().unwrap_or_default();
        add("lag_max_ms", "lag, max", Value::Time(Some(lag)));
        let egress = self.runs.iter().flat_map(|run| run.egress.values()).sum();
        add("egress_bytes", "traffic between regions", Value::Bytes(egress));
        let cost = self.runs.iter().map(|run| per_hour(run.cost, rehearsal.lasting)).max();
        add(
            "cost_per_hour_max_usd",
            "cost per hour, max",
            Value::Dollars(cost.unwrap_or_default()),
        );
        for (region, outcome) in self.regions() {
            let load = Value::Share(outcome.load_max);
            add(&format!("load_max_share.{region}"), &format!("load of {region}, max"), load);
        }
        self.jobs().iter().for_each(|jobs| of_jobs(jobs, &mut add));
        self.objects().iter().for_each(|objects| of_objects(objects, &mut add));
        figures
    }
}

/// Percentiles of times; none where there are no times.
fn of_spread(spread: &Spread, name: &str, label: &str, add: &mut impl FnMut(&str, &str, Value)) {
    for (of, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
        if !spread.is_empty() {
            let time = Value::Time(spread.percentile(percent));
            add(&format!("{name}_{of}_ms"), &format!("{label}, {of}"), time);
        }
    }
}

/// The figures of jobs.
fn of_jobs(jobs: &JobsOutcome, add: &mut impl FnMut(&str, &str, Value)) {
    let counts = &jobs.counts;
    for (name, label, number) in [
        ("jobs_count", "jobs", counts.offered),
        ("jobs_taken_count", "jobs taken in", counts.taken),
        ("jobs_refused_count", "jobs refused", counts.refused),
        ("jobs_done_count", "jobs done", counts.done),
        ("jobs_repeated_count", "jobs executed again", counts.repeated),
        ("jobs_pinned_count", "jobs pinned", counts.pinned),
        ("jobs_left_count", "jobs left at the end", counts.left),
        ("jobs_away_count", "jobs in regions that are gone", counts.away),
        ("jobs_lost_count", "jobs lost", counts.lost),
    ] {
        add(name, label, Value::Count(number));
    }
    let part = |part: u64, whole: u64| Value::Share(part as f64 / whole.max(1) as f64);
    add("jobs_spilled_share", "jobs spilled, share", part(counts.spilled, counts.taken));
    add("jobs_refused_share", "jobs refused, share", part(counts.refused, counts.offered));
    add("queue_depth_max_count", "jobs waiting, max", Value::Count(jobs.depth_max));
    add("job_oldest_max_ms", "oldest job, max", Value::Time(Some(jobs.oldest_max)));
    let drained = Spread::of(jobs.drained.iter().copied());
    of_spread(&drained, "jobs_drained", "jobs drained", add);
    for (region, of) in &jobs.regions {
        let busy = part(of.busy_max, of.workers);
        add(
            &format!("workers_busy_max_share.{region}"),
            &format!("workers of {region} busy, max"),
            busy,
        );
    }
}

/// The figures of objects.
fn of_objects(objects: &ObjectsOutcome, add: &mut impl FnMut(&str, &str, Value)) {
    let (counts, times) = (&objects.counts, &objects.times);
    for (name, label, number) in [
        ("uploads_count", "uploads", counts.uploads),
        ("uploads_acknowledged_count", "uploads acknowledged", counts.acknowledged),
        ("uploads_failed_count", "uploads failed", counts.failed),
        ("uploads_degraded_count", "uploads degraded", counts.degraded),
        ("uploads_moved_count", "uploads gone on elsewhere", counts.moved),
        ("objects_lost_count", "objects lost", counts.lost),
        ("deletes_count", "deletions", counts.deletes),
        ("deletes_late_count", "deletions late", counts.deletes_late + counts.fading),
        ("downloads_count", "downloads", counts.downloads),
        ("downloads_failed_count", "downloads failed", counts.downloads_failed),
        ("downloads_missed_count", "downloads that found nothing", counts.missed),
        ("downloads_through_count", "downloads read through", counts.through),
        ("downloads_deleted_count", "downloads of what was deleted", counts.ghosts),
    ] {
        add(name, label, Value::Count(number));
    }
    for (name, label, times) in [
        ("upload", "upload", &times.uploads),
        ("download", "download", &times.reads),
        ("read_through", "read through", &times.through),
        ("delete", "deletion everywhere", &times.deletes),
    ] {
        let of =
            [("p50", times.percentile(0.5)), ("p99", times.percentile(0.99)), ("max", times.max)];
        for (of, time) in of.into_iter().filter(|(_, time)| time.is_some()) {
            add(&format!("{name}_{of}_ms"), &format!("{label}, {of}"), Value::Time(time));
        }
    }
    add("backlog_max_bytes", "bytes to be copied, max", Value::Bytes(objects.backlog_max));
    add("backlog_end_bytes", "bytes to be copied at the end", Value::Bytes(objects.backlog_end));
    let converged = Spread::of(objects.converged.iter().copied());
    of_spread(&converged, "converged", "regions converged", add);
    if !objects.at_risk.is_empty() {
        let risk = objects.risk();
        add("objects_at_risk_max_count", "objects at risk, max", Value::Count(risk.objects));
        add("bytes_at_risk_max_bytes", "bytes at risk, max", Value::Bytes(risk.bytes));
        let oldest = Value::Time(Some(risk.oldest));
        add("at_risk_oldest_max_ms", "age of objects at risk, max", oldest);
    }
    for (ends, link) in &objects.links {
        let shown = ends.replace('>', " > ");
        let busy = Value::Share(link.busy_max);
        add(&format!("link_busy_max_share.{ends}"), &format!("link {shown} busy, max"), busy);
    }
}

/// What an hour of a run costs.
#[must_use]
pub fn per_hour(cost: MicroDollars, lasting: Duration) -> MicroDollars {
    let hours = lasting.as_secs_f64() / 3_600.0;
    if hours > 0.0 { MicroDollars(rounded(cost.0 as f64 / hours)) } else { cost }
}
