//! An event, and what it is as a job.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_types::{
    RegionId,
    record::{Job, JobAttribute, QueueDefinition, QueueName, Topic},
};

/// What the names of the event's attributes begin with among a job's; as in the headers of HTTP.
const PREFIX: &str = "ce-";
/// The attribute with the topic.
const TOPIC: &str = "rhumb-topic";
/// The kind of these attributes.
const TEXT: &str = "String";
/// The attributes that every event has (CloudEvents 1.0, section 3.1).
pub(crate) const ID: &str = "id";
pub(crate) const SOURCE: &str = "source";
pub(crate) const KIND: &str = "type";
pub(crate) const VERSION: &str = "specversion";

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Where it was published to.
    pub topic: Topic,
    /// Its context, by name: `id`, `source`, `type`, `specversion` and what else it has.
    pub(crate) context: BTreeMap<String, String>,
    /// What it says.
    pub data: Bytes,
}

impl Event {
    /// An event of the cluster's own, with JSON in it.
    #[must_use]
    pub fn own(topic: Topic, kind: &str, source: &str, id: &str, data: Bytes) -> Self {
        let context = [
            (ID, id),
            (SOURCE, source),
            (KIND, kind),
            (VERSION, "1.0"),
            ("datacontenttype", "application/json"),
        ];
        let context = context.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { topic, context, data }
    }

    /// A part of its context.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.context.get(name).map_or("", String::as_str)
    }

    /// What names the event's job in a queue: its source and its id (section 3.1.1), and the region where
    /// each region has a job of its own.
    #[must_use]
    pub fn key(&self, region: Option<&RegionId>) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("rhumb 2026 event key");
        for part in [self.get(SOURCE), self.get(ID), region.map_or("", RegionId::as_str)] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        format!("event-{}", hasher.finalize().to_hex())
    }

    /// Its context and topic as a job's attributes.
    #[must_use]
    pub fn attributes(&self) -> Vec<JobAttribute> {
        let attribute = |name: String, value: &str| JobAttribute {
            name,
            kind: TEXT.to_owned(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        };
        let context = self.context.iter();
        let context = context.map(|(name, value)| attribute(format!("{PREFIX}{name}"), value));
        context.chain([attribute(TOPIC.to_owned(), self.topic.as_str())]).collect()
    }

    /// The event that a job carries; nothing for a job of another kind.
    #[must_use]
    pub fn of(job: &Job) -> Option<Self> {
        let mut topic = None;
        let mut context = BTreeMap::new();
        for JobAttribute { name, value, .. } in &job.attributes {
            let value = std::str::from_utf8(value).ok()?;
            if name == TOPIC {
                topic = Topic::new(value).ok();
            } else if let Some(name) = name.strip_prefix(PREFIX) {
                context.insert(name.to_owned(), value.to_owned());
            }
        }
        let whole = [ID, SOURCE, KIND].iter().all(|name| context.contains_key(*name));
        Some(Self { topic: topic?, context, data: job.body.clone() }).filter(|_| whole)
    }
}

/// A queue that gets an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The queue.
    pub queue: QueueName,
    /// Whether each region gets a job of its own.
    pub each_region: bool,
}

/// The queues that get events of a topic. One that asks twice gets one, in each region if it says so once.
#[must_use]
pub fn subscribers(queues: &BTreeMap<QueueName, QueueDefinition>, topic: &Topic) -> Vec<Delivery> {
    let of = |(name, definition): (&QueueName, &QueueDefinition)| {
        let asked = definition.subscriptions.iter().filter(|it| it.topics.matches(topic));
        let each_region = asked.map(|it| it.each_region).reduce(|one, other| one || other)?;
        Some(Delivery { queue: name.clone(), each_region })
    };
    queues.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use rhumb_types::record::{Subscription, TopicPattern};

    use super::*;

    fn event() -> Event {
        let topic = Topic::new("orders.paid").unwrap();
        Event::own(topic, "paid", "/shop", "7", Bytes::from_static(b"{}"))
    }

    #[test]
    fn an_event_is_a_job_and_comes_back() {
        let event = event();
        let job =
            Job { body: event.data.clone(), attributes: event.attributes(), ..Job::default() };
        assert_eq!(Event::of(&job), Some(event));
        assert_eq!(Event::of(&Job::default()), None);
    }

    /// Two releases that disagree on a key deliver twice (rule 16).
    #[test]
    fn keys_are_frozen_and_differ_by_region() {
        let (here, event) = (RegionId::new("us").unwrap(), event());
        let frozen = "event-c3da829892fb00e320835fd1122ef2e43a2c3f77de2a0e1f01a4adf89e90ba10";
        assert_eq!(event.key(None), frozen);
        assert_ne!(event.key(None), event.key(Some(&here)));
        let other = Event::own(event.topic.clone(), "k", "/shop7", "", Bytes::new());
        assert_ne!(other.key(None), event.key(None), "parts are apart");
    }

    #[test]
    fn a_queue_that_asks_twice_gets_one() {
        let asks = |topics: &str, each_region| Subscription {
            topics: TopicPattern::new(topics).unwrap(),
            each_region,
        };
        let of = |subscriptions| QueueDefinition { subscriptions, ..QueueDefinition::default() };
        let name = |name: &str| QueueName::new(name).unwrap();
        let queues = BTreeMap::from([
            (name("a"), of(vec![asks("orders.*", false), asks("**", true)])),
            (name("b"), of(vec![asks("orders.paid", false)])),
            (name("c"), of(vec![asks("users.**", false)])),
            (name("d"), of(vec![])),
        ]);
        let found = subscribers(&queues, &event().topic);
        let found: Vec<_> = found.iter().map(|it| (it.queue.as_str(), it.each_region)).collect();
        assert_eq!(found, [("a", true), ("b", false)]);
    }
}
