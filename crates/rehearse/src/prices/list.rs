//! List prices of the well-known clouds, for regions whose prices are simple and stable.
//!
//! On-demand list prices in US dollars without tax, discount or free tier, as the providers publish
//! them; state of 2025. They change seldom, and a table of one's own takes their place. A figure that
//! is not certain is left out: its region then has no price, and the report says so.
//!
//! - AWS, "Data transfer" on the EC2 on-demand price page: traffic to another region is priced by
//!   the region that it leaves. A node is a `t3.medium` (2 vCPU, 4 GiB), Linux.
//! - Google Cloud, "VM-to-VM data transfer between regions": by the two continents. A node is an
//!   `e2-medium` (4 GiB), and listed only where its price is the base price.
//! - Azure, "Bandwidth": within a continent and between continents. A node is a `B2s` (4 GiB), Linux.
//!
//! Between two providers traffic leaves by the internet, whose price depends on the volume of the
//! whole account; there is no price for it here.

use rhumb_regions::{
    locations::{Provider, well_known},
    snapshot::MicroDollarsPerGb,
};
use rhumb_types::RegionId;

use super::{MicroDollars, Prices};

/// AWS: a region, its traffic to other regions per gigabyte, its node per hour; in millionths.
const AWS: [(&str, u64, u64); 15] = [
    ("us-east-1", 20_000, 41_600),
    ("us-east-2", 20_000, 41_600),
    ("us-west-1", 20_000, 49_600),
    ("us-west-2", 20_000, 41_600),
    ("ca-central-1", 20_000, 46_400),
    ("sa-east-1", 138_000, 67_200),
    ("eu-west-1", 20_000, 45_600),
    ("eu-west-2", 20_000, 47_200),
    ("eu-west-3", 20_000, 47_200),
    ("eu-central-1", 20_000, 48_000),
    ("eu-north-1", 20_000, 43_200),
    ("ap-south-1", 86_000, 44_800),
    ("ap-southeast-1", 90_000, 52_800),
    ("ap-southeast-2", 98_000, 52_800),
    ("ap-northeast-1", 90_000, 54_400),
];
/// AWS: pairs with a price of their own.
const AWS_PAIRS: [(&str, &str, u64); 2] =
    [("us-east-1", "us-east-2", 10_000), ("us-east-2", "us-east-1", 10_000)];
/// Google Cloud: nodes.
const GOOGLE_NODES: [(&str, u64); 3] =
    [("us-central1", 33_503), ("us-east1", 33_503), ("us-west1", 33_503)];
/// Azure: nodes.
const AZURE_NODES: [(&str, u64); 2] = [("eastus", 41_600), ("westeurope", 48_000)];

/// Within North America and within Europe, Google Cloud and Azure.
const NEAR: u64 = 20_000;
/// Between North America and Europe, Google Cloud and Azure.
const ATLANTIC: u64 = 50_000;

/// The listed prices of some regions, as far as they are known.
#[must_use]
pub fn listed(regions: &[RegionId]) -> Prices {
    let mut prices = Prices::default();
    for from in regions {
        prices.node_hour.extend(node(from.as_str()).map(|price| (from.clone(), price)));
        for to in regions.iter().filter(|to| *to != from) {
            if let Some(price) = between(from.as_str(), to.as_str()) {
                prices.between.insert((from.clone(), to.clone()), MicroDollarsPerGb(price));
            }
        }
    }
    prices
}

fn node(region: &str) -> Option<MicroDollars> {
    let aws = AWS.iter().map(|(name, _, node)| (*name, *node));
    let mut all = aws.chain(GOOGLE_NODES).chain(AZURE_NODES);
    all.find(|(name, _)| *name == region).map(|(_, node)| MicroDollars(node))
}

fn between(from: &str, to: &str) -> Option<u64> {
    let (here, there) = (well_known(from)?, well_known(to)?);
    match (here.provider, there.provider) {
        (Provider::Aws, Provider::Aws) => {
            let pair = AWS_PAIRS.iter().find(|(a, b, _)| (*a, *b) == (from, to));
            let region = || AWS.iter().find(|(name, ..)| *name == from);
            pair.map(|(.., price)| *price).or_else(|| region().map(|(_, price, _)| *price))
        }
        (Provider::Google, Provider::Google) | (Provider::Azure, Provider::Azure) => {
            let (here, there) = (Continent::of(here.country)?, Continent::of(there.country)?);
            Some(if here == there { NEAR } else { ATLANTIC })
        }
        _ => None,
    }
}

/// The continents of which Google Cloud and Azure have prices here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Continent {
    NorthAmerica,
    Europe,
}

impl Continent {
    fn of(country: &str) -> Option<Self> {
        match country {
            "us" | "ca" => Some(Self::NorthAmerica),
            "at" | "be" | "ch" | "de" | "es" | "fi" | "fr" | "gb" | "ie" | "it" | "nl" | "no"
            | "pl" | "se" => Some(Self::Europe),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_region_is_well_known() {
        let google = GOOGLE_NODES.iter().chain(&AZURE_NODES).map(|(name, _)| *name);
        for name in AWS.iter().map(|(name, ..)| *name).chain(google) {
            assert!(well_known(name).is_some(), "{name}");
        }
    }

    #[test]
    fn traffic_between_clouds_has_no_listed_price() {
        assert_eq!(between("us-east-1", "eu-west-1"), Some(20_000));
        assert_eq!(between("us-east-1", "us-east-2"), Some(10_000));
        assert_eq!(between("europe-west1", "us-east1"), Some(ATLANTIC));
        assert_eq!(between("westeurope", "northeurope"), Some(NEAR));
        assert_eq!(between("us-east-1", "eastus"), None);
        assert_eq!(between("us-east1", "asia-east1"), None);
    }
}
