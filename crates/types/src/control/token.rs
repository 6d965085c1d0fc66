//! Tokens, always as digests: the secret is shown once, to whom asked for it.

use serde::{Deserialize, Serialize};

use super::{Digest, MemberRole};
use crate::{RegionId, UnixMillis};

/// What the bearer of an API token may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiRole {
    /// Reads state and status.
    Reader,
    /// Writes state; runs drains, failovers and fail-backs.
    Operator,
    /// Everything, members and tokens included.
    Admin,
    /// Reads the audit chain and nothing else.
    Auditor,
}

impl ApiRole {
    /// Whether who has this role may do what needs another. An admin may everything, an operator what a
    /// reader may; an auditor audits and nothing else.
    #[must_use]
    pub const fn includes(self, needed: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Operator => matches!(needed, Self::Operator | Self::Reader),
            Self::Reader => matches!(needed, Self::Reader),
            Self::Auditor => matches!(needed, Self::Auditor),
        }
    }
}

/// A token of the HTTP interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApiToken {
    /// Its public name.
    pub id: String,
    /// The digest of its secret. Secrets are at least 128 random bits, so a plain hash suffices.
    pub secret: Digest,
    /// What its bearer may do.
    pub role: ApiRole,
    /// Key prefixes that it is limited to; none means all.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created: UnixMillis,
    /// When it ends.
    pub expires: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked: Option<UnixMillis>,
}

impl ApiToken {
    /// Whether it is good at a time.
    #[must_use]
    pub fn is_valid(&self, now: UnixMillis) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| now < end)
    }
}

/// A token that lets one node join once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinToken {
    /// The digest of its secret.
    pub secret: Digest,
    /// Which region its bearer may join.
    pub region: RegionId,
    /// As what.
    pub role: MemberRole,
    /// When it ends.
    pub expires: UnixMillis,
}
