//! The two policies of dead letters: JSON texts within a text.

use rhumb_types::record::QueueName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names;

/// Most queues that a policy can name; the bound of SQS.
const SOURCES_MAX: usize = 10;
/// Most times that a message is received before it is dead; the bound of SQS.
const RECEIVES_MAX: u64 = 1_000;

/// Where messages go that nobody completes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RedrivePolicy {
    pub(crate) target: QueueName,
    pub(crate) attempts_max: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedriveText {
    dead_letter_target_arn: String,
    /// A number, or one as a text: clients write both.
    max_receive_count: Value,
}

impl RedrivePolicy {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let read: RedriveText = serde_json::from_str(text).map_err(|_| {
            "it is not JSON with deadLetterTargetArn and maxReceiveCount".to_owned()
        })?;
        let target = names::of_arn(&read.dead_letter_target_arn)
            .ok_or_else(|| format!("`{}` is no queue's ARN", read.dead_letter_target_arn))?;
        let count = match &read.max_receive_count {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let attempts_max = count
            .filter(|count| (1..=RECEIVES_MAX).contains(count))
            .and_then(|count| u32::try_from(count).ok())
            .ok_or_else(|| "maxReceiveCount must be a number from 1 to 1000".to_owned())?;
        Ok(Self { target, attempts_max })
    }

    pub(crate) fn text(&self, region: &str) -> String {
        let arn = names::arn(region, &self.target);
        serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": self.attempts_max })
            .to_string()
    }
}

/// Which queues may have a queue as their dead letters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum AllowPolicy {
    #[default]
    All,
    None,
    Of(Vec<QueueName>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AllowText {
    redrive_permission: String,
    #[serde(default)]
    source_queue_arns: Vec<String>,
}

impl AllowPolicy {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let read: AllowText = serde_json::from_str(text)
            .map_err(|_| "it is not JSON with redrivePermission".to_owned())?;
        let arns = &read.source_queue_arns;
        match (read.redrive_permission.as_str(), arns.len()) {
            ("allowAll", 0) => Ok(Self::All),
            ("denyAll", 0) => Ok(Self::None),
            ("allowAll" | "denyAll", _) => {
                Err("sourceQueueArns belong to the permission byQueue alone".to_owned())
            }
            ("byQueue", 1..=SOURCES_MAX) => {
                let source =
                    |arn: &String| names::of_arn(arn).ok_or(format!("`{arn}` is no queue's ARN"));
                arns.iter().map(source).collect::<Result<_, _>>().map(Self::Of)
            }
            ("byQueue", _) => Err("byQueue names 1 to 10 sourceQueueArns".to_owned()),
            _ => Err("redrivePermission must be allowAll, denyAll or byQueue".to_owned()),
        }
    }

    pub(crate) fn allows(&self, source: &QueueName) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Of(sources) => sources.contains(source),
        }
    }
}
