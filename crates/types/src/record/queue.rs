//! A queue: its name, its settings, and how far its jobs may have been leased out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    CodecError, OwnedId, Record,
    codec::{encode, read},
    topic::Subscription,
};
use crate::{AckLevel, RegionId, UnixMillis, text_id};

/// The table of lease frontiers.
pub const FRONTIERS: u8 = 3;
/// Longest name, in bytes; the bound of SQS.
pub const QUEUE_NAME_BYTES_MAX: usize = 80;
/// Priorities are below this.
pub const PRIORITIES: u8 = 10;

/// The name of a queue: 1 to 80 letters, digits, `-`, `_` and `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(Arc<str>);

/// Why a text is not a queue's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a queue name: use 1 to 80 of a-z, A-Z, 0-9, `-`, `_` and `.`")]
pub struct QueueNameError(String);

impl QueueName {
    /// Checks a name.
    ///
    /// # Errors
    /// When the text is empty, too long, or has other characters than those allowed.
    pub fn new(name: &str) -> Result<Self, QueueNameError> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = (1..=QUEUE_NAME_BYTES_MAX).contains(&name.len());
        if fits && name.bytes().all(known) {
            Ok(Self(name.into()))
        } else {
            Err(QueueNameError(name.to_owned()))
        }
    }
}

text_id!(QueueName, QueueNameError);

/// The settings of a queue, the same in every region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueDefinition {
    /// How long a lease lasts that names no time: 30 s.
    pub visibility: Duration,
    /// How long a job is kept that nobody completes: 4 d.
    pub retention: Duration,
    /// How long a new job waits at least, unless it says so itself.
    pub delay: Duration,
    /// A job that failed so often is dead; without a number it is tried until it is too old.
    pub attempts_max: Option<u32>,
    /// Where dead jobs go; without one they stay, and are not leased.
    pub dead_letters: Option<QueueName>,
    /// How long a job waits after its first failure; doubles with each.
    pub backoff: Duration,
    /// Whether every job has a group, and the jobs of a group run in order.
    pub fifo: bool,
    /// Whether a job without a key has its content as its key.
    pub content_dedup: bool,
    /// How long a key names the same job, from its enqueue: 24 h.
    pub keys_kept: Duration,
    /// What must be durable before a caller hears yes.
    pub ack: AckLevel,
    /// The oldest job ought to wait no longer.
    pub oldest_age_target: Duration,
    /// Which events become jobs of the queue.
    pub subscriptions: Vec<Subscription>,
    /// Whether the end of each of its jobs is an event of its own, of the topic
    /// `rhumb.job.finished.QUEUE` or `rhumb.job.dead.QUEUE`.
    pub announce: bool,
    /// What only one protocol asks for, by its own names, such as `sqs.MaximumMessageSize`.
    pub protocol: BTreeMap<String, String>,
    /// Jobs are taken in and leased in regions that have one of these tags of residency; in any where
    /// there are none. For good.
    pub residency: Vec<String>,
}

impl Default for QueueDefinition {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        Self {
            visibility: Duration::from_secs(30),
            retention: hours(4 * 24),
            delay: Duration::ZERO,
            attempts_max: None,
            dead_letters: None,
            backoff: Duration::ZERO,
            fifo: false,
            content_dedup: false,
            keys_kept: hours(24),
            ack: AckLevel::Local,
            oldest_age_target: Duration::from_secs(60),
            subscriptions: Vec::new(),
            announce: false,
            protocol: BTreeMap::new(),
            residency: Vec::new(),
        }
    }
}

/// A queue as it is agreed: its settings, and what is told of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QueueEntry {
    /// Its settings.
    pub definition: QueueDefinition,
    /// When it was made, by the clock of who made it.
    pub created_at: UnixMillis,
    /// When it was changed last.
    pub changed_at: UnixMillis,
    /// Named values that its users gave it; nothing here reads them.
    pub tags: BTreeMap<String, String>,
}

type UnboundJobs =
    (Duration, Duration, Duration, Option<u32>, Option<QueueName>, Duration, bool, bool);
type UnboundRest =
    (Duration, AckLevel, Duration, Vec<Subscription>, bool, BTreeMap<String, String>);

/// A queue without residency, as nodes wrote it that knew none, and still read it (rule 16).
#[derive(Serialize, Deserialize)]
struct Unbound {
    definition: (UnboundJobs, UnboundRest),
    created_at: UnixMillis,
    changed_at: UnixMillis,
    tags: BTreeMap<String, String>,
}

impl Record for Unbound {
    const VERSION: u8 = 1;
}

impl Unbound {
    fn of(entry: &QueueEntry) -> Self {
        let it = entry.definition.clone();
        let jobs = (
            it.visibility,
            it.retention,
            it.delay,
            it.attempts_max,
            it.dead_letters,
            it.backoff,
            it.fifo,
            it.content_dedup,
        );
        let (ack, target) = (it.ack, it.oldest_age_target);
        let rest = (it.keys_kept, ack, target, it.subscriptions, it.announce, it.protocol);
        let QueueEntry { created_at, changed_at, tags, .. } = entry.clone();
        Self { definition: (jobs, rest), created_at, changed_at, tags }
    }

    fn entry(self) -> QueueEntry {
        let Self { definition: (jobs, rest), created_at, changed_at, tags } = self;
        let (visibility, retention, delay, attempts_max, dead_letters, backoff, fifo, dedup) = jobs;
        let (keys_kept, ack, oldest_age_target, subscriptions, announce, protocol) = rest;
        let definition = QueueDefinition {
            visibility,
            retention,
            delay,
            attempts_max,
            dead_letters,
            backoff,
            fifo,
            content_dedup: dedup,
            keys_kept,
            ack,
            oldest_age_target,
            subscriptions,
            announce,
            protocol,
            residency: Vec::new(),
        };
        QueueEntry { definition, created_at, changed_at, tags }
    }
}

impl Record for QueueEntry {
    const VERSION: u8 = 2;

    /// As every node reads it where the queue has no residency.
    fn encode(&self) -> Bytes {
        if self.definition.residency.is_empty() { Unbound::of(self).encode() } else { encode(self) }
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        match bytes.first() {
            Some(&Unbound::VERSION) => Unbound::decode(bytes).map(Unbound::entry),
            _ => read(Self::VERSION, bytes),
        }
    }
}

/// Longest lease, and longest delay of a job.
pub const VISIBILITY_MAX: Duration = Duration::from_secs(12 * 3_600);
/// Shortest and longest time that jobs are kept.
pub const RETENTION_MIN_MAX: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(14 * 24 * 3_600));
/// Shortest and longest time that keys are kept.
pub const KEYS_KEPT_MIN_MAX: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(14 * 24 * 3_600));

/// Most settings of protocols.
pub const PROTOCOL_SETTINGS_MAX: usize = 32;
/// Longest name of such a setting with its value, in bytes.
pub const PROTOCOL_SETTING_BYTES_MAX: usize = 4 << 10;
/// Most tags of residency of a queue.
pub const RESIDENCY_TAGS_MAX: usize = 16;
/// Most subscriptions of a queue.
pub const SUBSCRIPTIONS_MAX: usize = 16;
/// The first word of the topics of the cluster's own events.
pub const OWN_TOPICS: &str = "rhumb";

/// The queue from which a region delivers events to those that subscribe to them.
#[must_use]
pub fn events_queue() -> QueueName {
    QueueName("rhumb.events".into())
}

/// Its settings: an event is delivered until that has worked.
#[must_use]
pub fn events_settings() -> QueueDefinition {
    QueueDefinition { backoff: Duration::from_secs(1), ..QueueDefinition::default() }
}

/// Which setting of a queue is against its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue's {setting} must be {rule}")]
pub struct QueueDefinitionError {
    /// Which.
    pub setting: &'static str,
    /// What it must be.
    pub rule: &'static str,
}

impl QueueDefinition {
    /// Checks the bounds.
    ///
    /// # Errors
    /// The first setting that is against them.
    pub fn check(&self) -> Result<(), QueueDefinitionError> {
        let within =
            |value: Duration, (least, most): (Duration, Duration)| (least..=most).contains(&value);
        let rules = [
            ("visibility", "at most 12 h", self.visibility <= VISIBILITY_MAX),
            ("delay", "at most 12 h", self.delay <= VISIBILITY_MAX),
            ("backoff", "at most 12 h", self.backoff <= VISIBILITY_MAX),
            ("retention", "60 s to 14 d", within(self.retention, RETENTION_MIN_MAX)),
            ("keys_kept", "60 s to 14 d", within(self.keys_kept, KEYS_KEPT_MIN_MAX)),
            ("attempts_max", "at least 1", self.attempts_max != Some(0)),
            ("content_dedup", "set on a FIFO queue only", self.fifo || !self.content_dedup),
            ("protocol", "at most 32 settings, of at most 4 KiB each", fit(&self.protocol)),
            ("subscriptions", "at most 16", self.subscriptions.len() <= SUBSCRIPTIONS_MAX),
            ("subscriptions", "of a queue that is not FIFO", !self.fifo || !self.subscribes()),
            ("residency", "at most 16 tags", self.residency.len() <= RESIDENCY_TAGS_MAX),
            (
                "residency",
                "that of no queue with subscriptions: events lie where they are published",
                self.residency.is_empty() || !self.subscribes(),
            ),
            // Otherwise the end of a job could be a job whose end is an event, for ever.
            (
                "announce",
                "off where it subscribes to `rhumb.`",
                !self.announce || !self.hears_own(),
            ),
        ];
        match rules.iter().find(|(_, _, kept)| !kept) {
            Some((setting, rule, _)) => Err(QueueDefinitionError { setting, rule }),
            None => Ok(()),
        }
    }
}

/// Whether the settings of protocols are within their bounds.
fn fit(settings: &BTreeMap<String, String>) -> bool {
    let bytes = |(name, value): (&String, &String)| name.len() + value.len();
    settings.len() <= PROTOCOL_SETTINGS_MAX
        && settings.iter().map(bytes).all(|bytes| bytes <= PROTOCOL_SETTING_BYTES_MAX)
}

impl QueueDefinition {
    /// Whether any event becomes a job of the queue.
    #[must_use]
    pub const fn subscribes(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// Whether events of the cluster itself may become jobs of the queue.
    fn hears_own(&self) -> bool {
        self.subscriptions.iter().any(|it| it.topics.may_begin_with(OWN_TOPICS))
    }
}

/// Whose leases a frontier speaks of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct FrontierKey {
    /// Of the jobs of this home,
    pub home: RegionId,
    /// in this queue.
    pub queue: QueueName,
}

impl FrontierKey {
    /// The id of the row.
    #[must_use]
    pub fn row(&self) -> OwnedId {
        let key = format!("{}\0{}", self.home, self.queue);
        OwnedId { table: FRONTIERS, key: key.into() }
    }

    /// The frontier whose row has an id.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when it is no frontier's row.
    pub fn of_row(row: &OwnedId) -> Result<Self, CodecError> {
        let text = std::str::from_utf8(&row.key).ok().filter(|_| row.table == FRONTIERS);
        let parsed = text.and_then(|text| text.split_once('\0')).and_then(|(home, queue)| {
            Some(Self { home: RegionId::new(home).ok()?, queue: QueueName::new(queue).ok()? })
        });
        parsed.ok_or_else(|| CodecError::Damaged("the key names no frontier".to_owned()))
    }
}

/// How far the jobs of a home in a queue may have been leased out, written ahead of the leases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Frontier {
    /// Jobs of this order and below may be leased.
    pub through: u64,
    /// None of these leases ends later than so long after this version was asked for, in
    /// milliseconds, unless the job's own row says so.
    pub span_ms: u64,
    /// Their numbers are below this.
    pub numbers: u64,
    /// Whether the owner that wrote this began, within the span, without knowing of the frontiers
    /// before: a successor does not know them either.
    pub blind: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TopicPattern;

    #[test]
    fn names_and_bounds() {
        for bad in ["", "a/b", "a\0b", &"x".repeat(81)] {
            assert!(QueueName::new(bad).is_err(), "{bad}");
        }
        assert_eq!(QueueDefinition::default().check(), Ok(()));
        let long = QueueDefinition { visibility: VISIBILITY_MAX * 2, ..QueueDefinition::default() };
        assert_eq!(long.check().map_err(|error| error.setting), Err("visibility"));
        let hears = |topics: &str| Subscription {
            topics: TopicPattern::new(topics).unwrap(),
            each_region: false,
        };
        let of = |subscriptions, announce, fifo| {
            let settings = QueueDefinition { subscriptions, announce, fifo, ..Default::default() };
            settings.check().map_err(|error| error.setting)
        };
        assert_eq!(of(vec![hears("orders.**")], true, false), Ok(()));
        assert_eq!(of(vec![hears("rhumb.**")], false, false), Ok(()));
        assert_eq!(of(vec![hears("rhumb.job.*.q")], true, false), Err("announce"));
        assert_eq!(of(vec![hears("*.job.**")], true, false), Err("announce"));
        assert_eq!(of(vec![hears("orders")], false, true), Err("subscriptions"));
        assert_eq!(of(vec![hears("a"); 17], false, false), Err("subscriptions"));
        let settings = |count: usize, bytes: usize| {
            let of = |nth| (format!("{nth:02}"), "x".repeat(bytes - 2));
            let protocol = (0..count).map(of).collect();
            let definition = QueueDefinition { protocol, ..Default::default() };
            definition.check().map_err(|error| error.setting)
        };
        let (count, bytes) = (PROTOCOL_SETTINGS_MAX, PROTOCOL_SETTING_BYTES_MAX);
        assert_eq!(settings(count, bytes), Ok(()));
        assert_eq!(settings(count + 1, 3), Err("protocol"));
        assert_eq!(settings(1, bytes + 1), Err("protocol"));
    }

    #[test]
    fn the_encoding_is_frozen() {
        let frontier = Frontier { through: 300, span_ms: 90_000, numbers: 7, blind: true };
        assert_eq!(&frontier.encode()[..], [1, 0xac, 2, 0x90, 0xbf, 5, 7, 1]);
        assert_eq!(Frontier::decode(&frontier.encode()).unwrap(), frontier);
        let home = RegionId::new("us").unwrap();
        let key = FrontierKey { home, queue: QueueName::new("q").unwrap() };
        assert_eq!(&key.row().key[..], b"us\0q");
        assert_eq!(FrontierKey::of_row(&key.row()), Ok(key));
        let topics = TopicPattern::new("orders.**").unwrap();
        let definition = QueueDefinition {
            subscriptions: vec![Subscription { topics, each_region: true }],
            protocol: BTreeMap::from([("sqs.x".to_owned(), "1".to_owned())]),
            ..QueueDefinition::default()
        };
        let entry = QueueEntry { definition, changed_at: UnixMillis(7), ..Default::default() };
        assert_eq!(QueueEntry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    fn a_queue_without_residency_is_written_as_before() {
        let tags = BTreeMap::from([("t".to_owned(), "1".to_owned())]);
        let definition = QueueDefinition { attempts_max: Some(5), ..QueueDefinition::default() };
        let (created_at, changed_at) = (UnixMillis(6), UnixMillis(7));
        let mut entry = QueueEntry { definition, created_at, changed_at, tags };
        let written: String = entry.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let frozen = "011e00808c1500000001050000000000\
                      80a30500013c0000000006070101740131";
        assert_eq!(written, frozen);
        assert_eq!(QueueEntry::decode(&entry.encode()).unwrap(), entry);
        // Who does not know of residency must not take the queue for one that lies anywhere.
        entry.definition.residency = vec!["eu".to_owned()];
        assert_eq!(entry.encode()[0], 2);
        assert_eq!(QueueEntry::decode(&entry.encode()).unwrap(), entry);
        entry.definition.residency = vec!["eu".to_owned(); 17];
        assert_eq!(entry.definition.check().map_err(|error| error.setting), Err("residency"));
    }
}
