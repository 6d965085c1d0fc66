use super::*;
use crate::{report::tests::regions, text::Source};

fn source(text: &str) -> Source<'_> {
    Source { name: "--upload-size", text }
}

#[test]
fn lengths_of_objects_are_read() {
    let read = |text| sizes(source(text)).unwrap();
    assert_eq!(read("4MiB"), Sizes::Always(ByteSize(4 << 20)));
    assert_eq!(read("64KiB..64MB"), Sizes::Between(ByteSize(64 << 10), ByteSize(64_000_000)));
    assert_eq!(read("about:8MiB"), Sizes::About(ByteSize(8 << 20)));
    assert_eq!(read("2KB..4KB").mean(), 3_000);
    for (wrong, told) in [
        ("", "--upload-size:1:1: this is empty"),
        ("5", "--upload-size:1:1: `5` has no unit; write 5B or 5MiB"),
        ("64MB..1KB", "--upload-size:1:1: 64MB is more than 1KB"),
        ("1KB..x", "--upload-size:1:6: `x` is not a size"),
        ("near:2MB", "--upload-size:1:1: `near` is no way to say it"),
        ("0B", "--upload-size:1:1: `0B` is no length of an object"),
    ] {
        let said = sizes(source(wrong)).unwrap_err()[0].to_string();
        assert!(said.starts_with(told), "{wrong}: {said}");
    }
}

#[test]
fn objects_are_as_long_as_is_said() {
    let mut random = Random::new(1);
    let mean = |sizes: Sizes, random: &mut Random| {
        (0..20_000).map(|_| sizes.draw(random)).sum::<u64>() / 20_000
    };
    assert_eq!(mean(Sizes::Always(ByteSize(9)), &mut random), 9);
    let about = mean(Sizes::About(ByteSize(1_000_000)), &mut random);
    assert!((970_000..1_030_000).contains(&about), "{about}");
    let between = mean(Sizes::Between(ByteSize(1_000), ByteSize(3_000)), &mut random);
    assert!((1_980..2_020).contains(&between), "{between}");
}

#[test]
fn links_are_all_alike_or_named() {
    let regions = regions();
    let [ap, eu, us] = regions.clone();
    let read = |text| bandwidths(source(text), &regions).unwrap();
    let all = read("80Mbps");
    assert_eq!(all.len(), 6);
    assert!(all.values().all(|width| *width == 10_000_000));
    let some = read("us-east-1 - eu-west-1=10MB/s, us-east-1 -> ap-southeast-1=1Gbps");
    let expected = [
        ((eu.clone(), us.clone()), 10_000_000),
        ((us.clone(), ap), 125_000_000),
        ((us, eu), 10_000_000),
    ];
    assert_eq!(some, expected.into());
    for (wrong, told) in [
        ("80", "1:1: `80` has no unit; write 80Mbps or 80MB/s"),
        ("us-east-1 - mars=1Mbps", "1:13: `mars` is not a region"),
        ("us-east-1 - us-east-1=1Mbps", "1:13: a link has two ends"),
        ("us-east-1 - eu-west-1=1Mb", "1:23: `1Mb` is not a data rate"),
        ("us-east-1=1Mbps", "1:1: `us-east-1` is no link"),
        ("us-east-1 - eu-west-1=1Mbps,eu-west-1 -> us-east-1=1Mbps", "1:29: this link is named"),
    ] {
        let said = bandwidths(source(wrong), &regions).unwrap_err()[0].to_string();
        assert!(said.starts_with(&format!("--upload-size:{told}")), "{wrong}: {said}");
    }
}

#[test]
fn parts_and_policies_have_their_bounds() {
    assert_eq!(part(source("8MiB")), Ok(8 << 20));
    assert!(part(source("1MiB")).is_err() && part(source("17MiB")).is_err());
    assert_eq!(replication(source("regional")), Ok(Replication::Regional));
    let said = replication(source("asynk")).unwrap_err()[0].to_string();
    assert!(said.ends_with("did you mean `async`?"), "{said}");
    assert_eq!(bytes_per_second(source("10MB/s")), Ok(10_000_000));
    assert!(bytes_per_second(source("0Mbps")).is_err());
}
