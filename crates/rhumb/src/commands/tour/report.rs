//! The table of promises and measurements.

use std::time::Duration;

use super::say;

/// One promise.
#[derive(Debug)]
struct Row {
    promise: String,
    measured: String,
    held: bool,
}

/// The table, as it grows.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    rows: Vec<Row>,
}

impl Report {
    pub(super) const fn new(json: bool) -> Self {
        Self { json, rows: Vec::new() }
    }

    /// Tells what happens next.
    pub(super) fn step(&self, words: &str) {
        if !self.json {
            say(&format!("- {words}"));
        }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, promise: impl Into<String>, measured: String, held: bool) {
        let row = Row { promise: promise.into(), measured, held };
        if !self.json {
            say(&format!("    {}: {}", row.promise, row.measured));
        }
        self.rows.push(row);
    }

    pub(super) fn all_held(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.held)
    }

    /// The whole table.
    pub(super) fn render(&self) -> String {
        if self.json {
            let rows: Vec<_> = self.rows.iter().map(|row| {
                serde_json::json!({ "promise": row.promise, "measured": row.measured, "held": row.held })
            }).collect();
            return serde_json::json!({ "rows": rows, "held": self.all_held() }).to_string();
        }
        let width = self.rows.iter().map(|row| row.promise.len()).max().unwrap_or(0);
        let mut lines = vec![String::new()];
        for row in &self.rows {
            let mark = if row.held { "held  " } else { "BROKEN" };
            lines.push(format!("{mark}  {:width$}  {}", row.promise, row.measured));
        }
        lines.join("\n")
    }
}

/// A share of sorted durations, by nearest rank.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or_default()
}

/// A duration in milliseconds with one decimal.
pub(super) fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let sorted: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_millis(5));
        assert_eq!(percentile(&sorted, 99), Duration::from_millis(10));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn a_table_without_rows_shows_nothing_and_holds_nothing() {
        assert!(!Report::new(true).all_held());
    }
}
