//! The operations of SQS: their names, and who may ask for them.

use rhumb_types::control::ApiRole;

use crate::fault::{Code, Fault};

/// What the name of every operation begins with in the header that names it.
const TARGET_PREFIX: &str = "AmazonSQS.";
/// Operations of SQS that are not served, because Rhumb has other means.
const ABSENT: [(&str, &str); 5] = [
    ("AddPermission", "who may do what is configured with access keys"),
    ("RemovePermission", "who may do what is configured with access keys"),
    ("StartMessageMoveTask", "use `rhumb queue redrive`"),
    ("ListMessageMoveTasks", "use `rhumb queue redrive`"),
    ("CancelMessageMoveTask", "use `rhumb queue redrive`"),
];

macro_rules! operations {
    ($($name:ident: $role:ident,)*) => {
        /// An operation that is served.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub(crate) enum Operation {
            $($name,)*
        }

        impl Operation {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// As the metrics name it.
            pub(crate) const fn metric(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("sqs.", stringify!($name)),)*
                }
            }

            /// The least that may ask for it.
            pub(crate) const fn role(self) -> ApiRole {
                match self {
                    $(Self::$name => ApiRole::$role,)*
                }
            }
        }
    };
}

operations! {
    ChangeMessageVisibility: Operator,
    ChangeMessageVisibilityBatch: Operator,
    CreateQueue: Operator,
    DeleteMessage: Operator,
    DeleteMessageBatch: Operator,
    DeleteQueue: Operator,
    GetQueueAttributes: Reader,
    GetQueueUrl: Reader,
    ListDeadLetterSourceQueues: Reader,
    ListQueueTags: Reader,
    ListQueues: Reader,
    PurgeQueue: Operator,
    ReceiveMessage: Operator,
    SendMessage: Operator,
    SendMessageBatch: Operator,
    SetQueueAttributes: Operator,
    TagQueue: Operator,
    UntagQueue: Operator,
}

impl Operation {
    /// The operation that a target names.
    pub(crate) fn of_target(target: &str) -> Result<Self, Fault> {
        let name = target.strip_prefix(TARGET_PREFIX).unwrap_or(target);
        let known = Self::ALL.iter().find(|operation| operation.name() == name);
        if let Some(known) = known.filter(|_| target.starts_with(TARGET_PREFIX)) {
            return Ok(*known);
        }
        Err(match ABSENT.iter().find(|(absent, _)| *absent == name) {
            Some((_, why)) => {
                let message = format!("{name} is not supported: {why}.");
                Fault::new(Code::UnsupportedOperation, message)
            }
            None => {
                let message = format!("The action {name} is not valid for this endpoint.");
                Fault::new(Code::UnknownOperation, message)
            }
        })
    }

    /// Whether it changes a queue, and not messages: such changes are logged.
    pub(crate) const fn is_administrative(self) -> bool {
        matches!(
            self,
            Self::CreateQueue
                | Self::DeleteQueue
                | Self::PurgeQueue
                | Self::SetQueueAttributes
                | Self::TagQueue
                | Self::UntagQueue
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_by_its_target() {
        for operation in Operation::ALL {
            let target = format!("AmazonSQS.{}", operation.name());
            assert_eq!(Operation::of_target(&target), Ok(*operation));
        }
        let code = |target: &str| Operation::of_target(target).unwrap_err().code;
        assert_eq!(code("AmazonSQS.AddPermission"), Code::UnsupportedOperation);
        for unknown in
            ["", "SendMessage", "AmazonSNS.Publish", "AmazonSQS.", "AmazonSQS.sendmessage"]
        {
            assert_eq!(code(unknown), Code::UnknownOperation, "{unknown}");
        }
    }
}
