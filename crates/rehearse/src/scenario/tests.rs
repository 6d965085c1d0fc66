use std::time::Duration;

use proptest::prelude::*;
use rhumb_types::{Ratio, RegionId};

use super::{Fault, Planned, Scenario, Stage, parse};
use crate::text::Source;

const HOUR: Duration = Duration::from_secs(3_600);

fn regions() -> Vec<RegionId> {
    ["us-east-1", "eu-west-1", "ap-southeast-1"].map(|name| RegionId::new(name).unwrap()).to_vec()
}

fn read(text: &str) -> Result<Scenario, Vec<String>> {
    let (regions, source) = (regions(), Source { name: "outage", text });
    parse(&[source], Stage { regions: &regions, lasting: HOUR })
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

fn refused(text: &str) -> String {
    read(text).unwrap_err().join("\n")
}

#[test]
fn every_kind_of_fault_is_read_and_shown_alike() {
    let lines = [
        "at 10m region us-east-1 down for 30m",
        "at 11m region eu-west-1 frozen for 20s",
        "at 12m region eu-west-1 isolated for 20s",
        "at 13m region eu-west-1 mute for 20s",
        "at 14m uplink eu-west-1 loss 20% for 20s",
        "at 15m uplink eu-west-1 delay 300ms for 20s",
        "at 16m region eu-west-1 slow 40%",
        "at 17m link us-east-1 - eu-west-1 loss 20% for 10m",
        "at 18m link us-east-1 - eu-west-1 delay 300ms for 5m",
        "at 19m link eu-west-1 -> ap-southeast-1 cut for 2m",
        "at 20m link us-east-1 - ap-southeast-1 cut",
        "at 21m disk eu-west-1 slow 200ms",
        "at 22m disk eu-west-1 full for 1m",
        "at 23m disk eu-west-1 failing for 1m",
        "at 24m clock ap-southeast-1 +2s for 10m",
        "at 40m clock ap-southeast-1 -500ms",
    ];
    let scenario = read(&lines.join("\n")).unwrap();
    let shown: Vec<String> = scenario.faults.iter().map(ToString::to_string).collect();
    assert_eq!(shown, lines);
}

#[test]
fn faults_are_in_the_order_of_their_times() {
    let scenario = read("at 5m disk eu-west-1 full\n# first\nat 1m region us-east-1 down").unwrap();
    assert_eq!(scenario.faults[0].at, Duration::from_secs(60));
    assert_eq!(read("").unwrap(), Scenario::default());
}

#[test]
fn a_mistake_has_its_place_and_says_what_to_write() {
    for (text, said) in [
        (
            "at 1m region us-east-2 down",
            "outage:1:14: `us-east-2` is not a region of the \
          configuration; did you mean `us-east-1`?",
        ),
        (
            "at 1m region mars down",
            "outage:1:14: `mars` is not a region of the configuration; \
          use one of: us-east-1, eu-west-1, ap-southeast-1",
        ),
        ("at -5m region us-east-1 down", "outage:1:4: `-5m` is negative; write 5m or more than 0s"),
        ("\n at 5 region us-east-1 down", "outage:2:5: `5` has no unit; write 5s or 5ms"),
        (
            "at 1h region us-east-1 down",
            "outage:1:4: the rehearsal ends at 1h, before this begins; \
          write an earlier time, or rehearse for longer with --for",
        ),
        ("at 1m link us-east-1 - eu-west-1 loss 20", "outage:1:39: `20` is not a share; write 20%"),
        ("at 1m link us-east-1 - eu-west-1 loss 0.2", "outage:1:39: `0.2` has no unit; write 20%"),
        (
            "at 1m link us-east-1 - us-east-1 cut",
            "outage:1:24: `us-east-1` has no link to itself; \
          name two regions",
        ),
        (
            "at 1m link us-east-1 eu-west-1 cut",
            "outage:1:22: `eu-west-1` does not join two regions; \
          write `a - b` for both directions, or `a -> b` for one",
        ),
        (
            "at 1m link us-east-1 -> eu-west-1 loss 2%",
            "outage:1:35: `loss` is of both directions; \
          write `a - b`, or `a -> b cut`",
        ),
        (
            "at 1m clock us-east-1 2s",
            "outage:1:23: `2s` does not say in which direction; write +2s \
          when it is ahead, or -2s when it is behind",
        ),
        (
            "at 1m region us-east-1 dwn",
            "outage:1:24: `dwn` does not happen to a region; did you \
          mean `down`?",
        ),
        (
            "at 1m region us-east-1",
            "outage:1:23: the line ends here; write `down`, `killed`, `frozen`, \
          `isolated`, `mute` or `slow 40%`",
        ),
        ("at 1m region us-east-1 down for 0s", "outage:1:33: `0s` is no time; write at least 1ms"),
        (
            "at 1m region us-east-1 down 5m",
            "outage:1:29: `5m` is not expected here; end the line, or \
          write how long it lasts, such as `for 30m`",
        ),
        (
            "region us-east-1 down",
            "outage:1:1: `region` is not `at`; a line begins with the time, \
          such as `at 10m region NAME down for 30m`",
        ),
    ] {
        assert_eq!(refused(text), said);
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mistakes = read("at -1m region x down for 3\nat 1m lnk a - b cut\nat 1m disk y full");
    let places: Vec<String> =
        mistakes.unwrap_err().iter().map(|it| it.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, ["outage:1:4", "outage:1:15", "outage:1:26", "outage:2:7", "outage:3:12"]);
}

#[test]
fn what_cannot_be_at_once_is_refused() {
    let twice = "at 1m region us-east-1 down for 5m\nat 2m region us-east-1 down for 1m";
    assert_eq!(
        refused(twice),
        "outage:2:1: `region us-east-1 down` cannot be at 2m: us-east-1 is down from 1m until 6m \
         (outage:1); let this begin at 6m or later"
    );
    for (holds, begins) in [
        ("region us-east-1 down", "region us-east-1 frozen"),
        ("region us-east-1 killed", "region us-east-1 down"),
        ("region us-east-1 frozen", "region us-east-1 down"),
        ("region us-east-1 down", "disk us-east-1 full"),
        ("region us-east-1 down", "clock us-east-1 +1s"),
        ("region us-east-1 isolated", "link eu-west-1 - us-east-1 cut"),
        ("link us-east-1 - eu-west-1 cut", "link eu-west-1 - us-east-1 loss 5%"),
        ("link us-east-1 - eu-west-1 cut", "link eu-west-1 -> us-east-1 cut"),
        ("link us-east-1 -> eu-west-1 cut", "link eu-west-1 - us-east-1 cut"),
        ("link us-east-1 - eu-west-1 loss 5%", "link eu-west-1 - us-east-1 loss 6%"),
        ("disk us-east-1 full", "disk us-east-1 failing"),
        ("region us-east-1 mute", "region us-east-1 isolated"),
        ("region us-east-1 isolated", "uplink us-east-1 loss 5%"),
        ("uplink us-east-1 loss 5%", "uplink us-east-1 loss 6%"),
        ("uplink us-east-1 delay 1s", "uplink us-east-1 delay 2s"),
    ] {
        let said = refused(&format!("at 1m {holds}\nat 2m {begins}"));
        assert!(said.contains("cannot be") && said.contains("give that an end"), "{said}");
    }
}

#[test]
fn two_different_faults_may_be_at_once() {
    for (holds, begins) in [
        ("region us-east-1 down for 1m", "region us-east-1 down"),
        ("region us-east-1 down", "region eu-west-1 down"),
        ("region us-east-1 down", "region us-east-1 isolated"),
        ("region us-east-1 down", "link us-east-1 - eu-west-1 cut"),
        ("disk us-east-1 slow 1s", "region us-east-1 down"),
        ("link us-east-1 - eu-west-1 loss 5%", "link us-east-1 - eu-west-1 delay 1s"),
        ("link us-east-1 -> eu-west-1 cut", "link eu-west-1 -> us-east-1 cut"),
        ("disk us-east-1 slow 1s", "disk us-east-1 full"),
        ("uplink us-east-1 loss 5%", "uplink us-east-1 delay 1s"),
        ("uplink us-east-1 loss 5%", "region us-east-1 mute"),
    ] {
        assert_eq!(
            read(&format!("at 1m {holds}\nat 2m {begins}")).map(|it| it.faults.len()),
            Ok(2)
        );
    }
}

#[test]
fn the_faults_of_the_documents_are_faults() {
    let document = include_str!("../../../../docs/rehearse.md");
    let mut faults = 0;
    for quoted in document.lines().flat_map(|line| line.split(['`', '"'])) {
        if quoted.starts_with("at ") {
            faults += 1;
            assert_eq!(read(quoted).map(|it| it.faults.len()), Ok(1), "{quoted}");
        }
    }
    assert!(faults > 12, "{faults}");
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let pair = || prop::sample::subsequence(regions(), 2).prop_shuffle();
    let region = || prop::sample::select(regions());
    let share = || (1_u32..=10_000).prop_map(|it| Ratio::clamped(f64::from(it) / 100.0 / 100.0));
    let time = || (1_u64..1_000_000).prop_map(Duration::from_millis);
    let one = (region(), time(), share(), -80_000_000_i64..80_000_000);
    let of_region = (0_u8..9, one).prop_map(|(kind, (region, time, share, millis))| match kind {
        0 => Fault::Down(region),
        1 => Fault::Freeze(region),
        2 => Fault::Isolated(region),
        3 => Fault::SlowDisk(region, time),
        4 => Fault::FullDisk(region),
        5 => Fault::FailingDisk(region),
        6 => Fault::Clock(region, if millis == 0 { 1 } else { millis }),
        7 => Fault::Killed(region),
        _ => Fault::Slow(region, share),
    });
    let of_link = (0_u8..4, pair(), time(), share()).prop_map(|(kind, pair, time, share)| {
        let (a, b) = (pair[0].clone(), pair[1].clone());
        match kind {
            0 => Fault::Cut(a, b),
            1 => Fault::OneWay(a, b),
            2 => Fault::Loss(a, b, share),
            _ => Fault::Delay(a, b, time),
        }
    });
    prop_oneof![of_region, of_link]
}

proptest! {
    #[test]
    fn what_is_shown_is_read_again(
        fault in any_fault(),
        at in 0_u64..3_600_000,
        lasting in prop::option::of(1_u64..100_000_000),
    ) {
        let at = Duration::from_millis(at);
        let planned = Planned { at, lasting: lasting.map(Duration::from_millis), fault };
        let read = read(&planned.to_string()).unwrap();
        // A share is a binary fraction: it is the text that stays the same.
        prop_assert_eq!(read.faults[0].to_string(), planned.to_string());
        prop_assert_eq!(read.faults[0].at, planned.at);
        prop_assert_eq!(read.faults[0].lasting, planned.lasting);
    }

    #[test]
    fn any_text_is_a_scenario_or_mistakes(text in "(?s).{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn any_words_are_a_scenario_or_mistakes(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "at", "10m", "-5m", "region", "link", "disk", "clock", "us-east-1", "eu-west-1",
                "-", "->", "down", "slow", "cut", "loss", "delay", "20%", "200ms", "+2s", "for",
                "\n", "#", "é",
            ]),
            0..30,
        )
    ) {
        let _ = read(&words.join(" "));
    }
}
