//! The table of a run, and its verdict.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    client::Level,
    fault::Kind,
    measure::{Clients, Outcome, millis},
};

/// A run: every trial, and what was demanded of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The longest gap that a client may see.
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
                if gap >= self.gap_max {
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
