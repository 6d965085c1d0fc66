//! Subscribers of this node, and what reaches them.
//!
//! A message is delivered at most once. A subscriber that does not keep up is cut off rather than
//! allowed to hold others back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use rhumb_state::glob;
use tokio::sync::mpsc;

use crate::limits::SUBSCRIBER_MESSAGES_MAX;

/// A message for a subscriber.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The pattern that matched; `None` for a subscription to the channel itself.
    pub pattern: Option<Bytes>,
    /// The channel.
    pub channel: Bytes,
    /// The message.
    pub payload: Bytes,
}

#[derive(Debug, Default)]
struct Directory {
    channels: BTreeMap<Bytes, BTreeSet<u64>>,
    patterns: BTreeMap<Bytes, BTreeSet<u64>>,
    subscribers: BTreeMap<u64, mpsc::Sender<Delivery>>,
}

/// All subscribers. The lock is held for map look-ups and non-blocking sends only.
#[derive(Clone, Debug, Default)]
pub(crate) struct PubSub {
    directory: Arc<Mutex<Directory>>,
    next: Arc<AtomicU64>,
}

impl PubSub {
    fn directory(&self) -> MutexGuard<'_, Directory> {
        // Every update leaves the maps whole, so a panic elsewhere does not spoil them.
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscriber(&self) -> Subscription {
        let (sender, messages) = mpsc::channel(SUBSCRIBER_MESSAGES_MAX);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.directory().subscribers.insert(id, sender);
        Subscription { id, hub: self.clone(), messages }
    }

    /// Gives a message to everyone who wants it; says to how many.
    pub(crate) fn deliver(&self, channel: &Bytes, payload: &Bytes) -> usize {
        let mut directory = self.directory();
        let directory = &mut *directory;
        let direct = directory.channels.get(channel).into_iter().flatten().map(|id| (*id, None));
        let matching = directory
            .patterns
            .iter()
            .filter(|(pattern, _)| glob::matches(pattern, channel))
            .flat_map(|(pattern, ids)| ids.iter().map(|id| (*id, Some(pattern.clone()))));
        let mut reached = 0;
        let mut slow = Vec::new();
        for (id, pattern) in direct.chain(matching) {
            let Some(subscriber) = directory.subscribers.get(&id) else { continue };
            let delivery = Delivery { pattern, channel: channel.clone(), payload: payload.clone() };
            match subscriber.try_send(delivery) {
                Ok(()) => reached += 1,
                Err(_) => slow.push(id),
            }
        }
        for id in slow {
            directory.subscribers.remove(&id);
        }
        reached
    }

    /// How many subscribers of this node a message to a channel would reach.
    pub(crate) fn count(&self, channel: &Bytes) -> usize {
        let directory = self.directory();
        let direct = directory.channels.get(channel).map_or(0, BTreeSet::len);
        let matching =
            directory.patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel));
        direct + matching.map(|(_, ids)| ids.len()).sum::<usize>()
    }

    /// Channels that somebody of this node subscribes to.
    pub(crate) fn channels(&self) -> Vec<(Bytes, usize)> {
        self.directory().channels.iter().map(|(name, ids)| (name.clone(), ids.len())).collect()
    }

    /// How many patterns somebody of this node subscribes to.
    pub(crate) fn patterns(&self) -> usize {
        self.directory().patterns.len()
    }
}

/// One subscriber; ends when dropped.
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    hub: PubSub,
    messages: mpsc::Receiver<Delivery>,
}

impl Subscription {
    /// Subscribes to a channel.
    pub fn add(&self, channel: Bytes) {
        self.hub.directory().channels.entry(channel).or_default().insert(self.id);
    }

    /// Ends the subscription to a channel.
    pub fn remove(&self, channel: &Bytes) {
        remove(&mut self.hub.directory().channels, channel, self.id);
    }

    /// Subscribes to the channels that match a pattern.
    pub fn add_pattern(&self, pattern: Bytes) {
        self.hub.directory().patterns.entry(pattern).or_default().insert(self.id);
    }

    /// Ends the subscription to a pattern.
    pub fn remove_pattern(&self, pattern: &Bytes) {
        remove(&mut self.hub.directory().patterns, pattern, self.id);
    }

    /// The next message; `None` when this subscriber was cut off for not keeping up.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.messages.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut directory = self.hub.directory();
        directory.subscribers.remove(&self.id);
        for map in [false, true] {
            let map = if map { &mut directory.channels } else { &mut directory.patterns };
            map.retain(|_, ids| {
                ids.remove(&self.id);
                !ids.is_empty()
            });
        }
    }
}

fn remove(map: &mut BTreeMap<Bytes, BTreeSet<u64>>, name: &Bytes, id: u64) {
    let Some(ids) = map.get_mut(name) else { return };
    ids.remove(&id);
    if ids.is_empty() {
        map.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn delivers_by_channel_and_by_pattern_and_forgets_on_drop() {
        let hub = PubSub::default();
        let mut subscription = hub.subscriber();
        let channel = Bytes::from_static(b"news.eu");
        subscription.add(channel.clone());
        subscription.add_pattern(Bytes::from_static(b"news.*"));
        assert_eq!(hub.deliver(&channel, &Bytes::from_static(b"x")), 2);
        assert_eq!(subscription.next().await.unwrap().pattern, None);
        assert!(subscription.next().await.unwrap().pattern.is_some());
        drop(subscription);
        assert_eq!(hub.deliver(&channel, &Bytes::from_static(b"x")), 0);
        assert_eq!(hub.patterns(), 0);
    }

    #[tokio::test]
    async fn cuts_off_a_subscriber_that_does_not_keep_up() {
        let hub = PubSub::default();
        let mut slow = hub.subscriber();
        let channel = Bytes::from_static(b"c");
        slow.add(channel.clone());
        for _ in 0..=SUBSCRIBER_MESSAGES_MAX {
            hub.deliver(&channel, &Bytes::new());
        }
        let mut received = 0;
        while slow.next().await.is_some() {
            received += 1;
        }
        assert_eq!(received, SUBSCRIBER_MESSAGES_MAX);
    }
}
