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
    measure::maybe_millis,
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

/// What is predicted of a failure: the middle of its seeds, of the gap the longest.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Prediction {
    /// Until another node no longer routed to the region.
    #[serde(serialize_with = "maybe_millis")]
    pub ejected: Option<Duration>,
    /// Until another region held its lease, where the region did not lead the control plane.
    #[serde(serialize_with = "maybe_millis")]
    pub moved: Option<Duration>,
    /// The same where it did.
    #[serde(serialize_with = "maybe_millis")]
    pub moved_led: Option<Duration>,
    /// The longest that clients at `local` go without an acknowledgement.
    #[serde(serialize_with = "maybe_millis")]
    pub gap_local: Option<Duration>,
    /// The same at `one_remote`.
    #[serde(serialize_with = "maybe_millis")]
    pub gap_one_remote: Option<Duration>,
    /// Until clients at `local` no longer ask in vain, with all their tries; zero when none does.
    #[serde(serialize_with = "maybe_millis")]
    pub in_vain_local: Option<Duration>,
    /// The same at `one_remote`.
    #[serde(serialize_with = "maybe_millis")]
    pub in_vain_one_remote: Option<Duration>,
    /// The greatest lag between regions that did not fail.
    #[serde(serialize_with = "maybe_millis")]
    pub lag: Option<Duration>,
    /// The most writes at `local` that the region has acknowledged and no other region has when it fails.
    pub at_risk: Option<u64>,
}

#[derive(Deserialize)]
struct Document {
    faults: Vec<FaultRow>,
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
    owned_ms: Option<f64>,
    lag_of_others_ms: f64,
}

impl RunRow {
    fn led(&self) -> bool {
        self.faults.first().is_some_and(|fault| fault.led)
    }

    /// From the beginning of the first fault until the lease was elsewhere.
    fn owned(&self) -> Option<f64> {
        let begun = self.faults.first()?.at_ms;
        let owned = self.faults.iter().filter_map(|it| Some(it.at_ms - begun + it.owned_ms?));
        owned.reduce(f64::min)
    }

    fn lag_of_others(&self) -> Option<f64> {
        self.faults.iter().map(|fault| fault.lag_of_others_ms).reduce(f64::max)
    }
}

#[derive(Deserialize)]
struct FaultRow {
    detected: Spread,
    gap: Spread,
    served: Spread,
    exposed_writes_max: u64,
}

#[derive(Deserialize)]
struct Spread {
    p50_ms: Option<f64>,
    max_ms: Option<f64>,
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
        let first = |of: fn(&FaultRow) -> Option<f64>| {
            duration(local.faults.iter().filter_map(of).reduce(f64::min))
        };
        let longest = |of: &Document| {
            duration(of.faults.iter().filter_map(|fault| fault.gap.max_ms).reduce(f64::max))
        };
        let served = |of: &Document| {
            let served: Option<Vec<f64>> = of.faults.iter().map(|it| it.served.p50_ms).collect();
            duration(served.and_then(|served| served.into_iter().reduce(f64::max)))
        };
        let owned = |led: bool| {
            let runs = local.runs.iter().filter(|run| run.led() == led);
            duration(median(runs.map(RunRow::owned)))
        };
        let at_risk = local.faults.iter().map(|fault| fault.exposed_writes_max).max();
        Ok(Prediction {
            ejected: first(|fault| fault.detected.p50_ms),
            moved: owned(false),
            moved_led: owned(true),
            gap_local: longest(&local),
            gap_one_remote: longest(&one_remote),
            in_vain_local: served(&local),
            in_vain_one_remote: served(&one_remote),
            lag: duration(median(local.runs.iter().map(RunRow::lag_of_others))),
            at_risk: at_risk.filter(|_| self.kind.holds_writes_back()),
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

/// The middle; none when it came in fewer than half.
fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values: Vec<f64> = values.map(|value| value.unwrap_or(f64::INFINITY)).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().filter(|value| value.is_finite())
}

fn duration(millis: Option<f64>) -> Option<Duration> {
    millis.map(|millis| Duration::from_secs_f64(millis / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_of_all_also_of_those_that_never_came() {
        let middle = |values: &[Option<f64>]| median(values.iter().copied());
        assert_eq!(middle(&[Some(3.0), None, Some(1.0)]), Some(3.0));
        assert_eq!(middle(&[None, Some(1.0), None]), None);
        assert_eq!(middle(&[]), None);
    }

    #[test]
    fn where_the_region_led_is_told_apart() {
        let run = r#"{"faults": [], "runs": [
            {"faults": [{"at_ms": 50.0, "led": true, "owned_ms": null, "lag_of_others_ms": 3.5},
                        {"at_ms": 90.0, "led": false, "owned_ms": 7.0, "lag_of_others_ms": 2.0}]}]}"#;
        let document: Document = serde_json::from_str(run).unwrap();
        let run = &document.runs[0];
        assert!(run.led());
        assert_eq!((run.owned(), run.lag_of_others()), (Some(47.0), Some(3.5)));
    }
}
