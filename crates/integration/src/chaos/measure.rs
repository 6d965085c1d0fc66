//! What a trial came to, out of what nodes said and clients saw.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    client::{Failure, Level, Seen},
    fault::Kind,
    loss::Lost,
    predict::Prediction,
    trial::LAG_SMALL,
    watch::{RegionView, View},
};

/// When things happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) injected: Instant,
    pub(super) mended: Instant,
    pub(super) well: Instant,
}

/// What a trial came to. Times count from the failure, unless they say otherwise.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// What was done.
    pub kind: Kind,
    /// To which region.
    pub region: String,
    /// Whether it led the control plane then: another is elected first.
    pub led: bool,
    /// Until another node no longer routed to the region, or round it where it is only slow.
    #[serde(with = "maybe_millis")]
    pub ejected: Option<Duration>,
    /// Until the others had agreed that it is down.
    #[serde(with = "maybe_millis")]
    pub condemned: Option<Duration>,
    /// Until another region held its lease.
    #[serde(with = "maybe_millis")]
    pub moved: Option<Duration>,
    /// What clients saw, by the level at which they write.
    pub clients: BTreeMap<Level, Clients>,
    /// The greatest lag between two regions that did not fail.
    #[serde(with = "millis")]
    pub lag: Duration,
    /// From the mending until no region was behind.
    #[serde(with = "millis")]
    pub caught_up: Duration,
    /// From the mending until all was as before, every client with its own region.
    #[serde(with = "millis")]
    pub well: Duration,
    /// Writes at `local` that the region had acknowledged before the failure, and that no other region had
    /// when it was mended; none of failures that let them pass.
    pub at_risk: Option<u64>,
    /// Why there is nothing to measure: it was not well again in time, or could not be done. What is measured
    /// besides is then of no use.
    pub trouble: Option<String>,
    /// What a rehearsal says, where there was one.
    #[serde(skip_deserializing)]
    pub predicted: Option<Prediction>,
}

impl Outcome {
    /// One that could not be done or measured.
    pub(super) fn failed(kind: Kind, region: &str, trouble: String) -> Self {
        Self {
            kind,
            region: region.to_owned(),
            led: false,
            ejected: None,
            condemned: None,
            moved: None,
            clients: BTreeMap::new(),
            lag: Duration::ZERO,
            caught_up: Duration::ZERO,
            well: Duration::ZERO,
            at_risk: None,
            trouble: Some(trouble),
            predicted: None,
        }
    }
}

/// What the clients of one level saw.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Clients {
    /// Until the end of the longest gap with a failed write, of the client where that ends last; zero
    /// when no write failed.
    #[serde(with = "millis")]
    pub served: Duration,
    /// Until a write last failed in every region, while the failure lasted; zero when none did.
    #[serde(with = "millis")]
    pub in_vain: Duration,
    /// The longest that any of them went without an acknowledgement, while the failure lasted.
    #[serde(with = "millis")]
    pub gap: Duration,
    /// The same from the mending until all was as before.
    #[serde(with = "millis")]
    pub gap_mending: Duration,
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Of them, those that are missing anywhere in the end.
    pub lost: u64,
    /// When writes failed, in milliseconds.
    pub failed_at_ms: Vec<u128>,
    /// Whose writes failed where and why, and how often.
    pub failures: BTreeMap<String, u64>,
}

/// Puts a trial's measurements together.
pub(super) fn outcome(
    kind: Kind,
    region: usize,
    names: &[&str],
    times: Times,
    views: &[Vec<View>],
    seen: &[Seen],
    lost: &Lost,
) -> Outcome {
    let name = names.get(region).copied().unwrap_or_default();
    let survivors: Vec<&[View]> = views
        .iter()
        .enumerate()
        .filter(|(nth, _)| *nth != region)
        .map(|(_, views)| views.as_slice())
        .collect();
    let first = |what: &dyn Fn(&RegionView) -> bool| {
        let shown = survivors
            .iter()
            .filter_map(|views| views.iter().find(|view| view.regions.get(name).is_some_and(what)));
        shown.map(|view| view.at.saturating_duration_since(times.injected)).min()
    };
    Outcome {
        kind,
        region: name.to_owned(),
        led: false,
        // Of what slows a region down, that a node prefers others is enough.
        ejected: match kind {
            Kind::Kill | Kind::Freeze | Kind::Cut => first(&|view| view.down),
            _ => first(&|view| !view.healthy),
        },
        condemned: first(&|view| view.condemned),
        moved: first(&|view| view.holder.as_deref().is_some_and(|holder| holder != name)),
        clients: Level::ALL.map(|level| (level, clients(level, names, times, seen, lost))).into(),
        lag: lag(&survivors, name, times),
        caught_up: caught_up(views, times),
        well: times.well.saturating_duration_since(times.mended),
        at_risk: None,
        trouble: None,
        predicted: None,
    }
}

/// The greatest lag that regions other than the failed one had among each other.
fn lag(survivors: &[&[View]], failed: &str, times: Times) -> Duration {
    let views = survivors.iter().flat_map(|views| views.iter());
    let during = views.filter(|view| view.at < times.mended);
    let lags = during.flat_map(|view| &view.regions).filter(|(name, _)| *name != failed);
    lags.filter_map(|(_, region)| region.behind).max().unwrap_or_default()
}

fn caught_up(views: &[Vec<View>], times: Times) -> Duration {
    let behind = |view: &&View| {
        let mut regions = view.regions.values();
        regions.any(|region| region.behind.is_some_and(|behind| behind > LAG_SMALL))
    };
    let last = views.iter().flatten().filter(|view| view.at > times.mended).filter(behind);
    let last = last.map(|view| view.at).max();
    last.map_or(Duration::ZERO, |at| at.saturating_duration_since(times.mended))
}

fn clients(level: Level, names: &[&str], times: Times, seen: &[Seen], lost: &Lost) -> Clients {
    let mut all = Clients { lost: lost.0.get(&level).copied().unwrap_or(0), ..Clients::default() };
    for client in seen.iter().filter(|client| client.level == level) {
        for failure in &client.failures {
            let name = names.get(client.region).copied().unwrap_or_default();
            let which = ["nearest", "second", "third"].get(failure.choice).unwrap_or(&"-");
            let what = format!("beside {name}, {which} region: {}", failure.reason);
            *all.failures.entry(what).or_default() += 1;
            let at = failure.at.saturating_duration_since(times.injected);
            all.failed_at_ms.push(at.as_millis());
            let everywhere = failure.choice + 1 == names.len();
            if everywhere && failure.at < times.mended {
                all.in_vain = all.in_vain.max(at);
            }
        }
        all.acknowledged += u64::try_from(client.acks.len()).unwrap_or(u64::MAX);
        let (during, after): (Vec<Gap>, Vec<Gap>) =
            gaps(&client.acks, times).partition(|gap| gap.start < times.mended);
        let longest = |gaps: &[Gap]| gaps.iter().map(Gap::length).max().unwrap_or_default();
        all.gap = all.gap.max(longest(&during));
        all.gap_mending = all.gap_mending.max(longest(&after));
        let failed = during.iter().filter(|gap| gap.has_failure(&client.failures));
        let served = failed.max_by_key(|gap| gap.length()).map(|gap| gap.end);
        let served = served.map(|end| end.saturating_duration_since(times.injected));
        all.served = all.served.max(served.unwrap_or_default());
    }
    all
}

/// A time without acknowledgements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Gap {
    start: Instant,
    end: Instant,
}

impl Gap {
    fn length(&self) -> Duration {
        self.end.saturating_duration_since(self.start)
    }

    fn has_failure(&self, failures: &[Failure]) -> bool {
        failures.iter().any(|failure| (self.start..self.end).contains(&failure.at))
    }
}

/// All that end after the failure and begin before all is well.
fn gaps(acks: &[Instant], times: Times) -> impl Iterator<Item = Gap> {
    let starts = acks.iter().copied();
    // Who never hears again waits until the end.
    let ends = acks.iter().copied().skip(1).chain([times.well]);
    let all = starts.zip(ends).map(|(start, end)| Gap { start, end });
    all.filter(move |gap| gap.end > times.injected && gap.start < times.well)
}

/// Durations as milliseconds, to a tenth of one.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64((time.as_secs_f64() * 1e4).round() / 10.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let millis = f64::deserialize(from)?;
        Duration::try_from_secs_f64(millis / 1e3).map_err(D::Error::custom)
    }
}

/// The same, of what may never have come.
pub(super) mod maybe_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::millis;

    #[derive(Serialize, Deserialize)]
    struct Millis(#[serde(with = "millis")] Duration);

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Millis).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Millis>::deserialize(from)?.map(|Millis(time)| time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    fn failure(at: Instant) -> Failure {
        Failure { at, choice: 0, reason: "closed".to_owned() }
    }

    fn client(start: Instant, acks: &[u64], failures: &[u64]) -> Seen {
        let failures = failures.iter().map(|millis| failure(at(start, *millis))).collect();
        let acks = acks.iter().map(|millis| at(start, *millis)).collect();
        Seen {
            region: 0,
            level: Level::Local,
            acks,
            failures,
            keys: Vec::new(),
            counter: (String::new(), 0, 0),
        }
    }

    #[test]
    fn gaps_are_told_apart_by_when_they_begin() {
        let start = Instant::now();
        let times =
            Times { injected: at(start, 1_000), mended: at(start, 5_000), well: at(start, 9_000) };
        let seen = [
            client(start, &[0, 900, 990, 1_600, 1_700, 4_900, 5_100, 8_990], &[1_200]),
            client(start, &[0, 990, 1_010, 4_990, 5_010, 8_500], &[6_000]),
        ];
        let lost = Lost::default();
        let all = clients(Level::Local, &[], times, &seen, &lost);
        assert_eq!(
            all.gap,
            Duration::from_millis(3_980),
            "the one before the failure is not counted"
        );
        assert_eq!(
            all.served,
            Duration::from_millis(600),
            "a gap without a failure is a slow answer"
        );
        assert_eq!(all.gap_mending, Duration::from_millis(3_890));
        assert_eq!(all.acknowledged, 14);
    }

    #[test]
    fn who_is_never_served_again_waits_until_the_end() {
        let start = Instant::now();
        let times =
            Times { injected: at(start, 1_000), mended: at(start, 2_000), well: at(start, 3_000) };
        let all =
            clients(Level::Local, &[], times, &[client(start, &[500, 999], &[])], &Lost::default());
        assert_eq!(all.gap, Duration::from_millis(2_001));
    }
}
