//! What a node without data takes: memory, and time until it takes a write.

use std::{thread, time::Duration};

use anyhow::Result;
use serde::Serialize;

use crate::{
    plan::{Durability, Effort, Wanted},
    progress,
    server::{Server, Side},
    stats::{Spread, millis},
};

/// The name of its rows.
const NAME: &str = "footprint";
/// How long a server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// One side's starts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Footprint {
    pub(crate) side: Side,
    pub(crate) resident_mebibytes: Spread,
    pub(crate) ready_millis: Spread,
}

/// Starts both sides in turn.
pub(crate) fn measure(wanted: &Wanted, effort: Effort) -> Result<Vec<Footprint>> {
    if !wanted.includes(NAME) {
        return Ok(Vec::new());
    }
    progress(&format!("{NAME}: {} starts of each", effort.starts));
    let mut sides = [(Side::Rhumb, Vec::new(), Vec::new()), (Side::Redis, Vec::new(), Vec::new())];
    for _ in 0..effort.starts {
        for (side, resident, ready) in &mut sides {
            let server = Server::start(*side, Durability::Local)?;
            ready.push(millis(server.ready_after));
            thread::sleep(SETTLE);
            resident.push(server.resident_mebibytes()?);
        }
    }
    let footprint = |(side, resident, ready): &(Side, Vec<f64>, Vec<f64>)| {
        let (resident_mebibytes, ready_millis) = (Spread::of(resident)?, Spread::of(ready)?);
        Some(Footprint { side: *side, resident_mebibytes, ready_millis })
    };
    Ok(sides.iter().filter_map(footprint).collect())
}
