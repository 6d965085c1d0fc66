use super::*;
use crate::{report::tests::regions, text::Source};

fn source(text: &str) -> Source<'_> {
    Source { name: "--jobs", text }
}

#[test]
fn times_of_jobs_are_read() {
    let seconds = Duration::from_secs;
    let read = |text| takes(source(text)).unwrap();
    assert_eq!(read("2s"), Takes::Always(seconds(2)));
    assert_eq!(read("1s..5s"), Takes::Between(seconds(1), seconds(5)));
    assert_eq!(read("about:2s"), Takes::About(seconds(2)));
    assert_eq!(read("1s..5s").mean(), seconds(3));
    for wrong in ["", "2", "0s", "5s..1s", "near:2s", "1s.."] {
        assert!(takes(source(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn jobs_take_as_long_as_is_said() {
    let mut random = Random::new(1);
    let mean = |takes: Takes, random: &mut Random| {
        (0..20_000).map(|_| takes.draw(random)).sum::<u64>() / 20_000
    };
    let two = Duration::from_secs(2);
    assert_eq!(mean(Takes::Always(two), &mut random), 2_000_000);
    let about = mean(Takes::About(two), &mut random);
    assert!((1_900_000..2_100_000).contains(&about), "{about}");
    let between = mean(Takes::Between(Duration::from_secs(1), two), &mut random);
    assert!((1_480_000..1_520_000).contains(&between), "{between}");
}

#[test]
fn workers_are_of_all_regions_or_of_some() {
    let regions = regions();
    let all = workers(source("50"), &regions).unwrap();
    assert_eq!(all.values().copied().collect::<Vec<_>>(), [50, 50, 50]);
    let some = workers(source("us-east-1=7"), &regions).unwrap();
    assert_eq!(some.into_iter().collect::<Vec<_>>(), [(regions[2].clone(), 7)]);
    for wrong in ["", "many", "-1", "us-east-1=", "mars=5", "us-east-1=5,us-east-1=6", "99999"] {
        assert!(workers(source(wrong), &regions).is_err(), "{wrong}");
    }
}

#[test]
fn more_jobs_than_are_simulated_are_found() {
    let hour = Duration::from_secs(3_600);
    assert_eq!(peak_is_too_high(&Shape::Flat(RATE_MAX), hour), None);
    let burst = Shape::Burst { base: 1.0, burst: 900.0, at: hour / 2, lasting: hour / 60 };
    assert_eq!(peak_is_too_high(&burst, hour), Some(900.0));
    assert_eq!(peak_is_too_high(&burst, hour / 3), None);
}
