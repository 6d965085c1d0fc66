//! What was measured, as JSON and as Markdown for `docs/benchmarks.md`.

use std::fmt::Write;

use serde::Serialize;

use crate::{
    footprint::Footprint,
    lag::Lag,
    machine::Machine,
    objects::Objects,
    plan::{CLIENT_THREADS, Effort, KEYS, VALUE_BYTES},
    queues::Queues,
    selection::Selection,
    stats::Spread,
    throughput::{Row, Throughput},
    uploads::Uploads,
};

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    effort: Effort,
    pub(crate) throughput: Throughput,
    pub(crate) footprint: Vec<Footprint>,
    pub(crate) lag: Vec<Lag>,
    pub(crate) selection: Vec<Selection>,
    pub(crate) queues: Queues,
    pub(crate) objects: Objects,
    pub(crate) uploads: Uploads,
}

impl Report {
    pub(crate) fn new(machine: Machine, effort: Effort) -> Self {
        Self {
            machine,
            effort,
            throughput: Throughput::default(),
            footprint: Vec::new(),
            lag: Vec::new(),
            selection: Vec::new(),
            queues: Queues::default(),
            objects: Objects::default(),
            uploads: Uploads::default(),
        }
    }

    /// The tables. Parts that were not measured are left out.
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = format!("{}\n", self.machine.describe());
        let parts = [
            self.throughput_table(),
            self.resident_table(),
            self.footprint_table(),
            self.lag_table(),
            self.selection_table(),
            self.queues.to_markdown(),
            self.objects.to_markdown(),
            self.uploads.to_markdown(),
        ];
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            text.push('\n');
            text.push_str(&part);
        }
        text
    }

    fn throughput_table(&self) -> String {
        if self.throughput.rows.is_empty() {
            return String::new();
        }
        let busy = busy(self.throughput.busy_by_others);
        let mut lines = vec![
            format!(
                "Requests per second: the median of the rounds ({} of each side), and the lowest and \
                 highest. \
                 `redis-benchmark --threads {CLIENT_THREADS} -r {KEYS} -d {VALUE_BYTES}`, each run \
                 {} s or longer.{busy}",
                self.effort.rounds,
                self.effort.run.as_secs_f64()
            ),
            String::new(),
            "| durability (Rhumb / Redis) | clients | pipeline | command | Rhumb | Redis | ratio \
             | us of processor time per request |"
                .to_owned(),
            "|---|---|---|---|---|---|---|---|".to_owned(),
        ];
        lines.extend(self.throughput.rows.iter().map(throughput_row));
        joined(&lines)
    }

    fn resident_table(&self) -> String {
        if self.throughput.resident.is_empty() {
            return String::new();
        }
        let mut lines = vec![
            "Resident memory after all commands of a setting, MiB:".to_owned(),
            String::new(),
            "| setting (durability/clients/pipeline) | Rhumb | Redis |".to_owned(),
            "|---|---|---|".to_owned(),
        ];
        lines.extend(self.throughput.resident.iter().map(|resident| {
            let (rhumb, redis) = (resident.rhumb_mebibytes, resident.redis_mebibytes);
            format!("| {} | {} | {} |", resident.setting, spread(rhumb), spread(redis))
        }));
        joined(&lines)
    }

    fn footprint_table(&self) -> String {
        if self.footprint.is_empty() {
            return String::new();
        }
        let mut lines = vec![
            format!("A server without data, {} starts:", self.effort.starts),
            String::new(),
            "| | resident, MiB | from exec to the first write, ms |".to_owned(),
            "|---|---|---|".to_owned(),
        ];
        lines.extend(self.footprint.iter().map(|it| {
            let (resident, ready) = (it.resident_mebibytes, it.ready_millis);
            format!("| {} | {} | {} |", it.side, spread(resident), spread(ready))
        }));
        joined(&lines)
    }

    fn lag_table(&self) -> String {
        if self.lag.is_empty() {
            return String::new();
        }
        let mut lines = vec![
            "Replication beyond the way, ms: p50, p99, max. From the answer to the writer until \
             the write is read in the other region; in the second column from its request."
                .to_owned(),
            String::new(),
            "| direction | way | writes/s | probes | from the answer | from the request |"
                .to_owned(),
            "|---|---|---|---|---|---|".to_owned(),
        ];
        lines.extend(self.lag.iter().map(|lag| {
            let (answer, request) = (lag.from_answer, lag.from_request);
            format!(
                "| {} to {} | {:.0} | {} | {} | {:.1}, {:.1}, {:.1} | {:.1}, {:.1}, {:.1} |",
                lag.from,
                lag.to,
                lag.way_millis,
                thousands(lag.writes_per_second),
                lag.probes,
                answer.p50,
                answer.p99,
                answer.max,
                request.p50,
                request.p99,
                request.max
            )
        }));
        joined(&lines)
    }

    fn selection_table(&self) -> String {
        if self.selection.is_empty() {
            return String::new();
        }
        let mut lines = vec![
            "One selection, ns (median, criterion):".to_owned(),
            String::new(),
            "| strategy | 3 regions | 20 regions |".to_owned(),
            "|---|---|---|".to_owned(),
        ];
        lines.extend(self.selection.iter().map(|selection| {
            let mut line = format!("| {} |", selection.strategy);
            for nanoseconds in &selection.nanoseconds {
                // Writing to a string cannot fail.
                let _written = write!(line, " {nanoseconds:.0} |");
            }
            line
        }));
        joined(&lines)
    }
}

fn throughput_row(row: &Row) -> String {
    let durability = row.setting.durability;
    format!(
        "| `{}` / `{}` | {} | {} | {} | {} | {} | {:.2} | {:.1} / {:.1} |",
        durability.name(),
        durability.appendfsync(),
        row.setting.clients,
        row.setting.pipeline,
        row.command.to_uppercase(),
        spread(row.rhumb.requests_per_second),
        spread(row.redis.requests_per_second),
        row.ratio(),
        row.rhumb.processor_micros.median,
        row.redis.processor_micros.median
    )
}

pub(crate) fn joined(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

/// What others took of the machine meanwhile, as a sentence behind another.
pub(crate) fn busy(by_others: Option<Spread>) -> String {
    by_others.map_or_else(String::new, |busy| {
        format!(
            " Others took {:.0} % of the processors (median; at most {:.0} %) when a server was \
             started.",
            busy.median * 100.0,
            busy.max * 100.0
        )
    })
}

/// The median, then the lowest and the highest where they differ from it.
pub(crate) fn spread(spread: Spread) -> String {
    let (median, min, max) = (spread.median, spread.min, spread.max);
    if min.total_cmp(&max).is_eq() {
        return thousands(median);
    }
    format!("{} ({}-{})", thousands(median), thousands(min), thousands(max))
}

/// A number without decimals, its thousands set apart.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let shown: Vec<String> = [0.4, 12.0, 999.6, 62_860.0, 1_234_567.0].map(thousands).into();
        assert_eq!(shown, ["0", "12", "1,000", "62,860", "1,234,567"]);
    }
}
