//! The table of a run, and its verdict.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    client::Level,
    fault::Kind,
    measure::{Clients, Outcome, millis},
    predict::Prediction,
};

/// A run: every trial, and what was demanded of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The longest gap that a client at `local` may see.
    #[serde(serialize_with = "millis")]
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

/// A figure that is predicted: its heading, as measured, as predicted.
type Compared =
    (&'static str, fn(&Outcome) -> Option<Duration>, fn(&Prediction) -> Option<Duration>);

const COMPARED: &[Compared] = &[
    ("not routed to", |of| of.ejected, |of| of.ejected),
    ("lease elsewhere", |of| of.moved, |of| of.moved),
    ("gap, local", |of| Some(of.clients.get(&Level::Local)?.gap), |of| of.gap_local),
    ("gap, one_remote", |of| Some(of.clients.get(&Level::OneRemote)?.gap), |of| of.gap_one_remote),
];

/// A prediction is near when it is within a fifth of what was measured, or within this.
const NEAR: Duration = Duration::from_millis(200);

fn is_near(measured: Option<Duration>, predicted: Option<Duration>) -> bool {
    match (measured, predicted) {
        (Some(measured), Some(predicted)) => measured.abs_diff(predicted) <= NEAR.max(measured / 5),
        (measured, predicted) => measured.is_none() && predicted.is_none(),
    }
}

/// Medians of both, and how many are near.
fn compared(pairs: &[(Option<Duration>, Option<Duration>)]) -> String {
    if pairs.iter().all(|(_, predicted)| predicted.is_none())
        && pairs.iter().any(|(measured, _)| measured.is_some())
    {
        return "not predicted".to_owned();
    }
    let near = pairs.iter().filter(|(measured, predicted)| is_near(*measured, *predicted)).count();
    let measured = median(pairs.iter().filter_map(|pair| pair.0).collect());
    let predicted = median(pairs.iter().filter_map(|pair| pair.1).collect());
    format!("{predicted}, {measured}, {near} of {}", pairs.len())
}

fn median(mut values: Vec<Duration>) -> String {
    values.sort_unstable();
    let median = values.get(values.len() / 2);
    median.map_or_else(|| "-".to_owned(), |median| median.as_millis().to_string())
}

impl Report {
    /// The table, in Markdown: median and maximum of each kind, in milliseconds.
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
            let of: Vec<&Outcome> = self.trials.iter().filter(|trial| trial.kind == kind).collect();
            if of.is_empty() {
                continue;
            }
            let _infallible = write!(table, "| {kind} | {} |", of.len());
            for (_, value) in COLUMNS {
                let values = of.iter().filter_map(|trial| value(trial)).collect();
                let _infallible = write!(table, " {} |", cell(values, of.len()));
            }
            let clients = || of.iter().flat_map(|trial| trial.clients.values());
            let acknowledged: u64 = clients().map(|clients| clients.acknowledged).sum();
            let lost: u64 = clients().map(|clients| clients.lost).sum();
            let _infallible = writeln!(table, " {acknowledged} | {lost} |");
        }
        table
    }

    /// Predicted beside measured, in Markdown: medians in milliseconds, and how many trials are near
    /// their prediction. None where nothing was predicted.
    #[must_use]
    pub fn predictions(&self) -> Option<String> {
        let mut table = String::from("| failure |");
        for (heading, ..) in COMPARED {
            let _infallible = write!(table, " {heading}: predicted, measured, near |");
        }
        let _infallible = writeln!(table, "\n|---|{}", "---|".repeat(COMPARED.len()));
        let mut any = false;
        for kind in Kind::ALL {
            let of = self.trials.iter().filter(|trial| trial.kind == kind);
            let of: Vec<(&Outcome, &Prediction)> =
                of.filter_map(|trial| Some((trial, trial.predicted.as_ref()?))).collect();
            if of.is_empty() {
                continue;
            }
            any = true;
            let _infallible = write!(table, "| {kind} |");
            for (_, measured, predicted) in COMPARED {
                let pairs = of.iter().map(|(outcome, said)| (measured(outcome), predicted(said)));
                let _infallible = write!(table, " {} |", compared(&pairs.collect::<Vec<_>>()));
            }
            table.push('\n');
        }
        any.then_some(table)
    }

    /// What is not as it was demanded.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for trial in &self.trials {
            for (level, clients) in &trial.clients {
                let what = format!("{} of {}, {level}", trial.kind, trial.region);
                if clients.lost > 0 {
                    complaints.push(format!("{what}: {} writes are lost", clients.lost));
                }
                let gap = worst(clients);
                if gap >= self.gap_max && level.promises_gap() {
                    complaints.push(format!("{what}: a client went without for {gap:?}"));
                }
            }
        }
        complaints
    }
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

    #[test]
    fn near_is_within_a_fifth_or_a_fifth_of_a_second() {
        let millis = |millis| Some(Duration::from_millis(millis));
        assert!(is_near(millis(10), millis(210)));
        assert!(!is_near(millis(10), millis(211)));
        assert!(is_near(millis(10_000), millis(8_000)));
        assert!(!is_near(millis(10_000), millis(7_999)));
        assert!(is_near(None, None), "neither says that it happens");
        assert!(!is_near(None, millis(10)) && !is_near(millis(10), None));
    }

    #[test]
    fn a_loss_and_a_long_gap_are_complaints_where_there_is_a_promise() {
        let clients =
            |gap, lost| Clients { gap: Duration::from_millis(gap), lost, ..Clients::default() };
        let trial = |kind, local: Clients, one_remote: Clients| Outcome {
            kind,
            region: "us-east-1".to_owned(),
            ejected: None,
            condemned: None,
            moved: None,
            clients: [(Level::Local, local), (Level::OneRemote, one_remote)].into(),
            lag: Duration::ZERO,
            caught_up: Duration::ZERO,
            well: Duration::ZERO,
            predicted: None,
        };
        let report = Report {
            gap_max: Duration::from_secs(1),
            profile: "fast".to_owned(),
            seed: 1,
            trials: vec![
                trial(Kind::Kill, clients(1_000, 0), clients(0, 0)),
                trial(Kind::Cut, clients(0, 1), clients(0, 0)),
                trial(Kind::SlowLink, clients(999, 0), clients(9_000, 0)),
            ],
        };
        let complaints = report.complaints();
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert_eq!(
            cell(vec![Duration::from_millis(5), Duration::from_millis(3)], 3),
            "5 / 5 (2 of 3)"
        );
        assert_eq!(report.predictions(), None);
    }
}
