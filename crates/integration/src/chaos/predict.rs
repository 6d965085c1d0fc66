//! What `rhumb rehearse` says of the same failure, with the same file and the same clients.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    client::Level,
    fault::{CLOCK_OFF_MILLIS, FSYNC_MORE, Kind, LINK_LOST_PER_MILLE, LINK_MORE},
    measure::maybe_millis,
};

/// When the failure begins in a rehearsal, and how much of it comes after the mending.
const LEAD: Duration = Duration::from_secs(60);
/// How long a node takes that is asked to stop and started again.
const RESTART: Duration = Duration::from_millis(400);
/// Seeds of a rehearsal.
const SEEDS: u32 = 5;
/// Requests per second of all clients of a level, as they come about in trials.
const LOCAL_RATE: u32 = 240;
const ONE_REMOTE_RATE: u32 = 24;
/// How often a client tries again: each region once.
const RETRIES: u32 = 2;

/// What is predicted of a failure: the middle of its seeds, of the gap the longest.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Prediction {
    /// Until another node no longer routed to the region.
    #[serde(serialize_with = "maybe_millis")]
    pub ejected: Option<Duration>,
    /// Until another region held its lease.
    #[serde(serialize_with = "maybe_millis")]
    pub moved: Option<Duration>,
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
    lag_max_ms: f64,
}

#[derive(Deserialize)]
struct FaultRow {
    detected: Spread,
    owned: Spread,
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
        let mut lags: Vec<f64> = local.runs.iter().map(|run| run.lag_max_ms).collect();
        lags.sort_by(f64::total_cmp);
        let at_risk = local.faults.iter().map(|fault| fault.exposed_writes_max).max();
        Ok(Prediction {
            ejected: first(|fault| fault.detected.p50_ms),
            moved: first(|fault| fault.owned.p50_ms),
            gap_local: longest(&local),
            gap_one_remote: longest(&one_remote),
            in_vain_local: served(&local),
            in_vain_one_remote: served(&one_remote),
            lag: duration(lags.get(lags.len() / 2).copied()),
            at_risk: at_risk.filter(|_| self.kind.holds_writes_back()),
        })
    }

    fn rehearse(&self, level: Level) -> Result<Document> {
        let rate = match level {
            Level::Local => LOCAL_RATE,
            Level::OneRemote => ONE_REMOTE_RATE,
        };
        let seconds = |time: Duration| format!("{}s", time.as_secs());
        let mut command = Command::new(self.binary);
        command.arg("rehearse").arg("--config").arg(self.config);
        command.args(["--for", &seconds(LEAD * 2 + self.lasting)]);
        command.args(["--seeds", &SEEDS.to_string(), "--writes", "100%", "--json"]);
        command.args(["--rps", &rate.to_string(), "--ack", &level.to_string()]);
        command.args(["--client-timeout", &format!("{}ms", level.wait().as_millis())]);
        command.args(["--retries", &RETRIES.to_string(), "--processes", "1"]);
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

fn duration(millis: Option<f64>) -> Option<Duration> {
    millis.map(|millis| Duration::from_secs_f64(millis / 1e3))
}
