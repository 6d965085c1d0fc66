//! A drain: the workers of a region end what they have before its duties move.

use std::time::Duration;

use rhumb_queue::{Answer, Ask, Refused};
use rhumb_types::RegionId;
use tokio::time::{Instant, sleep};

use super::{client::QueueClient, owners::Owner, route::foreign};
use crate::limits::{DRAIN_LOOK_INTERVAL, DRAIN_TRIES, QUEUE_CALL_WAIT};

impl QueueClient {
    /// Has no more jobs of a home leased, and waits until none is. Dropped, or past the wait, they are
    /// leased again after a moment.
    ///
    /// # Errors
    /// How many jobs were still leased, or why nobody knows.
    pub(crate) async fn drain(&self, home: &RegionId, wait: Duration) -> Result<(), String> {
        let end = Instant::now() + wait;
        let mut unheard = 0;
        loop {
            let left = match self.hush(home).await {
                Ok(0) => return Ok(()),
                Ok(jobs) => {
                    unheard = 0;
                    format!("{jobs} jobs were still leased")
                }
                Err(refused) => {
                    unheard += 1;
                    refused.to_string()
                }
            };
            if unheard >= DRAIN_TRIES || Instant::now() + DRAIN_LOOK_INTERVAL >= end {
                return Err(left);
            }
            sleep(DRAIN_LOOK_INTERVAL).await;
        }
    }

    /// How many jobs are still leased by who acts for a home, which leases no more for a while.
    async fn hush(&self, home: &RegionId) -> Result<u64, Refused> {
        let ask = Ask::Hush { home: home.clone() };
        let answer = match self.owner(home) {
            Owner::Here => self.ask(ask).await?,
            Owner::There(region) => self.call(&region, ask, QUEUE_CALL_WAIT).await.into_result()?,
            Owner::Nobody => return Ok(0),
        };
        match answer {
            Answer::Leased(jobs) => Ok(jobs),
            other => Err(foreign(&other)),
        }
    }
}
