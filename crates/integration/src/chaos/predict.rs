//! What `rhumb rehearse` says of the same failure, with the same file and the same clients.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    client::{Level, VALUE},
    fault::{CLOCK_OFF_MILLIS, FSYNC_MORE, Kind, LINK_LOST_PER_MILLE, LINK_MORE},
};

/// When the failure begins in a rehearsal, and how much of it comes after the mending.
const LEAD: Duration = Duration::from_secs(60);
/// How long nobody reaches a node that is asked to stop and started again. It takes 0.8 s, but answers while its
/// connections drain.
const RESTART: Duration = Duration::from_millis(400);
/// Seeds of a rehearsal; in some of them the region leads the control plane.
const SEEDS: u32 = 12;
/// Requests per second of all clients of a level, as they come about in trials.
const LOCAL_RATE: u32 = 240;
const ONE_REMOTE_RATE: u32 = 24;
/// What each level has of them, in words.
const BOTH: &str = "local=91%,one_remote=9%";
/// How often a client tries again: each region once.
const RETRIES: u32 = 2;

/// A figure over all seeds of a rehearsal: milliseconds, or a number of writes. `None` is never.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Span {
    /// The least.
    pub least: Option<u128>,
    /// The middle one.
    pub middle: Option<u128>,
    /// The most.
    pub most: Option<u128>,
}

impl Span {
    /// Of what all seeds say; of none it is never.
    fn of(values: impl Iterator<Item = Option<u128>>) -> Self {
        let mut values: Vec<u128> = values.map(|value| value.unwrap_or(u128::MAX)).collect();
        values.sort_unstable();
        let nth = |nth: usize| values.get(nth).copied().filter(|value| *value < u128::MAX);
        let last = values.len().saturating_sub(1);
        Self { least: nth(0), middle: nth(values.len() / 2), most: nth(last) }
    }
}

/// What is predicted of a failure.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Prediction {
    /// Until another node no longer routed to the region.
    pub ejected: Span,
    /// Until another region held its lease, where the region did not lead the control plane.
    pub moved: Span,
    /// The same where it did.
    pub moved_led: Span,
    /// The longest that clients at `local` go without an acknowledgement.
    pub gap_local: Span,
    /// The same at `one_remote`.
    pub gap_one_remote: Span,
    /// Until clients at `local` no longer ask in vain, with all their tries; zero when none does.
    pub in_vain_local: Span,
    /// The same at `one_remote`.
    pub in_vain_one_remote: Span,
    /// The greatest lag between regions that did not fail.
    pub lag: Span,
    /// Writes at `local` that the region has acknowledged and no other region has when it fails; none where
    /// others hear of them at once.
    pub at_risk: Option<Span>,
}

#[derive(Deserialize)]
struct Document {
    runs: Vec<RunRow>,
}

#[derive(Deserialize)]
struct RunRow {
    faults: Vec<FaultOfRun>,
}

#[derive(Deserialize)]
struct FaultOfRun {
    at_ms: f64,
    led: bool,
    detected_ms: Option<f64>,
    owned_ms: Option<f64>,
    gap_ms: f64,
    served_ms: Option<f64>,
    lag_of_others_ms: f64,
    exposed_writes: u64,
}

impl RunRow {
    fn led(&self) -> bool {
        self.faults.first().is_some_and(|fault| fault.led)
    }

    /// From the beginning of the first fault until something came for the first time.
    fn first(&self, came: fn(&FaultOfRun) -> Option<f64>) -> Option<u128> {
        let begun = self.faults.first()?.at_ms;
        let came = self.faults.iter().filter_map(|it| Some(it.at_ms - begun + came(it)?));
        came.reduce(f64::min).map(whole)
    }

    /// Until all faults no longer have an effect.
    fn last(&self, ended: fn(&FaultOfRun) -> Option<f64>) -> Option<u128> {
        let ended: Option<Vec<f64>> = self.faults.iter().map(ended).collect();
        ended?.into_iter().reduce(f64::max).map(whole)
    }

    fn exposed(&self) -> Option<u128> {
        self.faults.first().map(|fault| u128::from(fault.exposed_writes))
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "milliseconds of minutes"
)]
fn whole(millis: f64) -> u128 {
    millis.max(0.0) as u128
}

/// A failure to be rehearsed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub(super) binary: &'a Path,
    pub(super) config: &'a Path,
    pub(super) kind: Kind,
    pub(super) region: &'a str,
    pub(super) lasting: Duration,
}

impl Case<'_> {
    /// Rehearses it for each level at which clients write.
    pub(super) fn predict(&self) -> Result<Prediction> {
        let local = self.rehearse(Level::Local)?;
        let one_remote = self.rehearse(Level::OneRemote)?;
        let of = |document: &Document, figure: &dyn Fn(&RunRow) -> Option<u128>| {
            Span::of(document.runs.iter().map(figure))
        };
        let gap = |document| of(document, &|run| run.last(|fault| Some(fault.gap_ms)));
        let in_vain = |document| of(document, &|run| run.last(|fault| fault.served_ms));
        let moved = |led: bool| {
            let runs = local.runs.iter().filter(|run| run.led() == led);
            Span::of(runs.map(|run| run.first(|fault| fault.owned_ms)))
        };
        Ok(Prediction {
            ejected: of(&local, &|run| run.first(|fault| fault.detected_ms)),
            moved: moved(false),
            moved_led: moved(true),
            gap_local: gap(&local),
            gap_one_remote: gap(&one_remote),
            in_vain_local: in_vain(&local),
            in_vain_one_remote: in_vain(&one_remote),
            lag: of(&local, &|run| run.last(|fault| Some(fault.lag_of_others_ms))),
            at_risk: self.kind.holds_writes_back().then(|| of(&local, &RunRow::exposed)),
        })
    }

    fn rehearse(&self, level: Level) -> Result<Document> {
        // What writers at `local` do, those at `one_remote` wait for, and not the other way round.
        let (rate, acks) = match level {
            Level::Local => (LOCAL_RATE, "local"),
            Level::OneRemote => (LOCAL_RATE + ONE_REMOTE_RATE, BOTH),
        };
        let seconds = |time: Duration| format!("{}s", time.as_secs());
        let mut command = Command::new(self.binary);
        command.arg("rehearse").arg("--config").arg(self.config);
        command.args(["--for", &seconds(LEAD * 2 + self.lasting)]);
        command.args(["--seeds", &SEEDS.to_string(), "--writes", "100%", "--json"]);
        command.args(["--rps", &rate.to_string(), "--ack", acks]);
        command.args(["--client-timeout", &format!("{}ms", level.wait().as_millis())]);
        command.args(["--retries", &RETRIES.to_string(), "--processes", "1"]);
        command.args(["--value", &format!("{}B", VALUE.len())]);
        for fault in self.faults() {
            command.args(["--fault", &fault]);
        }
        let output = command.stdin(Stdio::null()).output().context("failed to start rhumb")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rhumb rehearse: {}", said.trim());
        serde_json::from_slice(&output.stdout).context("rhumb rehearse says what nobody expects")
    }

    /// The failure in the words of a scenario.
    fn faults(&self) -> Vec<String> {
        let region = self.region;
        let words = match self.kind {
            Kind::Kill => vec![format!("region {region} down")],
            Kind::Freeze => vec![format!("region {region} frozen")],
            Kind::Cut => vec![format!("region {region} isolated")],
            Kind::CutOneWay => vec![format!("region {region} mute")],
            Kind::SlowDisk => vec![format!("disk {region} slow {}ms", FSYNC_MORE.as_millis())],
            Kind::FullDisk => vec![format!("disk {region} full")],
            Kind::SlowLink => {
                let delay = format!("uplink {region} delay {}ms", (LINK_MORE / 2).as_millis());
                let loss = format!("uplink {region} loss {}%", LINK_LOST_PER_MILLE / 10);
                vec![delay, loss]
            }
            // It is started again with another clock.
            Kind::Clock => {
                let rest = self.lasting.saturating_sub(RESTART);
                let restart = span(LEAD, format!("region {region} killed"), RESTART);
                let clock = format!("clock {region} +{CLOCK_OFF_MILLIS}ms");
                return vec![restart, span(LEAD + RESTART, clock, rest)];
            }
        };
        words.into_iter().map(|words| span(LEAD, words, self.lasting)).collect()
    }
}

/// A fault from a time on, for so long.
fn span(at: Duration, fault: String, lasting: Duration) -> String {
    format!("at {}ms {fault} for {}ms", at.as_millis(), lasting.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_of_all_also_of_those_that_never_came() {
        let span = |values: &[Option<u128>]| Span::of(values.iter().copied());
        let (least, middle) = (Some(1), Some(3));
        assert_eq!(span(&[Some(3), None, Some(1)]), Span { least, middle, most: None });
        assert_eq!(span(&[None, Some(1), None]), Span { least, ..Span::default() });
        assert_eq!(span(&[]), Span::default());
    }

    #[test]
    fn where_the_region_led_is_told_apart() {
        let run = r#"{"runs": [{"faults": [
            {"at_ms": 50.0, "led": true, "detected_ms": null, "owned_ms": null, "gap_ms": 7.5, "served_ms": 0.0,
             "lag_of_others_ms": 3.5, "exposed_writes": 4},
            {"at_ms": 90.0, "led": false, "detected_ms": 2.0, "owned_ms": 7.0, "gap_ms": 3.0, "served_ms": null,
             "lag_of_others_ms": 2.0, "exposed_writes": 5}]}]}"#;
        let document: Document = serde_json::from_str(run).unwrap();
        let run = &document.runs[0];
        assert!(run.led());
        assert_eq!(run.first(|fault| fault.owned_ms), Some(47));
        assert_eq!(run.first(|fault| fault.detected_ms), Some(42));
        assert_eq!(run.last(|fault| Some(fault.gap_ms)), Some(7));
        assert_eq!(run.last(|fault| fault.served_ms), None, "one of them never ends");
        assert_eq!(run.exposed(), Some(4));
    }
}
