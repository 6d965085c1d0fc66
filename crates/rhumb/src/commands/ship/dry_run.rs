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
        tell(&estimate, &regions, &cost);
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

fn tell(estimate: &Estimate, regions: &[RegionPlan], cost: &Cost) {
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
    table(["region", "plan", "packs there", "traffic"], &rows).iter().for_each(|line| say(line));
    let chosen = regions.iter().filter(|plan| plan.chosen).count() as u64;
    say(&format!(
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
    say(&match &cost.from {
        Some(from) => {
            let whole = dollars(cost.whole(regions, packed));
            format!("traffic from {from}: {whole}; requests and storage are not counted")
        }
        None => {
            "for the cost of the traffic, name the region of this machine with --from".to_owned()
        }
    });
}
