//! Keys that may not lie in this region: what is asked of them is asked where they may (rule 3).
//!
//! A request goes to the nearest region that carries the key's residency domain and looks well, and to
//! the next when nothing can have been done there. It is answered from what that region has, and is
//! never passed on a second time. Nothing of it is stored here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_ports::{
    BoxFuture,
    peer::{CallError, PeerCall, PeerService, Service},
};
use rhumb_regions::Health;
use rhumb_state::{Choice, OpError, QueryError, Reply, lower, reply::together, strong::StrongStep};
use rhumb_types::{AckLevel, Consistency, DomainId, ErrorCode, RegionId, record::Record};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::{
    Answer, Engine, ReadError, Request, WriteError,
    limits::{CHOICES_MAX, FORWARD_WAIT, FORWARDED_MAX},
};

/// What one node asks another to do.
#[derive(Debug, Serialize, Deserialize)]
struct Ask {
    step: StrongStep,
    ack: Option<AckLevel>,
}

impl Record for Ask {
    const VERSION: u8 = 1;
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Reply(Reply),
    Refused { code: ErrorCode, reason: String },
}

impl Record for Told {
    const VERSION: u8 = 1;
}

/// Why a key that lies elsewhere has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// Nothing was done.
    #[error("the key stays in {regions}, where nobody can be asked now: {reason}")]
    Unreachable {
        /// Where it may lie.
        regions: String,
        /// Why none of them was asked.
        reason: String,
    },
    /// It may have been done.
    #[error("{region} was asked and did not answer; it may be done")]
    Unknown {
        /// Who was asked.
        region: RegionId,
    },
    /// The other region refused.
    #[error("{region}: {reason}")]
    Refused {
        /// Who was asked.
        region: RegionId,
        /// What kind of refusal.
        code: ErrorCode,
        /// In its words.
        reason: String,
    },
}

impl ForwardError {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable { .. } => ErrorCode::Unavailable,
            Self::Unknown { .. } => ErrorCode::Unconfirmed,
            Self::Refused { code, .. } => *code,
        }
    }
}

/// Why a write that chooses its members was not done.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// Nothing could be chosen.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was chosen could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Engine {
    /// Whether a key may lie in this region.
    #[must_use]
    pub fn lies_here(&self, key: &[u8]) -> bool {
        self.carries(self.policy(key).domain)
    }

    /// Whether this region carries a residency domain.
    #[must_use]
    pub fn carries(&self, domain: DomainId) -> bool {
        domain == DomainId::EVERYWHERE || self.shared().carried.contains(&domain)
    }

    /// Asks for keys of a domain that this region does not carry through these calls, from here on.
    /// Only the first are taken.
    pub fn forward_with(&self, calls: Arc<dyn PeerCall>) {
        let _known = self.shared().calls.set(calls);
    }

    /// Has a step done where its keys may lie. They must all be of one domain.
    ///
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Errors
    /// [`ForwardError`]; an error of the step itself is the reply.
    pub async fn forward(
        &self,
        domain: DomainId,
        step: StrongStep,
        ack: Option<AckLevel>,
    ) -> Result<Reply, ForwardError> {
        let carriers = self.carriers(domain);
        let reads = matches!(step, StrongStep::Read(_));
        let ask = Ask { step, ack }.encode();
        let deadline = Instant::now() + FORWARD_WAIT;
        let mut reason = "no region carries it".to_owned();
        for region in &carriers {
            match self.ask(region, ask.clone(), deadline).await {
                Ok(Told::Reply(reply)) => return Ok(reply),
                Ok(Told::Refused { code, reason }) => {
                    return Err(ForwardError::Refused { region: region.clone(), code, reason });
                }
                Err(Failure::Nothing(why)) => reason = why,
                Err(Failure::Unknown(why)) if reads => reason = why,
                Err(Failure::Unknown(_)) => {
                    return Err(ForwardError::Unknown { region: region.clone() });
                }
            }
        }
        let names: Vec<&str> = carriers.iter().map(RegionId::as_str).collect();
        Err(ForwardError::Unreachable { regions: names.join(", "), reason })
    }

    async fn ask(&self, region: &RegionId, ask: Bytes, end: Instant) -> Result<Told, Failure> {
        let Some(calls) = self.shared().calls.get() else {
            return Err(Failure::Nothing("this node is still starting".to_owned()));
        };
        let call = calls.call(region.clone(), Service::Forward, ask);
        let answer = match timeout_at(end, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(CallError::Unreachable { sent: true, reason, .. })) => {
                return Err(Failure::Unknown(reason));
            }
            Ok(Err(error)) => return Err(Failure::Nothing(error.to_string())),
            Err(_late) => {
                return Err(Failure::Unknown(format!("nothing came within {FORWARD_WAIT:?}")));
            }
        };
        Told::decode(&answer).map_err(|error| Failure::Unknown(error.to_string()))
    }

    /// The regions that carry a domain: those that look well first, then the nearest.
    #[must_use]
    pub fn carriers(&self, domain: DomainId) -> Vec<RegionId> {
        let Some(oversight) = self.shared().oversight.get() else { return Vec::new() };
        let snapshot = oversight.routing.borrow().clone();
        let carries = oversight.config.domains.iter().filter(|(_, all)| all.contains(&domain));
        let here = snapshot.index(&oversight.config.region);
        let mut found: Vec<(bool, Duration, RegionId)> = carries
            .map(|(region, _)| {
                let at = snapshot.index(region);
                let down = at.is_none_or(|at| snapshot.region(at).health == Health::Down);
                let way = here.zip(at).map(|(here, at)| snapshot.rtt(here, at));
                (down, way.unwrap_or(Duration::MAX), region.clone())
            })
            .collect();
        found.sort();
        found.into_iter().map(|(.., region)| region).collect()
    }

    /// A write that chooses its members: chosen on a snapshot, checked when executed, and chosen
    /// again when they have changed meanwhile.
    ///
    /// # Errors
    /// [`ChooseError`].
    pub async fn choose(
        &self,
        choice: &Choice,
        ack: Option<AckLevel>,
    ) -> Result<Answer, ChooseError> {
        let mut last =
            Answer { replies: vec![Reply::Error(OpError::Stale)], written: Default::default() };
        for _ in 0..CHOICES_MAX {
            let ops = lower(choice, self.clock().now().wall, &self.snapshot())?;
            let answer = self.write(Request { ack, ..Request::new(ops) }).await?;
            let stale = answer.replies.contains(&Reply::Error(OpError::Stale));
            last = Answer { replies: vec![together(answer.replies)], written: answer.written };
            if !stale {
                break;
            }
        }
        Ok(last)
    }

    /// What answers other nodes that ask for keys which may not lie with them.
    #[must_use]
    pub fn forwarded(&self) -> Forwarded {
        Forwarded { engine: self.clone(), permits: Arc::new(Semaphore::new(FORWARDED_MAX)) }
    }
}

/// How asking failed.
enum Failure {
    /// Nothing was done.
    Nothing(String),
    /// It may have been done.
    Unknown(String),
}

/// Answers requests that other regions forward; see [`Engine::forwarded`].
#[derive(Debug, Clone)]
pub struct Forwarded {
    engine: Engine,
    permits: Arc<Semaphore>,
}

impl Forwarded {
    async fn told(&self, request: &[u8]) -> Result<Told, String> {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err("too many forwarded requests at once".to_owned());
        };
        let Ask { step, ack } = Ask::decode(request).map_err(|error| error.to_string())?;
        let mut here = true;
        step.keys(&mut |key| {
            let policy = self.engine.policy(key);
            here &= policy.consistency != Consistency::Strong && self.engine.carries(policy.domain);
        });
        if !here {
            return Err("the key does not lie here either: compare the nodes' files".to_owned());
        }
        Ok(self.done(step, ack).await)
    }

    async fn done(&self, step: StrongStep, ack: Option<AckLevel>) -> Told {
        match step {
            StrongStep::Read(query) => read(self.engine.query(&query)),
            StrongStep::Write(op) => {
                wrote(self.engine.write(Request { ack, ..Request::new(vec![op]) }).await)
            }
            StrongStep::Choose(choice) => match self.engine.choose(&choice, ack).await {
                Ok(answer) => wrote(Ok(answer)),
                Err(ChooseError::Write(error)) => wrote(Err(error)),
                Err(ChooseError::Read(error)) => read(Err(error)),
            },
        }
    }
}

fn read(result: Result<Reply, ReadError>) -> Told {
    match result {
        Ok(reply) => Told::Reply(reply),
        Err(QueryError::WrongType) => Told::Reply(Reply::Error(OpError::WrongType)),
        Err(error) => Told::Refused { code: ErrorCode::Invalid, reason: error.to_string() },
    }
}

fn wrote(result: Result<Answer, WriteError>) -> Told {
    match result {
        Ok(answer) => Told::Reply(together(answer.replies)),
        Err(error) => Told::Refused { code: error.code(), reason: error.to_string() },
    }
}

impl PeerService for Forwarded {
    fn answer(
        &self,
        _from: RegionId,
        _service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { Ok(self.told(&request).await?.encode()) })
    }
}
