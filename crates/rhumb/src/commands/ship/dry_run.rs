//! What a shipment would do, and what its traffic would cost.

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail, ensure};
use rhumb_rehearse::{
    prices::{self, MicroDollars, Prices},
    text,
};
use rhumb_ship::{Estimate, Prefix, RegionPlan, Remote, Settings, rehearse};
use rhumb_types::{ByteSize, RegionId};
use serde_json::{Value, json};

use crate::{
    cli,
    commands::{say, ship::runtime},
    sites::small_text,
    table::table,
};

/// Looks, and says what it found.
pub(super) fn run(
    args: &cli::Ship,
    remotes: Vec<Remote>,
    prefix: &Prefix,
    settings: Settings,
) -> Result<ExitCode> {
    ensure!(args.source != Path::new("-"), "a stream cannot be looked at before it is sent");
    let cost = Cost::new(args, &remotes)?;
    let planned = rehearse(&args.source, remotes, prefix, settings);
    let (estimate, regions) = runtime()?.block_on(planned)?;
    if args.transfers.json {
        say(&serde_json::to_string_pretty(&as_json(&estimate, &regions, &cost))?);
    } else {
        lines(&estimate, &regions, &cost).iter().for_each(|line| say(line));
    }
    Ok(ExitCode::SUCCESS)
}

/// What traffic costs from the region where this machine is.
struct Cost {
    from: Option<RegionId>,
    prices: Prices,
}

impl Cost {
    fn new(args: &cli::Ship, remotes: &[Remote]) -> Result<Self> {
        let regions = remotes.iter().map(|remote| remote.region().clone()).chain(args.from.clone());
        let regions: Vec<RegionId> = regions.collect();
        let mut prices = prices::listed(&regions);
        if let Some(file) = &args.prices {
            let (name, text) = (file.display().to_string(), small_text(file)?);
            let source = text::Source { name: &name, text: &text };
            prices = match prices::parse(source, &regions, prices) {
                Ok(prices) => prices,
                Err(mistakes) => {
                    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                    bail!("{}", lines.join("\n"))
                }
            };
        }
        Ok(Self { from: args.from.clone(), prices })
    }

    /// Of so many bytes to a region, if it is known.
    fn of(&self, to: &RegionId, bytes: u64) -> Option<MicroDollars> {
        self.prices.traffic(self.from.as_ref()?, to, bytes)
    }

    /// Of so many bytes to each region that would be sent to, if that of each is known.
    fn whole(&self, regions: &[RegionPlan], bytes: u64) -> Option<MicroDollars> {
        let chosen = regions.iter().filter(|plan| plan.chosen);
        let costs = chosen.map(|plan| self.of(&plan.region, bytes).map(|cost| cost.0));
        costs.sum::<Option<u64>>().map(MicroDollars)
    }
}

fn as_json(estimate: &Estimate, regions: &[RegionPlan], cost: &Cost) -> Value {
    let packed = estimate.packed();
    let rows: Vec<Value> = regions
        .iter()
        .map(|plan| {
            json!({
                "region": plan.region, "chosen": plan.chosen, "packs_there": plan.packs,
                "reason": plan.silent, "cost_micro_dollars": cost.of(&plan.region, packed),
            })
        })
        .collect();
    json!({
        "files": estimate.files, "directories": estimate.directories, "links": estimate.links,
        "bytes": estimate.bytes, "packed_bytes_estimate": packed, "from": cost.from,
        "cost_micro_dollars": cost.whole(regions, packed), "regions": rows,
    })
}

fn lines(estimate: &Estimate, regions: &[RegionPlan], cost: &Cost) -> Vec<String> {
    let packed = estimate.packed();
    let dollars = |cost: Option<MicroDollars>| {
        cost.map_or_else(|| "not known".to_owned(), |cost| format!("{cost} USD"))
    };
    let row = |plan: &RegionPlan| {
        let what = match (&plan.silent, plan.chosen) {
            (Some(reason), _) => format!("no answer: {reason}"),
            (None, true) => "would be sent to".to_owned(),
            (None, false) => "would take the place of another".to_owned(),
        };
        let cost = dollars(cost.of(&plan.region, packed));
        [plan.region.to_string(), what, plan.packs.to_string(), cost]
    };
    let rows: Vec<_> = regions.iter().map(row).collect();
    let mut lines = table(["region", "plan", "packs there", "traffic"], &rows);
    let chosen = regions.iter().filter(|plan| plan.chosen).count() as u64;
    lines.push(format!(
        "{} files, {} directories, {} links, {}; packed about {} (from a sample of {}), {} to {chosen} \
         regions if they have nothing of it",
        estimate.files,
        estimate.directories,
        estimate.links,
        ByteSize(estimate.bytes),
        ByteSize(packed),
        ByteSize(estimate.sampled),
        ByteSize(packed.saturating_mul(chosen)),
    ));
    lines.push(match &cost.from {
        Some(from) => {
            let whole = dollars(cost.whole(regions, packed));
            format!("traffic from {from}: {whole}; requests and storage are not counted")
        }
        None => {
            "for the cost of the traffic, name the region of this machine with --from".to_owned()
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(from: Option<&str>) -> Cost {
        let of = |name: &str| RegionId::new(name).unwrap();
        let regions = ["us-east-1", "us-east-2", "eu-west-1", "attic"].map(of);
        Cost { from: from.map(of), prices: prices::listed(&regions) }
    }

    fn plan(name: &str, chosen: bool, silent: Option<&str>) -> RegionPlan {
        let region = RegionId::new(name).unwrap();
        RegionPlan { region, chosen, packs: 3, silent: silent.map(str::to_owned) }
    }

    /// 10 GB that shrink to a half.
    fn estimate() -> Estimate {
        Estimate {
            files: 4,
            directories: 2,
            links: 1,
            bytes: 10_000_000_000,
            sampled: 1 << 20,
            sampled_packed: 1 << 19,
        }
    }

    #[test]
    fn the_plan_names_regions_sizes_and_what_the_traffic_costs() {
        let regions = [
            plan("us-east-1", true, None),
            plan("us-east-2", true, None),
            plan("eu-west-1", false, None),
            plan("attic", false, Some("no route")),
        ];
        // Nothing within a region; a gigabyte to us-east-2 costs one cent, and to eu-west-1 two.
        let told = lines(&estimate(), &regions, &cost(Some("us-east-1")));
        assert_eq!(
            told,
            [
                "region     plan                             packs there  traffic",
                "us-east-1  would be sent to                 3            0 USD",
                "us-east-2  would be sent to                 3            0.05 USD",
                "eu-west-1  would take the place of another  3            0.1 USD",
                "attic      no answer: no route              3            not known",
                "4 files, 2 directories, 1 links, 9.3 GiB; packed about 4.7 GiB (from a sample of 1.0 MiB), \
                 9.3 GiB to 2 regions if they have nothing of it",
                "traffic from us-east-1: 0.05 USD; requests and storage are not counted",
            ]
        );
        let shown = as_json(&estimate(), &regions, &cost(Some("us-east-1")));
        let of = |pointer: &str| shown.pointer(pointer).unwrap().clone();
        assert_eq!(of("/packed_bytes_estimate"), 5_000_000_000_u64);
        assert_eq!(of("/cost_micro_dollars"), 50_000);
        let chosen: Vec<Value> = (0..4).map(|nth| of(&format!("/regions/{nth}/chosen"))).collect();
        assert_eq!(chosen, [true, true, false, false]);
        assert_eq!(
            (of("/regions/3/reason"), of("/regions/2/packs_there")),
            (json!("no route"), json!(3))
        );
        assert_eq!(of("/regions/2/cost_micro_dollars"), 100_000);
    }

    #[test]
    fn what_has_no_price_is_not_made_up() {
        let regions = [plan("us-east-1", true, None)];
        let told = lines(&estimate(), &regions, &cost(None));
        assert!(told[1].ends_with("not known") && told[3].contains("--from"), "{told:?}");
        let of_attic = cost(Some("attic"));
        assert!(
            lines(&estimate(), &regions, &of_attic)[3].contains("traffic from attic: not known")
        );
        assert_eq!(as_json(&estimate(), &regions, &of_attic)["cost_micro_dollars"], Value::Null);
    }
}
