//! The attributes of a queue, in SQS's words, and the definition that stands behind them.
//!
//! What a queue's definition has no word for, because only SQS asks for it, stands among its settings of
//! protocols, as it was given.

mod redrive;

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::record::{QueueDefinition, QueueName};

pub(crate) use self::redrive::{AllowPolicy, RedrivePolicy};
use crate::{
    fault::{Code, Fault},
    limits::{
        DEDUPLICATION, DELAY_SECONDS_MAX, MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN,
        VISIBILITY_SECONDS_MAX, WAIT_SECONDS_MAX,
    },
    names,
};

/// What the settings of SQS among those of protocols begin with.
const PREFIX: &str = "sqs.";

/// Every attribute that a client can set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Setting {
    ContentBasedDeduplication,
    DeduplicationScope,
    DelaySeconds,
    FifoQueue,
    FifoThroughputLimit,
    KmsDataKeyReusePeriodSeconds,
    KmsMasterKeyId,
    MaximumMessageSize,
    MessageRetentionPeriod,
    Policy,
    ReceiveMessageWaitTimeSeconds,
    RedriveAllowPolicy,
    RedrivePolicy,
    SqsManagedSseEnabled,
    VisibilityTimeout,
}

impl Setting {
    pub(crate) const ALL: [Self; 15] = [
        Self::ContentBasedDeduplication,
        Self::DeduplicationScope,
        Self::DelaySeconds,
        Self::FifoQueue,
        Self::FifoThroughputLimit,
        Self::KmsDataKeyReusePeriodSeconds,
        Self::KmsMasterKeyId,
        Self::MaximumMessageSize,
        Self::MessageRetentionPeriod,
        Self::Policy,
        Self::ReceiveMessageWaitTimeSeconds,
        Self::RedriveAllowPolicy,
        Self::RedrivePolicy,
        Self::SqsManagedSseEnabled,
        Self::VisibilityTimeout,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ContentBasedDeduplication => "ContentBasedDeduplication",
            Self::DeduplicationScope => "DeduplicationScope",
            Self::DelaySeconds => "DelaySeconds",
            Self::FifoQueue => "FifoQueue",
            Self::FifoThroughputLimit => "FifoThroughputLimit",
            Self::KmsDataKeyReusePeriodSeconds => "KmsDataKeyReusePeriodSeconds",
            Self::KmsMasterKeyId => "KmsMasterKeyId",
            Self::MaximumMessageSize => "MaximumMessageSize",
            Self::MessageRetentionPeriod => "MessageRetentionPeriod",
            Self::Policy => "Policy",
            Self::ReceiveMessageWaitTimeSeconds => "ReceiveMessageWaitTimeSeconds",
            Self::RedriveAllowPolicy => "RedriveAllowPolicy",
            Self::RedrivePolicy => "RedrivePolicy",
            Self::SqsManagedSseEnabled => "SqsManagedSseEnabled",
            Self::VisibilityTimeout => "VisibilityTimeout",
        }
    }

    fn of(name: &str) -> Result<Self, Fault> {
        let known = Self::ALL.into_iter().find(|setting| setting.name() == name);
        known.ok_or_else(|| {
            let message = format!("Unknown Attribute {name}.");
            Fault::new(Code::InvalidAttributeName, message)
        })
    }

    fn key(self) -> String {
        format!("{PREFIX}{}", self.name())
    }

    fn refuse(self, reason: &str) -> Fault {
        let message = format!("Invalid value for the parameter {}. Reason: {reason}.", self.name());
        Fault::new(Code::InvalidAttributeValue, message)
    }

    fn number(self, value: &str, least: u64, most: u64) -> Result<u64, Fault> {
        let number = value.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| self.refuse(&format!("must be a number from {least} to {most}")))
    }

    fn flag(self, value: &str) -> Result<bool, Fault> {
        match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.refuse("must be true or false")),
        }
    }

    fn word(self, value: &str, words: [&str; 2]) -> Result<(), Fault> {
        if words.contains(&value) {
            return Ok(());
        }
        Err(self.refuse(&format!("must be {} or {}", words[0], words[1])))
    }
}

/// Whether a queue has an attribute of a name that clients can set.
pub(crate) fn is_name(name: &str) -> bool {
    Setting::ALL.iter().any(|setting| setting.name() == name)
}

/// Attributes as they come and go: all values are texts.
pub(crate) type Attributes = BTreeMap<String, String>;

/// The definition of a queue with nothing but what SQS has by itself: its own window of deduplication,
/// and no pause between tries.
pub(crate) fn fresh(fifo: bool) -> QueueDefinition {
    QueueDefinition { fifo, keys_kept: DEDUPLICATION, ..QueueDefinition::default() }
}

/// Whether attributes ask for a FIFO queue.
pub(crate) fn asks_for_fifo(attributes: &Attributes) -> Result<bool, Fault> {
    let given = attributes.get(Setting::FifoQueue.name());
    given.map_or(Ok(false), |value| Setting::FifoQueue.flag(value))
}

/// Lays attributes over a definition.
pub(crate) fn apply(
    definition: &mut QueueDefinition,
    attributes: &Attributes,
) -> Result<(), Fault> {
    for (name, value) in attributes {
        apply_one(definition, Setting::of(name)?, value)?;
    }
    let limit = definition.protocol.get(&Setting::FifoThroughputLimit.key());
    if limit.is_some_and(|it| it == "perMessageGroupId") && !scoped_by_group(definition) {
        let reason = "perMessageGroupId needs DeduplicationScope to be messageGroup";
        return Err(Setting::FifoThroughputLimit.refuse(reason));
    }
    Ok(())
}

fn apply_one(definition: &mut QueueDefinition, setting: Setting, value: &str) -> Result<(), Fault> {
    let seconds = |least, most| setting.number(value, least, most).map(Duration::from_secs);
    match setting {
        Setting::DelaySeconds => definition.delay = seconds(0, DELAY_SECONDS_MAX)?,
        Setting::VisibilityTimeout => definition.visibility = seconds(0, VISIBILITY_SECONDS_MAX)?,
        Setting::MessageRetentionPeriod => definition.retention = seconds(60, 1_209_600)?,
        Setting::RedrivePolicy => set_redrive(definition, value)?,
        Setting::FifoQueue => {
            if setting.flag(value)? != definition.fifo {
                return Err(setting.refuse("a queue stays what it was made as"));
            }
        }
        Setting::ContentBasedDeduplication
        | Setting::DeduplicationScope
        | Setting::FifoThroughputLimit => set_fifo(definition, setting, value)?,
        Setting::MaximumMessageSize => {
            setting.number(value, MESSAGE_BYTES_MIN as u64, MESSAGE_BYTES_MAX as u64)?;
            keep(definition, setting, value);
        }
        Setting::ReceiveMessageWaitTimeSeconds => {
            setting.number(value, 0, WAIT_SECONDS_MAX)?;
            keep(definition, setting, value);
        }
        Setting::RedriveAllowPolicy => {
            if !value.is_empty() {
                AllowPolicy::parse(value).map_err(|reason| setting.refuse(&reason))?;
            }
            keep(definition, setting, value);
        }
        Setting::Policy if !value.is_empty() => {
            return Err(setting.refuse("who may do what is configured with access keys"));
        }
        Setting::KmsMasterKeyId if !value.is_empty() => {
            return Err(setting.refuse("queues are not encrypted with keys of KMS"));
        }
        Setting::SqsManagedSseEnabled if setting.flag(value)? => {
            return Err(setting.refuse("queues are not encrypted at rest; encrypt the disk"));
        }
        Setting::Policy | Setting::KmsMasterKeyId | Setting::SqsManagedSseEnabled => {}
        Setting::KmsDataKeyReusePeriodSeconds => {
            setting.number(value, 60, 86_400)?;
        }
    }
    Ok(())
}

fn set_fifo(definition: &mut QueueDefinition, setting: Setting, value: &str) -> Result<(), Fault> {
    match setting {
        Setting::ContentBasedDeduplication => {
            let given = setting.flag(value)?;
            if given && !definition.fifo {
                return Err(setting.refuse("only a FIFO queue can have it"));
            }
            definition.content_dedup = given;
            return Ok(());
        }
        Setting::DeduplicationScope => setting.word(value, ["queue", "messageGroup"])?,
        _ => setting.word(value, ["perQueue", "perMessageGroupId"])?,
    }
    if !definition.fifo {
        return Err(setting.refuse("only a FIFO queue can have it"));
    }
    keep(definition, setting, value);
    Ok(())
}

fn set_redrive(definition: &mut QueueDefinition, value: &str) -> Result<(), Fault> {
    if value.is_empty() {
        definition.dead_letters = None;
        definition.attempts_max = None;
        return Ok(());
    }
    let policy = RedrivePolicy::parse(value).map_err(|it| Setting::RedrivePolicy.refuse(&it))?;
    definition.attempts_max = Some(policy.attempts_max);
    definition.dead_letters = Some(policy.target);
    Ok(())
}

/// Keeps what only SQS asks for; an empty value takes it away.
fn keep(definition: &mut QueueDefinition, setting: Setting, value: &str) {
    if value.is_empty() {
        definition.protocol.remove(&setting.key());
    } else {
        definition.protocol.insert(setting.key(), value.to_owned());
    }
}

/// Whether the same deduplication id in two groups is two messages.
pub(crate) fn scoped_by_group(definition: &QueueDefinition) -> bool {
    let scope = definition.protocol.get(&Setting::DeduplicationScope.key());
    scope.is_some_and(|scope| scope == "messageGroup")
}

/// The largest message that a queue takes, in bytes.
pub(crate) fn message_bytes_max(definition: &QueueDefinition) -> usize {
    let given = definition.protocol.get(&Setting::MaximumMessageSize.key());
    given.and_then(|text| text.parse().ok()).unwrap_or(MESSAGE_BYTES_MAX).min(MESSAGE_BYTES_MAX)
}

/// How long a receive waits that does not say so.
pub(crate) fn wait(definition: &QueueDefinition) -> Duration {
    let given = definition.protocol.get(&Setting::ReceiveMessageWaitTimeSeconds.key());
    Duration::from_secs(given.and_then(|text| text.parse().ok()).unwrap_or(0).min(WAIT_SECONDS_MAX))
}

/// Which queues may have a queue as their dead letters.
pub(crate) fn allow_policy(definition: &QueueDefinition) -> AllowPolicy {
    let given = definition.protocol.get(&Setting::RedriveAllowPolicy.key());
    given.and_then(|text| AllowPolicy::parse(text).ok()).unwrap_or_default()
}

/// All that a client can set, as it stands.
pub(crate) fn attributes(definition: &QueueDefinition, region: &str) -> Attributes {
    let seconds = |time: Duration| time.as_secs().to_string();
    let kept = |setting: Setting, usual: &str| {
        let given = definition.protocol.get(&setting.key());
        given.map_or_else(|| usual.to_owned(), String::clone)
    };
    let bytes_max = MESSAGE_BYTES_MAX.to_string();
    let mut all = vec![
        (Setting::DelaySeconds, seconds(definition.delay)),
        (Setting::VisibilityTimeout, seconds(definition.visibility)),
        (Setting::MessageRetentionPeriod, seconds(definition.retention)),
        (Setting::MaximumMessageSize, kept(Setting::MaximumMessageSize, &bytes_max)),
        (Setting::ReceiveMessageWaitTimeSeconds, kept(Setting::ReceiveMessageWaitTimeSeconds, "0")),
        (Setting::SqsManagedSseEnabled, "false".to_owned()),
    ];
    if definition.fifo {
        all.push((Setting::FifoQueue, "true".to_owned()));
        all.push((Setting::ContentBasedDeduplication, definition.content_dedup.to_string()));
        all.push((Setting::DeduplicationScope, kept(Setting::DeduplicationScope, "queue")));
        all.push((Setting::FifoThroughputLimit, kept(Setting::FifoThroughputLimit, "perQueue")));
    }
    if let (Some(target), Some(most)) = (&definition.dead_letters, definition.attempts_max) {
        let policy = RedrivePolicy { target: target.clone(), attempts_max: most };
        all.push((Setting::RedrivePolicy, policy.text(region)));
    }
    let allows = kept(Setting::RedriveAllowPolicy, "");
    if !allows.is_empty() {
        all.push((Setting::RedriveAllowPolicy, allows));
    }
    all.into_iter().map(|(setting, value)| (setting.name().to_owned(), value)).collect()
}

/// Whether a queue is already what attributes ask for; else the first that differs.
pub(crate) fn differs(
    definition: &QueueDefinition,
    attributes: &Attributes,
) -> Result<Option<Setting>, Fault> {
    for (name, value) in attributes {
        let setting = Setting::of(name)?;
        let mut changed = definition.clone();
        let applied = apply_one(&mut changed, setting, value);
        if setting == Setting::FifoQueue {
            if setting.flag(value)? != definition.fifo {
                return Ok(Some(setting));
            }
            continue;
        }
        applied?;
        if !same(definition, &changed, setting) {
            return Ok(Some(setting));
        }
    }
    Ok(None)
}

/// Whether a setting is the same in both, where what is left out has its usual value.
fn same(one: &QueueDefinition, other: &QueueDefinition, setting: Setting) -> bool {
    let of = |definition| attributes(definition, "").remove(setting.name()).unwrap_or_default();
    of(one) == of(other)
}

/// The queue that a definition sends its dead to must be there, of the same kind, and must allow it.
pub(crate) fn check_target(
    source: &QueueName,
    definition: &QueueDefinition,
    target: Option<&QueueDefinition>,
) -> Result<(), Fault> {
    let Some(name) = &definition.dead_letters else { return Ok(()) };
    let refuse = |reason: String| Err(Setting::RedrivePolicy.refuse(&reason));
    let Some(target) = target else {
        return refuse(format!("the dead letter target `{name}` does not exist"));
    };
    if target.fifo != definition.fifo {
        let reason = "the dead letter queue of a FIFO queue is a FIFO queue, and of a standard \
                      queue a standard queue";
        return refuse(reason.to_owned());
    }
    if allow_policy(target).allows(source) {
        return Ok(());
    }
    refuse(format!("the RedriveAllowPolicy of `{}` does not allow it", names::arn("*", name)))
}

#[cfg(test)]
mod tests;
