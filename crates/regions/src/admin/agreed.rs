//! The state, and the way of a command into it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rhumb_types::{
    ClusterId, Epoch, NodeId, OriginId, RegionId,
    control::{
        AdminCommand, AdminOutcome, AdminRefusal, AdminRequest, AdminState, AffinityRule, ApiToken,
        Ballot, Digest, FailoverId, FailoverRecord, Homes, JoinToken, Member, RegionLease,
        RegionStatus,
    },
    record::Record,
};
use serde::{Deserialize, Serialize};

use super::documents::History;
use crate::audit::{AuditChain, Heads};

/// Everything that is agreed. Ordered containers only, so that replicas are equal byte by byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Agreed {
    pub(super) cluster: Option<ClusterId>,
    pub(super) protocol: u16,
    pub(super) applied: u64,
    pub(super) members: BTreeMap<NodeId, Member>,
    /// Former members, the earliest first.
    pub(super) retired: VecDeque<NodeId>,
    pub(super) regions: BTreeMap<RegionId, RegionStatus>,
    pub(super) leases: BTreeMap<RegionId, RegionLease>,
    /// The highest epoch of any removed region: a name that returns starts above it.
    pub(super) epoch_floor: Epoch,
    /// By subject, then by voter.
    pub(super) ballots: BTreeMap<RegionId, BTreeMap<RegionId, Ballot>>,
    pub(super) rules: History<Vec<AffinityRule>>,
    pub(super) config: History<String>,
    pub(super) closed_origins: BTreeMap<OriginId, u64>,
    pub(super) failovers: BTreeMap<FailoverId, FailoverRecord>,
    pub(super) failover_last: u64,
    pub(super) join_tokens: BTreeMap<Digest, JoinToken>,
    pub(super) api_tokens: BTreeMap<String, ApiToken>,
    pub(super) chain: AuditChain,
    pub(super) heads: Heads,
    pub(super) homes: Homes,
}

impl Record for Agreed {
    const VERSION: u8 = 1;
}

pub(super) type Answer = Result<AdminOutcome, AdminRefusal>;

impl Agreed {
    /// Whether a command of this kind may run now at all.
    pub(super) fn admit(&self, command: &AdminCommand) -> Result<(), AdminRefusal> {
        match (&self.cluster, command) {
            (None, AdminCommand::Form { .. }) => Ok(()),
            (None, _) => Err(AdminRefusal::NotFormed),
            (Some(_), AdminCommand::Form { .. }) => Err(AdminRefusal::AlreadyFormed),
            (Some(_), command) if command.since() > self.protocol => {
                Err(AdminRefusal::TooNew { needed: command.since(), agreed: self.protocol })
            }
            (Some(_), _) => Ok(()),
        }
    }

    /// Runs an admitted command: checks all of it, then changes the state.
    pub(super) fn execute(&mut self, request: &AdminRequest) -> Answer {
        use AdminCommand as C;
        match &request.command {
            C::Form { .. }
            | C::Join { .. }
            | C::ReplaceMember { .. }
            | C::RemoveMember { .. }
            | C::SetMemberRole { .. }
            | C::RotateIdentity { .. }
            | C::ReportVersion { .. }
            | C::Recover { .. } => self.execute_membership(request),
            C::SetRegionState { region, state, expected } => {
                self.set_region_state(request, region, *state, *expected)
            }
            C::SetRamp { region, percent } => self.set_ramp(region, *percent),
            C::RemoveRegion { region, origins } => self.remove_region(region, origins),
            C::AcquireLease { .. }
            | C::RenewLease { .. }
            | C::TakeOverLease { .. }
            | C::ReleaseLease { .. } => self.execute_lease(&request.command),
            C::Vote { subject, voter, ballot } => self.vote(request, subject, voter, ballot),
            C::LiftVerdict { region } => self.lift_verdict(region),
            C::PutRules { .. } | C::PutConfig { .. } | C::Rollback { .. } => {
                self.execute_document(request)
            }
            C::StartFailover { plan } => self.start_failover(request, plan),
            C::AdvanceFailover { id, sequence, state, step } => {
                self.advance_failover(*id, *sequence, *state, step.as_ref())
            }
            C::NameSuccessor { id, sequence, successor } => {
                self.name_successor(*id, *sequence, successor)
            }
            C::CreateJoinToken { .. }
            | C::RevokeJoinToken { .. }
            | C::CreateApiToken { .. }
            | C::RevokeApiToken { .. }
            | C::DropApiToken { .. } => self.execute_token(request),
            C::PublishHead { head } => self.publish_head(head),
            // The entry in the chain is all.
            C::NoteQueue { .. } | C::NoteRunners { .. } | C::NoteBucket { .. } => {
                Ok(AdminOutcome::Done)
            }
            C::SettleHomes { version } => self.settle_homes(*version),
            C::Together { .. } => Err(AdminRefusal::NotFound("single command".to_owned())),
        }
    }

    pub(super) fn region(&self, region: &RegionId) -> Result<&RegionStatus, AdminRefusal> {
        self.regions.get(region).ok_or_else(|| AdminRefusal::UnknownRegion(region.clone()))
    }

    pub(super) fn region_mut(
        &mut self,
        region: &RegionId,
    ) -> Result<&mut RegionStatus, AdminRefusal> {
        self.regions.get_mut(region).ok_or_else(|| AdminRefusal::UnknownRegion(region.clone()))
    }

    pub(super) fn member(&self, node: NodeId) -> Result<&Member, AdminRefusal> {
        self.members.get(&node).ok_or(AdminRefusal::UnknownMember(node))
    }

    /// Refuses to take the last region that may have duties.
    pub(super) fn keep_one_without(&self, region: &RegionId) -> Result<(), AdminRefusal> {
        let others =
            self.regions.iter().any(|(name, status)| name != region && status.is_eligible());
        let counts = self.regions.get(region).is_some_and(RegionStatus::is_eligible);
        if counts && !others { Err(AdminRefusal::LastActiveRegion(region.clone())) } else { Ok(()) }
    }

    /// Brings what is derived from the members in line with them: regions, leases, the agreed
    /// protocol version.
    pub(super) fn settle_members(&mut self, request: &AdminRequest) {
        let named = self.members.values().map(|member| member.region.clone());
        let all: BTreeSet<RegionId> = named.chain(self.regions.keys().cloned()).collect();
        for region in all {
            let holds = |member: &Member| member.region == region && member.role.holds_data();
            let witness = !self.members.values().any(holds);
            if !witness {
                let lease = RegionLease { epoch: self.epoch_floor, ..RegionLease::default() };
                self.leases.entry(region.clone()).or_insert(lease);
            }
            let fresh = || RegionStatus {
                state: AdminState::Active,
                reason: request.reason.clone(),
                actor: request.actor.clone(),
                since: request.at,
                ramp_percent: 100,
                verdict: None,
                witness,
            };
            self.regions.entry(region).or_insert_with(fresh).witness = witness;
        }
        let readable = self.members.values().map(|member| member.reads).min().unwrap_or_default();
        self.protocol = self.protocol.max(readable);
        self.announce_homes();
    }

    /// Remembers that a node was a member.
    pub(super) fn retire(&mut self, node: NodeId) {
        self.members.remove(&node);
        self.retired.push_back(node);
        if self.retired.len() > rhumb_types::control::limits::RETIRED_NODES_MAX {
            self.retired.pop_front();
        }
    }
}
