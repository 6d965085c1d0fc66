use std::collections::BTreeMap;

use proptest::prelude::*;
use rhumb_regions::snapshot::MicroDollarsPerGb;
use rhumb_types::RegionId;

use super::{MicroDollars, Prices, listed, parse};
use crate::text::Source;

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn regions() -> Vec<RegionId> {
    ["us-east-1", "eu-west-1", "westeurope", "moon-1"].map(region).to_vec()
}

fn read(text: &str, under: Prices) -> Result<Prices, String> {
    parse(Source { name: "prices", text }, &regions(), under)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_table_lies_over_the_listed_prices() {
    let table = "region,to,usd_per_gb,usd_per_node_hour\nus-east-1,eu-west-1,0.015,\nmoon-1,,9,1.5";
    let prices = read(table, listed(&regions())).unwrap();
    let (us, eu, moon) = (region("us-east-1"), region("eu-west-1"), region("moon-1"));
    assert_eq!(prices.between[&(us.clone(), eu.clone())], MicroDollarsPerGb(15_000));
    assert_eq!(prices.between[&(eu.clone(), us.clone())], MicroDollarsPerGb(20_000));
    assert_eq!(prices.egress, BTreeMap::from([(moon.clone(), MicroDollarsPerGb(9_000_000))]));
    assert_eq!(prices.node_hour[&moon], MicroDollars(1_500_000));
    assert_eq!(prices.node_hour[&us], MicroDollars(41_600));
    assert_eq!(prices.traffic(&eu, &us, 1_500_000_000), Some(MicroDollars(30_000)));
    assert_eq!(prices.traffic(&us, &us, 1_000_000_000), Some(MicroDollars(0)));
    assert_eq!(prices.traffic(&us, &moon, 1), None);
    // A region's own price holds for all its pairs that have none in the same table.
    let head = "region,to,usd_per_gb,usd_per_node_hour\nus-east-1,eu-west-1,0.25,";
    let prices = read(&format!("{head}\nus-east-1,,0.5,"), prices).unwrap();
    assert_eq!(prices.per_gb(&us, &eu), Some(MicroDollarsPerGb(250_000)));
    assert_eq!(prices.per_gb(&us, &moon), Some(MicroDollarsPerGb(500_000)));
}

#[test]
fn what_is_not_listed_is_named() {
    let prices = listed(&regions());
    assert_eq!(prices.per_gb(&region("us-east-1"), &region("westeurope")), None);
    let unknown = prices.unknown(&regions());
    assert!(unknown.contains(&"a node in moon-1".to_owned()), "{unknown:?}");
    assert!(unknown.contains(&"traffic from moon-1".to_owned()), "{unknown:?}");
    assert!(
        unknown.contains(&"traffic from us-east-1 to westeurope and moon-1".to_owned()),
        "{unknown:?}"
    );
}

#[test]
fn what_is_no_price_is_refused_at_its_place() {
    let head = "region,to,usd_per_gb,usd_per_node_hour";
    for (row, said) in [
        (
            "us-east-1,,2c,",
            "prices:2:12: `2c` is not a price; write dollars with up to six digits \
          after the point, such as 0.0416",
        ),
        (
            "us-east-1,,-1,",
            "prices:2:12: `-1` is not a price; write dollars with up to six digits \
          after the point, such as 0.0416",
        ),
        (
            "us-east-3,,1,",
            "prices:2:1: `us-east-3` is not a region of the configuration; did you \
          mean `us-east-1`?",
        ),
        (
            "us-east-1,,,",
            "prices:2:1: this row has no price; write usd_per_gb, usd_per_node_hour, or both",
        ),
        (
            "us-east-1,eu-west-1,1,1",
            "prices:2:23: a node is of one region; leave this cell empty, and \
          write it in the row without `to`",
        ),
        (
            "us-east-1,us-east-1,1,",
            "prices:2:11: `us-east-1` is both ends; traffic within a region costs nothing here; name \
          two regions",
        ),
        (
            "us-east-1,,1,\neu-west-1,,1,\nus-east-1,,2,3",
            "prices:4:12: this price was given before; write it once",
        ),
        (
            "us-east-1,eu-west-1,1,\nus-east-1,eu-west-1,1,",
            "prices:3:21: this price was given before; write it once",
        ),
    ] {
        assert_eq!(read(&format!("{head}\n{row}"), Prices::default()).unwrap_err(), said);
    }
    // The two prices of a region may stand in two rows.
    let prices = read(&format!("{head}\nus-east-1,,1,\nus-east-1,,,2"), Prices::default()).unwrap();
    assert_eq!(prices.node_hour[&region("us-east-1")], MicroDollars(2_000_000));
}

proptest! {
    #[test]
    fn money_is_shown_as_it_is_read(micro in 0_u64..1_000_000_000_000) {
        let shown = MicroDollars(micro).to_string();
        let table = format!("region,to,usd_per_gb,usd_per_node_hour\nmoon-1,,,{shown}");
        let read = read(&table, Prices::default()).unwrap();
        prop_assert_eq!(read.node_hour[&region("moon-1")], MicroDollars(micro));
    }

    #[test]
    fn any_text_is_a_table_or_mistakes(text in "(?s).{0,60}") {
        let _ = read(&text, Prices::default());
        let _ = read(&format!("region,to,usd_per_gb,usd_per_node_hour\n{text}"), Prices::default());
    }
}
