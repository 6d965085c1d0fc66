//! The table of a run, and its verdict.

use std::{fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    client::Level,
    fault::Kind,
    machine::Machine,
    measure::{Clients, Outcome, millis},
    predict::{Prediction, Span},
};

/// A run: every trial, and what was demanded of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// On what, when, and of which commit.
    pub machine: Machine,
    /// How many trials are to be made.
    pub planned: usize,
    /// The longest gap that a client at `local` may see.
    #[serde(with = "millis")]
    pub gap_max: Duration,
    /// What the nodes' profile was.
    pub profile: String,
    /// Decided the order, the regions and the packets lost.
    pub seed: u64,
    /// In their order.
    pub trials: Vec<Outcome>,
}

/// A column of the table: its heading, and a trial's value in it.
type Column = (&'static str, fn(&Outcome) -> Option<Duration>);

const COLUMNS: &[Column] = &[
    ("not routed to", |of| of.ejected),
    ("verdict", |of| of.condemned),
    ("lease elsewhere", |of| of.moved),
    ("served, local", |of| Some(of.clients.get(&Level::Local)?.served)),
    ("gap, local", |of| Some(worst(of.clients.get(&Level::Local)?))),
    ("served, one_remote", |of| Some(of.clients.get(&Level::OneRemote)?.served)),
    ("gap, one_remote", |of| Some(worst(of.clients.get(&Level::OneRemote)?))),
    ("lag", |of| Some(of.lag)),
    ("caught up", |of| Some(of.caught_up)),
    ("as before", |of| Some(of.well)),
];

fn worst(clients: &Clients) -> Duration {
    clients.gap.max(clients.gap_mending)
}

/// A figure that is predicted.
struct Compared {
    heading: &'static str,
    /// Milliseconds, or a number of writes.
    measured: fn(&Outcome) -> Option<u128>,
    /// `None` where nothing is predicted.
    predicted: fn(&Prediction, &Outcome) -> Option<Span>,
    /// A prediction is near when it is within a fifth of what was measured, or within this.
    near: u128,
}

/// What is near of times, in milliseconds.
const NEAR_MILLIS: u128 = 200;
/// What is near of writes at risk: what clients write in a fifth of a second beside one region.
const NEAR_WRITES: u128 = 16;

const COMPARED: &[Compared] = &[
    time("not routed to", |of| in_millis(of.ejected), |of, _| Some(of.ejected)),
    time(
        "lease elsewhere",
        |of| in_millis(of.moved),
        |of, trial| Some(if trial.led { of.moved_led } else { of.moved }),
    ),
    time("gap, local", |of| of_clients(of, Level::Local, |it| it.gap), |of, _| Some(of.gap_local)),
    time(
        "gap, one_remote",
        |of| of_clients(of, Level::OneRemote, |it| it.gap),
        |of, _| Some(of.gap_one_remote),
    ),
    time(
        "in vain until, local",
        |of| of_clients(of, Level::Local, |it| it.in_vain),
        |of, _| Some(of.in_vain_local),
    ),
    time(
        "in vain until, one_remote",
        |of| of_clients(of, Level::OneRemote, |it| it.in_vain),
        |of, _| Some(of.in_vain_one_remote),
    ),
    time("lag", |of| in_millis(Some(of.lag)), |of, _| Some(of.lag)),
    Compared {
        heading: "writes at risk",
        measured: |of| of.at_risk.map(u128::from),
        predicted: |of, _| of.at_risk,
        near: NEAR_WRITES,
    },
];

const fn time(
    heading: &'static str,
    measured: fn(&Outcome) -> Option<u128>,
    predicted: fn(&Prediction, &Outcome) -> Option<Span>,
) -> Compared {
    Compared { heading, measured, predicted, near: NEAR_MILLIS }
}

fn in_millis(time: Option<Duration>) -> Option<u128> {
    time.map(|time| time.as_millis())
}

fn of_clients(of: &Outcome, level: Level, time: fn(&Clients) -> Duration) -> Option<u128> {
    in_millis(of.clients.get(&level).map(time))
}

fn is_near(measured: Option<u128>, predicted: Option<u128>, near: u128) -> bool {
    match (measured, predicted) {
        (Some(measured), Some(predicted)) => measured.abs_diff(predicted) <= near.max(measured / 5),
        (measured, predicted) => measured.is_none() && predicted.is_none(),
    }
}

/// Whether what was measured is between what two seeds say, or near one of them.
fn is_within(measured: Option<u128>, span: Span, near: u128) -> bool {
    let never = |value: Option<u128>| value.unwrap_or(u128::MAX);
    (never(span.least)..=never(span.most)).contains(&never(measured))
        || is_near(measured, span.least, near)
        || is_near(measured, span.most, near)
}

/// Medians of both, how many trials are near the predicted one, and how many are within what is predicted.
fn compared(pairs: &[(Option<u128>, Option<Span>)], near: u128) -> String {
    let both: Vec<(Option<u128>, Span)> =
        pairs.iter().filter_map(|(measured, span)| Some((*measured, (*span)?))).collect();
    if both.is_empty() {
        return "-".to_owned();
    }
    let near_ones = both.iter().filter(|(it, span)| is_near(*it, span.middle, near)).count();
    let within = both.iter().filter(|(it, span)| is_within(*it, *span, near)).count();
    let measured = median(both.iter().filter_map(|pair| pair.0).collect());
    let predicted = median(both.iter().filter_map(|pair| pair.1.middle).collect());
    format!("{predicted}, {measured}, {near_ones}, {within} of {}", both.len())
}

fn median(mut values: Vec<u128>) -> String {
    values.sort_unstable();
    let median = values.get(values.len() / 2);
    median.map_or_else(|| "-".to_owned(), u128::to_string)
}

impl Report {
    /// Trials that could be measured.
    fn measured(&self) -> impl Iterator<Item = &Outcome> {
        self.trials.iter().filter(|trial| trial.trouble.is_none())
    }

    /// Trials that could not.
    fn failed(&self) -> impl Iterator<Item = (&Outcome, &str)> {
        self.trials.iter().filter_map(|trial| Some((trial, trial.trouble.as_deref()?)))
    }

    /// The table, in Markdown: median and maximum of each kind, in milliseconds. A trial that failed has a
    /// row of its own, and is in no other.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut table = String::from("| failure | trials |");
        for (heading, _) in COLUMNS {
            let _infallible = write!(table, " {heading} |");
        }
        table.push_str(" acknowledged | lost |\n|---|---|");
        table.push_str(&"---|".repeat(COLUMNS.len() + 2));
        table.push('\n');
        for kind in Kind::ALL {
            let of: Vec<&Outcome> = self.measured().filter(|trial| trial.kind == kind).collect();
            if of.is_empty() {
                continue;
            }
            let _infallible = write!(table, "| {kind} | {} |", of.len());
            for (_, value) in COLUMNS {
                let values = of.iter().filter_map(|trial| value(trial)).collect();
                let _infallible = write!(table, " {} |", cell(values, of.len()));
            }
            let _infallible = writeln!(table, " {} |", writes(&of));
        }
        for (trial, _) in self.failed() {
            let _infallible = write!(table, "| {} of {}: FAILED | 1 |", trial.kind, trial.region);
            table.push_str(&" - |".repeat(COLUMNS.len()));
            let _infallible = writeln!(table, " {} |", writes(&[trial]));
        }
        table
    }

    /// Predicted beside measured, in Markdown: medians in milliseconds, how many trials are near the median that
    /// is predicted, and how many are within what the seeds say. None where nothing was predicted.
    #[must_use]
    pub fn predictions(&self) -> Option<String> {
        let mut table = String::from("| failure |");
        for Compared { heading, .. } in COMPARED {
            let _infallible = write!(table, " {heading}: predicted, measured, near, within |");
        }
        let _infallible = writeln!(table, "\n|---|{}", "---|".repeat(COMPARED.len()));
        let mut any = false;
        for kind in Kind::ALL {
            let of = self.measured().filter(|trial| trial.kind == kind);
            let of: Vec<(&Outcome, &Prediction)> =
                of.filter_map(|trial| Some((trial, trial.predicted.as_ref()?))).collect();
            if of.is_empty() {
                continue;
            }
            any = true;
            let _infallible = write!(table, "| {kind} |");
            for Compared { measured, predicted, near, .. } in COMPARED {
                let pairs =
                    of.iter().map(|(outcome, said)| (measured(outcome), predicted(said, outcome)));
                let pairs: Vec<_> = pairs.collect();
                let _infallible = write!(table, " {} |", compared(&pairs, *near));
            }
            table.push('\n');
        }
        any.then_some(table)
    }

    /// What is not as it was demanded.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (trial, trouble) in self.failed() {
            let trouble = trouble.lines().next().unwrap_or_default();
            complaints.push(format!("{} of {} failed: {trouble}", trial.kind, trial.region));
        }
        for trial in &self.trials {
            for (level, clients) in &trial.clients {
                let what = format!("{} of {}, {level}", trial.kind, trial.region);
                if clients.lost > 0 {
                    complaints.push(format!("{what}: {} writes are lost", clients.lost));
                }
                let gap = worst(clients);
                if gap >= self.gap_max && level.promises_gap() && trial.trouble.is_none() {
                    complaints.push(format!("{what}: a client went without for {gap:?}"));
                }
            }
        }
        complaints
    }
}

/// The last two columns: writes acknowledged, and lost.
fn writes(of: &[&Outcome]) -> String {
    let clients = || of.iter().flat_map(|trial| trial.clients.values());
    let acknowledged: u64 = clients().map(|clients| clients.acknowledged).sum();
    let lost: u64 = clients().map(|clients| clients.lost).sum();
    format!("{acknowledged} | {lost}")
}

/// Median and maximum in milliseconds; says how many there are when not every trial has one.
fn cell(mut values: Vec<Duration>, trials: usize) -> String {
    values.sort_unstable();
    let (Some(median), Some(most)) = (values.get(values.len() / 2), values.last()) else {
        return "-".to_owned();
    };
    let both = format!("{} / {}", median.as_millis(), most.as_millis());
    if values.len() == trials { both } else { format!("{both} ({} of {trials})", values.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(trials: Vec<Outcome>) -> Report {
        Report {
            machine: Machine::look(),
            planned: trials.len(),
            gap_max: Duration::from_secs(1),
            profile: "fast".to_owned(),
            seed: 1,
            trials,
        }
    }

    #[test]
    fn a_trial_that_failed_has_a_row_of_its_own_and_is_a_complaint() {
        let well = Outcome {
            trouble: None,
            moved: Some(Duration::from_millis(70)),
            ..Outcome::failed(Kind::Kill, "us-east-1", String::new())
        };
        let late = "still so after 120s: us-east-1 is behind\nits log".to_owned();
        let failed = Outcome {
            moved: Some(Duration::from_secs(99)),
            clients: [(Level::Local, Clients { acknowledged: 7, lost: 1, ..Clients::default() })]
                .into(),
            ..Outcome::failed(Kind::Kill, "us-west-2", late)
        };
        let report = report(vec![well, failed]);
        let table = report.to_markdown();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(rows.len(), 2, "{table}");
        assert!(rows[0].starts_with("| kill | 1 | - | - | 70 / 70 |"), "{table}");
        assert!(rows[1].starts_with("| kill of us-west-2: FAILED | 1 | - |"), "{table}");
        assert!(rows[1].ends_with("| 7 | 1 |"), "{table}");
        let columns = |row: &str| row.matches('|').count();
        assert!(table.lines().all(|row| columns(row) == columns(rows[0])), "{table}");
        let complaints = report.complaints();
        let of = "kill of us-west-2";
        assert_eq!(
            complaints,
            [
                format!("{of} failed: still so after 120s: us-east-1 is behind"),
                format!("{of}, local: 1 writes are lost")
            ]
        );
    }

    #[test]
    fn a_report_is_read_again_without_its_predictions() {
        let trial = Outcome {
            ejected: Some(Duration::from_micros(70_300)),
            lag: Duration::from_millis(180),
            clients: [(Level::OneRemote, Clients { acknowledged: 7, ..Clients::default() })].into(),
            trouble: None,
            ..Outcome::failed(Kind::CutOneWay, "us-east-1", String::new())
        };
        let predicted = Some(Prediction::default());
        let kept = report(vec![Outcome { predicted, ..trial.clone() }]);
        let read: Report = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        assert_eq!((read.trials, read.gap_max), (vec![trial], kept.gap_max));
    }

    #[test]
    fn what_is_predicted_stands_beside_what_was_measured() {
        let span = |least, middle, most| Span {
            least: Some(least),
            middle: Some(middle),
            most: Some(most),
        };
        let predicted = Prediction {
            in_vain_local: span(0, 0, 0),
            lag: span(90, 150, 390),
            at_risk: Some(span(2, 9, 11)),
            ..Prediction::default()
        };
        let trial = |at_risk| Outcome {
            clients: [(Level::Local, Clients::default())].into(),
            lag: Duration::from_millis(400),
            at_risk: Some(at_risk),
            trouble: None,
            predicted: Some(predicted.clone()),
            ..Outcome::failed(Kind::Kill, "us-east-1", String::new())
        };
        let said = report(vec![trial(3), trial(40)]).predictions().unwrap();
        let row = said.lines().nth(2).unwrap();
        assert!(
            row.ends_with(
                "| 0, 0, 2, 2 of 2 | -, -, 2, 2 of 2 | 150, 400, 0, 2 of 2 | 9, 40, 1, 1 of 2 |"
            ),
            "{said}"
        );
    }

    #[test]
    fn near_is_within_a_fifth_or_a_fifth_of_a_second() {
        let is_near = |measured, predicted| is_near(measured, predicted, NEAR_MILLIS);
        assert!(is_near(Some(10), Some(210)));
        assert!(!is_near(Some(10), Some(211)));
        assert!(is_near(Some(10_000), Some(8_000)));
        assert!(!is_near(Some(10_000), Some(7_999)));
        assert!(is_near(None, None), "neither says that it happens");
        let span = Span { least: Some(1_000), middle: Some(2_000), most: None };
        let is_within = |measured| is_within(measured, span, NEAR_MILLIS);
        assert!(is_within(Some(800)) && is_within(Some(90_000)) && is_within(None));
        assert!(!is_within(Some(799)));
        assert!(!is_near(None, Some(10)) && !is_near(Some(10), None));
    }

    #[test]
    fn a_loss_and_a_long_gap_are_complaints_where_there_is_a_promise() {
        let clients =
            |gap, lost| Clients { gap: Duration::from_millis(gap), lost, ..Clients::default() };
        let trial = |kind, local: Clients, one_remote: Clients| Outcome {
            clients: [(Level::Local, local), (Level::OneRemote, one_remote)].into(),
            trouble: None,
            ..Outcome::failed(kind, "us-east-1", String::new())
        };
        let report = report(vec![
            trial(Kind::Kill, clients(1_000, 0), clients(0, 0)),
            trial(Kind::Cut, clients(0, 1), clients(0, 0)),
            trial(Kind::SlowLink, clients(999, 0), clients(9_000, 0)),
        ]);
        let complaints = report.complaints();
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert_eq!(
            cell(vec![Duration::from_millis(5), Duration::from_millis(3)], 3),
            "5 / 5 (2 of 3)"
        );
        assert_eq!(report.predictions(), None);
    }
}
