//! The tables about objects.

use super::{Objects, Row, Side, Verb, listing, multipart};
use crate::{
    report::{busy, joined, spread},
    stats::Spread,
};

impl Objects {
    /// The tables. Parts that were not measured are left out.
    pub(crate) fn to_markdown(&self) -> String {
        let parts = [
            self.rows_table(),
            self.list_table(),
            self.memory_table(),
            multipart::table(&self.uploads),
            self.regions.reads_table(),
            self.regions.copies_table(),
        ];
        let there: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        there.join("\n")
    }

    fn rows_table(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut lines = vec![
            format!(
                "Objects per second: median of the rounds, lowest and highest; the waits over all \
                 rounds.{}",
                busy(self.busy_by_others)
            ),
            String::new(),
            "| object | clients | | store | on the disk before the answer | per second | MB/s \
             | ms: p50, p99 |"
                .to_owned(),
            "|---|---|---|---|---|---|---|---|".to_owned(),
        ];
        lines.extend(self.rows.iter().map(Row::line));
        joined(&lines)
    }

    fn list_table(&self) -> String {
        if self.listings.is_empty() {
            return String::new();
        }
        let mut lines = vec![
            format!("Listing {} keys in pages of 1,000, seconds:", listing::KEYS),
            String::new(),
            "| store | |".to_owned(),
            "|---|---|".to_owned(),
        ];
        lines.extend(self.listings.iter().map(|it| {
            let Spread { median, min, max } = it.seconds;
            format!("| {} | {median:.2} ({min:.2}-{max:.2}) |", it.side)
        }));
        joined(&lines)
    }

    fn memory_table(&self) -> String {
        if self.peaks_mebibytes.is_empty() {
            return String::new();
        }
        let mut lines = vec![
            "The most that a server held of the memory in a round, MiB:".to_owned(),
            String::new(),
            "| store | |".to_owned(),
            "|---|---|".to_owned(),
        ];
        let line = |(side, peak): &(Side, Spread)| format!("| {side} | {} |", spread(*peak));
        lines.extend(self.peaks_mebibytes.iter().map(line));
        joined(&lines)
    }
}

impl Row {
    fn line(&self) -> String {
        let Self { setting, verb, side, per_second, p50_millis, p99_millis } = self;
        #[expect(clippy::cast_precision_loss, reason = "a gigabyte at most")]
        let megabytes = per_second.median * setting.bytes as f64 / 1e6;
        let rate = if per_second.median < 10.0 {
            format!("{:.2} ({:.2}-{:.2})", per_second.median, per_second.min, per_second.max)
        } else {
            spread(*per_second)
        };
        let (verb, durability) = match verb {
            Verb::Put => ("PUT", side.durability()),
            Verb::Get => ("GET", ""),
        };
        format!(
            "| {} | {} | {verb} | {side} | {durability} | {rate} | {megabytes:.0} \
             | {p50_millis:.1}, {p99_millis:.1} |",
            setting.name, setting.clients
        )
    }
}
