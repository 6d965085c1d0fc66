//! Bucket policies in the words of S3: who may do what with a bucket and its objects, on which
//! conditions.
//!
//! A statement that denies wins over all that allow. What no statement is about is left to others to
//! decide. A policy that says something which is not known here is refused when it is read, never
//! passed over when it is asked.
//!
//! Asking costs at most the length of the policy times that of the longest text in the request. What
//! is deliberately absent: accounts (a principal is a name here), `NotPrincipal`, variables such as
//! `${aws:username}`, and conditions on several values of a key.

mod action;
mod condition;
mod form;
mod parse;
mod wildcard;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use rhumb_types::{ErrorCode, record::BucketName};

use condition::Condition;
use wildcard::Pattern;

pub use action::Action;
pub use condition::TextKey;

use crate::rows::Refusal;

/// A policy that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    bucket: BucketName,
    statements: Vec<Statement>,
}

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is too long.
    #[error("the policy has {bytes} bytes, and may have {most}")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// It is not JSON, or not of the form of a policy.
    #[error("line {line}, column {column} of the policy: {reason}")]
    Form {
        /// In which line, from 1.
        line: usize,
        /// In which column, from 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// Something in it is not known here, or contradicts the bucket.
    #[error("{at} of the policy: {reason}")]
    Meaning {
        /// Where, as a path: `Statement[2].Action`.
        at: String,
        /// What is wrong.
        reason: String,
    },
}

impl Refusal for PolicyError {
    fn code(&self) -> ErrorCode {
        ErrorCode::Invalid
    }
}

/// What a policy is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who asks; `None` for someone who gave no name.
    pub principal: Option<&'a str>,
    /// To do what.
    pub action: Action,
    /// With the object of this key; `None`: with the bucket itself.
    pub key: Option<&'a str>,
    /// From where.
    pub address: Option<IpAddr>,
    /// Whether by TLS.
    pub secure: bool,
    /// How many keys a listing is to have at most.
    pub max_keys: Option<u64>,
    /// What else is known of the request.
    pub texts: &'a [(TextKey, &'a str)],
}

/// What a policy says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// This statement denies it.
    Denied {
        /// Which, from 0.
        statement: usize,
    },
    /// This statement allows it, and none denies it.
    Allowed {
        /// Which, from 0.
        statement: usize,
    },
    /// No statement is about it.
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    principals: Principals,
    actions: action::Set,
    resources: Vec<Pattern>,
    /// Whether it is about all but `resources`.
    other_resources: bool,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Principals {
    Everyone,
    Named(Vec<String>),
}

impl Policy {
    /// Reads the policy of a bucket.
    ///
    /// # Errors
    /// [`PolicyError`] says where it is not as it must be.
    pub fn parse(text: &str, bucket: &BucketName) -> Result<Self, PolicyError> {
        parse::policy(text, bucket)
    }

    /// What it says of a request.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let resource = resource(&self.bucket, request.key);
        let about = |effect| {
            self.statements
                .iter()
                .position(|one| one.effect == effect && one.is_about(request, &resource))
        };
        if let Some(statement) = about(Effect::Deny) {
            return Decision::Denied { statement };
        }
        about(Effect::Allow).map_or(Decision::Silent, |statement| Decision::Allowed { statement })
    }

    /// Whether some statement allows something to everyone.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(|one| {
            one.effect == Effect::Allow
                && one.principals == Principals::Everyone
                && one.conditions.is_empty()
        })
    }
}

/// What requests are about, as policies name it.
fn resource(bucket: &BucketName, key: Option<&str>) -> String {
    match key {
        Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
        None => format!("arn:aws:s3:::{bucket}"),
    }
}

impl Statement {
    fn is_about(&self, request: &Request<'_>, resource: &str) -> bool {
        let named = self.resources.iter().any(|pattern| pattern.matches(resource));
        self.actions.has(request.action)
            && self.principals.include(request.principal)
            && named != self.other_resources
            && self.conditions.iter().all(|condition| condition.holds(request))
    }
}

impl Principals {
    fn include(&self, principal: Option<&str>) -> bool {
        match self {
            Self::Everyone => true,
            Self::Named(names) => principal.is_some_and(|one| names.iter().any(|name| name == one)),
        }
    }
}
