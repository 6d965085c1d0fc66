//! The comma-separated output of `redis-benchmark --csv`.

use anyhow::{Context, Result};

/// What one run of one command gave.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Run {
    /// The name of the test, as redis-benchmark writes it.
    pub(crate) test: String,
    pub(crate) requests_per_second: f64,
    pub(crate) latency_p99_millis: f64,
}

/// Reads the rows below the heading. Columns are found by name, because versions add some.
pub(crate) fn parse(output: &str) -> Result<Vec<Run>> {
    // Warnings come before the table.
    let mut lines = output.lines().skip_while(|line| !line.starts_with("\"test\""));
    let heading = cells(lines.next().context("there is no heading that starts with \"test\"")?);
    let column = |name: &str| {
        let found = heading.iter().position(|cell| cell == name);
        found.with_context(|| format!("there is no column `{name}`"))
    };
    let (test, rps, p99) = (column("test")?, column("rps")?, column("p99_latency_ms")?);
    let read = |line: &str| {
        let cells = cells(line);
        let text = |at: usize| cells.get(at).with_context(|| format!("a short line: {line}"));
        let number =
            |at: usize| text(at)?.parse::<f64>().with_context(|| format!("no number: {line}"));
        Ok(Run {
            test: text(test)?.clone(),
            requests_per_second: number(rps)?,
            latency_p99_millis: number(p99)?,
        })
    };
    lines.filter(|line| !line.is_empty()).map(read).collect()
}

/// The cells of a line. Names of tests may hold commas, so only the quotes divide.
fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('"').trim_end_matches('"');
    inner.split("\",\"").map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
WARNING: Could not fetch server CONFIG
\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"
\"SET\",\"40000.00\",\"0.614\",\"0.176\",\"0.607\",\"0.935\",\"1.095\",\"1.175\"
\"LRANGE_100 (first 100, elements)\",\"39525.69\",\"0.811\",\"0.096\",\"0.335\",\"3.687\",\"4.391\",\"4.463\"
";

    #[test]
    fn reads_every_row_below_the_heading() {
        let runs = parse(OUTPUT).expect("it is what redis-benchmark 7.0 prints");
        let set = Run {
            test: "SET".to_owned(),
            requests_per_second: 40_000.0,
            latency_p99_millis: 1.095,
        };
        assert_eq!(runs.first(), Some(&set));
        let names: Vec<&str> = runs.iter().map(|run| run.test.as_str()).collect();
        assert_eq!(names, ["SET", "LRANGE_100 (first 100, elements)"]);
    }

    #[test]
    fn refuses_what_is_not_its_output() {
        assert!(parse("Could not connect to Redis").is_err());
        assert!(parse("\"test\",\"rps\"\n\"SET\",\"1\"").is_err(), "a column is missing");
        let cut = OUTPUT.replace("\"39525.69\"", "\"-\"");
        assert!(parse(&cut).is_err(), "a rate that is no number");
    }
}
