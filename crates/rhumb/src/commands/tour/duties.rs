//! Who acts for a region, while it is lost and after its return.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rhumb_config::settings::Server;
use rhumb_types::RegionId;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::{
    LOOK_INTERVAL,
    report::{Report, millis},
};
use crate::{
    http::{Ask, Client},
    local::Local,
};

/// How long it may take until another region acts for a lost one. A lease at these distances is
/// most of it: it must outlast an election.
const TAKEOVER_MAX: Duration = Duration::from_secs(15);
/// How long it may take until a region that serves again has everything back, its ramp included.
const FAIL_BACK_MAX: Duration = Duration::from_secs(30);
/// Looks go on for this much longer, so that a late one is told as late and not as never.
const PATIENCE: u32 = 2;

/// Asks a region about another.
pub(super) struct Duties {
    client: Client,
    runtime: Runtime,
    region: RegionId,
}

impl Duties {
    /// Asks `asked` about `region`.
    pub(super) fn of(cluster: &Local, asked: &RegionId, region: &RegionId) -> Result<Self> {
        let client = Client::open(&format!("http://{}", cluster.address(asked, Server::Http)))?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client, runtime, region: region.clone() })
    }

    /// Waits until another region acts for it.
    pub(super) fn are_taken_over(&self, report: &mut Report, killed: Instant) -> Result<()> {
        let taken = |it: &Value| holder(it).filter(|it| *it != self.region.as_str()).is_some();
        let took = self.wait(killed, TAKEOVER_MAX, taken)?;
        let what = format!(
            "another region has the lease of {} in < {}",
            self.region,
            millis(TAKEOVER_MAX)
        );
        report.row(what, told(took), took.is_some_and(|took| took < TAKEOVER_MAX));
        Ok(())
    }

    /// Waits until it acts for itself again, with all of its share.
    pub(super) fn are_back(&self, report: &mut Report, returned: Instant) -> Result<()> {
        let back = |it: &Value| {
            let whole = it.pointer("/agreed/ramp_percent").and_then(Value::as_u64) == Some(100);
            whole && holder(it) == Some(self.region.as_str())
        };
        let took = self.wait(returned, FAIL_BACK_MAX, back)?;
        let what =
            format!("{} has its lease and share back in < {}", self.region, millis(FAIL_BACK_MAX));
        report.row(what, told(took), took.is_some_and(|took| took < FAIL_BACK_MAX));
        Ok(())
    }

    fn wait(
        &self,
        since: Instant,
        longest: Duration,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Option<Duration>> {
        while since.elapsed() < longest * PATIENCE {
            let regions = self.runtime.block_on(self.client.json(Ask::get("/v1/regions")))?;
            let regions = regions.pointer("/regions").and_then(Value::as_array).cloned();
            let own =
                |it: &Value| it.get("region").and_then(Value::as_str) == Some(self.region.as_str());
            let found = regions.unwrap_or_default().into_iter().find(own);
            let found = found.with_context(|| format!("{} is not a region", self.region))?;
            if is_so(&found) {
                return Ok(Some(since.elapsed()));
            }
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(None)
    }
}

fn holder(region: &Value) -> Option<&str> {
    region.pointer("/lease/holder/region").and_then(Value::as_str)
}

fn told(took: Option<Duration>) -> String {
    took.map_or_else(|| "never".to_owned(), millis)
}
