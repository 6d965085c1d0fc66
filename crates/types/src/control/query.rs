//! What can be read from the administrative machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    AdminRefusal, AffinityRule, ApiToken, AuditEntry, AuditHead, Digest, Document, DocumentVersion,
    FailoverId, FailoverRecord, Homes, Member, RegionLease, RegionStatus,
};
use crate::{ClusterId, NodeId, OriginId, RegionId, record::Record};

/// A question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AdminQuery {
    /// Everything that routing needs.
    View,
    /// Failover records, the newest first.
    Failovers {
        /// At most this many.
        limit: u64,
    },
    /// One failover record.
    Failover {
        /// Which.
        id: FailoverId,
    },
    /// Audit entries after an index.
    Audit {
        /// The index; 0 for the first entry kept.
        after: u64,
        /// At most this many.
        limit: u64,
    },
    /// The signed heads.
    Heads,
    /// API tokens, as digests.
    ApiTokens,
    /// The configuration document.
    Config,
    /// The kept versions of a document.
    History {
        /// Which document.
        document: Document,
    },
    /// One kept version of the configuration.
    ConfigAt {
        /// Which version.
        version: u64,
    },
    /// The API token with a secret, if there is one; whether it is valid is for the asker's clock
    /// to say.
    ApiTokenOf {
        /// The digest of the secret.
        secret: Digest,
    },
}

impl Record for AdminQuery {
    const VERSION: u8 = 1;
}

/// The agreed state that routing and ownership follow, as plain data. Nodes keep the last one on
/// disk, so that they work while the control plane is away.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ControlView {
    /// The cluster; `None` before it is formed.
    pub cluster: Option<ClusterId>,
    /// The agreed protocol version (rule 16).
    pub protocol: u16,
    /// The index of the last command that this reflects; a higher one is newer.
    pub applied: u64,
    /// The members.
    pub members: Vec<Member>,
    /// Nodes that were removed or replaced and never come back, the newest of them.
    pub retired: Vec<NodeId>,
    /// The regions.
    pub regions: BTreeMap<RegionId, RegionStatus>,
    /// Their leases.
    pub leases: BTreeMap<RegionId, RegionLease>,
    /// The version of the affinity rules.
    pub rules_version: u64,
    /// The affinity rules.
    pub rules: Vec<AffinityRule>,
    /// The version of the configuration.
    pub config_version: u64,
    /// Origins of removed regions, with their last versions.
    pub closed_origins: BTreeMap<OriginId, u64>,
    /// Failovers that are not closed.
    pub open_failovers: Vec<FailoverRecord>,
    /// Regions whose duties nodes moved by themselves, with the failover that did; nothing was
    /// asked of them since.
    pub displaced: BTreeMap<RegionId, FailoverId>,
    /// Which regions are homes of keys of linearizable buckets.
    pub homes: Homes,
}

impl ControlView {
    /// The regions of members that hold data.
    pub fn data_regions(&self) -> impl Iterator<Item = &RegionId> {
        let holds = |member: &&Member| member.role.holds_data();
        self.members.iter().filter(holds).map(|member| &member.region)
    }

    /// Which region acts as owner for a region: the holder of its lease, if there is one.
    #[must_use]
    pub fn acting_for(&self, region: &RegionId) -> Option<&RegionId> {
        self.leases.get(region)?.holder.as_ref().map(|party| &party.region)
    }
}

impl Record for ControlView {
    const VERSION: u8 = 1;
}

/// An answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum AdminQueryAnswer {
    /// To [`AdminQuery::View`].
    View(Box<ControlView>),
    /// To [`AdminQuery::Failovers`] and [`AdminQuery::Failover`].
    Failovers(Vec<FailoverRecord>),
    /// To [`AdminQuery::Audit`].
    Audit {
        /// The lowest index kept.
        first: u64,
        /// The entries.
        entries: Vec<AuditEntry>,
    },
    /// To [`AdminQuery::Heads`].
    Heads(Vec<AuditHead>),
    /// To [`AdminQuery::ApiTokens`] and [`AdminQuery::ApiTokenOf`].
    ApiTokens(Vec<ApiToken>),
    /// To [`AdminQuery::Config`] and [`AdminQuery::ConfigAt`].
    Config {
        /// Its version.
        version: u64,
        /// The document.
        document: String,
    },
    /// To [`AdminQuery::History`].
    History(Vec<DocumentVersion>),
    /// The question could not be answered.
    Refused(AdminRefusal),
}

impl Record for AdminQueryAnswer {
    const VERSION: u8 = 1;
}
