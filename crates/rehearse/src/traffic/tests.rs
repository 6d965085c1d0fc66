use std::time::Duration;

use proptest::prelude::*;
use rhumb_types::{AckLevel, Ratio, RegionId};

use super::{Shape, ack, acks, capacities, measured, near, shape, share};
use crate::text::{Mistake, Source};

const MINUTE: Duration = Duration::from_secs(60);

fn option(text: &str) -> Source<'_> {
    Source { name: "--x", text }
}

fn regions() -> Vec<RegionId> {
    ["us-east-1", "eu-west-1", "ap-southeast-1"].map(|name| RegionId::new(name).unwrap()).to_vec()
}

fn said<T: std::fmt::Debug>(refused: Result<T, Vec<Mistake>>) -> String {
    refused.unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn shapes_are_read() {
    assert_eq!(shape(option("500")), Ok(Shape::Flat(500.0)));
    let day = Duration::from_secs(86_400);
    assert_eq!(shape(option("daily:50..500")), Ok(Shape::Daily { least: 50.0, most: 500.0, day }));
    assert_eq!(
        shape(option("burst:100..2000@10m/5m")),
        Ok(Shape::Burst { base: 100.0, burst: 2_000.0, at: 10 * MINUTE, lasting: 5 * MINUTE })
    );
}

#[test]
fn shapes_that_cannot_be_are_refused() {
    for (text, wrong) in [
        (
            "-5",
            "--x:1:1: `-5` is not a number of requests per second; write a number above 0 and \
          at most 1000000000",
        ),
        ("daily:500..50", "--x:1:7: 500 is more than 50; write the smaller one first"),
        ("daily:50", "--x:1:7: write the least and the most, such as 50..500"),
        (
            "burst:1..2@5",
            "--x:1:12: write when it comes and how long it lasts, as in \
          burst:100..2000@10m/5m",
        ),
        ("burst:1..2@5/1m", "--x:1:12: `5` has no unit; write 5s or 5ms"),
    ] {
        assert_eq!(said(shape(option(text))), wrong);
    }
    assert!(said(shape(option("wave:1..2"))).contains("`wave` is no shape of traffic"));
    assert!(said(shape(option(""))).contains("this is empty"));
}

#[test]
fn shares_of_clients_are_of_known_regions_and_of_the_whole() {
    let regions = regions();
    let found = near(option("us-east-1=60%, eu-west-1=30%"), &regions).unwrap();
    assert_eq!(found[&regions[1]].get(), 0.3);
    for (text, wrong) in [
        (
            "us-east-1=60%,eu-west-2=40%",
            "--x:1:15: `eu-west-2` is not a region of the \
          configuration; did you mean `eu-west-1`?",
        ),
        (
            "us-east-1=60%,eu-west-1=50%",
            "--x:1:1: the shares are 110% together; write 100%, or \
          leave a region out, which gets the rest",
        ),
        ("us-east-1=0.6", "--x:1:11: `0.6` has no unit; write 60%"),
        (
            "us-east-1",
            "--x:1:1: `us-east-1` has no share; write a region=share, such as us-east-1=60%",
        ),
        ("us-east-1=6%,us-east-1=6%", "--x:1:14: `us-east-1` is named twice; name it once"),
    ] {
        assert_eq!(said(near(option(text), &regions)), wrong);
    }
    assert!(near(option("us-east-1=33.3%,eu-west-1=33.3%,ap-southeast-1=33.4%"), &regions).is_ok());
}

#[test]
fn capacities_are_of_known_regions() {
    let regions = regions();
    assert_eq!(capacities(option("us-east-1=500"), &regions).unwrap()[&regions[0]], 500.0);
    assert!(
        said(capacities(option("us-east-1=none"), &regions)).contains("`none` is not a number")
    );
    assert!(said(capacities(option("mars=5"), &regions)).contains("`mars` is not a region"));
}

#[test]
fn acknowledgement_levels_and_shares_are_read() {
    assert_eq!(ack(option("one_remote")), Ok(rhumb_types::AckLevel::OneRemote));
    assert!(said(ack(option("qorum"))).contains("did you mean `quorum`?"));
    let one = |level| Ok(vec![(level, Ratio::ONE)]);
    assert_eq!(acks(option("quorum")), one(AckLevel::Quorum));
    let several = acks(option("local=90%, one_remote=10%")).unwrap();
    assert_eq!(
        several.iter().map(|(ack, share)| (*ack, share.get())).collect::<Vec<_>>(),
        [(AckLevel::Local, 0.9), (AckLevel::OneRemote, 0.1)]
    );
    for (text, wrong) in [
        ("local=90%,quorum=5%", "--x:1:1: the shares are 95% together; write 100%"),
        ("local=50%,local=50%", "--x:1:11: `local` is named twice; name it once"),
        (
            "local=50%,quorum",
            "--x:1:11: `quorum` has no share; write a level=share, such as local=90%",
        ),
        ("localx=100%", "did you mean `local`?"),
        ("", "this is empty"),
    ] {
        assert!(said(acks(option(text))).contains(wrong), "{text}: {}", said(acks(option(text))));
    }
    assert_eq!(share(option("5%")).map(|it| it.get()), Ok(0.05));
    assert_eq!(said(share(option("5"))), "--x:1:1: `5` is not a share; write 5%");
}

#[test]
fn a_measured_day_is_read() {
    let table = "time,rps # of Monday\n0s,10\n1m,20.5\n\n2m,0\n";
    let points = vec![(Duration::ZERO, 10.0), (MINUTE, 20.5), (2 * MINUTE, 0.0)];
    assert_eq!(measured(option(table), 3 * MINUTE), Ok(Shape::Measured(points.clone())));
    let table = "seconds,rps\n0,10\n60,20.5\n120,0";
    assert_eq!(measured(option(table), 3 * MINUTE), Ok(Shape::Measured(points)));
}

#[test]
fn a_measured_day_with_holes_is_refused_at_its_places() {
    let table = "time,rps\n0s,10\n1m,ten\n4m,10\n3m,10\n5m,-1\n5m30s,1\n6,2\n7m,1,2\n";
    assert_eq!(
        said(measured(option(table), MINUTE)).lines().collect::<Vec<_>>(),
        [
            "--x:3:4: `ten` is not a number of requests per second; write a number from 0 up",
            "--x:4:1: there is nothing from 1m to 4m, and the step is 1m; add the missing rows",
            "--x:5:1: 3m does not come after 4m; put the rows in order, one per time",
            "--x:6:4: `-1` is not a number of requests per second; write a number from 0 up",
            "--x:7:1: 5m to 330s is shorter than the step, which is 1m; keep to one step",
            "--x:8:1: `6` has no unit; write 6s or 6ms",
            "--x:9:1: this has 3 cells; write 2: time,rps",
        ]
    );
    assert_eq!(
        said(measured(option("time,rps\n0s,1\n1m,1"), 5 * MINUTE)),
        "--x:3:1: the figures end at 2m, and the rehearsal at 5m; add rows, or rehearse with --for 2m"
    );
    assert_eq!(
        said(measured(option("when,rps\n"), MINUTE)),
        "--x:1:1: this is no head of this table; begin with `time,rps` or `seconds,rps`"
    );
    assert!(said(measured(option("time,rps\n1m,5"), MINUTE)).contains("begin at 0s"));
    assert!(said(measured(option("time,rps\n"), MINUTE)).contains("there is no row"));
}

proptest! {
    #[test]
    fn any_text_is_traffic_or_mistakes(text in "(?s)[0-9a-z.:,@/%= -]{0,60}|(?s).{0,60}") {
        let regions = regions();
        let _ = (shape(option(&text)), near(option(&text), &regions), ack(option(&text)), acks(option(&text)));
        let _ = (share(option(&text)), capacities(option(&text), &regions));
        let _ = measured(option(&text), MINUTE);
        let _ = measured(option(&format!("time,rps\n{text}")), MINUTE);
    }
}
