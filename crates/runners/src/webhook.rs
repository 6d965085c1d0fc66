//! A delivery of GitHub, from its headers and its raw body to what it asks for.
//!
//! Nothing is stored here: [`read`] says what a delivery is, [`Seen`] which were carried out lately.

use std::collections::{BTreeSet, VecDeque};

use rhumb_types::UnixMillis;

use crate::{
    job::Action,
    limits::{DELIVERIES_MAX, DELIVERY_BYTES_MAX, QUEUED_AGE_MAX, WEBHOOK_BYTES_MAX},
    payload::{JobEvent, PayloadError, job_event},
    signature::{Secrets, SignatureError},
};

/// The headers of a delivery that count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a> {
    /// `X-GitHub-Event`.
    pub event: Option<&'a str>,
    /// `X-GitHub-Delivery`: the same when a delivery is repeated.
    pub delivery: Option<&'a str>,
    /// `X-Hub-Signature-256`.
    pub signature: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
}

/// What a delivery asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Whether somebody is there.
    Ping,
    /// A job wants a runner.
    Queued(JobEvent),
    /// A job was given to a runner, or ended.
    Moved(JobEvent),
    /// Nothing, for this reason.
    Nothing(Nothing),
}

/// Why a good delivery asks for nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Nothing {
    /// It is of an event that runners have nothing to do with.
    OtherEvent,
    /// The job waits for an approval; another event follows.
    Waiting,
    /// The job was queued so long ago that GitHub has given it up.
    Stale,
}

impl Nothing {
    /// A name for metrics and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtherEvent => "other_event",
            Self::Waiting => "waiting",
            Self::Stale => "stale",
        }
    }
}

/// Why a delivery is refused.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// It does not come from who knows the secret.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is larger than GitHub ever sends.
    #[error("the body has more than {WEBHOOK_BYTES_MAX} bytes")]
    TooLarge,
    /// A header is missing or is not as GitHub writes it.
    #[error("the header `{0}` is missing, or not as GitHub writes it")]
    Header(&'static str),
    /// The webhook sends forms.
    #[error("the body is `{0}`: choose `application/json` as the webhook's content type at GitHub")]
    ContentType(String),
    /// The event is not understood.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

impl Rejected {
    /// A name for metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Signature(SignatureError::Missing) => "signature_missing",
            Self::Signature(SignatureError::Malformed) => "signature_malformed",
            Self::Signature(SignatureError::Wrong) => "signature_wrong",
            Self::TooLarge => "too_large",
            Self::Header(_) => "header",
            Self::ContentType(_) => "content_type",
            Self::Payload(_) => "payload",
        }
    }

    /// The status of HTTP that tells it.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Signature(_) => 401,
            Self::TooLarge => 413,
            Self::ContentType(_) => 415,
            Self::Header(_) | Self::Payload(_) => 400,
        }
    }
}

/// Reads a delivery. The signature is checked first, over the raw body.
///
/// # Errors
/// [`Rejected`].
pub fn read(
    secrets: &Secrets,
    head: &Head<'_>,
    body: &[u8],
    now: UnixMillis,
) -> Result<Delivery, Rejected> {
    if body.len() > WEBHOOK_BYTES_MAX {
        return Err(Rejected::TooLarge);
    }
    secrets.check(head.signature, body)?;
    let kind = head.content_type.and_then(|it| it.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Rejected::ContentType(crate::payload::cut(kind)));
    }
    let known = |id: &str| !id.is_empty() && id.len() <= DELIVERY_BYTES_MAX;
    if !head.delivery.is_some_and(known) {
        return Err(Rejected::Header("X-GitHub-Delivery"));
    }
    match head.event.ok_or(Rejected::Header("X-GitHub-Event"))? {
        "ping" => Ok(Delivery::Ping),
        "workflow_job" => Ok(sort(job_event(body)?, now)),
        _ => Ok(Delivery::Nothing(Nothing::OtherEvent)),
    }
}

fn sort(event: JobEvent, now: UnixMillis) -> Delivery {
    let old = |at: UnixMillis| now.saturating_since(at) > QUEUED_AGE_MAX;
    match event.action {
        Action::InProgress | Action::Completed => Delivery::Moved(event),
        Action::Queued | Action::Waiting if event.waiting => Delivery::Nothing(Nothing::Waiting),
        _ if event.job.created_at.is_some_and(old) => Delivery::Nothing(Nothing::Stale),
        _ => Delivery::Queued(event),
    }
}

/// The deliveries that were carried out lately: a short cut, and never the reason that nothing is done
/// twice, which is the idempotency key. A delivery is remembered only once it was carried out, so that
/// one whose first try failed is not dropped when it is repeated.
#[derive(Debug, Default)]
pub struct Seen {
    ids: BTreeSet<Box<str>>,
    order: VecDeque<Box<str>>,
}

impl Seen {
    /// Whether a delivery was carried out.
    #[must_use]
    pub fn contains(&self, delivery: &str) -> bool {
        self.ids.contains(delivery)
    }

    /// Remembers one that was carried out. The oldest makes room.
    pub fn remember(&mut self, delivery: &str) {
        if !self.ids.insert(delivery.into()) {
            return;
        }
        self.order.push_back(delivery.into());
        if self.order.len() > DELIVERIES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUED: &[u8] = include_bytes!("../fixtures/workflow_job.queued.json");
    const WAITING: &[u8] = include_bytes!("../fixtures/workflow_job.queued.waiting.json");
    const COMPLETED: &[u8] = include_bytes!("../fixtures/workflow_job.completed.json");
    const PING: &[u8] = include_bytes!("../fixtures/ping.json");
    /// An hour after the payload's job was queued.
    const THEN: UnixMillis = UnixMillis(1_631_503_281_000);

    fn secrets() -> Secrets {
        Secrets::new(&["a secret of some length"]).unwrap()
    }

    fn read_as(event: Option<&str>, body: &[u8], now: UnixMillis) -> Result<Delivery, Rejected> {
        let signature = secrets().sign(body);
        let head = Head {
            event,
            delivery: Some("72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            signature: Some(&signature),
            content_type: Some("application/json"),
        };
        read(&secrets(), &head, body, now)
    }

    #[test]
    fn deliveries_are_sorted() {
        let job = Some("workflow_job");
        assert!(matches!(read_as(job, QUEUED, THEN), Ok(Delivery::Queued(_))));
        assert!(matches!(read_as(job, COMPLETED, THEN), Ok(Delivery::Moved(_))));
        assert!(matches!(read_as(job, WAITING, THEN), Ok(Delivery::Nothing(Nothing::Waiting))));
        assert!(matches!(read_as(Some("ping"), PING, THEN), Ok(Delivery::Ping)));
        let other = read_as(Some("push"), b"{}", THEN);
        assert!(matches!(other, Ok(Delivery::Nothing(Nothing::OtherEvent))));
        let late = UnixMillis(THEN.0 + 4 * 24 * 3_600_000);
        assert!(matches!(read_as(job, QUEUED, late), Ok(Delivery::Nothing(Nothing::Stale))));
    }

    #[test]
    fn the_signature_comes_first() {
        let head = Head { event: Some("workflow_job"), ..Head::default() };
        for body in [&b"no json"[..], QUEUED] {
            let refused = read(&secrets(), &head, body, THEN);
            assert!(matches!(refused, Err(Rejected::Signature(SignatureError::Missing))));
        }
    }

    #[test]
    fn headers_and_sizes_are_held_to() {
        let status = |result: Result<Delivery, Rejected>| result.unwrap_err().status();
        assert_eq!(status(read_as(None, QUEUED, THEN)), 400);
        let signature = secrets().sign(QUEUED);
        let head = Head {
            event: Some("workflow_job"),
            delivery: Some("d"),
            signature: Some(&signature),
            content_type: Some("application/x-www-form-urlencoded"),
        };
        assert_eq!(status(read(&secrets(), &head, QUEUED, THEN)), 415);
        let json = Some("application/json; charset=utf-8");
        let none = Head { delivery: None, content_type: json, ..head };
        assert_eq!(status(read(&secrets(), &none, QUEUED, THEN)), 400);
        let long = "x".repeat(65);
        let long = Head { delivery: Some(&long), content_type: json, ..head };
        assert_eq!(status(read(&secrets(), &long, QUEUED, THEN)), 400);
        assert_eq!(status(read_as(Some("workflow_job"), b"{}", THEN)), 400);
        let large = vec![b' '; WEBHOOK_BYTES_MAX + 1];
        assert_eq!(status(read_as(Some("workflow_job"), &large, THEN)), 413);
    }

    #[test]
    fn the_memory_of_deliveries_is_bounded() {
        let mut seen = Seen::default();
        for at in 0..DELIVERIES_MAX + 10 {
            seen.remember(&at.to_string());
            seen.remember(&at.to_string());
        }
        assert!(!seen.contains("9") && seen.contains("10"));
        assert_eq!((seen.ids.len(), seen.order.len()), (DELIVERIES_MAX, DELIVERIES_MAX));
    }
}
