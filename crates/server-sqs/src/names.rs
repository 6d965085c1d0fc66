//! Names as SQS's clients write them: addresses of queues, ARNs, ids of messages, receipt handles.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rhumb_queue::Receipt;
use rhumb_types::record::{JobId, QueueName};

use crate::{
    fault::{Code, Fault},
    limits::{HANDLE_BYTES_MAX, QUEUE_URL_BYTES_MAX},
};

/// The account that owns every queue. Rhumb has no accounts; clients want one in addresses.
pub(crate) const ACCOUNT: &str = "000000000000";
/// What the name of a FIFO queue ends with.
pub(crate) const FIFO_SUFFIX: &str = ".fifo";

/// The queue that an address names: its last segment. Host and scheme may be those of any node, because
/// every node serves every queue.
pub(crate) fn of_url(url: &str) -> Result<QueueName, Fault> {
    if url.is_empty() {
        return Err(Fault::missing("QueueUrl"));
    }
    let name = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let named = QueueName::new(name).ok().filter(|_| url.len() <= QUEUE_URL_BYTES_MAX);
    named.ok_or_else(Fault::no_queue)
}

/// The address of a queue at the host that the client has called.
pub(crate) fn url(origin: &str, queue: &QueueName) -> String {
    format!("{origin}/{ACCOUNT}/{queue}")
}

/// The ARN of a queue.
pub(crate) fn arn(region: &str, queue: &QueueName) -> String {
    format!("arn:aws:sqs:{region}:{ACCOUNT}:{queue}")
}

/// The queue that an ARN names, in whichever region: a queue is in all of them.
pub(crate) fn of_arn(arn: &str) -> Option<QueueName> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "sqs", _, ACCOUNT, name] => QueueName::new(name).ok(),
        _ => None,
    }
}

/// A name for a new queue: SQS allows less than Rhumb does.
pub(crate) fn new_queue(name: &str, fifo: bool) -> Result<QueueName, Fault> {
    let refuse = || {
        let reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in \
                      length; a FIFO queue's name, and no other, ends with .fifo";
        Fault::value("QueueName", reason)
    };
    let stem = name.strip_suffix(FIFO_SUFFIX);
    if stem.is_some() != fifo {
        return Err(refuse());
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let stem = stem.unwrap_or(name);
    if stem.is_empty() || !stem.bytes().all(known) {
        return Err(refuse());
    }
    QueueName::new(name).map_err(|_| refuse())
}

/// A job's id in the form in which SQS writes ids.
pub(crate) fn message_id(id: JobId) -> String {
    let digits = id.to_string();
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// A receipt as clients carry it.
pub(crate) fn handle(receipt: &Receipt) -> String {
    URL_SAFE_NO_PAD.encode(receipt.to_string())
}

/// The receipt that [`handle`] wrote, if it is one of a queue.
pub(crate) fn receipt(handle: &str, queue: &QueueName) -> Result<Receipt, Fault> {
    if handle.is_empty() {
        return Err(Fault::missing("ReceiptHandle"));
    }
    let refuse = || {
        let message = "The input receipt handle is not a valid receipt handle of this queue.";
        Fault::new(Code::ReceiptHandleIsInvalid, message)
    };
    if handle.len() > HANDLE_BYTES_MAX {
        return Err(refuse());
    }
    let bytes = URL_SAFE_NO_PAD.decode(handle).map_err(|_| refuse())?;
    let text = String::from_utf8(bytes).map_err(|_| refuse())?;
    Receipt::parse(&text).filter(|it| it.key.queue == *queue).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rhumb_types::{Epoch, record::JobKey};

    use super::*;

    fn queue(name: &str) -> QueueName {
        QueueName::new(name).unwrap()
    }

    #[test]
    fn an_address_names_its_queue_at_any_host() {
        for url in [
            "http://127.0.0.1:7404/000000000000/jobs",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs",
            "/000000000000/jobs/",
            "jobs",
        ] {
            assert_eq!(of_url(url), Ok(queue("jobs")), "{url}");
        }
        assert_eq!(of_url("").unwrap_err().code, Code::MissingParameter);
        for url in ["http://host/0/a b", "/", &"x".repeat(81)] {
            assert_eq!(of_url(url).unwrap_err().code, Code::QueueDoesNotExist, "{url}");
        }
        let own = url("http://h:1", &queue("jobs"));
        assert_eq!(own, "http://h:1/000000000000/jobs");
    }

    #[test]
    fn an_arn_names_a_queue_of_any_region() {
        let own = arn("us-east-1", &queue("dead"));
        assert_eq!(own, "arn:aws:sqs:us-east-1:000000000000:dead");
        assert_eq!(of_arn(&own.replace("us-east-1", "eu-west-1")), Some(queue("dead")));
        for bad in ["", "dead", "arn:aws:sqs:us-east-1:1:dead", "arn:aws:sns:r:000000000000:d"] {
            assert_eq!(of_arn(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_of_new_queues_are_those_of_sqs() {
        assert!(new_queue("a-B_9", false).is_ok() && new_queue("a.fifo", true).is_ok());
        for (bad, fifo) in [
            ("", false),
            ("a.b", false),
            ("a.fifo", false),
            ("a", true),
            (".fifo", true),
            ("a b", false),
            (&"x".repeat(81), false),
        ] {
            assert!(new_queue(bad, fifo).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_look_like_those_of_sqs() {
        let id = JobId([0x1f; 16]);
        assert_eq!(message_id(id), "1f1f1f1f-1f1f-1f1f-1f1f-1f1f1f1f1f1f");
    }

    proptest! {
        #[test]
        fn a_receipt_comes_back_to_its_queue(id: [u8; 16], epoch: u64, number: u64) {
            let key = JobKey { queue: queue("jobs"), id: JobId(id) };
            let own = Receipt { key, epoch: Epoch(epoch), number };
            let handle = handle(&own);
            prop_assert_eq!(receipt(&handle, &queue("jobs")), Ok(own));
            let other = receipt(&handle, &queue("other")).unwrap_err();
            prop_assert_eq!(other.code, Code::ReceiptHandleIsInvalid);
        }

        #[test]
        fn any_text_is_a_receipt_or_refused(text: String) {
            let _read = receipt(&text, &queue("jobs"));
        }
    }
}
