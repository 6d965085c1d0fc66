//! At the end: what a region lacks comes from one that has it.

use bytes::Bytes;
use rhumb_pack::limits::{PACK_BYTES_MAX, SEGMENT_BYTES_MAX};
use tokio::task::JoinSet;

use super::Shipment;
use crate::{
    archive::{Part, is_part, present},
    budget::Budget,
    lane::{State, Tries, retried},
    limits::{LISTED_MAX, PACK_INDEX_BYTES_MAX},
    remote::{Remote, RemoteError},
};

impl Shipment {
    /// Brings as many regions as are wanted to have all parts: first those that were sent to, then
    /// those that were set aside and answer again.
    pub(super) async fn mend(&mut self) {
        let parts = self.parts();
        for at in 0..self.lanes.len() {
            if self.lanes.get(at).is_some_and(|lane| lane.is_live()) {
                self.mend_one(at, &parts.iter().copied().collect::<Vec<_>>()).await;
            }
        }
        for at in 0..self.lanes.len() {
            let live = self.lanes.iter().filter(|lane| lane.is_live()).count();
            let now = self.now();
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            if live >= self.wanted || !matches!(lane.state, State::Lost(_)) {
                continue;
            }
            let Ok(has) = present(&lane.remote, &self.prefix, LISTED_MAX).await else { continue };
            tracing::info!(region = %lane.region(), "the region answers again");
            lane.revive(has, now);
            self.mend_one(at, &parts.iter().copied().collect::<Vec<_>>()).await;
        }
    }

    /// Gives one region what it lacks. If that fails, it is set aside.
    async fn mend_one(&mut self, at: usize, parts: &[Part]) {
        let Some(lane) = self.lanes.get(at) else { return };
        let target = lane.remote.clone();
        let lacking: Vec<Part> = parts.iter().copied().filter(|part| lane.lacks(*part)).collect();
        let mut under_way = JoinSet::new();
        let mut failed = None;
        for part in lacking {
            let holders: Vec<Remote> = self
                .lanes
                .iter()
                .filter(|lane| lane.is_live() && lane.has.contains(&part))
                .map(|lane| lane.remote.clone())
                .collect();
            let copy = Copy {
                part,
                key: self.prefix.key(part),
                holders,
                target: target.clone(),
                budget: self.budget.clone(),
                tries: self.tries,
            };
            while under_way.len() >= self.requests {
                self.copied(at, under_way.join_next().await, &mut failed);
            }
            if failed.is_some() {
                break;
            }
            under_way.spawn(copy.run());
        }
        while !under_way.is_empty() {
            self.copied(at, under_way.join_next().await, &mut failed);
        }
        if let (Some(error), Some(lane)) = (failed, self.lanes.get_mut(at)) {
            tracing::warn!(region = %lane.region(), %error, "the region cannot be completed");
            lane.lose(error.to_string());
        }
    }

    fn copied(
        &mut self,
        at: usize,
        result: Option<Result<Copied, tokio::task::JoinError>>,
        failed: &mut Option<RemoteError>,
    ) {
        let (Some(Ok((part, result))), Some(lane)) = (result, self.lanes.get_mut(at)) else {
            return;
        };
        match result {
            Ok(bytes) => {
                lane.has.insert(part);
                lane.mended += 1;
                if let Some(shown) = self.progress.region(lane.region()) {
                    shown.bytes.add(bytes);
                    shown.objects.add(1);
                }
            }
            Err(error) => *failed = Some(error),
        }
    }
}

/// A part, and how many bytes it has.
type Copied = (Part, Result<u64, RemoteError>);

/// One part, from whoever has it to the one that lacks it.
struct Copy {
    part: Part,
    key: String,
    holders: Vec<Remote>,
    target: Remote,
    budget: Budget,
    tries: Tries,
}

impl Copy {
    async fn run(self) -> Copied {
        let most = match self.part {
            Part::Pack(_) => PACK_BYTES_MAX + PACK_INDEX_BYTES_MAX,
            Part::Segment(_) => SEGMENT_BYTES_MAX,
        };
        let _held = self.budget.hold(most).await;
        let mut found = Err(RemoteError::missing("no region has it"));
        for holder in &self.holders {
            found = self.fetch(holder, most).await;
            if found.is_ok() {
                break;
            }
        }
        let sent = match found {
            Ok(bytes) => {
                let body = std::slice::from_ref(&bytes);
                let put = retried(self.tries, || self.target.put(&self.key, body)).await;
                put.map(|()| bytes.len() as u64)
            }
            Err(error) => Err(error),
        };
        (self.part, sent)
    }

    async fn fetch(&self, holder: &Remote, most: usize) -> Result<Bytes, RemoteError> {
        let bytes = retried(self.tries, || holder.get(&self.key, most)).await?;
        let (part, looked) = (self.part, bytes.clone());
        let whole = tokio::task::spawn_blocking(move || is_part(part, &looked)).await;
        if whole.unwrap_or(false) {
            Ok(bytes)
        } else {
            Err(RemoteError::missing("it is damaged there"))
        }
    }
}
